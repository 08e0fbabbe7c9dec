"""Looking at transfers and dead letters: one transfer, the one of a blob, a page of many; a page of letters."""

from contextlib import suppress
from datetime import timedelta
from typing import Any

from operations.problems import NotFound
from operations.transfers.share import at_source, carrier
from ports.orchestrations import Instances
from ports.services import Ports
from rules.dead_letters import records
from rules.errors import Failure, Permanent
from rules.orchestrations import status
from rules.orchestrations.instance import Instance, StatusFilter
from rules.orchestrations.liveness import RETENTION
from rules.routes.model import Blob, Route
from rules.transfers import identity
from rules.transfers.identity import TRANSFER_ID_PATTERN
from rules.transfers.model import Transfer
from rules.transfers.states import FINAL, State

FORGOTTEN = f"Histories are kept for {RETENTION // timedelta(days=1)} days"
UNKNOWN = (
    f"Look the transfer up with ?route=<route>&name=<blob name>. {FORGOTTEN}; for an older transfer, read the target blob's metadata "
    "source_etag and transfer_id."
)
# No list is by name: a search reads so many pages of a route's transfers, of so many each, and begins none after so long.
SEARCH_PAGES = 10
SEARCH_PAGE = 1_000
SEARCH_SECONDS = 20.0


async def transfer(ports: Ports, instances: Instances, transfer_id: str) -> dict[str, Any]:
    """One transfer by its id."""
    instance = await instances.find(transfer_id)
    if instance is None:
        raise NotFound(f"transfer {transfer_id} does not exist", UNKNOWN)
    return await _shown(ports, instance)


async def transfer_of(ports: Ports, instances: Instances, route_name: str, name: str) -> dict[str, Any]:
    """The transfer of the blob's current version; of a blob that is gone, the one that its target names, else the newest.

    Raises:
        NotFound: no such route, or no such transfer; it says where it was looked for.
        Invalid: the route does not carry such a name.
    """
    route = carrier(ports, route_name, name)
    current = await at_source(ports, route, name)
    if current is None:
        return await _shown(ports, await _of_gone(ports, instances, route, name))
    instance = await instances.find(current.id)
    if instance is None:
        raise await _unknown(ports, current)
    return await _shown(ports, instance)


async def _shown(ports: Ports, instance: Instance) -> dict[str, Any]:
    """The transfer, and what became of its dead letter."""
    shown = status.view(instance)
    if State.DEAD_LETTERED not in {shown["state"], shown["ending"]}:
        return shown
    letter = await ports.dead_letters.read(instance.id)
    return {**shown, "letter": letter and records.resolution(letter)}


async def _unknown(ports: Ports, current: Transfer) -> NotFound:
    """Why the version that the source shows may have no transfer. What storage does not show is left out."""
    detail = f"the blob's current version has no transfer ({current.id})"
    target, depth = None, 0
    with suppress(Failure):
        target = await ports.target.head(current.target_blob)
    if target is not None and target.source_etag == current.etag:
        fix = f"{FORGOTTEN}. The target's receipt names this version; reconcile the route to compare both blobs."
        return NotFound(f"{detail}; its history was deleted", fix)
    with suppress(Failure):
        depth = await ports.events.depth()
    waiting = f"About {depth} events wait in the queue. " if depth else ""
    fix = f"{waiting}Ask again in a few seconds. If the transfer is still missing, share the blob with POST /api/transfers."
    return NotFound(f"{detail}; its event was not processed yet, or never arrived", fix)


async def _of_gone(ports: Ports, instances: Instances, route: Route, name: str) -> Instance:
    """The transfer that the target's receipt names, else the newest of that name that the search finds."""
    named, said = await _named_by_target(ports, instances, route, name)
    if named is not None:
        return named
    newest, searched, complete = await _newest(ports, instances, route, name)
    if newest is not None:
        return newest
    rest = "" if complete else f"; only the first {searched} transfers in ID order were searched"
    raise NotFound(
        f"the source has no blob with this name; {said}; and none of the route's transfers has this name{rest}",
        f"Check the name; names are compared byte for byte. {FORGOTTEN}.",
    )


async def _named_by_target(ports: Ports, instances: Instances, route: Route, name: str) -> tuple[Instance | None, str]:
    """The transfer of the target's `transfer_id`, which anybody who writes there may have set; or why there is none."""
    blob = _target_blob(route, name)
    try:
        target = await ports.target.head(blob)
    except Permanent as refusal:
        return None, f"the target cannot be read: {refusal}"
    if target is None:
        return None, "the target has none either"
    if target.transfer_id is None or not TRANSFER_ID_PATTERN.fullmatch(target.transfer_id):
        return None, "the target blob does not name a transfer"
    found = await instances.find(target.transfer_id)
    if found is None or not _is_of(found, route, name):
        return None, "the transfer that the target blob names is unknown"
    return found, ""


def _target_blob(route: Route, name: str) -> Blob:
    return route.target.blob(name.removeprefix(route.source.prefix))


def _is_of(instance: Instance, route: Route, name: str) -> bool:
    run = instance.run
    return run is not None and (run.transfer.route, run.transfer.name) == (route.name, name)


async def _newest(ports: Ports, instances: Instances, route: Route, name: str) -> tuple[Instance | None, int, bool]:
    """The transfer of that name that was accepted last, among so many that were searched; and whether these were all."""
    prefix, end = identity.route_prefix(route.name), ports.monotonic() + SEARCH_SECONDS
    found: list[Instance] = []
    searched, continuation = 0, None
    for _ in range(SEARCH_PAGES):
        page, continuation = await instances.page(prefix=prefix, limit=SEARCH_PAGE, continuation=continuation)
        found += [instance for instance in page if _is_of(instance, route, name)]
        searched += len(page)
        if continuation is None or ports.monotonic() >= end:
            break
    newest = max(
        found, key=lambda instance: instance.run.accepted_at if instance.run else instance.updated_at, default=None
    )
    return newest, searched, continuation is None


async def transfers(
    instances: Instances, *, route: str | None, state: str | None, limit: int, continuation: str | None
) -> dict[str, Any]:
    """A page of transfers, in no promised order. `route` is a prefix of ids; `state` filters what the page holds.

    What is under way is few among many that ended: a page of those is made of what runs or is broken alone.
    """
    prefix = identity.route_prefix(route) if route else ""
    statuses = StatusFilter.UNDER_WAY if state in set(State) - FINAL else frozenset[str]()
    found, following = await instances.page(prefix=prefix, statuses=statuses, limit=limit, continuation=continuation)
    items = [status.view(instance) for instance in found]
    return {"items": [item for item in items if state in {None, item["state"]}], "continuation": following}
