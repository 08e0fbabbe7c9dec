"""Scheduled reconciles: they share the blobs whose events were lost."""

from collections.abc import Collection

from operations.figures.budget import current_routes
from operations.jobs.manage import start
from operations.log import log
from ports.orchestrations import Instances
from ports.services import Ports
from rules.jobs.model import Job, JobKind, scheduled_id
from rules.jobs.report import results_page
from rules.orchestrations.instance import StatusFilter
from rules.routes.model import Route

PAGE = 100


async def reconcile_due(ports: Ports, instances: Instances) -> list[str]:
    """Start the reconcile of each route that is due, and return the ids. Concurrent calls start each of them once."""
    scheduled = [route for route in ports.routes if route.reconcile is not None]
    due = [route for route in await current_routes(ports, scheduled) if not route.ignores_events]
    busy = await _routes_in_progress(instances) if due else set()
    return [job for route in due if (job := await _start_due(ports, instances, route, busy))]


async def _start_due(ports: Ports, instances: Instances, route: Route, busy: set[str]) -> str | None:
    """Start the job of the current interval, unless it exists or the previous one is still running."""
    identity = scheduled_id(route, ports.now())
    if identity is None:
        return None
    return await start_once(ports, instances, Job(identity, JobKind.RECONCILE, ports.now(), route=route.name), busy)


async def start_once(
    ports: Ports, instances: Instances, job: Job, busy: Collection[str | None] = frozenset()
) -> str | None:
    """Start a job, unless it exists or its route is busy. Return its id if it was started."""
    if await instances.find(job.id) is not None:
        return None
    if await ports.reports.read(results_page(job.id, 0)):
        # The task hub was lost after this job had acted. A new job of the same id would take the old results for its own.
        log("reconcile.skipped", "this reconcile has already acted", id=job.id, route=job.route)
        return None
    if job.route in busy:
        log("reconcile.still_running", "the previous reconcile is still running; this one is skipped", route=job.route)
        return None
    return await start(ports, instances, job)


async def _routes_in_progress(instances: Instances) -> set[str]:
    """Return the routes that are being reconciled as a whole. Dry runs do not count."""
    names, continuation = set(), None
    while True:
        page, continuation = await instances.page(
            prefix=f"{JobKind.RECONCILE}-", statuses=StatusFilter.UNDER_WAY, limit=PAGE, continuation=continuation
        )
        jobs = [instance.job for instance in page if instance.job]
        names |= {job.route for job in jobs if not (job.dry_run or job.prefix)}
        if continuation is None:
            return {name for name in names if name is not None}
