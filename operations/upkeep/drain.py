"""Draining: what the queue trigger could not take, and what Event Grid could not deliver, is accepted here (rule 10)."""

import logging

from operations.log import log
from operations.transfers.accept import Accepted, accept
from operations.upkeep.timer_run import TimerRun
from ports.events import Poison, Undelivered
from ports.orchestrations import Instances
from ports.services import Ports
from rules import events

SECONDS, AT_ONCE = 45.0, 16


async def drain(ports: Ports, instances: Instances) -> int:
    """Take what there is of both, through the trigger's own door, and tell how long the queue is; how many were taken.

    A message or blob is deleted only after all of it was accepted or kept as a dead letter. What fails shows again, and the
    next round takes it. Raises the first failure, once everything else was done.
    """
    run = TimerRun(ports, "drain", seconds=SECONDS)
    with run:
        await _measure(ports)
    with run:
        await _poison(ports, instances, run)
    with run:
        await _undelivered(ports, instances, run)
    run.finish()
    return run.done


async def _measure(ports: Ports) -> None:
    """Azure's own figure of a queue's length is hourly: alerts rest on this line."""
    depth = await ports.events.depth()
    oldest = await ports.events.oldest_message() if depth else None
    seconds = max(0, int((ports.now() - oldest).total_seconds())) if oldest else 0
    log("queue.depth", "queue depth", depth=depth, oldest_seconds=seconds)


async def _poison(ports: Ports, instances: Instances, run: TimerRun) -> None:
    async for message in ports.events.receive_poison():
        with run:
            await _take(ports, instances, message)
            run.done += 1
        if run.over:
            return


async def _take(ports: Ports, instances: Instances, message: Poison) -> None:
    accepted = await accept(ports, instances, message.body)
    await ports.events.delete_poison(message)
    text = "poison message accepted"
    log("poison.drained", text, level=logging.WARNING, started=accepted.started, letter=accepted.dead_letter)


async def _undelivered(ports: Ports, instances: Instances, run: TimerRun) -> None:
    async for found in ports.events.list_undelivered():
        if run.over:
            return
        with run:
            await _redeem(ports, instances, run, found)


async def _redeem(ports: Ports, instances: Instances, run: TimerRun, found: Undelivered) -> None:
    messages = await _messages(ports, found)
    if messages is None:
        return
    accepted: list[Accepted] = []

    async def take(event: bytes) -> None:
        accepted.append(await accept(ports, instances, event))

    await run.each(messages, take, AT_ONCE)
    if len(accepted) < len(messages):
        return  # those that were accepted are duplicates next time
    await ports.events.delete_undelivered(found)
    run.done += 1
    log(
        "undelivered.drained",
        "undelivered event accepted",
        level=logging.WARNING,
        blob=found.name,
        events=len(messages),
        started=sum(len(each.started) for each in accepted),
        dead_letters=sum(each.dead_letter is not None for each in accepted),
    )


async def _messages(ports: Ports, found: Undelivered) -> list[bytes] | None:
    """The events of a blob; None where it is too large to be taken, or changed, or another round took it."""
    if found.size <= events.MAX_UNDELIVERED:
        body = await ports.events.read_undelivered(found)
        messages = None if body is None else events.split(body)
        if messages is None or all(len(message) <= events.MAX_EVENT for message in messages):
            return messages
    text = "the blob or an event in it is too large to accept; inspect it by hand"
    log("undelivered.skipped", text, level=logging.WARNING, blob=found.name, size=found.size)
    return None
