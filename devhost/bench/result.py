"""The figures of loads as a table and as JSON, and a check that they do not depend on the number of blobs."""

import json
import math
import os
import platform
import subprocess
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from typing import Any, Self

from rich.table import Table

from devhost.stack import ROOT
from devhost.storage.azurite import node

PACKAGES = ("azure-functions", "azure-functions-durable", "azure-storage-blob", "azure-storage-queue", "aiohttp")


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles in seconds."""

    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Self:
        """Return the nearest ranks, which are measured values."""
        order = sorted(seconds)
        return cls(*(order[math.ceil(len(order) * share) - 1] for share in (0.50, 0.95, 0.99)))


@dataclass(frozen=True, slots=True)
class Result:
    """A load's figures; docs/performance.md explains what is counted and how.

    `latency` is from an acknowledged put to the end of the transfer, `reported` what `GET /api/routes` says afterwards.

    Per blob: `activities`, `timers`, `cpu_seconds` by process, `executions` by function, and `active_seconds`, in which at
    least one function of a group ran. `requests` lists each combination of requests for one blob with the number of blobs that
    had it, the most frequent first. `history_rows` has each number of rows that occurs.
    """

    load: str
    blobs: int
    bytes_each: int
    unverified: int
    seconds: float
    put_seconds: float
    latency: Latency
    reported: Latency
    requests: list[tuple[dict[str, int], int]]
    other_requests: int
    activities: float
    timers: float
    history_rows: list[int]
    cpu_seconds: dict[str, float]
    peak_mib: dict[str, float]
    start_seconds: float
    first_seconds: float
    executions: dict[str, float] = field(default_factory=dict)
    active_seconds: dict[str, float] = field(default_factory=dict)

    @property
    def blobs_per_second(self) -> float:
        """The rate from the first put to the last end."""
        return self.blobs / self.seconds

    @property
    def mean_requests(self) -> dict[str, float]:
        """The mean number of requests for a blob, by operation and account."""
        totals = Counter[str]()
        for kind, blobs in self.requests:
            totals.update({name: count * blobs for name, count in kind.items()})
        return {name: total / self.blobs for name, total in totals.items()}

    @property
    def counts(self) -> tuple[object, ...]:
        """The figures that must not depend on the number of blobs."""
        return [kind for kind, _ in self.requests], self.activities, self.timers, self.history_rows


def differences(results: Iterable[Result]) -> list[str]:
    """Return the differences in the counts per blob, within a load and between loads."""
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


def document(results: Sequence[Result], differences: list[str], busy: float) -> dict[str, Any]:
    """Return everything for JSON; `busy` is the load average before the first load."""
    return {
        **where(busy),
        "loads": [asdict(result) | {"blobs_per_second": result.blobs_per_second} for result in results],
        "differences": differences,
    }


def where(busy: float) -> dict[str, Any]:
    """Return date, versions and machine for JSON; `busy` is the load average before."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1024**2
    machine = {"cores": os.cpu_count(), "memory_mib": memory, "platform": platform.platform(), "busy_before": busy}
    return {"date": datetime.now(UTC).isoformat(timespec="seconds"), "versions": versions(), "machine": machine}


def about(document: Mapping[str, Any]) -> list[str]:
    """Return versions, machine and date as lines."""
    versions, machine = document["versions"], document["machine"]
    where = f"{machine['cores']} cores, {machine['memory_mib']:,} MiB, {machine['platform']}"
    when = f"{document['date']}, {machine['busy_before']:.1f} running processes before"
    return [", ".join(f"{name} {version}" for name, version in versions.items()), f"{where}; {when}"]


def versions() -> dict[str, str]:
    """Return the versions of the app, Python, the packages, and the emulator."""
    azurite = json.loads((ROOT / "devhost/storage/node_modules/azurite/package.json").read_text())
    node_version = subprocess.run([node(), "--version"], capture_output=True, text=True, check=True).stdout.strip()
    return {
        "app": tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"],
        "python": platform.python_version(),
        **{package: metadata.version(package) for package in PACKAGES},
        "azurite": azurite["version"],
        "node": node_version,
    }


def table(results: Sequence[Result]) -> Table:
    """Return a table with a row for each figure and a column for each load."""
    shown = Table("", *(result.load for result in results))
    for column in shown.columns[1:]:
        column.justify = "right"
    kinds = dict.fromkeys(name for result in results for name in result.mean_requests)
    rows = [dict(_cells(result, kinds)) for result in results]
    for name in rows[0]:
        shown.add_row(name, *(row[name] for row in rows))
    return shown


def _cells(result: Result, kinds: Iterable[str]) -> list[tuple[str, str]]:
    requests, rows = result.mean_requests, result.history_rows
    return [
        ("verified", f"{result.blobs - result.unverified:,}"),
        ("blobs per second", f"{result.blobs_per_second:.2f}"),
        *((f"{name}, put to verified, s", f"{seconds:.2f}") for name, seconds in asdict(result.latency).items()),
        ("p99, GET /api/routes, s", f"{result.reported.p99:.2f}"),
        ("all puts acknowledged, s", f"{result.put_seconds:.2f}"),
        ("requests per blob", f"{sum(requests.values()):g}"),
        *((f"  {kind}", f"{requests.get(kind, 0):g}") for kind in kinds),
        ("activities per blob", f"{result.activities:g}"),
        ("durable timers per blob", f"{result.timers:g}"),
        ("history rows per transfer", " to ".join(map(str, dict.fromkeys((rows[0], rows[-1]))))),
        *((f"CPU per blob, {name}, ms", f"{seconds * 1000:.1f}") for name, seconds in result.cpu_seconds.items()),
        *((f"peak memory, {name}, MiB", f"{mib:.0f}") for name, mib in result.peak_mib.items()),
        ("stack ready, s", f"{result.start_seconds:.2f}"),
        ("first blob, s", f"{result.first_seconds:.2f}"),
    ]
