"""The doctor: tries what sharing needs on every route, and names what is missing with the command that fixes it.

It writes blobs with a reserved name to the targets and deletes them, copies one small blob that the route shares anyway, and
sends an event of its own type to each recipient. It changes nothing else. What cannot succeed because of another failure is
not tried, so that one cause fails one check of a route.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from typing import Any
from uuid import uuid4

from operations.upkeep import fixes
from operations.upkeep.checks import failed, failing, not_tried, passed, run
from operations.upkeep.health import NO_BLOB, app_checks
from ports.blobs import Copy, Probe
from ports.orchestrations import Instances
from ports.services import Ports
from rules.codec import stamp
from rules.errors import NO_ANSWER, StorageError
from rules.events.decide import transfer_for
from rules.routes.model import SAME_TIER, Blob, Engine, Route
from rules.routes.names import PROBE
from rules.transfers.decisions import SourceBlob
from rules.transfers.model import Kind, Transfer
from rules.transfers.notices import probe_event

LISTED = 1_000
# The largest blob that a trial copies.
SMALL = 1024 * 1024
# A SAS is valid from 15 minutes before the app's time.
MOST_SKEW = timedelta(minutes=5)
# Routes that are tried at once. All of them together could look like an attack.
AT_ONCE = 4
# Errors that concern a container only. After any other error, the rest of the account is not tried either.
OF_A_CONTAINER = frozenset({"ContainerNotFound", "AuthorizationPermissionMismatch"})
READ_ONLY = "READ_ONLY is set"


@dataclass
class Doctor:
    """Runs one diagnosis of this process at a time."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    async def diagnose(self, ports: Ports, instances: Instances) -> dict[str, Any]:
        """Return `{"up": bool, "checks": [{"name", "ok", "detail", "fix"}]}`: of the app's own accounts, and of each route."""
        async with self.lock:
            checks = await asyncio.gather(
                *(run(*check) for check in app_checks(ports)),
                run("task hub", fixes.HUB_FIX, instances.oldest_message()),
            )
            cause, limit = failing(checks), asyncio.Semaphore(AT_ONCE)

            async def try_route(route: Route) -> list[dict[str, Any]]:
                async with limit:
                    return await _Trial(ports, instances, route, cause).checks()

            for found in await asyncio.gather(*(try_route(route) for route in ports.routes)):
                checks += found
            return {"up": all(check["ok"] for check in checks), "checks": checks}


