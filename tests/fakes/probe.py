"""The twin of `Probe`."""

from adapters.translation import LETTERS_LIST, PROBE_CONTAINER, REPORTS_READ
from rules.routes.model import Place
from tests.fakes.world import MemoryStorage


class MemoryProbe:
    """A look at what a route or a store needs."""

    def __init__(self, world: MemoryStorage) -> None:
        self._world = world

    async def container(self, place: Place) -> None:
        """Succeed if the container is there."""
        async with self._world.request(PROBE_CONTAINER, place.url):
            self._world.check_container(PROBE_CONTAINER, place.blob(""))

    async def letters(self) -> None:
        """Succeed: they are in memory."""
        async with self._world.request(LETTERS_LIST, "open/"):
            return

    async def reports(self) -> None:
        """Succeed: they are in memory."""
        async with self._world.request(REPORTS_READ, ""):
            return
