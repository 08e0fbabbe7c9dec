"""Sharing one blob on request, and finding the transfer of a blob's current version."""

from operations.problems import Invalid, NotFound
from operations.transfers.start import StillRunning, restart
from ports.orchestrations import Instances
from ports.services import Ports
from rules.errors import Permanent
from rules.events.decide import transfer_for
from rules.events.parse import RejectedEvent
from rules.orchestrations import status
from rules.routes.filters import FILTERED
from rules.routes.model import Blob, Route
from rules.transfers.decisions import is_filtered
from rules.transfers.model import Transfer
from rules.transfers.states import FINAL, State

CHANGE_FILTERS = "Share another blob, or change the route's filters in ROUTES."


async def share(ports: Ports, instances: Instances, route: str, name: str) -> str:
    """Share the blob's current version along the route. Return the transfer's id, also if it is already running.

    Raises:
        StillRunning: it is ending, or has just ended, as cancelled or dead-lettered.
    """
    transfer = await current_transfer(ports, route, name)
    try:
        await restart(ports, instances, transfer)
    except StillRunning:
        if await _ends_without_copy(instances, transfer.id):
            raise  # its end is decided: only the next attempt can share the blob
    return transfer.id


async def _ends_without_copy(instances: Instances, transfer_id: str) -> bool:
    """Return whether its end is, or is about to be, cancelled or dead-lettered."""
    instance = await instances.find(transfer_id)
    if instance is None:
        return False
    view = status.view(instance)
    end = view["ending"] or (view["state"] if view["state"] in FINAL else None)
    return end in {State.CANCELLED, State.DEAD_LETTERED} or (end is None and view["cancelling"])


async def current_transfer(ports: Ports, route_name: str, name: str) -> Transfer:
    """Return the transfer of the blob's current version: one HEAD of the source.

    Raises:
        NotFound: the route or the blob does not exist.
        Invalid: the route does not carry this name or size, or the service refuses to show the blob.
    """
    transfer = await transfer_at_source(ports, route_for(ports, route_name, name), name)
    if transfer is None:
        raise NotFound("the source has no blob with this name", "Check the name; names are compared byte for byte.")
    return transfer


def route_for(ports: Ports, route_name: str, name: str) -> Route:
    """Return the route, if it carries blobs of this name.

    Raises:
        NotFound: the route does not exist.
        Invalid: the route does not carry this name.
    """
    route = ports.route(route_name)
    if route is None:
        raise NotFound("no route has this name", f"Use one of: {', '.join(r.name for r in ports.routes)}.")
    account, container = route.source.account, route.source.container
    if not route.covers(account, container, name):
        fix = f"Use a name that starts with {route.source.prefix!r} and ends with {route.suffix!r}."
        raise Invalid(f"the route {route.name} does not carry this name", fix)
    if not route.carries(account, container, name):
        raise Invalid(f"{FILTERED}: a glob of `exclude` matches the name", CHANGE_FILTERS)
    transfer = transfer_for(route, name, "")  # checks the name, which does not depend on the ETag
    if isinstance(transfer, RejectedEvent):
        raise Invalid(f"the name cannot be carried: {transfer.detail}", transfer.reason.hint)
    return route


async def transfer_at_source(ports: Ports, route: Route, name: str) -> Transfer | None:
    """Return the transfer of the blob's current version, or None if the source has no such blob.

    Raises:
        Invalid: the service refuses to show the blob, or the route does not carry its name or size.
    """
    blob = Blob(route.source.endpoint, route.source.container, name)
    try:
        source = await ports.source.head(blob)
    except Permanent as refusal:
        raise Invalid(f"the blob cannot be carried: {refusal}", refusal.reason.hint) from None
    if source is None:
        return None
    if is_filtered(route, name, source):
        limit = "" if route.max_size is None else f" and at most {route.max_size}"
        why = f"it has {source.size} bytes, the route shares blobs of at least {route.min_size}{limit}"
        raise Invalid(f"{FILTERED}: {why}", CHANGE_FILTERS)
    transfer = transfer_for(route, name, source.etag)
    if isinstance(transfer, RejectedEvent):
        raise Invalid(f"the name cannot be carried: {transfer.detail}", transfer.reason.hint)
    return transfer
