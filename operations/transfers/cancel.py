"""Cancelling a transfer. The cancel is repeated until the transfer confirms it (rule 11)."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from operations.log import log
from operations.problems import Conflict, NotFound, Unavailable
from ports.orchestrations import Instances
from rules.orchestrations import recovery, status
from rules.transfers.states import FINAL, State

# An event can be lost when an orchestration continues as new, so it is raised again until the status shows it.
# In seconds, about 30 in total.
PAUSES = (0.5, 1, 2, 3, 4, 5, 5, 5, 5)


async def cancel(
    instances: Instances, transfer_id: str, pause: Callable[[float], Awaitable[Any]] = asyncio.sleep
) -> dict[str, Any]:
    """Cancel a transfer, and return it once it has confirmed the cancel.

    Raises:
        NotFound: the transfer does not exist.
        Conflict: it ended, or began to end, before the cancel reached it.
        Unavailable: it did not confirm within 30 s. Sending the request again is safe.
    """
    confirmed = partial(_if_confirmed, instances, transfer_id)
    transfer = await request_until_confirmed(instances, transfer_id, confirmed, pause)
    name = transfer["source"] and transfer["source"]["name"]
    log("transfer.cancel_noticed", "cancelled by request", id=transfer_id, route=transfer["route"], name=name)
    return transfer


async def request_until_confirmed(
    instances: Instances,
    identity: str,
    if_confirmed: Callable[..., Awaitable[dict[str, Any] | None]],
    pause: Callable[[float], Awaitable[Any]],
) -> dict[str, Any]:
    """Raise the cancel event until `if_confirmed(requested=…)` returns a view of the orchestration, and return that.

    Raises:
        Unavailable: it returned None for 30 s. Sending the request again is safe.
    """
    for number, seconds in enumerate(PAUSES):
        if (view := await if_confirmed(requested=number > 0)) is not None:
            return view
        await request_cancel(instances, identity)
        await pause(seconds)
    raise Unavailable(f"{identity} has not confirmed the cancel yet", "Send the request again.", retry_after=30)


async def request_cancel(instances: Instances, identity: str) -> None:
    """Raise the cancel event. A broken orchestration receives no events: it is restarted so that it ends as cancelled."""
    instance = await instances.find(identity)
    if instance is None or not instance.broken:
        await instances.cancel(identity)
    elif (ending := recovery.input_after_cancel(instance)) is not None:
        await instances.start(ending)


async def _if_confirmed(instances: Instances, transfer_id: str, *, requested: bool) -> dict[str, Any] | None:
    """Return the transfer if it is being cancelled, or was cancelled after the request; else None."""
    instance = await instances.find(transfer_id)
    if instance is None:
        raise NotFound(f"transfer {transfer_id} does not exist", "Look the transfer up by route and name.")
    view = status.view(instance)
    if requested and view["state"] == State.CANCELLED:
        return view
    if view["ending"] not in {None, State.CANCELLED}:
        fix = "Wait until it ends. No incomplete target blob will remain."
        raise Conflict(
            f"transfer {transfer_id} is ending as {view['ending']}", fix, retry_after=30, state=view["state"]
        )
    if not instance.under_way or view["state"] in FINAL:  # a verified one may still notify its recipient
        raise Conflict(f"transfer {transfer_id} is already {view['state']}", "Nothing to do.", state=view["state"])
    # A late duplicate of a cancelled transfer also ends as cancelled, although it received no cancel event.
    return view if view["cancelling"] or view["ending"] == State.CANCELLED else None
