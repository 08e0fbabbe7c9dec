"""Replaying a dead letter: by its id alone, checked against today's routes (I10: any number of times is once)."""

import base64
from datetime import datetime

from operations.log import log
from operations.problems import Conflict, NotFound
from operations.transfers.accept import accept
from operations.transfers.restart import restart
from ports.orchestrations import Instances
from ports.services import Ports
from rules import events, redaction
from rules.dead_letters.letters import DISCARDED, DeadLetter
from rules.transfers.model import Transfer

MEND = "Fix the cause that the reason and hint name, then replay."


class Resolved(Conflict):
    """The dead letter is already resolved; `at` says since when, `how` in which way."""

    def __init__(self, letter: DeadLetter, at: datetime) -> None:
        self.at = at
        self.how = letter.resolved_as
        detail, fix = f"dead letter {letter.id} is already resolved", "Nothing to do."
        if self.how == DISCARDED:
            detail = f"dead letter {letter.id} was discarded"
            fix = "Nothing to do. To share the blob anyway, use POST /api/transfers."
        super().__init__(detail, fix, resolved_as=self.how)


async def replay(ports: Ports, instances: Instances, letter_id: str) -> list[str]:
    """Do a dead letter's transfer, or its message, again; the ids of the transfers to watch.

    Raises:
        NotFound: no such letter.
        Resolved: it is already resolved.
        Conflict: still running, or not possible with today's routes.
    """
    letter = await open_letter(ports, letter_id)
    if letter.message is not None:
        return await _message(ports, instances, letter, base64.b64decode(letter.message))
    await restart(ports, instances, _transfer(ports, letter))
    return [letter.id]


async def open_letter(ports: Ports, letter_id: str) -> DeadLetter:
    """The letter, if it is open.

    Raises:
        NotFound: no such letter.
        Resolved: it is already resolved.
    """
    letter = await ports.dead_letters.read(letter_id)
    if letter is None:
        raise NotFound(f"dead letter {letter_id} does not exist", "List them with GET /api/dead-letters.")
    if letter.resolved_at is not None:
        raise Resolved(letter, letter.resolved_at)
    return letter


def _transfer(ports: Ports, letter: DeadLetter) -> Transfer:
    """The letter's transfer, if today's routes still lead it there."""
    if letter.route is None:
        fix = "Share the blob with POST /api/transfers, or reconcile its route."
        raise Conflict(f"the record of transfer {letter.id} cannot be read", fix)
    route = ports.route(letter.route)
    if route is None:
        raise Conflict(f"no current route is named {letter.route!r}", "Restore the route in ROUTES, then replay.")
    found = events.transfer_for(route, letter.name or "", letter.etag or "")
    if isinstance(found, events.RejectedEvent) or found.id != letter.id:
        fix = "Share the blob on the current route with POST /api/transfers."
        raise Conflict(f"the route {route.name} now has another source or target", fix)
    return found


async def _message(ports: Ports, instances: Instances, letter: DeadLetter, body: bytes) -> list[str]:
    if redaction.is_redacted(body):
        fix = "Share the blob with POST /api/transfers."
        raise Conflict("a possible secret was removed from the message, so the message cannot be accepted again", fix)
    found = events.decide_on(body, ports.routes)
    if found.rejection:
        raise Conflict(f"the message was refused again: {found.rejection.detail}", MEND, reason=found.rejection.reason)
    if found.ignored:
        raise Conflict(f"the message would be ignored: {found.ignored}", "Add a route that carries it, then replay.")
    accepted = await accept(ports, instances, body)
    await ports.dead_letters.resolve(letter.id, letter.last, "accepted", ports.now())
    log("message.replayed", "dead-lettered message accepted", id=letter.id)
    return [*accepted.started, *accepted.duplicates]
