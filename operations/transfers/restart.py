"""Restarting a transfer with its next attempt number (rule 5).

Requests (replay, share) and reconciles restart transfers, and so does the event of a blob that was recorded as deleted.
"""

import asyncio
from dataclasses import replace

from operations.log import log
from operations.problems import Conflict
from ports.orchestrations import Instances
from ports.services import Ports
from rules.transfers.model import Run, Transfer


class StillRunning(Conflict):
    """The transfer is already running."""


def first_run(ports: Ports, transfer: Transfer) -> Run:
    """Return the run of a transfer's first attempt."""
    route = ports.route(transfer.route)
    return Run(transfer, ports.now(), deadline=route.deadline if route else None)


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
