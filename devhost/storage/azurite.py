"""Azurite as a child process with a separate state directory."""

import asyncio
import contextlib
import fcntl
import os
import re
import socket
import sys
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path

from devhost.storage.config import HOST, Config, StackError

HERE = Path(__file__).parent
SCRIPT = HERE / "node_modules/azurite/dist/src/azurite.js"
START_SECONDS = 60
KEEP_ALIVE_SECONDS = 60
LEFTOVER_SECONDS = 30
_LISTENING = re.compile(rb"Azurite (Blob|Queue|Table) service is successfully listening at http://[^:]+:(\d+)")


class Azurite:
    """A running Azurite. The port of its blob service is private to the proxy."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.blob_port = 0
        self._process = process
        self._last_lines: deque[bytes] = deque(maxlen=5)
        self._reader: asyncio.Task[None] | None = None

    async def ready(self) -> None:
        """Return once all three services listen."""
        try:
            async with asyncio.timeout(START_SECONDS):
                ports = [await self._next_service() for _ in range(3)]
        except TimeoutError:
            raise StackError(
                f"Azurite did not start within {START_SECONDS} s. Its last output: {self._last_output}"
            ) from None
        self.blob_port = ports[0]
        self._reader = asyncio.create_task(self._read_on())

    async def ended(self) -> str:
        """Wait until the process ends without a call of `stop`; return its last output."""
        await self._process.wait()
        return self._last_output

    async def stop(self) -> None:
        """Stop it with SIGTERM and wait. SIGKILL would lose acknowledged writes of the last seconds."""
        if self._process.returncode is None:
            self._process.terminate()
        await self._process.wait()
        if self._reader:
            await self._reader

    @property
    def _last_output(self) -> str:
        return b" ".join(self._last_lines).decode(errors="replace") or "nothing"

    async def _next_service(self) -> int:
        while line := await self._line():
            if found := _LISTENING.match(line):
                return int(found[2])
        raise StackError(f"Azurite stopped at once. Its last output: {self._last_output}")

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
    """Run Azurite for the block."""
    if not SCRIPT.exists():
        raise StackError("Azurite is not installed. Fix: make setup")
    async with _locked(config.state) as lock:
        for port, variable in (config.queue_port, "AZURITE_QUEUE_PORT"), (config.table_port, "AZURITE_TABLE_PORT"):
            listen(port, variable).close()
        azurite = Azurite(await _start(config, lock))
        try:
            await azurite.ready()
            yield azurite
        finally:
            await azurite.stop()


def listen(port: int, variable: str) -> socket.socket:
    """Listen on a port; raise StackError, which names `variable`, if it is not free."""
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
            *("--require", HERE / "preload.cjs"),
            *("--require", HERE / "staged_blocks.cjs", "--require", HERE / "trees.cjs", SCRIPT),
            *("--location", config.state / "azurite"),
            *("--blobHost", HOST, "--blobPort", "0", "--blobKeepAliveTimeout", str(KEEP_ALIVE_SECONDS)),
            *("--queueHost", HOST, "--queuePort", str(config.queue_port)),
            *("--tableHost", HOST, "--tablePort", str(config.table_port)),
            "--skipApiVersionCheck",  # the SDK uses a newer version than the emulator knows
            "--disableProductStyleUrl",  # the account is always the first segment of the path, as the proxy reads it
            "--disableTelemetry",
            "--silent",  # an access log would contain signatures. Without --loose, Azurite refuses unsupported requests
            env={**os.environ, "AZURITE_ACCOUNTS": ";".join(f"{account}:{config.key}" for account in config.accounts)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            pass_fds=[lock],  # the lock is held until Azurite has ended, too
            start_new_session=True,  # Ctrl-C is for the proxy, which stops Azurite last
        )
    except FileNotFoundError:
        raise StackError("node is not installed. Fix: make setup") from None


def node() -> str:
    """Return the Node.js that `make setup` installed beside this Python; if there is none, the one on PATH."""
    ours = Path(sys.executable).with_name("node")
    return str(ours) if ours.exists() else "node"


@contextlib.asynccontextmanager
async def _locked(state: Path) -> AsyncIterator[int]:
    """Lock the state directory; yield the lock's file descriptor for Azurite to inherit.

    The system releases the lock when both processes have ended, even by `kill -9`. If only the Azurite of a killed stack
    still holds it, that process is already closing (`preload.cjs`), so this waits for it.
    """
    file = _open(state)
    try:
        for _ in range(LEFTOVER_SECONDS * 10):
            if _lock(file):
                break
            if _owner_lives(file):
                raise StackError(f"{state} is in use by another stack. Fix: DEVHOST_STATE=<another directory>")
            await asyncio.sleep(0.1)
        else:
            raise StackError(
                f"{state} is still in use by the Azurite process of a killed stack. Fix: stop that process"
            )
        yield file
    finally:
        os.close(file)


def _open(state: Path) -> int:
    state.mkdir(parents=True, exist_ok=True)
    return os.open(state / "lock", os.O_RDWR | os.O_CREAT, 0o644)


def _lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    os.ftruncate(file, 0)
    os.pwrite(file, str(os.getpid()).encode(), 0)
    return True


def _owner_lives(file: int) -> bool:
    try:
        os.kill(int(os.pread(file, 20, 0)), 0)
    except (ValueError, ProcessLookupError):  # not written yet, or ended
        return False
    return True
