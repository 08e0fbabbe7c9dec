"""An in-memory world: all in-memory fakes, a clock that the test sets, a record of every request, and faults to inject."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from adapters.translation import Request, error_for_no_answer
from ports.services import Ports
from rules.events.write import created_event
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
    MemoryFeed,
    MemoryFigures,
    MemoryInstances,
    MemoryLedger,
    MemoryRecipients,
    MemoryReports,
    MemorySource,
    MemoryStorage,
    MemoryTarget,
)
from tests.unit.samples import NAME, NOW, ROUTE

# Called with each request and its subject before the request takes effect; may return the error to raise.
Fault = Callable[[Request, str], Exception | None]
CONTENT = b"0123456789"


@dataclass
class World:
    """The accounts, the queue, the dead letters and the orchestrations; `ports` gives them to the app."""

    routes: tuple[Route, ...] = (ROUTE,)
    clock: datetime = NOW
    requests: list[tuple[str, str]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    answers_to_lose: dict[str, int] = field(default_factory=dict)
    actions: dict[str, list[Callable[[], Any]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.storage = MemoryStorage(hook=self._hook, now=lambda: self.clock)
        for place in [place for route in self.routes for place in (route.source, route.target)]:
            self.storage.create(place.endpoint, place.container)
        self.source, self.target = MemorySource(self.storage), MemoryTarget(self.storage)
        self.dead_letters, self.events = MemoryDeadLetters(self.storage), MemoryEvents(self.storage)
        self.reports = MemoryReports(self.storage)
        self.recipients = MemoryRecipients(self.storage)
        self.feed, self.figures = MemoryFeed(self.storage), MemoryFigures(self.storage, self._monotonic)
        self.ledger = MemoryLedger(self.storage)
        self.instances = MemoryInstances(self.storage)
        self.ports = Ports(
            routes=self.routes,
            source=self.source,
            target=self.target,
            dead_letters=self.dead_letters,
            events=self.events,
            reports=self.reports,
            recipients=self.recipients,
            feed=self.feed,
            figures=self.figures,
            ledger=self.ledger,
            now=lambda: self.clock,
            monotonic=self._monotonic,
            times=Times(),
            app_version="0.1.0",
        )

    async def _hook(self, request: Request, subject: str) -> Exception | None:
        self.requests.append((request.name, subject))
        for action in self.actions.pop(request.name, []):
            action()
        if (count := self.answers_to_lose.get(request.name, 0)) > 0:
            self.answers_to_lose[request.name] = count - 1
            return error_for_no_answer(request)
        error = next((error for fault in self.faults if (error := fault(request, subject))), None)
        if error is not None:
            raise error
        return None

    def _monotonic(self) -> float:
        return self.clock.timestamp()

    @property
    def request_names(self) -> list[str]:
        """The names of the requests so far, in order."""
        return [name for name, _ in self.requests]

    @property
    def target_writes(self) -> list[str]:
        """The names of the requests that change a target, in order."""
        reads = {"target.head", "target.staged"}
        return [name for name in self.request_names if name.startswith("target.") and name not in reads]

    def pass_time(self, seconds: float) -> None:
        """Advance the clock."""
        self.clock += timedelta(seconds=seconds)

    def refuse(self, request: Request, error: Exception, times: int = 1_000) -> None:
        """Answer the next requests of this kind with an error, without effect."""
        errors = [error] * times

        def fault(other: Request, _subject: str) -> Exception | None:
            return errors.pop() if other == request and errors else None

        self.faults.append(fault)

    def lose_answer(self, request: Request, times: int = 1) -> None:
        """Let the next requests of this kind take effect without an answer."""
        self.answers_to_lose[request.name] = times

    def before_next(self, request: Request, action: Callable[[], Any]) -> None:
        """Call `action` just before the next request of this kind."""
        self.actions.setdefault(request.name, []).append(action)

    def put(self, name: str = NAME, content: bytes = CONTENT, route: Route = ROUTE, **item: Any) -> Transfer:
        """Write a blob at the source and return the transfer of that version."""
        etag = self.storage.put(
            Blob(route.source.endpoint, route.source.container, name),
            Item(content, metadata=item.pop("metadata", {}), **item),
        )
        return identity.transfer(route, name, etag)

    def put_copy(self, transfer: Transfer, content: bytes = CONTENT, **item: Any) -> str:
        """Write this transfer's copy, with its receipt, at the target and return its ETag."""
        receipt = {RECEIPT_SOURCE_ETAG: transfer.etag, RECEIPT_TRANSFER_ID: transfer.id}
        return self.storage.put(transfer.target_blob, Item(content, metadata=receipt, **item))

    def at(self, blob: Blob) -> Item | None:
        """The stored blob, or None."""
        return self.storage.blobs.get(blob)

    def put_instance(self, transfer: Transfer, status: str, run: Run | None = None, output: Any = None) -> Run:
        """Add an orchestration of the transfer with this runtime status."""
        run = run or Run(transfer, self.clock)
        self.instances.kept[transfer.id] = Instance(transfer.id, status, run, progress(run), output, self.clock)
        return run

    def event(self, transfer: Transfer) -> bytes:
        """The event of the transfer's version."""
        return created_event(transfer, transfer.etag, self.clock)


def with_engine(engine: Any, **fields: Any) -> Route:
    return replace(ROUTE, engine=engine, **fields)
