"""Creates the adapters that the settings describe, and bundles them as the services that every function receives."""

import logging
import time
from datetime import UTC, datetime
from functools import cached_property

import aiohttp
import azure.durable_functions as df

from adapters.clients import Clients
from adapters.collector import OtlpCollector
from adapters.credentials import Partner
from adapters.dead_letters import StoredDeadLetters
from adapters.events import StoredEvents
from adapters.feed import StoredFeed
from adapters.figures import StoredFigures, StoredLedger
from adapters.hub import HubQueues
from adapters.instances import DurableInstances
from adapters.recipients import CloudRecipients
from adapters.reports import StoredReports
from adapters.source import SourceBlobs
from adapters.target import TargetBlobs
from operations.log import LOGGER
from ports.orchestrations import Instances
from ports.services import Ports, Services
from settings import Settings

APP_VERSION = "0.1.0"


def services(settings: Settings) -> Services:
    """Return the services of this process. Connections are opened only when a function first needs them."""
    # The SDK logs every request at INFO. To see them, set the level of this logger.
    logging.getLogger("azure").setLevel(logging.WARNING)
    LOGGER.setLevel(logging.INFO)
    wiring = Wiring(settings)
    return Services(wiring.ports, wiring.instances)


class Wiring:
    """The adapters for the accounts of the settings, each created on first use."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._started_at = _now()

    def instances(self, client: df.DurableOrchestrationClient) -> Instances:
        """Return the port on orchestrations for the durable client that the host passes to a function."""
        return DurableInstances(client, self._session, self._hub_queues)

    def ports(self) -> Ports:
        """Return the ports on Azure Storage."""
        settings, clients = self._settings, self._clients
        return Ports(
            routes=settings.routes,
            source=SourceBlobs(clients),
            target=TargetBlobs(clients),
            dead_letters=StoredDeadLetters(clients, settings.state.blobs),
            events=StoredEvents(clients, settings.events.queues, settings.events.blobs),
            reports=StoredReports(clients, settings.state.blobs),
            recipients=CloudRecipients(clients),
            feed=StoredFeed(clients, settings.state.queues),
            figures=StoredFigures(clients, settings.state.blobs),
            ledger=StoredLedger(clients, settings.state.blobs),
            collector=self._collector,
            now=_now,
            monotonic=time.monotonic,
            times=settings.times,
            sizes=settings.sizes,
            price=settings.price,
            app_version=APP_VERSION,
            started_at=self._started_at,
            read_only=settings.read_only,
            trace_url=settings.telemetry.trace_url,
        )

    @cached_property
    def _collector(self) -> OtlpCollector | None:
        telemetry = self._settings.telemetry
        if telemetry.metrics_url is None:
            return None
        resource = {"service.name": telemetry.service, "service.version": APP_VERSION}
        return OtlpCollector(self._session, telemetry.metrics_url, dict(telemetry.headers), resource, _now)

    @cached_property
    def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession()

    @cached_property
    def _clients(self) -> Clients:
        settings = self._settings
        partners = {
            endpoint: Partner(tenant, settings.sharing_client_id)
            for route in settings.routes
            for endpoint, tenant in route.foreign_endpoints()
            if settings.sharing_client_id
        }
        return Clients(settings.key, settings.times, f"blob-data-sharing/{APP_VERSION}", settings.client_id, partners)

    @cached_property
    def _hub_queues(self) -> HubQueues:
        return HubQueues(self._clients, self._settings.state.queues)


def _now() -> datetime:
    return datetime.now(UTC)
