"""The twin of `Events`."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from adapters.memory.world import MemoryStorage
from adapters.translation import (
    EVENTS_CONSUMED,
    EVENTS_DELIVERED,
    EVENTS_DEPTH,
    EVENTS_POISON,
    EVENTS_PUT,
    EVENTS_UNDELIVERED,
)
from rules.ports import Poison, Undelivered

HIDDEN = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Message:
    """A message, and from when on it is visible."""

    body: bytes
    visible_at: datetime


class MemoryEvents:
    """The messages by their ids; `given_up` by the names of the blobs that Event Grid wrote."""

    def __init__(self, world: MemoryStorage) -> None:
        self._world = world
        self.queue: dict[str, Message] = {}
        self.poisoned: dict[str, Message] = {}
        self.given_up: dict[str, bytes] = {}

    async def put(self, body: bytes, delay: int = 0) -> None:
        """Put an event on the queue."""
        async with self._world.request(EVENTS_PUT, ""):
            self.queue[self._id()] = Message(body, self._world.now() + timedelta(seconds=delay))

    async def poison(self) -> AsyncIterator[Poison]:
        """The messages of the poison queue, each hidden from others for 5 minutes."""
        async with self._world.request(EVENTS_POISON, ""):
            now = self._world.now()
            visible = [identity for identity, message in self.poisoned.items() if message.visible_at <= now]
            for identity in visible:
                self.poisoned[identity] = replace(self.poisoned[identity], visible_at=now + HIDDEN)
        for identity in visible:
            yield Poison(self.poisoned[identity].body, identity, "receipt")

    async def consumed(self, message: Poison) -> None:
        """Delete a poison message."""
        async with self._world.request(EVENTS_CONSUMED, message.id):
            self.poisoned.pop(message.id, None)

    async def undelivered(self) -> AsyncIterator[Undelivered]:
        """What Event Grid could not deliver and kept."""
        async with self._world.request(EVENTS_UNDELIVERED, ""):
            found = sorted(self.given_up.items())
        for name, body in found:
            yield Undelivered(name, body, "etag")

    async def delivered(self, found: Undelivered) -> None:
        """Delete such a blob."""
        async with self._world.request(EVENTS_DELIVERED, found.name):
            self.given_up.pop(found.name, None)

    async def depth(self) -> int:
        """How many events wait."""
        async with self._world.request(EVENTS_DEPTH, ""):
            return len(self.queue)

    def take(self) -> bytes | None:
        """Receive and delete the oldest visible event, as the host does for its trigger."""
        now = self._world.now()
        identity = next((identity for identity, message in self.queue.items() if message.visible_at <= now), None)
        return self.queue.pop(identity).body if identity is not None else None

    def give_up(self, body: bytes) -> None:
        """Put a message on the poison queue, as the host does."""
        self.poisoned[self._id()] = Message(body, self._world.now())

    def _id(self) -> str:
        return f"{self._world.next_number():06}"
