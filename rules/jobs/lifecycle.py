"""Which batch of a job follows from the last one. The orchestrator only carries this out."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from rules import codec
from rules.jobs.model import MAX_DETAIL, Batch, Job, JobKind, JobState, Phase, Tally
from rules.transfers import policies

# A batch acts on this many seconds' worth of lines, so that a cancel is noticed soon.
BATCH_SECONDS = 5


def quota(job: Job) -> int:
    """Return the most lines that one batch may act on."""
    return job.rate * BATCH_SECONDS


def advance(job: Job, batch: Batch, now: datetime) -> Job:
    """Return the job after a batch.

    `phase` is None once the job has ended; `pause` is the number of seconds to wait before the next batch.

    | phase | batch | next |
    | --- | --- | --- |
    | any | any, after a cancel request | the end, `cancelled` |
    | any | failed without progress | backoff, the same batch; after 10 in a row the end, `failed` |
    | any | failed after progress | a pause, the same batch; the count of failures starts again |
    | any | failed permanently | the end, `failed` |
    | survey, extras | more to list | the next page |
    | survey of a reconcile | the list is complete | extras |
    | survey, extras | the list is complete | act; or the end, `done`, of a dry run or if nothing was found |
    | act | more lines, also because the batch stopped early | a pause that keeps the rate, act |
    | act | no more lines | the end, `done` |

    The pause that keeps the rate covers what this batch itself started or discarded, not what an earlier try of it
    did.
    """
    if batch.failure:
        return handle_failure(job, batch.failure, now, progressed=batch.moved, permanent=batch.permanent)
    job = replace(job, tally=job.tally + batch.tally, failures=0, pause=0, detail="", updated_at=now)
    if job.phase is Phase.ACT:
        job = replace(job, page=batch.page, line=batch.line, batches=job.batches + batch.wrote)
        job = replace(job, pause=_pause_after(job, batch.tally.acted - batch.before))
    else:
        job = replace(job, pages=job.pages + batch.wrote, cursor=batch.cursor, hint=batch.hint)
    return _end(job, JobState.CANCELLED) if job.cancelling else _next_phase(job)


def handle_failure(job: Job, detail: str, now: datetime, *, progressed: bool = False, permanent: bool = False) -> Job:
    """Return the job after a batch that failed or raised: the same batch again, which is safe to repeat.

    | progress | failures in a row | next |
    | --- | --- | --- |
    | yes | reset to 0 | the same batch, after a pause |
    | no | up to 9 | the same batch, after a backoff |
    | no | 10 | the end, `failed` |

    The pause is at least as long as a full batch takes at the rate, because the failed one may have started as much.
    """
    job = replace(job, failures=0 if progressed else job.failures + 1, detail=detail[:MAX_DETAIL], updated_at=now)
    if job.cancelling:
        return _end(job, JobState.CANCELLED)
    if permanent or job.failures >= policies.MAX_FAILURES:
        return _end(job, JobState.FAILED)
    return replace(job, pause=max(policies.backoff(job.failures, job.id), BATCH_SECONDS))


def cancel(job: Job, now: datetime) -> Job:
    """Return the job after a cancel request between two batches. Transfers that it started continue."""
    return _end(replace(job, cancelling=True, updated_at=now), JobState.CANCELLED)


def resume(job: Job, detail: str) -> Job:
    """Return the job to start after the host failed its orchestration: it repeats the batch of its input."""
    return replace(job, failures=0, pause=0, resumes=job.resumes + 1, detail=detail[:MAX_DETAIL])


def abandon(job: Job, detail: str) -> Job:
    """Return the job to start at its end when its orchestration cannot be resumed. Transfers that it started continue."""
    return _end(replace(job, detail=detail[:MAX_DETAIL]), JobState.CANCELLED if job.cancelling else JobState.FAILED)


def merge_status(job: Job, custom: dict[str, Any]) -> Job:
    """Return the job with the counts and pages of its custom status, which is newer than its input.

    A status that cannot be read changes nothing.
    """
    try:
        tally = codec.decode(Tally, custom["counts"])
        return replace(job, tally=tally, pages=int(custom["pages"]), batches=int(custom["batches"]))
    except (KeyError, TypeError, ValueError):
        return job


def _pause_after(job: Job, acted: int) -> int:
    """The seconds in which the rate allows this many starts or discards; at least 2, because a shorter timer fires at once."""
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
