"""One run of a timer: bounded in time, and robust against the failure of single items."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, TypeVar

from operations.log import log
from ports.orchestrations import Instances
from ports.services import Ports
from rules.errors import Failure
from rules.orchestrations.instance import Instance

T = TypeVar("T")
PAGE_SIZE = 100
# This many failures are probably not caused by single items: the run stops, and the next one tries again.
MAX_FAILURES = 10


class TimerRun:
    """A run of the timer `name`. `done` counts successes. `with run:` encloses one item: its failure is logged and kept.

    The run is over after `seconds`, after `max_done` successes, or after 10 failures.
    """

    def __init__(self, ports: Ports, name: str, *, seconds: float, max_done: int = 1_000_000) -> None:
        self.name = name
        self.done = 0
        self._ports = ports
        self._max_done = max_done
        self._end = ports.monotonic() + seconds
        self._failures: list[Exception] = []

    @property
    def over(self) -> bool:
        """Whether no further item may begin."""
        return (
            self._ports.monotonic() >= self._end or self.done >= self._max_done or len(self._failures) >= MAX_FAILURES
        )

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> bool:
        if not isinstance(error, Exception):
            return False
        self._failures.append(error)
        # A Failure holds no secret. The text of any other error may hold anything.
        text = str(error) if isinstance(error, Failure) else type(error).__name__
        log("timer.failed", "the next run tries again", level=logging.WARNING, timer=self.name, error=text)
        return True

    def finish(self) -> None:
        """Raise the first failure, so that the host records the run as failed."""
        if self._failures:
            raise self._failures[0]

    async def for_each(self, items: Sequence[T], do: Callable[[T], Awaitable[None]], concurrency: int) -> None:
        """Call `do` for each item, up to `concurrency` at a time, until the run is over."""
        remaining = list(items)
        while remaining and not self.over:
            count = min(concurrency, self._max_done - self.done)
            await asyncio.gather(*(self._do_one(item, do) for item in remaining[:count]))
            remaining = remaining[count:]

    async def _do_one(self, item: T, do: Callable[[T], Awaitable[None]]) -> None:
        with self:
            await do(item)

    async def pages(self, instances: Instances, prefix: str, **query: Any) -> AsyncIterator[list[Instance]]:
        """Yield pages of instances from where the previous run stopped; after the last page, the next run starts over.

        So every instance is reached, even if one run cannot list them all. The position is stored as a report. If it is
        lost or no longer valid, the list starts over.
        """
        query["prefix"] = prefix
        report = f"timers/{self.name}-{prefix}continuation.jsonl"
        stored = await self._read_continuation(report)
        page, continuation = await _first_page(instances, stored, query)
        yield page
        while continuation and not self.over:
            page, continuation = await instances.page(limit=PAGE_SIZE, continuation=continuation, **query)
            yield page
        if continuation != stored:
            with suppress(Failure):
                await self._ports.reports.write(report, [{"continuation": continuation}])

    async def _read_continuation(self, report: str) -> str | None:
        with suppress(Failure):
            for line in await self._ports.reports.read(report):
                return str(line.get("continuation") or "") or None
        return None


async def _first_page(
    instances: Instances, stored: str | None, query: dict[str, Any]
) -> tuple[list[Instance], str | None]:
    if stored is not None:
        with suppress(ValueError, Failure):
            return await instances.page(limit=PAGE_SIZE, continuation=stored, **query)
    return await instances.page(limit=PAGE_SIZE, **query)
