"""The values of a transfer, all frozen. `codec` converts those that cross a process boundary."""

from dataclasses import dataclass, field
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


class Verdict(StrEnum):
    """The verdicts of a step; `lifecycle.advance` decides what follows."""

    VERIFIED = "verified"
    WAITING = "waiting"
    STAGING = "staging"
    AGAIN = "again"
    GONE = "gone"
    OCCUPIED = "occupied"
    SUPERSEDED = "superseded"
    ENDED = "ended"
    RETRYABLE = "retryable"
    PERMANENT = "permanent"
    DONE = "done"


class Step(StrEnum):
    """The steps of a transfer. Each is one activity, named in `fixed_names.STEPS`."""

    START = "start"
    STAGE = "stage"
    CHECK = "check"
    RECORD = "record"
    CLEAN = "clean"
    CLOSE = "close"
    NOTIFY = "notify"


@dataclass(frozen=True, slots=True)
class Transfer:
    """One version along one route: one orchestration. Created by `identity.transfer`, which computes its id."""

    id: str
    route: str
    source: Place
    target: Place
    name: str
    etag: str

    @property
    def source_blob(self) -> Blob:
        """The blob to copy."""
        return Blob(self.source.endpoint, self.source.container, self.name)

    @property
    def target_blob(self) -> Blob:
        """The blob to write: the target's prefix replaces the source's."""
        return self.target.blob(self.name.removeprefix(self.source.prefix))


@dataclass(frozen=True, slots=True)
class Successor:
    """What superseded a version: the blob's newer ETag, or its deletion (`etag` None).

    `growing`: an append blob, which may get further successors at any moment (rule 12).
    """

    etag: str | None
    growing: bool = False


@dataclass(frozen=True, slots=True)
class Ending:
    """How a transfer ends: its final state and the reason. `successor` says what superseded it, if anything."""

    state: State
    reason: Reason | None = None
    detail: str = ""
    successor: Successor | None = None


FIRST_FLOW = 8


@dataclass(frozen=True, slots=True)
class Lane:
    """Consecutive blocks, `next` to `end`, that one activity after another stages; blocks before `next` are staged.

    `staged` is bytes; `flow` is how many requests may be in flight. `failures` counts activities in a row that failed;
    the next one begins at `due`.
    """

    next: int
    end: int
    staged: int = 0
    flow: int = FIRST_FLOW
    failures: int = 0
    due: datetime | None = None

    @property
    def done(self) -> bool:
        """Whether every block is staged."""
        return self.next >= self.end


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one step. An outcome is a verdict on the blob; an exception of an activity is not (rule 8).

    `ending` is set for `ended` and `superseded`; `reason` and `detail` explain the other verdicts. `size` and
    `copied` are bytes, `pause` is seconds. `began`: this step started the copy that the next one waits for.
    `lanes`: what is left to stage, or the progress of one lane. `refused`: the engines that this version cannot use.
    `copy_id` is the pending copy. `patience`: how long it may make no progress before another engine replaces it; None
    if there is none. `target_etag` is that of a verified target, empty if the app has not seen it.
    """

    verdict: Verdict
    engine: Engine | None = None
    size: int | None = None
    copied: int = 0
    reason: Reason | None = None
    detail: str = ""
    ending: Ending | None = None
    pause: int = 0
    note: str = ""
    began: bool = False
    lanes: tuple[Lane, ...] = ()
    refused: tuple[Engine, ...] = ()
    copy_id: str = ""
    patience: timedelta | None = None
    target_etag: str = field(default="", compare=False)  # it decides nothing


@dataclass(frozen=True, slots=True)
class Run:
    """One attempt of a transfer: the input of its orchestration and of every activity.

    It holds everything that must survive `continue_as_new` and no secret, in under 16 KB of JSON. `first`: nothing
    was tried before, so `start` may act without a look. `first_look_at`: when the first step ended. `gone`,
    `settled`: the pause that the last `start` asked for with `Verdict.GONE` or `OCCUPIED` is over. `refused`: the
    engines that this attempt does not use any more. `slow_copy`: the pending copy to replace. `notify`: the route has a
    recipient to notify once the transfer is verified. `all_polls`: the polls
    of all copies of this attempt; `polls`: those of the pending copy. `event_at`: the time of the event that caused it,
    None for a share, a replay or a reconcile.
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
    lanes: tuple[Lane, ...] = ()
    refused: tuple[Engine, ...] = ()
    slow_copy: str = ""
    ending: Ending | None = None
    reason: Reason | None = None
    detail: str = ""
    note: str = ""
    notify: bool = False
    verified_at: datetime | None = None
    # What only the figures show; these fields decide nothing.
    target_etag: str = field(default="", compare=False)
    all_polls: int = field(default=0, compare=False)
    retries: int = field(default=0, compare=False)
    event_at: datetime | None = None
    schema: int = 1

    def lane(self, end: int) -> Lane:
        """Return the lane with this end, which identifies it."""
        return next(lane for lane in self.lanes if lane.end == end)


@dataclass(frozen=True, slots=True)
class Ended:
    """The record of a transfer's end. An activity of this attempt or an earlier one stops when it reads it.

    `resumes` is the run's: a late write of a failed execution cannot undo the record of the resumed one. `discarded`:
    a person discarded the dead letter of this end, so the sweep does not write it again.
    """

    id: str
    attempt: int
    ending: Ending
    resumes: int = 0
    discarded: bool = False

    @property
    def rank(self) -> tuple[int, int]:
        """Decides between two records of one transfer: the higher rank wins."""
        return self.attempt, self.resumes
