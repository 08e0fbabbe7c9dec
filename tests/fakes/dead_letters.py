"""A fake of `DeadLetters`. A method that sends several conditional requests to real storage is one atomic step here."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime
from typing import Any

from adapters.continuation import decode_token, encode_token
from adapters.translation import DEAD_LETTERS_LIST, DEAD_LETTERS_READ, DEAD_LETTERS_WRITE
from rules import codec
from rules.dead_letters import letters, records
from rules.dead_letters.letters import DeadLetter
from rules.routes.model import Pause
from rules.transfers.model import Ended
from tests.fakes.world import MemoryStorage


class MemoryDeadLetters:
    """Dead letters and records of ends."""

    def __init__(self, world: MemoryStorage) -> None:
        self._world = world
        self.open: dict[str, DeadLetter] = {}
        self.resolved: dict[str, DeadLetter] = {}
        self.ends: dict[str, Ended] = {}
        self.pauses: dict[str, Pause] = {}

    async def read_ended(self, identity: str) -> Ended | None:
        async with self._world.request(DEAD_LETTERS_READ, f"ended/{identity}"):
            return self.ends.get(identity)

    async def write_ended(self, ended: Ended) -> None:
        async with self._world.request(DEAD_LETTERS_WRITE, f"ended/{ended.id}"):
            old = self.ends.get(ended.id)
            if old is None or old.rank < ended.rank:
                self.ends[ended.id] = codec.decode(Ended, json.dumps(codec.encode(ended)))

    async def drop_ended(self, identity: str, attempt: int, resumes: int = 0) -> None:
        async with self._world.request(DEAD_LETTERS_WRITE, f"ended/{identity}"):
            if (old := self.ends.get(identity)) and old.rank <= (attempt, resumes):
                del self.ends[identity]

    async def write(self, letter: DeadLetter) -> None:
        async with self._world.request(DEAD_LETTERS_WRITE, f"open/{letter.id}"):
            known = [records[letter.id] for records in (self.open, self.resolved) if letter.id in records]
            new = letters.merge(max(known, key=lambda old: old.last_attempt, default=None), letter)
            if new is not None:
                self.open[letter.id] = _stored(new)

    async def resolve(self, identity: str, attempt: int, how: str, now: datetime) -> bool:
        async with self._world.request(DEAD_LETTERS_WRITE, f"open/{identity}"):
            opened = self.open.get(identity)
            if opened is None or opened.last_attempt > attempt:
                return False
            del self.open[identity]
            before = self.resolved.get(identity)
            if before is None or before.last_attempt < opened.last_attempt:
                self.resolved[identity] = _stored(letters.resolve(opened, now, how))
            closed, ended = self.resolved[identity], self.ends.get(identity)
            if closed.resolved_as == letters.DISCARDED and ended is not None and ended.attempt <= closed.last_attempt:
                self.ends[identity] = replace(ended, discarded=True)
            return True

    async def read(self, identity: str) -> DeadLetter | None:
        async with self._world.request(DEAD_LETTERS_READ, f"open/{identity}"):
            return self.open.get(identity) or self.resolved.get(identity)

    async def page(self, prefix: str, limit: int, continuation: str | None) -> tuple[list[dict[str, Any]], str | None]:
        folder = f"open/{prefix}"
        after = decode_token(folder, continuation) or ""
        async with self._world.request(DEAD_LETTERS_LIST, folder):
            found = sorted(identity for identity in self.open if identity.startswith(prefix) and identity > after)
            items = [records.list_item(identity, records.metadata(self.open[identity])) for identity in found[:limit]]
            return items, encode_token(folder, found[limit - 1]) if len(found) > limit else None

    async def list_ended(self) -> AsyncIterator[Ended]:
        async with self._world.request(DEAD_LETTERS_LIST, "ended/"):
            found = [self.ends[identity] for identity in sorted(self.ends)]
        for ended in found:
            yield replace(ended, ending=replace(ended.ending, detail=""), resumes=0)

    async def note_pause(self, route: str, now: datetime) -> None:
        async with self._world.request(DEAD_LETTERS_WRITE, f"paused/{route}"):
            old = self.pauses.get(route)
            if old is None or old.ending:
                self.pauses[route] = codec.decode(Pause, json.dumps(codec.encode(Pause(route, now))))

    async def end_pause(self, route: str) -> Pause | None:
        async with self._world.request(DEAD_LETTERS_WRITE, f"paused/{route}"):
            if route not in self.pauses:
                return None
            self.pauses[route] = replace(self.pauses[route], ending=True)
            return self.pauses[route]

    async def drop_pause(self, pause: Pause) -> None:
        async with self._world.request(DEAD_LETTERS_WRITE, f"paused/{pause.route}"):
            if self.pauses.get(pause.route) == pause:
                del self.pauses[pause.route]

    async def list_pauses(self) -> AsyncIterator[str]:
        async with self._world.request(DEAD_LETTERS_LIST, "paused/"):
            names = sorted(self.pauses)
        for name in names:
            yield name


def _stored(letter: DeadLetter) -> DeadLetter:
    """Return the dead letter as JSON keeps it: times are rounded to milliseconds."""
    return records.read(json.loads(json.dumps(records.record(letter))))
