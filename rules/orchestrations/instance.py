"""An orchestration as the Durable extension shows it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rules.jobs.model import Job
from rules.transfers.model import Run

# What an orchestration is started with; its kind decides which one.
Input = Run | Job


class StatusFilter:
    """What the Durable extension says of an instance; its words, not ours."""

    RUNNING = frozenset({"Pending", "Running", "Suspended", "ContinuedAsNew"})
    BROKEN = frozenset({"Failed", "Terminated"})
    ENDED = frozenset({"Completed"}) | BROKEN
    # What is broken is started again: it is as much under way as what runs.
    UNDER_WAY = RUNNING | BROKEN


@dataclass(frozen=True, slots=True)
class Instance:
    """One orchestration as the extension shows it: its input is a `run` or a `job`, or cannot be read (both None)."""

    id: str
    status: str
    run: Run | None
    custom: dict[str, Any]
    output: Any
    updated_at: datetime
    job: Job | None = None

    @property
    def input(self) -> Input | None:
        """Its input, if it can be read."""
        return self.job or self.run

    @property
    def name(self) -> str | None:
        """The name of its blob; None of a job, and of a transfer whose input cannot be read."""
        return self.run.transfer.name if self.run else None

    @property
    def running(self) -> bool:
        """Whether it may still do something."""
        return self.status in StatusFilter.RUNNING

    @property
    def under_way(self) -> bool:
        """Whether more follows by itself: it runs, or it is broken and is started again (`broken.sequel`)."""
        return self.running or (self.broken and self.input is not None)

    @property
    def live(self) -> dict[str, Any]:
        """What its orchestrator last said of itself: its output once it has ended, until then its custom status."""
        return self.output if isinstance(self.output, dict) and not self.running else self.custom

    @property
    def broken(self) -> bool:
        """Whether it ended without a word of its own (rule 8)."""
        return self.status in StatusFilter.BROKEN
