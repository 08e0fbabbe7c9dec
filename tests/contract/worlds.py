"""Two worlds for one suite of tests: the fakes, and real storage on the local stack."""

import asyncio
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from azure.storage.blob import BlobProperties, BlobType, ContentSettings, StandardBlobTier
from azure.storage.blob.aio import BlobClient, BlobLeaseClient

from adapters.clients import Clients, Use
from adapters.dead_letters import StoredDeadLetters
from adapters.events import StoredEvents
from adapters.feed import StoredFeed
from adapters.figures import StoredFigures, StoredLedger
from adapters.reports import StoredReports
from adapters.source import SourceBlobs
from adapters.target import TargetBlobs
from adapters.translation import Request, error_for_no_answer
from devhost.storage.testing import Stack
from ports.blobs import Source, Target
from ports.events import Events
from ports.figures import Feed, Figures, Ledger
from ports.state import DeadLetters, Reports
from rules.fixed_names import UNDELIVERED_CONTAINER
from rules.routes.model import Blob, Place
from rules.transfers.model import Kind
from tests.fakes import (
    Item,
    MemoryDeadLetters,
    MemoryEvents,
    MemoryFeed,
    MemoryFigures,
    MemoryLedger,
    MemoryReports,
    MemorySource,
    MemoryStorage,
    MemoryTarget,
)

TYPE = "content_type"
# The emulator's names of a request.
OPERATIONS = {
    "source.head": ("HeadBlob",),
    "target.copy": ("CopyBlob", "CopyBlobFromUrl"),
    "target.staged": ("GetBlockList",),
    "target.stage": ("PutBlockFromUrl",),
    "target.commit": ("PutBlockList",),
    "target.abort": ("AbortCopy",),
    "target.clear": ("SetProperties",),
    "target.delete": ("DeleteBlob",),
}


@dataclass(frozen=True, slots=True)
class Seen:
    """A blob as its reader sees it."""

    content: bytes
    metadata: dict[str, str]
    content_type: str
    tags: dict[str, str]
    tier: str
    kind: Kind


@dataclass
class World(ABC):
    """The ports, and the actions of owners and outsiders."""

    source: Source
    target: Target
    dead_letters: DeadLetters
    events: Events
    reports: Reports
    feed: Feed
    figures: Figures
    ledger: Ledger
    source_place: Place
    target_place: Place
    test: str = field(default_factory=lambda: uuid4().hex[:8])

    def source_blob(self, name: str = "blob") -> Blob:
        """Return a source blob of this test."""
        return self.source_place.blob(f"{self.test}/{name}")

    def target_blob(self, name: str = "blob") -> Blob:
        """Return a target blob of this test."""
        return self.target_place.blob(f"{self.test}/{name}")

    @abstractmethod
    async def put(self, blob: Blob, content: bytes = b"content", **of: Any) -> str:
        """Write a blob: `metadata`, `headers`, `tags`, `kind`, `tier`. Return its ETag."""

    @abstractmethod
    async def see(self, blob: Blob) -> Seen:
        """Read a blob."""

    @abstractmethod
    async def remove(self, blob: Blob) -> None:
        """Delete a blob."""

    @abstractmethod
    async def lease(self, blob: Blob) -> None:
        """Take a lease."""

    @abstractmethod
    def hierarchical(self, place: Place) -> None:
        """Give only this place's account a hierarchical namespace."""

    @abstractmethod
    async def put_by_lake(self, blob: Blob, content: bytes = b"content") -> str:
        """Write a blob as the Data Lake API does; give only its account a hierarchical namespace. Return its ETag."""

    @abstractmethod
    async def stage(self, blob: Blob, block: str, content: bytes) -> None:
        """Stage a block as another client does."""

    @abstractmethod
    async def fail_next_copy(self, detail: str) -> None:
        """Make the next copy that starts fail at its end, with this detail."""

    @abstractmethod
    async def finish(self, blob: Blob) -> None:
        """Let a pending copy end."""

    @abstractmethod
    async def poison(self, body: bytes) -> None:
        """Put a message on the poison queue."""

    @abstractmethod
    async def add_undelivered(self, name: str, body: bytes) -> None:
        """Write a blob of undelivered events, as Event Grid does."""

    @abstractmethod
    async def take_events(self) -> list[bytes]:
        """Receive and delete every visible event, oldest first."""

    @abstractmethod
    def unanswered(self, request: Request, blob: Blob, *, applied: bool) -> Any:
        """Return a context in which these requests get no answer. They take effect only if `applied`."""


