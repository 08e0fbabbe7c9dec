"""The figures for a person, and for a program: both from the same results."""

import json
import os
import platform
import subprocess
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from rich.table import Table

from devhost.bench.result import Result
from devhost.stack import ROOT
from devhost.storage.azurite import node

PACKAGES = ("azure-functions", "azure-functions-durable", "azure-storage-blob", "azure-storage-queue", "aiohttp")


def document(results: Sequence[Result], differences: list[str], busy: float) -> dict[str, Any]:
    """Everything, for `json.dumps`; `busy` is how many processes wanted a core before it began."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "machine": machine() | {"busy_before": busy},
        "loads": [asdict(result) | {"blobs_per_second": result.blobs_per_second} for result in results],
        "differences": differences,
    }


def table(results: Sequence[Result]) -> Table:
    """A row for each figure, a column for each load."""
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


def about(document: dict[str, Any]) -> list[str]:
    """Versions, machine and date, as lines."""
    versions, machine = document["versions"], document["machine"]
    where = f"{machine['cores']} cores, {machine['memory_mib']:,} MiB, {machine['platform']}"
    when = f"{document['date']}, {machine['busy_before']:.1f} running processes before"
    return [", ".join(f"{name} {version}" for name, version in versions.items()), f"{where}; {when}"]


def versions() -> dict[str, str]:
    """The app, and what it stood on."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    azurite = json.loads((ROOT / "devhost/storage/node_modules/azurite/package.json").read_text())
    node_version = subprocess.run([node(), "--version"], capture_output=True, text=True, check=True).stdout.strip()
    return {
        "app": project["version"],
        "python": platform.python_version(),
        **{package: metadata.version(package) for package in PACKAGES},
        "azurite": azurite["version"],
        "node": node_version,
    }


def machine() -> dict[str, Any]:
    """What it ran on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cores": os.cpu_count(), "memory_mib": memory // 1024**2, "platform": platform.platform()}
