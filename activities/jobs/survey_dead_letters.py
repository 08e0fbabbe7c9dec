"""The survey of a bulk replay or bulk discard: which open dead letters match the filter."""

from typing import Any

from activities.jobs.batch import write_found
from ports.services import Ports
from rules.codec import parse_time
from rules.jobs.model import Batch, Job
from rules.jobs.report import PAGE
from rules.transfers import identity


async def survey(ports: Ports, job: Job) -> Batch:
    """Read one page of open dead letters and write the matching ones to the report."""
    prefix = identity.route_prefix(job.route) if job.route else ""
    items, cursor = await ports.dead_letters.page(prefix, PAGE, job.cursor)
    return await write_found(ports, job, [item for item in items if _matches(job, item)], cursor)


def _matches(job: Job, item: dict[str, Any]) -> bool:
    """By reason and by time of the last failure. An item without that time matches only a job without a time filter."""
    if job.reason is not None and item["reason"] != job.reason:
        return False
    if job.since is None and job.until is None:
        return True
    try:
        failed = parse_time(item["last_failed_at"] or "")
    except ValueError:
        return False
    return (job.since is None or job.since <= failed) and (job.until is None or failed < job.until)
