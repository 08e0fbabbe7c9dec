"""Parse the events in messages and decide which transfers follow from them (rules 6, 10 and 13).

A message holds an event in the CloudEvents 1.0 or Event Grid schema: an object or an array of one, as plain text or
base64. No function raises for any bytes.
"""

import json
import re
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from rules.codec import plain_body, stamp
from rules.errors import Reason
from rules.routes import names
from rules.routes.filters import FILTERED
from rules.routes.model import MAX_SIZE, Blob, Route
from rules.transfers import identity
from rules.transfers.model import Transfer

CREATED = "Microsoft.Storage.BlobCreated"
# These announce an empty file. The event with the content (FlushWithClose, SftpCommit) follows.
ANNOUNCE_ONLY = frozenset({"CreateFile", "SftpCreate"})
ACCOUNT = re.compile(r".*/storageAccounts/([a-z0-9]{3,24})", re.ASCII | re.DOTALL | re.IGNORECASE)
# Some older events have no leading slash.
SUBJECT = re.compile(r"/?blobServices/default/containers/([^/]+)/blobs/(.+)", re.DOTALL)
# The largest blob of undelivered events that the app reads, and the largest event; Event Grid publishes at most 1 MB.
MAX_UNDELIVERED, MAX_EVENT = 16 * 1024 * 1024, 1024 * 1024
# Event Grid may replace a character beyond the basic plane, such as an emoji, with several of these.
REPLACEMENT = "\ufffd"
REPLACED = re.compile("[\ufffd\U00010000-\U0010ffff]+")
DAMAGED = "the event's subject and data.url are both damaged: each has U+FFFD in place of a character of the name"
# The ETag is sent in If-Match, where `*` or a list would match more than one version.
ETAG = re.compile(r"[0-9A-Za-z_-]{1,128}")


@dataclass(frozen=True, slots=True)
class BlobCreated:
    """A BlobCreated event. `etag` has no quotes. `url` is only compared, never fetched.

    `damaged`: neither the subject nor the URL has the whole name. `size`: None if the event does not tell it.
    """

    account: str
    container: str
    name: str
    etag: str
    url: str
    damaged: bool = False
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Ignored:
    """An event that starts no transfer and writes no dead letter."""

    why: str


@dataclass(frozen=True, slots=True)
class RejectedEvent:
    """An event that becomes a dead letter with this reason."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class EventDecision:
    """What follows from a message: transfers to start, a rejection to store as a dead letter, or why it is ignored."""

    transfers: tuple[Transfer, ...] = ()
    rejection: RejectedEvent | None = None
    ignored: str = ""


def decide_on(body: bytes, routes: tuple[Route, ...]) -> EventDecision:
    """Decide what follows from a message.

    | message | decision |
    | --- | --- |
    | not an event, or a field is missing or has a wrong type | rejected, `malformed` |
    | another event type, or an `api` that only announces an empty file | ignored |
    | an account, container or name of no route | ignored |
    | a name or size that the filters of every such route exclude | ignored |
    | a name damaged in `subject` and `data.url`, in a route's container | rejected, `invalid_name` |
    | a name that cannot be carried, before or after the prefix is rewritten | rejected, `invalid_name` |
    | a `data.url` that is not the URL rebuilt from the route | rejected, `not_allowed` |
    | else | one transfer per matching route |
    """
    event = parse(body)
    if isinstance(event, RejectedEvent):
        return EventDecision(rejection=event)
    if isinstance(event, Ignored):
        return EventDecision(ignored=event.why)
    if event.damaged and any(route.starts_in(event.account, event.container) for route in routes):
        return EventDecision(rejection=RejectedEvent(Reason.INVALID_NAME, DAMAGED))
    covering = [route for route in routes if route.covers(event.account, event.container, event.name)]
    if not covering:
        return EventDecision(ignored="no route carries this blob")
    admitting = [route for route in covering if _admits(route, event)]
    if not admitting:
        return EventDecision(ignored=FILTERED)
    verdicts = [_decide_for_route(route, event) for route in admitting]
    return EventDecision(
        transfers=tuple(verdict for verdict in verdicts if isinstance(verdict, Transfer)),
        rejection=next((verdict for verdict in verdicts if isinstance(verdict, RejectedEvent)), None),
    )


def _admits(route: Route, event: BlobCreated) -> bool:
    """Whether the filters let the blob through. `start` checks a size that the event does not tell."""
    carried = route.carries(event.account, event.container, event.name)
    return carried and (event.size is None or route.admits(event.size))


def transfer_for(route: Route, name: str, etag: str) -> Transfer | RejectedEvent:
    """Return the transfer of this version along this route, or why its name cannot be carried."""
    rest = name.removeprefix(route.source.prefix)
    why = names.refusal(name) or names.refusal(route.target.blob(rest).name)
    if why is None:
        why = names.source_url_refusal(Blob(route.source.endpoint, route.source.container, name).url)
    return RejectedEvent(Reason.INVALID_NAME, why) if why else identity.transfer(route, name, etag)


def _decide_for_route(route: Route, event: BlobCreated) -> Transfer | RejectedEvent:
    found = transfer_for(route, event.name, event.etag)
    if isinstance(found, Transfer) and not _is_url_of(event.url, found.source_blob):
        return RejectedEvent(Reason.NOT_ALLOWED, "data.url does not match the blob that the subject names")
    return found


def _is_url_of(url: str, blob: Blob) -> bool:
    """Whether a URL is this blob's, with container and name raw or encoded once, on the `blob` or the `dfs` host."""
    scheme, slashes, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    blob_url = scheme + slashes + host.replace(".dfs.", ".blob.", 1) + slash + path
    container, slash, name = blob_url.removeprefix(f"{blob.endpoint}/").partition("/")
    return (
        blob_url.startswith(f"{blob.endpoint}/")
        and slash == "/"
        and blob.container in {container, _decode(container)}
        and blob.name in {name, _decode(name)}
    )


