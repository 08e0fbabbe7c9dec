"""The states of a transfer."""

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


def test_the_table_of_transitions() -> None:
    assert TRANSITIONS == MOVES


def test_the_final_states() -> None:
    assert {"verified", "superseded", "dead_lettered", "cancelled"} == FINAL


@pytest.mark.parametrize(("old", "new"), list(itertools.product(State, State)))
def test_only_transitions_of_the_table_are_permitted(old: State, new: State) -> None:
    """A transfer may always stay in its state."""
    if new is old or new in MOVES[old]:
        assert check_transition(old, new) is new
    else:
        with pytest.raises(ForbiddenTransition, match=f"{old} -> {new} is not a transition"):
            check_transition(old, new)
