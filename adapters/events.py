"""The port `Events` on Azure Storage: queues of raw text, and the blobs of what Event Grid gave up."""

from collections.abc import AsyncIterator
from datetime import datetime

from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobProperties
from azure.storage.blob.aio import BlobClient
from azure.storage.queue import QueueMessage
from azure.storage.queue.aio import QueueClient

from adapters.clients import Clients, condition
from adapters.translation import (
    EVENTS_CONSUMED,
    EVENTS_DELIVERED,
    EVENTS_DEPTH,
    EVENTS_POISON,
    EVENTS_PUT,
    EVENTS_UNDELIVERED,
    code_of,
)
from ports.events import Poison, Undelivered
from rules.errors import Failure
from rules.fixed_names import EVENTS_QUEUE, POISON_QUEUE, UNDELIVERED_CONTAINER
from rules.routes.model import Blob, Place
from rules.transfers.identity import bare_etag

HIDDEN_SECONDS = 5 * 60
PAGE = 32
UNDELIVERED_PAGE = 500
NEVER = -1


class StoredEvents:
    """The events account: the queue blob-events, its poison twin, and the container event-dead-letters."""

    def __init__(self, clients: Clients, endpoint: str, blobs: str) -> None:
        self._clients = clients
        self._endpoint = endpoint
        self._blobs = blobs

    async def put(self, body: bytes, delay: int = 0) -> None:
        """Put an event on the queue. A try that went unanswered is made again: twice is harmless, never is not."""
        async with self._clients.request_scope(EVENTS_PUT):
            await self._queue(EVENTS_QUEUE).send_message(body.decode(), visibility_timeout=delay, time_to_live=NEVER)

    async def receive_poison(self) -> AsyncIterator[Poison]:
        """The messages of the poison queue, each hidden from others for 5 minutes."""
        while messages := await self._hide_some():
            for message in messages:
                yield Poison(
                    str(message.content).encode("utf-8", "surrogatepass"), message.id, message.pop_receipt or ""
                )

    async def delete_poison(self, message: Poison) -> None:
        """Delete a poison message. Gone, or in somebody else's hands by now, is fine."""
        async with self._clients.request_scope(EVENTS_CONSUMED):
            try:
                await self._queue(POISON_QUEUE).delete_message(message.id, message.receipt)
            except HttpResponseError as error:
                if code_of(error) not in {"MessageNotFound", "PopReceiptMismatch"}:
                    raise

    async def list_undelivered(self) -> AsyncIterator[Undelivered]:
        """What Event Grid could not deliver and kept, page by page."""
        marker = None
        while True:
            items, marker = await self._given_up(marker)
            for item in items:
                # Without an ETag it is read on a condition that never holds, and left where it is.
                yield Undelivered(item.name, item.size or 0, bare_etag(item.etag or ""))
            if marker is None:
                return

    async def read_undelivered(self, found: Undelivered) -> bytes | None:
        """Read such a blob, pinned to what was listed."""
        async with self._clients.request_scope(EVENTS_UNDELIVERED):
            try:
                stream = await self._given_up_blob(found.name).download_blob(**condition(found.etag))
                return bytes(await stream.readall())
            except HttpResponseError as error:
                if code_of(error) not in {"BlobNotFound", "ConditionNotMet"}:
                    raise
                return None

    async def delete_undelivered(self, found: Undelivered) -> None:
        """Delete such a blob, if it is still what was listed."""
        async with self._clients.request_scope(EVENTS_DELIVERED):
            try:
                await self._given_up_blob(found.name).delete_blob(**condition(found.etag))
            except HttpResponseError as error:
                if code_of(error) not in {"BlobNotFound", "ConditionNotMet"}:
                    raise

    async def depth(self) -> int:
        """About how many events wait."""
        async with self._clients.request_scope(EVENTS_DEPTH):
            return (await self._queue(EVENTS_QUEUE).get_queue_properties()).approximate_message_count or 0

    async def oldest_message(self) -> datetime | None:
        """When the oldest of the next 32 events was put: a queue keeps its order only about."""
        async with self._clients.request_scope(EVENTS_DEPTH):
            messages = await self._queue(EVENTS_QUEUE).peek_messages(PAGE)
        return min((message.inserted_on for message in messages if message.inserted_on), default=None)

    async def _hide_some(self) -> list[QueueMessage]:
        async with self._clients.request_scope(EVENTS_POISON):
            received = self._queue(POISON_QUEUE).receive_messages(
                max_messages=PAGE, messages_per_page=PAGE, visibility_timeout=HIDDEN_SECONDS
            )
            try:
                return [message async for message in received]
            except HttpResponseError as error:
                if code_of(error) != "QueueNotFound":
                    raise
                return []  # the host creates it with its first message

    async def _given_up(self, marker: str | None) -> tuple[list[BlobProperties], str | None]:
        place = Place(self._blobs, UNDELIVERED_CONTAINER)
        try:
            return await self._clients.page(EVENTS_UNDELIVERED, place, UNDELIVERED_PAGE, marker)
        except Failure as failure:
            if failure.code != "ContainerNotFound":
                raise
            return [], None  # nobody has asked Event Grid to keep anything

    def _given_up_blob(self, name: str) -> BlobClient:
        return self._clients.blob(Blob(self._blobs, UNDELIVERED_CONTAINER, name))

    def _queue(self, name: str) -> QueueClient:
        return self._clients.queue(self._endpoint, name)
