"""The processes of this machine. A minimal Linux has no `ps`, macOS has no `/proc`."""

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path


def below(number: int) -> dict[int, bytes]:
    """Return the command lines of all descendants of a process, by process id."""
    running = {child: (parent, line) for child, parent, line in all_processes()}
    found = {}
    for child, (_, line) in running.items():
        above = child
        while above in running and above != number:
            above = running[above][0]
        if above == number != child:
            found[child] = line
    return found


def all_processes() -> Iterator[tuple[int, int, bytes]]:
    """Yield id, parent id and command line of every process. A zombie has an empty command line."""
    if not Path("/proc/self/cmdline").exists():
        output = subprocess.run(["ps", "-axww", "-o", "pid=,ppid=,args="], check=True, capture_output=True).stdout
        yield from (
            (int(line[0]), int(line[1]), line[2]) for row in output.splitlines() if (line := row.split(None, 2))
        )
        return
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended in the meantime
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            yield int(folder.name), parent, (folder / "cmdline").read_bytes().replace(b"\0", b" ")


def until(look: Callable[[], bool], what: str, timeout: float = 60) -> None:
    end = time.monotonic() + timeout
    while not look():
        assert time.monotonic() < end, f"timed out waiting until {what}"
        time.sleep(0.1)


def measuring(state: Path, **more: str) -> dict[str, str]:
    """Return the exported variables for a measurement, with a separate folder."""
    return {**{key: value for key, value in os.environ.items() if key != "HOST"}, "DEVHOST_STATE": str(state), **more}


def left_behind(state: Path) -> list[str]:
    """Return the processes that name the folder, and the folders in it."""
    processes = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in processes.splitlines() if str(state) in line] + [
        str(path) for path in state.glob("bench-*")
    ]
