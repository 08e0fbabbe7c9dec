"""Parse the event in a message (rules 10 and 13).

A message holds an event in the CloudEvents 1.0 or Event Grid schema: an object or an array of one, as plain text or
base64. No function raises for any bytes.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import unquote

from rules import codec
from rules.errors import UNREADABLE, Reason
from rules.events.lookups import Cause, Lookup
from rules.routes.model import MAX_SIZE
from rules.transfers import identity
from rules.transfers.notices import Notice

CREATED, RENAMED = "Microsoft.Storage.BlobCreated", "Microsoft.Storage.BlobRenamed"
TIER_CHANGED = "Microsoft.Storage.BlobTierChanged"
DIRECTORY_RENAMED = "Microsoft.Storage.DirectoryRenamed"
# The app's own message, which leads to the next lookup of a blob.
LOOKUP = "BlobDataSharing.Lookup"
# The app's own message of a dead letter `not_notified`, which leads to the notification.
NOTICE = "BlobDataSharing.Notice"
ARCHIVE = "Archive"
# These announce a file that is empty or still grows. The event with the content (FlushWithClose, SftpCommit) may follow.
ANNOUNCING = frozenset({"CreateFile", "SftpCreate", "SftpWrite"})
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
class BlobEvent:
    """An event of a blob, or of a directory that was renamed. `id` is the event's own.

    `etag` has no quotes; it is empty if the event names no version (`lookup`, or a directory). `url` is only compared, never
    fetched. `damaged`: neither the subject nor the URL has the whole name. `size`, `at`: None if the event does not state
    its blob's size or its own time.
    """

    account: str
    container: str
    name: str
    url: str
    id: str = ""
    etag: str = ""
    lookup: Lookup | None = None
    notice: Notice | None = None
    size: int | None = None
    damaged: bool = False
    at: datetime | None = None


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
class Parsed:
    """What the `data` of an event tells."""

    url: str
    etag: str = ""
    lookup: Lookup | None = None
    notice: Notice | None = None
    size: int | None = None


def parse(body: bytes) -> BlobEvent | Ignored | RejectedEvent:
    """Parse a message, ignoring unknown fields."""
    event = _parse_json(body)
    if isinstance(event, list) and len(event) == 1:
        event = event[0]
    if not isinstance(event, dict):
        return _malformed("the message is neither a JSON object nor an array of one")
    kind = event.get("type") if "specversion" in event else event.get("eventType")
    if not isinstance(kind, str):
        return _malformed("the event has neither a CloudEvents 1.0 `type` nor an Event Grid `eventType`")
    data = event.get("data")
    if kind not in PARSERS:
        return Ignored("the event is of another type")
    if not isinstance(data, dict):
        return _malformed("`data` is not an object")
    parsed = PARSERS[kind](data)
    return parsed if isinstance(parsed, Ignored) else _parse_place(event, parsed)


def split(body: bytes) -> list[bytes]:
    """Split a blob of events that Event Grid could not deliver into one message per event.

    The blob holds one event or an array of them, with additional fields such as `deadLetterReason`
    (`deadletterreason` in CloudEvents). Any other content is returned as one message, which `decide_on` rejects.
    """
    events = _parse_json(body)
    return [json.dumps(event).encode() for event in events] if isinstance(events, list) else [body]


def _parse_created(data: dict[str, Any]) -> Parsed | str:
    etag, url, api = data.get("eTag"), data.get("url"), data.get("api")
    if not isinstance(etag, str) or not ETAG.fullmatch(identity.bare_etag(etag)) or not isinstance(url, str):
        return "`data.eTag` is not an ETag, or `data.url` is not a string"
    if isinstance(api, str) and api in ANNOUNCING:
        return Parsed(url, lookup=Lookup(Cause.ANNOUNCED))
    return Parsed(url, identity.bare_etag(etag), size=_parse_size(data.get("contentLength")))


def _parse_size(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_SIZE else None


def _parse_renamed(data: dict[str, Any], *, lookup: Lookup | None) -> Parsed | str:
    url = data.get("destinationUrl", data.get("url"))
    return Parsed(url, lookup=lookup) if isinstance(url, str) else "`data.destinationUrl` is not a string"


def _parse_tier_changed(data: dict[str, Any]) -> Parsed | Ignored | str:
    """Parse an event that only matters for a blob that was archived. Older events do not name the tiers."""
    if data.get("accessTier") == ARCHIVE or data.get("previousTier") not in (None, ARCHIVE):
        return Ignored("the blob is archived now, or was not archived before")
    url = data.get("url")
    return Parsed(url, lookup=Lookup(Cause.TIER_CHANGED)) if isinstance(url, str) else "`data.url` is not a string"


def _parse_lookup(data: dict[str, Any]) -> Parsed | str:
    try:
        return Parsed(str(data["url"]), lookup=codec.decode(Lookup, data["lookup"]))
    except UNREADABLE:
        return "`data.lookup` is not a lookup of this app"


def _parse_notice(data: dict[str, Any]) -> Parsed | str:
    created = _parse_created(data)
    try:
        return replace(created, notice=codec.decode(Notice, data["notice"])) if isinstance(created, Parsed) else created
    except UNREADABLE:
        return "`data.notice` is not a notice of this app"


PARSERS: dict[str, Callable[[dict[str, Any]], Parsed | Ignored | str]] = {
    CREATED: _parse_created,
    RENAMED: partial(_parse_renamed, lookup=Lookup(Cause.RENAMED)),
    TIER_CHANGED: _parse_tier_changed,
    DIRECTORY_RENAMED: partial(_parse_renamed, lookup=None),
    LOOKUP: _parse_lookup,
    NOTICE: _parse_notice,
}


def _parse_place(event: dict[str, Any], parsed: Parsed | str) -> BlobEvent | RejectedEvent:
    account = _match(ACCOUNT, event.get("source") if "specversion" in event else event.get("topic"))
    subject, event_id = _match(SUBJECT, event.get("subject")), event.get("id")
    if account is None or subject is None:
        return _malformed("`source` or `topic` does not name a storage account, or `subject` does not name a blob")
    if isinstance(parsed, str):
        return _malformed(parsed)
    found = BlobEvent(
        account=account[1].lower(),
        container=decode(subject[1]) or "",
        name=subject[2],
        url=parsed.url,
        id=event_id if isinstance(event_id, str) else "",
        etag=parsed.etag,
        lookup=parsed.lookup,
        notice=parsed.notice,
        size=parsed.size,
        at=codec.time_in(event, "time" if "specversion" in event else "eventTime"),
    )
    return _repair_name(found) if REPLACEMENT in found.name else found


def _repair_name(event: BlobEvent) -> BlobEvent:
    """Take the name from the event's URL if it is undamaged there, as a percent-encoded name always is."""
    name = _name_from_url(event.name, event.url, event.account, event.container)
    return event if name is None else replace(event, name=name, damaged=REPLACEMENT in event.url)


