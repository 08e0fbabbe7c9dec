"""The surveys of a reconcile: which blobs of a route's source are missing or stale at its target, and which are extra there."""

from contextlib import suppress
from dataclasses import replace
from functools import partial

from activities.jobs.batch import NO_ROUTE, Line, write_found
from activities.jobs.compare_lists import Side, compare_page, finding_line
from operations.transfers.accept import refuse
from ports.services import Ports
from rules.errors import Permanent
from rules.events.decide import transfer_for
from rules.events.parse import RejectedEvent
from rules.events.write import created_event
from rules.jobs.model import Batch, Finding, Job
from rules.routes import names
from rules.routes.model import Blob, Route
from rules.transfers import identity
from rules.transfers.decisions import (
    ECHO,
    SourceBlob,
    TargetBlob,
    copied_version,
    holds_version,
    is_echo,
    is_filtered,
)
from rules.transfers.model import Transfer


async def survey(ports: Ports, job: Job) -> Batch:
    """Compare one page of the source: a line for each blob that the route carries, as match, missing, stale or error."""
    route = ports.route(job.route or "")
    if route is None:
        return NO_ROUTE
    source, target = _sides(ports, route, job)
    lines, cursor, hint = await compare_page(ports, job, source, target, partial(_compare_source, ports, route))
    if not job.dry_run:
        await _refuse_names(ports, route, lines)
    return await write_found(ports, job, lines, cursor, hint)


async def extras(ports: Ports, job: Job) -> Batch:
    """Compare one page of the target: a line for each blob that the source does not have. A job never changes those."""
    route = ports.route(job.route or "")
    if route is None:
        return NO_ROUTE
    source, target = _sides(ports, route, job)
    lines, cursor, hint = await compare_page(ports, job, target, source, partial(_find_extra, ports, route))
    return await write_found(ports, job, lines, cursor, hint)


def _sides(ports: Ports, route: Route, job: Job) -> tuple[Side[SourceBlob], Side[TargetBlob]]:
    """Return both lists, limited to the job's prefix."""
    rest = job.prefix.removeprefix(route.source.prefix)
    source, target = (replace(place, prefix=place.prefix + rest) for place in (route.source, route.target))
    return (
        Side(
            partial(ports.source.page, source),
            route.source.prefix,
            lambda name: route.carries(source.account, source.container, name),
        ),
        Side(
            partial(ports.target.page, target),
            route.target.prefix,
            lambda name: _may_be_extra(route, name.removeprefix(route.target.prefix)),
        ),
    )


def _may_be_extra(route: Route, rest: str) -> bool:
    return rest.endswith(route.suffix) and not route.excludes(rest)


async def _compare_source(
    ports: Ports, route: Route, targets: dict[str, TargetBlob], name: str, listed: SourceBlob | Permanent
) -> Line | None:
    """Return the blob's line; None if the route does not share blobs of this size."""
    if isinstance(listed, SourceBlob) and is_filtered(route, name, listed):
        return None
    transfer = transfer_for(route, name, "" if isinstance(listed, Permanent) else listed.etag)
    if isinstance(transfer, RejectedEvent):
        return finding_line(Finding.ERROR, name, listed, None, f"{transfer.reason}: {transfer.detail}")
    if isinstance(listed, Permanent):
        return await _compare_unreadable(ports, route, targets, transfer.source_blob, listed)
    return await _compare_version(ports, transfer, listed, targets.get(name.removeprefix(route.source.prefix)))


async def _compare_version(ports: Ports, transfer: Transfer, source: SourceBlob, target: TargetBlob | None) -> Line:
    """Return the line of a readable blob. `target` is what the list shows, if anything."""
    name = transfer.name
    if target is None or not holds_version(target, source.etag, source.size):
        target = await ports.target.head(transfer.target_blob)
    if target is not None and holds_version(target, source.etag, source.size):
        return finding_line(Finding.MATCH, name, source, None)
    if is_echo(transfer, source, target):
        return _echo_line(name, source, target, copied_version(transfer, source))
    if target is None:
        return finding_line(Finding.MISSING, name, source, transfer)
    return finding_line(Finding.STALE, name, source, transfer, _why_stale(target, source))


async def _compare_unreadable(
    ports: Ports, route: Route, targets: dict[str, TargetBlob], blob: Blob, error: Permanent
) -> Line | None:
    """Compare a source blob that could not be read from the list, as its HEAD shows it."""
    source = await ports.source.head(blob)
    if source is None:
        raise error
    return await _compare_source(ports, route, targets, blob.name, source)


def _echo_line(name: str, source: SourceBlob, target: TargetBlob | None, original_etag: str | None) -> Line:
    """An echo is never acted on. It matches if the target still holds the version that the source was copied from."""
    if target is not None and target.etag == original_etag:
        return finding_line(Finding.MATCH, name, source, None)
    return finding_line(Finding.STALE if target else Finding.MISSING, name, source, None, ECHO)


def _why_stale(target: TargetBlob, source: SourceBlob) -> str:
    if target.source_etag is None:
        return "the target has no receipt"
    if target.source_etag != source.etag:
        return f"the target has the receipt of version {target.source_etag}"
    return f"the copy is {target.copy_status or 'done'}; the target has {target.size} of {source.size} bytes"


async def _refuse_names(ports: Ports, route: Route, lines: list[Line]) -> None:
    """Write a dead letter for each name that cannot be carried. A repeated batch gives it the same id, so there is only one."""
    for line in lines:
        refused = transfer_for(route, line["name"], line["etag"] or "")
        if isinstance(refused, RejectedEvent) and line["etag"]:
            with suppress(UnicodeEncodeError):  # an event cannot contain a lone surrogate
                transfer = identity.transfer(route, line["name"], line["etag"])
                await refuse(ports, created_event(transfer, transfer.etag, None), refused)


async def _find_extra(
    ports: Ports, route: Route, sources: dict[str, SourceBlob], name: str, target: TargetBlob | Permanent
) -> Line | None:
    key = name.removeprefix(route.target.prefix)
    blob = route.source.blob(key)
    if key in sources or (names.refusal(blob.name) is None and await ports.source.head(blob) is not None):
        return None
    if isinstance(target, Permanent):
        raise target
    return finding_line(Finding.EXTRA, name, target, None)
