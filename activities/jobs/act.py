"""The last phase of every job: acting on the lines that the survey found, a batch's worth at a time."""

from collections.abc import Awaitable, Callable, Iterable

from activities.jobs.batch import MAX_FAILED_TRIES, Line, in_order
from activities.jobs.lines import Acted
from ports.services import Ports
from rules.errors import UNREADABLE, Permanent, Reason, StorageError
from rules.jobs import lifecycle
from rules.jobs.model import Batch, Job, Result, Tally
from rules.jobs.report import found_page, results_page

# So many lines of one batch are acted on at once: each costs a handful of small requests.
AT_ONCE = 8
# A batch reads so many pages at most: one that holds matches alone has nothing to act on.
MAX_PAGES = 20


Handle = Callable[[Line], Awaitable[Acted]]


async def act(ports: Ports, job: Job, handle: Handle) -> Batch:
    """One batch. Its page of results is its durable record: once it is written, the batch covers exactly the lines in it.

    Doing a batch again is safe. With a page, only the lines that failed are tried again. Without one, the lines that a lost
    try started run or have ended. A batch that is slow, or that storage fails, ends after the last line that it tried. While a
    line fails the batch is done again, until three tries in a row got nowhere; then the line is reported as failed.

    Raises:
        Failure: storage would not give its report, or take one; Permanent where a page of it was deleted or replaced.
    """
    name = results_page(job.id, job.batches)
    page = await ports.reports.read(name)
    lines, *place = await _next(ports, job, len(page) or lifecycle.quota(job))
    if not lines:
        return Batch(page=place[0], line=place[1])
    if [line["id"] for line in page] != [line["id"] for line in lines[: len(page)]]:
        # To go on would leave lines out, or act on some twice.
        raise Permanent(
            Reason.INTERNAL, "reports.read", f"{name} does not match what the survey found; start the job again"
        )
    known = {number: Acted(Result(line["result"]), line["detail"]) for number, line in enumerate(page)}
    todo = [number for number in range(len(lines)) if number not in known or known[number].failed]
    patient = not known or job.failures < MAX_FAILED_TRIES
    found = await _tried(ports, handle, [lines[number] for number in todo], patient=patient)
    tried = dict(zip(todo, found, strict=False))
    acted = list((known | tried).values())
    if tried:
        await ports.reports.write(name, list(map(_line, lines, acted)), new=not page)
    failed = [one for one in acted if one.failed]
    if failed and patient:
        return Batch(failure=failed[0].detail, moved=not all(one.failed for one in found))
    if len(acted) < len(lines):
        _, *place = await _next(ports, job, len(acted))
    return Batch(_tally(acted), wrote=True, page=place[0], line=place[1], before=_tally(known.values()).acted)


async def _next(ports: Ports, job: Job, count: int) -> tuple[list[Line], int, int]:
    """So many lines of the job from its place on, and the page and line where the next ones begin.

    The same for the same place and count: a batch that is done again ends where it ended before.
    """
    taken: list[Line] = []
    page, line = job.page, job.line
    for _ in range(MAX_PAGES):
        if page >= job.pages:
            break
        for number, item in enumerate(await _found(ports, job, page)):
            if number < line or not item.get("id"):
                continue
            if len(taken) == count:
                return taken, page, number
            taken.append(item)
        page, line = page + 1, 0
    return taken, page, line


async def _found(ports: Ports, job: Job, page: int) -> list[Line]:
    lines = await ports.reports.read(found_page(job.id, page))
    if not lines:
        # None is written empty: the container's own rule has deleted it, and to go on would be to say that all was done.
        raise Permanent(Reason.INTERNAL, "reports.read", f"page {page} of the report was deleted; start the job again")
    return lines


async def _tried(ports: Ports, handle: Handle, lines: list[Line], *, patient: bool) -> list[Acted]:
    """What became of the first lines. A patient batch begins no other line once one has failed: they have their own turn."""

    async def one(line: Line) -> Acted:
        try:
            return await handle(line)
        except StorageError as error:
            return Acted(Result.FAILED, str(error))
        except UNREADABLE as error:  # its text may hold anything
            return Acted(Result.FAILED, f"{Reason.INTERNAL}: the app cannot process this line ({type(error).__name__})")

    return await in_order(ports, AT_ONCE, lines, one, stops=lambda acted: patient and acted.failed)


def _tally(acted: Iterable[Acted]) -> Tally:
    return sum((Tally(**{one.result.value: 1}) for one in acted), Tally())


def _line(line: Line, acted: Acted) -> Line:
    return {"id": line["id"], "name": line.get("name"), "result": acted.result, "detail": acted.detail}
