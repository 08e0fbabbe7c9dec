"""Bulk replay and bulk discard: which open dead letters are meant, and what is done with each."""

from typing import Any

from operations.acting import Acted, Line, counted
from operations.discard import discard
from operations.problems import Conflict, NotFound
from operations.replay import Resolved, replay
from operations.restart import StillRunning
from rules import identity, jobs
from rules.codec import moment
from rules.jobs import PAGE, Job, Result, Turn
from rules.letters import DISCARDED
from rules.ports import Instances, Ports


async def survey(ports: Ports, job: Job) -> Turn:
    """One page of open dead letters: those that are meant become lines of the report."""
    prefix = identity.route_prefix(job.route) if job.route else ""
    items, cursor = await ports.letters.page(prefix, PAGE, job.cursor)
    lines = [item for item in items if _is_meant(job, item)]
    if lines:
        await ports.reports.write(jobs.found(job.id, job.pages), lines)
    return Turn(counted(lines), wrote=bool(lines), cursor=cursor)


def _is_meant(job: Job, item: dict[str, Any]) -> bool:
    """By reason, and by when it failed last; one that does not say when is meant where no time is asked for."""
    if job.reason is not None and item["reason"] != job.reason:
        return False
    if job.since is None and job.until is None:
        return True
    try:
        failed = moment(item["last_failed_at"] or "")
    except ValueError:
        return False
    return (job.since is None or job.since <= failed) and (job.until is None or failed < job.until)


async def replay_line(ports: Ports, instances: Instances, job: Job, line: Line) -> Acted:
    """Replay one dead letter; what it answers is the line's result.

    One that was resolved since the job was asked for is not refused: a try of the turn that was lost may have replayed it.
    """
    try:
        await replay(ports, instances, line["id"])
    except StillRunning:
        return Acted(Result.RUNNING)
    except (Conflict, NotFound) as refused:
        if isinstance(refused, Resolved) and refused.at >= job.created_at and refused.how != DISCARDED:
            return Acted(Result.RUNNING, "replayed in the meantime")
        return Acted(Result.REFUSED, refused.detail)
    return Acted(Result.STARTED)


async def discard_line(ports: Ports, instances: Instances, job: Job, line: Line) -> Acted:
    """Discard one dead letter, if it is the failure that the survey found; what it answers is the line's result.

    One that was discarded since the job was asked for is not refused: a try of the turn that was lost may have done it.
    """
    try:
        await discard(ports, instances, line["id"], line["last_failed_at"])
    except StillRunning:
        return Acted(Result.RUNNING)
    except (Conflict, NotFound) as refused:
        if isinstance(refused, Resolved) and refused.at >= job.created_at and refused.how == DISCARDED:
            return Acted(Result.DISCARDED, "discarded in the meantime")
        return Acted(Result.REFUSED, refused.detail)
    return Acted(Result.DISCARDED)
