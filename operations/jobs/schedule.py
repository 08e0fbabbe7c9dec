"""Scheduled reconciles: they share the blobs whose events were lost."""

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
    due = [route for route in ports.routes if route.reconcile is not None]
    busy = await _routes_in_progress(instances) if due else set()
    return [job for route in due if (job := await _start(ports, instances, route, busy))]


async def _start(ports: Ports, instances: Instances, route: Route, busy: set[str]) -> str | None:
    """Start the job of the current interval, unless it exists or the previous one is still running."""
    now = ports.now()
    identity = scheduled_id(route, now)
    if identity is None or await instances.find(identity) is not None:
        return None
    if await ports.reports.read(results_page(identity, 0)):
        # The task hub was lost after this job had acted. A new job of the same id would take the old results for its own.
        log("reconcile.skipped", "the reconcile of this interval has already acted", id=identity, route=route.name)
        return None
    if route.name in busy:
        log("reconcile.still_running", "the previous reconcile is still running; this one is skipped", route=route.name)
        return None
    return await start(ports, instances, Job(identity, JobKind.RECONCILE, now, route=route.name))


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
