"""Cancelling a transfer: never lost, never a lie (rule 11)."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from operations.log import log
from operations.problems import Conflict, NotFound, Unavailable
from ports.orchestrations import Instances
from rules.orchestrations import recovery, status
from rules.transfers.states import State

# An event may be lost where an execution continues as new, so it is raised until the status shows it: about 30 s in all.
PAUSES = (0.5, 1, 2, 3, 4, 5, 5, 5, 5)


async def cancel(
    instances: Instances, transfer_id: str, pause: Callable[[float], Awaitable[Any]] = asyncio.sleep
) -> dict[str, Any]:
    """Cancel; the transfer as it is once the cancel is certain.

    Raises:
        NotFound: no such transfer.
        Conflict: it ended, or is ending, before the cancel could reach it.
        Unavailable: nobody took notice within 30 s; asking again is safe.
    """
    shown = await until_noticed(instances, transfer_id, partial(_noticed, instances, transfer_id), pause)
    name = shown["source"] and shown["source"]["name"]
    log("transfer.cancel_noticed", "cancelled by request", id=transfer_id, route=shown["route"], name=name)
    return shown


async def until_noticed(
    instances: Instances,
    identity: str,
    noticed: Callable[..., Awaitable[dict[str, Any] | None]],
    pause: Callable[[float], Awaitable[Any]],
) -> dict[str, Any]:
    """Raise the cancel event until `noticed(asked=…)` shows that it has come; what that shows.

    Raises:
        Unavailable: nobody took notice within 30 s; asking again is safe.
    """
    for number, seconds in enumerate(PAUSES):
        if (shown := await noticed(asked=number > 0)) is not None:
            return shown
        await ask_to_cancel(instances, identity)
        await pause(seconds)
    raise Unavailable(f"{identity} has not confirmed the cancel yet", "Send the request again.", retry_after=30)


async def ask_to_cancel(instances: Instances, identity: str) -> None:
    """Raise the cancel event. What is broken hears no event: it is started again on its way to its end."""
    instance = await instances.find(identity)
    if instance is None or not instance.broken:
        await instances.cancel(identity)
    elif (given := recovery.input_after_cancel(instance)) is not None:
        await instances.start(given)


async def _noticed(instances: Instances, transfer_id: str, *, asked: bool) -> dict[str, Any] | None:
    """The transfer if it is on its way to `cancelled`, or came there once asked; None while it knows nothing of a cancel."""
    instance = await instances.find(transfer_id)
    if instance is None:
        raise NotFound(f"transfer {transfer_id} does not exist", "Look the transfer up by route and name.")
    shown = status.view(instance)
    if asked and shown["state"] == State.CANCELLED:
        return shown
    if shown["ending"] not in {None, State.CANCELLED}:
        fix = "Wait until it ends. No incomplete target blob will remain."
        raise Conflict(
            f"transfer {transfer_id} is ending as {shown['ending']}", fix, retry_after=30, state=shown["state"]
        )
    if not instance.under_way:
        raise Conflict(f"transfer {transfer_id} is already {shown['state']}", "Nothing to do.", state=shown["state"])
    # A late duplicate of what was cancelled is ending so, too, and never saw a cancel of its own.
    return shown if shown["cancelling"] or shown["ending"] == State.CANCELLED else None
