"""An orchestration as the Durable extension reports it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rules.jobs.model import Job
from rules.transfers.model import Run

# The input of an orchestration: of a transfer or of a job.
Input = Run | Job


class StatusFilter:
    """Sets of the Durable extension's runtime statuses."""

    RUNNING = frozenset({"Pending", "Running", "Suspended", "ContinuedAsNew"})
    BROKEN = frozenset({"Failed", "Terminated"})
    ENDED = frozenset({"Completed"}) | BROKEN
    # A broken orchestration counts as under way, because the app starts it again.
    UNDER_WAY = RUNNING | BROKEN


@dataclass(frozen=True, slots=True)
class Instance:
    """One orchestration. Its input is a `run` or a `job`; both are None if it cannot be read."""

    id: str
    status: str
    run: Run | None
    custom: dict[str, Any]
    output: Any
    updated_at: datetime
    job: Job | None = None

    @property
    def input(self) -> Input | None:
        """The input; None if it cannot be read."""
        return self.job or self.run

    @property
    def name(self) -> str | None:
        """The blob's name; None for a job and for an input that cannot be read."""
        return self.run.transfer.name if self.run else None

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.status in StatusFilter.RUNNING

    @property
    def under_way(self) -> bool:
        """Whether it runs, or is broken and will be started again (`recovery.plan`)."""
        return self.running or (self.broken and self.input is not None)

    @property
    def live(self) -> dict[str, Any]:
        """The last progress of its orchestrator: the output once it has ended, before that the custom status."""
        return self.output if isinstance(self.output, dict) and not self.running else self.custom

    @property
    def broken(self) -> bool:
        """Whether it failed or was terminated before its orchestrator ended (rule 8)."""
        return self.status in StatusFilter.BROKEN
