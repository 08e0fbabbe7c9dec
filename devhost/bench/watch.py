"""What a person sees while a load runs."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from devhost.bench.load import Load

EVERY_SECONDS = 10.0


class Watch:
    """Two bars in a terminal; elsewhere a line every ten seconds."""

    def __init__(self, load: Load, console: Console) -> None:
        self._load, self._console = load, console
        self._bars = Progress(
            TextColumn(f"{load.label} {{task.description:6}}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        # The one that goes before is among them.
        self._put = self._bars.add_task("put", total=load.count + 1)
        self._ended = self._bars.add_task("ended", total=load.count + 1)
        self._said = 0.0

    def __enter__(self) -> Self:
        self._say("starting a stack")
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bars.stop()

    def see(self, put: int, ended: int) -> None:
        """So many blobs were put, and so many transfers have ended."""
        self._bars.update(self._put, completed=put)
        self._bars.update(self._ended, completed=ended)
        if not self._console.is_terminal and time.monotonic() - self._said > EVERY_SECONDS:
            self._say(f"put {put:,}, ended {ended:,}")

    def _say(self, text: str) -> None:
        self._said = time.monotonic()
        self._console.print(f"{self._load.label}: {text}", highlight=False)
