"""The dependencies that the functions of the app receive."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from ports.blobs import Source, Target
from ports.events import Events
from ports.figures import Collector, Feed, Figures, Ledger
from ports.orchestrations import Instances
from ports.recipients import Recipients
from ports.state import DeadLetters, Reports
from rules.figures.view import Price
from rules.routes.model import Route
from rules.transfers.blocks import Sizes
from rules.transfers.policies import Times

SIZES = Sizes()
BEGINNING_OF_TIME = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Ports:
    """The dependencies of operations and activities, created once per process. The clock is one of them."""

    routes: tuple[Route, ...]
    source: Source
    target: Target
    dead_letters: DeadLetters
    events: Events
    reports: Reports
    recipients: Recipients
    feed: Feed
    figures: Figures
    ledger: Ledger
    now: Callable[[], datetime]
    monotonic: Callable[[], float]
    times: Times
    app_version: str
    sizes: Sizes = SIZES
    price: Price | None = None
    collector: Collector | None = None
    # When this process started. An earlier process may have worked on the transfers that were accepted before.
    started_at: datetime = BEGINNING_OF_TIME
    # The URL of a trace, with `{trace_id}` in it.
    trace_url: str | None = None
    # Whether the API refuses every call that changes something.
    read_only: bool = False

    def route(self, name: str) -> Route | None:
        """Return the configured route of this name; None if there is none."""
        return next((route for route in self.routes if route.name == name), None)


@dataclass(frozen=True)
class Services:
    """The ports, created on first use, and a factory of `Instances` from the durable client of a function."""

    connect: Callable[[], Ports]
    instances: Callable[[Any], Instances]

    @cached_property
    def ports(self) -> Ports:
        """The ports of this process."""
        return self.connect()
