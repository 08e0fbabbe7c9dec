"""`python -m devhost.func`: Azure Functions Core Tools, in a copy of the app and on a leash.

In a copy, because the job host restarts when anything appears in its folder, and every tool leaves something in ours.
On a leash, because `func`, its host and its Python worker outlive the process that started them.
"""

import argparse
import asyncio
import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

from pathspec import GitIgnoreSpec

from devhost.storage.azurite import listen
from devhost.storage.config import StackError

ROOT = Path(__file__).parent.parent
DRAIN_SECONDS, VANISH_SECONDS = 10.0, 5.0


def main() -> int:
    """Run `func` until it ends, SIGTERM, or the end of standard input; return its exit code."""
    parser = argparse.ArgumentParser("python -m devhost.func", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="port of the functions")
    parser.add_argument("--copy", type=Path, required=True, help="folder for the copy; removed at the end")
    arguments = parser.parse_args()
    return abs(asyncio.run(_run(arguments.port, arguments.copy)))


async def _run(port: int, place: Path) -> int:
    """Start `func` and end it: with SIGTERM it may drain; without a parent it is killed, for storage ends as well."""
    asked, cut = _asked(), _cut()
    with copied(ROOT, place):
        func = await asyncio.create_subprocess_exec(
            *("func", "start", "--port", str(port)), cwd=place, stdin=asyncio.subprocess.DEVNULL, start_new_session=True
        )
        try:
            await _first(func.wait(), asked.wait(), cut.wait())
            if func.returncode is None and not cut.is_set():
                func.terminate()
                await _first(func.wait(), cut.wait(), seconds=DRAIN_SECONDS)
        finally:
            _kill(func.pid)
            code = await func.wait()
            _await_end(port)
    return code


def _asked() -> asyncio.Event:
    """Set by Ctrl-C and SIGTERM."""
    asked = asyncio.Event()
    for number in signal.SIGINT, signal.SIGTERM:
        asyncio.get_running_loop().add_signal_handler(number, asked.set)
    return asked


def _cut() -> asyncio.Event:
    """Set at the end of standard input: the parent holds the other end, never writes, and is gone, even by `kill -9`."""
    loop, cut = asyncio.get_running_loop(), asyncio.Event()

    def gone() -> None:
        loop.remove_reader(sys.stdin)
        cut.set()

    loop.add_reader(sys.stdin, gone)
    return cut


async def _first(*waits: Coroutine[Any, Any, object], seconds: float | None = None) -> None:
    """Return as soon as one of them is over, or after so many seconds."""
    tasks = [asyncio.create_task(wait) for wait in waits]
    await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


def _kill(group: int) -> None:
    """Kill what is left of the group. The host and the worker keep nothing that they could still save."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _await_end(port: int) -> None:
    """Wait until what was killed has let go of the port, so that another host may start."""
    end = time.monotonic() + VANISH_SECONDS
    while time.monotonic() < end:
        with contextlib.suppress(StackError):
            listen(port, "HOST_PORT").close()
            return
        time.sleep(0.01)


def packaged(root: Path) -> Iterator[Path]:
    """The files that `.funcignore` lets through, relative to the root, as azd packs them."""
    ignored = GitIgnoreSpec.from_lines((root / ".funcignore").read_text().splitlines())

    def inside(folder: Path) -> Iterator[Path]:
        for entry in sorted(folder.iterdir()):
            name = entry.relative_to(root)
            if not ignored.match_file(name):
                yield from inside(entry) if entry.is_dir() else [name]

    yield from inside(root)


@contextlib.contextmanager
def copied(root: Path, place: Path) -> Iterator[None]:
    """Copy the app for the block inside. A copy that is there was left by a process that was killed."""
    shutil.rmtree(place, ignore_errors=True)
    try:
        for name in packaged(root):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, place / name)
        yield
    finally:
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
