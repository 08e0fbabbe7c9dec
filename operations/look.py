"""Looking at transfers: one, the one of a blob's current version, a page of many."""

from datetime import timedelta
from typing import Any

from operations.problems import NotFound
from operations.share import current
from rules import identity, status
from rules.ports import Instances, Ports, Standing
from rules.transitions import FINAL, State
from rules.watch import RETENTION

UNKNOWN = (
    f"Look it up with ?route=<route>&name=<blob name>. Histories are kept for {RETENTION // timedelta(days=1)} days: of an "
    "older transfer, the target blob's metadata source_etag and transfer_id say what it holds."
)


async def transfer(instances: Instances, transfer_id: str) -> dict[str, Any]:
    """One transfer by its id."""
    instance = await instances.find(transfer_id)
    if instance is None:
        raise NotFound(f"there is no transfer {transfer_id}", UNKNOWN)
    return status.view(instance)


async def transfer_of(ports: Ports, instances: Instances, route: str, name: str) -> dict[str, Any]:
    """The transfer of the blob's current version: nobody knows a hash by heart."""
    return await transfer(instances, (await current(ports, route, name)).id)


async def transfers(
    instances: Instances, *, route: str | None, state: str | None, limit: int, continuation: str | None
) -> dict[str, Any]:
    """A page of transfers, in no promised order. `route` is a prefix of ids; `state` filters what the page holds.

    What is under way is few among many that ended: a page of those is made of what runs or is broken alone.
    """
    prefix = identity.route_prefix(route) if route else ""
    standing = Standing.UNDER_WAY if state in set(State) - FINAL else frozenset[str]()
    found, following = await instances.page(prefix=prefix, standing=standing, limit=limit, continuation=continuation)
    items = [status.view(instance) for instance in found]
    return {"items": [item for item in items if state in {None, item["state"]}], "continuation": following}
