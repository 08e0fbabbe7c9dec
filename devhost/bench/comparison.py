"""The figures of `make versus` as a table, for the terminal and for docs/performance.md."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from devhost.bench.load import MIB
from devhost.bench.peers import AZCOPY
from devhost.bench.result import about

VERSUS = Path(__file__).with_name("versus.json")
APP = "this app"
KILLED = ", kill -9"
SERVICES = ("source", "target", "state", "hub")
PROCESSES = ("tool", "proxy", "azurite")
WRITES_BLOCKS = frozenset({"PutBlob", "PutBlock", "PutBlockFromUrl"})
WRITES_BLOBS = frozenset({"PutBlobFromUrl", "CopyBlob", "CopyBlobFromUrl"})
HEAD = (
    "speed",
    f"{AZCOPY} = 1",
    "s",
    f"requests: {', '.join(SERVICES)}",
    "CPU, ms: tool, proxy, Azurite",
    "copied again, MiB",
    "bytes",
)


@dataclass(frozen=True, slots=True)
class Row:
    """What one tool did with one workload; docs/performance.md explains what is counted and how.

    `whole` means that the service was asked for whole blobs: the emulator then copies no bytes, and its settings decide the time.
    `requests` by service, and `cpu_seconds` by process, are totals. `starts` is above 1 if the tool was killed; `problem` is its
    last output if it failed.
    """

    workload: str
    tool: str
    blobs: int
    bytes_each: int
    seconds: float
    requests: dict[str, float]
    cpu_seconds: dict[str, float]
    copied: int
    wrong: int
    whole: bool = False
    starts: int = 1
    killed: bool = False
    problem: str = ""

    @property
    def speed(self) -> float:
        """Blobs a second, or MiB a second of a single blob."""
        return (self.blobs if self.blobs > 1 else self.bytes_each / MIB) / self.seconds

    @property
    def is_paced(self) -> bool:
        """Whether the emulator's settings decide the speed."""
        return self.whole and self.blobs == 1

    @property
    def copied_again(self) -> int:
        """The bytes that were copied beyond those of the blobs."""
        return self.copied - self.blobs * self.bytes_each


def copied_bytes(requests: Iterable[Mapping[str, Any]], size: int) -> int:
    """Return the bytes that the service accepted to copy or store at the target; a blob that is copied whole has `size`."""
    done = [each for each in requests if 200 <= each["status"] < 300]  # noqa: PLR2004  # HTTP's successes
    parts = sum(each["length"] for each in done if each["operation"] in WRITES_BLOCKS)
    return int(parts + size * sum(each["operation"] in WRITES_BLOBS for each in done))


def ratio(row: Row, rows: Iterable[Row]) -> float | None:
    """Return the row's speed as a multiple of AzCopy's in the same workload.

    None if AzCopy was not measured or failed, or if the emulator's settings decide the speed of either.
    """
    azcopy = (each for each in rows if (each.workload, each.tool) == (row.workload, AZCOPY))
    reference = next((each for each in azcopy if not each.wrong and not each.problem), None)
    return row.speed / reference.speed if reference and not row.is_paced and not reference.is_paced else None


def cells(row: Row, rows: Iterable[Row]) -> list[str]:
    """Return a row's figures, in the order of HEAD. Requests and CPU are those for one blob."""
    times = ratio(row, rows)
    cpu = [row.cpu_seconds[name] * 1000 / row.blobs for name in PROCESSES if name in row.cpu_seconds]
    return [
        f"{row.speed:.3g} {'blobs/s' if row.blobs > 1 else 'MiB/s'}{', set' if row.is_paced else ''}",
        "-" if times is None else f"{times:.2f}",
        f"{row.seconds:.1f}",
        ", ".join(_number(row.requests.get(service, 0) / row.blobs) for service in SERVICES),
        ", ".join(map(_number, cpu)) if len(cpu) == len(PROCESSES) else "-",
        _again(row),
        f"{row.wrong:,} wrong" if row.wrong else "equal",
    ]


def _again(row: Row) -> str:
    text = _number(row.copied_again / MIB)
    return text if row.killed or not row.workload.endswith(KILLED) else f"{text} (ended before the kill)"


def _number(count: float) -> str:
    return f"{count:,.0f}" if count > 99 else f"{count:.3g}"  # noqa: PLR2004  # three digits suffice


def rows_of(document: Mapping[str, Any]) -> list[Row]:
    """Return the rows of a JSON file."""
    return [Row(**{name: each[name] for name in Row.__dataclass_fields__}) for each in document["rows"]]


def table(rows: list[Row], missing: Mapping[str, str]) -> Table:
    """Return a table for the terminal, with a row for each tool and workload, and one for each tool that is missing."""
    shown = Table("", "", *HEAD)
    for column in shown.columns[2:]:
        column.justify = "right"
    for row in rows:
        shown.add_row(row.workload, row.tool, *cells(row, rows), end_section=row is rows[-1])
    for tool, reason in missing.items():
        shown.add_row("", tool, f"skipped: {reason}")
    return shown


def page(document: Mapping[str, Any] | None = None) -> str:
    """Return the table of docs/performance.md. The default document is versus.json."""
    document = document or json.loads(VERSUS.read_text())
    rows = rows_of(document)
    lines = [f"| | | {' | '.join(HEAD)} |", f"| --- | --- {'| ---: ' * len(HEAD)}|"]
    lines += [f"| {row.workload} | {row.tool} | {' | '.join(cells(row, rows))} |" for row in rows]
    tools = ", ".join(f"{tool} {version}" for tool, version in document["tools"].items())
    names = {"app": APP, "azurite": "Azurite", "python": "Python"}
    ours = ", ".join(f"{shown} {document['versions'][name]}" for name, shown in names.items())
    return "\n".join(
        [
            *lines,
            *("", f"- {tools}; {ours}."),
            f"- {about(document)[1]}.",
            f"- `{document['command']}`",
            "",
        ]
    )
