"""What a load showed, and whether all small loads showed the same counts."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Self


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds from an acknowledged put to the transfer's end: by so many, half, 95 and 99 of a hundred were done."""

    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Self:
        """The nearest rank: a value that was really seen."""
        order = sorted(seconds)
        return cls(*(order[math.ceil(len(order) * share) - 1] for share in (0.50, 0.95, 0.99)))


@dataclass(frozen=True, slots=True)
class Result:
    """A load's figures; docs/performance.md explains what is counted and how."""

    load: str
    blobs: int
    bytes_each: int
    unverified: int
    seconds: float
    put_seconds: float
    latency: Latency
    requests: list[tuple[dict[str, int], int]]
    """Requests for a blob, and for how many blobs they were these; the most frequent first."""
    other_requests: int
    activities: float
    timers: float
    history_rows: list[int]
    """Every number of rows that a transfer has."""
    cpu_seconds: dict[str, float]
    """For one blob, by process."""
    peak_mib: dict[str, float]
    start_seconds: float
    first_seconds: float
    executions: dict[str, float] = field(default_factory=dict)
    """For one blob, by function."""
    active_seconds: dict[str, float] = field(default_factory=dict)
    """For one blob, by functions that share instances: seconds in which at least one of them ran."""

    @property
    def blobs_per_second(self) -> float:
        """From the first put to the last end."""
        return self.blobs / self.seconds

    @property
    def mean_requests(self) -> dict[str, float]:
        """Requests for a blob by what they ask, over all blobs."""
        totals = Counter[str]()
        for kind, blobs in self.requests:
            totals.update({name: count * blobs for name, count in kind.items()})
        return {name: total / self.blobs for name, total in totals.items()}

    @property
    def counts(self) -> tuple[object, ...]:
        """What must not depend on how many blobs there are."""
        return [kind for kind, _ in self.requests], self.activities, self.timers, self.history_rows


def differences(results: Iterable[Result]) -> list[str]:
    """Why these loads of small blobs do not show the same counts for each blob, in one load and from load to load."""
    found: list[str] = []
    first: Result | None = None
    for result in results:
        first = first or result
        if len(result.requests) > 1:
            found.append(f"{result.load}: blobs differ in their requests: {result.requests}")
        if len(result.history_rows) > 1:
            found.append(f"{result.load}: transfers differ in their history rows: {result.history_rows}")
        if result.counts != first.counts:
            found.append(f"{result.load}: {result.counts}, but {first.load}: {first.counts}")
    return found
