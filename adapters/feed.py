"""The port `Feed` on Azure Storage: the queue transfer-ends of the state account."""

from azure.core.exceptions import HttpResponseError
from azure.storage.queue.aio import QueueClient

from adapters.clients import Clients
from adapters.translation import FEED_DELETE, FEED_DEPTH, FEED_PUT, FEED_RECEIVE, code_of
from ports.figures import Report
from rules.fixed_names import FEED_QUEUE

PAGE, HIDDEN_SECONDS, NEVER_EXPIRES = 32, 60, -1


class StoredFeed:
    """Messages about transfers."""

    def __init__(self, clients: Clients, endpoint: str) -> None:
        self._clients = clients
        self._endpoint = endpoint

    async def put(self, body: bytes) -> None:
        """Put a message. An unanswered request is retried, so a message may be there twice."""
        async with self._clients.request_scope(FEED_PUT):
            await self._queue.send_message(body.decode(), time_to_live=NEVER_EXPIRES)

    async def receive(self) -> list[Report]:
        """Return up to 32 messages, each hidden from other readers for a minute."""
        async with self._clients.request_scope(FEED_RECEIVE):
            received = self._queue.receive_messages(
                max_messages=PAGE, messages_per_page=PAGE, visibility_timeout=HIDDEN_SECONDS
            )
            messages = [message async for message in received]
        return [
            Report(str(each.content).encode("utf-8", "surrogatepass"), each.id, each.pop_receipt or "")
            for each in messages
        ]

    async def delete(self, report: Report) -> None:
        """Delete a message; do nothing if it is gone or was received again in the meantime."""
        async with self._clients.request_scope(FEED_DELETE):
            try:
                await self._queue.delete_message(report.id, report.receipt)
            except HttpResponseError as error:
                if code_of(error) not in {"MessageNotFound", "PopReceiptMismatch"}:
                    raise

    async def depth(self) -> int:
        """Return the approximate number of messages."""
        async with self._clients.request_scope(FEED_DEPTH):
            return (await self._queue.get_queue_properties()).approximate_message_count or 0

    @property
    def _queue(self) -> QueueClient:
        return self._clients.queue(self._endpoint, FEED_QUEUE)
