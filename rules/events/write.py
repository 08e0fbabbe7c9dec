"""The events that the app itself puts on the queue."""

import json
from datetime import datetime
from typing import Any

from rules import codec
from rules.events.lookups import Lookup
from rules.events.parse import CREATED, LOOKUP, NOTICE
from rules.routes.model import Blob, Place, Route
from rules.transfers.model import Transfer
from rules.transfers.notices import Notice


def created_event(transfer: Transfer, etag: str, now: datetime | None) -> bytes:
    """Return the event that Event Grid would send for the version `etag` of the transfer's blob (rule 6).

    Without a time, equal arguments give equal bytes, so a rejection of the event keeps one id.
    """
    return _event(transfer.source_blob, transfer.source, now, type=CREATED, id=transfer.id, api="Successor", eTag=etag)


def lookup_event(route: Route, name: str, lookup: Lookup, now: datetime) -> bytes:
    """Return the message that leads to the next lookup of a blob of the route's source."""
    blob = Blob(route.source.endpoint, route.source.container, name)
    return _event(blob, route.source, now, type=LOOKUP, id=f"lookup-{lookup.count}", lookup=codec.encode(lookup))


def notice_event(transfer: Transfer, notice: Notice) -> bytes:
    """Return the message that leads to the notification of a verified transfer. Equal arguments give equal bytes."""
    data = {"eTag": transfer.etag, "notice": codec.encode(notice)}
    return _event(transfer.source_blob, transfer.source, None, type=NOTICE, id=transfer.id, **data)


def _event(blob: Blob, place: Place, now: datetime | None, *, type: str, id: str, **data: Any) -> bytes:  # noqa: A002  # the names of CloudEvents
    event = {
        "specversion": "1.0",
        "id": id,
        "type": type,
        **({"time": codec.stamp(now)} if now else {}),
        "source": f"/subscriptions/-/resourceGroups/-/providers/Microsoft.Storage/storageAccounts/{place.account}",
        "subject": f"/blobServices/default/containers/{blob.container}/blobs/{blob.name}",
        "data": {**data, "url": blob.url},
    }
    return json.dumps(event).encode()
