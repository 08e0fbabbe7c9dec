"""The orchestrations of the Durable extension."""

from datetime import datetime
from typing import Protocol

from rules.orchestrations.instance import Input, Instance


class Instances(Protocol):
    """The orchestrations: looked up, started, signalled. A start is not atomic: see `start`."""

    async def find(self, identity: str) -> Instance | None:
        """Look one up."""

    async def start(self, what: Input) -> bool:
        """Start a run or a job. False where an instance of its id is alive. True is no proof of being first."""

    async def cancel(self, identity: str) -> None:
        """Raise the cancel event. Of an instance that ended meanwhile: nothing happens."""

    async def terminate(self, identity: str, why: str) -> None:
        """End one without asking it. Of an instance that ended meanwhile: nothing happens."""

    async def purge(self, identity: str) -> None:
        """Forget one that has ended, history and all. Gone already is fine; one that runs is Retryable."""

    async def oldest_message(self) -> datetime | None:
        """When the oldest message that waits in the task hub was put: how far the hub is behind. None where none waits."""

    async def page(
        self,
        *,
        prefix: str = "",
        statuses: frozenset[str] = frozenset(),
        before: datetime | None = None,
        limit: int,
        continuation: str | None = None,
    ) -> tuple[list[Instance], str | None]:
        """List transfers (or, where the prefix begins like theirs, jobs) whose id begins so; a page may be short, even empty.

        `statuses` are those wanted, all where it is empty; `before` leaves out what was created later.

        Raises ValueError for a continuation that is none.
        """
