"""A fake of `Reports`."""

import json
from typing import Any

from adapters.translation import REPORTS_READ, REPORTS_WRITE, error_for_answer
from tests.fakes.world import MemoryStorage


class MemoryReports:
    """Pages by name."""

    def __init__(self, world: MemoryStorage) -> None:
        self._world = world
        self.pages: dict[str, list[dict[str, Any]]] = {}

    async def write(self, name: str, lines: list[dict[str, Any]], *, new: bool = False) -> None:
        async with self._world.request(REPORTS_WRITE, name):
            if new and name in self.pages:
                raise error_for_answer(REPORTS_WRITE, 409, "BlobAlreadyExists")
            self.pages[name] = json.loads(json.dumps(lines))

    async def read(self, name: str) -> list[dict[str, Any]]:
        async with self._world.request(REPORTS_READ, name):
            return self.pages.get(name, [])
