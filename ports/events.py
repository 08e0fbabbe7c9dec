"""The queue of events, its poison queue, and undelivered events."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from ports.messages import Received


class Events(Protocol):
    """The queue blob-events, its poison queue, and the events that Event Grid could not deliver."""

    async def put(self, body: bytes, delay: int = 0) -> None:
        """Put an event on the queue as Event Grid does. It is visible after `delay` seconds and never expires."""

    def receive_poison(self) -> AsyncIterator[Received]:
        """Receive the visible messages of the poison queue. Each is then hidden from other readers for a while."""

    async def delete_poison(self, message: Received) -> None:
        """Delete a poison message, or do nothing if it is gone."""

    def list_undelivered(self) -> AsyncIterator["Undelivered"]:
        """List the blobs in which Event Grid stores undelivered events, one or more per blob, in order of name."""

    async def read_undelivered(self, found: "Undelivered") -> bytes | None:
        """Read a listed blob; None if it is gone or has changed since it was listed."""

    async def delete_undelivered(self, found: "Undelivered") -> None:
        """Delete a listed blob, unless it is gone or has changed since it was listed."""

    async def depth(self) -> int:
        """Return the approximate number of events in the queue."""

    async def oldest_message(self) -> datetime | None:
        """Return when the oldest of the next visible events was put; None if none is visible. This only peeks."""


@dataclass(frozen=True, slots=True)
class Undelivered:
    """A listed blob of undelivered events. `size` is in bytes."""

    name: str
    size: int
    etag: str
