"""The drain: accepts poison messages, and the events that Event Grid could not deliver (rule 10)."""

import logging

from operations.log import log
from operations.transfers.accept import Accepted, accept
from operations.upkeep.timer_run import TimerRun
from ports.events import Undelivered
from ports.messages import Received
from ports.orchestrations import Instances
from ports.services import Ports
from rules.events.parse import MAX_EVENT, MAX_UNDELIVERED, split

SECONDS, CONCURRENCY = 45.0, 16


async def drain(ports: Ports, instances: Instances) -> int:
    """Log the queue's depth, then accept poison messages and undelivered events. Return how many messages and blobs.

    A message or blob is deleted only after all of it was accepted or dead-lettered. After a failure it stays for the next
    run. Raises the first failure after everything else was done.
    """
    run = TimerRun(ports, "drain", seconds=SECONDS)
    with run:
        await _log_depth(ports)
    with run:
        await _drain_poison(ports, instances, run)
    with run:
        await _drain_undelivered(ports, instances, run)
    run.finish()
    return run.done


async def _log_depth(ports: Ports) -> None:
    """Log the queue's depth. Azure's own metric is hourly, so alerts use this line."""
    depth = await ports.events.depth()
    oldest = await ports.events.oldest_message() if depth else None
    seconds = max(0, int((ports.now() - oldest).total_seconds())) if oldest else 0
    log("queue.depth", "queue depth", depth=depth, oldest_seconds=seconds)


async def _drain_poison(ports: Ports, instances: Instances, run: TimerRun) -> None:
    async for message in ports.events.receive_poison():
        with run:
            await _accept_poison(ports, instances, message)
            run.done += 1
        if run.over:
            return


async def _accept_poison(ports: Ports, instances: Instances, message: Received) -> None:
    accepted = await accept(ports, instances, message.body)
    await ports.events.delete_poison(message)
    text = "poison message accepted"
    log("poison.drained", text, level=logging.WARNING, started=accepted.started, letter=accepted.dead_letter)


async def _drain_undelivered(ports: Ports, instances: Instances, run: TimerRun) -> None:
    async for blob in ports.events.list_undelivered():
        if run.over:
            return
        with run:
            await _accept_undelivered(ports, instances, run, blob)


async def _accept_undelivered(ports: Ports, instances: Instances, run: TimerRun, blob: Undelivered) -> None:
    messages = await _read_messages(ports, blob)
    if messages is None:
        return
    accepted: list[Accepted] = []

    async def accept_one(event: bytes) -> None:
        accepted.append(await accept(ports, instances, event))

    await run.for_each(messages, accept_one, CONCURRENCY)
    if len(accepted) < len(messages):
        return  # the next run accepts the blob again: events accepted by this run are then duplicates
    await ports.events.delete_undelivered(blob)
    run.done += 1
    log(
        "undelivered.drained",
        "undelivered event accepted",
        level=logging.WARNING,
        blob=blob.name,
        events=len(messages),
        started=sum(len(each.started) for each in accepted),
        letters=sum(each.dead_letter is not None for each in accepted),
    )


async def _read_messages(ports: Ports, blob: Undelivered) -> list[bytes] | None:
    """Return the events of a blob. None: it is too large, it changed, or another run has accepted it."""
    if blob.size <= MAX_UNDELIVERED:
        body = await ports.events.read_undelivered(blob)
        messages = None if body is None else split(body)
        if messages is None or all(len(message) <= MAX_EVENT for message in messages):
            return messages
    text = "the blob or an event in it is too large to accept; inspect it by hand"
    log("undelivered.skipped", text, level=logging.WARNING, blob=blob.name, size=blob.size)
    return None
