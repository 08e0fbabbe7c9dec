"""Decide what follows from a message (rules 6, 10, 13 and 21)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from rules.errors import Reason
from rules.events.lookups import Cause, Lookup
from rules.events.parse import DAMAGED, BlobEvent, Ignored, RejectedEvent, decode, parse
from rules.routes import names
from rules.routes.filters import FILTERED
from rules.routes.model import Blob, Route
from rules.transfers import identity
from rules.transfers.model import Transfer
from rules.transfers.notices import Notice


@dataclass(frozen=True, slots=True)
class Found:
    """A blob to look up, and the routes that carry it."""

    lookup: Lookup
    name: str
    routes: tuple[Route, ...]


@dataclass(frozen=True, slots=True)
class Folder:
    """The names of a route that are in a renamed directory, and the id of the event."""

    route: Route
    prefix: str
    event_id: str


@dataclass(frozen=True, slots=True)
class Announcement:
    """A verified transfer whose recipient was not notified."""

    transfer: Transfer
    notice: Notice


@dataclass(frozen=True, slots=True)
class EventDecision:
    """What follows from a message: what to start or look up, a rejection to store as a dead letter, or why it is ignored.

    `paused`: the names of the routes for which the event is ignored, because they are paused or over their daily budget. `at`: the time of the event, if it states one.
    """

    transfers: tuple[Transfer, ...] = ()
    found: Found | None = None
    folders: tuple[Folder, ...] = ()
    announcement: Announcement | None = None
    rejection: RejectedEvent | None = None
    ignored: str = ""
    paused: tuple[str, ...] = ()
    at: datetime | None = field(default=None, compare=False)


PAUSED = "the route is paused"
OVER_BUDGET = "over_budget: the route has reached its daily_bytes; it resumes at midnight UTC"
CANNOT_CARRY = "no route can carry this blob"
NO_RECIPIENT = "the route has no recipient to notify"
MISMATCH = RejectedEvent(Reason.NOT_ALLOWED, "data.url does not match the blob that the subject names")


def decide_on(body: bytes, routes: tuple[Route, ...]) -> EventDecision:
    """Decide what follows from a message.

    | message | decision |
    | --- | --- |
    | not an event, or a field is missing or has a wrong type | rejected, `malformed` |
    | another event type | ignored |
    | an account, container or name of no route | ignored |
    | a name or size that the filters of every such route exclude | ignored |
    | an event for which every such route is paused or over its budget | ignored; if only some are, the other rows hold for the others |
    | a name damaged in `subject` and in the URL, in a route's container | rejected, `invalid_name` |
    | a name that cannot be carried, before or after the prefix is rewritten | rejected, `invalid_name` |
    | a URL that is not the one rebuilt from the route | rejected, `not_allowed` |
    | an announcement (`lookups`) or changed tier that would be rejected | ignored: the event with the content is rejected |
    | a directory was renamed | a reconcile of each affected route, limited to the directory |
    | a blob was renamed or announced, or its tier changed from archive | a lookup of the blob's version |
    | a notice of the app, whose route has no recipient any more | ignored |
    | another notice of the app | its recipient is notified |
    | else | one transfer per matching route |
    """
    event = parse(body)
    if isinstance(event, RejectedEvent):
        return EventDecision(rejection=event)
    if isinstance(event, Ignored):
        return EventDecision(ignored=event.why)
    if event.notice:
        return _decide_on_notice(event, event.notice, routes)
    decision = replace(_decide_on_event(event, routes), at=event.at)
    if decision.rejection and event.lookup and event.lookup.cause is not Cause.RENAMED:
        # The event with the content is rejected.
        return replace(decision, rejection=None, ignored="" if decision.found else CANNOT_CARRY)
    return decision


def _decide_on_notice(event: BlobEvent, notice: Notice, routes: tuple[Route, ...]) -> EventDecision:
    """The version is shared, so neither filters nor a pause matter."""
    route = next((route for route in routes if route.name == notice.route and route.notify), None)
    if route is None or not route.covers(event.account, event.container, event.name):
        return EventDecision(ignored=NO_RECIPIENT)
    found = _decide_for_route(route, event)
    if isinstance(found, RejectedEvent):
        return EventDecision(rejection=found)
    return EventDecision(announcement=Announcement(found, notice))


def _decide_on_event(event: BlobEvent, routes: tuple[Route, ...]) -> EventDecision:
    local = [route for route in routes if route.starts_in(event.account, event.container)]
    if event.damaged and local:
        damaged = EventDecision(rejection=RejectedEvent(Reason.INVALID_NAME, DAMAGED))
        return _unless_paused(local, lambda _: damaged)
    if not (event.etag or event.lookup):
        return _decide_on_directory(event, local)
    covering = [route for route in local if route.covers(event.account, event.container, event.name)]
    if not covering:
        return EventDecision(ignored="no route carries this blob")
    admitting = [route for route in covering if _admits(route, event)]
    if not admitting:
        return EventDecision(ignored=FILTERED)
    return _unless_paused(admitting, partial(_decide_on_blob, event))


def _unless_paused(routes: Sequence[Route], decide: Callable[[list[Route]], EventDecision]) -> EventDecision:
    """Decide for the routes that are neither paused nor over their daily budget."""
    active = [route for route in routes if not route.ignores_events]
    paused = tuple(each.name for each in routes if each.ignores_events)
    return replace(decide(active) if active else EventDecision(ignored=PAUSED), paused=paused)


def _admits(route: Route, event: BlobEvent) -> bool:
    """Whether the filters let the blob through. `start` checks a size that the event does not state."""
    carried = route.carries(event.account, event.container, event.name)
    return carried and (event.size is None or route.admits(event.size))


def _decide_on_blob(event: BlobEvent, routes: list[Route]) -> EventDecision:
    verdicts = {route: _decide_for_route(route, event) for route in routes}
    transfers = {route: verdict for route, verdict in verdicts.items() if isinstance(verdict, Transfer)}
    rejection = next((verdict for verdict in verdicts.values() if isinstance(verdict, RejectedEvent)), None)
    if event.lookup is None:
        return EventDecision(transfers=tuple(transfers.values()), rejection=rejection)
    return EventDecision(
        found=Found(event.lookup, event.name, tuple(transfers)) if transfers else None, rejection=rejection
    )


def _decide_on_directory(event: BlobEvent, local: list[Route]) -> EventDecision:
    """The blobs in the directory raise no events. The reconcile checks their names."""
    affected = {route: prefix for route in local if (prefix := _affected_prefix(route, f"{event.name}/"))}
    if not affected:
        return EventDecision(ignored="no route carries blobs of this directory")
    affected = {route: prefix for route, prefix in affected.items() if not route.excludes_folder(prefix)}
    if not affected:
        return EventDecision(ignored=FILTERED)
    return _unless_paused(list(affected), partial(_decide_on_folders, event, affected))


def _decide_on_folders(event: BlobEvent, prefixes: dict[Route, str], routes: list[Route]) -> EventDecision:
    if not all(_is_url_of(event.url, replace(route.source, prefix=event.name).blob("")) for route in routes):
        return EventDecision(rejection=MISMATCH)
    return EventDecision(folders=tuple(Folder(route, prefixes[route], event.id) for route in routes))


def _affected_prefix(route: Route, renamed: str) -> str:
    """Return the beginning of the route's names in a renamed directory; empty if there are none.

    An ancestor of the route's prefix affects the whole route.
    """
    carried = route.source.prefix
    return max(renamed, carried, key=len) if renamed.startswith(carried) or carried.startswith(renamed) else ""


def transfer_for(route: Route, name: str, etag: str) -> Transfer | RejectedEvent:
    """Return the transfer of this version along this route, or why its name cannot be carried."""
    rest = name.removeprefix(route.source.prefix)
    why = names.refusal(name) or names.refusal(route.target.blob(rest).name)
    if why is None:
        why = names.source_url_refusal(Blob(route.source.endpoint, route.source.container, name).url)
    return RejectedEvent(Reason.INVALID_NAME, why) if why else identity.transfer(route, name, etag)


def _decide_for_route(route: Route, event: BlobEvent) -> Transfer | RejectedEvent:
    found = transfer_for(route, event.name, event.etag)
    return MISMATCH if isinstance(found, Transfer) and not _is_url_of(event.url, found.source_blob) else found


def _is_url_of(url: str, blob: Blob) -> bool:
    """Whether a URL is this blob's, with container and name raw or encoded once, on the `blob` or the `dfs` host."""
    scheme, slashes, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    blob_url = scheme + slashes + host.replace(".dfs.", ".blob.", 1) + slash + path
    container, slash, name = blob_url.removeprefix(f"{blob.endpoint}/").partition("/")
    return (
        blob_url.startswith(f"{blob.endpoint}/")
        and slash == "/"
        and blob.container in {container, decode(container)}
        and blob.name in {name, decode(name)}
    )
