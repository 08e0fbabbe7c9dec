"""One queue of raw text, in which messages never expire."""

from datetime import datetime

from azure.core.exceptions import HttpResponseError
from azure.storage.queue.aio import QueueClient

from adapters.clients import Clients
from adapters.translation import Request, code_of
from ports.messages import Received

# The largest number of messages of one request.
PAGE = 32
# The service deletes a message after seven days unless it is put with this. A reader that comes late must not miss any.
NEVER_EXPIRES = -1


class Queue:
    """A queue of an account. Each method takes the request that its errors name."""

    def __init__(self, clients: Clients, endpoint: str, name: str) -> None:
        self._clients = clients
        self._endpoint = endpoint
        self._name = name

    async def put(self, request: Request, text: str, delay: int = 0) -> None:
        """Put a message, visible after `delay` seconds. An unanswered request is retried, so it may be there twice."""
        async with self._clients.request_scope(request):
            await self._queue.send_message(text, visibility_timeout=delay, time_to_live=NEVER_EXPIRES)

    async def receive(self, request: Request, hidden_seconds: int) -> list[Received]:
        """Return up to 32 messages, each hidden from other readers for so long."""
        async with self._clients.request_scope(request):
            found = self._queue.receive_messages(
                max_messages=PAGE, messages_per_page=PAGE, visibility_timeout=hidden_seconds
            )
            messages = [message async for message in found]
        return [
            Received(str(each.content).encode("utf-8", "surrogatepass"), each.id, each.pop_receipt or "")
            for each in messages
        ]

    async def delete(self, request: Request, message: Received) -> None:
        """Delete a message; do nothing if it is gone or was received again in the meantime."""
        async with self._clients.request_scope(request):
            try:
                await self._queue.delete_message(message.id, message.receipt)
            except HttpResponseError as error:
                if code_of(error) not in {"MessageNotFound", "PopReceiptMismatch"}:
                    raise

    async def depth(self, request: Request) -> int:
        """Return the approximate number of messages."""
        async with self._clients.request_scope(request):
            return (await self._queue.get_queue_properties()).approximate_message_count or 0

    async def oldest(self, request: Request) -> datetime | None:
        """Return when the oldest of the next 32 visible messages was put. The queue keeps their order only roughly."""
        async with self._clients.request_scope(request):
            messages = await self._queue.peek_messages(PAGE)
        return min((message.inserted_on for message in messages if message.inserted_on), default=None)

    @property
    def _queue(self) -> QueueClient:
        return self._clients.queue(self._endpoint, self._name)
