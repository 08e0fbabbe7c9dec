"""The purge: deletes the histories of orchestrations that ended long ago, one by one."""

from datetime import timedelta

from operations.log import log
from operations.upkeep.sweep import needs_dead_letter
from operations.upkeep.timer_run import TimerRun
from ports.orchestrations import Instances
from ports.services import Ports
from rules.jobs.model import JobKind
from rules.orchestrations import status
from rules.orchestrations.instance import Instance, StatusFilter
from rules.orchestrations.liveness import RETENTION, may_purge
from rules.transfers.states import State

# 25 histories a second on average. A run ends before the next one begins; five at a time do not slow down transfers.
MAX_DONE, SECONDS, CONCURRENCY = 15_000, 300.0, 5
# By prefix: jobs that ended in any way, then transfers that completed. Broken transfers are left to `resume`.
LISTS = {**{f"{kind}-": StatusFilter.ENDED for kind in JobKind}, "": frozenset({"Completed"})}


async def purge(ports: Ports, instances: Instances) -> int:
    """Delete histories that ended over 30 days ago, and return how many. The next run continues where this one stopped.

    Each is deleted by its id: the extension's purge by filter ignores the prefix, and would delete too much.
    """
    run = TimerRun(ports, "purge", seconds=SECONDS, max_done=MAX_DONE)
    for prefix, statuses in LISTS.items():
        if not run.over:
            with run:
                await _purge_list(ports, instances, run, prefix, statuses)
    if run.done:
        text = f"histories that ended over {RETENTION // timedelta(days=1)} days ago were deleted"
        log("purge.done", text, count=run.done)
    run.finish()
    return run.done


async def _purge_list(ports: Ports, instances: Instances, run: TimerRun, prefix: str, statuses: frozenset[str]) -> None:
    async def purge_one(listed: Instance) -> None:
        if await _may_be_purged(ports, instances, listed.id):
            await instances.purge(listed.id)
            run.done += 1

    before = ports.now() - RETENTION
    async for page in run.pages(instances, prefix, statuses=statuses, before=before):
        old = [instance for instance in page if may_purge(instance, ports.now())]
        await run.for_each(old, purge_one, CONCURRENCY)


async def _may_be_purged(ports: Ports, instances: Instances, identity: str) -> bool:
    """Decide by the current state, because the page may be outdated. A history stays while its dead letter is open."""
    instance = await instances.find(identity)
    if instance is None or not may_purge(instance, ports.now()):
        return False
    letter = await ports.dead_letters.read(identity)
    if letter is not None and letter.resolved_at is None:
        return False
    # The sweep writes a missing dead letter from the history.
    ended = (
        await ports.dead_letters.read_ended(identity) if status.view(instance)["state"] == State.DEAD_LETTERED else None
    )
    return ended is None or not await needs_dead_letter(ports, instance, ended)
