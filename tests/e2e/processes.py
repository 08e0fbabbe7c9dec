"""The processes of this machine: a bare one has no `ps`, a Mac no `/proc`."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path


def below(number: int) -> dict[int, bytes]:
    """The command lines of what a process has started, and of what those have."""
    running = {child: (parent, line) for child, parent, line in everyone()}
    found = {}
    for child, (_, line) in running.items():
        above = child
        while above in running and above != number:
            above = running[above][0]
        if above == number != child:
            found[child] = line
    return found


def everyone() -> Iterator[tuple[int, int, bytes]]:
    """Number, parent and command line of every process; the line of one that has ended and was not collected is empty."""
    if not Path("/proc/self/cmdline").exists():
        told = subprocess.run(["ps", "-axww", "-o", "pid=,ppid=,args="], check=True, capture_output=True).stdout
        yield from ((int(line[0]), int(line[1]), line[2]) for row in told.splitlines() if (line := row.split(None, 2)))
        return
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            yield int(folder.name), parent, (folder / "cmdline").read_bytes().replace(b"\0", b" ")
