"""The two ways to end a process of the local stack: SIGINT or SIGTERM, or the end of its parent process."""

import argparse
import asyncio
import signal
import sys

EXIT_WITH_PARENT = "--exit-with-parent"


def add_option(parser: argparse.ArgumentParser) -> None:
    """Add the option EXIT_WITH_PARENT."""
    parser.add_argument(
        EXIT_WITH_PARENT, action="store_true", help="stop when standard input closes, as when the parent process ends"
    )


def stop_on_signal() -> asyncio.Event:
    """Return an event that SIGINT and SIGTERM set."""
    stop = asyncio.Event()
    for number in signal.SIGINT, signal.SIGTERM:
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def exit_with_parent(stop: asyncio.Event) -> None:
    """Set `stop` at the end of standard input.

    The parent holds the other end and never writes to it, so it closes when the parent ends, even by `kill -9`.
    """
    loop = asyncio.get_running_loop()

    def gone() -> None:
        loop.remove_reader(sys.stdin)
        stop.set()

    loop.add_reader(sys.stdin, gone)
