"""The doctor: tries what sharing needs on every route, and names what is missing with the command that fixes it.

It writes blobs with a reserved name to the targets and deletes them, copies one small blob that the route shares anyway, and
sends an event of its own type to each recipient. It changes nothing else.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from typing import Any
from uuid import uuid4

from operations.upkeep.checks import failed, passed, run
from operations.upkeep.health import app_checks, route_checks
from ports.blobs import Copy
from ports.orchestrations import Instances
from ports.services import Ports
from rules.codec import stamp
from rules.errors import CANNOT_VERIFY_SOURCE, StorageError
from rules.events.decide import transfer_for
from rules.routes.model import SAME_TIER, Blob, Engine, Place, Recipient, Route
from rules.routes.names import PROBE
from rules.transfers.decisions import SourceBlob
from rules.transfers.model import Kind, Transfer
from rules.transfers.notices import probe_event

LISTED = 1_000
# The largest blob that a trial copies.
SMALL = 1024 * 1024
# A SAS is valid from 15 minutes before the app's time.
MOST_SKEW = timedelta(minutes=5)
# Event Grid usually delivers within seconds.
EVENT_DELAY = timedelta(minutes=5)

IDENTITY = "$(azd env get-value APP_IDENTITY)"
EVENT_FIX = (
    "Check that the container's account has an Event Grid subscription for this container and prefix, and that it delivers: "
    "`az eventgrid system-topic event-subscription list --resource-group <group> --system-topic-name evgt-{account} --output table`; "
    "`azd provision` creates what is missing. If the blob is older than the app, share it with `POST /api/reconciles`."
)
BACKLOG_FIX = (
    "Wait, or see docs/operating.md, `queue.depth`: no instance accepts events, or more arrive than the app can start."
)
CLOCK_FIX = "Correct the clock of the machine that runs the app; a SAS may be refused as not yet valid, or expired."


@dataclass
class Doctor:
    """Runs one diagnosis of this process at a time."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    async def diagnose(self, ports: Ports, instances: Instances) -> dict[str, Any]:
        """Return `{"up": bool, "checks": [{"name", "ok", "detail", "fix"}]}`: those of the health check, and the trials."""
        async with self.lock:
            checks = await asyncio.gather(*(run(*check) for check in [*app_checks(ports), *route_checks(ports)]))
            checks.append(await _check_hub(instances))
            for route in ports.routes:  # one after another: all of them together could look like an attack
                checks += await _Trial(ports, instances, route).checks()
            return {"up": all(check["ok"] for check in checks), "checks": checks}


async def _check_hub(instances: Instances) -> dict[str, Any]:
    fix = (
        "Give the app Storage Blob Data Owner, Storage Queue Data Contributor and Storage Table Data Contributor on the state "
        "account, then restart it: `az functionapp restart --name <app> --resource-group <group>`."
    )
    return await run("task hub", fix, instances.oldest_message())


