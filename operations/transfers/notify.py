"""Notifying a route's recipient that a version has arrived."""

from operations.log import log
from operations.problems import Conflict, NotFound
from ports.orchestrations import Instances
from ports.services import Ports
from rules.events.decide import NO_RECIPIENT, transfer_for
from rules.orchestrations import recovery, status
from rules.routes.model import Route
from rules.transfers import identity, notices
from rules.transfers.decisions import holds_version
from rules.transfers.model import Transfer
from rules.transfers.notices import Notice, shared_event
from rules.transfers.states import State

GONE = "the target no longer holds the version, so there is nothing to announce"


async def announce(ports: Ports, transfer: Transfer, notice: Notice) -> bool:
    """Notify the recipient of the transfer's route. Return False if the target no longer holds the version.

    A recipient may get an event more than once. It never gets one of a version that the target did not hold a moment before.

    Raises:
        StorageError: the target could not be read, or the recipient not be notified.
    """
    route = ports.route(transfer.route)
    if route is None or route.notify is None:
        log("notice.skipped", NO_RECIPIENT, id=transfer.id, route=transfer.route, name=transfer.name)
        return False
    target = await ports.target.head(transfer.target_blob)
    if target is None or not holds_version(target, transfer.etag, notice.size):
        log("notice.skipped", GONE, id=transfer.id, route=transfer.route, name=transfer.name)
        return False
    await ports.recipients.send(route.notify, shared_event(transfer, notice, target))
    log("notice.sent", "the recipient was notified", id=transfer.id, route=transfer.route, name=transfer.name)
    return True


async def notify_again(ports: Ports, instances: Instances, transfer_id: str) -> None:
    """Notify the recipient of a verified transfer, again if it was notified before. This resolves an open dead letter of it.

    Raises:
        NotFound: the transfer does not exist.
        Conflict: it is not verified, its target holds another version, or no current route has its recipient.
        StorageError: the target could not be read, or the recipient not be notified.
    """
    instance = await instances.find(transfer_id)
    if instance is None or instance.run is None:
        raise NotFound(f"transfer {transfer_id} does not exist", "Look the transfer up by route and name.")
    view, transfer = status.view(instance), instance.run.transfer
    if view["state"] != State.VERIFIED:
        fix = "Notify the recipient when the transfer is verified; the app does so by itself."
        raise Conflict(f"transfer {transfer_id} is {view['state']}", fix)
    if _route_with_recipient(ports, transfer) is None:
        raise Conflict(NO_RECIPIENT, "Add `notify` to the route in ROUTES, then send the request again.")
    if not await announce(ports, transfer, notices.of_run(recovery.merge_status(instance.run, instance.live))):
        raise Conflict(GONE, "Nothing to do: a newer version is announced when it arrives.")
    letter = identity.notice_id(transfer_id)
    known = await ports.dead_letters.read(letter)
    if known is not None:
        await ports.dead_letters.resolve(letter, known.last_attempt, "accepted", ports.now())


def _route_with_recipient(ports: Ports, transfer: Transfer) -> Route | None:
    route = ports.route(transfer.route)
    current = route and transfer_for(route, transfer.name, transfer.etag)
    return route if route and route.notify and current == transfer else None
