"""Looking up the version of a blob whose event names none, and starting the transfers of the version found (rule 21)."""

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from operations.log import log
from operations.transfers.start import StillRunning, restart, start_unless
from ports.orchestrations import Instances
from ports.services import Ports
from rules.errors import Reason
from rules.events import lookups
from rules.events.decide import Found, transfer_for
from rules.events.lookups import Cause, Lookup, NextLookup
from rules.events.write import lookup_event
from rules.orchestrations.instance import Instance
from rules.routes.filters import FILTERED
from rules.routes.model import Blob, Route
from rules.transfers.decisions import SourceBlob, holds_version, is_filtered
from rules.transfers.model import Transfer
from rules.transfers.states import State


async def look_up(
    ports: Ports, instances: Instances, found: Found, event_at: datetime | None = None
) -> dict[str, bool]:
    """Return the ids of the transfers of the version found, each with whether it was started.

    It costs one HEAD of the source, and for each route one question about the transfer's orchestration.

    Raises:
        StorageError: also Permanent, if the service shows a blob that cannot be carried.
    """
    lookup = found.lookup
    if lookup.since is None:
        lookup = replace(lookup, since=ports.now())
        if pause := lookups.first_pause(lookup, ports.times):
            await _put(ports, found, NextLookup(lookup, pause))
            return {}
    place = found.routes[0].source
    source = await ports.source.head(Blob(place.endpoint, place.container, found.name))
    if source is None:
        log("message.ignored", "the blob no longer exists, or is a directory")
        return {}
    if source.archived and lookup.cause is Cause.TIER_CHANGED:
        log("message.ignored", "the blob is archived again")
        return {}
    sharing = _Sharing(ports, instances, lookup, source, event_at)
    transfers = {route: transfer_for(route, found.name, source.etag) for route in found.routes}
    results = [
        (each.id, *await sharing.share(route, each)) for route, each in transfers.items() if isinstance(each, Transfer)
    ]
    following = [later for _, _, later in results if later]
    if following:
        await _put(ports, found, min(following, key=lambda later: later.lookup.settled))
    return {identity: new for identity, new, later in results if new or not later}


async def _put(ports: Ports, found: Found, following: NextLookup) -> None:
    message = lookup_event(found.routes[0], found.name, following.lookup, ports.now())
    await ports.events.put(message, following.pause)


@dataclass(frozen=True, slots=True)
class _Sharing:
    """One lookup, and what it found at the source."""

    ports: Ports
    instances: Instances
    lookup: Lookup
    source: SourceBlob
    event_at: datetime | None

    async def share(self, route: Route, transfer: Transfer) -> tuple[bool, NextLookup | None]:
        """Start the transfer if it is needed. Return whether it was started, and the next lookup if there must be one."""
        known = await self.instances.find(transfer.id)
        if known is None and not lookups.is_complete(self.lookup, self.source, self.ports.now()):
            return False, lookups.after_growing(self.lookup, self.source, self.ports.times)
        if is_filtered(route, transfer.name, self.source):
            log("message.ignored", FILTERED)
            return False, None
        if self.lookup.cause is Cause.TIER_CHANGED:
            return await self._replay_archived(transfer, known)
        if known is not None and self.lookup.cause is Cause.RENAMED:
            if known.under_way:
                return False, lookups.after_running(self.lookup, self.ports.times)
            if known.live.get("state") in {State.VERIFIED, State.SUPERSEDED}:
                return await self._share_again(transfer, known)
        return await start_unless(self.ports, self.instances, transfer, known, self.event_at), None

    async def _replay_archived(self, transfer: Transfer, known: Instance | None) -> tuple[bool, NextLookup | None]:
        """Restart a transfer whose open dead letter says that its source was archived.

        One that runs may be ending with this dead letter, because it saw the source before.
        """
        if known is None or not known.under_way:
            letter = await self.ports.dead_letters.read(transfer.id)
            if letter is None or letter.resolved_at is not None or letter.reason is not Reason.SOURCE_ARCHIVED:
                log("message.ignored", "no transfer waits for the blob to be rehydrated", route=transfer.route)
                return False, None
            with suppress(StillRunning):  # another message was faster
                await restart(self.ports, self.instances, transfer)
                return True, None
        return False, lookups.after_running(self.lookup, self.ports.times)

    async def _share_again(self, transfer: Transfer, known: Instance) -> tuple[bool, NextLookup | None]:
        """Restart a transfer that ended before its file was renamed away and back, unless the target holds the version.

        A superseded one is restarted anyway, so that it ends verified.
        """
        target = await self.ports.target.head(transfer.target_blob)
        holds = target is not None and holds_version(target, self.source.etag, self.source.size)
        later = lookups.after_match(self.lookup, self.ports.times) if holds else None
        if holds and known.live["state"] == State.VERIFIED:
            return False, later
        try:
            await restart(self.ports, self.instances, transfer, blind=False)
        except StillRunning:  # another message was faster
            return False, lookups.after_running(self.lookup, self.ports.times)
        return True, later
