"""Azurite as a child process: started, waited for, and never left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import sys
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from devhost.storage.config import HOST, StackError
from devhost.storage.lock import exclusive

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from devhost.storage.config import Config

HERE = Path(__file__).parent
SCRIPT = HERE / "node_modules/azurite/dist/src/azurite.js"
START_SECONDS = 60
KEEP_ALIVE_SECONDS = 60
_LISTENING = re.compile(rb"Azurite (Blob|Queue|Table) service is successfully listening at http://[^:]+:(\d+)")


class Azurite:
    """A running Azurite; its blob service has a port that only the proxy knows."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.blob_port = 0
        self._process = process
        self._last_lines: deque[bytes] = deque(maxlen=5)
        self._drain: asyncio.Task[None] | None = None

    async def ready(self) -> None:
        """Return once all three services listen."""
        try:
            async with asyncio.timeout(START_SECONDS):
                ports = [await self._next_service() for _ in range(3)]
        except TimeoutError:
            raise StackError(
                f"Azurite did not start within {START_SECONDS} s. Its last output: {self.last_words}"
            ) from None
        self.blob_port = ports[0]
        self._drain = asyncio.create_task(self._read_on())

    async def ended(self) -> str:
        """Wait for the process to end by itself; return what it said last."""
        await self._process.wait()
        return self.last_words

    async def stop(self) -> None:
        """Ask it to close and wait as long as it takes: SIGKILL would lose acknowledged writes of the last seconds."""
        if self._process.returncode is None:
            self._process.terminate()
        await self._process.wait()
        if self._drain:
            await self._drain

    @property
    def last_words(self) -> str:
        """The last lines of its output, as one."""
        return b" ".join(self._last_lines).decode(errors="replace") or "nothing"

    async def _next_service(self) -> int:
        while line := await self._line():
            if found := _LISTENING.match(line):
                return int(found[2])
        raise StackError(f"Azurite stopped at once. Its last output: {self.last_words}")

    async def _line(self) -> bytes:
        if self._process.stdout is None:
            raise StackError("Azurite has no output to read")
        line = await self._process.stdout.readline()
        self._last_lines.append(line.strip())
        return line

    async def _read_on(self) -> None:
        while await self._line():
            pass


@contextlib.asynccontextmanager
async def running(config: Config) -> AsyncIterator[Azurite]:
    """Start Azurite for the block inside and stop it afterwards."""
    if not SCRIPT.exists():
        raise StackError("Azurite is not installed. Fix: make setup")
    async with exclusive(config.state) as lock:
        for port, variable in (config.queue_port, "AZURITE_QUEUE_PORT"), (config.table_port, "AZURITE_TABLE_PORT"):
            listen(port, variable).close()
        azurite = Azurite(await _start(config, lock))
        try:
            await azurite.ready()
            yield azurite
        finally:
            await azurite.stop()


def listen(port: int, variable: str) -> socket.socket:
    """Take a port, or say which variable moves it."""
    taken = socket.socket()
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((HOST, port))
        taken.listen(128)
    except OSError as error:
        taken.close()
        raise StackError(f"Port {port} is not free ({error.strerror}). Fix: {variable}=<another port>") from None
    return taken


async def _start(config: Config, lock: int) -> asyncio.subprocess.Process:
    try:
        return await asyncio.create_subprocess_exec(
            node(),
            *("--require", HERE / "leash.cjs", SCRIPT),
            *("--location", config.state / "azurite"),
            *("--blobHost", HOST, "--blobPort", "0", "--blobKeepAliveTimeout", str(KEEP_ALIVE_SECONDS)),
            *("--queueHost", HOST, "--queuePort", str(config.queue_port)),
            *("--tableHost", HOST, "--tablePort", str(config.table_port)),
            "--skipApiVersionCheck",  # the SDK speaks a newer version than the emulator knows
            "--disableProductStyleUrl",  # the account is always the first segment of the path, as the proxy reads it
            "--disableTelemetry",
            "--silent",  # an access log would hold signatures; nor --loose: what Azurite cannot do should be heard
            env={**os.environ, "AZURITE_ACCOUNTS": ";".join(f"{account}:{config.key}" for account in config.accounts)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            pass_fds=[lock],  # so the lock is free when Azurite is gone too
            start_new_session=True,  # Ctrl-C is for the proxy, which stops Azurite last
        )
    except FileNotFoundError:
        raise StackError("node is not installed. Fix: make setup") from None


def node() -> str:
    """Node.js beside this Python, where `make setup` puts it if the machine has none; else the machine's."""
    ours = Path(sys.executable).with_name("node")
    return str(ours) if ours.exists() else "node"
