"""The words of the product as values: place, blob, version, route, transfer, run.

All are frozen. What crosses a process (an orchestration's input, an activity's request or outcome) goes through `codec`.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from rules.errors import Reason
from rules.routes.model import Blob, Engine, Place
from rules.transfers.states import State


class Kind(StrEnum):
    """The type of a blob, as the service names it."""

    BLOCK = "BlockBlob"
    APPEND = "AppendBlob"
    PAGE = "PageBlob"


@dataclass(frozen=True, slots=True)
class Transfer:
    """One version along one route: one orchestration. Made by `identity.transfer`, which gives it its id."""

    id: str
    route: str
    source: Place
    target: Place
    name: str
    etag: str

    @property
    def source_blob(self) -> Blob:
        """The blob that is shared."""
        return Blob(self.source.endpoint, self.source.container, self.name)

    @property
    def target_blob(self) -> Blob:
        """Where it goes: the target's prefix in place of the source's."""
        return self.target.blob(self.name.removeprefix(self.source.prefix))


@dataclass(frozen=True, slots=True)
class Successor:
    """What replaced a superseded version: the blob's newer ETag, or its deletion (`etag` is None).

    `growing`: an append blob, which may have another successor at any moment (rule 12).
    """

    etag: str | None
    growing: bool = False


@dataclass(frozen=True, slots=True)
class Ending:
    """How a transfer ends: its final state, and why. `successor` is set where it was superseded by a version or a deletion."""

    state: State
    reason: Reason | None = None
    detail: str = ""
    successor: Successor | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one step of a transfer found. An exception from an activity is infrastructure; an outcome is a verdict.

    `verdict` decides. `ending` comes with `ended` and `superseded`; `reason` and `detail` explain the others. Sizes are bytes,
    `pause` is seconds; `began`: this very step began the copy that is waited for.
    """

    verdict: "Verdict"
    engine: Engine | None = None
    size: int | None = None
    copied: int = 0
    reason: Reason | None = None
    detail: str = ""
    ending: Ending | None = None
    pause: int = 0
    note: str = ""
    began: bool = False


class Verdict(StrEnum):
    """The closed list of what a step may find; `course.advance` says what follows."""

    VERIFIED = "verified"
    WAITING = "waiting"
    AGAIN = "again"
    GONE = "gone"
    OCCUPIED = "occupied"
    SUPERSEDED = "superseded"
    ENDED = "ended"
    RETRYABLE = "retryable"
    PERMANENT = "permanent"
    DONE = "done"


class Step(StrEnum):
    """The steps of a transfer; each is one activity, named in `fixed_names`."""

    START = "start"
    CHECK = "check"
    RECORD = "record"
    CLEAN = "clean"
    CLOSE = "close"


@dataclass(frozen=True, slots=True)
class Run:
    """One attempt of a transfer: the orchestration's input, and every activity's request.

    Everything that must survive `continue_as_new` is here, and nothing that is secret. Under 16 KB of JSON. `first_look_at`: when
    the first step ended. `gone`, `settled`: what the last `start` found, and has been waited for since (`Verdict.GONE`, `OCCUPIED`).
    """

    transfer: Transfer
    accepted_at: datetime
    attempt: int = 0
    has_open_dead_letter: bool = False
    deadline: timedelta | None = None
    step: Step | None = Step.START
    state: State = State.ACCEPTED
    first: bool = True
    engine: Engine | None = None
    size: int | None = None
    copied: int = 0
    copy_attempts: int = 0
    activity_failures: int = 0
    resumes: int = 0
    polls: int = 0
    copying_at: datetime | None = None
    progressed_at: datetime | None = None
    updated_at: datetime | None = None
    first_look_at: datetime | None = None
    gone: bool = False
    settled: bool = False
    pause: int = 0
    cancelling: bool = False
    recorded: bool = False
    ending: Ending | None = None
    reason: Reason | None = None
    detail: str = ""
    note: str = ""
    schema: int = 1


@dataclass(frozen=True, slots=True)
class Ended:
    """That an attempt of a transfer ended for good: whatever acts for this attempt, or an earlier one, stops.

    `resumes` counts how often the host had failed its orchestration: what a failed execution still has in flight does not undo
    what the resumed one recorded. `discarded`: a person discarded the letter of this end, so none is owed.
    """

    id: str
    attempt: int
    ending: Ending
    resumes: int = 0
    discarded: bool = False

    @property
    def rank(self) -> tuple[int, int]:
        """Of two records the one with the higher rank holds."""
        return self.attempt, self.resumes
