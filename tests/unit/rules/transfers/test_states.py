"""The states of a transfer: one table."""

import itertools

import pytest

from rules.transfers.states import FINAL, TRANSITIONS, ForbiddenTransition, State, check_transition

MOVES = {
    State.ACCEPTED: {"copying", "verified", "superseded", "dead_lettered", "cancelled"},
    State.COPYING: {"verified", "superseded", "dead_lettered", "cancelled"},
    State.VERIFIED: {"accepted"},
    State.SUPERSEDED: {"accepted"},
    State.DEAD_LETTERED: {"accepted"},
    State.CANCELLED: {"accepted"},
}


def test_the_table_says_these_moves_and_no_others() -> None:
    """The design's line about states, spelled out."""
    assert TRANSITIONS == MOVES


def test_the_final_states_are_the_four_of_the_promise() -> None:
    """I1 names them."""
    assert {"verified", "superseded", "dead_lettered", "cancelled"} == FINAL


@pytest.mark.parametrize(("old", "new"), list(itertools.product(State, State)))
def test_a_move_is_made_only_if_the_table_has_it(old: State, new: State) -> None:
    """Staying is no move, and always allowed."""
    if new is old or new in MOVES[old]:
        assert check_transition(old, new) is new
    else:
        with pytest.raises(ForbiddenTransition, match=f"{old} -> {new} is not a transition"):
            check_transition(old, new)
