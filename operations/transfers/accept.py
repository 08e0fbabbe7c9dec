"""Accepting a message: it becomes transfers, a lookup, a notification, reconciles, a dead letter, or nothing. The drain uses this, too."""

import logging
from dataclasses import dataclass

from operations.figures.budget import current_routes
from operations.log import log
from operations.transfers.lookup import look_up
from operations.transfers.notify import announce
from operations.transfers.start import start_once
from ports.orchestrations import Instances
from ports.services import Ports
from rules.dead_letters import letters
from rules.errors import Permanent
from rules.events.decide import OVER_BUDGET, PAUSED, decide_on
from rules.events.parse import RejectedEvent
from rules.jobs.model import Job, after_rename


@dataclass(frozen=True, slots=True)
class Accepted:
    """The result of one message: ids of what was started, ids that were known already, id of a dead letter."""

    started: tuple[str, ...] = ()
    duplicates: tuple[str, ...] = ()
    dead_letter: str | None = None


async def accept(ports: Ports, instances: Instances, body: bytes) -> Accepted:
    """Accept one message of any content. Raises only `StorageError`: the queue then keeps the message."""
    routes = await current_routes(ports)
    decision = decide_on(body, routes)
    if decision.ignored and decision.ignored != PAUSED:
        log("message.ignored", decision.ignored)
    letter = await refuse(ports, body, decision.rejection) if decision.rejection else None
    results = {each.id: await start_once(ports, instances, each, decision.at) for each in decision.transfers}
    if decision.found:
        try:
            results |= await look_up(ports, instances, decision.found, decision.at)
        except Permanent as error:
            letter = await refuse(ports, body, RejectedEvent(error.reason, str(error)))
    if decision.announcement:
        transfer, notice = decision.announcement.transfer, decision.announcement.notice
        results[transfer.id] = False
        await announce(ports, transfer, notice)
    for folder in decision.folders:
        job = after_rename(folder, ports.now())
        results[job.id] = await _reconcile_once(instances, job)
    over = {route.name for route in routes if route.over_budget}
    for route in decision.paused:
        # Before the queue deletes the message: the record leads to the reconcile that shares the blob.
        await ports.dead_letters.note_pause(route, ports.now())
        log("message.ignored", OVER_BUDGET if route in over else PAUSED, route=route)
    return Accepted(
        started=tuple(identity for identity, new in results.items() if new),
        duplicates=tuple(identity for identity, new in results.items() if not new),
        dead_letter=letter,
    )


async def _reconcile_once(instances: Instances, job: Job) -> bool:
    """Start the reconcile of a renamed directory. Return False for a duplicate event."""
    new = await instances.find(job.id) is None and await instances.start(job)
    if new:
        log("job.requested", "a directory was renamed", id=job.id, route=job.route, prefix=job.prefix, dry_run=False)
    return new


async def refuse(ports: Ports, body: bytes, refused: RejectedEvent) -> str:
    """Write the dead letter of a refused message, and return its id. The same body always has the same id."""
    letter = letters.of_message(body, refused, ports.now(), ports.app_version)
    await ports.dead_letters.write(letter)
    log("message.dead_lettered", refused.detail, level=logging.WARNING, id=letter.id, reason=refused.reason)
    return letter.id
