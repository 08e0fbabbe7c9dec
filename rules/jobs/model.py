"""Jobs: work on many transfers at once, bulk replay, bulk discard and reconcile, as values; and which batch follows from the last one.

A job surveys first and writes what it finds into pages of a report; then, unless it is a dry run, it acts on the lines of that
report at a limited rate. So what it costs is known before it begins, and where it is fits into a few numbers, however many
blobs there are.
"""

from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from hashlib import sha256

from rules.errors import Reason
from rules.routes.model import Route

DEFAULT_RATE, MAX_RATE = 20, 100


# In the worst script a character is twelve of JSON: the status stays under 4 KB.
MAX_DETAIL = 200


class JobKind(StrEnum):
    """What a job is for."""

    REPLAY = "replay"
    DISCARD = "discard"
    RECONCILE = "reconcile"


class Phase(StrEnum):
    """The batches of a job; each is one activity, named in `fixed_names`."""

    SURVEY = "survey"
    EXTRAS = "extras"
    ACT = "act"


class JobState(StrEnum):
    """Where a job is; all but `running` are final."""

    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


class Finding(StrEnum):
    """The classes of a reconcile's report: how a blob of the source stands at the target."""

    MATCH = "match"
    MISSING = "missing"
    STALE = "stale"
    EXTRA = "extra"
    ERROR = "error"


class Result(StrEnum):
    """What became of a line that was acted on.

    `started`: a transfer runs. `discarded`: the dead letter was put away. `running`: it ran already. `skipped`: a person cancelled it, or it is a dead letter that waits for
    its replay. `refused`: today's routes or its own state do not allow it. `failed`: it was tried, and storage would not, several times.
    """

    STARTED = "started"
    DISCARDED = "discarded"
    RUNNING = "running"
    SKIPPED = "skipped"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Tally:
    """How many lines of each kind. `found` and `bytes` are of what is to be acted on; `bytes` knows only sizes that are known."""

    found: int = 0
    bytes: int = 0
    match: int = 0
    missing: int = 0
    stale: int = 0
    extra: int = 0
    error: int = 0
    started: int = 0
    discarded: int = 0
    running: int = 0
    skipped: int = 0
    refused: int = 0
    failed: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def acted(self) -> int:
        """What counts towards the rate."""
        return self.started + self.discarded


@dataclass(frozen=True, slots=True)
class Job:
    """A job: its orchestration's input, and every activity's request. What was asked for, then how far it is.

    `cursor` is where the listing goes on, and `hint` where the listing that it is compared with does; both are the service's
    own. `pages` counts the report's pages, `batches` the pages of results; `page` and `line` are where acting goes on.
    """

    id: str
    kind: JobKind
    created_at: datetime
    route: str | None = None
    reason: Reason | None = None
    since: datetime | None = None
    until: datetime | None = None
    dry_run: bool = False
    rate: int = DEFAULT_RATE
    state: JobState = JobState.RUNNING
    phase: Phase | None = Phase.SURVEY
    cursor: str | None = None
    hint: str | None = None
    pages: int = 0
    batches: int = 0
    page: int = 0
    line: int = 0
    tally: Tally = Tally()
    failures: int = 0
    resumes: int = 0
    pause: int = 0
    cancelling: bool = False
    detail: str = ""
    updated_at: datetime | None = None
    schema: int = 1


@dataclass(frozen=True, slots=True)
class Batch:
    """What one batch did. `wrote`: it wrote a page. `cursor`, `hint`: where the next one goes on, None at the end.

    Of acting: `page` and `line` say where the next one goes on. The tally is of the whole page of results; `before` says how
    many of its lines an earlier try of this batch had acted on. `failure` says why the batch is to be done again; `moved` that
    it got somewhere all the same, a line of it was newly done; `permanent` that doing it again would not help.
    """

    tally: Tally = Tally()
    wrote: bool = False
    cursor: str | None = None
    hint: str | None = None
    page: int = 0
    line: int = 0
    before: int = 0
    failure: str = ""
    moved: bool = False
    permanent: bool = False


def scheduled_id(route: Route, now: datetime) -> str | None:
    """The id of the reconcile that a route's own schedule asks for now: one for each interval since the epoch."""
    if route.reconcile is None:
        return None
    slot = int(now.timestamp() // route.reconcile.total_seconds())
    digest = sha256(f"{route.name}\n{route.reconcile.total_seconds():.0f}\n{slot}".encode()).hexdigest()
    return f"{JobKind.RECONCILE}-{digest[:24]}"
