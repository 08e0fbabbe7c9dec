"""The messages of the queue `transfer-ends`: that a transfer ended, or that it needs more than one step.

Each message may be put more than once, and messages arrive in any order.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from rules.errors import Reason
from rules.routes.model import Engine
from rules.transfers import lifecycle
from rules.transfers.model import Outcome, Run, Step
from rules.transfers.states import FINAL, State

# How often a step is repeated because its message cannot be put. Without the message the figures lack one transfer.
MAX_TRIES = 3


class Kind(StrEnum):
    """What happened: a final state of a transfer, or `opened`."""

    OPENED = "opened"
    VERIFIED = "verified"
    SUPERSEDED = "superseded"
    DEAD_LETTERED = "dead_lettered"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Message:
    """One message. `at`: when it happened. The other fields are those of the run; none holds a secret."""

    kind: Kind
    at: datetime
    id: str
    attempt: int
    route: str
    name: str
    source: str
    target: str
    accepted_at: datetime
    event_at: datetime | None = None
    size: int | None = None
    engine: Engine | None = None
    source_etag: str = ""
    target_etag: str = ""
    reason: Reason | None = None
    polls: int = 0
    retries: int = 0
    resumes: int = 0

    @property
    def latency(self) -> float:
        """Seconds since the event, or since the transfer was accepted. The clocks of the two may differ."""
        return max(0.0, (self.at - (self.event_at or self.accepted_at)).total_seconds())


def message(run: Run, outcome: Outcome, now: datetime) -> Message | None:
    """Return the message that follows from the outcome of a run's step; None if there is none.

    | after the step | message |
    | --- | --- |
    | the transfer is verified, and was not before | `verified` |
    | the run has ended otherwise | its final state |
    | it was the first step, or repeats it after failures, and more follow | `opened` |
    | else | none |

    A step that is repeated gives the same message again.
    """
    if run.step is Step.STAGE:
        return None  # its run has one of the lanes, and it never ends a transfer
    after = lifecycle.advance(run, outcome, now)
    if _is_verified(after):
        return None if _is_verified(run) else _of(after, Kind.VERIFIED, now)
    if after.step is None:
        return _of(after, Kind(after.state), now)
    is_first = run.step is Step.START and (run.first_look_at is None or run.activity_failures > 0)
    return _of(after, Kind.OPENED, now) if is_first else None


def of_ended(run: Run, live: dict[str, Any], at: datetime) -> Message | None:
    """Return the message of an orchestration that has ended, from its input and its output; None if it tells no end."""
    state, size = live.get("state"), live.get("total")
    if state not in list(FINAL):
        return None
    return replace(
        _of(run, Kind(state), at),
        size=size if isinstance(size, int) else run.size,
        engine=next((engine for engine in Engine if engine == live.get("engine")), None),
        target_etag=str(live.get("target_etag") or ""),
        reason=next((reason for reason in Reason if reason == live.get("reason")), None),
    )


def may_repeat(run: Run, now: datetime) -> bool:
    """Whether the step may be repeated because its message cannot be put, so that this does not end the transfer."""
    near_end = lifecycle.in_copy_phase(run) and (run.cancelling or lifecycle.is_past_deadline(run, now))
    return run.activity_failures < MAX_TRIES and not near_end


def _is_verified(run: Run) -> bool:
    return run.ending is not None and run.ending.state is State.VERIFIED


def _of(run: Run, kind: Kind, at: datetime) -> Message:
    transfer = run.transfer
    return Message(
        kind=kind,
        at=at,
        id=transfer.id,
        attempt=run.attempt,
        route=transfer.route,
        name=transfer.name,
        source=transfer.source_blob.url,
        target=transfer.target_blob.url,
        accepted_at=run.accepted_at,
        event_at=run.event_at,
        size=run.size,
        engine=run.engine,
        source_etag=transfer.etag,
        target_etag=run.target_etag,
        reason=run.ending.reason if run.ending else None,
        polls=run.all_polls,
        retries=run.retries,
        resumes=run.resumes,
    )