class InMemory(World):
    """The fakes."""

    def __init__(self) -> None:
        self.storage = MemoryStorage()
        self._next_failure = ""
        places = (
            Place("https://a.blob.core.windows.net", "source"),
            Place("https://b.blob.core.windows.net", "target"),
        )
        for place in places:
            self.storage.create(place.endpoint, place.container)
        self.queues = MemoryEvents(self.storage)
        super().__init__(
            MemorySource(self.storage),
            MemoryTarget(self.storage),
            MemoryDeadLetters(self.storage),
            self.queues,
            MemoryReports(self.storage),
            MemoryFeed(self.storage),
            MemoryFigures(self.storage),
            MemoryLedger(self.storage),
            *places,
        )

    async def put(self, blob: Blob, content: bytes = b"content", **of: Any) -> str:
        return self.storage.put(blob, Item(content, **of))

    async def see(self, blob: Blob) -> Seen:
        item = self.storage.blobs[blob]
        return Seen(item.content, item.metadata, item.headers[TYPE], item.tags, item.tier or "Hot", item.kind)

    async def remove(self, blob: Blob) -> None:
        self.storage.remove(blob)

    async def lease(self, blob: Blob) -> None:
        self.storage.lease(blob)

    def hierarchical(self, place: Place) -> None:
        self.storage.hierarchical = {place.endpoint}

    async def put_by_lake(self, blob: Blob, content: bytes = b"content") -> str:
        self.storage.hierarchical = {blob.endpoint}
        return self.storage.put(blob, Item(content, made_by_lake=True))

    async def stage(self, blob: Blob, block: str, content: bytes) -> None:
        self.storage.stage(blob, block, content)

    async def fail_next_copy(self, detail: str) -> None:
        self._next_failure = detail

    async def finish(self, blob: Blob) -> None:
        detail, self._next_failure = self._next_failure, ""
        self.storage.fail(blob, detail) if detail else self.storage.finish(blob)

    async def poison(self, body: bytes) -> None:
        self.queues.put_poison(body)

    async def add_undelivered(self, name: str, body: bytes) -> None:
        self.queues.undelivered[name] = body

    async def take_events(self) -> list[bytes]:
        return list(iter(self.queues.take, None))

    @asynccontextmanager
    async def unanswered(self, request: Request, blob: Blob, *, applied: bool) -> AsyncIterator[None]:
        before = self.storage.hook

        async def hook(actual: Request, subject: str) -> Exception | None:
            if (actual, subject) != (request, blob.url):
                return None
            if applied:
                return error_for_no_answer(request)
            raise error_for_no_answer(request)

        self.storage.hook = hook
        yield
        self.storage.hook = before


