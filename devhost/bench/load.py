"""One load on its own stack: put all blobs at once, wait until each transfer has ended, read the metrics."""

import asyncio
import os
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import aiohttp
from azure.storage.blob import BlobBlock
from azure.storage.blob.aio import BlobServiceClient, ContainerClient

from devhost.bench.metrics import Hub, Usage, peak_mib, per_blob
from devhost.bench.result import Latency, Result
from devhost.stack import LocalStack
from devhost.storage.client import StorageControl
from devhost.storage.config import StackError
from devhost.storage.testing import free_ports

KIB, MIB, GIB = 1024, 1024**2, 1024**3
UNITS = ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB"))
SMALL = KIB
BLOCK = 64 * MIB
AT_ONCE = 16
POLL_SECONDS = 0.25
# The API's figures may be five seconds old.
FIGURES_TRIES = 120
# The load fails if no transfer ends for so long. The largest copy takes a hundredth of a second for each MiB.
STALL_SECONDS = 180.0
WARM_UP = "first"
# The user exports these variables for another stack. Here only those in KEPT apply.
IGNORED = ("AZURITE_", "DEVHOST_", "AzureWebJobs", "EVENTS", "HOST", "ROUTES", "WINDOW_SECONDS")
KEPT = ("DEVHOST_COPY_RATE", "DEVHOST_COPY_SECONDS")
Progress = Callable[[int, int], None]
"""Called repeatedly with the number of blobs put and of transfers ended."""


@dataclass(frozen=True, slots=True)
class Load:
    """A number of blobs and their size in bytes."""

    count: int
    size: int

    @property
    def label(self) -> str:
        """A name such as `1,000 x 1 KiB`."""
        size = next(f"{self.size // unit} {name}" for unit, name in UNITS if self.size >= unit)
        return f"{self.count:,} x {size}"

    @property
    def names(self) -> list[str]:
        """The names of the blobs."""
        return [f"blob-{number:06d}" for number in range(self.count)]


def check_host() -> None:
    """Raise StackError if HOST selects another host than the stand-in, because only the stand-in's store has the counts."""
    if os.environ.get("HOST"):
        raise StackError("the counts come from the stand-in's store. Fix: unset HOST")


def run(load: Load, state: Path, log: IO[str], progress: Progress) -> Result:
    """Start a stack in `state`, measure the load and stop the stack. Raises StackError if the stack fails."""
    began = time.monotonic()
    with LocalStack(environment(state), output=log) as stack:
        return measure(load, stack, progress, time.monotonic() - began)


def measure(load: Load, stack: LocalStack, progress: Progress, start_seconds: float = 0.0) -> Result:
    """Measure the load on a fresh, running stack; raises StackError if no transfer ends for a long time."""
    return asyncio.run(_Bench(load, stack, progress).measure(start_seconds))


def environment(state: Path) -> dict[str, str]:
    """Return the variables of a separate stack: free ports, its folder, and the window of Azure."""
    host, blob, queue, table = map(str, free_ports(4))
    return {
        **{name: value for name, value in os.environ.items() if name in KEPT or not name.startswith(IGNORED)},
        "HOST_PORT": host,
        "AZURITE_BLOB_PORT": blob,
        "AZURITE_QUEUE_PORT": queue,
        "AZURITE_TABLE_PORT": table,
        "DEVHOST_STATE": str(state),
        # With the local stack's window of one second, a busy machine would need a second look, and the counts would differ.
        "WINDOW_SECONDS": "15",
    }


