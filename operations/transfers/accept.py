"""A message becomes transfers, a dead letter, or nothing. The queue trigger and the poison drain both do exactly this."""

import logging
from dataclasses import dataclass

from operations.log import log
from operations.transfers.restart import StillRunning, first_run, restart
from ports.orchestrations import Instances
from ports.services import Ports
from rules import events
from rules.dead_letters import letters
from rules.orchestrations import status
from rules.transfers.model import Transfer


@dataclass(frozen=True, slots=True)
class Accepted:
    """What followed from a message: the ids started, the ids known already, the dead letter written."""

    started: tuple[str, ...] = ()
    duplicates: tuple[str, ...] = ()
    dead_letter: str | None = None


async def accept(ports: Ports, instances: Instances, body: bytes) -> Accepted:
    """Accept one message, whatever it is. Raises only what storage raises, so that the queue keeps the message."""
    found = events.decide_on(body, ports.routes)
    if found.ignored:
        log("message.ignored", found.ignored)
    letter = await refuse(ports, body, found.rejection) if found.rejection else None
    started = [(transfer.id, await begin(ports, instances, transfer)) for transfer in found.transfers]
    return Accepted(
        started=tuple(identity for identity, new in started if new),
        duplicates=tuple(identity for identity, new in started if not new),
        dead_letter=letter,
    )


async def begin(ports: Ports, instances: Instances, transfer: Transfer) -> bool:
    """Start a transfer that has no instance, in any state; False for a duplicate (rule 5).

    The extension silently replaces a finished instance, so a late duplicate must not even try: what was cancelled or
    dead-lettered would run again. The start itself is not atomic; the record of the end closes that race. One that ended
    because its source was gone is started again: an event says that it is there, and a look costs little.
    """
    known = await instances.find(transfer.id)
    if known is not None and status.ended_as_deleted(known):
        return await _again(ports, instances, transfer)
    new = known is None and await instances.start(first_run(ports, transfer))
    if new:
        log(
            "transfer.accepted",
            "new version accepted",
            id=transfer.id,
            route=transfer.route,
            name=transfer.name,
        )
    else:
        text = "its transfer already exists"
        log("transfer.duplicate", text, id=transfer.id, route=transfer.route, name=transfer.name)
    return new


async def _again(ports: Ports, instances: Instances, transfer: Transfer) -> bool:
    try:
        await restart(ports, instances, transfer)
    except StillRunning:  # a duplicate of the duplicate was faster
        return False
    return True


async def refuse(ports: Ports, body: bytes, refused: events.RejectedEvent) -> str:
    """Keep a message that leads to no transfer as a dead letter; the same body is the same letter."""
    letter = letters.of_message(body, refused, ports.now(), ports.app_version)
    await ports.dead_letters.write(letter)
    log("message.dead_lettered", refused.detail, level=logging.WARNING, id=letter.id, reason=refused.reason)
    return letter.id
