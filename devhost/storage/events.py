"""A stand-in for Event Grid: each new blob in a watched container is a message on the queue of an events account."""

import base64
import json
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from xml.sax.saxutils import escape

from devhost.storage.config import HOST, Config, Watch
from devhost.storage.operations import Operation
from devhost.storage.upstream import Upstream

# The `api` of Copy Blob From URL and Put Blob From URL is not documented; these two are guesses.
APIS = {
    "PutBlob": "PutBlob",
    "PutBlobFromUrl": "PutBlob",
    "PutBlockList": "PutBlockList",
    "CopyBlob": "CopyBlob",
    "CopyBlobFromUrl": "CopyBlob",
}
_RESOURCE_GROUP = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/local"


class Encoding(StrEnum):
    """The encoding of a queue message. Event Grid sends base64 (azure-docs issue 102923)."""

    BASE64 = "base64"
    PLAIN = "plain"


class Schema(StrEnum):
    """The schema of an event."""

    CLOUD_EVENTS = "cloudevents"
    EVENT_GRID = "eventgrid"


class Mode(StrEnum):
    """The treatment of an event; a held one is delivered when the mode changes to `deliver` or `duplicate`."""

    DELIVER = "deliver"
    DUPLICATE = "duplicate"
    HOLD = "hold"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class Created:
    """A new blob and the request that created it."""

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
    """Queues one event for each new blob in a watched container."""

    def __init__(self, upstream: Upstream, config: Config) -> None:
        self.encoding = Encoding.BASE64
        self.schema = Schema.CLOUD_EVENTS
        self.mode = Mode.DELIVER
        self.watch: frozenset[Watch] = config.watch
        self._upstream = upstream
        self._origin = f"http://{HOST}:{config.blob_port}"
        self._held: list[tuple[str, str]] = []

    def watches(self, operation: Operation) -> bool:
        """Whether success of this request raises an event. An asynchronous copy raises it at its end."""
        return operation.name in APIS and bool(self._accounts(operation.account, operation.container))

    def _accounts(self, account: str, container: str) -> list[str]:
        """The events accounts of a container."""
        return sorted(watch.events for watch in self.watch if watch[:2] == (account, container))

    async def created(self, operation: Operation, etag: str, request_id: str, client_request_id: str) -> None:
        """Queue the event of the blob that a watched request created."""
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
        """Queue the held events in their order."""
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
        url = f"{self._origin}/{created.account}/{created.container}/{created.blob}"
        text = json.dumps(_event(created, self.schema, _data(created, url)), ensure_ascii=False)
        return base64.b64encode(text.encode()).decode() if self.encoding is Encoding.BASE64 else _xml(text)


def _event(created: Created, schema: Schema, data: dict[str, Any]) -> dict[str, Any]:
    identity, kind = str(uuid.uuid4()), "Microsoft.Storage.BlobCreated"
    source = f"{_RESOURCE_GROUP}/providers/Microsoft.Storage/storageAccounts/{created.account}"
    subject = f"/blobServices/default/containers/{created.container}/blobs/{created.blob}"
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    if schema is Schema.CLOUD_EVENTS:
        common = {"id": identity, "source": source, "specversion": "1.0"}
        return {**common, "type": kind, "subject": subject, "time": now, "data": data}
    common = {"topic": source, "subject": subject, "eventType": kind, "eventTime": now, "id": identity}
    return {**common, "data": data, "dataVersion": "", "metadataVersion": "1"}


def _xml(text: str) -> str:
    """Escape for XML. Two characters that a name may have are beyond XML, so they get JSON escapes."""
    return escape(text).replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff")


def _data(created: Created, url: str) -> dict[str, Any]:
    """Return the `data` of an event. As at Event Grid, its URL is not encoded (azure-sdk-for-net issue 23634)."""
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
        "sequencer": f"{time.time_ns():048X}",  # of constant length, so the strings compare as the times do
        "storageDiagnostics": {"batchId": str(uuid.uuid4())},
    }
