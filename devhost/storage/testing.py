"""The storage half for tests, as a child process on free ports with a separate state directory."""

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Self

from devhost.storage.client import StorageControl
from devhost.storage.config import HOST

STOP_SECONDS = 60


class Stack:
    """Starts, stops and kills the storage half; ports and state stay the same."""

    def __init__(self, state: Path, **environment: str) -> None:
        self.blob_port, self.queue_port, self.table_port = free_ports(3)
        self.control = StorageControl(self.blob_port)
        self.environment = {
            **os.environ,
            "AZURITE_BLOB_PORT": str(self.blob_port),
            "AZURITE_QUEUE_PORT": str(self.queue_port),
            "AZURITE_TABLE_PORT": str(self.table_port),
            "DEVHOST_STATE": str(state),
            **environment,
        }
        self._process: subprocess.Popen[str] | None = None

    def blob_url(self, account: str) -> str:
        """Return the URL of an account's blob service."""
        return f"http://{HOST}:{self.blob_port}/{account}"

    def queue_url(self, account: str) -> str:
        """Return the URL of an account's queue service."""
        return f"http://{HOST}:{self.queue_port}/{account}"

    def launch(self) -> subprocess.Popen[str]:
        """Start a process and return at once; it prints a line when it is ready."""
        return subprocess.Popen(
            [sys.executable, "-m", "devhost.storage"],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def start(self) -> Self:
        """Start it and wait until it is ready; raise RuntimeError with its output if it fails."""
        process = self.launch()
        if process.stdout is None or not process.stdout.readline().startswith("ready"):
            raise RuntimeError(f"the stack did not start: {process.communicate(timeout=STOP_SECONDS)[1]}")
        self._process = process
        return self

    def stop(self) -> tuple[int, str]:
        """Stop it with SIGTERM; return the exit code and the text on stderr."""
        return self._end(kill=False)

    def kill(self) -> None:
        """Kill it as `kill -9` does. Its Azurite notices this and closes."""
        self._end(kill=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _end(self, *, kill: bool) -> tuple[int, str]:
        process, self._process = self._process, None
        if process is None:
            return 0, ""
        process.kill() if kill else process.terminate()
        _, errors = process.communicate(timeout=STOP_SECONDS)
        return process.returncode, errors


def free_ports(count: int) -> list[int]:
    """Return ports that are free now."""
    with contextlib.ExitStack() as sockets:
        taken = [sockets.enter_context(socket.socket()) for _ in range(count)]
        for each in taken:
            each.bind((HOST, 0))
        return [int(each.getsockname()[1]) for each in taken]
