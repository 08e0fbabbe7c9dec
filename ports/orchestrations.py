"""The orchestrations of the Durable extension."""

from datetime import datetime
from typing import Protocol

from rules.orchestrations.instance import Input, Instance


class Instances(Protocol):
    """The orchestrations of transfers and jobs."""

    async def find(self, identity: str) -> Instance | None:
        """Return the orchestration of this id; None if there is none."""

    async def start(self, run_or_job: Input) -> bool:
        """Start a run or a job. False if an orchestration of its id is running.

        The check and the start are not atomic: two concurrent calls may both return True.
        """

    async def cancel(self, identity: str) -> None:
        """Raise the cancel event. Without effect on an orchestration that has ended."""

    async def terminate(self, identity: str, why: str) -> None:
        """Terminate an orchestration. Without effect on one that has ended."""

    async def purge(self, identity: str) -> None:
        """Delete an ended orchestration with its history, or do nothing if it is gone. One that runs is Retryable."""

    async def oldest_message(self) -> datetime | None:
        """Return when the oldest waiting message of the task hub was put, None if none waits. It shows the backlog."""

    async def page(  # noqa: PLR0913  # the filters
        self,
        *,
        prefix: str = "",
        statuses: frozenset[str] = frozenset(),
        since: datetime | None = None,
        before: datetime | None = None,
        limit: int,
        continuation: str | None = None,
    ) -> tuple[list[Instance], str | None]:
        """List a page of transfers, or of jobs for a job's prefix, whose id has the prefix. It may be short or empty.

        `statuses` empty means all; `since` and `before` exclude orchestrations that were created earlier or later. Raises
        ValueError for an invalid continuation.
        """