def _match(pattern: re.Pattern[str], value: Any) -> re.Match[str] | None:
    return pattern.fullmatch(value) if isinstance(value, str) else None


def _malformed(detail: str) -> RejectedEvent:
    return RejectedEvent(Reason.MALFORMED, detail)


def _parse_json(body: bytes) -> Any:
    """Return the object or array in a message, plain or base64; None if there is none."""
    for text in (body, codec.plain_body(body)):
        try:
            value = json.loads(text.decode("utf-8-sig"))
        except (ValueError, RecursionError):
            continue
        if isinstance(value, (dict, list)):
            return value
    return None


def _name_from_url(name: str, url: str, account: str, container: str) -> str | None:
    """Return the name as `data.url` spells it; None unless it equals the damaged name in every undamaged character."""
    path = url.partition("://")[2].partition("/")[2]
    url_container, _, url_name = path.removeprefix(f"{account}/").partition("/")
    if container not in {url_container, decode(url_container)}:
        return None
    candidates = (url_name, decode(url_name))
    return next((text for text in candidates if text and _mask_replaced(text) == _mask_replaced(name)), None)


def _mask_replaced(name: str) -> str:
    return REPLACED.sub(REPLACEMENT, name)


def decode(text: str) -> str | None:
    """Return percent-encoded text decoded; None if it is not UTF-8."""
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        return None
