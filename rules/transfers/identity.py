"""The ids of transfers, jobs and messages, and what follows from an id (rule 4)."""

import re
from hashlib import sha256

from rules.routes.model import Place, Route
from rules.transfers.model import Transfer

TRANSFER_ID_PATTERN = re.compile(r"[0-9a-f]{8}-[0-9a-f]{24}")
JOB_PREFIX = re.compile(r"(replay|discard|reconcile)-")
JOB_ID_PATTERN = re.compile(JOB_PREFIX.pattern + r"[0-9a-f]{24}")
MESSAGE_ID_PATTERN = re.compile(r"message-[0-9a-f]{24}")
NOTICE_ID_PATTERN = re.compile(TRANSFER_ID_PATTERN.pattern + "-notice")


def route_prefix(route: str) -> str:
    """Return the prefix that the ids of a route's transfers share, including the dash."""
    return sha256(route.encode()).hexdigest()[:8] + "-"


def transfer_id(route: str, source_url: str, etag: str, target_url: str) -> str:
    """Return the id of one version along one route. Another target makes another transfer.

    URLs are canonical and encoded, the ETag has no quotes. Every release must compute the same id, else a replay
    would start a new transfer.
    """
    return route_prefix(route) + _digest(source_url, etag, target_url)


def is_copy(identity: str, source_url: str, etag: str, target_url: str) -> bool:
    """Whether an id is that of a transfer of this version to this target, of any route and any app."""
    return TRANSFER_ID_PATTERN.fullmatch(identity) is not None and identity[9:] == _digest(source_url, etag, target_url)


def _digest(source_url: str, etag: str, target_url: str) -> str:
    return sha256(f"{source_url}\n{etag}\n{target_url}".encode()).hexdigest()[:24]


def trace_id(identity: str) -> str:
    """Return the trace id of a transfer or job, 32 hex digits that follow from its id; empty for any other id."""
    if TRANSFER_ID_PATTERN.fullmatch(identity):
        return identity.replace("-", "")
    if JOB_ID_PATTERN.fullmatch(identity):
        return identity.rpartition("-")[2].zfill(32)
    return ""


def message_id(body: bytes) -> str:
    """Return the id of a rejected message. Messages with the same body share one dead letter."""
    return "message-" + sha256(body).hexdigest()[:24]


def notice_id(transfer_id: str) -> str:
    """Return the id of the dead letter of a verified transfer whose recipient was not notified."""
    return f"{transfer_id}-notice"


def listable_ids(prefix: str) -> re.Pattern[str]:
    """Return the pattern of the ids to list for a prefix: of jobs if it is a job's prefix, else of transfers."""
    return JOB_ID_PATTERN if JOB_PREFIX.match(prefix) else TRANSFER_ID_PATTERN


def transfer(route: Route, name: str, etag: str) -> Transfer:
    """Return the transfer of the version `etag` (quoted or not) of the blob `name` along `route`."""
    return _with_id(route.name, route.source, route.target, name, bare_etag(etag))


def sibling(transfer: Transfer, etag: str) -> Transfer:
    """Return the transfer of another version of the same blob along the same route."""
    return _with_id(transfer.route, transfer.source, transfer.target, transfer.name, bare_etag(etag))


def bare_etag(etag: str) -> str:
    """Return an ETag without quotes: HEAD quotes it, events and lists may not."""
    return etag[1:-1] if len(etag) > 1 and etag[0] == etag[-1] == '"' else etag


def _with_id(route: str, source: Place, target: Place, name: str, etag: str) -> Transfer:
    draft = Transfer("", route, source, target, name, etag)
    identity = transfer_id(route, draft.source_blob.url, etag, draft.target_blob.url)
    return Transfer(identity, route, source, target, name, etag)
