"""`python -m devhost.bench`: measure loads of blobs, each on a fresh local stack; results as a table and as JSON."""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from devhost.bench import result
from devhost.bench.load import MIB, SMALL, Load, check_host, run
from devhost.bench.result import Result
from devhost.command import command
from devhost.storage.config import StackError

STATE = Path(os.environ.get("DEVHOST_STATE", ".local"))
# The proxy's log has a capacity of a hundred thousand requests: six for each blob.
MAX_BLOBS = 15_000
PROGRESS_SECONDS = 10.0
EPILOG = """\
Each load has its own processes, ports and state folder; the folder is removed at the end. The exit code is 1 if a transfer
is not verified, or if requests, activities or history rows per blob depend on the number of blobs.
docs/performance.md explains what is counted and how.
"""


def main() -> int:
    """Run the loads and return the exit code."""
    arguments = _parser().parse_args()
    return command("bench", lambda: bench(arguments.sizes, arguments.large_mib, arguments.json))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m devhost.bench",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sizes = "numbers of small blobs, separated by commas (100,1000,5000)"
    parser.add_argument("--sizes", type=_sizes, default=(100, 1000, 5000), help=sizes)
    large = "size of the large blob; 0 for none (2048)"
    parser.add_argument("--large-mib", type=int, default=2048, metavar="MiB", help=large)
    output = f"output file for the JSON ({STATE}/bench.json)"
    parser.add_argument("--json", type=Path, default=STATE / "bench.json", help=output)
    return parser


def _sizes(text: str) -> tuple[int, ...]:
    words = text.split(",")
    if not all(word.isdecimal() and 0 < int(word[:6]) <= MAX_BLOBS for word in words):
        problem = f"{text!r} is not a list of numbers from 1 to {MAX_BLOBS:,}, separated by commas"
        raise argparse.ArgumentTypeError(problem)
    return tuple(map(int, words))


def bench(sizes: tuple[int, ...], large: int, output: Path) -> int:
    """Run the loads one after another; return 0 if everything is verified and the counts per blob are the same."""
    check_host()
    console = Console()
    console = console if console.is_terminal else Console(width=120)
    busy = os.getloadavg()[0]
    small = [_measured(Load(size, SMALL), console) for size in sizes]
    results = small + ([_measured(Load(1, large * MIB), console)] if large else [])
    found = result.differences(small)
    document = result.document(results, found, busy)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(document, indent=1) + "\n")
    console.print(result.table(results))
    for line in (*result.about(document), f"JSON: {output}", *_verdict(small, found)):
        console.print(line, highlight=False, soft_wrap=True)
    return 1 if found or any(each.unverified for each in results) else 0


def _verdict(small: list[Result], found: list[str]) -> list[str]:
    if found:
        return [f"[red]Counts per blob differ.[/] {escape(line)}" for line in found]
    loads = ", ".join(each.load for each in small)
    return [f"Counts per blob (requests, activities, timers, history rows) are the same in {loads}."]


def _measured(load: Load, console: Console) -> Result:
    """Run a load; show two bars in a terminal, elsewhere a line every ten seconds."""
    STATE.mkdir(parents=True, exist_ok=True)
    columns = (
        TextColumn(f"{load.label} {{task.description:6}}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    bars = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    put, ended = (bars.add_task(name, total=load.count + 1) for name in ("put", "ended"))  # with the warm-up blob
    printed = time.monotonic()

    def show(puts: int, ends: int) -> None:
        nonlocal printed
        bars.update(put, completed=puts)
        bars.update(ended, completed=ends)
        if not console.is_terminal and time.monotonic() - printed > PROGRESS_SECONDS:
            printed = time.monotonic()
            console.print(f"{load.label}: put {puts:,}, ended {ends:,}", highlight=False)

    console.print(f"{load.label}: starting a stack", highlight=False)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=STATE) as folder, bars:
        log = Path(folder) / "stack.log"
        try:
            with log.open("w") as stream:
                return run(load, Path(folder), stream, show)
        except StackError:
            print("".join(log.read_text().splitlines(keepends=True)[-15:]), file=sys.stderr)
            raise


if __name__ == "__main__":
    sys.exit(main())
