"""`python -m devhost.bench`: measure loads of blobs, each on a fresh local stack; results as a table and as JSON."""

import argparse
import json
import os
import signal
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from devhost.bench import report
from devhost.bench.load import GIB, SMALL, Load, run
from devhost.bench.result import Result, differences
from devhost.bench.watch import Watch
from devhost.stack import StackFailed

STATE = Path(os.environ.get("DEVHOST_STATE", ".local"))
# The proxy's log holds a hundred thousand requests: six for each blob.
MAX_BLOBS = 15_000
EPILOG = """\
Each load has its own processes, ports and state folder; the folder is removed at the end. The exit code is 1 if a transfer
is not verified, or if requests, activities or history rows per blob depend on the number of blobs.
docs/performance.md explains what is counted and how.
"""


def main() -> int:
    """Measure, print, write; the exit code."""
    arguments = _parser().parse_args()
    # Make and `kill` stop with SIGTERM: the stack is stopped in the same way as on Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        return bench(arguments.sizes, arguments.large, arguments.json)
    except StackFailed as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m devhost.bench",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--sizes",
        type=_sizes,
        default=(100, 1000, 5000),
        help="numbers of small blobs, separated by commas (100,1000,5000)",
    )
    parser.add_argument(
        "--large",
        type=int,
        choices=range(65),
        default=2,
        metavar="GiB",
        help="size of the large blob in GiB; 0 for none (2)",
    )
    parser.add_argument(
        "--json", type=Path, default=STATE / "bench.json", help=f"output file for the JSON ({STATE}/bench.json)"
    )
    return parser


def _sizes(text: str) -> tuple[int, ...]:
    words = text.split(",")
    if not all(word.isdecimal() and 0 < int(word[:6]) <= MAX_BLOBS for word in words):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a list of numbers from 1 to {MAX_BLOBS:,}, separated by commas"
        )
    return tuple(map(int, words))


def bench(sizes: tuple[int, ...], large: int, place: Path) -> int:
    """Every load, one after another; 0 if everything is verified and the counts are the same."""
    if os.environ.get("HOST"):
        raise StackFailed("the counts come from the stand-in's store. Fix: unset HOST")
    console = Console()
    console = console if console.is_terminal else Console(width=120)
    busy = os.getloadavg()[0]
    small = [_measured(Load(size, SMALL), console) for size in sizes]
    results = small + ([_measured(Load(1, large * GIB), console)] if large else [])
    found = differences(small)
    document = report.document(results, found, busy)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(document, indent=1) + "\n")
    console.print(report.table(results))
    for line in (*report.about(document), f"JSON: {place}", *_verdict(small, found)):
        console.print(line, highlight=False, soft_wrap=True)
    return 1 if found or any(result.unverified for result in results) else 0


def _verdict(small: list[Result], found: list[str]) -> list[str]:
    if found:
        return [f"[red]Counts per blob differ.[/] {escape(line)}" for line in found]
    loads = ", ".join(result.load for result in small)
    return [f"Counts per blob (requests, activities, timers, history rows) are the same in {loads}."]


def _measured(load: Load, console: Console) -> Result:
    STATE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=STATE) as folder, Watch(load, console) as watch:
        log = Path(folder) / "stack.log"
        try:
            with log.open("w") as output:
                return run(load, Path(folder), output, watch.see)
        except StackFailed:
            print("".join(log.read_text().splitlines(keepends=True)[-15:]), file=sys.stderr)
            raise


if __name__ == "__main__":
    sys.exit(main())
