"""What happened to transfers: the queue that reports it, the figures of each route, and the ledger."""

from collections.abc import Sequence
from typing import Any, Protocol

from ports.messages import Received
from rules.figures.metrics import Metric


class Feed(Protocol):
    """The queue transfer-ends."""

    async def put(self, body: bytes) -> None:
        """Put a message, once or more often. It never expires."""

    async def receive(self) -> list[Received]:
        """Receive up to 32 messages, each hidden from other readers for a minute. Empty: none is visible."""

    async def delete(self, message: Received) -> None:
        """Delete a message, or do nothing if it is gone or was received again."""

    async def depth(self) -> int:
        """Return the approximate number of messages."""


class Figures(Protocol):
    """One JSON record for each route, written on condition that it is unchanged."""

    async def load(self, name: str) -> tuple[dict[str, Any] | None, str | None]:
        """Read a record and its ETag; None and None if there is none."""

    async def save(self, name: str, record: dict[str, Any], etag: str | None) -> str | None:
        """Write a record if it still has this ETag (None: if there is none). Return the new ETag; None if it changed."""

    async def recent(self, name: str, seconds: float) -> dict[str, Any] | None:
        """Read a record that this process may have read up to `seconds` ago. Concurrent calls send one request."""


class Collector(Protocol):
    """A collector of metrics outside the app."""

    async def send(self, metrics: Sequence[Metric]) -> None:
        """Send the metrics.

        Raises:
            Retryable: the collector did not take them all.
        """


class Ledger(Protocol):
    """Blobs of JSON lines in folders, which only grow."""

    async def append(self, name: str, position: int, body: bytes) -> None:
        """Append to a blob that has `position` bytes; position 0 creates it. Do nothing if it already has more."""

    async def page(self, folder: str, continuation: str | None) -> tuple[list[dict[str, Any]], str | None]:
        """Read the lines of the folder's next blob, in order of name. Empty if there is none.

        Raises ValueError for an invalid continuation.
        """

    async def exists(self, folder: str) -> bool:
        """Whether a folder has a blob."""
