"""Sharing one blob now, and finding the transfer of a blob's current version."""

from operations.problems import Invalid, NotFound
from operations.transfers.restart import StillRunning, restart
from ports.orchestrations import Instances
from ports.services import Ports
from rules.errors import Permanent
from rules.events import RejectedEvent, transfer_for
from rules.orchestrations import status
from rules.routes.model import Blob, Route
from rules.transfers.model import Transfer
from rules.transfers.states import FINAL, State


async def share(ports: Ports, instances: Instances, route: str, name: str) -> str:
    """Share the blob's current version along the route; the transfer's id, also where it runs already.

    Raises:
        StillRunning: it is on its way to an end without success, or came there meanwhile.
    """
    transfer = await current(ports, route, name)
    try:
        await restart(ports, instances, transfer)
    except StillRunning:
        if await _gives_up(instances, transfer.id):
            raise  # what it ends as is settled: only the next attempt can share the blob
    return transfer.id


async def _gives_up(instances: Instances, transfer_id: str) -> bool:
    """Whether it is ending, or has ended, as cancelled or dead-lettered; so is one that is being cancelled, if nothing else is said."""
    instance = await instances.find(transfer_id)
    if instance is None:
        return False
    shown = status.view(instance)
    end = shown["ending"] or (shown["state"] if shown["state"] in FINAL else None)
    return end in {State.CANCELLED, State.DEAD_LETTERED} or (end is None and shown["cancelling"])


async def current(ports: Ports, route_name: str, name: str) -> Transfer:
    """The transfer of the version that the source shows now: one HEAD.

    Raises:
        NotFound: no such route, or no such blob.
        Invalid: the route does not carry such a name, or the service refuses to show such a blob.
    """
    found = await at_source(ports, carrier(ports, route_name, name), name)
    if found is None:
        raise NotFound("the source has no blob with this name", "Check the name; names are compared byte for byte.")
    return found


def carrier(ports: Ports, route_name: str, name: str) -> Route:
    """The route of that name, if it carries blobs of that name.

    Raises:
        NotFound: no such route.
        Invalid: the route does not carry such a name.
    """
    route = ports.route(route_name)
    if route is None:
        raise NotFound("no route has this name", f"Use one of: {', '.join(r.name for r in ports.routes)}.")
    if not route.carries(route.source.account, route.source.container, name):
        fix = f"Use a name that starts with {route.source.prefix!r} and ends with {route.suffix!r}."
        raise Invalid(f"the route {route.name} does not carry this name", fix)
    if isinstance(refused := transfer_for(route, name, ""), RejectedEvent):
        raise Invalid(f"the name cannot be carried: {refused.detail}", refused.reason.hint)
    return route


async def at_source(ports: Ports, route: Route, name: str) -> Transfer | None:
    """The transfer of the version that the source shows now; None where it has no such blob.

    Raises:
        Invalid: the service refuses to show such a blob.
    """
    blob = Blob(route.source.endpoint, route.source.container, name)
    try:
        source = await ports.source.head(blob)
    except Permanent as refusal:
        raise Invalid(f"the blob cannot be carried: {refusal}", refusal.reason.hint) from None
    if source is None:
        return None
    found = transfer_for(route, name, source.etag)
    if isinstance(found, RejectedEvent):
        raise Invalid(f"the name cannot be carried: {found.detail}", found.reason.hint)
    return found
