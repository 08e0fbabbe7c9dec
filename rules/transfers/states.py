"""The states of a transfer and the moves between them: one table that code, docs, answers and tests all read."""

from enum import StrEnum


class State(StrEnum):
    """Where a transfer is. The last four are final."""

    ACCEPTED = "accepted"
    COPYING = "copying"
    VERIFIED = "verified"
    SUPERSEDED = "superseded"
    DEAD_LETTERED = "dead_lettered"
    CANCELLED = "cancelled"


FINAL = frozenset({State.VERIFIED, State.SUPERSEDED, State.DEAD_LETTERED, State.CANCELLED})

TRANSITIONS: dict[State, frozenset[State]] = {
    # `accepted` ends `verified` without `copying` where one request does it all (a small blob).
    State.ACCEPTED: FINAL | {State.COPYING},
    State.COPYING: FINAL,
    # A final state opens again only by a person (replay, share now) or by reconcile, with the next attempt number.
    **{state: frozenset({State.ACCEPTED}) for state in FINAL},
}


class ForbiddenTransition(ValueError):
    """A transfer may not go from one state to the other."""


def check_transition(old: State, new: State) -> State:
    """Return `new` if a transfer in `old` may go there (or is there already).

    Raises:
        ForbiddenTransition: the table has no such move.
    """
    if new is not old and new not in TRANSITIONS[old]:
        raise ForbiddenTransition(f"{old} -> {new} is not a transition; from {old}: {sorted(TRANSITIONS[old])}")
    return new
