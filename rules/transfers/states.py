"""The states of a transfer and the transitions between them."""

from enum import StrEnum


class State(StrEnum):
    """The state of a transfer. The last four are final."""

    ACCEPTED = "accepted"
    COPYING = "copying"
    VERIFIED = "verified"
    SUPERSEDED = "superseded"
    DEAD_LETTERED = "dead_lettered"
    CANCELLED = "cancelled"


FINAL = frozenset({State.VERIFIED, State.SUPERSEDED, State.DEAD_LETTERED, State.CANCELLED})

TRANSITIONS: dict[State, frozenset[State]] = {
    # A small blob goes from `accepted` to `verified` with one request, without `copying`.
    State.ACCEPTED: FINAL | {State.COPYING},
    State.COPYING: FINAL,
    # Only a replay, a share or a reconcile reopens a final state, with the next attempt number.
    **{state: frozenset({State.ACCEPTED}) for state in FINAL},
}


class ForbiddenTransition(ValueError):
    """The requested transition is not in `TRANSITIONS`."""


def check_transition(old: State, new: State) -> State:
    """Return `new` if it equals `old` or is a permitted transition from it.

    Raises:
        ForbiddenTransition: `TRANSITIONS` does not permit it.
    """
    if new is not old and new not in TRANSITIONS[old]:
        raise ForbiddenTransition(f"{old} -> {new} is not a transition; from {old}: {sorted(TRANSITIONS[old])}")
    return new
