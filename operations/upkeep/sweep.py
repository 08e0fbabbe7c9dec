"""The sweep: makes dead letters agree with their transfers (rule 9)."""

import logging
from dataclasses import replace

from operations.log import log
from operations.upkeep.timer_run import PAGE_SIZE, TimerRun
from ports.orchestrations import Instances
from ports.services import Ports
from rules.orchestrations import status
from rules.orchestrations.instance import Instance
from rules.transfers.identity import TRANSFER_ID_PATTERN
from rules.transfers.model import Ended, Step
from rules.transfers.states import FINAL, State

# The timer runs every five minutes; its runs must not overlap.
SECONDS = 240


async def sweep(ports: Ports, instances: Instances) -> None:
    """Resolve dead letters that are no longer true, then write those that are missing."""
    run = TimerRun(ports, "sweep", seconds=SECONDS)
    with run:
        missing = await _resolve_outdated(ports, instances, run)
        await _write_missing(ports, instances, missing, run)
    run.finish()


async def _resolve_outdated(ports: Ports, instances: Instances, run: TimerRun) -> dict[str, Ended]:
    """Resolve open dead letters whose transfers ended another way. Return the ends without an open dead letter."""
    ends = {ended.id: ended async for ended in ports.dead_letters.list_ended() if _may_need_dead_letter(ended)}
    continuation = None
    while True:
        listed, continuation = await ports.dead_letters.page("", PAGE_SIZE, continuation)
        for item in listed:
            # A message has no transfer: only a replay or a discard resolves its dead letter.
            if ends.pop(item["id"], None) is None and TRANSFER_ID_PATTERN.fullmatch(item["id"]):
                with run:
                    await _resolve_one(ports, instances, item["id"])
        if continuation is None:
            return ends


async def _resolve_one(ports: Ports, instances: Instances, letter_id: str) -> None:
    instance = await instances.find(letter_id)
    if instance is None or instance.running or instance.run is None:
        return
    state = status.view(instance)["state"]
    if state in FINAL - {State.DEAD_LETTERED}:
        await ports.dead_letters.resolve(letter_id, instance.run.attempt, state, ports.now())
        text = "its transfer is no longer dead-lettered"
        log("sweep.resolved", text, id=letter_id, name=instance.name, state=state)


async def _write_missing(ports: Ports, instances: Instances, ends: dict[str, Ended], run: TimerRun) -> None:
    """Restart dead-lettered transfers that have no dead letter at the step `close`, which writes it."""
    for ended in ends.values():
        if run.over:
            return
        with run:
            await _write_one(ports, instances, ended.id)


async def _write_one(ports: Ports, instances: Instances, identity: str) -> None:
    instance = await instances.find(identity)
    if instance is None or instance.running or instance.run is None:
        return
    ended = await ports.dead_letters.read_ended(identity)  # the list has no details, and may be old
    if ended is None or not _may_need_dead_letter(ended) or not await needs_dead_letter(ports, instance, ended):
        return
    text = "a dead-lettered transfer had no dead letter"
    log("sweep.missing_letter", text, level=logging.WARNING, id=ended.id, name=instance.name)
    await instances.start(replace(instance.run, attempt=ended.attempt, ending=ended.ending, step=Step.CLOSE))


def _may_need_dead_letter(ended: Ended) -> bool:
    return ended.ending.state is State.DEAD_LETTERED and not ended.discarded


async def needs_dead_letter(ports: Ports, instance: Instance, ended: Ended) -> bool:
    """Return whether a dead-lettered transfer still needs its dead letter.

    Not if the record of the end is a late one of an earlier attempt. Not if the dead letter was discarded, even if its
    record is deleted by now.
    """
    letter = await ports.dead_letters.read(ended.id)
    written = letter is not None and letter.last_attempt >= ended.attempt
    return not (written or ended.discarded) and status.view(instance)["state"] == State.DEAD_LETTERED
