"""The last phase of every job: act on the lines that the survey found, a batch at a time."""

from collections.abc import Awaitable, Callable, Iterable

from activities.jobs.batch import MAX_FAILED_TRIES, Line, run_in_order
from activities.jobs.lines import LineResult
from ports.services import Ports
from rules.errors import UNREADABLE, Permanent, Reason, StorageError
from rules.jobs import lifecycle
from rules.jobs.model import Batch, Job, Result, Tally
from rules.jobs.report import found_page, results_page

# The lines of one batch that are handled concurrently. Each costs a few small requests.
CONCURRENCY = 8
# The most pages that one batch reads. Without a limit it would read every page of a survey that found only matches.
MAX_PAGES = 20

Handler = Callable[[Line], Awaitable[LineResult]]


async def act(ports: Ports, job: Job, handle: Handler) -> Batch:
    """Do one batch. Its page of results is its durable record: once written, the batch covers exactly the lines in it.

    Repeating a batch is safe. If its page exists, only the lines that failed are tried again. If not, the lines of a lost try
    are handled again: the transfers that it started are running or have ended. A batch that is slow, or in which a line fails,
    ends after the last line that it tried. A batch with a failed line is repeated until `MAX_FAILED_TRIES` batches in a row
    made no progress; then the line is reported as failed.

    Raises:
        Failure: a page of the report could not be read or written; Permanent if one was deleted or replaced.
    """
    name = results_page(job.id, job.batches)
    page = await ports.reports.read(name)
    lines, next_page, next_line = await _next_lines(ports, job, len(page) or lifecycle.quota(job))
    if not lines:
        return Batch(page=next_page, line=next_line)
    if [line["id"] for line in page] != [line["id"] for line in lines[: len(page)]]:
        # Continuing would leave lines out, or act on some twice.
        raise Permanent(
            Reason.INTERNAL, "reports.read", f"{name} does not match what the survey found; start the job again"
        )
    recorded = {number: LineResult(Result(line["result"]), line["detail"]) for number, line in enumerate(page)}
    todo = [number for number in range(len(lines)) if number not in recorded or recorded[number].failed]
    retry = not recorded or job.failures < MAX_FAILED_TRIES
    handled = await _handle(ports, handle, [lines[number] for number in todo], stop_at_failure=retry)
    by_number = dict(zip(todo, handled, strict=False))
    results = list((recorded | by_number).values())
    if handled:
        await ports.reports.write(name, list(map(_result_line, lines, results)), new=not page)
    failed = [result for result in results if result.failed]
    if failed and retry:
        return Batch(failure=failed[0].detail, moved=not all(result.failed for result in handled))
    if len(results) < len(lines):
        _, next_page, next_line = await _next_lines(ports, job, len(results))
    before = _tally(recorded.values()).acted
    return Batch(_tally(results), wrote=True, page=next_page, line=next_line, before=before)


async def _next_lines(ports: Ports, job: Job, count: int) -> tuple[list[Line], int, int]:
    """Read up to `count` lines from the job's position on. Return them, and the page and line of the position after them.

    The same position and count give the same lines, so that a repeated batch ends where it ended before.
    """
    lines: list[Line] = []
    page, start = job.page, job.line
    for _ in range(MAX_PAGES):
        if page >= job.pages:
            break
        for number, line in enumerate(await _read_found(ports, job, page)):
            if number < start or not line.get("id"):
                continue
            if len(lines) == count:
                return lines, page, number
            lines.append(line)
        page, start = page + 1, 0
    return lines, page, start


async def _read_found(ports: Ports, job: Job, page: int) -> list[Line]:
    lines = await ports.reports.read(found_page(job.id, page))
    if not lines:
        # No empty page is ever written, so the container's lifecycle rule has deleted it. To continue would skip its lines.
        raise Permanent(Reason.INTERNAL, "reports.read", f"page {page} of the report was deleted; start the job again")
    return lines


async def _handle(ports: Ports, handle: Handler, lines: list[Line], *, stop_at_failure: bool) -> list[LineResult]:
    """The results of the first lines, in order. With `stop_at_failure`, no further line starts after a failure."""

    async def result_of(line: Line) -> LineResult:
        try:
            return await handle(line)
        except StorageError as error:
            return LineResult(Result.FAILED, str(error))
        except UNREADABLE as error:  # its text may contain a secret
            detail = f"{Reason.INTERNAL}: the app cannot process this line ({type(error).__name__})"
            return LineResult(Result.FAILED, detail)

    return await run_in_order(
        ports, CONCURRENCY, lines, result_of, stops=lambda result: stop_at_failure and result.failed
    )


def _tally(results: Iterable[LineResult]) -> Tally:
    return sum((Tally(**{result.result.value: 1}) for result in results), Tally())


def _result_line(line: Line, result: LineResult) -> Line:
    return {"id": line["id"], "name": line.get("name"), "result": result.result, "detail": result.detail}
