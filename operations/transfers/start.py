"""Starting a transfer once, or restarting it with its next attempt number (rule 5)."""

import asyncio
from dataclasses import replace
from datetime import datetime

from operations.log import log
from operations.problems import Conflict
from ports.orchestrations import Instances
from ports.services import Ports
from rules.orchestrations import status
from rules.orchestrations.instance import Instance
from rules.transfers.model import Run, Transfer


class StillRunning(Conflict):
    """The transfer is already running."""


def first_run(ports: Ports, transfer: Transfer, event_at: datetime | None = None) -> Run:
    """Return the run of a transfer's first attempt."""
    route = ports.route(transfer.route)
    return Run(
        transfer,
        ports.now(),
        deadline=route.deadline if route else None,
        notify=route is not None and route.notify is not None,
        event_at=event_at,
    )


async def start_once(ports: Ports, instances: Instances, transfer: Transfer, event_at: datetime | None = None) -> bool:
    """Start a transfer that has no instance in any state. Return False for a duplicate (rule 5).

    A start silently replaces a finished instance, so a late duplicate must not start one: a cancelled or dead-lettered
    transfer would run again. Find and start are not atomic; the record of the end closes that race. A transfer that ended
    because its source was deleted starts again, because the event shows that the source exists.
    """
    return await start_unless(ports, instances, transfer, await instances.find(transfer.id), event_at)


async def start_unless(
    ports: Ports, instances: Instances, transfer: Transfer, known: Instance | None, event_at: datetime | None = None
) -> bool:
    """Do as `start_once` with what `find` returned."""
    if known is not None and status.ended_as_deleted(known):
        return await _restart_once(ports, instances, transfer)
    new = known is None and await instances.start(first_run(ports, transfer, event_at))
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


async def _restart_once(ports: Ports, instances: Instances, transfer: Transfer) -> bool:
    try:
        await restart(ports, instances, transfer)
    except StillRunning:  # another duplicate was faster
        return False
    return True


async def restart(ports: Ports, instances: Instances, transfer: Transfer, *, blind: bool = True) -> Run:
    """Start the transfer's next attempt, and return its run. An open dead letter stays open until that attempt ends.

    Pass `blind=False` if a target blob is known to exist: the attempt then reads the target before it copies.

    Raises:
        StillRunning: the transfer is already running.
    """
    known, ended, letter = await asyncio.gather(
        instances.find(transfer.id), ports.dead_letters.read_ended(transfer.id), ports.dead_letters.read(transfer.id)
    )
    attempts = [
        *([known.run.attempt] if known and known.run else []),
        *([ended.attempt] if ended else []),
        *([letter.last_attempt] if letter else []),
    ]
    attempt = max(attempts, default=-1) + 1
    run = replace(
        first_run(ports, transfer),
        attempt=attempt,
        has_open_dead_letter=letter is not None and letter.resolved_at is None,
        first=blind and attempt == 0,  # an earlier attempt may have copied: look before copying
    )
    if (known and known.under_way) or not await instances.start(run):
        fix = "Wait until it ends, or cancel it; then send the request again."
        raise StillRunning(f"transfer {transfer.id} is already running", fix, retry_after=30, id=transfer.id)
    log(
        "transfer.restarted",
        "restarted by request",
        id=transfer.id,
        route=transfer.route,
        name=transfer.name,
        attempt=run.attempt,
    )
    return run
