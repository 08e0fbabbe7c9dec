"""Bulk replay and bulk discard: which open dead letters are meant, and what is done with each."""

from typing import Any

from activities.jobs.batch import counted
from ports.services import Ports
from rules.codec import parse_time
from rules.jobs.model import Batch, Job
from rules.jobs.report import PAGE, found_page
from rules.transfers import identity


async def survey(ports: Ports, job: Job) -> Batch:
    """One page of open dead letters: those that are meant become lines of the report."""
    prefix = identity.route_prefix(job.route) if job.route else ""
    items, cursor = await ports.dead_letters.page(prefix, PAGE, job.cursor)
    lines = [item for item in items if _is_meant(job, item)]
    if lines:
        await ports.reports.write(found_page(job.id, job.pages), lines)
    return Batch(counted(lines), wrote=bool(lines), cursor=cursor)


def _is_meant(job: Job, item: dict[str, Any]) -> bool:
    """By reason, and by when it failed last; one that does not say when is meant where no time is asked for."""
    if job.reason is not None and item["reason"] != job.reason:
        return False
    if job.since is None and job.until is None:
        return True
    try:
        failed = parse_time(item["last_failed_at"] or "")
    except ValueError:
        return False
    return (job.since is None or job.since <= failed) and (job.until is None or failed < job.until)