@dataclass
class _Trial:
    """The trials of one route. `app_cause` is the name of a failed check of the app's own accounts, or empty."""

    ports: Ports
    instances: Instances
    route: Route
    app_cause: str

    async def checks(self) -> list[dict[str, Any]]:
        """Try both ends and the recipient at once, then what needs them."""
        (source, blobs), target, notified = await asyncio.gather(self._try_source(), self._try_target(), self._notify())
        copying = await self._copy(blobs, _because(failing([*source, *target])))
        events = await self._find_events(blobs, _because(failing(source[:1]) or self.app_cause))
        return [*source, *target, *copying, events, *notified]

    def _name(self, what: str) -> str:
        return f"{what} route {self.route.name}"

    async def _try_source(self) -> tuple[list[dict[str, Any]], list[tuple[str, SourceBlob]]]:
        """List the source, and sign a URL. Return the checks, and the blobs that the route shares."""
        name, signing = self._name("listing the source of"), self._name("signing for")
        place, blobs = self.route.source, []
        try:
            page, _ = await self.ports.source.page(place, LISTED, None)
        except StorageError as error:
            listed = failed(name, str(error), fixes.container_fix(error, place, fixes.READER))
            if error.code not in OF_A_CONTAINER:
                return [listed, not_tried(signing, _because(name))], []
        else:
            blobs = [
                (found, blob) for found, blob in page if isinstance(blob, SourceBlob) and self._shares(found, blob)
            ]
            more = "+" if len(page) >= LISTED else ""
            listed = passed(name, f"blobs that the route shares: {len(blobs)}{more}")
        try:
            await self.ports.source.sign_read(place.blob(NO_BLOB), self.ports.now() + timedelta(minutes=1))
        except StorageError as error:
            return [listed, failed(signing, str(error), fixes.signing_fix(error, self.route))], blobs
        return [listed, passed(signing)], blobs

    def _shares(self, name: str, blob: SourceBlob) -> bool:
        source = self.route.source
        return self.route.carries(source.account, source.container, name) and self.route.admits(blob.size)

    async def _try_target(self) -> list[dict[str, Any]]:
        """Read the target, write a probe with the route's tier, and compare the service's clock with the app's."""
        names = [self._name(what) for what in ("target of", "writing the target of", "clock of the target of")]
        reading, writing, clock = names
        place, tenant = self.route.target, self.route.tenant
        try:
            await self.ports.target.head(place.blob(NO_BLOB))
        except StorageError as error:
            fix = fixes.container_fix(error, place, fixes.CONTRIBUTOR, tenant=tenant)
            return [
                failed(reading, str(error), fix),
                not_tried(writing, _because(reading)),
                not_tried(clock, _because(reading)),
            ]
        read = passed(reading)
        if self.ports.read_only:
            return [read, not_tried(writing, READ_ONLY), not_tried(clock, READ_ONLY)]
        blob, tier = self._probe(), None if self.route.tier in {None, SAME_TIER} else self.route.tier
        try:
            probe = await self.ports.target.probe(blob, tier)
        except StorageError as error:
            fix = fixes.container_fix(error, place, fixes.CONTRIBUTOR, tenant=tenant)
            return [
                read,
                failed(writing, str(error), await self._fix_and_clean(error, fix, blob)),
                not_tried(clock, _because(writing)),
            ]
        tags = "" if probe.tags else "; index tags are left out: the app may not write them, or the account has none"
        return [read, passed(writing, f"written and deleted{tags}"), self._compare_clocks(clock, probe)]

    def _probe(self) -> Blob:
        return self.route.target.blob(f"{PROBE}{uuid4().hex}")

    def _compare_clocks(self, name: str, probe: Probe) -> dict[str, Any]:
        skew = abs(self.ports.now() - probe.at) if probe.at else timedelta()
        off = f"the service's clock and the app's differ by {skew.total_seconds():.0f} s"
        if skew <= MOST_SKEW:
            return passed(name, off)
        return failed(name, f"{off}: a SAS may be refused as not yet valid, or as expired", fixes.CLOCK_FIX)

    async def _copy(self, blobs: list[tuple[str, SourceBlob]], cause: str) -> list[dict[str, Any]]:
        """Let the target's service copy one small blob, which shows whether it can read the source."""
        name = self._name("copying on")
        small = [(n, b) for n, b in blobs if b.size <= SMALL and b.kind is Kind.BLOCK and not b.archived]
        if why := cause or (
            READ_ONLY if self.ports.read_only else "" if small else "no small blob among the first names"
        ):
            return [not_tried(name, why)]
        found, blob = min(small, key=lambda each: each[1].size)
        source, target = Blob(self.route.source.endpoint, self.route.source.container, found), self._probe()
        try:
            signed = await self.ports.source.sign_read(source, self.ports.now() + timedelta(minutes=30))
            await self.ports.target.copy(Copy(target, signed, blob.etag, Engine.SYNC, {}))
        except StorageError as error:
            if await self._has_changed(source, blob, error):
                return [not_tried(name, "the blob changed meanwhile")]
            fix = fixes.copy_fix(error, self.route)
            return [failed(name, str(error), await self._fix_and_clean(error, fix, target))]
        copied = passed(name, f"{blob.size} bytes copied by the service")
        left = await self._remove(target)
        return [copied, left] if left else [copied]

    async def _has_changed(self, source: Blob, blob: SourceBlob, error: StorageError) -> bool:
        """Whether a copy failed because its source was overwritten or deleted."""
        if error.status not in {HTTPStatus.NOT_FOUND, HTTPStatus.PRECONDITION_FAILED}:
            return False
        try:
            now = await self.ports.source.head(source)
        except StorageError:
            return False
        return now is None or now.etag != blob.etag

    async def _fix_and_clean(self, error: StorageError, fix: str, blob: Blob) -> str:
        """Delete a probe that may be there in spite of an error. If it stays, add to the fix how to delete it."""
        if error.operation != "target.delete" and not error.detail.startswith(NO_ANSWER):
            return fix
        left = await self._remove(blob)
        return f"{fix} {left['fix']}" if left else fix

    async def _remove(self, target: Blob) -> dict[str, Any] | None:
        """Delete a probe; return a failed check if it stays."""
        try:
            made = await self.ports.target.head(target)
            if made is not None:
                await self.ports.target.delete(target, made.etag)
        except StorageError as error:
            return failed(self._name("deleting at the target of"), str(error), fixes.delete_fix(target))
        return None

    async def _find_events(self, blobs: list[tuple[str, SourceBlob]], cause: str) -> dict[str, Any]:
        """Find out whether the event of the newest blob has arrived."""
        name = self._name("events of")
        if cause or self.route.paused:
            return not_tried(name, cause or "the route is paused")
        dated = [(blob.modified_at, found, blob) for found, blob in blobs if blob.modified_at]
        if not dated:
            return not_tried(name, "there is no blob to judge by")
        at, found, blob = max(dated, key=lambda each: each[0])
        transfer = transfer_for(self.route, found, blob.etag)
        if self.ports.now() - at < self.ports.times.delivery or not isinstance(transfer, Transfer):
            return not_tried(name, f"the newest blob changed at {stamp(at)}, too recently to judge by")
        newest = f"the newest of the first {LISTED} blobs changed at {stamp(at)}"
        try:
            return await self._find_event(name, transfer, newest)
        except StorageError as error:
            return failed(name, str(error), "Fix the checks above first.")

    async def _find_event(self, name: str, transfer: Transfer, newest: str) -> dict[str, Any]:
        if await self.instances.find(transfer.id) is not None:
            return passed(name, f"{newest}, and has a transfer")
        target = await self.ports.target.head(transfer.target_blob)
        if target is not None and target.source_etag == transfer.etag:
            return passed(name, f"{newest}, and is at the target")
        oldest = await self.ports.events.oldest_message()
        if oldest is not None and self.ports.now() - oldest > self.ports.times.delivery:
            return failed(name, f"{newest}; events wait in the queue since {stamp(oldest)}", fixes.BACKLOG_FIX)
        fix = fixes.EVENT_FIX.format(account=self.route.source.account, route=self.route.name)
        return failed(name, f"{newest}, and has neither a transfer nor a copy: its event has not arrived", fix)

    async def _notify(self) -> list[dict[str, Any]]:
        recipient = self.route.notify
        if recipient is None:
            return []
        name = self._name("notifying the recipient of")
        if self.ports.read_only:
            return [not_tried(name, READ_ONLY)]
        try:
            await self.ports.recipients.send(recipient, probe_event(self.route.name, self.ports.now()))
        except StorageError as error:
            return [failed(name, str(error), fixes.recipient_fix(error, recipient))]
        return [passed(name, "an event of the type BlobDataSharing.Probe was accepted")]


def _because(check: str) -> str:
    return check and f"{check} fails"
