"""Jobs: work on many transfers at once, bulk replay, bulk discard and reconcile, as values; and which turn follows from the last one.

A job surveys first and writes what it finds into pages of a report; then, unless it is a dry run, it acts on the lines of that
report at a limited rate. So what it costs is known before it begins, and where it is fits into a few numbers, however many
blobs there are.
"""

from dataclasses import dataclass, fields, replace
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any

from rules import codec, policies
from rules.codec import stamp
from rules.errors import Reason
from rules.models import Route

DEFAULT_RATE, MAX_RATE = 20, 100
# What one turn of acting starts is this many seconds' worth, so that a cancel is noticed soon.
TURN_SECONDS = 5
# Lines of one page of a report.
PAGE = 500
# In the worst script a character is twelve of JSON: the status stays under 4 KB.
MAX_DETAIL = 200


class Work(StrEnum):
    """What a job is for."""

    REPLAY = "replay"
    DISCARD = "discard"
    RECONCILE = "reconcile"


class Phase(StrEnum):
    """The turns of a job; each is one activity, named in `fixed_names`."""

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
    own. `pages` counts the report's pages, `turns` the pages of results; `page` and `line` are where acting goes on.
    """

    id: str
    work: Work
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
    turns: int = 0
    page: int = 0
    line: int = 0
    tally: Tally = Tally()
    faults: int = 0
    resumes: int = 0
    pause: int = 0
    cancelling: bool = False
    detail: str = ""
    updated_at: datetime | None = None
    schema: int = 1


@dataclass(frozen=True, slots=True)
class Turn:
    """What one turn did. `wrote`: it wrote a page. `cursor`, `hint`: where the next one goes on, None at the end.

    Of acting: `page` and `line` say where the next one goes on. The tally is of the whole page of results; `before` says how
    many of its lines an earlier try of this turn had acted on. `failure` says why the turn is to be done again; `moved` that
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


def found(job_id: str, number: int) -> str:
    """The name of a page of what the survey found."""
    return f"{job_id}/found-{number:06}.jsonl"


def results(job_id: str, number: int) -> str:
    """The name of a page of what came of acting."""
    return f"{job_id}/results-{number:06}.jsonl"