def _name_from_url(name: str, url: str, account: str, container: str) -> str | None:
    """Return the name as `data.url` spells it; None unless it equals the damaged name in every undamaged character."""
    path = url.partition("://")[2].partition("/")[2]
    url_container, _, url_name = path.removeprefix(f"{account}/").partition("/")
    if container not in {url_container, _decode(url_container)}:
        return None
    candidates = (url_name, _decode(url_name))
    return next((text for text in candidates if text and _mask_replaced(text) == _mask_replaced(name)), None)


def _mask_replaced(name: str) -> str:
    return REPLACED.sub(REPLACEMENT, name)


def _decode(text: str) -> str | None:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        return None


def parse(body: bytes) -> BlobCreated | Ignored | RejectedEvent:
    """Parse a message, ignoring unknown fields."""
    event = _parse_json(body)
    if isinstance(event, list) and len(event) == 1:
        event = event[0]
    if not isinstance(event, dict):
        return _malformed("the message is neither a JSON object nor an array of one")
    kind = event.get("type") if "specversion" in event else event.get("eventType")
    if not isinstance(kind, str):
        return _malformed("the event has neither a CloudEvents 1.0 `type` nor an Event Grid `eventType`")
    return _parse_created(event) if kind == CREATED else Ignored("the event is of another type")


def split(body: bytes) -> list[bytes]:
    """Split a blob of events that Event Grid could not deliver into one message per event.

    The blob holds one event or an array of them, with additional fields such as `deadLetterReason`
    (`deadletterreason` in CloudEvents). Any other content is returned as one message, which `decide_on` rejects.
    """
    events = _parse_json(body)
    return [json.dumps(event).encode() for event in events] if isinstance(events, list) else [body]


def _parse_created(event: dict[str, Any]) -> BlobCreated | Ignored | RejectedEvent:
    data = event.get("data")
    if not isinstance(data, dict):
        return _malformed("`data` is not an object")
    api, etag, url = data.get("api"), data.get("eTag"), data.get("url")
    account = _match(ACCOUNT, event.get("source") if "specversion" in event else event.get("topic"))
    subject = _match(SUBJECT, event.get("subject"))
    if account is None or subject is None:
        return _malformed("`source` or `topic` does not name a storage account, or `subject` does not name a blob")
    if not isinstance(etag, str) or not ETAG.fullmatch(identity.bare_etag(etag)) or not isinstance(url, str):
        return _malformed("`data.eTag` is not an ETag, or `data.url` is not a string")
    if isinstance(api, str) and api in ANNOUNCE_ONLY:
        return Ignored("the event only announces an empty file")
    size = _size(data.get("contentLength"))
    container = _decode(subject[1]) or ""
    created = BlobCreated(account[1].lower(), container, subject[2], identity.bare_etag(etag), url, size=size)
    return _repair_name(created) if REPLACEMENT in created.name else created


def _repair_name(event: BlobCreated) -> BlobCreated:
    """Take the name from the event's URL if it is undamaged there, as a percent-encoded name always is."""
    name = _name_from_url(event.name, event.url, event.account, event.container)
    return event if name is None else replace(event, name=name, damaged=REPLACEMENT in event.url)


def _size(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_SIZE else None


def _match(pattern: re.Pattern[str], value: Any) -> re.Match[str] | None:
    return pattern.fullmatch(value) if isinstance(value, str) else None


def _malformed(detail: str) -> RejectedEvent:
    return RejectedEvent(Reason.MALFORMED, detail)


def _parse_json(body: bytes) -> Any:
    """Return the object or array in a message, plain or base64; None if there is none."""
    for text in (body, plain_body(body)):
        try:
            value = json.loads(text.decode("utf-8-sig"))
        except (ValueError, RecursionError):
            continue
        if isinstance(value, (dict, list)):
            return value
    return None


def created_event(transfer: Transfer, etag: str, now: datetime | None) -> bytes:
    """Return the event that Event Grid would send for the version `etag` of the transfer's blob (rule 6).

    Without a time, equal arguments give equal bytes, so a rejection of the event keeps one id.
    """
    blob = transfer.source_blob
    account = f"/subscriptions/-/resourceGroups/-/providers/Microsoft.Storage/storageAccounts/{transfer.source.account}"
    event = {
        "specversion": "1.0",
        "id": transfer.id,
        "type": CREATED,
        **({"time": stamp(now)} if now else {}),
        "source": account,
        "subject": f"/blobServices/default/containers/{blob.container}/blobs/{blob.name}",
        "data": {"api": "Successor", "eTag": etag, "url": blob.url},
    }
    return json.dumps(event).encode()
