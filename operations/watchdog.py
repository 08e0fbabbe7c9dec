"""The watchdog: orchestrations that make no progress are told of, and ended where they never will; the sweep takes them up."""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from operations.log import log
from operations.rounds import Round
from rules.jobs import Work
from rules.ports import Instance, Instances, Ports, Standing
from rules.watch import SILENT, Life, last_sign, life

SECONDS, AT_ONCE = 240.0, 5
# A suspended one is left to the person who suspended it.
ALIVE = Standing.RUNNING - {"Suspended"}
PREFIXES = (*(f"{work}-" for work in Work), "")


@dataclass
class Silence:
    """How many were found silent, and the one that has been so for longest."""

    count: int = 0
    since: datetime | None = None
    id: str = ""

    def add(self, instance: Instance) -> None:
        """Count one."""
        self.count += 1
        if self.since is None or last_sign(instance) < self.since:
            self.since, self.id = last_sign(instance), instance.id


async def watch(ports: Ports, instances: Instances) -> int:
    """Look at all that run and were begun over an hour ago; tell of the silent ones, end the stuck ones: how many.

    Flat in memory, however many there are; a round that takes too long is over, and the next one goes on from there.
    """
    round_, silence = Round(ports, "watchdog", seconds=SECONDS), Silence()
    for prefix in PREFIXES:
        if not round_.over:
            with round_:
                await _look(ports, instances, round_, prefix, silence)
    if silence.since is not None:
        seconds = int((ports.now() - silence.since).total_seconds())
        log(
            "watchdog.silent",
            "orchestrations showed no sign of life for over an hour",
            level=logging.WARNING,
            count=silence.count,
            oldest_id=silence.id,
            oldest_seconds=seconds,
        )
    round_.finish()
    return round_.done


async def _look(ports: Ports, instances: Instances, round_: Round, prefix: str, silence: Silence) -> None:
    async def end(listed: Instance) -> None:
        # The page may be old: it may have moved meanwhile.
        instance = await instances.find(listed.id)
        if instance is not None and instance.status in ALIVE and life(instance, ports.now()) is Life.STUCK:
            await _end(ports, instances, instance)
            round_.done += 1

    async for page in round_.pages(instances, prefix, standing=ALIVE, before=ports.now() - SILENT):
        lives = [(instance, life(instance, ports.now())) for instance in page]
        for instance, found in lives:
            if found is not Life.LIVELY:
                silence.add(instance)
        await round_.each([instance for instance, found in lives if found is Life.STUCK], end, AT_ONCE)


async def _end(ports: Ports, instances: Instances, instance: Instance) -> None:
    """End it without asking it; of a transfer, the sweep shows the reason in its dead letter."""
    silent = ports.now() - last_sign(instance)
    why = f"nothing happened for {silent // timedelta(hours=1)} hours, and the watchdog ended it"
    log("watchdog.stuck", why, level=logging.WARNING, id=instance.id, silent_seconds=int(silent.total_seconds()))
    await instances.terminate(instance.id, why)
