"""One round of a timer: it has an end, and what fails does not keep the rest from being done."""

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
PAGE = 100
# After so many it is no single thing that is bad, and the next round may have more luck.
MAX_FAILURES = 10


class TimerRun:
    """A round of the timer `name`. `with run:` is one thing that may fail; `done` counts what was done.

    It is over after so many seconds, after `most` things done, or after 10 that failed.
    """

    def __init__(self, ports: Ports, name: str, *, seconds: float, most: int = 1_000_000) -> None:
        self.name = name
        self.done = 0
        self._ports = ports
        self._most = most
        self._end = ports.monotonic() + seconds
        self._failures: list[Exception] = []

    @property
    def over(self) -> bool:
        """Whether nothing more is to be begun."""
        return self._ports.monotonic() >= self._end or self.done >= self._most or len(self._failures) >= MAX_FAILURES

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> bool:
        if not isinstance(error, Exception):
            return False
        self._failures.append(error)
        # Our own errors hold no secret; the text of another may hold anything.
        said = str(error) if isinstance(error, Failure) else type(error).__name__
        log("timer.failed", "the next run tries again", level=logging.WARNING, timer=self.name, error=said)
        return True

    def finish(self) -> None:
        """Raise the first failure, so that the host shows the round as failed."""
        for error in self._failures:
            raise error

    async def each(self, items: Sequence[T], do: Callable[[T], Awaitable[None]], at_once: int) -> None:
        """Do something with each item, a few at once, until the round is over."""
        left = list(items)
        while left and not self.over:
            count = min(at_once, self._most - self.done)
            await asyncio.gather(*(self._one(item, do) for item in left[:count]))
            left = left[count:]

    async def _one(self, item: T, do: Callable[[T], Awaitable[None]]) -> None:
        with self:
            await do(item)

    async def pages(self, instances: Instances, prefix: str, **query: Any) -> AsyncIterator[list[Instance]]:
        """The pages of a list of instances, from where the round before was over; after the end, from the beginning.

        So none is kept waiting by those before it, however many there are. Where to go on is kept in a report: if that is
        lost, or no longer understood, it is the beginning again.
        """
        query["prefix"] = prefix
        place = f"timers/{self.name}-{prefix}continuation.jsonl"
        kept = await self._kept(place)
        page, continuation = await _first(instances, kept, query)
        yield page
        while continuation and not self.over:
            page, continuation = await instances.page(limit=PAGE, continuation=continuation, **query)
            yield page
        if continuation != kept:
            with suppress(Failure):
                await self._ports.reports.write(place, [{"continuation": continuation}])

    async def _kept(self, place: str) -> str | None:
        with suppress(Failure):
            for line in await self._ports.reports.read(place):
                return str(line.get("continuation") or "") or None
        return None


async def _first(instances: Instances, kept: str | None, query: dict[str, Any]) -> tuple[list[Instance], str | None]:
    if kept is not None:
        with suppress(ValueError, Failure):
            return await instances.page(limit=PAGE, continuation=kept, **query)
    return await instances.page(limit=PAGE, **query)
