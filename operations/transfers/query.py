"""Reading transfers: one by its id, one by its blob, or a page of many."""

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from operations.problems import NotFound
from operations.transfers.share import route_for, transfer_at_source
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
# Transfers cannot be listed by name. A search reads up to 10 pages of 1,000 of a route's transfers, and stops after 20 s.
SEARCH_PAGES = 10
SEARCH_PAGE = 1_000
SEARCH_SECONDS = 20.0


async def get(ports: Ports, instances: Instances, transfer_id: str) -> dict[str, Any]:
    """Return one transfer.

    Raises:
        NotFound: it does not exist.
    """
    instance = await instances.find(transfer_id)
    if instance is None:
        raise NotFound(f"transfer {transfer_id} does not exist", UNKNOWN)
    return await _view(ports, instance)


async def get_by_name(ports: Ports, instances: Instances, route_name: str, name: str) -> dict[str, Any]:
    """Return the transfer of a blob's current version. Of a deleted blob: the one that its target names, else the newest.

    Raises:
        NotFound: the route or the transfer does not exist; the detail says where it was searched.
        Invalid: the route does not carry this name.
    """
    route = route_for(ports, route_name, name)
    current = await transfer_at_source(ports, route, name)
    if current is None:
        return await _view(ports, await _find_for_deleted(ports, instances, route, name))
    instance = await instances.find(current.id)
    if instance is None:
        raise await _explain_missing(ports, current)
    return await _view(ports, instance)


async def _view(ports: Ports, instance: Instance) -> dict[str, Any]:
    """Return the transfer, with the link to its trace, and with the resolution of its dead letter if it has one."""
    view = status.view(instance)
    if ports.trace_url is not None:
        view["trace_url"] = ports.trace_url.replace("{trace_id}", view["trace_id"])
    if State.DEAD_LETTERED not in {view["state"], view["ending"]}:
        return view
    letter = await ports.dead_letters.read(instance.id)
    return {**view, "letter": letter and records.resolution(letter)}


async def _explain_missing(ports: Ports, current: Transfer) -> NotFound:
    """Explain why the current version may have no transfer. Facts that storage fails to return are left out."""
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


async def _find_for_deleted(ports: Ports, instances: Instances, route: Route, name: str) -> Instance:
    """Find the transfer that the target's receipt names, else the newest transfer with this name."""
    named, problem = await _find_by_target(ports, instances, route, name)
    if named is not None:
        return named
    newest, searched, complete = await _find_newest(ports, instances, route, name)
    if newest is not None:
        return newest
    rest = "" if complete else f"; only the first {searched} transfers in ID order were searched"
    raise NotFound(
        f"the source has no blob with this name; {problem}; and none of the route's transfers has this name{rest}",
        f"Check the name; names are compared byte for byte. {FORGOTTEN}.",
    )


async def _find_by_target(ports: Ports, instances: Instances, route: Route, name: str) -> tuple[Instance | None, str]:
    """Find the transfer that the target's `transfer_id` names, or say why there is none.

    Every writer of the target can set this metadata, so the transfer must have this route and name.
    """
    blob = _target_blob(route, name)
    try:
        target = await ports.target.head(blob)
    except Permanent as refusal:
        return None, f"the target cannot be read: {refusal}"
    if target is None:
        return None, "the target has none either"
    if target.transfer_id is None or not TRANSFER_ID_PATTERN.fullmatch(target.transfer_id):
        return None, "the target blob does not name a transfer"
    instance = await instances.find(target.transfer_id)
    if instance is None or not _is_of(instance, route, name):
        return None, "the transfer that the target blob names is unknown"
    return instance, ""


def _target_blob(route: Route, name: str) -> Blob:
    return route.target.blob(name.removeprefix(route.source.prefix))


def _is_of(instance: Instance, route: Route, name: str) -> bool:
    run = instance.run
    return run is not None and (run.transfer.route, run.transfer.name) == (route.name, name)


async def _find_newest(
    ports: Ports, instances: Instances, route: Route, name: str
) -> tuple[Instance | None, int, bool]:
    """Return the transfer of this name that was accepted last, how many were searched, and whether those were all."""
    prefix, end = identity.route_prefix(route.name), ports.monotonic() + SEARCH_SECONDS
    matches: list[Instance] = []
    searched, continuation = 0, None
    for _ in range(SEARCH_PAGES):
        page, continuation = await instances.page(prefix=prefix, limit=SEARCH_PAGE, continuation=continuation)
        matches += [instance for instance in page if _is_of(instance, route, name)]
        searched += len(page)
        if continuation is None or ports.monotonic() >= end:
            break
    newest = max(
        matches, key=lambda instance: instance.run.accepted_at if instance.run else instance.updated_at, default=None
    )
    return newest, searched, continuation is None


async def list_transfers(  # noqa: PLR0913  # the filters
    instances: Instances,
    *,
    route: str | None,
    state: str | None,
    since: datetime | None = None,
    limit: int,
    continuation: str | None,
) -> dict[str, Any]:
    """Return a page of transfers in undefined order. `route` selects a prefix of ids; `state` filters the page.

    `since` excludes transfers whose last attempt was started earlier.
    Most transfers have ended. For a state that is not final, only running and broken orchestrations are read.
    """
    prefix = identity.route_prefix(route) if route else ""
    statuses = StatusFilter.UNDER_WAY if state in set(State) - FINAL else frozenset[str]()
    listed, following = await instances.page(
        prefix=prefix, statuses=statuses, since=since, limit=limit, continuation=continuation
    )
    items = [status.view(instance) for instance in listed]
    return {"items": [item for item in items if state in {None, item["state"]}], "continuation": following}
