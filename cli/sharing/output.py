"""What a command prints: results to stdout, messages to stderr. With `--json`, one JSON object per line."""

import json
import re
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import datetime
from typing import Any

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

STYLES = {
    **dict.fromkeys(("verified", "done", "active", "ok", "match"), "green"),
    **dict.fromkeys(("dead_lettered", "failed", "refused", "FAILS", "error", "over_budget"), "red"),
    **dict.fromkeys(("cancelled", "paused", "skipped", "stale", "missing"), "yellow"),
    **dict.fromkeys(("copying", "accepted", "running", "started"), "cyan"),
}
UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
STEP = 1024
LABEL = 10
# A command in a text, after a colon.
COMMAND = re.compile(r"(?<=:) `([^`]+)`[.;,]? *")
# Of a pipe or a file: no line is broken.
ENDLESS = 100_000


def shown(value: object) -> str:
    """Return text for a terminal: control characters, bidi controls and other invisible ones as escapes."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in str(value))


def size(count: float | None) -> str:
    """Return a number of bytes with a unit; a dash if it is not known."""
    if count is None:
        return "-"
    unit = next((each for each in UNITS if (count := count / STEP if each != UNITS[0] else count) < STEP), UNITS[-1])
    return f"{count:.0f} B" if unit == UNITS[0] else f"{count:.1f} {unit}"


def seconds(duration: float | None) -> str:
    """Return a duration with its largest unit; a dash if it is not known."""
    if duration is None:
        return "-"
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if duration >= length:
            return f"{duration / length:.0f} {unit}"
    return f"{duration:.1f} s" if duration < 10 else f"{duration:.0f} s"  # noqa: PLR2004  # two digits


def moment(text: str) -> datetime:
    """Read a time of the API."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def ago(text: str | None) -> str:
    """Return how long ago this time was; a dash if it is not known."""
    return "-" if text is None else seconds(max(0.0, time.time() - moment(text).timestamp()))


class Rate(ProgressColumn):
    """Bytes per second; empty for a task that does not count bytes."""

    def render(self, task: Task) -> Text:
        """Return the rate."""
        return Text(f"{size(task.speed)}/s" if task.fields.get("bytes") and task.speed else "", justify="right")


class Bars(Progress):
    """Bars below lines of text."""

    head: Sequence[str] = ()

    def get_renderables(self) -> Iterator[RenderableType]:
        """Yield what is shown. A line that is too long is cut; states have their colors."""
        for each in self.head:
            text = Text(each, no_wrap=True, overflow="ellipsis")
            for state, style in STYLES.items():
                text.highlight_words([state], style)
            yield text
        if self.tasks:
            yield self.make_tasks_table(self.tasks)


class Output:
    """Both streams. `live`: stdout is a terminal, which can show bars."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        plain: dict[str, Any] = {"markup": False, "highlight": False, "emoji": False}
        self._out = Console(**plain, width=None if sys.stdout.isatty() else ENDLESS)
        self._err = Console(**plain, stderr=True, width=None if sys.stderr.isatty() else ENDLESS)
        self.live = self._out.is_terminal and not as_json

    def say(self, text: str) -> None:
        """Print a message to stderr."""
        self._err.print(Text(shown(text)), soft_wrap=True)

    def fail(self, message: str, fix: str, code: int) -> None:
        """Print why the command failed to stderr, as JSON with `--json`."""
        if self.as_json:
            sys.stderr.write(json.dumps({"error": message, "fix": fix, "code": code}) + "\n")
            return
        self._err.print(Text.assemble(("sharing: ", "bold red"), shown(message)), soft_wrap=True)
        if fix:
            self._err.print(Text.assemble(("Fix: ", "bold"), shown(fix)), soft_wrap=True)

    def json(self, value: Any) -> None:
        """Print one JSON value on one line, in ASCII."""
        sys.stdout.write(json.dumps(value) + "\n")

    def flush(self) -> None:
        """Hand on what was printed: another program may wait for it."""
        sys.stdout.flush()

    def line(self, *cells: tuple[str, int], style: str = "") -> None:
        """Print cells, each padded to its width. A cell that has a width and begins with a state has the state's color."""
        text = Text(style=style)
        for cell, width in cells:
            clean = shown(cell)
            text.append(clean, STYLES.get(clean.partition(" ")[0], "") if width else "")
            text.append(" " * max(width - cell_len(clean) + 2, 1))
        text.rstrip()
        self._out.print(text, soft_wrap=True)

    def rows(self, heads: Mapping[str, int], items: Iterable[Any], cells: Callable[[Any], Sequence[str]]) -> int:
        """Print a line for each item as it arrives, under these heads with their widths. Return the number of items."""
        count = 0
        for item in items:
            if self.as_json:
                self.json(item)
            else:
                if not count:
                    self.line(*heads.items(), style="bold")
                self.line(*zip(cells(item), heads.values(), strict=True))
            count += 1
        if self.as_json:
            self.flush()
        return count

    def fields(self, fields: Mapping[str, object]) -> None:
        """Print the fields that have a value. Long texts are wrapped in a terminal, long words are not."""
        for name, value in fields.items():
            if value is None or value == "":
                continue
            for position, text in enumerate(self._wrapped(shown(value)) or [""]):
                self.line((name if position == 0 else "", LABEL), (text, LABEL if name == "state" else 0))

    def steps(self, name: str, text: str) -> None:
        """Print what to do. A command after a colon gets a line of its own, which is not wrapped, so that it can be copied."""
        for number, part in enumerate(COMMAND.split(shown(text))):
            for line in [part] if number % 2 else self._wrapped(part):
                self.line((name, LABEL), (line, 0))
                name = ""

    def _wrapped(self, text: str) -> list[str]:
        width = self._out.width - LABEL - 2
        return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)

    @contextmanager
    def bars(self) -> Iterator[Bars]:
        """Bars with rate and remaining time; they show nothing unless stdout is a terminal."""
        name = Column(ratio=1, no_wrap=True, overflow="ellipsis")
        columns: tuple[ProgressColumn, ...] = (
            TextColumn("{task.description}", markup=False, table_column=name),
            BarColumn(bar_width=16, complete_style="cyan", finished_style="green", pulse_style="cyan"),
            TaskProgressColumn(text_format="{task.percentage:>3.0f}%"),
            Rate(),
            TimeRemainingColumn(compact=True),
        )
        # Some copies show progress every ten minutes only.
        progress = Bars(*columns, console=self._out, transient=True, expand=True, speed_estimate_period=1200)
        with progress if self.live else nullcontext():
            yield progress
