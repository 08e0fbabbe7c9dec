"""The scenarios to explore: versions of one blob, an overwrite, requests of people, the service, and one fault.

Most scenarios have two forms: with faults of requests, answers and activities, and with a host that fails an orchestration, drops
an activity, or repeats a running one as lost.
"""

from dataclasses import dataclass, replace
from typing import Any

from rules.routes.model import EnginePreference
from rules.transfers.model import Kind
from tests.protocol.state import Scenario, TwoBlocks

SYNC, ASYNC, BLOCKS = EnginePreference.SYNC, EnginePreference.ASYNC, EnginePreference.BLOCKS


@dataclass(frozen=True, slots=True)
class Case:
    """A scenario, and the least number of states and ends of its exploration. A change of the app moves them a little."""

    name: str
    scenario: Scenario
    states: int
    ends: int


def _case(name: str, engine: EnginePreference, *script: str, states: int, ends: int, **settings: Any) -> Case:
    return Case(name, Scenario(engine, script=script, **settings), states, ends)


def _discards(name: str, *script: str, states: int, ends: int) -> Case:
    """One version that fails; the requests of operations interleave."""
    return _case(name, ASYNC, "deadline 1", *script, versions=1, interleaved=True, states=states, ends=ends)


def _blocks(name: str, *script: str, states: tuple[int, int], ends: tuple[int, int], **settings: Any) -> list[Case]:
    """Return a scenario of copies by two blocks twice: `start` stages them, or a lane does."""
    engine = settings.pop("engine", BLOCKS)
    return [
        _case(f"blocks_{name}", engine, *script, sizes=TwoBlocks(), states=states[0], ends=ends[0], **settings),
        _case(
            f"lanes_{name}", engine, *script, sizes=TwoBlocks(in_lanes=True), states=states[1], ends=ends[1], **settings
        ),
    ]


def _handed_over(name: str, *script: str, **settings: Any) -> list[Case]:
    """Return a scenario in which `async` copies are too slow, so that blocks replace them."""
    return _blocks(
        f"after_async_{name}", *script, engine=EnginePreference.AUTO, same_account=True, slow=True, **settings
    )


RENAMED = ("route", "renamed")
APPENDED = (Kind.BLOCK, Kind.APPEND)

