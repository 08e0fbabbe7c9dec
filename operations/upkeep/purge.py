"""The purge: histories that ended long ago are forgotten, one by one, in slices."""

from datetime import timedelta

from operations.log import log
from operations.upkeep.sweep import is_owed
from operations.upkeep.timer_run import TimerRun
from ports.orchestrations import Instances
from ports.services import Ports
from rules.jobs.model import JobKind
from rules.orchestrations import status
from rules.orchestrations.instance import Instance, StatusFilter
from rules.orchestrations.liveness import RETENTION, may_purge
from rules.transfers.states import State

# What a round may take from those who share blobs meanwhile.
MOST, SECONDS, AT_ONCE = 1_000, 60.0, 5
# Jobs by their prefixes, ended in any way; then transfers that ended with a word of their own.
LISTS = {**{f"{kind}-": StatusFilter.ENDED for kind in JobKind}, "": frozenset({"Completed"})}


async def purge(ports: Ports, instances: Instances) -> int:
    """Forget a slice of what ended over 30 days ago; how many. The next round goes on where this one was over.

    By id alone: the extension's purge by a filter ignores the prefix, and would take what must stay.
    """
    run = TimerRun(ports, "purge", seconds=SECONDS, most=MOST)
    for prefix, statuses in LISTS.items():
        if not run.over:
            with run:
                await _slice(ports, instances, run, prefix, statuses)
    if run.done:
        text = f"histories that ended over {RETENTION // timedelta(days=1)} days ago were deleted"
        log("purge.done", text, count=run.done)
    run.finish()
    return run.done


async def _slice(ports: Ports, instances: Instances, run: TimerRun, prefix: str, statuses: frozenset[str]) -> None:
    async def forget(listed: Instance) -> None:
        if await _may_go(ports, instances, listed.id):
            await instances.purge(listed.id)
            run.done += 1

    before = ports.now() - RETENTION
    async for page in run.pages(instances, prefix, statuses=statuses, before=before):
        old = [instance for instance in page if may_purge(instance, ports.now())]
        await run.each(old, forget, AT_ONCE)


async def _may_go(ports: Ports, instances: Instances, identity: str) -> bool:
    """Whether it may go as it is now: the page may be old, and a replay under way. Never while its dead letter is open."""
    instance = await instances.find(identity)
    if instance is None or not may_purge(instance, ports.now()):
        return False
    letter = await ports.dead_letters.read(identity)
    if letter is not None and letter.resolved_at is None:
        return False
    # One that the sweep has yet to write is written from the history.
    ended = (
        await ports.dead_letters.read_ended(identity) if status.view(instance)["state"] == State.DEAD_LETTERED else None
    )
    return ended is None or not await is_owed(ports, instance, ended)
