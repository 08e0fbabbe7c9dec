"""The reconcile that a route asks for by itself, every so often: lost events heal without anybody."""

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
    """Start the reconcile of each route whose time has come; the ids. Run twice, or by two hosts, it starts one."""
    due = [route for route in ports.routes if route.reconcile is not None]
    busy = await _reconciling(instances) if due else set()
    return [job for route in due if (job := await _start(ports, instances, route, busy))]


async def _start(ports: Ports, instances: Instances, route: Route, busy: set[str]) -> str | None:
    """One job for each interval since the epoch; none while the one before still runs."""
    now = ports.now()
    identity = scheduled_id(route, now)
    if identity is None or await instances.find(identity) is not None:
        return None
    if await ports.reports.read(results_page(identity, 0)):
        # It acted, and the task hub was lost since. Its results would be taken for those of the new job.
        log("reconcile.skipped", "the reconcile of this interval has already acted", id=identity, route=route.name)
        return None
    if route.name in busy:
        log("reconcile.still_running", "the previous reconcile is still running; this one is skipped", route=route.name)
        return None
    return await start(ports, instances, Job(identity, JobKind.RECONCILE, now, route=route.name))


async def _reconciling(instances: Instances) -> set[str]:
    """The routes that are being reconciled, but for dry runs."""
    found, continuation = set(), None
    while True:
        page, continuation = await instances.page(
            prefix=f"{JobKind.RECONCILE}-", statuses=StatusFilter.UNDER_WAY, limit=PAGE, continuation=continuation
        )
        found |= {instance.job.route for instance in page if instance.job and not instance.job.dry_run}
        if continuation is None:
            return {route for route in found if route is not None}