class InStorage(World):
    """The adapters, on the local stack. Copies stay pending until `finish`."""

    def __init__(self, clients: Clients, stack: Stack) -> None:
        self.clients, self.stack = clients, stack
        state = stack.blob_url("sharingstate")
        self._events, self._queues = stack.blob_url("sharingevents"), stack.queue_url("sharingevents")
        stack.control.copies(hold=True, fail_next="")
        stack.control.hierarchical()
        super().__init__(
            SourceBlobs(clients),
            TargetBlobs(clients),
            StoredDeadLetters(clients, state),
            StoredEvents(clients, self._queues, self._events),
            StoredReports(clients, state),
            StoredFeed(clients, stack.queue_url("sharingstate")),
            StoredFigures(clients, state),
            StoredLedger(clients, state),
            Place(stack.blob_url("sharingsource"), "source"),
            Place(stack.blob_url("sharingtarget"), "target"),
        )

    async def put(self, blob: Blob, content: bytes = b"content", **of: Any) -> str:
        client = self._client(blob)
        kind, tier = of.pop("kind", Kind.BLOCK), of.pop("tier", None)
        settings = {"content_settings": ContentSettings(**of.pop("headers", {})), **of}
        if kind is Kind.APPEND:
            await client.create_append_blob(**settings)  # the SDK's upload creates no empty append blob
            settings = {}
        if content or kind is not Kind.APPEND:
            settings |= {"standard_blob_tier": StandardBlobTier(tier)} if tier else {}
            await client.upload_blob(
                content, blob_type=BlobType(kind.value), overwrite=kind is not Kind.APPEND, **settings
            )
        return str((await client.get_blob_properties()).etag).strip('"')

    async def see(self, blob: Blob) -> Seen:
        client = self._client(blob)
        stream = await client.download_blob(decompress=False)
        content = await stream.readall()
        found: BlobProperties = await client.get_blob_properties()
        tags = await client.get_blob_tags() if found.tag_count else {}
        assert content is not None
        return Seen(
            content,
            dict(found.metadata),
            str(found.content_settings.content_type),
            tags,
            str(found.blob_tier),
            Kind(found.blob_type.value),
        )

    async def remove(self, blob: Blob) -> None:
        await self._client(blob).delete_blob()

    async def lease(self, blob: Blob) -> None:
        await BlobLeaseClient(self._client(blob)).acquire()

    def hierarchical(self, place: Place) -> None:
        self.stack.control.hierarchical(place.account)

    async def put_by_lake(self, blob: Blob, content: bytes = b"content") -> str:
        account = blob.endpoint.rpartition("/")[2]
        self.stack.control.hierarchical(account)
        self.stack.control.made_by_lake(f"{account}/{blob.container}/{quote(blob.name)}")
        return await self.put(blob, content)

    async def stage(self, blob: Blob, block: str, content: bytes) -> None:
        await self._client(blob).stage_block(block, content)

    async def fail_next_copy(self, detail: str) -> None:
        self.stack.control.copies(fail_next=detail)

    async def finish(self, blob: Blob) -> None:
        self.stack.control.copies(hold=False)
        while (await self._client(blob).get_blob_properties()).copy.status == "pending":  # noqa: ASYNC110  # polls the service
            await asyncio.sleep(0.02)
        self.stack.control.copies(hold=True)

    async def poison(self, body: bytes) -> None:
        await self.clients.queue(self._queues, "blob-events-poison").send_message(body.decode())

    async def add_undelivered(self, name: str, body: bytes) -> None:
        await self._client(Blob(self._events, UNDELIVERED_CONTAINER, name)).upload_blob(body, overwrite=True)

    async def take_events(self) -> list[bytes]:
        queue = self.clients.queue(self._queues, "blob-events")
        messages = [message async for message in queue.receive_messages()]
        for message in messages:
            await queue.delete_message(message)
        return [str(message.content).encode() for message in messages]

    @asynccontextmanager
    async def unanswered(self, request: Request, blob: Blob, *, applied: bool) -> AsyncIterator[None]:
        """Break the connections of these requests, before or after their effect."""
        path = re.escape(blob.url.partition("/sharing")[2])
        action = {"when": "after" if applied else "before", "drop": True}
        rules = [
            self.stack.control.add_fault({"operation": name, "path": path}, action, times=1_000)
            for name in OPERATIONS[request.name]
        ]
        yield
        for rule in rules:
            self.stack.control.remove_faults(rule)

    def _client(self, blob: Blob) -> BlobClient:
        return self.clients.blob(blob, Use.ACT)
