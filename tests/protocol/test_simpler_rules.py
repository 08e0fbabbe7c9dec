"""The exploration finds a broken guarantee with each simpler rule in place."""

import pytest

from tests.protocol import simpler
from tests.protocol.explorer import BrokenPromise, explore
from tests.protocol.scenarios import APPENDED, ASYNC, BLOCKS, SYNC
from tests.protocol.simpler import Simpler
from tests.protocol.state import Scenario, TwoBlocks

BROKEN_BY: list[tuple[Simpler, Scenario]] = [
    (simpler.receipt_is_metadata, Scenario(ASYNC, script=("overwrite",))),
    (simpler.receipt_ignores_size, Scenario(ASYNC, versions=1, script=("fail", "touch"))),
    (simpler.incomplete_is_not_success, Scenario(ASYNC, versions=1, script=("deadline 1", "replay 1"), faults=1)),
    (simpler.replaced_without_condition, Scenario(SYNC, versions=3, script=("overwrite", "overwrite"))),
    (simpler.created_without_condition, Scenario(SYNC, script=("overwrite",))),
    (simpler.ended_is_not_read, Scenario(ASYNC, versions=1, script=("cancel 1", "fail"), faults=1)),
    (simpler.settle_is_too_short, Scenario(ASYNC, versions=1, script=("remove", "fail"), failures=1)),
    (
        simpler.last_write_of_a_dead_letter_wins,
        Scenario(ASYNC, versions=1, script=("deadline 1", "replay 1"), faults=1),
    ),
    (simpler.stale_copies_are_not_cleaned, Scenario(ASYNC, script=("overwrite", "deadline 1"), lost=frozenset({2}))),
    (
        simpler.superseded_cleans_only_what_is_visible,
        Scenario(ASYNC, versions=1, script=("remove", "fail"), failures=1),
    ),
    (simpler.dead_letters_are_not_swept, Scenario(ASYNC, versions=1, script=("deadline 1", "cancel 1"), failures=1)),
    (simpler.one_look_finds_a_deletion, Scenario(SYNC, versions=1, script=(), faults=1)),
    (
        simpler.another_type_is_removed_immediately,
        Scenario(ASYNC, versions=3, kinds=APPENDED, script=("overwrite", "overwrite"), lost=frozenset({3})),
    ),
    (
        simpler.discarded_dead_letters_are_missing,
        Scenario(ASYNC, versions=1, script=("deadline 1", "discard 1", "forget 1", "sweep")),
    ),
    (
        simpler.discard_is_marked_first,
        Scenario(ASYNC, versions=1, script=("deadline 1", "discard 1", "lose 1"), interleaved=True),
    ),
    (simpler.blocks_have_no_version, Scenario(BLOCKS, script=("overwrite",), sizes=TwoBlocks())),
    (simpler.a_match_is_final, Scenario(SYNC, script=("overwrite", "return"))),
    (simpler.a_running_transfer_is_enough, Scenario(SYNC, script=("overwrite", "return"))),
    (
        simpler.a_verified_transfer_has_a_deadline,
        Scenario(SYNC, script=("overwrite", "deadline 1"), notify=True, failures=1),
    ),
    (simpler.an_abort_is_never_repeated, Scenario(ASYNC, versions=1, script=("deadline 1", "fail"), faults=1)),
]


@pytest.mark.parametrize(("rule", "scenario"), BROKEN_BY, ids=[rule.__name__ for rule, _ in BROKEN_BY])
def test_a_simpler_rule_breaks_a_guarantee(rule: Simpler, scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    rule(monkeypatch)
    with pytest.raises(BrokenPromise):
        explore(scenario)
