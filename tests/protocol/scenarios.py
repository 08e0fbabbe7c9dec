"""What is explored: two versions of one name, the overwriting of the source, people, the service; and one thing that goes wrong."""

from dataclasses import dataclass

from rules.models import Choice
from tests.protocol.state import Scenario

SYNC, ASYNC = Choice.SYNC, Choice.ASYNC


@dataclass(frozen=True, slots=True)
class Case:
    """A scenario, and the states and ends that its exploration must not fall below."""

    name: str
    scenario: Scenario
    states: int
    ends: int


def _case(
    name: str,
    engine: Choice,
    *script: str,
    states: int,
    ends: int,
    faults: int = 0,
    versions: int = 2,
    routes: tuple[str, ...] = ("route",),
    lost: frozenset[int] = frozenset(),
    fine: bool = False,
    exact: bool = False,
) -> Case:
    scenario = Scenario(
        engine=engine, versions=versions, script=script, faults=faults, routes=routes, lost=lost, fine=fine, exact=exact
    )
    return Case(name, scenario, states, ends)


RENAMED = ("route", "renamed")

CASES = [
    _case("sync", SYNC, "overwrite", faults=1, states=3_200, ends=57),
    _case("sync_removed", SYNC, "overwrite", "remove", faults=1, states=21_000, ends=420),
    _case("sync_second_cancelled", SYNC, "overwrite", "cancel 2", faults=1, states=5_800, ends=110),
    _case("sync_cancelled_replayed", SYNC, "overwrite", "cancel 1", "replay 1", faults=1, states=7_500, ends=160),
    _case("sync_given_up_replayed", SYNC, "overwrite", "deadline 1", "replay 1", faults=1, states=6_900, ends=140),
    _case("sync_event_lost", SYNC, "overwrite", faults=1, lost=frozenset({2}), states=1_000, ends=40),
    _case("sync_touched", SYNC, "overwrite", "touch", faults=1, states=5_400, ends=145),
    _case("async", ASYNC, "overwrite", faults=1, states=90_000, ends=400),
    _case("async_every_order_apart", ASYNC, "overwrite", exact=True, states=1_180, ends=7),
    _case("async_removed", ASYNC, "overwrite", "remove", states=3_900, ends=56),
    _case("async_fails_first_cancelled", ASYNC, "overwrite", "fail", "cancel 1", states=9_200, ends=69),
    _case("async_fails_second_cancelled", ASYNC, "overwrite", "cancel 2", "fail", states=10_700, ends=72),
    _case("async_given_up_replayed", ASYNC, "overwrite", "deadline 1", "replay 1", states=4_900, ends=42),
    _case("async_cancelled_replayed", ASYNC, "overwrite", "cancel 1", "replay 1", states=3_600, ends=33),
    _case("async_touched", ASYNC, "fail", "touch", "deadline 1", "replay 1", states=700, ends=56),
    _case("async_event_lost", ASYNC, "overwrite", lost=frozenset({2}), states=175, ends=6),
    _case("async_three_versions", ASYNC, "overwrite", "overwrite", versions=3, states=53_000, ends=60),
    _case("async_one_cancelled", ASYNC, "cancel 1", "replay 1", versions=1, faults=1, states=3_400, ends=133),
    _case("async_one_fails", ASYNC, "fail", "deadline 1", "replay 1", versions=1, faults=1, states=22_000, ends=700),
    _case("route_renamed", ASYNC, versions=1, routes=RENAMED, states=580, ends=2),
    _case("terminated", ASYNC, "cancel 1", "terminate 1", "sweep", versions=1, states=1_150, ends=50),
    _case("event_twice", ASYNC, "redeliver 1", "cancel 1", versions=1, fine=True, states=90, ends=6),
]

# Minutes, not seconds: EXPLORE=long
LONG = [
    _case("sync_three_versions", SYNC, "overwrite", "overwrite", versions=3, faults=1, states=90_000, ends=350),
    _case("async_first_cancelled", ASYNC, "overwrite", "cancel 1", faults=1, states=350_000, ends=1_950),
    _case("async_third_cancelled", ASYNC, "overwrite", "overwrite", "cancel 3", versions=3, states=200_000, ends=320),
    _case("sync_two_faults", SYNC, "overwrite", faults=2, states=50_000, ends=300),
    _case("one_two_faults", ASYNC, "fail", "cancel 1", versions=1, faults=2, states=20_000, ends=300),
    _case("route_renamed_overwritten", ASYNC, "overwrite", routes=RENAMED, states=100_000, ends=100),
]
