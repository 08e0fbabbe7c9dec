"""The watchdog: finds orchestrations without progress.

It logs silent ones, ends those that wait for a lost activity so that they are resumed, and ends stuck ones.
"""

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

SECONDS, MAX_DONE, CONCURRENCY = 240.0, 600, 5
# An older message in the task hub shows a backlog: results of activities may be waiting, too.
BEHIND = timedelta(minutes=5)
# A suspended orchestration is left to the person who suspended it.
ALIVE = StatusFilter.RUNNING - {"Suspended"}
PREFIXES = (*(f"{kind}-" for kind in JobKind), "")


@dataclass
class Observations:
    """What one run has seen: the number of silent orchestrations, the longest silent one, and a backlog of the hub."""

    count: int = 0
    since: datetime | None = None
    id: str = ""
    name: str | None = None
    behind: bool | None = None

    def add_silent(self, instance: Instance) -> None:
        """Count a silent orchestration."""
        self.count += 1
        if self.since is None or last_sign_of_life(instance) < self.since:
            self.since, self.id, self.name = last_sign_of_life(instance), instance.id, instance.name

    async def is_behind(self, ports: Ports, instances: Instances, run: TimerRun) -> bool:
        """Return whether the hub has a backlog. It is read once per run; if that fails, it counts as behind."""
        if self.behind is None:
            self.behind = True
            with run:
                self.behind = await _read_is_behind(ports, instances)
        return self.behind


async def watch(ports: Ports, instances: Instances) -> int:
    """Check all running orchestrations, and return how many lost or stuck ones were ended.

    Memory use does not depend on their number. A run that takes too long stops, and the next one continues there.
    """
    run, observations = TimerRun(ports, "watchdog", seconds=SECONDS, max_done=MAX_DONE), Observations()
    for prefix in PREFIXES:
        if not run.over:
            with run:
                await _watch_list(ports, instances, run, prefix, observations)
    if observations.since is not None:
        log(
            "watchdog.silent",
            "orchestrations have made no progress for over an hour",
            level=logging.WARNING,
            count=observations.count,
            oldest_id=observations.id,
            oldest_name=observations.name,
            oldest_seconds=_seconds(ports.now() - observations.since),
        )
    run.finish()
    return run.done


async def _watch_list(
    ports: Ports, instances: Instances, run: TimerRun, prefix: str, observations: Observations
) -> None:
    async def end(listed: Instance) -> None:
        # Not `run.done += await ...`: concurrent calls would each add to the count that they had read before.
        if await _end_one(ports, instances, listed.id):
            run.done += 1

    async for page in run.pages(instances, prefix, statuses=ALIVE, before=ports.now() - LOST_AFTER):
        for instance in page:
            if ports.now() - last_sign_of_life(instance) > SILENT_AFTER:
                observations.add_silent(instance)
        assessed = [(instance, assess(instance, ports.now())) for instance in page]
        await run.for_each([instance for instance, found in assessed if found is Liveness.STUCK], end, CONCURRENCY)
        lost = [instance for instance, found in assessed if found is Liveness.LOST]
        if lost and not await observations.is_behind(ports, instances, run):
            await run.for_each(lost, end, CONCURRENCY)


async def _read_is_behind(ports: Ports, instances: Instances) -> bool:
    """Return whether the hub has a backlog. Lost and waiting activities then look the same, so none counts as lost."""
    oldest = await instances.oldest_message()
    behind = ports.now() - oldest if oldest else timedelta(0)
    if behind > BEHIND:
        text = "the task hub has a backlog, so no activity is treated as lost"
        log("watchdog.behind", text, level=logging.WARNING, oldest_seconds=_seconds(behind))
    return behind > BEHIND


async def _end_one(ports: Ports, instances: Instances, identity: str) -> bool:
    """End an orchestration that is still stuck or lost, because the page may be outdated. Return whether it was ended."""
    instance = await instances.find(identity)
    found = assess(instance, ports.now()) if instance is not None and instance.status in ALIVE else Liveness.ACTIVE
    if instance is None or found not in {Liveness.STUCK, Liveness.LOST}:
        return False
    if found is Liveness.STUCK:
        await _end_stuck(ports, instances, instance)
    else:
        log("watchdog.lost", recovery.LOST_ACTIVITY, level=logging.WARNING, id=identity, name=instance.name)
        await end_lost(instances, identity)
    return True


async def end_lost(instances: Instances, identity: str) -> None:
    """End an orchestration whose activity was lost, so that it is resumed. Safe even if the activity still runs."""
    await instances.terminate(identity, recovery.LOST_ACTIVITY)


async def _end_stuck(ports: Ports, instances: Instances, instance: Instance) -> None:
    """Terminate a stuck orchestration. The dead letter of a transfer shows the reason."""
    silent = ports.now() - last_sign_of_life(instance)
    reason = f"no progress for {silent // timedelta(hours=1)} hours; the watchdog ended it"
    log(
        "watchdog.stuck",
        reason,
        level=logging.WARNING,
        id=instance.id,
        name=instance.name,
        silent_seconds=_seconds(silent),
    )
    await instances.terminate(instance.id, reason)


def _seconds(span: timedelta) -> int:
    return int(span.total_seconds())
