"""A stand-in for Event Grid: new and renamed blobs, and changed tiers, are messages on the queue of an events account.

The fields are those of event-schema-blob-storage (azure-docs, 2024-01-10).
"""

import base64
import json
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from xml.sax.saxutils import escape

from devhost.storage.config import HOST, Config, Kind, Watch
from devhost.storage.operations import Key, Operation
from devhost.storage.upstream import Upstream

# The `api` of Copy Blob From URL and Put Blob From URL is not documented; these two are guesses.
APIS = {
    "PutBlob": "PutBlob",
    "PutBlobFromUrl": "PutBlob",
    "PutBlockList": "PutBlockList",
    "CopyBlob": "CopyBlob",
    "CopyBlobFromUrl": "CopyBlob",
}
# The `dataVersion` of a new blob by its `api`. The events of these have a `contentOffset`, too.
_VERSIONS = {
    "CreateFile": "2",
    "FlushWithClose": "2",
    "SftpCreate": "3",
    "SftpWrite": "3",
    "SftpCommit": "3",
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


@dataclass(frozen=True, slots=True)
class Caller:
    """Who caused an event, and by which call."""

    api: str
    request_id: str
    client_request_id: str = ""
    identity: str = ""
    """The local user of SFTP."""

    def about(self, facts: dict[str, Any]) -> dict[str, Any]:
        """Return an event's data: the call, the facts, and the fields that every event has."""
        return {
            "api": self.api,
            **({"clientRequestId": self.client_request_id} if self.client_request_id else {}),
            "requestId": self.request_id,
            **facts,
            "sequencer": f"{time.time_ns():048X}",  # of constant length, so the strings compare as the times do
            **({"identity": self.identity} if self.identity else {}),
            "storageDiagnostics": {"batchId": str(uuid.uuid4())},
        }


class Events:
    """Queues the events of the watched containers. The other events of an account are not delivered, so they do not exist."""

    def __init__(self, upstream: Upstream, config: Config) -> None:
        self.encoding = Encoding.BASE64
        self.schema = Schema.CLOUD_EVENTS
        self.mode = Mode.DELIVER
        self.watch: frozenset[Watch] = config.watch
        self._upstream = upstream
        self._origin = f"http://{HOST}:{config.blob_port}"
        self._held: list[tuple[str, str]] = []

    async def created(self, operation: Operation, etag: str, caller: Caller) -> None:
        """Queue the event of a new or changed blob; of an asynchronous copy at its end."""
        accounts = self._accounts(operation.key, Kind.CREATED)
        if not accounts:
            return
        head = (await self._upstream.ask("HEAD", operation.path)).headers
        facts = {
            "eTag": etag.strip('"'),
            "contentType": head.get("Content-Type", "application/octet-stream"),
            "contentLength": int(head.get("Content-Length", "0")),
            **({"contentOffset": 0} if caller.api in _VERSIONS else {}),
            "blobType": head.get("x-ms-blob-type", "BlockBlob"),
            "accessTier": "Default",
            "url": self._url(operation.key),
        }
        version = _VERSIONS.get(caller.api, "")
        await self._queue(accounts, self._message(operation.key, "BlobCreated", version, caller.about(facts)))

    async def tier(self, wanted: Operation) -> str:
        """Return a blob's tier; empty if its event would not be delivered, or there is none to raise (a snapshot)."""
        if "snapshot" in wanted.query or not self._accounts(wanted.key, Kind.CREATED):
            return ""
        return (await self._upstream.ask("HEAD", wanted.path)).headers.get("x-ms-access-tier", "")

    async def tier_changed(self, operation: Operation, before: str, caller: Caller) -> None:
        """Queue the event of a blob whose tier was changed from `before`."""
        head = (await self._upstream.ask("HEAD", operation.path)).headers
        facts = {
            "contentType": head.get("Content-Type", "application/octet-stream"),
            "contentLength": int(head.get("Content-Length", "0")),
            "blobType": head.get("x-ms-blob-type", "BlockBlob"),
            "url": self._url(operation.key),
            "accessTier": head.get("x-ms-access-tier", ""),
            "previousTier": before,
        }
        if facts["accessTier"] != before:
            accounts = self._accounts(operation.key, Kind.CREATED)
            await self._queue(accounts, self._message(operation.key, "BlobTierChanged", "", caller.about(facts)))

    async def renamed(self, source: Key, target: Key, caller: Caller, *, directory: bool) -> None:
        """Queue the event of a renamed blob, or the one event of a renamed directory with everything in it."""
        accounts = self._accounts(target, Kind.RENAMED)
        if not accounts:
            return
        facts = {"destinationUrl": self._url(target), "sourceUrl": self._url(source)}
        kind = "DirectoryRenamed" if directory else "BlobRenamed"
        await self._queue(accounts, self._message(target, kind, "1", caller.about(facts)))

    async def deliver_held(self) -> None:
        """Queue the held events in their order."""
        held, self._held = self._held, []
        for account, message in held:
            await self._upstream.enqueue(account, message)

    def _accounts(self, key: Key, kind: Kind) -> list[str]:
        """The events accounts of the container, one for each subscription to this kind."""
        return sorted(watch.events for watch in self.watch if watch[:2] == key[:2] and watch.kind in {None, kind})

    def _url(self, key: Key) -> str:
        """Return a blob's URL without encoding, as Event Grid does (azure-sdk-for-net issue 23634)."""
        return f"{self._origin}/{'/'.join(key)}"

    async def _queue(self, accounts: list[str], message: str) -> None:
        for account in accounts:
            if self.mode is Mode.HOLD:
                self._held.append((account, message))
            for _ in range({Mode.DELIVER: 1, Mode.DUPLICATE: 2}.get(self.mode, 0)):
                await self._upstream.enqueue(account, message)

    def _message(self, key: Key, kind: str, version: str, data: dict[str, Any]) -> str:
        account, container, blob = key
        source = f"{_RESOURCE_GROUP}/providers/Microsoft.Storage/storageAccounts/{account}"
        subject = f"/blobServices/default/containers/{container}/blobs/{blob}"
        identity, kind = str(uuid.uuid4()), f"Microsoft.Storage.{kind}"
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
            event |= {"data": data, "dataVersion": version, "metadataVersion": "1"}
        text = json.dumps(event, ensure_ascii=False)
        return base64.b64encode(text.encode()).decode() if self.encoding is Encoding.BASE64 else _xml(text)


def _xml(text: str) -> str:
    """Escape for XML. Two characters that a name may contain are not allowed in XML, so they get JSON escapes."""
    return escape(text).replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff")
