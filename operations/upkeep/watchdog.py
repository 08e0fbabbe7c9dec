"""The watchdog: orchestrations that make no progress are reported, resumed where an activity was lost, ended where they never will."""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from operations.log import log
from operations.upkeep.timer_run import TimerRun
from ports.orchestrations import Instances
from ports.services import Ports
from rules.jobs.model import JobKind
from rules.orchestrations import recovery
from rules.orchestrations.instance import Instance, StatusFilter
from rules.orchestrations.liveness import LOST_AFTER, SILENT_AFTER, Liveness, assess, last_sign_of_life

SECONDS, MOST, AT_ONCE = 240.0, 600, 5
# A message of the hub that has waited for so long says that the answers may be waiting, too.
BEHIND = timedelta(minutes=5)
# A suspended one is left to the person who suspended it.
ALIVE = StatusFilter.RUNNING - {"Suspended"}
PREFIXES = (*(f"{kind}-" for kind in JobKind), "")


@dataclass
class Seen:
    """What a round has seen: how many are silent, the one that has been so for longest, and whether the task hub is behind."""

    count: int = 0
    since: datetime | None = None
    id: str = ""
    name: str | None = None
    behind: bool | None = None

    def add(self, instance: Instance) -> None:
        """Count a silent one."""
        self.count += 1
        if self.since is None or last_sign_of_life(instance) < self.since:
            self.since, self.id, self.name = last_sign_of_life(instance), instance.id, instance.name

    async def is_behind(self, ports: Ports, instances: Instances, run: TimerRun) -> bool:
        """Look at the hub once a round, and only where something looks lost. One that cannot be looked at counts as behind."""
        if self.behind is None:
            self.behind = True
            with run:
                self.behind = await _is_behind(ports, instances)
        return self.behind


async def watch(ports: Ports, instances: Instances) -> int:
    """Look at all that run: report the silent ones, resume the lost ones, end the stuck ones; how many of the last two.

    Flat in memory, however many there are; a round that takes too long is over, and the next one goes on from there.
    """
    run, seen = TimerRun(ports, "watchdog", seconds=SECONDS, most=MOST), Seen()
    for prefix in PREFIXES:
        if not run.over:
            with run:
                await _look(ports, instances, run, prefix, seen)
    if seen.since is not None:
        log(
            "watchdog.silent",
            "orchestrations have made no progress for over an hour",
            level=logging.WARNING,
            count=seen.count,
            oldest_id=seen.id,
            oldest_name=seen.name,
            oldest_seconds=_seconds(ports.now() - seen.since),
        )
    run.finish()
    return run.done


async def _look(ports: Ports, instances: Instances, run: TimerRun, prefix: str, seen: Seen) -> None:
    async def act(listed: Instance) -> None:
        # Not `+=` around the await: several are under way at once, and each would add to the count that it began with.
        if await _act(ports, instances, listed.id):
            run.done += 1

    async for page in run.pages(instances, prefix, statuses=ALIVE, before=ports.now() - LOST_AFTER):
        for instance in page:
            if ports.now() - last_sign_of_life(instance) > SILENT_AFTER:
                seen.add(instance)
        lives = [(instance, assess(instance, ports.now())) for instance in page]
        await run.each([instance for instance, found in lives if found is Liveness.STUCK], act, AT_ONCE)
        lost = [instance for instance, found in lives if found is Liveness.LOST]
        if lost and not await seen.is_behind(ports, instances, run):
            await run.each(lost, act, AT_ONCE)


async def _is_behind(ports: Ports, instances: Instances) -> bool:
    """Whether the hub has a backlog, in which nothing can be told from waiting: then nothing is taken for lost."""
    oldest = await instances.oldest_message()
    behind = ports.now() - oldest if oldest else timedelta(0)
    if behind > BEHIND:
        text = "the task hub has a backlog, so no activity is treated as lost"
        log("watchdog.behind", text, level=logging.WARNING, oldest_seconds=_seconds(behind))
    return behind > BEHIND


async def _act(ports: Ports, instances: Instances, identity: str) -> bool:
    """End what is stuck or lost, if it still is: the page may be old. True if it was ended."""
    instance = await instances.find(identity)
    found = assess(instance, ports.now()) if instance is not None and instance.status in ALIVE else Liveness.ACTIVE
    if instance is None or found not in {Liveness.STUCK, Liveness.LOST}:
        return False
    if found is Liveness.STUCK:
        await _end(ports, instances, instance)
    else:
        log("watchdog.lost", recovery.LOST_ACTIVITY, level=logging.WARNING, id=identity, name=instance.name)
        await give_back(ports, instances, identity)
    return True


async def give_back(_ports: Ports, instances: Instances, identity: str) -> None:
    """End an orchestration whose activity was lost, so that it is resumed. If the activity runs after all, it does no harm."""
    await instances.terminate(identity, recovery.LOST_ACTIVITY)


async def _end(ports: Ports, instances: Instances, instance: Instance) -> None:
    """End it without asking it; of a transfer, its dead letter shows the reason."""
    silent = ports.now() - last_sign_of_life(instance)
    why = f"no progress for {silent // timedelta(hours=1)} hours; the watchdog ended it"
    log(
        "watchdog.stuck",
        why,
        level=logging.WARNING,
        id=instance.id,
        name=instance.name,
        silent_seconds=_seconds(silent),
    )
    await instances.terminate(instance.id, why)


def _seconds(span: timedelta) -> int:
    return int(span.total_seconds())
