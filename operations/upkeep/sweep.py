"""The sweep: dead letters agree with the transfers that they are about (rule 9)."""

import logging
from dataclasses import replace

from operations.log import log
from operations.upkeep.timer_run import PAGE, TimerRun
from ports.orchestrations import Instances
from ports.services import Ports
from rules.orchestrations import status
from rules.orchestrations.instance import Instance
from rules.transfers.identity import TRANSFER_ID_PATTERN
from rules.transfers.model import Ended, Step
from rules.transfers.states import FINAL, State

# Of five minutes: the rounds of a timer never overlap.
SECONDS = 240


async def sweep(ports: Ports, instances: Instances) -> None:
    """Resolve the letters that are no longer true, then write those that are missing; each in pages."""
    run = TimerRun(ports, "sweep", seconds=SECONDS)
    with run:
        unwritten = await resolve_settled(ports, instances, run)
        await write_missing(ports, instances, unwritten, run)
    run.finish()


async def resolve_settled(ports: Ports, instances: Instances, run: TimerRun) -> dict[str, Ended]:
    """Resolve every open letter whose transfer is no longer dead-lettered; the ends that have no open letter."""
    ends = {ended.id: ended async for ended in ports.dead_letters.list_ended() if _may_be_owed(ended)}
    continuation = None
    while True:
        listed, continuation = await ports.dead_letters.page("", PAGE, continuation)
        for item in listed:
            # A message is no transfer: nothing but its replay resolves its letter.
            if ends.pop(item["id"], None) is None and TRANSFER_ID_PATTERN.fullmatch(item["id"]):
                with run:
                    await _resolve(ports, instances, item["id"])
        if continuation is None:
            return ends


async def _resolve(ports: Ports, instances: Instances, letter_id: str) -> None:
    instance = await instances.find(letter_id)
    if instance is None or instance.running or instance.run is None:
        return
    state = status.view(instance)["state"]
    if state in FINAL - {State.DEAD_LETTERED}:
        await ports.dead_letters.resolve(letter_id, instance.run.attempt, state, ports.now())
        text = "its transfer is no longer dead-lettered"
        log("sweep.resolved", text, id=letter_id, name=instance.name, state=state)


async def write_missing(ports: Ports, instances: Instances, ends: dict[str, Ended], run: TimerRun) -> None:
    """Start every dead-lettered transfer that has no letter again at `close`, which writes it."""
    for ended in ends.values():
        if run.over:
            return
        with run:
            await _write(ports, instances, ended.id)


async def _write(ports: Ports, instances: Instances, identity: str) -> None:
    instance = await instances.find(identity)
    if instance is None or instance.running or instance.run is None:
        return
    ended = await ports.dead_letters.read_ended(identity)  # the list shows no details, and may be old
    if ended is None or not _may_be_owed(ended) or not await is_owed(ports, instance, ended):
        return
    text = "a dead-lettered transfer had no dead letter"
    log("sweep.missing_letter", text, level=logging.WARNING, id=ended.id, name=instance.name)
    await instances.start(replace(instance.run, attempt=ended.attempt, ending=ended.ending, step=Step.CLOSE))


def _may_be_owed(ended: Ended) -> bool:
    return ended.ending.state is State.DEAD_LETTERED and not ended.discarded


async def is_owed(ports: Ports, instance: Instance, ended: Ended) -> bool:
    """Whether it is dead-lettered and has no letter; not where the record is of an attempt before, and came late.

    None is owed where a person discarded the letter, though it may be gone by now.
    """
    letter = await ports.dead_letters.read(ended.id)
    written = letter is not None and letter.last >= ended.attempt
    return not (written or ended.discarded) and status.view(instance)["state"] == State.DEAD_LETTERED
