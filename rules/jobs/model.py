"""The values of a job: a bulk replay, a bulk discard or a reconcile.

A job first surveys and writes its findings to pages of a report. Unless it is a dry run, it then acts on the lines of
that report at a limited rate. Its size is therefore known before it acts. Its position takes only a few numbers,
regardless of the number of blobs.
"""

from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from hashlib import sha256

from rules.codec import stamp
from rules.errors import Reason
from rules.events.decide import Folder
from rules.routes.model import Pause, Route

DEFAULT_RATE, MAX_RATE = 20, 100
# A character may take twelve characters of JSON; the status must stay under 4 KB.
MAX_DETAIL = 200


class JobKind(StrEnum):
    """The kinds of jobs."""

    REPLAY = "replay"
    DISCARD = "discard"
    RECONCILE = "reconcile"


class Phase(StrEnum):
    """The phases of a job. A batch of each is one activity, named in `fixed_names.PHASES`."""

    SURVEY = "survey"
    EXTRAS = "extras"
    ACT = "act"


class JobState(StrEnum):
    """The state of a job. All but `running` are final."""

    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


class Finding(StrEnum):
    """The classes of a reconcile: how a blob's source compares with its target."""

    MATCH = "match"
    MISSING = "missing"
    STALE = "stale"
    EXTRA = "extra"
    ERROR = "error"


class Result(StrEnum):
    """The result of acting on a line.

    `started`: its transfer was started. `discarded`: its dead letter was discarded. `running`: its transfer was
    already running. `skipped`: a person cancelled it, or it is a dead letter that a reconcile does not replay.
    `refused`: the current routes or its own state do not allow it. `failed`: it failed several times in a row.
    """

    STARTED = "started"
    DISCARDED = "discarded"
    RUNNING = "running"
    SKIPPED = "skipped"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of lines. `found` and `bytes` count the lines to act on; an unknown size adds 0 to `bytes`."""

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
        """The lines that count towards the rate."""
        return self.started + self.discarded


@dataclass(frozen=True, slots=True)
class Job:
    """A job: the input of its orchestration and of every activity.

    A reconcile compares only names that begin with `prefix`. The survey continues at `cursor`, and `hint` is where the list on
    the other side continues; both are markers of the service. `pages` counts the pages of findings, `batches` the pages of
    results. `act` continues at `page` and `line`.
    """

    id: str
    kind: JobKind
    created_at: datetime
    route: str | None = None
    reason: Reason | None = None
    since: datetime | None = None
    until: datetime | None = None
    prefix: str = ""
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
    """The result of one batch. `wrote`: it wrote a page.

    The survey continues at `cursor` and `hint`, None at the end; `act` continues at `page` and `line`. The tally
    covers the whole page of results; `before` of its starts and discards were done by an earlier try of this batch.
    `failure` is why the batch must be repeated; `moved`: some of its lines succeeded nevertheless; `permanent`: repeating
    it would not help.
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


def after_rename(folder: Folder, now: datetime) -> Job:
    """Return the reconcile of a renamed directory. Its id follows from the event, so that a duplicate finds it."""
    route, prefix = folder.route, folder.prefix
    digest = sha256(f"{route.name}\n{route.source.url}\n{prefix}\n{folder.event_id}".encode()).hexdigest()
    return Job(
        f"{JobKind.RECONCILE}-{digest[:24]}", JobKind.RECONCILE, now, route=route.name, prefix=prefix, rate=MAX_RATE
    )


def after_pause(pause: Pause, now: datetime) -> Job:
    """Return the reconcile of a route that was paused. Its id follows from the record, so that a repeated start finds it."""
    digest = sha256(f"{pause.route}\n{stamp(pause.since)}\npaused".encode()).hexdigest()
    return Job(f"{JobKind.RECONCILE}-{digest[:24]}", JobKind.RECONCILE, now, route=pause.route)


def scheduled_id(route: Route, now: datetime) -> str | None:
    """Return the id of a route's scheduled reconcile, one per interval since the epoch; None without a schedule."""
    if route.reconcile is None:
        return None
    slot = int(now.timestamp() // route.reconcile.total_seconds())
    digest = sha256(f"{route.name}\n{route.reconcile.total_seconds():.0f}\n{slot}".encode()).hexdigest()
    return f"{JobKind.RECONCILE}-{digest[:24]}"
