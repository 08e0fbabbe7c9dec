"""The port `Events` on Azure Storage: queues of raw text, and the blobs of undelivered events from Event Grid."""

from collections.abc import AsyncIterator
from datetime import datetime

from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobProperties
from azure.storage.blob.aio import BlobClient

from adapters.clients import Clients, condition
from adapters.queues import Queue
from adapters.translation import (
    EVENTS_CONSUMED,
    EVENTS_DELIVERED,
    EVENTS_DEPTH,
    EVENTS_POISON,
    EVENTS_PUT,
    EVENTS_UNDELIVERED,
    code_of,
)
from ports.events import Undelivered
from ports.messages import Received
from rules.errors import Failure
from rules.fixed_names import EVENTS_QUEUE, POISON_QUEUE, UNDELIVERED_CONTAINER
from rules.routes.model import Blob, Place
from rules.transfers.identity import bare_etag

HIDDEN_SECONDS = 5 * 60
UNDELIVERED_PAGE = 500


class StoredEvents:
    """The events account: the queue blob-events, its poison queue, and the container event-dead-letters."""

    def __init__(self, clients: Clients, queue_endpoint: str, blob_endpoint: str) -> None:
        self._clients = clients
        self._queue = Queue(clients, queue_endpoint, EVENTS_QUEUE)
        self._poison = Queue(clients, queue_endpoint, POISON_QUEUE)
        self._blob_endpoint = blob_endpoint

    async def put(self, body: bytes, delay: int = 0) -> None:
        """Put an event on the queue, once or more often: a second copy is harmless, a lost event is not."""
        await self._queue.put(EVENTS_PUT, body.decode(), delay)

    async def receive_poison(self) -> AsyncIterator[Received]:
        """Yield the messages of the poison queue, each hidden from other readers for 5 minutes."""
        while messages := await self._receive_poison():
            for message in messages:
                yield message

    async def delete_poison(self, message: Received) -> None:
        """Delete a poison message; do nothing if it is gone or was received again in the meantime."""
        await self._poison.delete(EVENTS_CONSUMED, message)

    async def list_undelivered(self) -> AsyncIterator[Undelivered]:
        """Yield the blobs of events that Event Grid could not deliver."""
        marker = None
        while True:
            items, marker = await self._undelivered_page(marker)
            for item in items:
                # Without an ETag the condition of a read never holds, so the blob stays.
                yield Undelivered(item.name, item.size or 0, bare_etag(item.etag or ""))
            if marker is None:
                return

    async def read_undelivered(self, found: Undelivered) -> bytes | None:
        """Return the content of a listed blob; None if it is gone or has changed since."""
        async with self._clients.request_scope(EVENTS_UNDELIVERED):
            try:
                stream = await self._undelivered_blob(found.name).download_blob(**condition(found.etag))
                return bytes(await stream.readall())
            except HttpResponseError as error:
                if code_of(error) not in {"BlobNotFound", "ConditionNotMet"}:
                    raise
                return None

    async def delete_undelivered(self, found: Undelivered) -> None:
        """Delete a listed blob, unless it is gone or has changed since."""
        async with self._clients.request_scope(EVENTS_DELIVERED):
            try:
                await self._undelivered_blob(found.name).delete_blob(**condition(found.etag))
            except HttpResponseError as error:
                if code_of(error) not in {"BlobNotFound", "ConditionNotMet"}:
                    raise

    async def depth(self) -> int:
        """Return the approximate number of waiting events."""
        return await self._queue.depth(EVENTS_DEPTH)

    async def oldest_message(self) -> datetime | None:
        """Return when the oldest of the next 32 visible events was put. The queue keeps their order only roughly."""
        return await self._queue.oldest(EVENTS_DEPTH)

    async def _receive_poison(self) -> list[Received]:
        try:
            return await self._poison.receive(EVENTS_POISON, HIDDEN_SECONDS)
        except Failure as failure:
            if failure.code != "QueueNotFound":
                raise
            return []  # the host creates the queue with its first message

    async def _undelivered_page(self, marker: str | None) -> tuple[list[BlobProperties], str | None]:
        place = Place(self._blob_endpoint, UNDELIVERED_CONTAINER)
        try:
            return await self._clients.page(EVENTS_UNDELIVERED, place, UNDELIVERED_PAGE, marker)
        except Failure as failure:
            if failure.code != "ContainerNotFound":
                raise
            return [], None  # Event Grid has no dead-letter destination

    def _undelivered_blob(self, name: str) -> BlobClient:
        return self._clients.blob(Blob(self._blob_endpoint, UNDELIVERED_CONTAINER, name))
