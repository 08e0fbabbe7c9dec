"""Helpers of the job phases: report lines, and concurrent work with a time limit."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from ports.services import Ports
from rules.jobs.model import Batch, Job, Tally
from rules.jobs.report import found_page, results_page

Line = dict[str, Any]
T = TypeVar("T")
R = TypeVar("R")
# After this many batches in a row without progress, a line that still fails is reported as failed.
MAX_FAILED_TRIES = 3
# The cursor of a survey whose pages exist already: the next batch reads the next page instead of listing.
RECORDED = "kept"
NO_ROUTE = Batch(failure="no current route has this name", permanent=True)


async def run_in_order(
    ports: Ports,
    concurrency: int,
    items: Sequence[T],
    handle: Callable[[T], Awaitable[R]],
    *,
    stops: Callable[[R], bool],
) -> list[R]:
    """Handle items concurrently and return the results of the first ones, in order: at least one if there are items.

    No further item starts after a result that `stops`, or once the batch has reached its time limit. Items that have started
    are finished.
    """
    results, queue, stopped = dict[int, R](), iter(enumerate(items)), False
    end = ports.monotonic() + ports.times.activity

    async def worker() -> None:
        nonlocal stopped
        while not stopped and (following := next(queue, None)) is not None:
            number, item = following
            results[number] = await handle(item)
            stopped = stopped or stops(results[number]) or ports.monotonic() > end

    workers = [asyncio.ensure_future(worker()) for _ in range(concurrency)]
    try:
        await asyncio.gather(*workers)
    finally:
        for each in workers:  # after an unexpected error, which repeats the batch
            each.cancel()
    return [results[number] for number in sorted(results)]


async def recorded_survey(ports: Ports, job: Job) -> Batch | None:
    """Return the batch that the next page of findings records, if the job has already acted; else None.

    The host may resume a job at its survey although it has acted. Another survey would replace the lines that its results
    refer to.
    """
    if job.dry_run or not await ports.reports.read(results_page(job.id, 0)):
        return None
    lines, following = [await ports.reports.read(found_page(job.id, job.pages + number)) for number in range(2)]
    return Batch(_tally(lines), wrote=bool(lines), cursor=RECORDED if following else None)


async def write_found(ports: Ports, job: Job, lines: list[Line], cursor: str | None, hint: str | None = None) -> Batch:
    """Write the next page of what the survey found, unless it is empty."""
    if lines:
        await ports.reports.write(found_page(job.id, job.pages), lines)
    return Batch(_tally(lines), wrote=bool(lines), cursor=cursor, hint=hint)


def _tally(lines: list[Line]) -> Tally:
    """Counts by class; `found` and `bytes` count the lines to act on, which are those with an `id`."""
    todo = [line for line in lines if line.get("id")]
    tally = Tally(found=len(todo), bytes=sum(line["size"] or 0 for line in todo))
    return sum((Tally(**{str(line["class"]): 1}) for line in lines if "class" in line), tally)
