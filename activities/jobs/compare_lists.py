"""Compares a page of one side's list with the other side's list, blob by blob.

The result does not depend on the order of the lists: a blob that the other list has not shown is read with a HEAD. Where both
lists are in the same order, as on accounts of the same kind, a match costs no extra request.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from activities.jobs.batch import MAX_FAILED_TRIES, Line, run_in_order
from ports.services import Ports
from rules.errors import UNREADABLE, Permanent, Reason, StorageError
from rules.jobs.model import Finding, Job
from rules.jobs.report import PAGE
from rules.transfers.decisions import SourceBlob, TargetBlob
from rules.transfers.model import Transfer

T = TypeVar("T", SourceBlob, TargetBlob)
U = TypeVar("U", SourceBlob, TargetBlob)
Listing = Callable[[int, str | None], Awaitable[tuple[list[tuple[str, T | Permanent]], str | None]]]
# Returns the line of a listed blob, or None if it needs none. The first argument is the other side's blobs by key.
Compare = Callable[[dict[str, U], str, T | Permanent], Awaitable[Line | None]]
CompareBlob = Callable[[str, T | Permanent], Awaitable[Line | None]]
# The blobs of one page that are compared concurrently.
CONCURRENCY = 16
# The most pages of the other side's list that one batch reads. Blobs that are not on them are read with a HEAD.
MAX_PAGES_AHEAD = 4


@dataclass(frozen=True, slots=True)
class Side(Generic[T]):
    """One of the two lists. Blobs correspond if their names are equal after the prefix."""

    page: Listing[T]
    prefix: str
    includes: Callable[[str], bool]

    def key(self, name: str) -> str:
        """The part of a name that both sides have in common."""
        return name.removeprefix(self.prefix)


async def compare_page(
    ports: Ports, job: Job, side: Side[T], other: Side[U], compare: Compare[U, T]
) -> tuple[list[Line], str | None, str | None]:
    """Compare the job's next page of a side. Return its lines, the cursor of the following page and the hint for the other list.

    A batch that is slow, or in which a blob other than the first fails, covers only the blobs that it has compared in order.
    These are then listed again as a shorter page, because only the service knows the cursor after them.
    """
    listed, cursor = await side.page(PAGE, job.cursor)
    included = [(name, blob) for name, blob in listed if side.includes(name)]
    last = max((side.key(name) for name, _ in included), default="")
    others, hint = await _read_other(other, last, job.hint)
    compare_blob = partial(_compare_or_report, partial(compare, others))
    lines = await _compare_in_order(ports, job, compare_blob, included)
    if len(lines) < len(included):
        known: dict[str, Line | None] = dict(zip((name for name, _ in included), lines, strict=False))
        count = 1 + [name for name, _ in listed].index([*known][-1])
        listed, cursor = await side.page(count, job.cursor)
        hint = job.hint
        # Blobs that were added in the meantime are compared as well.
        lines = [
            known[name] if name in known else await compare_blob(name, blob)
            for name, blob in listed
            if side.includes(name)
        ]
    return [line for line in lines if line is not None], cursor, hint


async def _read_other(side: Side[T], last_key: str, hint: str | None) -> tuple[dict[str, T], str | None]:
    """The other side's blobs by key, up to `last_key`, and the hint for the next batch.

    The hint is the cursor of the last page read, not of the one after it: that page may extend beyond `last_key`.
    """
    blobs: dict[str, T] = {}
    for _ in range(MAX_PAGES_AHEAD):
        items, following = await side.page(PAGE, hint)
        blobs |= {side.key(name): blob for name, blob in items if not isinstance(blob, Permanent)}
        if following is None or (items and side.key(items[-1][0]) >= last_key):
            break
        hint = following
    return blobs, hint


async def _compare_in_order(
    ports: Ports, job: Job, compare_blob: CompareBlob[T], listed: list[tuple[str, T | Permanent]]
) -> list[Line | None]:
    """Return the lines of the blobs before the first one whose requests fail.

    After `MAX_FAILED_TRIES` batches in a row without progress, the failing blob gets an error line, so that the survey can continue.

    Raises:
        StorageError: the first blob failed.
    """
    retry = job.failures < MAX_FAILED_TRIES

    async def line_or_error(item: tuple[str, T | Permanent]) -> Line | StorageError | None:
        try:
            return await compare_blob(*item)
        except StorageError as error:
            return error if retry else finding_line(Finding.ERROR, *item, None, str(error))

    lines: list[Line | None] = []
    results = await run_in_order(
        ports, CONCURRENCY, listed, line_or_error, stops=lambda result: isinstance(result, StorageError)
    )
    for result in results:
        if isinstance(result, StorageError):
            if not lines:
                raise result
            break
        lines.append(result)
    return lines


async def _compare_or_report(compare_blob: CompareBlob[T], name: str, blob: T | Permanent) -> Line | None:
    """The blob's line. A permanent failure or unreadable data is an error of this blob only; other failures are raised."""
    try:
        return await compare_blob(name, blob)
    except Permanent as error:
        return finding_line(Finding.ERROR, name, blob, None, str(error))
    except StorageError:
        raise
    except UNREADABLE as error:  # its text may contain a secret
        detail = f"{Reason.INTERNAL}: the app cannot compare this blob ({type(error).__name__})"
        return finding_line(Finding.ERROR, name, blob, None, detail)


def finding_line(
    finding: Finding, name: str, blob: SourceBlob | TargetBlob | Permanent, transfer: Transfer | None, detail: str = ""
) -> Line:
    """Return a line of the report. With a `transfer` it has an `id`, and the job acts on it."""
    # An unreadable blob may have no ETag or size, or one of the wrong type.
    values = [getattr(blob, "etag", None), getattr(blob, "size", None)]
    etag, size = [value if isinstance(value, kind) else None for value, kind in zip(values, (str, int), strict=True)]
    line = {"class": finding, "name": name, "etag": etag, "size": size}
    return line | ({"id": transfer.id} if transfer else {}) | ({"detail": detail} if detail else {})