class _Bench:
    def __init__(self, load: Load, stack: LocalStack, progress: Progress) -> None:
        self.load, self.stack, self.progress = load, stack, progress
        self.control, self.hub = StorageControl(stack.blob_port), Hub(stack.state)
        self.acknowledged: dict[str, float] = {}

    async def measure(self, start_seconds: float) -> Result:
        """Measure. One blob is put first, so that connections and late imports are not part of the result."""
        count = self.load.count
        async with BlobServiceClient.from_connection_string(self.stack.connection_string("sharingsource")) as account:
            container = account.get_container_client("source")
            await self._share(self._put(container, WARM_UP, SMALL), 1)
            [first] = self.hub.transfers()
            self.control.forget_requests()
            before, began = Usage.of(self.stack), time.time()
            await self._share(self._put_all(container), 1 + count)
            used = Usage.of(self.stack).since(before, count)
        transfers = [transfer for transfer in self.hub.transfers() if transfer.name != WARM_UP]
        ended = {transfer.name: transfer.ended for transfer in transfers}
        requests, others = per_blob(self.control.requests(internal=False), transfers)
        peak = peak_mib(self.stack)
        return Result(
            load=self.load.label,
            blobs=count,
            bytes_each=self.load.size,
            unverified=sum(transfer.state != "verified" for transfer in transfers),
            seconds=max(ended.values()) - began,
            put_seconds=max(self.acknowledged[name] for name in self.load.names) - began,
            latency=Latency.of([ended[name] - self.acknowledged[name] for name in self.load.names]),
            reported=await self._read_latency(),
            requests=requests,
            other_requests=others,
            activities=used.scheduled["activities"],
            timers=used.scheduled["timers"],
            history_rows=sorted({transfer.rows for transfer in transfers}),
            cpu_seconds=used.cpu,
            peak_mib=peak,
            start_seconds=start_seconds,
            first_seconds=first.ended - self.acknowledged[WARM_UP],
            executions=used.executions,
            active_seconds=used.active_seconds,
        )

    async def _read_latency(self) -> Latency:
        """Run the timer of the figures, and return what the app then says of the last hour."""
        async with aiohttp.ClientSession(raise_for_status=True) as session:
            timer = f"http://127.0.0.1:{self.stack.host_port}/admin/functions/figures"
            for _ in range(FIGURES_TRIES):
                async with session.post(timer, json={"input": ""}):
                    await asyncio.sleep(POLL_SECONDS)
                async with session.get(f"{self.stack.api}/routes") as answer:
                    (figures,) = (await answer.json())["routes"]
                if figures["today"]["verified"] + figures["today"]["dead_lettered"] > self.load.count:
                    hour = figures["latency"]["hour"]
                    return Latency(hour["p50"], hour["p95"], hour["p99"])
        raise StackError("the figures of GET /api/routes lack a transfer")

    async def _put_all(self, container: ContainerClient) -> None:
        waiting = iter(self.load.names)

        async def one_after_another() -> None:
            for name in waiting:
                await self._put(container, name, self.load.size)

        await asyncio.gather(*(one_after_another() for _ in range(AT_ONCE)))

    async def _put(self, container: ContainerClient, name: str, size: int) -> None:
        """Put zeros; a large blob repeats one block."""
        blob = container.get_blob_client(name)
        if size <= BLOCK:
            await blob.upload_blob(bytes(size), overwrite=True)
        else:
            await blob.stage_block("zeros", bytes(BLOCK), length=BLOCK)
            await blob.commit_block_list([BlobBlock("zeros")] * (size // BLOCK))
        self.acknowledged[name] = time.time()

    async def _share(self, putting: Coroutine[None, None, None], wanted: int) -> None:
        """Put, and wait until `wanted` transfers have ended."""
        put = asyncio.create_task(putting)
        seen, moved = -1, time.monotonic()
        while seen < wanted or not put.done():
            await asyncio.sleep(POLL_SECONDS)
            if put.done():
                put.result()
            if gone := self.stack.ended():
                raise StackError(f"{gone} stopped unexpectedly; see its output above")
            before, seen = seen, self.hub.ended()
            moved = time.monotonic() if seen != before else moved
            if time.monotonic() - moved > STALL_SECONDS:
                raise StackError(f"no transfer ended within {STALL_SECONDS:.0f} s; {seen} of {wanted} have ended")
            self.progress(len(self.acknowledged), seen)
