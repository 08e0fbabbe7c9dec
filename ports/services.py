"""What the app needs of the world, as small Protocols owned by the rules. Their docstrings are contracts.

Every method may be called again after a crash. Whatever a service answers arrives as one of the three errors of `errors`:
reads raise `Retryable` or `Permanent`; acts (copy, abort, delete, clear) also `LookAgain` where nobody knows what happened.
No error holds a URL, a key or a SAS.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from ports.blobs import Source, Target
from ports.events import Events
from ports.state import Letters, Reports
from rules.routes.model import Place, Route
from rules.transfers.policies import Times

EVER = datetime.min.replace(tzinfo=UTC)


class Probe(Protocol):
    """A look at what a route or a store needs, for `health`."""

    async def container(self, place: Place) -> None:
        """Succeed if the container can be seen; else raise as a read does."""

    async def letters(self) -> None:
        """Succeed if the dead letters can be listed."""

    async def reports(self) -> None:
        """Succeed if the reports' container can be seen."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Everything that the operations and activities are given. Made once per process; time is an argument too."""

    routes: tuple[Route, ...]
    source: Source
    target: Target
    letters: Letters
    events: Events
    reports: Reports
    probe: Probe
    now: Callable[[], datetime]
    monotonic: Callable[[], float]
    times: Times
    app_version: str
    # When this process began: what was accepted before may have been begun by one that died.
    born: datetime = EVER

    def route(self, name: str) -> Route | None:
        """Today's route of that name."""
        return next((route for route in self.routes if route.name == name), None)
