"""Reconcile: comparing what a route's source holds with what its target holds, by receipt, and starting what is missing.

Both sides are listed in pages. What the two lists do not show to be a match is looked at blob by blob, so nothing rests on
the order of the lists: where both are in the same one, as they are on like accounts, a match costs no request of its own.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

from operations.accept import refuse
from operations.acting import PATIENCE, Acted, Line
from operations.restart import StillRunning, restart
from rules import events, identity, jobs, names, status
from rules.decisions import SourceBlob, TargetBlob, is_receipt
from rules.errors import Permanent, StorageError
from rules.events import Refused, along
from rules.jobs import PAGE, Finding, Job, Result, Tally, Turn
from rules.letters import Ended
from rules.models import Route, Transfer
from rules.ports import Instance, Instances, Ports
from rules.transitions import State

T = TypeVar("T", SourceBlob, TargetBlob)
Listing = Callable[[int, str | None], Awaitable[tuple[list[tuple[str, T]], str | None]]]
# So many blobs of one page are looked at at once.
AT_ONCE = 16
# The other side's list may run ahead by so many pages a turn; what it then does not show is looked at blob by blob.
MAX_PAGES = 4
TO_START = frozenset({Finding.MISSING, Finding.STALE})
NO_ROUTE = Turn(failure="no route of that name today", permanent=True)
ELSEWHERE = Acted(Result.REFUSED, "the route leads elsewhere today")


async def survey(ports: Ports, job: Job) -> Turn:
    """One page of the source: each blob that the route carries is a match, missing, stale, or an error."""
    route = ports.route(job.route or "")
    if route is None:
        return NO_ROUTE
    listed, cursor = await ports.source.page(route.source, PAGE, job.cursor)
    listed = [
        (name, blob) for name, blob in listed if route.carries(route.source.account, route.source.container, name)
    ]
    others, hint = await _alongside(
        partial(ports.target.page, route.target), route.target.prefix, _last(listed, route.source.prefix), job.hint
    )
    lines = await _each(job, partial(_compared, ports, route, others), listed)
    if not job.dry_run:
        await _keep_refused(ports, route, lines)
    return await _written(ports, job, lines, cursor, hint)


async def extras(ports: Ports, job: Job) -> Turn:
    """One page of the target: what the source has no blob for. It is told, and left where it is."""
    route = ports.route(job.route or "")
    if route is None:
        return NO_ROUTE
    listed, cursor = await ports.target.page(route.target, PAGE, job.cursor)
    listed = [(name, blob) for name, blob in listed if name.removeprefix(route.target.prefix).endswith(route.suffix)]
    others, hint = await _alongside(
        partial(ports.source.page, route.source), route.source.prefix, _last(listed, route.target.prefix), job.hint
    )
    lines = await _each(job, partial(_extra, ports, route, others), listed)
    return await _written(ports, job, [line for line in lines if line is not None], cursor, hint)


async def start_line(ports: Ports, instances: Instances, job: Job, line: Line) -> Acted:
    """Start the transfer of a blob that is missing or stale; not one that a person cancelled, or that waits for its replay."""
    route = ports.route(job.route or "")
    if route is None:
        return Acted(Result.REFUSED, NO_ROUTE.failure)
    transfer = along(route, line["name"], line["etag"])
    if isinstance(transfer, Refused):
        return Acted(Result.REFUSED, transfer.detail)
    if transfer.id != line["id"] or not route.carries(route.source.account, route.source.container, transfer.name):
        return ELSEWHERE
    instance, ended = await asyncio.gather(instances.find(transfer.id), ports.letters.ended(transfer.id))
    if (over := _over(instance, ended)) is not None:
        fix = "replay its dead letter" if over is State.DEAD_LETTERED else "share it with POST /api/transfers"
        return Acted(Result.LEFT, f"{over}: {fix}")
    try:
        await restart(ports, instances, transfer, blind=line["class"] == Finding.MISSING)
    except StillRunning:
        return Acted(Result.RUNNING)
    return Acted(Result.STARTED)


def _over(instance: Instance | None, ended: Ended | None) -> State | None:
    """Whether the transfer is left as it ended: cancelled, or dead-lettered. The record of the end outlives the history."""
    if instance is not None and instance.under_way:
        return None
    attempt = instance.run.attempt if instance and instance.run else 0
    if ended is not None and ended.attempt >= attempt:
        return ended.state
    state = status.view(instance)["state"] if instance else None
    return next((over for over in (State.CANCELLED, State.DEAD_LETTERED) if over == state), None)


async def _compared(ports: Ports, route: Route, others: dict[str, TargetBlob], name: str, source: SourceBlob) -> Line:
    found = along(route, name, source.etag)
    if isinstance(found, Refused):
        return _line(Finding.ERROR, name, source, None, f"{found.reason}: {found.detail}")
    target = others.get(name.removeprefix(route.source.prefix))
    if target is None or not is_receipt(target, source.etag, source.size):
        target = await ports.target.head(found.target_blob)
    if target is None:
        return _line(Finding.MISSING, name, source, found)
    if is_receipt(target, source.etag, source.size):
        return _line(Finding.MATCH, name, source, None)
    return _line(Finding.STALE, name, source, found, _why(target, source))


async def _keep_refused(ports: Ports, route: Route, lines: list[Line]) -> None:
    """A name that cannot be carried ends as its event would: as a dead letter, always the same one."""
    for line in lines:
        refused = along(route, line["name"], line["etag"])
        if isinstance(refused, Refused):
            transfer = identity.transfer(route, line["name"], line["etag"])
            await refuse(ports, events.announcement(transfer, transfer.etag, None), refused)


def _why(target: TargetBlob, source: SourceBlob) -> str:
    if target.source_etag is None:
        return "the target has no receipt"
    if target.source_etag != source.etag:
        return f"the target has a receipt of the version {target.source_etag}"
    return f"its copy is {target.copy_status or 'done'}, {target.size} bytes of {source.size}"


async def _extra(
    ports: Ports, route: Route, others: dict[str, SourceBlob], name: str, target: TargetBlob
) -> Line | None:
    rest = name.removeprefix(route.target.prefix)
    blob = route.source.blob(rest)
    if rest in others or (names.refusal(blob.name) is None and await ports.source.head(blob) is not None):
        return None
    return _line(Finding.EXTRA, name, target, None)


def _line(
    finding: Finding, name: str, blob: SourceBlob | TargetBlob, transfer: Transfer | None, detail: str = ""
) -> Line:
    """A line with an `id` is one to act on."""
    line = {"class": finding, "name": name, "etag": blob.etag, "size": blob.size}
    return line | ({"id": transfer.id} if transfer else {}) | ({"detail": detail} if detail else {})


async def _alongside(listing: Listing[T], prefix: str, last: str, hint: str | None) -> tuple[dict[str, T], str | None]:
    """What the other side's list shows up to the name `last`, by what follows the prefix; and where to go on next time.

    A hint, no more: the page that it ends in is read again by the next turn, for it reaches beyond this one.
    """
    seen: dict[str, T] = {}
    for _ in range(MAX_PAGES):
        items, following = await listing(PAGE, hint)
        seen |= {name.removeprefix(prefix): blob for name, blob in items}
        if following is None or (items and items[-1][0].removeprefix(prefix) >= last):
            break
        hint = following
    return seen, hint


def _last(listed: list[tuple[str, Any]], prefix: str) -> str:
    return max((name.removeprefix(prefix) for name, _ in listed), default="")


async def _each(job: Job, look: Callable[[str, T], Awaitable[Any]], listed: list[tuple[str, T]]) -> list[Any]:
    """Look at each. One that storage refuses for good, or three times, is told as an error: the others have their turn."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(name: str, blob: T) -> Any:
        async with gate:
            try:
                return await look(name, blob)
            except StorageError as error:
                if job.faults < PATIENCE and not isinstance(error, Permanent):
                    raise
                return _line(Finding.ERROR, name, blob, None, str(error))

    looks = [asyncio.ensure_future(one(name, blob)) for name, blob in listed]
    try:
        return list(await asyncio.gather(*looks))
    finally:
        for look_ in looks:  # the turn is done again: storage that fails is not asked for the rest of the page
            look_.cancel()


async def _written(ports: Ports, job: Job, lines: list[Line], cursor: str | None, hint: str | None) -> Turn:
    if lines:
        await ports.reports.write(jobs.found(job.id, job.pages), lines)
    tally = sum((Tally(**{str(line["class"]): 1}) for line in lines), Tally())
    todo = [line["size"] for line in lines if line["class"] in TO_START]
    return Turn(tally + Tally(found=len(todo), bytes=sum(todo)), wrote=bool(lines), cursor=cursor, hint=hint)
