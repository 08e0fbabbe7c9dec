"""Asking for a job, looking at it, reading its report, cancelling it."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from secrets import token_hex
from typing import Any

from operations.log import log
from operations.problems import Conflict, NotFound
from operations.transfers.cancel import until_noticed
from ports.orchestrations import Instances
from ports.services import Ports
from rules.jobs import status
from rules.jobs.model import Job, JobKind, JobState
from rules.jobs.report import found_page, results_page
from rules.orchestrations import recovery
from rules.orchestrations.instance import Instance


def new_id(kind: JobKind) -> str:
    """An id that no job had before."""
    return f"{kind}-{token_hex(12)}"


async def start(ports: Ports, instances: Instances, job: Job) -> str:
    """Start a job; its id.

    Raises:
        NotFound: there is no route of that name, and so nothing that could be compared.
    """
    if job.kind is JobKind.RECONCILE and ports.route(job.route or "") is None:
        fix = f"Use one of: {', '.join(route.name for route in ports.routes)}."
        raise NotFound("no route has this name", fix)
    await instances.start(job)
    log("job.requested", f"{job.kind} requested", id=job.id, route=job.route, dry_run=job.dry_run)
    return job.id


async def look(instances: Instances, identity: str) -> dict[str, Any]:
    """One job, as the API answers it."""
    return _view(await _found(instances, identity))


async def page(instances: Instances, kind: JobKind, limit: int, continuation: str | None) -> dict[str, Any]:
    """A page of jobs, in no promised order."""
    found, following = await instances.page(prefix=f"{kind}-", limit=limit, continuation=continuation)
    return {"items": [_view(instance) for instance in found if instance.job], "continuation": following}


async def report(ports: Ports, instances: Instances, identity: str, number: int) -> tuple[list[dict[str, Any]], bool]:
    """One page of a job's report, first what was found, then what came of it; and whether there is another.

    A page is empty once the container's own rule has deleted it.
    """
    shown = {**status.progress(_job(instance := await _found(instances, identity))), **instance.live}
    pages, batches = int(shown["pages"]), int(shown["batches"])
    if number >= pages + batches:
        return [], False
    name = found_page(identity, number) if number < pages else results_page(identity, number - pages)
    return await ports.reports.read(name), number + 1 < pages + batches


async def cancel(
    instances: Instances, identity: str, pause: Callable[[float], Awaitable[Any]] = asyncio.sleep
) -> dict[str, Any]:
    """Cancel a job; the job as it is once that is certain. What it started goes on.

    Raises:
        NotFound, Conflict, Unavailable: as for a transfer.
    """
    shown = await until_noticed(instances, identity, partial(_noticed, instances, identity), pause)
    log("job.cancel_noticed", "cancelled by request", id=identity)
    return shown


async def _noticed(instances: Instances, identity: str, *, asked: bool) -> dict[str, Any] | None:
    shown = await look(instances, identity)
    if asked and shown["state"] == JobState.CANCELLED:
        return shown
    if shown["state"] != JobState.RUNNING:
        raise Conflict(f"{identity} is already {shown['state']}", "Nothing to do.", state=shown["state"])
    return shown if shown["cancelling"] else None


async def _found(instances: Instances, identity: str) -> Instance:
    instance = await instances.find(identity)
    if instance is None or instance.job is None:
        raise NotFound(
            f"job {identity} does not exist",
            "List them with GET /api/reconciles, GET /api/replays or GET /api/discards.",
        )
    return instance


def _job(instance: Instance) -> Job:
    if instance.job is None:
        raise TypeError(f"{instance.id} is not a job")
    return instance.job


def _view(instance: Instance) -> dict[str, Any]:
    return status.view(_job(instance), instance.live, recovery.failure_text(instance) if instance.broken else None)
