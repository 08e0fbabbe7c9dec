"""Rule 4: what makes a transfer the same transfer."""

import re
from hashlib import sha256

from rules.routes.model import Place, Route
from rules.transfers.model import Transfer

TRANSFER_ID_PATTERN = re.compile(r"[0-9a-f]{8}-[0-9a-f]{24}")
JOB_PREFIX = re.compile(r"(replay|discard|reconcile)-")
JOB_ID_PATTERN = re.compile(JOB_PREFIX.pattern + r"[0-9a-f]{24}")
MESSAGE_ID_PATTERN = re.compile(r"message-[0-9a-f]{24}")


def route_prefix(route: str) -> str:
    """The first part of the ids of a route's transfers, with its dash."""
    return sha256(route.encode()).hexdigest()[:8] + "-"


def transfer_id(route: str, source_url: str, etag: str, target_url: str) -> str:
    """The id of one version along one route: a changed target is another transfer.

    URLs are canonical and encoded, the ETag bare_etag. The same in every release, or replays would start afresh.
    """
    return route_prefix(route) + _digest(source_url, etag, target_url)


def is_copy(identity: str, source_url: str, etag: str, target_url: str) -> bool:
    """Whether an id is that of this version's transfer to this target, along whichever route and by whichever app."""
    return TRANSFER_ID_PATTERN.fullmatch(identity) is not None and identity[9:] == _digest(source_url, etag, target_url)


def _digest(source_url: str, etag: str, target_url: str) -> str:
    return sha256(f"{source_url}\n{etag}\n{target_url}".encode()).hexdigest()[:24]


def trace_id(identity: str) -> str:
    """The trace of a transfer or a job: 32 hex digits, made of its id alone. Empty for any other id."""
    if TRANSFER_ID_PATTERN.fullmatch(identity):
        return identity.replace("-", "")
    if JOB_ID_PATTERN.fullmatch(identity):
        return identity.rpartition("-")[2].zfill(32)
    return ""


def message_id(body: bytes) -> str:
    """The id of a message that is no transfer: the same body is the same dead letter."""
    return "message-" + sha256(body).hexdigest()[:24]


def listable_ids(prefix: str) -> re.Pattern[str]:
    """Which ids a list of that prefix holds: transfers', or jobs' where it begins like theirs."""
    return JOB_ID_PATTERN if JOB_PREFIX.match(prefix) else TRANSFER_ID_PATTERN


def transfer(route: Route, name: str, etag: str) -> Transfer:
    """The transfer of the version `etag` (quoted or not) of the blob `name` along `route`."""
    return _with_id(route.name, route.source, route.target, name, bare_etag(etag))


def sibling(transfer: Transfer, etag: str) -> Transfer:
    """The transfer of another version of the same blob along the same route."""
    return _with_id(transfer.route, transfer.source, transfer.target, transfer.name, bare_etag(etag))


def bare_etag(etag: str) -> str:
    """An ETag without its quotes: events and lists write it both ways, HEAD quotes it."""
    return etag[1:-1] if len(etag) > 1 and etag[0] == etag[-1] == '"' else etag


def _with_id(route: str, source: Place, target: Place, name: str, etag: str) -> Transfer:
    draft = Transfer("", route, source, target, name, etag)
    identity = transfer_id(route, draft.source_blob.url, etag, draft.target_blob.url)
    return Transfer(identity, route, source, target, name, etag)
