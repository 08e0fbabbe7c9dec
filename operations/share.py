"""Sharing one blob now, and finding the transfer of a blob's current version."""

from operations.problems import Invalid, NotFound
from operations.restart import StillRunning, restart
from rules import status
from rules.errors import Permanent
from rules.events import Refused, along
from rules.models import Blob, Transfer
from rules.ports import Instances, Ports


async def share(ports: Ports, instances: Instances, route: str, name: str) -> str:
    """Share the blob's current version along the route; the transfer's id, also where it runs already.

    Raises:
        StillRunning: it is on its way to an end without success.
    """
    transfer = await current(ports, route, name)
    try:
        await restart(ports, instances, transfer)
    except StillRunning:
        if await _is_ending(instances, transfer.id):
            raise  # what it ends as is settled: only the next attempt can share the blob
    return transfer.id


async def _is_ending(instances: Instances, transfer_id: str) -> bool:
    instance = await instances.find(transfer_id)
    shown = status.view(instance) if instance else {}
    return bool(shown.get("ending") or shown.get("cancelling"))


async def current(ports: Ports, route_name: str, name: str) -> Transfer:
    """The transfer of the version that the source shows now: one HEAD.

    Raises:
        NotFound: no such route, or no such blob.
        Invalid: the route does not carry such a name, or the service refuses to show such a blob.
    """
    route = ports.route(route_name)
    if route is None:
        raise NotFound("there is no route of that name", f"Use one of: {', '.join(r.name for r in ports.routes)}.")
    if not route.carries(route.source.account, route.source.container, name):
        fix = f"Use a name that begins with {route.source.prefix!r} and ends with {route.suffix!r}."
        raise Invalid(f"the route {route.name} does not carry this name", fix)
    if isinstance(refused := along(route, name, ""), Refused):
        raise Invalid(f"the name cannot be carried: {refused.detail}", refused.reason.hint)
    blob = Blob(route.source.endpoint, route.source.container, name)
    try:
        source = await ports.source.head(blob)
    except Permanent as refusal:
        raise Invalid(f"the blob cannot be carried: {refusal}", refusal.reason.hint) from None
    if source is None:
        raise NotFound("the source has no blob of that name", "Check the name: it is compared byte for byte.")
    found = along(route, name, source.etag)
    if isinstance(found, Refused):
        raise Invalid(f"the name cannot be carried: {found.detail}", found.reason.hint)
    return found
