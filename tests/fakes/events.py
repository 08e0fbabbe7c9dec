"""A fake of `Events`."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256

from adapters.translation import (
    EVENTS_CONSUMED,
    EVENTS_DELIVERED,
    EVENTS_DEPTH,
    EVENTS_POISON,
    EVENTS_PUT,
    EVENTS_UNDELIVERED,
)
from ports.events import Undelivered
from ports.messages import Received
from tests.fakes.world import MemoryStorage

HIDDEN = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Message:
    """A message, when it becomes visible, and when it was put."""

    body: bytes
    visible_at: datetime
    put_at: datetime


class MemoryEvents:
    """Messages by id, and the blobs of undelivered events by name."""

    def __init__(self, world: MemoryStorage) -> None:
        self._world = world
        self.queue: dict[str, Message] = {}
        self.poisoned: dict[str, Message] = {}
        self.undelivered: dict[str, bytes] = {}

    async def put(self, body: bytes, delay: int = 0) -> None:
        async with self._world.request(EVENTS_PUT, ""):
            now = self._world.now()
            self.queue[self._id()] = Message(body, now + timedelta(seconds=delay), now)

    async def receive_poison(self) -> AsyncIterator[Received]:
        async with self._world.request(EVENTS_POISON, ""):
            now = self._world.now()
            visible = [identity for identity, message in self.poisoned.items() if message.visible_at <= now]
            for identity in visible:
                self.poisoned[identity] = replace(self.poisoned[identity], visible_at=now + HIDDEN)
        for identity in visible:
            yield Received(self.poisoned[identity].body, identity, "receipt")

    async def delete_poison(self, message: Received) -> None:
        async with self._world.request(EVENTS_CONSUMED, message.id):
            self.poisoned.pop(message.id, None)

    async def list_undelivered(self) -> AsyncIterator[Undelivered]:
        async with self._world.request(EVENTS_UNDELIVERED, ""):
            found = [self._listed(name) for name in sorted(self.undelivered)]
        for listed in found:
            yield listed

    async def read_undelivered(self, found: Undelivered) -> bytes | None:
        async with self._world.request(EVENTS_UNDELIVERED, found.name):
            return self.undelivered[found.name] if self._is_listed(found) else None

    async def delete_undelivered(self, found: Undelivered) -> None:
        async with self._world.request(EVENTS_DELIVERED, found.name):
            if self._is_listed(found):
                del self.undelivered[found.name]

    async def depth(self) -> int:
        async with self._world.request(EVENTS_DEPTH, ""):
            return len(self.queue)

    async def oldest_message(self) -> datetime | None:
        async with self._world.request(EVENTS_DEPTH, ""):
            now = self._world.now()
            return min((message.put_at for message in self.queue.values() if message.visible_at <= now), default=None)

    def take(self) -> bytes | None:
        """Receive and delete the oldest visible event, as the host does for its trigger."""
        now = self._world.now()
        identity = next((identity for identity, message in self.queue.items() if message.visible_at <= now), None)
        return self.queue.pop(identity).body if identity is not None else None

    def put_poison(self, body: bytes) -> None:
        """Put a message on the poison queue, as the host does."""
        now = self._world.now()
        self.poisoned[self._id()] = Message(body, now, now)

    def _is_listed(self, found: Undelivered) -> bool:
        return found.name in self.undelivered and self._listed(found.name) == found

    def _listed(self, name: str) -> Undelivered:
        body = self.undelivered[name]
        return Undelivered(name, len(body), sha256(body).hexdigest())

    def _id(self) -> str:
        return f"{self._world.next_number():06}"
