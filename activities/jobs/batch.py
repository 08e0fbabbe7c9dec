"""What the batches of a job share: lines of the report, and work with a bound on its time."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from ports.services import Ports
from rules.jobs.model import Batch, Job, Tally
from rules.jobs.report import found_page, results_page

Line = dict[str, Any]
T = TypeVar("T")
R = TypeVar("R")
# A line that storage fails is tried again by so many batches that get nowhere; then it is reported as failed.
MAX_FAILED_TRIES = 3
# Request timeouts that one batch may last: the host ends a function that lasts too long, and its worker's others with it.
TIMEOUTS = 3
# Where a survey goes on whose pages are there already: no list is asked.
KEPT = "kept"
NO_ROUTE = Batch(failure="no current route has this name", permanent=True)


async def in_order(
    ports: Ports, count: int, items: Sequence[T], one: Callable[[T], Awaitable[R]], *, stops: Callable[[R], bool]
) -> list[R]:
    """What came of the first items, so many at once, in their order; of one at least, if there is any.

    None begins after one that `stops` the rest, or once a batch has lasted long enough; those that began come to their end.
    """
    results, queue, stopped = dict[int, R](), iter(enumerate(items)), False
    end = ports.monotonic() + TIMEOUTS * ports.times.timeout

    async def worker() -> None:
        nonlocal stopped
        while not stopped and (following := next(queue, None)) is not None:
            number, item = following
            results[number] = await one(item)
            stopped = stopped or stops(results[number]) or ports.monotonic() > end

    workers = [asyncio.ensure_future(worker()) for _ in range(count)]
    try:
        await asyncio.gather(*workers)
    finally:
        for each in workers:  # an error that was not foreseen: the batch is done again
            each.cancel()
    return [results[number] for number in sorted(results)]


async def surveyed(ports: Ports, job: Job) -> Batch | None:
    """A batch of the survey as it was before, if the job has acted already; else None.

    A job that is resumed may be back in its survey. What its pages of results are about must then stay as it is.
    """
    if job.dry_run or not await ports.reports.read(results_page(job.id, 0)):
        return None
    lines, following = [await ports.reports.read(found_page(job.id, job.pages + number)) for number in range(2)]
    return Batch(counted(lines), wrote=bool(lines), cursor=KEPT if following else None)


def counted(lines: list[Line]) -> Tally:
    """What a page of a survey adds to the job: a line with an `id` is one to act on."""
    todo = [line for line in lines if line.get("id")]
    tally = Tally(found=len(todo), bytes=sum(line["size"] or 0 for line in todo))
    return sum((Tally(**{str(line["class"]): 1}) for line in lines if "class" in line), tally)
