"""Events: what a message says, and which transfers follow from it (rules 6, 10 and 13).

A message is CloudEvents 1.0 or Event Grid schema, one object or an array of one, plain text or base64. Everything here is
total: whatever the bytes, an answer comes back.
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
from rules.routes.model import Blob, Route
from rules.transfers import identity
from rules.transfers.model import Transfer

CREATED = "Microsoft.Storage.BlobCreated"
# They announce an empty file; the event that counts (FlushWithClose, SftpCommit) follows.
ANNOUNCE_ONLY = frozenset({"CreateFile", "SftpCreate"})
ACCOUNT = re.compile(r".*/storageAccounts/([a-z0-9]{3,24})", re.ASCII | re.DOTALL | re.IGNORECASE)
# Older captured events have no slash at its beginning.
SUBJECT = re.compile(r"/?blobServices/default/containers/([^/]+)/blobs/(.+)", re.DOTALL)
# What is taken of a blob that Event Grid wrote: all of it at most, and one event, which has 1 MB at most where it was published.
MAX_UNDELIVERED, MAX_EVENT = 16 * 1024 * 1024, 1024 * 1024
# Event Grid may put these in place of a character beyond the basic plane, such as an emoji.
REPLACEMENT = "\ufffd"
REPLACED = re.compile("[\ufffd\U00010000-\U0010ffff]+")
DAMAGED = "the event's subject and data.url are both damaged: each has U+FFFD in place of a character of the name"
# An ETag goes into If-Match: `*` or a list would match more than one version.
ETAG = re.compile(r"[0-9A-Za-z_-]{1,128}")


@dataclass(frozen=True, slots=True)
class BlobCreated:
    """A BlobCreated event: which blob, and as which version. `url` is only ever compared, never fetched.

    `damaged`: nobody can tell the name from this event.
    """

    account: str
    container: str
    name: str
    etag: str
    url: str
    damaged: bool = False


@dataclass(frozen=True, slots=True)
class Ignored:
    """Not for us; nothing to do."""

    why: str


@dataclass(frozen=True, slots=True)
class RejectedEvent:
    """Ours, but it cannot be done: a dead letter with this reason."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class EventDecision:
    """What follows from a message: transfers to start, and perhaps a refusal to keep."""

    transfers: tuple[Transfer, ...] = ()
    rejection: RejectedEvent | None = None
    ignored: str = ""


def decide_on(body: bytes, routes: tuple[Route, ...]) -> EventDecision:
    """Decide what a message leads to.

    | message | leads to |
    | --- | --- |
    | no event, or fields missing or of a wrong type | refused `malformed` |
    | another type; an announcing `api` | ignored |
    | account, container and name that no route carries | ignored |
    | a name that is damaged in `subject` and `data.url`, in a route's container | refused `invalid_name` |
    | a name that cannot be carried, before or after rewriting | refused `invalid_name` |
    | `data.url` is not the URL rebuilt from the route | refused `not_allowed` |
    | else | one transfer per matching route |
    """
    event = parse(body)
    if isinstance(event, RejectedEvent):
        return EventDecision(rejection=event)
    if isinstance(event, Ignored):
        return EventDecision(ignored=event.why)
    if event.damaged and any(route.starts_in(event.account, event.container) for route in routes):
        return EventDecision(rejection=RejectedEvent(Reason.INVALID_NAME, DAMAGED))
    matching = [route for route in routes if route.carries(event.account, event.container, event.name)]
    if not matching:
        return EventDecision(ignored="no route carries this blob")
    verdicts = [_decide_for_route(route, event) for route in matching]
    return EventDecision(
        transfers=tuple(verdict for verdict in verdicts if isinstance(verdict, Transfer)),
        rejection=next((verdict for verdict in verdicts if isinstance(verdict, RejectedEvent)), None),
    )


def transfer_for(route: Route, name: str, etag: str) -> Transfer | RejectedEvent:
    """The transfer of this version along this route, or why its name cannot be carried."""
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
    """Whether an event's URL is this blob's: container and name raw or decoded once, the host also as the `dfs` twin."""
    scheme, slashes, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    twin = scheme + slashes + host.replace(".dfs.", ".blob.", 1) + slash + path
    container, slash, written = twin.removeprefix(f"{blob.endpoint}/").partition("/")
    return (
        twin.startswith(f"{blob.endpoint}/")
        and slash == "/"
        and blob.container in {container, _decode(container)}
        and blob.name in {written, _decode(written)}
    )


def _name_from_url(name: str, url: str, account: str, container: str) -> str | None:
    """A name with U+FFFD as `data.url` has it, where the two agree in all that cannot be damaged; None where they do not."""
    path = url.partition("://")[2].partition("/")[2]
    there, _, written = path.removeprefix(f"{account}/").partition("/")
    if container not in {there, _decode(there)}:
        return None
    return next(
        (text for text in (written, _decode(written)) if text and _mask_replaced(text) == _mask_replaced(name)), None
    )


def _mask_replaced(name: str) -> str:
    return REPLACED.sub(REPLACEMENT, name)


def _decode(written: str) -> str | None:
    try:
        return unquote(written, errors="strict")
    except UnicodeDecodeError:
        return None


def parse(body: bytes) -> BlobCreated | Ignored | RejectedEvent:
    """Read a message. Never raises; unknown fields are ignored."""
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
    """The events of a blob that Event Grid gave up, each as the message that it would have been.

    It holds an array of events, or one; each has fields of its own beside the event's, such as `deadLetterReason`, and
    `deadletterreason` in CloudEvents. What is neither stays one message, whole: it is refused as any other.
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
    created = BlobCreated(account[1].lower(), _decode(subject[1]) or "", subject[2], identity.bare_etag(etag), url)
    return _repair_name(created) if REPLACEMENT in created.name else created


def _repair_name(event: BlobCreated) -> BlobCreated:
    """The event with the name of its URL, if that one is whole. One in percent encoding is ASCII: nothing damages it."""
    name = _name_from_url(event.name, event.url, event.account, event.container)
    return event if name is None else replace(event, name=name, damaged=REPLACEMENT in event.url)


def _match(pattern: re.Pattern[str], value: Any) -> re.Match[str] | None:
    return pattern.fullmatch(value) if isinstance(value, str) else None


def _malformed(detail: str) -> RejectedEvent:
    return RejectedEvent(Reason.MALFORMED, detail)


def _parse_json(body: bytes) -> Any:
    """The JSON value of a message, plain or base64; None if it is neither."""
    for text in (body, plain_body(body)):
        try:
            value = json.loads(text.decode("utf-8-sig"))
        except (ValueError, RecursionError):
            continue
        if isinstance(value, (dict, list)):
            return value
    return None


def created_event(transfer: Transfer, etag: str, now: datetime | None) -> bytes:
    """The event of a successor (rule 6): what Event Grid would have sent for the version `etag` of the transfer's blob.

    Without a time it is always the same, byte for byte.
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
