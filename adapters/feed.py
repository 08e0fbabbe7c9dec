"""The port `Feed` on Azure Storage: the queue transfer-ends of the state account."""

from adapters.clients import Clients
from adapters.queues import Queue
from adapters.translation import FEED_DELETE, FEED_DEPTH, FEED_PUT, FEED_RECEIVE
from ports.messages import Received
from rules.fixed_names import FEED_QUEUE

HIDDEN_SECONDS = 60


class StoredFeed:
    """Messages about transfers."""

    def __init__(self, clients: Clients, endpoint: str) -> None:
        self._queue = Queue(clients, endpoint, FEED_QUEUE)

    async def put(self, body: bytes) -> None:
        """Put a message, once or more often."""
        await self._queue.put(FEED_PUT, body.decode())

    async def receive(self) -> list[Received]:
        """Return up to 32 messages, each hidden from other readers for a minute."""
        return await self._queue.receive(FEED_RECEIVE, HIDDEN_SECONDS)

    async def delete(self, message: Received) -> None:
        """Delete a message; do nothing if it is gone or was received again in the meantime."""
        await self._queue.delete(FEED_DELETE, message)

    async def depth(self) -> int:
        """Return the approximate number of messages."""
        return await self._queue.depth(FEED_DEPTH)
