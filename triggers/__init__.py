"""Where the world comes in: each trigger decodes, calls one operation, encodes."""

from typing import Any, Protocol

import azure.durable_functions as df

from operations.upkeep.health import Health
from ports.orchestrations import Instances
from ports.services import Ports
from triggers import queue, timers
from triggers.http import endpoints


class Wired(Protocol):
    """What the triggers are given: the ports, made on first use, and the orchestrations behind a durable client."""

    def ports(self) -> Ports:
        """What the operations need."""

    def health(self) -> Health:
        """The one look at everything that all callers share."""

    def instances(self, client: Any) -> Instances:
        """The orchestrations, through the client that the host hands to a function."""


def register(app: df.DFApp, wired: Wired) -> None:
    """Put every trigger into the app."""
    queue.register(app, wired.ports, wired.instances)
    timers.register(app, wired.ports, wired.instances)
    endpoints.register(app, wired.ports, wired.instances, wired.health)
