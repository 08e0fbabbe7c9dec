"""The last phase of every job: acting on the lines that the survey found, a turn's worth at a time."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from rules import jobs
from rules.errors import Permanent, Reason, StorageError
from rules.jobs import Job, Result, Tally, Turn
from rules.ports import Ports

Line = dict[str, Any]
# So many lines of one turn are acted on at once: each costs a handful of small requests.
AT_ONCE = 8
# A turn reads so many pages at most: one that holds matches alone has nothing to act on.
MAX_PAGES = 20
# A line that storage fails so often is told as failed, and the others have their turn.
PATIENCE = 3
# Request timeouts that one turn may last: the host ends a function that lasts too long, and its worker's others with it.
TIMEOUTS = 3


@dataclass(frozen=True, slots=True)
class Acted:
    """What became of one line."""

    result: Result
    detail: str = ""


Handle = Callable[[Line], Awaitable[Acted]]
UNTRIED = Acted(Result.FAILED, "not tried: storage failed, or took too long, for the lines before it")


async def act(ports: Ports, job: Job, handle: Handle) -> Turn:
    """One turn. Doing it again is safe: what its page of results tells is done, and what else it started runs or has ended.

    A turn in which storage failed is done again, three times, for the lines that are left; then these are told as failed.

    Raises:
        Failure: storage would not give its report, or take one; Permanent where a page of it was deleted meanwhile.
    """
    lines, page, line = await _next(ports, job)
    if not lines:
        return Turn(page=page, line=line)
    name, patient = jobs.results(job.id, job.turns), job.faults < PATIENCE
    acted = await _each(ports, handle, lines, await _told(ports, name), patient=patient)
    await ports.reports.write(name, list(map(_line, lines, acted)))
    failed = [found for found in acted if found.result is Result.FAILED]
    if failed and patient:
        return Turn(failure=failed[0].detail)
    tally = sum((Tally(**{found.result.value: 1}) for found in acted), Tally())
    return Turn(tally, wrote=True, page=page, line=line)


async def _next(ports: Ports, job: Job) -> tuple[list[Line], int, int]:
    """The lines of this turn, and the page and line where the next one goes on."""
    taken: list[Line] = []
    page, line = job.page, job.line
    for _ in range(MAX_PAGES):
        if page >= job.pages or len(taken) == jobs.quota(job):
            break
        for number, item in enumerate(await _found(ports, job, page)):
            if number < line or not item.get("id"):
                continue
            if len(taken) == jobs.quota(job):
                return taken, page, number
            taken.append(item)
        page, line = page + 1, 0
    return taken, page, line


async def _found(ports: Ports, job: Job, page: int) -> list[Line]:
    lines = await ports.reports.read(jobs.found(job.id, page))
    if not lines:
        # None is written empty: the container's own rule has deleted it, and to go on would be to say that all was done.
        raise Permanent(Reason.INTERNAL, "reports.read", f"page {page} of the report is gone: ask for the job again")
    return lines


async def _told(ports: Ports, name: str) -> dict[str, Acted]:
    """What the page of results has already, if this turn was done before: all but what failed."""
    told = {line["id"]: Acted(Result(line["result"]), line["detail"]) for line in await ports.reports.read(name)}
    return {identity: acted for identity, acted in told.items() if acted.result is not Result.FAILED}


async def _each(
    ports: Ports, handle: Handle, lines: list[Line], told: dict[str, Acted], *, patient: bool
) -> list[Acted]:
    """What became of each line. Who is patient begins no other line once one has failed: they all have another turn."""
    gate, troubled = asyncio.Semaphore(AT_ONCE), False
    end = ports.monotonic() + TIMEOUTS * ports.times.timeout

    async def one(line: Line) -> Acted:
        nonlocal troubled
        async with gate:
            if (acted := told.get(line["id"])) is not None:
                return acted
            if (patient and troubled) or ports.monotonic() > end:
                return UNTRIED
            try:
                return await handle(line)
            except StorageError as error:
                troubled = True
                return Acted(Result.FAILED, str(error))

    return list(await asyncio.gather(*(one(line) for line in lines)))


def _line(line: Line, acted: Acted) -> Line:
    return {"id": line["id"], "name": line.get("name"), "result": acted.result, "detail": acted.detail}
