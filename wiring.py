"""Settings become adapters, and adapters what the operations need. Made once per process, on first use."""

import logging
import time
from datetime import UTC, datetime
from functools import cached_property

import aiohttp
import azure.durable_functions as df

from adapters.clients import Clients
from adapters.events import StoredEvents
from adapters.hub import HubQueues
from adapters.instances import DurableInstances
from adapters.letters import StoredLetters
from adapters.probe import Probes
from adapters.reports import StoredReports
from adapters.source import SourceBlobs
from adapters.target import TargetBlobs
from operations.log import LOGGER
from operations.upkeep.health import Health
from ports.orchestrations import Instances
from ports.services import Ports
from settings import Settings

APP_VERSION = "0.1.0"


class Wiring:
    """The app's parts, wired to what the settings name. Nothing is made before the first function runs."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.born = _now()
        # The SDK tells every request at INFO; who needs them sets this logger.
        logging.getLogger("azure").setLevel(logging.WARNING)
        LOGGER.setLevel(logging.INFO)

    def ports(self) -> Ports:
        """What the operations and activities need."""
        return self._ports

    def health(self) -> Health:
        """The one look at everything that all callers share."""
        return self._health

    def instances(self, client: df.DurableOrchestrationClient) -> Instances:
        """The orchestrations, through the client that the host hands to a function."""
        return DurableInstances(client, self._session, self._hub_queues)

    @cached_property
    def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession()

    @cached_property
    def _clients(self) -> Clients:
        settings = self.settings
        return Clients(settings.key, settings.times, f"blob-data-sharing/{APP_VERSION}", settings.client_id)

    @cached_property
    def _hub_queues(self) -> HubQueues:
        return HubQueues(self._clients, self.settings.state.queues)

    @cached_property
    def _health(self) -> Health:
        return Health(self._ports)

    @cached_property
    def _ports(self) -> Ports:
        settings, clients = self.settings, self._clients
        return Ports(
            routes=settings.routes,
            source=SourceBlobs(clients),
            target=TargetBlobs(clients),
            letters=StoredLetters(clients, settings.state.blobs),
            events=StoredEvents(clients, settings.events.queues, settings.events.blobs),
            reports=StoredReports(clients, settings.state.blobs),
            probe=Probes(clients, settings.state.blobs),
            now=_now,
            monotonic=time.monotonic,
            times=settings.times,
            app_version=APP_VERSION,
            born=self.born,
        )


def _now() -> datetime:
    return datetime.now(UTC)
