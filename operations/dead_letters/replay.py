"""Replaying a dead letter by its id, if the current routes allow it."""

import base64
from dataclasses import replace
from datetime import datetime

from operations.log import log
from operations.problems import Conflict, NotFound
from operations.transfers.accept import accept
from operations.transfers.start import restart
from ports.orchestrations import Instances
from ports.services import Ports
from rules import redaction
from rules.dead_letters.letters import DISCARDED, DeadLetter
from rules.events.decide import decide_on, transfer_for
from rules.events.parse import RejectedEvent
from rules.transfers.model import Transfer

FIX_CAUSE = "Fix the cause that the reason and hint name, then replay."


class Resolved(Conflict):
    """The dead letter is already resolved: `at` is when, `how` is the recorded resolution."""

    def __init__(self, letter: DeadLetter, at: datetime) -> None:
        self.at = at
        self.how = letter.resolved_as
        detail, fix = f"dead letter {letter.id} is already resolved", "Nothing to do."
        if self.how == DISCARDED:
            detail = f"dead letter {letter.id} was discarded"
            fix = "Nothing to do. To share the blob anyway, use POST /api/transfers."
        super().__init__(detail, fix, resolved_as=self.how)


async def replay(ports: Ports, instances: Instances, letter_id: str) -> list[str]:
    """Restart the transfer of a dead letter, or accept its message again. Return the ids of the transfers that follow.

    Raises:
        NotFound: the dead letter does not exist.
        Resolved: it is already resolved.
        Conflict: its transfer is running, or the current routes do not allow it.
    """
    letter = await read_open(ports, letter_id)
    if letter.message is not None:
        return await _replay_message(ports, instances, letter, base64.b64decode(letter.message))
    await restart(ports, instances, _current_transfer(ports, letter))
    return [letter.id]


async def read_open(ports: Ports, letter_id: str) -> DeadLetter:
    """Return an open dead letter.

    Raises:
        NotFound: the dead letter does not exist.
        Resolved: it is already resolved.
    """
    letter = await ports.dead_letters.read(letter_id)
    if letter is None:
        raise NotFound(f"dead letter {letter_id} does not exist", "List them with GET /api/dead-letters.")
    if letter.resolved_at is not None:
        raise Resolved(letter, letter.resolved_at)
    return letter


def _current_transfer(ports: Ports, letter: DeadLetter) -> Transfer:
    """Return the dead letter's transfer. Raises Conflict unless the current routes still carry it, between the same ends."""
    if letter.route is None:
        fix = "Share the blob with POST /api/transfers, or reconcile its route."
        raise Conflict(f"the record of transfer {letter.id} cannot be read", fix)
    route = ports.route(letter.route)
    if route is None:
        raise Conflict(f"no current route is named {letter.route!r}", "Restore the route in ROUTES, then replay.")
    transfer = transfer_for(route, letter.name or "", letter.etag or "")
    if isinstance(transfer, RejectedEvent) or transfer.id != letter.id:
        fix = "Share the blob on the current route with POST /api/transfers."
        raise Conflict(f"the route {route.name} now has another source or target", fix)
    if not route.carries(route.source.account, route.source.container, transfer.name):
        fix = "Discard the dead letter, or change the route in ROUTES, then replay."
        raise Conflict(f"the route {route.name} no longer carries this name", fix)
    return transfer


async def _replay_message(ports: Ports, instances: Instances, letter: DeadLetter, body: bytes) -> list[str]:
    if redaction.is_redacted(body):
        fix = "Share the blob with POST /api/transfers."
        raise Conflict("a possible secret was removed from the message, so the message cannot be accepted again", fix)
    # A person asks for it, so a paused route takes part.
    ports = replace(ports, routes=tuple(replace(route, paused=False) for route in ports.routes))
    decision = decide_on(body, ports.routes)
    if rejection := decision.rejection:
        raise Conflict(f"the message was refused again: {rejection.detail}", FIX_CAUSE, reason=rejection.reason)
    if decision.ignored:
        raise Conflict(
            f"the message would be ignored: {decision.ignored}",
            "Change ROUTES so that a route carries it, then replay.",
        )
    accepted = await accept(ports, instances, body)
    await ports.dead_letters.resolve(letter.id, letter.last_attempt, "accepted", ports.now())
    log("message.replayed", "dead-lettered message accepted", id=letter.id)
    return [*accepted.started, *accepted.duplicates]