@dataclass
class _Trial:
    """The trials of one route."""

    ports: Ports
    instances: Instances
    route: Route

    async def checks(self) -> list[dict[str, Any]]:
        listing, blobs = await self._list()
        if self.ports.read_only:
            events = [await self._find_events(blobs)] if listing["ok"] else []
            return [listing, passed(self._name("writing the target of"), "not tried: READ_ONLY is set"), *events]
        writing = await self._write()
        copying = await self._copy(blobs) if listing["ok"] and writing[0]["ok"] else []
        events = [await self._find_events(blobs)] if listing["ok"] else []
        return [listing, *writing, *copying, *events, *await self._notify()]

    def _name(self, what: str) -> str:
        return f"{what} route {self.route.name}"

    async def _list(self) -> tuple[dict[str, Any], list[tuple[str, SourceBlob]]]:
        name, place = self._name("listing the source of"), self.route.source
        try:
            page, _ = await self.ports.source.page(place, LISTED, None)
        except StorageError as error:
            return failed(name, str(error), _fix(error, place, "Storage Blob Data Reader")), []
        carried = [(found, blob) for found, blob in page if isinstance(blob, SourceBlob) and self._shares(found, blob)]
        more = "+" if len(page) >= LISTED else ""
        return passed(name, f"{len(carried)}{more} blobs that the route shares"), carried

    def _shares(self, name: str, blob: SourceBlob) -> bool:
        source = self.route.source
        return self.route.carries(source.account, source.container, name) and self.route.admits(blob.size)

    def _probe(self) -> Blob:
        return self.route.target.blob(f"{PROBE}{uuid4().hex}")

    async def _write(self) -> list[dict[str, Any]]:
        """Write an empty blob with the route's tier, and compare the service's clock with the app's."""
        name, place = self._name("writing the target of"), self.route.target
        tier = None if self.route.tier in {None, SAME_TIER} else self.route.tier
        try:
            probe = await self.ports.target.probe(self._probe(), tier)
        except StorageError as error:
            role = "Storage Blob Data Contributor"
            return [failed(name, str(error), _fix(error, place, role, tenant=self.route.tenant, tier=tier))]
        tags = "" if probe.tags else "; index tags are left out: the app may not write them, or the account has none"
        skew = abs(self.ports.now() - probe.at) if probe.at else timedelta()
        clock = self._name("clock of the target of")
        off = f"the service's clock and the app's differ by {skew.total_seconds():.0f} seconds"
        return [
            passed(name, f"written and deleted{tags}"),
            failed(clock, off, CLOCK_FIX) if skew > MOST_SKEW else passed(clock, off),
        ]

    async def _copy(self, blobs: list[tuple[str, SourceBlob]]) -> list[dict[str, Any]]:
        """Let the target's service copy one small blob, which shows whether it can read the source."""
        name = self._name("copying on")
        small = [(n, b) for n, b in blobs if b.size <= SMALL and b.kind is Kind.BLOCK and not b.archived]
        if not small:
            return [passed(name, "not tried: among the first names there is no small blob")]
        found, blob = min(small, key=lambda each: each[1].size)
        source, target = self.route.source, self._probe()
        try:
            until = self.ports.now() + timedelta(minutes=30)
            signed = await self.ports.source.sign_read(Blob(source.endpoint, source.container, found), until)
            await self.ports.target.copy(Copy(target, signed, blob.etag, Engine.SYNC, {}))
        except StorageError as error:
            if error.status == HTTPStatus.PRECONDITION_FAILED:
                return [passed(name, "not tried: the blob changed meanwhile")]
            return [failed(name, str(error), _copy_fix(error, self.route))]
        finally:
            cleaned = await self._remove(target)
        return [cleaned or passed(name, f"{blob.size} bytes copied by the service, and deleted")]

    async def _remove(self, target: Blob) -> dict[str, Any] | None:
        """Delete a copied probe; return a failed check if it stays."""
        try:
            made = await self.ports.target.head(target)
            if made is not None:
                await self.ports.target.delete(target, made.etag)
        except StorageError as error:
            fix = f"Delete the blob {target.name!r} in the target, and see why the app cannot."
            return failed(self._name("deleting at the target of"), str(error), fix)
        return None

    async def _find_events(self, blobs: list[tuple[str, SourceBlob]]) -> dict[str, Any]:
        """Find out whether the event of the newest blob has arrived."""
        name = self._name("events of")
        if self.route.paused:
            return passed(name, "not tried: the route is paused")
        dated = [(blob.modified_at, found, blob) for found, blob in blobs if blob.modified_at]
        if not dated:
            return passed(name, "not tried: there is no blob to judge by")
        at, found, blob = max(dated, key=lambda each: each[0])
        transfer = transfer_for(self.route, found, blob.etag)
        if self.ports.now() - at < EVENT_DELAY or not isinstance(transfer, Transfer):
            return passed(name, f"the newest blob changed at {stamp(at)}, too recently to judge by")
        try:
            return await self._find_event(
                name, transfer, f"the newest of the first {LISTED} blobs changed at {stamp(at)}"
            )
        except StorageError as error:
            return failed(name, str(error), "Fix the checks above first.")

    async def _find_event(self, name: str, transfer: Transfer, newest: str) -> dict[str, Any]:
        if await self.instances.find(transfer.id) is not None:
            return passed(name, f"{newest}, and has a transfer")
        target = await self.ports.target.head(transfer.target_blob)
        if target is not None and target.source_etag == transfer.etag:
            return passed(name, f"{newest}, and is at the target")
        oldest = await self.ports.events.oldest_message()
        if oldest is not None and self.ports.now() - oldest > EVENT_DELAY:
            return failed(name, f"{newest}; events wait in the queue since {stamp(oldest)}", BACKLOG_FIX)
        fix = EVENT_FIX.format(account=self.route.source.account)
        return failed(name, f"{newest}, and has neither a transfer nor a copy: its event has not arrived", fix)

    async def _notify(self) -> list[dict[str, Any]]:
        recipient = self.route.notify
        if recipient is None:
            return []
        name = self._name("notifying the recipient of")
        try:
            await self.ports.recipients.send(recipient, probe_event(self.route.name, self.ports.now()))
        except StorageError as error:
            return [failed(name, str(error), _recipient_fix(error, recipient))]
        return [passed(name, "an event of the type BlobDataSharing.Probe was accepted")]


