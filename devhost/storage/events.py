"""A stand-in for Event Grid: each new blob in a watched container is a message on the queue of an events account."""

import base64
import json
import time
import uuid
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
    """What happens to an event. A held event is delivered when the mode changes to `deliver` or `duplicate`."""

    DELIVER = "deliver"
    DUPLICATE = "duplicate"
    HOLD = "hold"
    DROP = "drop"


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
        """Queue the event of the blob that a watched request created.

        As at Event Grid, its URL is not encoded (azure-sdk-for-net issue 23634).
        """
        head = (await self._upstream.ask("HEAD", operation.path)).headers
        data = {
            "api": APIS[operation.name],
            **({"clientRequestId": client_request_id} if client_request_id else {}),
            "requestId": request_id,
            "eTag": etag.strip('"'),
            "contentType": head.get("Content-Type", "application/octet-stream"),
            "contentLength": int(head.get("Content-Length", "0")),
            "blobType": head.get("x-ms-blob-type", "BlockBlob"),
            "accessTier": "Default",
            "url": f"{self._origin}/{operation.account}/{operation.container}/{operation.blob}",
            "sequencer": f"{time.time_ns():048X}",  # of constant length, so the strings compare as the times do
            "storageDiagnostics": {"batchId": str(uuid.uuid4())},
        }
        message = self._message(operation, data)
        for account in self._accounts(operation.account, operation.container):
            if self.mode is Mode.HOLD:
                self._held.append((account, message))
            for _ in range({Mode.DELIVER: 1, Mode.DUPLICATE: 2}.get(self.mode, 0)):
                await self._upstream.enqueue(account, message)

    async def deliver_held(self) -> None:
        """Queue the held events in their order."""
        held, self._held = self._held, []
        for account, message in held:
            await self._upstream.enqueue(account, message)

    def _message(self, operation: Operation, data: dict[str, Any]) -> str:
        source = f"{_RESOURCE_GROUP}/providers/Microsoft.Storage/storageAccounts/{operation.account}"
        subject = f"/blobServices/default/containers/{operation.container}/blobs/{operation.blob}"
        identity, kind = str(uuid.uuid4()), "Microsoft.Storage.BlobCreated"
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        if self.schema is Schema.CLOUD_EVENTS:
            event: dict[str, Any] = {
                "id": identity,
                "source": source,
                "specversion": "1.0",
                "type": kind,
                "subject": subject,
            }
            event |= {"time": now, "data": data}
        else:
            event = {"topic": source, "subject": subject, "eventType": kind, "eventTime": now, "id": identity}
            event |= {"data": data, "dataVersion": "", "metadataVersion": "1"}
        text = json.dumps(event, ensure_ascii=False)
        return base64.b64encode(text.encode()).decode() if self.encoding is Encoding.BASE64 else _xml(text)


def _xml(text: str) -> str:
    """Escape for XML. Two characters that a name may contain are not allowed in XML, so they get JSON escapes."""
    return escape(text).replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff")
