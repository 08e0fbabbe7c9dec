"""The port `Events` on Azure Queue storage: messages are raw text, as Event Grid and the host read and write them."""

from collections.abc import AsyncIterator

from azure.core.exceptions import HttpResponseError
from azure.storage.queue import QueueMessage
from azure.storage.queue.aio import QueueClient

from adapters.clients import Clients
from adapters.translation import EVENTS_CONSUMED, EVENTS_DEPTH, EVENTS_POISON, EVENTS_PUT, code_of
from rules.ports import Poison

QUEUE = "blob-events"
POISON = f"{QUEUE}-poison"
HIDDEN_SECONDS = 5 * 60
PAGE = 32
NEVER = -1


class StoredEvents:
    """The queue blob-events and its poison twin."""

    def __init__(self, clients: Clients, endpoint: str) -> None:
        self._clients = clients
        self._endpoint = endpoint

    async def put(self, body: bytes, delay: int = 0) -> None:
        """Put an event on the queue. A try that went unanswered is made again: twice is harmless, never is not."""
        async with self._clients.asking(EVENTS_PUT):
            await self._queue(QUEUE).send_message(body.decode(), visibility_timeout=delay, time_to_live=NEVER)

    async def poison(self) -> AsyncIterator[Poison]:
        """The messages of the poison queue, each hidden from others for 5 minutes."""
        while messages := await self._hide_some():
            for message in messages:
                yield Poison(
                    str(message.content).encode("utf-8", "surrogatepass"), message.id, message.pop_receipt or ""
                )

    async def consumed(self, message: Poison) -> None:
        """Delete a poison message. Gone, or in somebody else's hands by now, is fine."""
        async with self._clients.asking(EVENTS_CONSUMED):
            try:
                await self._queue(POISON).delete_message(message.id, message.receipt)
            except HttpResponseError as error:
                if code_of(error) not in {"MessageNotFound", "PopReceiptMismatch"}:
                    raise

    async def depth(self) -> int:
        """About how many events wait."""
        async with self._clients.asking(EVENTS_DEPTH):
            return (await self._queue(QUEUE).get_queue_properties()).approximate_message_count or 0

    async def _hide_some(self) -> list[QueueMessage]:
        async with self._clients.asking(EVENTS_POISON):
            received = self._queue(POISON).receive_messages(
                max_messages=PAGE, messages_per_page=PAGE, visibility_timeout=HIDDEN_SECONDS
            )
            try:
                return [message async for message in received]
            except HttpResponseError as error:
                if code_of(error) != "QueueNotFound":
                    raise
                return []  # the host creates it with its first message

    def _queue(self, name: str) -> QueueClient:
        return self._clients.queue(self._endpoint, name)
