"""Accepting a message: it becomes transfers, a dead letter, or nothing. Both queue trigger and drain use this."""

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
    """The result of one message: ids of transfers that were started, ids that were known already, id of a dead letter."""

    started: tuple[str, ...] = ()
    duplicates: tuple[str, ...] = ()
    dead_letter: str | None = None


async def accept(ports: Ports, instances: Instances, body: bytes) -> Accepted:
    """Accept one message of any content. Raises only `StorageError`: the queue then keeps the message."""
    decision = events.decide_on(body, ports.routes)
    if decision.ignored:
        log("message.ignored", decision.ignored)
    letter = await refuse(ports, body, decision.rejection) if decision.rejection else None
    results = [(transfer.id, await start_once(ports, instances, transfer)) for transfer in decision.transfers]
    return Accepted(
        started=tuple(identity for identity, new in results if new),
        duplicates=tuple(identity for identity, new in results if not new),
        dead_letter=letter,
    )


async def start_once(ports: Ports, instances: Instances, transfer: Transfer) -> bool:
    """Start a transfer that has no instance in any state. Return False for a duplicate (rule 5).

    A start silently replaces a finished instance, so a late duplicate must not start one: a cancelled or dead-lettered
    transfer would run again. Find and start are not atomic; the record of the end closes that race. A transfer that ended
    because its source was deleted starts again, because the event shows that the source exists.
    """
    known = await instances.find(transfer.id)
    if known is not None and status.ended_as_deleted(known):
        return await _restart(ports, instances, transfer)
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


async def _restart(ports: Ports, instances: Instances, transfer: Transfer) -> bool:
    try:
        await restart(ports, instances, transfer)
    except StillRunning:  # another duplicate was faster
        return False
    return True


async def refuse(ports: Ports, body: bytes, refused: events.RejectedEvent) -> str:
    """Write the dead letter of a refused message, and return its id. The same body always has the same id."""
    letter = letters.of_message(body, refused, ports.now(), ports.app_version)
    await ports.dead_letters.write(letter)
    log("message.dead_lettered", refused.detail, level=logging.WARNING, id=letter.id, reason=refused.reason)
    return letter.id