CASES = [
    _case("sync", SYNC, "overwrite", faults=1, states=2_700, ends=48),
    _case("sync_removed", SYNC, "overwrite", "remove", states=740, ends=16),
    _case("sync_second_cancelled", SYNC, "overwrite", "cancel 2", faults=1, states=4_900, ends=93),
    _case("sync_cancelled_replayed", SYNC, "overwrite", "cancel 1", "replay 1", faults=1, states=6_300, ends=130),
    _case("sync_failed_replayed", SYNC, "overwrite", "deadline 1", "replay 1", faults=1, states=5_500, ends=110),
    _case("sync_event_lost", SYNC, "overwrite", faults=1, lost=frozenset({2}), states=850, ends=34),
    _case("sync_touched", SYNC, "overwrite", "touch", faults=1, states=4_500, ends=120),
    _case("async", ASYNC, "overwrite", states=900, ends=7),
    _case("async_every_order_apart", ASYNC, "overwrite", unreduced=True, states=1_000, ends=6),
    _case("async_removed", ASYNC, "overwrite", "remove", states=3_300, ends=47),
    _case("async_fails_first_cancelled", ASYNC, "overwrite", "fail", "cancel 1", states=7_800, ends=58),
    _case("async_fails_second_cancelled", ASYNC, "overwrite", "cancel 2", "fail", states=9_000, ends=61),
    _case("async_failed_replayed", ASYNC, "overwrite", "deadline 1", "replay 1", states=4_100, ends=33),
    _case("async_cancelled_replayed", ASYNC, "overwrite", "cancel 1", "replay 1", states=3_000, ends=28),
    _case("async_touched", ASYNC, "fail", "touch", "deadline 1", "replay 1", states=540, ends=46),
    _case("async_event_lost", ASYNC, "overwrite", lost=frozenset({2}), states=140, ends=5),
    _case("async_one_cancelled", ASYNC, "cancel 1", "replay 1", versions=1, faults=1, states=2_800, ends=110),
    _case("async_one_fails", ASYNC, "fail", "deadline 1", "replay 1", versions=1, faults=1, states=16_500, ends=540),
    _case("route_renamed", ASYNC, versions=1, routes=RENAMED, states=490, ends=2),
    _case("route_renamed_cancelled", ASYNC, "cancel 1@route", versions=1, routes=RENAMED, states=2_000, ends=9),
    _case("terminated", ASYNC, "cancel 1", "terminate 1", "sweep", versions=1, states=970, ends=42),
    _case("async_replay_cancelled", ASYNC, "deadline 1", "replay 1", "cancel 1", versions=1, states=280, ends=30),
    _case("async_cancelled_twice", ASYNC, "cancel 1", "cancel 1", "fail", versions=1, states=300, ends=34),
    _case("async_cancelled_and_overwritten", ASYNC, "overwrite", "cancel 1", "cancel 2", states=9_900, ends=145),
    _case("deleted_event_twice", SYNC, "remove", "redeliver 1", versions=1, faults=1, states=3_300, ends=170),
    _case("deleted_event_mixed", SYNC, "remove", "redeliver 1", versions=1, interleaved=True, states=330, ends=18),
    _case("other_type", ASYNC, "overwrite", kinds=APPENDED, states=1_400, ends=8),
    _case("other_type_cancelled", ASYNC, "overwrite", "cancel 2", kinds=APPENDED, states=5_600, ends=51),
    _case("discarded", ASYNC, "deadline 1", "discard 1", "sweep", versions=1, faults=1, states=3_600, ends=210),
    _discards("discarded_twice", "discard 1", "discard 1", states=60, ends=6),
    _discards("discarded_and_forgotten", "discard 1", "sweep", "forget 1", states=1_850, ends=12),
    _discards("discarded_beside_replay", "discard 1", "replay 1", "deadline 1", states=640, ends=22),
    _discards("discarded_beside_the_sweep", "lose 1", "sweep", "discard 1", states=3_500, ends=21),
    _discards("discarded_event_twice", "redeliver 1", "discard 1", states=420, ends=17),
    *_blocks("one", versions=1, faults=1, states=(400, 740), ends=(18, 25)),
    *_blocks("cancelled_replayed", "cancel 1", "replay 1", versions=1, faults=1, states=(900, 2_900), ends=(50, 135)),
    *_blocks("removed", "overwrite", "remove", states=(6_000, 4_900), ends=(59, 45)),
    *_blocks("collected", "overwrite", "collect", states=(3_900, 4_500), ends=(10, 10)),
    *_blocks("vanished", "overwrite", "vanish", states=(4_000, 4_600), ends=(10, 10)),
    *_blocks("renamed", versions=1, routes=RENAMED, states=(480, 1_100), ends=(8, 6)),
    *_blocks("onto_a_lake_file", "lake", versions=1, states=(70, 70), ends=(2, 2)),
    *_handed_over("one", versions=1, faults=1, states=(2_300, 2_800), ends=(65, 75)),
    _case("sync_renamed_back", SYNC, "overwrite", "return", states=930, ends=13),
    _case("sync_renamed_away", SYNC, "remove", "return", versions=1, faults=1, states=4_700, ends=175),
    _case("sync_renamed_back_cancelled", SYNC, "overwrite", "return", "cancel 1", states=2_300, ends=38),
    _case("notified", SYNC, "overwrite", notify=True, faults=1, states=9_000, ends=105),
    _case("notified_late", ASYNC, "deadline 1", "replay 1", versions=1, notify=True, faults=1, states=3_900, ends=130),
    _case("notified_late_overwritten", SYNC, "overwrite", "deadline 1", notify=True, states=210, ends=8),
    _case("event_twice", ASYNC, "redeliver 1", "cancel 1", versions=1, interleaved=True, states=370, ends=14),
]


def _host_fails(name: str, *, states: int, ends: int, failures: int = 1) -> Case:
    """Return the scenario of that name with host failures instead of faults."""
    scenario = next(case.scenario for case in CASES if case.name == name)
    return Case(f"{name}_host_fails", replace(scenario, faults=0, failures=failures), states, ends)


