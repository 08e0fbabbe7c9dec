"""The port `Probe` on Azure Storage."""

from adapters.clients import Clients
from adapters.records import Records
from adapters.translation import PROBE_CONTAINER
from rules.fixed_names import LETTERS_CONTAINER, REPORTS_CONTAINER
from rules.routes.model import Place


class Probes:
    """A look at what a route or a store needs, for `health`."""

    def __init__(self, clients: Clients, letters_endpoint: str) -> None:
        self._clients = clients
        self._state = letters_endpoint
        self._records = Records(clients, letters_endpoint, LETTERS_CONTAINER)

    async def container(self, place: Place) -> None:
        """Succeed if the container can be seen."""
        async with self._clients.asking(PROBE_CONTAINER):
            await self._clients.container(place.endpoint, place.container).get_container_properties()

    async def letters(self) -> None:
        """Succeed if the dead letters can be listed."""
        await self._records.page("open/", 1, None)

    async def reports(self) -> None:
        """Succeed if the reports' container can be seen."""
        await self.container(Place(self._state, REPORTS_CONTAINER))
