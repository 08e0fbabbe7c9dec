"""The triggers of the app. Each decodes its input, calls one operation and encodes the answer."""

import azure.durable_functions as df

from ports.services import Services
from triggers import queue, timers
from triggers.http import endpoints


def register(app: df.DFApp, services: Services) -> None:
    """Register every trigger."""
    queue.register(app, services)
    timers.register(app, services)
    endpoints.register(app, services)
