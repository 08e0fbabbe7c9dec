"""A whole world in memory: every twin, a clock that a test turns, every request counted, any of them to be troubled."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from adapters.translation import Request, error_for_no_answer
from ports.services import Ports
from rules import events
from rules.orchestrations.instance import Instance
from rules.routes.model import Blob, Route
from rules.transfers import identity
from rules.transfers.decisions import RECEIPT_SOURCE_ETAG, RECEIPT_TRANSFER_ID
from rules.transfers.model import Run, Transfer
from rules.transfers.policies import Times
from rules.transfers.status import progress
from tests.fakes import (
    Item,
    MemoryDeadLetters,
    MemoryEvents,
    MemoryInstances,
    MemoryReports,
    MemorySource,
    MemoryStorage,
    MemoryTarget,
)
from tests.unit.samples import NAME, NOW, ROUTE

Trouble = Callable[[Request, str], Exception | None]
CONTENT = b"0123456789"


@dataclass
class World:
    """The accounts, the queue, the letters and the orchestrations; `ports` is what the app is given of them."""

    routes: tuple[Route, ...] = (ROUTE,)
    clock: datetime = NOW
    requests: list[tuple[str, str]] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    lost: dict[str, int] = field(default_factory=dict)
    meanwhile: dict[str, list[Callable[[], Any]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.storage = MemoryStorage(hook=self._hook, now=lambda: self.clock)
        for place in [place for route in self.routes for place in (route.source, route.target)]:
            self.storage.create(place.endpoint, place.container)
        self.source, self.target = MemorySource(self.storage), MemoryTarget(self.storage)
        self.dead_letters, self.events = MemoryDeadLetters(self.storage), MemoryEvents(self.storage)
        self.reports = MemoryReports(self.storage)
        self.instances = MemoryInstances(self.storage)
        self.ports = Ports(
            routes=self.routes,
            source=self.source,
            target=self.target,
            dead_letters=self.dead_letters,
            events=self.events,
            reports=self.reports,
            now=lambda: self.clock,
            monotonic=self._monotonic,
            times=Times(),
            app_version="0.1.0",
        )

    async def _hook(self, request: Request, subject: str) -> Exception | None:
        self.requests.append((request.name, subject))
        for act in self.meanwhile.pop(request.name, []):
            act()
        if (lost := self.lost.get(request.name, 0)) > 0:
            self.lost[request.name] = lost - 1
            return error_for_no_answer(request)
        found = next((error for trouble in self.troubles if (error := trouble(request, subject))), None)
        if found is not None:
            raise found
        return None

    def _monotonic(self) -> float:
        return self.clock.timestamp()

    @property
    def asked(self) -> list[str]:
        """The kinds of the requests so far, in order."""
        return [name for name, _ in self.requests]

    @property
    def acts(self) -> list[str]:
        """The requests that change a target."""
        return [name for name in self.asked if name.startswith("target.") and name != "target.head"]

    def pass_time(self, seconds: float) -> None:
        """Turn the clock."""
        self.clock += timedelta(seconds=seconds)

    def refuse(self, request: Request, error: Exception, times: int = 1_000) -> None:
        """Answer a kind of request with an error, so many times; the effect does not happen."""
        left = [error] * times

        def trouble(asked: Request, _subject: str) -> Exception | None:
            return left.pop() if asked == request and left else None

        self.troubles.append(trouble)

    def lose(self, request: Request, times: int = 1) -> None:
        """Let a kind of request happen, and its answer be lost, so many times."""
        self.lost[request.name] = times

    def when(self, request: Request, act: Callable[[], Any]) -> None:
        """Let something happen just before the next request of this kind."""
        self.meanwhile.setdefault(request.name, []).append(act)

    def put(self, name: str = NAME, content: bytes = CONTENT, route: Route = ROUTE, **item: Any) -> Transfer:
        """Write a blob at the source; the transfer of that version."""
        etag = self.storage.put(
            Blob(route.source.endpoint, route.source.container, name),
            Item(content, metadata=item.pop("metadata", {}), **item),
        )
        return identity.transfer(route, name, etag)

    def land(self, transfer: Transfer, content: bytes = CONTENT, **item: Any) -> str:
        """Let the target hold what this transfer would have written."""
        receipt = {RECEIPT_SOURCE_ETAG: transfer.etag, RECEIPT_TRANSFER_ID: transfer.id}
        return self.storage.put(transfer.target_blob, Item(content, metadata=receipt, **item))

    def at(self, blob: Blob) -> Item | None:
        """What there is."""
        return self.storage.blobs.get(blob)

    def stands(self, transfer: Transfer, status: str, run: Run | None = None, output: Any = None) -> Run:
        """Let an orchestration of the transfer exist in this state of the extension."""
        run = run or Run(transfer, self.clock)
        self.instances.kept[transfer.id] = Instance(transfer.id, status, run, progress(run), output, self.clock)
        return run

    def event(self, transfer: Transfer) -> bytes:
        """The event of the transfer's version."""
        return events.created_event(transfer, transfer.etag, self.clock)


def with_engine(engine: Any, **fields: Any) -> Route:
    """The route, with another engine."""
    return replace(ROUTE, engine=engine, **fields)
