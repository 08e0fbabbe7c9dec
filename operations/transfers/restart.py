"""Doing a transfer again: a person (replay, share now), reconcile, or an event of what counts as deleted, with the next attempt number (rule 5)."""

import asyncio
from dataclasses import replace

from operations.log import log
from operations.problems import Conflict
from ports.orchestrations import Instances
from ports.services import Ports
from rules.transfers.model import Run, Transfer


class StillRunning(Conflict):
    """The transfer runs already."""


def first_run(ports: Ports, transfer: Transfer) -> Run:
    """The run of a transfer that was never tried."""
    route = ports.route(transfer.route)
    return Run(transfer, ports.now(), deadline=route.deadline if route else None)


async def restart(ports: Ports, instances: Instances, transfer: Transfer, *, blind: bool = True) -> Run:
    """Start the transfer's next attempt. An open dead letter stays open until the end.

    `blind` False: a target is known to be there, so it is looked at before anything is tried.

    Raises:
        StillRunning: it runs already.
    """
    known, ended, letter = await asyncio.gather(
        instances.find(transfer.id), ports.dead_letters.read_ended(transfer.id), ports.dead_letters.read(transfer.id)
    )
    attempts = [
        *([known.run.attempt] if known and known.run else []),
        *([ended.attempt] if ended else []),
        *([letter.last] if letter else []),
    ]
    attempt = max(attempts, default=-1) + 1
    run = replace(
        first_run(ports, transfer),
        attempt=attempt,
        has_open_dead_letter=letter is not None and letter.resolved_at is None,
        first=blind and attempt == 0,  # what was tried before may well be there: look before acting
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
