"""`python -m devhost.func`: run Azure Functions Core Tools on a copy of the app until the parent process ends.

The job host restarts when a file appears in its folder. Many tools write files into the app's folder, so it gets a copy.
`func`, its host and its Python worker would outlive the process that started them, so this process kills them.
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

from devhost import parent
from devhost.storage.azurite import listen
from devhost.storage.config import StackError

ROOT = Path(__file__).parent.parent
DRAIN_SECONDS, PORT_SECONDS = 10.0, 5.0


def main() -> int:
    """Run `func` until it ends, SIGTERM, or the end of standard input; return its exit code."""
    parser = argparse.ArgumentParser("python -m devhost.func", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="port of the functions")
    parser.add_argument("--copy", type=Path, required=True, help="folder for the copy; removed at the end")
    arguments = parser.parse_args()
    return abs(asyncio.run(_run(arguments.port, arguments.copy)))


async def _run(port: int, folder: Path) -> int:
    """Run `func`. After SIGTERM it has time to drain. If the parent ends, it is killed at once, because storage ends too."""
    stop, orphaned = parent.stop_on_signal(), asyncio.Event()
    parent.exit_with_parent(orphaned)
    with _copied(ROOT, folder):
        func = await asyncio.create_subprocess_exec(
            *("func", "start", "--port", str(port)),
            cwd=folder,
            stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            await _first(func.wait(), stop.wait(), orphaned.wait())
            if func.returncode is None and not orphaned.is_set():
                func.terminate()
                await _first(func.wait(), orphaned.wait(), seconds=DRAIN_SECONDS)
        finally:
            # The host and the worker may still run. They have nothing left to save.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(func.pid, signal.SIGKILL)
            code = await func.wait()
            _await_end(port)
    return code


async def _first(*waits: Coroutine[Any, Any, object], seconds: float | None = None) -> None:
    """Return as soon as one of them ends, at the latest after `seconds`."""
    tasks = [asyncio.create_task(wait) for wait in waits]
    await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


def _await_end(port: int) -> None:
    """Wait until the killed processes have released the port, so that another host may start."""
    end = time.monotonic() + PORT_SECONDS
    while time.monotonic() < end:
        with contextlib.suppress(StackError):
            listen(port, "HOST_PORT").close()
            return
        time.sleep(0.01)


def _packaged(root: Path) -> Iterator[Path]:
    """Yield the files that azd packs according to `.funcignore`, relative to the root."""
    ignored = GitIgnoreSpec.from_lines((root / ".funcignore").read_text().splitlines())

    def inside(folder: Path) -> Iterator[Path]:
        for entry in sorted(folder.iterdir()):
            name = entry.relative_to(root)
            if not ignored.match_file(name):
                yield from inside(entry) if entry.is_dir() else [name]

    yield from inside(root)


@contextlib.contextmanager
def _copied(root: Path, folder: Path) -> Iterator[None]:
    """Copy the app to `folder`, and delete the copy after the block. An existing copy is from a killed process."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        for name in _packaged(root):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, folder / name)
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
