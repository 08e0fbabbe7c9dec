"""The progress of a job: its orchestration's custom status and output, and the API's answer."""

from dataclasses import fields
from typing import Any

from rules.codec import stamp
from rules.jobs.model import MAX_DETAIL, Finding, Job, JobKind, Result, Tally

# The results and counts that each kind of job can have.
STARTING = tuple(result for result in Result if result is not Result.DISCARDED)
RESULTS: dict[JobKind, tuple[Result, ...]] = {
    JobKind.RECONCILE: STARTING,
    JobKind.REPLAY: STARTING,
    JobKind.DISCARD: (Result.DISCARDED, Result.RUNNING, Result.REFUSED, Result.FAILED),
}
COUNTS: dict[JobKind, tuple[str, ...]] = {
    JobKind.RECONCILE: (*Finding, "found", "bytes", *RESULTS[JobKind.RECONCILE]),
    JobKind.REPLAY: ("found", "bytes", *RESULTS[JobKind.REPLAY]),
    JobKind.DISCARD: ("found", "bytes", *RESULTS[JobKind.DISCARD]),
}


def progress(job: Job) -> dict[str, Any]:
    """Return the custom status of a running job, or the output of an ended one. Under 4 KB, without cursors."""
    return {
        "state": job.state,
        "phase": job.phase,
        "cancelling": job.cancelling,
        "resumes": job.resumes,
        "counts": {f.name: getattr(job.tally, f.name) for f in fields(Tally)},
        "pages": job.pages,
        "batches": job.batches,
        "detail": job.detail,
        "updated_at": stamp(job.updated_at or job.created_at),
    }


def view(job: Job, live: dict[str, Any], detail: str | None = None) -> dict[str, Any]:
    """Return a job as the API answers it. `live` is the stored result of `progress`, `{}` before the first batch.

    `detail` replaces its last detail: while its orchestration is broken, it says why.
    """
    shown = {**progress(job), **live} | ({} if detail is None else {"detail": detail[:MAX_DETAIL]})
    counts = progress(job)["counts"] | shown["counts"]  # another release may have fewer counts
    return {
        "id": job.id,
        "state": shown["state"],
        "phase": shown["phase"],
        "cancelling": shown["cancelling"],
        "resumes": shown["resumes"],
        "route": job.route,
        **({"prefix": job.prefix} if job.kind is JobKind.RECONCILE else {"reason": job.reason, **_times(job)}),
        "dry_run": job.dry_run,
        "max_per_second": job.rate,
        "counts": {str(name): counts[name] for name in COUNTS[job.kind]},
        **({"egress": None} if job.kind is JobKind.RECONCILE else {}),
        "pages": shown["pages"] + shown["batches"],
        "detail": shown["detail"],
        "created_at": stamp(job.created_at),
        "updated_at": shown["updated_at"],
    }


def _times(job: Job) -> dict[str, str | None]:
    return {"since": stamp(job.since) if job.since else None, "until": stamp(job.until) if job.until else None}
