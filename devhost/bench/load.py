"""One load on a stack of its own: put blobs all at once, wait until each transfer has ended, read every gauge."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from azure.storage.blob import BlobBlock
from azure.storage.blob.aio import BlobServiceClient, ContainerClient

from devhost.bench.gauges import Hub, Metered, Processes, per_blob
from devhost.bench.result import Latency, Result
from devhost.stack import LocalStack, StackFailed
from devhost.storage.client import StorageControl
from devhost.storage.testing import free_ports

KIB, MIB, GIB = 1024, 1024**2, 1024**3
SMALL = KIB
BLOCK = 64 * MIB
AT_ONCE = 16
LOOK_SECONDS = 0.25
# The longest that nothing may end: the largest copy takes a hundredth of a second for each MiB.
PATIENCE = 180.0
WARM_UP = "first"
# What a person has exported is for their own stack; but how fast the large blob is copied may be told.
OURS = ("AZURITE_", "DEVHOST_", "AzureWebJobs", "EVENTS", "HOST", "ROUTES", "WINDOW_SECONDS")
TOLD = ("DEVHOST_COPY_RATE", "DEVHOST_COPY_SECONDS")


@dataclass(frozen=True, slots=True)
class Load:
    """So many blobs of so many bytes."""

    count: int
    size: int

    @property
    def label(self) -> str:
        """What it is, for a person."""
        size = f"{self.size // GIB} GiB" if self.size >= GIB else f"{self.size // KIB} KiB"
        return f"{self.count:,} x {size}"

    @property
    def names(self) -> list[str]:
        """The blobs' names."""
        return [f"blob-{number:06d}" for number in range(self.count)]


Progress = Callable[[int, int], None]
"""Told again and again how many blobs were put, and how many transfers have ended."""


def run(load: Load, state: Path, log: IO[str], progress: Progress) -> Result:
    """Start a stack in `state`, put the load on it, stop it.

    Raises:
        StackFailed: it did not start, or for a long time no transfer ended.
    """
    began = time.monotonic()
    with LocalStack(environment(state), output=log) as stack:
        return measure(load, stack, progress, time.monotonic() - began)


def measure(load: Load, stack: LocalStack, progress: Progress, start_seconds: float = 0.0) -> Result:
    """Put the load on a fresh stack that runs.

    Raises:
        StackFailed: for a long time no transfer ended.
    """
    return asyncio.run(_Bench(load, stack, progress).measure(start_seconds))


def environment(state: Path) -> dict[str, str]:
    """What a stack of its own is told: free ports, a folder, and the times of Azure."""
    host, blob, queue, table = map(str, free_ports(4))
    return {
        **{name: value for name, value in os.environ.items() if name in TOLD or not name.startswith(OURS)},
        "HOST_PORT": host,
        "AZURITE_BLOB_PORT": blob,
        "AZURITE_QUEUE_PORT": queue,
        "AZURITE_TABLE_PORT": table,
        "DEVHOST_STATE": str(state),
        # As on Azure: the stack's own window of a second would make a busy machine look again.
        "WINDOW_SECONDS": "15",
    }


class _Bench:
    """A load on a running stack."""

    def __init__(self, load: Load, stack: LocalStack, progress: Progress) -> None:
        self.load, self.stack, self.progress = load, stack, progress
        self.control = StorageControl(stack.blob_port)
        self.processes = Processes.of(stack)
        self.hub = Hub(stack.state)
        self.acknowledged: dict[str, float] = {}

    async def measure(self, start_seconds: float) -> Result:
        """Everything about this load. One blob goes before, so that connections and late imports are not in it."""
        async with self._container() as container:
            await self._share(self._put(container, WARM_UP, SMALL), 1)
            [first] = self.hub.transfers()
            self.control.forget_requests()
            cpu, steps, metered, began = self.processes.cpu(), self.hub.steps(), Metered.of(self.stack), time.time()
            await self._share(self._put_all(container), 1 + self.load.count)
            used = self.processes.cpu() - cpu
            metered = Metered.of(self.stack).since(metered, self.load.count)
        transfers = [transfer for transfer in self.hub.transfers() if transfer.name != WARM_UP]
        ended = {transfer.name: transfer.ended for transfer in transfers}
        requests, others = per_blob(self.control.requests(internal=False), transfers)
        return Result(
            load=self.load.label,
            blobs=self.load.count,
            bytes_each=self.load.size,
            unverified=sum(transfer.state != "verified" for transfer in transfers),
            seconds=max(ended.values()) - began,
            put_seconds=max(self.acknowledged[name] for name in self.load.names) - began,
            latency=Latency.of([ended[name] - self.acknowledged[name] for name in self.load.names]),
            requests=requests,
            other_requests=others,
            activities=(self.hub.steps() - steps).activities / self.load.count,
            timers=(self.hub.steps() - steps).timers / self.load.count,
            history_rows=sorted({transfer.rows for transfer in transfers}),
            cpu_seconds=used.each(self.load.count),
            peak_mib=self.processes.peak_mib(),
            start_seconds=start_seconds,
            first_seconds=first.ended - self.acknowledged[WARM_UP],
            executions=metered.executions,
            active_seconds=metered.active_seconds,
        )

    @contextlib.asynccontextmanager
    async def _container(self) -> AsyncIterator[ContainerClient]:
        async with BlobServiceClient.from_connection_string(self.stack.connection_string("sharingsource")) as account:
            yield account.get_container_client("source")

    async def _put_all(self, container: ContainerClient) -> None:
        waiting = iter(self.load.names)

        async def one_after_another() -> None:
            for name in waiting:
                await self._put(container, name, self.load.size)

        await asyncio.gather(*(one_after_another() for _ in range(AT_ONCE)))

    async def _put(self, container: ContainerClient, name: str, size: int) -> None:
        """A large blob is one block of zeros, over and over: nothing about the bytes matters here but their number."""
        blob = container.get_blob_client(name)
        if size <= BLOCK:
            await blob.upload_blob(bytes(size), overwrite=True)
        else:
            await blob.stage_block("zeros", bytes(BLOCK), length=BLOCK)
            await blob.commit_block_list([BlobBlock("zeros")] * (size // BLOCK))
        self.acknowledged[name] = time.time()

    async def _share(self, putting: Coroutine[None, None, None], wanted: int) -> None:
        """Put, and wait until so many transfers have ended; as long as there is one now and then."""
        put = asyncio.create_task(putting)
        seen, moved = -1, time.monotonic()
        while seen < wanted or not put.done():
            await asyncio.sleep(LOOK_SECONDS)
            if put.done():
                put.result()
            if gone := self.stack.ended():
                raise StackFailed(f"{gone} stopped unexpectedly; see its output above")
            before, seen = seen, self.hub.ended()
            moved = time.monotonic() if seen != before else moved
            if time.monotonic() - moved > PATIENCE:
                raise StackFailed(f"no transfer ended within {PATIENCE:.0f} s; {seen} of {wanted} have ended")
            self.progress(len(self.acknowledged), seen)