def _fix(error: StorageError, place: Place, role: str, *, tenant: str | None = None, tier: str | None = None) -> str:
    """Return what to do about an error of a container, with the command."""
    account, container = place.account, place.container
    scope = f"$(az storage account show --name {account} --query id --output tsv)/blobServices/default/containers/{container}"
    if error.code == "ContainerNotFound":
        return (
            f"Create it: `az storage container create --name {container} --account-name {account} --auth-mode login`."
        )
    if error.code == "AuthorizationFailure":
        return (
            f"Let the app through the firewall of {account}: "
            f"`az storage account network-rule add --account-name {account} --subnet $(azd env get-value APP_SUBNET)`."
        )
    if tier and "Tier" in error.code:
        return f"The account {account} does not offer the tier {tier}. Remove `tier` from the route, or use another account."
    if "Immutable" in error.code or "Lease" in error.code:
        return f"A policy or a lease on the container {container} of {account} protects its blobs. Share into another container."
    return _partner_fix(tenant) or (
        f'Give the app {role}, and wait ten minutes: `az role assignment create --assignee {IDENTITY} --role "{role}" --scope "{scope}"`.'
    )


def _recipient_fix(error: StorageError, recipient: Recipient) -> str:
    if error.code == "QueueNotFound":
        account = Place(recipient.endpoint, "").account
        return (
            f"Create it: `az storage queue create --name {recipient.queue} --account-name {account} --auth-mode login`."
        )
    role = "Storage Queue Data Message Sender" if recipient.queue else "EventGrid Data Sender"
    return _partner_fix(recipient.tenant) or (
        f'Give the app {role}: `az role assignment create --assignee {IDENTITY} --role "{role}" --scope <id of the queue or topic>`.'
    )


def _partner_fix(tenant: str | None) -> str:
    return "" if tenant is None else "See the table in docs/partners.md; its owner runs the commands there."


def _copy_fix(error: StorageError, route: Route) -> str:
    source, target = route.source.account, route.target.account
    if error.code == CANNOT_VERIFY_SOURCE:
        return (
            f"The service of {target} cannot read {source}. Let it through the firewall of {source} (docs/network.md), and give the "
            f"app Storage Blob Data Reader on the source container and Storage Blob Delegator on {source}."
        )
    if error.code == "AuthorizationFailure":
        return (
            f"The account {target} refuses copies: see its permitted copy scope, "
            f"`az storage account show --name {target} --query allowedCopyScope`, and its firewall (docs/partners.md)."
        )
    return _fix(error, route.target, "Storage Blob Data Contributor", tenant=route.tenant)
