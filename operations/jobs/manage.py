"""Starting, reading and cancelling a job, and reading its report."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from secrets import token_hex
from typing import Any

from operations.log import log
from operations.problems import Conflict, Invalid, NotFound
from operations.transfers.cancel import request_until_confirmed
from ports.orchestrations import Instances
from ports.services import Ports
from rules.figures.view import Price, egress_of_job
from rules.jobs import status
from rules.jobs.model import Job, JobKind, JobState
from rules.jobs.report import found_page, results_page
from rules.orchestrations import recovery
from rules.orchestrations.instance import Instance


def new_id(kind: JobKind) -> str:
    """Return a new random id."""
    return f"{kind}-{token_hex(12)}"


async def start(ports: Ports, instances: Instances, job: Job) -> str:
    """Start a job, and return its id.

    Raises:
        NotFound: the route of a reconcile does not exist.
        Invalid: its prefix is outside the route.
    """
    if job.kind is JobKind.RECONCILE:
        _check_reconcile(ports, job)
    await instances.start(job)
    log("job.requested", f"{job.kind} requested", id=job.id, route=job.route, prefix=job.prefix, dry_run=job.dry_run)
    return job.id


def _check_reconcile(ports: Ports, job: Job) -> None:
    route = ports.route(job.route or "")
    if route is None:
        fix = f"Use one of: {', '.join(route.name for route in ports.routes)}."
        raise NotFound("no route has this name", fix)
    if not job.prefix.startswith(route.source.prefix) and job.prefix:
        fix = f"Use the beginning of names at the source, which starts with {route.source.prefix!r}; or omit it."
        raise Invalid("`prefix` is outside the route", fix)


async def get(instances: Instances, identity: str, price: Price | None = None) -> dict[str, Any]:
    """Return one job as the API shows it. With a price, a dry run of a reconcile shows the estimated cost."""
    return _view(await _find(instances, identity), price)


async def list_jobs(
    instances: Instances, kind: JobKind, limit: int, continuation: str | None, price: Price | None = None
) -> dict[str, Any]:
    """Return a page of jobs. Their order is undefined."""
    listed, following = await instances.page(prefix=f"{kind}-", limit=limit, continuation=continuation)
    return {"items": [_view(instance, price) for instance in listed if instance.job], "continuation": following}


async def read_report(
    ports: Ports, instances: Instances, identity: str, number: int
) -> tuple[list[dict[str, Any]], bool]:
    """Return one page of a job's report, and whether another follows. Pages of the survey precede pages of results.

    A page is empty after the container's retention rule has deleted it.
    """
    instance = await _find(instances, identity)
    progress = {**status.progress(_job(instance)), **instance.live}
    pages, batches = int(progress["pages"]), int(progress["batches"])
    if number >= pages + batches:
        return [], False
    name = found_page(identity, number) if number < pages else results_page(identity, number - pages)
    return await ports.reports.read(name), number + 1 < pages + batches


async def cancel(
    instances: Instances, identity: str, pause: Callable[[float], Awaitable[Any]] = asyncio.sleep
) -> dict[str, Any]:
    """Cancel a job, and return it once it has confirmed the cancel. The transfers that it started continue.

    Raises:
        NotFound: the job does not exist.
        Conflict: it had already ended.
        Unavailable: it did not confirm within 30 s. Sending the request again is safe.
    """
    job = await request_until_confirmed(instances, identity, partial(_if_confirmed, instances, identity), pause)
    log("job.cancel_noticed", "cancelled by request", id=identity)
    return job


async def _if_confirmed(instances: Instances, identity: str, *, requested: bool) -> dict[str, Any] | None:
    job = await get(instances, identity)
    if requested and job["state"] == JobState.CANCELLED:
        return job
    if job["state"] != JobState.RUNNING:
        raise Conflict(f"{identity} is already {job['state']}", "Nothing to do.", state=job["state"])
    return job if job["cancelling"] else None


async def _find(instances: Instances, identity: str) -> Instance:
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


def _view(instance: Instance, price: Price | None) -> dict[str, Any]:
    job = _job(instance)
    shown = status.view(job, instance.live, recovery.failure_text(instance) if instance.broken else None)
    if job.kind is not JobKind.RECONCILE:
        return shown
    return {**shown, "egress": egress_of_job(price, shown["counts"]["bytes"]) if job.dry_run else None}
