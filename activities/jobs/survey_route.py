"""Reconcile: comparing what a route's source holds with what its target holds, by receipt, and starting what is missing.

Both sides are listed in pages. What the two lists do not show to be a match is looked at blob by blob, so nothing rests on
the order of the lists: where both are in the same one, as they are on like accounts, a match costs no request of its own.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from typing import Any, Generic, TypeVar

from activities.jobs.batch import MAX_FAILED_TRIES, NO_ROUTE, Line, counted, in_order
from operations.transfers.accept import refuse
from ports.services import Ports
from rules import events
from rules.errors import UNREADABLE, Permanent, Reason, StorageError
from rules.events import RejectedEvent, transfer_for
from rules.jobs.model import Batch, Finding, Job
from rules.jobs.report import PAGE, found_page
from rules.routes import names
from rules.routes.model import Blob, Route
from rules.transfers import identity
from rules.transfers.decisions import ECHO, SourceBlob, TargetBlob, copied_version, is_echo, is_receipt
from rules.transfers.model import Transfer

T = TypeVar("T", SourceBlob, TargetBlob)
U = TypeVar("U", SourceBlob, TargetBlob)
Listing = Callable[[int, str | None], Awaitable[tuple[list[tuple[str, T | Permanent]], str | None]]]
# So many blobs of one page are looked at at once.
AT_ONCE = 16
# The other side's list may run ahead by so many pages a batch; what it then does not show is looked at blob by blob.
MAX_PAGES = 4


@dataclass(frozen=True, slots=True)
class _Side(Generic[T]):
    """One of the two lists that are compared, by what follows the prefix of its names."""

    page: Listing[T]
    prefix: str
    is_meant: Callable[[str], bool]

    def rest(self, name: str) -> str:
        """What the two sides have in common of a name."""
        return name.removeprefix(self.prefix)


def _source(ports: Ports, route: Route) -> _Side[SourceBlob]:
    place = route.source
    return _Side(
        partial(ports.source.page, place),
        place.prefix,
        lambda name: route.carries(place.account, place.container, name),
    )


def _target(ports: Ports, route: Route) -> _Side[TargetBlob]:
    place = route.target
    return _Side(
        partial(ports.target.page, place),
        place.prefix,
        lambda name: name.removeprefix(place.prefix).endswith(route.suffix),
    )


async def survey(ports: Ports, job: Job) -> Batch:
    """One page of the source: each blob that the route carries is a match, missing, stale, or an error."""
    route = ports.route(job.route or "")
    if route is None:
        return NO_ROUTE
    looks = partial(_compared, ports, route)
    lines, cursor, hint = await _looked(ports, job, _source(ports, route), _target(ports, route), looks)
    if not job.dry_run:
        await _keep_refused(ports, route, lines)
    return await _written(ports, job, lines, cursor, hint)


async def extras(ports: Ports, job: Job) -> Batch:
    """One page of the target: what the source has no blob for. It is told, and left where it is."""
    route = ports.route(job.route or "")
    if route is None:
        return NO_ROUTE
    looks = partial(_extra, ports, route)
    lines, cursor, hint = await _looked(ports, job, _target(ports, route), _source(ports, route), looks)
    return await _written(ports, job, [line for line in lines if line is not None], cursor, hint)


async def _compared(
    ports: Ports, route: Route, others: dict[str, TargetBlob], name: str, listed: SourceBlob | Permanent
) -> Line:
    found = transfer_for(route, name, "" if isinstance(listed, Permanent) else listed.etag)
    if isinstance(found, RejectedEvent):
        return _line(Finding.ERROR, name, listed, None, f"{found.reason}: {found.detail}")
    if isinstance(listed, Permanent):
        return await _looked_at(ports, route, others, found.source_blob, listed)
    source, target = listed, others.get(name.removeprefix(route.source.prefix))
    if target is None or not is_receipt(target, source.etag, source.size):
        target = await ports.target.head(found.target_blob)
    if target is not None and is_receipt(target, source.etag, source.size):
        return _line(Finding.MATCH, name, source, None)
    if is_echo(found, source, target):
        return _echoed(name, source, target, copied_version(found, source))
    if target is None:
        return _line(Finding.MISSING, name, source, found)
    return _line(Finding.STALE, name, source, found, _why(target, source))


def _echoed(name: str, source: SourceBlob, target: TargetBlob | None, etag: str | None) -> Line:
    """The line of an echo, which is not one to act on: the target holds what the source was copied from, or did once."""
    if target is not None and target.etag == etag:
        return _line(Finding.MATCH, name, source, None)
    return _line(Finding.STALE if target else Finding.MISSING, name, source, None, ECHO)


async def _looked_at(ports: Ports, route: Route, others: dict[str, TargetBlob], blob: Blob, odd: Permanent) -> Line:
    """The line of a blob that the list shows in a way that cannot be read: a look may tell what it is."""
    source = await ports.source.head(blob)
    if source is None:
        raise odd
    return await _compared(ports, route, others, blob.name, source)


async def _keep_refused(ports: Ports, route: Route, lines: list[Line]) -> None:
    """A name that cannot be carried ends as its event would: as a dead letter, always the same one."""
    for line in lines:
        refused = transfer_for(route, line["name"], line["etag"] or "")
        if isinstance(refused, RejectedEvent) and line["etag"]:
            with suppress(UnicodeEncodeError):  # no event can say such a name
                transfer = identity.transfer(route, line["name"], line["etag"])
                await refuse(ports, events.created_event(transfer, transfer.etag, None), refused)


def _why(target: TargetBlob, source: SourceBlob) -> str:
    if target.source_etag is None:
        return "the target has no receipt"
    if target.source_etag != source.etag:
        return f"the target has the receipt of version {target.source_etag}"
    return f"the copy is {target.copy_status or 'done'}; the target has {target.size} of {source.size} bytes"


async def _extra(
    ports: Ports, route: Route, others: dict[str, SourceBlob], name: str, target: TargetBlob | Permanent
) -> Line | None:
    rest = name.removeprefix(route.target.prefix)
    blob = route.source.blob(rest)
    if rest in others or (names.refusal(blob.name) is None and await ports.source.head(blob) is not None):
        return None
    if isinstance(target, Permanent):
        raise target
    return _line(Finding.EXTRA, name, target, None)


def _line(
    finding: Finding, name: str, blob: SourceBlob | TargetBlob | Permanent, transfer: Transfer | None, detail: str = ""
) -> Line:
    """A line with an `id` is one to act on."""
    # Of an odd blob neither may be there.
    seen = [getattr(blob, "etag", None), getattr(blob, "size", None)]
    etag, size = [value if isinstance(value, kind) else None for value, kind in zip(seen, (str, int), strict=True)]
    line = {"class": finding, "name": name, "etag": etag, "size": size}
    return line | ({"id": transfer.id} if transfer else {}) | ({"detail": detail} if detail else {})


async def _looked(
    ports: Ports,
    job: Job,
    here: _Side[T],
    there: _Side[U],
    look: Callable[[dict[str, U], str, T | Permanent], Awaitable[Any]],
) -> tuple[list[Any], str | None, str | None]:
    """Look at what one page lists here, beside the list there: the lines, and where the two lists go on.

    A batch that is slow, or that storage fails after its first blob, covers less: the blobs before. The page is then listed
    again, shorter, for only the service can say where its list goes on.
    """
    listed, cursor = await here.page(PAGE, job.cursor)
    meant = [(name, blob) for name, blob in listed if here.is_meant(name)]
    others, hint = await _alongside(there, max((here.rest(name) for name, _ in meant), default=""), job.hint)
    beside = partial(_told, partial(look, others))
    lines = await _each(ports, job, beside, meant)
    if len(lines) == len(meant):
        return lines, cursor, hint
    known: dict[str, Any] = dict(zip((name for name, _ in meant), lines, strict=False))
    count = 1 + [name for name, _ in listed].index([*known][-1])
    listed, cursor = await here.page(count, job.cursor)
    # What has come into the list meanwhile is looked at as well.
    lines = [known[name] if name in known else await beside(name, blob) for name, blob in listed if here.is_meant(name)]
    return lines, cursor, job.hint


async def _alongside(side: _Side[T], last: str, hint: str | None) -> tuple[dict[str, T], str | None]:
    """What the other side's list shows up to the name `last`, by what follows the prefix; and where to go on next time.

    A hint, no more: the page that it ends in is read again by the next batch, for it reaches beyond this one.
    """
    seen: dict[str, T] = {}
    for _ in range(MAX_PAGES):
        items, following = await side.page(PAGE, hint)
        seen |= {side.rest(name): blob for name, blob in items if not isinstance(blob, Permanent)}
        if following is None or (items and side.rest(items[-1][0]) >= last):
            break
        hint = following
    return seen, hint


async def _each(
    ports: Ports,
    job: Job,
    look: Callable[[str, T | Permanent], Awaitable[Any]],
    listed: list[tuple[str, T | Permanent]],
) -> list[Any]:
    """Look at each, in order, up to the first that storage fails.

    One that fails once three batches in a row got nowhere is an error: the others have their turn.

    Raises:
        StorageError: it fails the very first.
    """
    patient = job.failures < MAX_FAILED_TRIES

    async def one(item: tuple[str, T | Permanent]) -> Any:
        try:
            return await look(*item)
        except StorageError as error:
            return error if patient else _line(Finding.ERROR, *item, None, str(error))

    seen: list[Any] = await in_order(ports, AT_ONCE, listed, one, stops=_is_failure)
    if seen and _is_failure(seen[0]):
        raise seen[0]
    return [*takewhile(lambda line: not _is_failure(line), seen)]


async def _told(look: Callable[[str, T | Permanent], Awaitable[Any]], name: str, blob: T | Permanent) -> Any:
    """What a look at one blob comes to. What storage refuses for good, or what is odd about it, is an error of this blob alone."""
    try:
        return await look(name, blob)
    except Permanent as error:
        return _line(Finding.ERROR, name, blob, None, str(error))
    except StorageError:
        raise
    except UNREADABLE as error:  # its text may hold anything
        detail = f"{Reason.INTERNAL}: the app cannot compare this blob ({type(error).__name__})"
        return _line(Finding.ERROR, name, blob, None, detail)


def _is_failure(line: Any) -> bool:
    return isinstance(line, StorageError)


async def _written(ports: Ports, job: Job, lines: list[Line], cursor: str | None, hint: str | None) -> Batch:
    if lines:
        await ports.reports.write(found_page(job.id, job.pages), lines)
    return Batch(counted(lines), wrote=bool(lines), cursor=cursor, hint=hint)
