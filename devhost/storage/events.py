"""Event Grid's stand-in: each blob that is created in a watched container is a message on the queue of an events account."""

from __future__ import annotations

import base64
import json
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from devhost.storage.config import HOST

if TYPE_CHECKING:
    from devhost.storage.config import Config, Watch
    from devhost.storage.operations import Operation
    from devhost.storage.upstream import Upstream

# Copy Blob From URL and Put Blob From URL: Microsoft names no `api` of their own, so these two are guesses.
APIS = {
    "PutBlob": "PutBlob",
    "PutBlobFromUrl": "PutBlob",
    "PutBlockList": "PutBlockList",
    "CopyBlob": "CopyBlob",
    "CopyBlobFromUrl": "CopyBlob",
}
_RESOURCE_GROUP = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/local"


class Encoding(StrEnum):
    """Of a queue message: Event Grid sends base64 (azure-docs issue 102923)."""

    BASE64 = "base64"
    PLAIN = "plain"


class Schema(StrEnum):
    """Of an event."""

    CLOUD_EVENTS = "cloudevents"
    EVENT_GRID = "eventgrid"


class Mode(StrEnum):
    """What becomes of an event; a held one is delivered when the mode changes to `deliver`."""

    DELIVER = "deliver"
    DUPLICATE = "duplicate"
    HOLD = "hold"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class Created:
    """A blob that was just created, and by which request."""

    api: str
    account: str
    container: str
    blob: str
    etag: str
    request_id: str
    client_request_id: str
    content_type: str
    content_length: int
    blob_type: str


class Events:
    """Queues one event for each blob that is created where somebody watches."""

    def __init__(self, upstream: Upstream, config: Config) -> None:
        self.encoding = Encoding.BASE64
        self.schema = Schema.CLOUD_EVENTS
        self.mode = Mode.DELIVER
        self.watch: frozenset[Watch] = config.watch
        self._upstream = upstream
        self._origin = f"http://{HOST}:{config.blob_port}"
        self._held: list[tuple[str, str]] = []

    def watches(self, operation: Operation) -> bool:
        """Whether success of this request is an event (of an asynchronous copy: its end is, not its start)."""
        return operation.name in APIS and bool(self._accounts(operation.account, operation.container))

    def _accounts(self, account: str, container: str) -> list[str]:
        """The events accounts of a container."""
        return sorted(watch.events for watch in self.watch if watch[:2] == (account, container))

    async def created(self, operation: Operation, etag: str, request_id: str, client_request_id: str) -> None:
        """Queue the event of a blob that a watched request created; the queue has it when this returns."""
        head = await self._upstream.ask("HEAD", operation.path)
        await self._publish(
            Created(
                api=APIS[operation.name],
                account=operation.account,
                container=operation.container,
                blob=operation.blob,
                etag=etag.strip('"'),
                request_id=request_id,
                client_request_id=client_request_id,
                content_type=head.headers.get("Content-Type", "application/octet-stream"),
                content_length=int(head.headers.get("Content-Length", "0")),
                blob_type=head.headers.get("x-ms-blob-type", "BlockBlob"),
            )
        )

    async def deliver_held(self) -> None:
        """Queue what was held, in order."""
        held, self._held = self._held, []
        for account, message in held:
            await self._upstream.enqueue(account, message)

    async def _publish(self, created: Created) -> None:
        message = self._message(created)
        for account in self._accounts(created.account, created.container):
            if self.mode is Mode.HOLD:
                self._held.append((account, message))
            for _ in range({Mode.DELIVER: 1, Mode.DUPLICATE: 2}.get(self.mode, 0)):
                await self._upstream.enqueue(account, message)

    def _message(self, created: Created) -> str:
        shape = {Schema.CLOUD_EVENTS: _cloud_event, Schema.EVENT_GRID: _event_grid_event}[self.schema]
        url = f"{self._origin}/{created.account}/{created.container}/{created.blob}"
        text = json.dumps(shape(created, _data(created, url)), ensure_ascii=False)
        return base64.b64encode(text.encode()).decode() if self.encoding is Encoding.BASE64 else _xml(text)


def _cloud_event(created: Created, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": str(uuid.uuid4()),
        "source": _topic(created),
        "specversion": "1.0",
        "type": "Microsoft.Storage.BlobCreated",
        "subject": _subject(created),
        "time": _now(),
        "data": data,
    }


def _event_grid_event(created: Created, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "topic": _topic(created),
        "subject": _subject(created),
        "eventType": "Microsoft.Storage.BlobCreated",
        "eventTime": _now(),
        "id": str(uuid.uuid4()),
        "data": data,
        "dataVersion": "",
        "metadataVersion": "1",
    }


def _xml(text: str) -> str:
    """Escape for the request that carries it; two characters that a name may have are beyond XML, so JSON escapes them."""
    return escape(text).replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff")


def _topic(created: Created) -> str:
    return f"{_RESOURCE_GROUP}/providers/Microsoft.Storage/storageAccounts/{created.account}"


def _subject(created: Created) -> str:
    return f"/blobServices/default/containers/{created.container}/blobs/{created.blob}"


def _data(created: Created, url: str) -> dict[str, Any]:
    """The URL is raw: Event Grid does not encode it (azure-sdk-for-net issue 23634)."""
    client_request_id = {"clientRequestId": created.client_request_id} if created.client_request_id else {}
    return {
        "api": created.api,
        **client_request_id,
        "requestId": created.request_id,
        "eTag": created.etag,
        "contentType": created.content_type,
        "contentLength": created.content_length,
        "blobType": created.blob_type,
        "accessTier": "Default",
        "url": url,
        "sequencer": f"{time.time_ns():048X}",  # strings of one length: they compare as the times do
        "storageDiagnostics": {"batchId": str(uuid.uuid4())},
    }


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
