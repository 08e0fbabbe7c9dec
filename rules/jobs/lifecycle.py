"""Which batch of a job follows from the last one."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from rules import codec
from rules.jobs.model import MAX_DETAIL, Batch, Job, JobKind, JobState, Phase, Tally
from rules.transfers import policies

# What one batch of acting starts is this many seconds' worth, so that a cancel is noticed soon.
BATCH_SECONDS = 5


def quota(job: Job) -> int:
    """How many lines one batch of acting may take up."""
    return job.rate * BATCH_SECONDS


def advance(job: Job, batch: Batch, now: datetime) -> Job:
    """The job after a batch. `phase` None means that it has ended; `pause` is seconds to wait before the next batch.

    | phase | batch | what follows |
    | --- | --- | --- |
    | any | a cancel was seen | the end, `cancelled` |
    | any | failure, and it got nowhere | backoff, the same batch; after 10 in a row, the end: `failed` |
    | any | failure, but it got somewhere | a pause, the same batch; failures are counted anew |
    | any | failure, and doing it again would not help | the end, `failed` |
    | survey, extras | there is more | the same, from there |
    | survey of a reconcile | at the end | extras |
    | survey, extras | at the end | act; or the end of a dry run, and where nothing was found |
    | act | there is more, also because the batch was slow | a pause as long as what it newly started or discarded may take at the rate, act |
    | act | at the end | the end, `done` |
    """
    if batch.failure:
        return handle_failure(job, batch.failure, now, moved=batch.moved, permanent=batch.permanent)
    job = replace(job, tally=job.tally + batch.tally, failures=0, pause=0, detail="", updated_at=now)
    if job.phase is Phase.ACT:
        job = replace(job, page=batch.page, line=batch.line, batches=job.batches + batch.wrote)
        job = replace(job, pause=_pause_after(job, batch.tally.acted - batch.before))
    else:
        job = replace(job, pages=job.pages + batch.wrote, cursor=batch.cursor, hint=batch.hint)
    return _end(job, JobState.CANCELLED) if job.cancelling else _next_phase(job)


def handle_failure(job: Job, detail: str, now: datetime, *, moved: bool = False, permanent: bool = False) -> Job:
    """The job after a batch that is to be done again: nothing of it is lost, and doing it again is harmless.

    | it got somewhere | failures in a row | what follows |
    | --- | --- | --- |
    | yes | 0 again | the same batch, after a pause |
    | no | one more, up to 9 | the same batch, after a backoff |
    | no | 10 | the end, `failed` |

    The pause is never shorter than a batch's worth of starts: this one may have started as many.
    """
    job = replace(job, failures=0 if moved else job.failures + 1, detail=detail[:MAX_DETAIL], updated_at=now)
    if job.cancelling:
        return _end(job, JobState.CANCELLED)
    if permanent or job.failures >= policies.MAX_FAILURES:
        return _end(job, JobState.FAILED)
    return replace(job, pause=max(policies.backoff(job.failures, job.id), BATCH_SECONDS))


def cancel(job: Job, now: datetime) -> Job:
    """The job after a cancel was seen between two batches; what it started goes on."""
    return _end(replace(job, cancelling=True, updated_at=now), JobState.CANCELLED)


def resume(job: Job, detail: str) -> Job:
    """The job to start again after the host failed its orchestration: at the batch of its input, which is safe to repeat."""
    return replace(job, failures=0, pause=0, resumes=job.resumes + 1, detail=detail[:MAX_DETAIL])


def abandon(job: Job, detail: str) -> Job:
    """The job to start again at its end, where it will not be continued; what it started goes on."""
    return _end(replace(job, detail=detail[:MAX_DETAIL]), JobState.CANCELLED if job.cancelling else JobState.FAILED)


def merge_status(job: Job, shown: dict[str, Any]) -> Job:
    """The job with the counts and pages that its status shows: its input is older, and what was done since counts.

    A status that cannot be read changes nothing.
    """
    try:
        tally = codec.decode(Tally, shown["counts"])
        return replace(job, tally=tally, pages=int(shown["pages"]), batches=int(shown["batches"]))
    except (KeyError, TypeError, ValueError):
        return job


def _pause_after(job: Job, acted: int) -> int:
    """Seconds that so many starts or discards may take at the rate; a timer under two seconds fires at once."""
    return max(-(-acted // job.rate), policies.MIN_POLL) if acted else 0


def _next_phase(job: Job) -> Job:
    if job.phase is Phase.ACT:
        return _end(job, JobState.DONE) if job.page >= job.pages else job
    if job.cursor is not None:
        return job
    if job.phase is Phase.SURVEY and job.kind is JobKind.RECONCILE:
        return replace(job, phase=Phase.EXTRAS, hint=None)
    if job.dry_run or not job.tally.found:
        return _end(job, JobState.DONE)
    return replace(job, phase=Phase.ACT, hint=None)


def _end(job: Job, state: JobState) -> Job:
    return replace(job, state=state, phase=None, pause=0, cursor=None, hint=None)
