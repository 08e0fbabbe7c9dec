"""The last phase of every job: acting on the lines that the survey found, a turn's worth at a time."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from rules import jobs
from rules.errors import StorageError
from rules.jobs import Job, Result, Tally, Turn
from rules.ports import Ports

Line = dict[str, Any]
# So many lines of one turn are acted on at once: each costs a handful of small requests.
AT_ONCE = 8
# A turn reads so many pages at most: one that holds matches alone has nothing to act on.
MAX_PAGES = 20
# A line that storage fails so often is told as failed, and the others have their turn.
PATIENCE = 3


@dataclass(frozen=True, slots=True)
class Acted:
    """What became of one line."""

    result: Result
    detail: str = ""


async def act(ports: Ports, job: Job, handle: Callable[[Line], Awaitable[Acted]]) -> Turn:
    """One turn. Doing it again is safe, for what it started before runs by then, or has ended well.

    A turn in which storage failed is done again, three times; then its lines are told as failed.
    """
    lines, page, line = await _next(ports, job)
    gate = asyncio.Semaphore(AT_ONCE)
    acted = await asyncio.gather(*(_one(gate, handle, item) for item in lines))
    failed = [found for found in acted if found.result is Result.FAILED]
    if failed and job.faults < PATIENCE:
        return Turn(failure=failed[0].detail)
    if lines:
        await ports.reports.write(jobs.results(job.id, job.turns), list(map(_line, lines, acted)))
    tally = sum((Tally(**{found.result.value: 1}) for found in acted), Tally())
    return Turn(tally, wrote=bool(lines), page=page, line=line)


async def _next(ports: Ports, job: Job) -> tuple[list[Line], int, int]:
    """The lines of this turn, and the page and line where the next one goes on."""
    taken: list[Line] = []
    page, line = job.page, job.line
    for _ in range(MAX_PAGES):
        if page >= job.pages:
            break
        for number, item in enumerate(await ports.reports.read(jobs.found(job.id, page))):
            if number < line or not item.get("id"):
                continue
            if len(taken) == jobs.quota(job):
                return taken, page, number
            taken.append(item)
        page, line = page + 1, 0
    return taken, page, line


async def _one(gate: asyncio.Semaphore, handle: Callable[[Line], Awaitable[Acted]], line: Line) -> Acted:
    async with gate:
        try:
            return await handle(line)
        except StorageError as error:
            return Acted(Result.FAILED, str(error))


def _line(line: Line, acted: Acted) -> Line:
    return {"id": line["id"], "name": line.get("name"), "result": acted.result, "detail": acted.detail}
