"""A message becomes transfers, a dead letter, or nothing. The queue trigger and the poison drain both do exactly this."""

from dataclasses import dataclass

from operations.log import log
from rules import events, letters
from rules.models import Run, Transfer
from rules.ports import Instances, Ports


@dataclass(frozen=True, slots=True)
class Accepted:
    """What followed from a message: the ids started, the ids known already, the dead letter written."""

    started: tuple[str, ...] = ()
    duplicates: tuple[str, ...] = ()
    letter: str | None = None


async def accept(ports: Ports, instances: Instances, body: bytes) -> Accepted:
    """Accept one message, whatever it is. Raises only what storage raises, so that the queue keeps the message."""
    found = events.intake(body, ports.routes)
    if found.ignored:
        log("message.ignored", found.ignored)
    letter = await refuse(ports, body, found.refused) if found.refused else None
    started = [(transfer.id, await begin(ports, instances, transfer)) for transfer in found.transfers]
    return Accepted(
        started=tuple(identity for identity, new in started if new),
        duplicates=tuple(identity for identity, new in started if not new),
        letter=letter,
    )


async def begin(ports: Ports, instances: Instances, transfer: Transfer) -> bool:
    """Start a transfer that has no instance, in any state; False for a duplicate (rule 5).

    The extension silently replaces a finished instance, so a late duplicate must not even try: what was cancelled or
    dead-lettered would run again. The start itself is not atomic; the record of the end closes that race.
    """
    known = await instances.find(transfer.id)
    new = known is None and await instances.start(first_run(ports, transfer))
    if new:
        log(
            "transfer.accepted",
            "a new version is to be shared",
            id=transfer.id,
            route=transfer.route,
            name=transfer.name,
        )
    else:
        log("transfer.duplicate", "its transfer is known already", id=transfer.id, route=transfer.route)
    return new


def first_run(ports: Ports, transfer: Transfer) -> Run:
    """The run of a transfer that was never tried."""
    route = ports.route(transfer.route)
    return Run(transfer, ports.now(), deadline=route.deadline if route else None)


async def refuse(ports: Ports, body: bytes, refused: events.Refused) -> str:
    """Keep a message that leads to no transfer as a dead letter; the same body is the same letter."""
    letter = letters.of_message(body, refused, ports.now(), ports.app_version)
    await ports.letters.write(letter)
    log("message.dead_lettered", refused.detail, id=letter.id, reason=refused.reason)
    return letter.id
