"""The events that wait, and those that could not be delivered."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


class Events(Protocol):
    """The queue blob-events, its poison twin, and the events that Event Grid itself gave up."""

    async def put(self, body: bytes, delay: int = 0) -> None:
        """Put an event on the queue, as Event Grid would; visible after `delay` seconds, never expiring."""

    def receive_poison(self) -> AsyncIterator["Poison"]:
        """The messages of the poison queue, each hidden from others for a while. Ends when none is visible."""

    async def delete_poison(self, message: "Poison") -> None:
        """Delete a poison message. Gone already is fine."""

    def list_undelivered(self) -> AsyncIterator["Undelivered"]:
        """What Event Grid could not deliver and kept, from a list: blobs of one or more events, in order of name."""

    async def read_undelivered(self, found: "Undelivered") -> bytes | None:
        """Read such a blob; None if it is not any more what was listed."""

    async def delete_undelivered(self, found: "Undelivered") -> None:
        """Delete such a blob, if it is still what was listed. Gone already is fine."""

    async def depth(self) -> int:
        """About how many events wait."""

    async def oldest_message(self) -> datetime | None:
        """When the oldest of the next events was put; None where none is visible. Nothing is hidden from others by it."""


@dataclass(frozen=True, slots=True)
class Poison:
    """A message of the poison queue: its raw body and what it takes to delete it."""

    body: bytes
    id: str
    receipt: str


@dataclass(frozen=True, slots=True)
class Undelivered:
    """A blob of events that Event Grid gave up: its name, its size in bytes, and the ETag that it was listed with."""

    name: str
    size: int
    etag: str
