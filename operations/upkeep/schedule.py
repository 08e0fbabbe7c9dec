"""The schedule timer: starts the reconciles that are due, and those of routes that are no longer paused."""

from operations.figures.budget import current_routes
from operations.jobs.schedule import reconcile_due, start_once
from operations.log import log
from operations.upkeep.timer_run import TimerRun
from ports.orchestrations import Instances
from ports.services import Ports
from rules.jobs.model import after_pause

# The timer runs every five minutes; its runs must not overlap.
SECONDS = 240


async def schedule(ports: Ports, instances: Instances) -> list[str]:
    """Start the reconciles, and return their ids. Concurrent calls start each of them once."""
    run, started = TimerRun(ports, "schedule", seconds=SECONDS), list[str]()
    with run:
        started += await _end_pauses(ports, instances, run)
    with run:
        started += await reconcile_due(ports, instances)
    run.finish()
    return started


async def _end_pauses(ports: Ports, instances: Instances, run: TimerRun) -> list[str]:
    """Record the routes that ignore events, and start the reconcile of each recorded route that no longer does."""
    paused = {route.name for route in await current_routes(ports) if route.ignores_events}
    for name in sorted(paused):
        await ports.dead_letters.note_pause(name, ports.now())
    started = []
    for name in [name async for name in ports.dead_letters.list_pauses() if name not in paused]:
        with run:
            started += await _end_pause(ports, instances, name)
    return started


async def _end_pause(ports: Ports, instances: Instances, name: str) -> list[str]:
    """Start the reconcile, then delete the record.

    If this fails in between, the next run finds the reconcile by its id. The record is marked first: an event that another
    instance, still with the old settings, ignores from then on replaces it, and a new pause does so, too. The new record
    leads to another reconcile.
    """
    pause = await ports.dead_letters.end_pause(name)
    if pause is None:  # a concurrent run was faster
        return []
    started = None
    if ports.route(name) is None:
        log("pause.dropped", "the route was removed while it was paused", route=name)
    else:
        job = after_pause(pause, ports.now())
        started = await start_once(ports, instances, job)
        if started:
            log("pause.ended", "the route is no longer paused; its reconcile was started", id=job.id, route=name)
    await ports.dead_letters.drop_pause(pause)
    return [started] if started else []