def scheduled_id(route: Route, now: datetime) -> str | None:
    """The id of the reconcile that a route's own schedule asks for now: one for each interval since the epoch."""
    if route.reconcile is None:
        return None
    slot = int(now.timestamp() // route.reconcile.total_seconds())
    digest = sha256(f"{route.name}\n{route.reconcile.total_seconds():.0f}\n{slot}".encode()).hexdigest()
    return f"{Work.RECONCILE}-{digest[:24]}"


def quota(job: Job) -> int:
    """How many lines one turn of acting may take up."""
    return job.rate * TURN_SECONDS


def advance(job: Job, turn: Turn, now: datetime) -> Job:
    """The job after a turn. `phase` None means that it has ended; `pause` is seconds to wait before the next turn.

    | phase | turn | what follows |
    | --- | --- | --- |
    | any | a cancel was seen | the end, `cancelled` |
    | any | failure, and it got nowhere | backoff, the same turn; after 10 in a row, the end: `failed` |
    | any | failure, but it got somewhere | a pause, the same turn; failures are counted anew |
    | any | failure, and doing it again would not help | the end, `failed` |
    | survey, extras | there is more | the same, from there |
    | survey of a reconcile | at the end | extras |
    | survey, extras | at the end | act; or the end of a dry run, and where nothing was found |
    | act | there is more, also because the turn was slow | a pause as long as what it newly started or discarded may take at the rate, act |
    | act | at the end | the end, `done` |
    """
    if turn.failure:
        return faulted(job, turn.failure, now, moved=turn.moved, permanent=turn.permanent)
    job = replace(job, tally=job.tally + turn.tally, faults=0, pause=0, detail="", updated_at=now)
    if job.phase is Phase.ACT:
        job = replace(job, page=turn.page, line=turn.line, turns=job.turns + turn.wrote)
        job = replace(job, pause=_pace(job, turn.tally.acted - turn.before))
    else:
        job = replace(job, pages=job.pages + turn.wrote, cursor=turn.cursor, hint=turn.hint)
    return _ended(job, JobState.CANCELLED) if job.cancelling else _following(job)


def faulted(job: Job, detail: str, now: datetime, *, moved: bool = False, permanent: bool = False) -> Job:
    """The job after a turn that is to be done again: nothing of it is lost, and doing it again is harmless.

    | it got somewhere | failures in a row | what follows |
    | --- | --- | --- |
    | yes | 0 again | the same turn, after a pause |
    | no | one more, up to 9 | the same turn, after a backoff |
    | no | 10 | the end, `failed` |

    The pause is never shorter than a turn's worth of starts: this one may have started as many.
    """
    job = replace(job, faults=0 if moved else job.faults + 1, detail=detail[:MAX_DETAIL], updated_at=now)
    if job.cancelling:
        return _ended(job, JobState.CANCELLED)
    if permanent or job.faults >= policies.MAX_FAULTS:
        return _ended(job, JobState.FAILED)
    return replace(job, pause=max(policies.backoff(job.faults, job.id), TURN_SECONDS))


def cancelled(job: Job, now: datetime) -> Job:
    """The job after a cancel was seen between two turns; what it started goes on."""
    return _ended(replace(job, cancelling=True, updated_at=now), JobState.CANCELLED)


def resumed(job: Job, detail: str) -> Job:
    """The job to start again after the host failed its orchestration: at the turn of its input, which is safe to repeat."""
    return replace(job, faults=0, pause=0, resumes=job.resumes + 1, detail=detail[:MAX_DETAIL])


def broken_off(job: Job, detail: str) -> Job:
    """The job to start again at its end, where it will not be continued; what it started goes on."""
    return _ended(replace(job, detail=detail[:MAX_DETAIL]), JobState.CANCELLED if job.cancelling else JobState.FAILED)


def caught_up(job: Job, shown: dict[str, Any]) -> Job:
    """The job with the counts and pages that its status shows: its input is older, and what was done since counts.

    A status that cannot be read changes nothing.
    """
    try:
        tally = codec.decode(Tally, shown["counts"])
        return replace(job, tally=tally, pages=int(shown["pages"]), turns=int(shown["turns"]))
    except (KeyError, TypeError, ValueError):
        return job


def _pace(job: Job, acted: int) -> int:
    """Seconds that so many starts or discards may take at the rate; a timer under two seconds fires at once."""
    return max(-(-acted // job.rate), policies.MIN_POLL) if acted else 0


def _following(job: Job) -> Job:
    if job.phase is Phase.ACT:
        return _ended(job, JobState.DONE) if job.page >= job.pages else job
    if job.cursor is not None:
        return job
    if job.phase is Phase.SURVEY and job.work is Work.RECONCILE:
        return replace(job, phase=Phase.EXTRAS, hint=None)
    if job.dry_run or not job.tally.found:
        return _ended(job, JobState.DONE)
    return replace(job, phase=Phase.ACT, hint=None)


def _ended(job: Job, state: JobState) -> Job:
    return replace(job, state=state, phase=None, pause=0, cursor=None, hint=None)


def progress(job: Job) -> dict[str, Any]:
    """The live detail: custom status while it runs, output when it has ended. Under 2 KB, without a cursor."""
    return {
        "state": job.state,
        "phase": job.phase,
        "cancelling": job.cancelling,
        "resumes": job.resumes,
        "counts": {f.name: getattr(job.tally, f.name) for f in fields(Tally)},
        "pages": job.pages,
        "turns": job.turns,
        "detail": job.detail,
        "updated_at": stamp(job.updated_at or job.created_at),
    }


STARTING = tuple(result for result in Result if result is not Result.DISCARDED)
RESULTS: dict[Work, tuple[Result, ...]] = {
    Work.RECONCILE: STARTING,
    Work.REPLAY: STARTING,
    Work.DISCARD: (Result.DISCARDED, Result.RUNNING, Result.REFUSED, Result.FAILED),
}
COUNTS: dict[Work, tuple[str, ...]] = {
    Work.RECONCILE: (*Finding, "found", "bytes", *RESULTS[Work.RECONCILE]),
    Work.REPLAY: ("found", "bytes", *RESULTS[Work.REPLAY]),
    Work.DISCARD: ("found", "bytes", *RESULTS[Work.DISCARD]),
}


def view(job: Job, live: dict[str, Any], detail: str | None = None) -> dict[str, Any]:
    """A job as the API answers it. `live` is `progress` as the extension kept it, `{}` before the first turn.

    `detail` replaces what it last said of itself: why it is broken, until it is started again.
    """
    shown = {**progress(job), **live} | ({} if detail is None else {"detail": detail[:MAX_DETAIL]})
    counts = progress(job)["counts"] | shown["counts"]  # another version may have counted less
    return {
        "id": job.id,
        "state": shown["state"],
        "phase": shown["phase"],
        "cancelling": shown["cancelling"],
        "resumes": shown["resumes"],
        "route": job.route,
        **({"reason": job.reason, **_times(job)} if job.work is not Work.RECONCILE else {}),
        "dry_run": job.dry_run,
        "max_per_second": job.rate,
        "counts": {str(name): counts[name] for name in COUNTS[job.work]},
        "pages": shown["pages"] + shown["turns"],
        "detail": shown["detail"],
        "created_at": stamp(job.created_at),
        "updated_at": shown["updated_at"],
    }


def _times(job: Job) -> dict[str, str | None]:
    return {"since": stamp(job.since) if job.since else None, "until": stamp(job.until) if job.until else None}
