"""The engine of Durable Functions under test: the in-memory fake and the adapter on the stand-in."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from ports.orchestrations import Instances
from rules.orchestrations.instance import Instance
from rules.routes.model import Place, Route
from rules.transfers import identity
from rules.transfers.model import Run
from tests.fakes import MemoryInstances, MemoryStorage

NOW = datetime(2026, 11, 24, 19, 2, 44, tzinfo=UTC)


@dataclass
class DurableWorld(ABC):
    """The port, and the actions of orchestrators and operators."""

    instances: Instances
    route: str = field(default_factory=lambda: uuid4().hex[:8])

    def run(self, name: str = "slow", attempt: int = 0) -> Run:
        """Return a run that belongs to this test."""
        places = Place("https://a.blob.core.windows.net", "source"), Place("https://b.blob.core.windows.net", "target")
        return Run(identity.transfer(Route(self.route, *places), name, "0x1"), NOW, attempt)

    @property
    def prefix(self) -> str:
        return identity.route_prefix(self.route)

    async def until(self, name: str, *statuses: str) -> Instance:
        """Wait for one of the statuses."""
        while (found := await self.instances.find(self.run(name).transfer.id)) is None or found.status not in statuses:
            await self.step(name)
        return found

    @abstractmethod
    async def step(self, name: str) -> None:
        """Let an orchestrator advance."""

    @abstractmethod
    async def start_other(self, name: str) -> None:
        """Start an orchestration that is not a transfer, with an id of this test's prefix."""

    @abstractmethod
    async def moment(self) -> datetime:
        """Return a moment after everything that has started, and before everything that will start."""


class InMemory(DurableWorld):
    """The in-memory fake; each step does the work of an orchestrator."""

    def __init__(self) -> None:
        self.clock = NOW
        self.fake = MemoryInstances(MemoryStorage(now=lambda: self.clock))
        super().__init__(self.fake)

    async def step(self, name: str) -> None:
        identity_ = self.run(name).transfer.id
        if name == "broken":
            self.fake.become(identity_, "Failed", "Orchestrator function 'transfer' failed")
        elif name == "done" or identity_ in self.fake.cancels:
            self.fake.become(identity_, "Completed", {"state": "cancelled"}, {"engine": "sync"})
        else:
            self.fake.become(identity_, "Running", None, {"engine": "sync"})

    async def start_other(self, name: str) -> None:
        self.fake.kept[self.prefix + name] = Instance(self.prefix + name, "Running", None, {}, None, NOW)

    async def moment(self) -> datetime:
        moment = self.clock + timedelta(seconds=1)
        self.clock = moment + timedelta(seconds=1)
        return moment
