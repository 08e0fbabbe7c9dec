"""Fakes of `Feed`, `Figures` and `Ledger`."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from adapters.continuation import decode_token, encode_token
from adapters.translation import (
    FEED_DELETE,
    FEED_DEPTH,
    FEED_PUT,
    FEED_RECEIVE,
    FIGURES_READ,
    FIGURES_WRITE,
    LEDGER_READ,
    LEDGER_WRITE,
)
from ports.messages import Received
from tests.fakes.events import Message
from tests.fakes.world import MemoryStorage

HIDDEN, PAGE = timedelta(minutes=1), 32


class MemoryFeed:
    """Messages by id."""

    def __init__(self, world: MemoryStorage) -> None:
        self._world = world
        self.queue: dict[str, Message] = {}

    async def put(self, body: bytes) -> None:
        async with self._world.request(FEED_PUT, ""):
            now = self._world.now()
            self.queue[f"{self._world.next_number():06}"] = Message(body, now, now)

    async def receive(self) -> list[Received]:
        async with self._world.request(FEED_RECEIVE, ""):
            now = self._world.now()
            found = [identity for identity, message in self.queue.items() if message.visible_at <= now][:PAGE]
            for identity in found:
                self.queue[identity] = replace(self.queue[identity], visible_at=now + HIDDEN)
            return [Received(self.queue[identity].body, identity, str(now + HIDDEN)) for identity in found]

    async def delete(self, report: Received) -> None:
        async with self._world.request(FEED_DELETE, report.id):
            if report.id in self.queue and str(self.queue[report.id].visible_at) == report.receipt:
                del self.queue[report.id]

    async def depth(self) -> int:
        async with self._world.request(FEED_DEPTH, ""):
            return len(self.queue)


class MemoryFigures:
    """Records by name, as text with an ETag."""

    def __init__(self, world: MemoryStorage, monotonic: Callable[[], float] = lambda: 0.0) -> None:
        self._world = world
        self._monotonic = monotonic
        self.records: dict[str, tuple[str, str]] = {}
        self._kept: dict[str, tuple[float, dict[str, Any] | None]] = {}

    async def load(self, name: str) -> tuple[dict[str, Any] | None, str | None]:
        async with self._world.request(FIGURES_READ, name):
            if name not in self.records:
                return None, None
            text, etag = self.records[name]
            return json.loads(text), etag

    async def save(self, name: str, record: dict[str, Any], etag: str | None) -> str | None:
        async with self._world.request(FIGURES_WRITE, name):
            known = self.records.get(name)
            if (known and known[1]) != etag:
                return None
            new = self._world.next_etag()
            self.records[name] = (json.dumps(record), new)
            return new

    async def recent(self, name: str, seconds: float) -> dict[str, Any] | None:
        kept = self._kept.get(name)
        if kept is None or self._monotonic() - kept[0] >= seconds:
            kept = self._kept[name] = (self._monotonic(), (await self.load(name))[0])
        return kept[1]


class MemoryLedger:
    """Bytes by name."""

    def __init__(self, world: MemoryStorage) -> None:
        self._world = world
        self.blobs: dict[str, bytes] = {}

    async def append(self, name: str, position: int, body: bytes) -> None:
        async with self._world.request(LEDGER_WRITE, name):
            if position == 0:
                self.blobs.setdefault(name, b"")
            if name in self.blobs and len(self.blobs[name]) == position:
                self.blobs[name] += body

    async def page(self, folder: str, continuation: str | None) -> tuple[list[dict[str, Any]], str | None]:
        after = decode_token(folder, continuation) or ""
        async with self._world.request(LEDGER_READ, folder):
            names = sorted(name for name in self.blobs if name.startswith(folder) and name > after)
            if not names:
                return [], None
            lines = [json.loads(line) for line in self.blobs[names[0]].splitlines()]
            return lines, encode_token(folder, names[0]) if len(names) > 1 else None

    async def exists(self, folder: str) -> bool:
        async with self._world.request(LEDGER_READ, folder):
            return any(name.startswith(folder) for name in self.blobs)
