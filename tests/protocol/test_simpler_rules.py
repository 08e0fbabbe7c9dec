"""The exploration bites: with a simpler rule in place it finds a broken promise by itself."""

import pytest

from tests.protocol import simpler
from tests.protocol.explorer import Broken, explore
from tests.protocol.scenarios import APPENDED, ASYNC, SYNC
from tests.protocol.simpler import Simpler
from tests.protocol.state import Scenario

FOUND: list[tuple[Simpler, Scenario]] = [
    (simpler.receipt_is_metadata, Scenario(ASYNC, script=("overwrite",))),
    (simpler.receipt_ignores_size, Scenario(ASYNC, versions=1, script=("fail", "touch"))),
    (simpler.half_made_is_not_success, Scenario(ASYNC, versions=1, script=("deadline 1", "replay 1"), faults=1)),
    (simpler.replaced_without_condition, Scenario(SYNC, versions=3, script=("overwrite", "overwrite"))),
    (simpler.created_without_condition, Scenario(SYNC, script=("overwrite",))),
    (simpler.ended_is_not_read, Scenario(ASYNC, versions=1, script=("cancel 1", "fail"), faults=1)),
    (simpler.settle_is_too_short, Scenario(ASYNC, versions=1, script=("remove", "fail"), failures=1)),
    (simpler.letters_are_simply_written, Scenario(ASYNC, versions=1, script=("deadline 1", "replay 1"), faults=1)),
    (simpler.stale_copies_are_not_cleaned, Scenario(ASYNC, script=("overwrite", "deadline 1"), lost=frozenset({2}))),
    (
        simpler.superseded_settles_where_something_is_seen,
        Scenario(ASYNC, versions=1, script=("remove", "fail"), failures=1),
    ),
    (simpler.letters_are_not_swept, Scenario(ASYNC, versions=1, script=("deadline 1", "cancel 1"), failures=1)),
    (simpler.one_look_finds_a_deletion, Scenario(SYNC, versions=1, script=(), faults=1)),
    (
        simpler.another_type_is_removed_at_once,
        Scenario(ASYNC, versions=3, kinds=APPENDED, script=("overwrite", "overwrite")),
    ),
    (
        simpler.discarded_letters_are_owed,
        Scenario(ASYNC, versions=1, script=("deadline 1", "discard 1", "forget 1", "sweep")),
    ),
    (
        simpler.said_before_it_is_resolved,
        Scenario(ASYNC, versions=1, script=("deadline 1", "discard 1", "lose 1"), fine=True),
    ),
    (simpler.an_abort_is_never_repeated, Scenario(ASYNC, versions=1, script=("deadline 1", "fail"), faults=1)),
]


@pytest.mark.parametrize(("rule", "scenario"), FOUND, ids=[rule.__name__ for rule, _ in FOUND])
def test_simpler_rule_is_found_out(rule: Simpler, scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some order of things breaks a promise."""
    rule(monkeypatch)
    with pytest.raises(Broken):
        explore(scenario)