HOST_FAILS = [
    _host_fails("sync", states=5_400, ends=27),
    _host_fails("sync_event_lost", states=1_300, ends=23),
    _host_fails("sync_second_cancelled", states=10_000, ends=51),
    _host_fails("async_event_lost", states=14_000, ends=18),
    _host_fails("async_one_cancelled", states=3_100, ends=38),
    _host_fails("async_cancelled_twice", states=10_000, ends=119),
    _host_fails("blocks_one", states=550, ends=12),
    _host_fails("notified", states=12_500, ends=39),
    _host_fails("lanes_one", states=780, ends=12),
]

# These take minutes (EXPLORE=long).
LONG = [
    _host_fails("async_one_fails", states=18_000, ends=190),
    _host_fails("async_replay_cancelled", states=22_500, ends=370),
    _host_fails("notified_late_overwritten", states=19_000, ends=78),
    _case("async_one_fault", ASYNC, "overwrite", faults=1, states=130_000, ends=340),
    _case("sync_removed_one_fault", SYNC, "overwrite", "remove", faults=1, states=51_000, ends=350),
    _case("other_type_one_fault", ASYNC, "overwrite", kinds=APPENDED, faults=1, states=280_000, ends=740),
    _host_fails("other_type", states=330_000, ends=125),
    _case("other_type_and_back", ASYNC, "overwrite", "overwrite", versions=3, kinds=APPENDED, states=200_000, ends=83),
    _case("async_three_versions", ASYNC, "overwrite", "overwrite", versions=3, states=45_000, ends=40),
    _case("sync_three_versions", SYNC, "overwrite", "overwrite", versions=3, faults=1, states=76_000, ends=290),
    _case("async_first_cancelled", ASYNC, "overwrite", "cancel 1", faults=1, states=290_000, ends=1_600),
    _case("async_third_cancelled", ASYNC, "overwrite", "overwrite", "cancel 3", versions=3, states=170_000, ends=270),
    _case("sync_two_faults", SYNC, "overwrite", faults=2, states=85_000, ends=930),
    _case("one_two_faults", ASYNC, "fail", "cancel 1", versions=1, faults=2, states=200_000, ends=5_800),
    _case("route_renamed_overwritten", SYNC, "overwrite", routes=RENAMED, states=23_000, ends=12),
    _case("async_renamed_back", ASYNC, "overwrite", "return", states=20_000, ends=56),
    _case("sync_renamed_back_one_fault", SYNC, "overwrite", "return", faults=1, states=79_000, ends=580),
    _host_fails("sync_renamed_back", states=160_000, ends=210),
    *_blocks("overwritten", "overwrite", faults=1, states=(63_000, 88_000), ends=(295, 450)),
    *_blocks("onto_a_lake_file_one_fault", "lake", versions=1, faults=1, states=(11_000, 23_000), ends=(100, 170)),
    *_handed_over("overwritten", "overwrite", states=(9_700, 10_800), ends=(16, 23)),
    *_handed_over("renamed", "fail", versions=1, routes=RENAMED, states=(78_000, 78_000), ends=(38, 38)),
    *_handed_over("failed", "overwrite", "fail", "deadline 1", states=(10_000, 72_000), ends=(60, 90)),
    *_handed_over("cancelled", "cancel 1", "replay 1", versions=1, faults=1, states=(4_700, 5_500), ends=(170, 205)),
    _host_fails("lanes_cancelled_replayed", states=5_200, ends=105),
    _host_fails("lanes_removed", states=900_000, ends=570),
    _host_fails("blocks_after_async_one", states=4_600, ends=33),
    _host_fails("sync_removed", states=42_000, ends=140),
    _host_fails("sync_cancelled_replayed", states=22_000, ends=100),
    _host_fails("sync_failed_replayed", states=15_000, ends=65),
    _host_fails("sync_touched", states=10_000, ends=75),
    _host_fails("async", states=100_000, ends=30),
    _host_fails("async_touched", states=69_000, ends=600),
    _host_fails("async_removed", states=830_000, ends=230),
    _host_fails("async_cancelled_and_overwritten", states=1_900_000, ends=1_100),
    _host_fails("async_fails_first_cancelled", states=2_000_000, ends=560),
    _host_fails("async_fails_second_cancelled", states=2_200_000, ends=640),
    _host_fails("route_renamed", states=55_000, ends=9),
]
