"""The one activity that copies: look, decide, act; look again when nobody knows what happened."""

import asyncio
from dataclasses import dataclass, field, replace
from http import HTTPStatus

from activities.transfers.common import NOT_ALLOWED, failed, todays_route
from ports.blobs import Copy
from ports.services import Ports
from rules.errors import (
    ALREADY_EXISTS,
    CANNOT_VERIFY_SOURCE,
    Failure,
    LookAgain,
    Permanent,
    Reason,
    Rejected,
    StorageError,
)
from rules.redaction import text_without_secrets
from rules.routes.model import Engine, Route
from rules.transfers import lifecycle
from rules.transfers.decisions import (
    RECEIPT_SOURCE_ETAG,
    RECEIPT_TRANSFER_ID,
    Act,
    CopyStatus,
    SourceBlob,
    TargetBlob,
    copied_version,
    decide,
    is_in_progress,
)
from rules.transfers.model import Kind, Outcome, Run, Verdict
from rules.transfers.policies import MAX_COPY_ATTEMPTS, MAX_LOOKS, choose_engine, metadata_fits

# Request timeouts that one run may last: the host ends a function that lasts too long, and its worker's others with it.
TIMEOUTS = 3
UNFINISHED = (
    "the service reports that the blob exists, but does not show it. Another client has probably started an upload and not committed it: "
    "commit the upload, or write the blob and delete it; then replay"
)
UNCLEARED = "the target still shows the copy's properties"


async def run_start(ports: Ports, run: Run) -> Outcome:
    """Copy the version, or find why not. Safe to run twice, at once or late: every act is conditional.

    A new small blob costs one HEAD of the source (the record of an end is read beside it) and one copy.
    """
    route = todays_route(ports, run)
    if route is None:
        return NOT_ALLOWED
    start = _Start(ports, route, run, size=run.size)
    try:
        return await start.carry()
    except Failure as failure:
        return replace(failed(failure), size=start.size)


@dataclass
class _Start:
    """One run of the activity, with what its looks have taught it."""

    ports: Ports
    route: Route
    run: Run
    size: int | None
    refused: frozenset[Engine] = frozenset()
    tagless: bool = False
    whole: bool = False
    note: str = ""
    last: StorageError | None = field(default=None, repr=False)
    rejected: tuple[tuple[str, CopyStatus | None] | None, Rejected] | None = None
    looked: bool = False
    unseen: int = 0

    async def carry(self) -> Outcome:
        """Look and act, at most 8 times; then it is for later."""
        # A new blob needs no look at the target: If-None-Match: * says it. But what was accepted before this process began may
        # have been copied by one that was killed: a look finds it, and spares a second request.
        blind = self.run.first and self.run.accepted_at >= self.ports.started_at
        end = self.ports.monotonic() + TIMEOUTS * self.ports.times.timeout
        for _ in range(MAX_LOOKS):
            outcome = await self._round(blind=blind)
            if outcome is not None:
                return outcome
            blind = False
            if self.ports.monotonic() > end:
                break
        if self.whole:
            return Outcome(Verdict.VERIFIED, size=self.size, note=f"{UNCLEARED}: {self.last}")
        detail = f"the state of the target is still unclear; last answer: {self.last}"
        return Outcome(Verdict.RETRYABLE, reason=Reason.TARGET_CONFLICT, detail=detail, size=self.size)

    async def _round(self, *, blind: bool) -> Outcome | None:
        """Target first, source second, act third (rule 2). None: look again."""
        since, self.whole, self.looked = self.ports.monotonic(), False, not blind
        transfer = self.run.transfer
        target = None if blind else await self.ports.target.head(transfer.target_blob)
        if target is not None and is_in_progress(target, transfer.etag):
            return waiting(target)
        source, ended = await asyncio.gather(
            self.ports.source.head(transfer.source_blob), self.ports.dead_letters.read_ended(transfer.id)
        )
        if source is not None and source.etag == transfer.etag:
            self.size = source.size  # whatever goes wrong now: who cleans up must know it
        unordered = blind and source is not None and copied_version(transfer, source) is not None
        if unordered:
            target = await self.ports.target.head(transfer.target_blob)
        decision = decide(replace(self.run, size=self.size), source, target, ended)
        if isinstance(decision, Outcome):
            return replace(decision, pause=self._pause(decision.verdict))
        if unordered:
            return None  # only what was read target first is acted upon
        return await self._do(decision, source, target, since)

    async def _do(self, act: Act, source: SourceBlob | None, target: TargetBlob | None, since: float) -> Outcome | None:
        self._not_again(target)
        match act, source, target:
            case Act.CONFIRM, SourceBlob(), TargetBlob():
                return await self._confirm(target, source.size)
            case Act.ABORT | Act.REMOVE, _, TargetBlob():
                await self._make_way(act, target, since)
                return None
            case _, SourceBlob(), _:
                return await self._copy(source, target, since)
        return None

    def _not_again(self, target: TargetBlob | None) -> None:
        """An act that was refused, and would now be done again on the very same target: the refusal is final.

        Raises:
            Permanent: with the service's code in its detail.
        """
        if self.rejected is not None and self.rejected[0] == _state(target):
            raise self.rejected[1].final()

    def _refused(self, target: TargetBlob | None, error: LookAgain) -> None:
        """Keep what an act on this target answered, for the next look."""
        self.last = error
        if isinstance(error, Rejected):
            self.rejected = _state(target), error
        self._count_unseen(target, error)

    def _count_unseen(self, target: TargetBlob | None, error: LookAgain) -> None:
        """Count a target that a look did not show, and that exists all the same. Once may be a race, twice in a row is none.

        Raises:
            Permanent: with what is there, most probably, and what to do about it.
        """
        self.unseen = self.unseen + 1 if self.looked and target is None and error.code == ALREADY_EXISTS else 0
        if self.unseen > 1:
            detail = f"{error.status} {error.code}: {UNFINISHED}"
            raise Permanent(Reason.TARGET_CONFLICT, error.operation, detail, code=error.code, status=error.status)

    def _fresh(self, since: float) -> bool:
        """Whether what was read since then is young enough to act upon."""
        return self.ports.monotonic() - since <= self.ports.times.window

    async def _confirm(self, target: TargetBlob, size: int) -> Outcome | None:
        self.whole = True
        try:
            return await confirm(self.ports, self.run, target, size)
        except LookAgain as error:
            self.last = error
            return None

    def _pause(self, verdict: Verdict) -> int:
        """What is waited for before the next look, in seconds."""
        times = self.ports.times
        return {Verdict.GONE: times.recheck, Verdict.OCCUPIED: times.settle}.get(verdict, 0)

    async def _make_way(self, act: Act, target: TargetBlob, since: float) -> None:
        if not self._fresh(since):
            return
        blob = self.run.transfer.target_blob
        # Whatever it answers, the next look tells.
        try:
            if act is Act.ABORT:
                await self.ports.target.abort(blob, target.copy_id or "")
            else:
                await self.ports.target.delete(blob, target.etag)
        except LookAgain as error:
            self._refused(target, error)

    async def _copy(self, source: SourceBlob, target: TargetBlob | None, since: float) -> Outcome | None:
        if self.run.copy_attempts >= MAX_COPY_ATTEMPTS:
            detail = f"copied {MAX_COPY_ATTEMPTS} times, but another writer always replaced it"
            return Outcome(Verdict.RETRYABLE, reason=Reason.TARGET_CONFLICT, detail=detail, size=source.size)
        engine = choose_engine(self.route.engine, source.kind, source.size, self.refused)
        if isinstance(engine, Reason):
            return self._no_engine(engine, source)
        copy = await self._request(source, target, engine)
        if not metadata_fits(copy.metadata):
            detail = "metadata and receipt together exceed 8 KB"
            return Outcome(Verdict.PERMANENT, reason=Reason.UNSUPPORTED_BLOB, detail=detail, size=source.size)
        return await self._act(copy, target, source.size) if self._fresh(since) else None

    async def _act(self, copy: Copy, target: TargetBlob | None, size: int) -> Outcome | None:
        try:
            done = await self.ports.target.copy(copy)
        except (Failure, Rejected) as error:
            if copy.tags and error.reason is not Reason.THROTTLED:
                # A role of its own, a hierarchical namespace, an old account: the refusals of tags are many. Without them, once.
                self._leave_tags(f"the target's account refused them ({error.detail})")
            elif isinstance(error, Rejected):
                self._refused(target, error)
            else:
                raise
            return None
        except LookAgain as error:
            self._refused(target, error)
            if error.code == CANNOT_VERIFY_SOURCE:
                self.refused |= {copy.engine}
            return None
        verdict = Verdict.VERIFIED if done else Verdict.WAITING
        return Outcome(verdict, engine=copy.engine, size=size, note=self.note, began=not done)

    async def _request(self, source: SourceBlob, target: TargetBlob | None, engine: Engine) -> Copy:
        run, transfer = self.run, self.run.transfer
        until = lifecycle.sas_expiry(run, engine, self.ports.now())
        return Copy(
            target=transfer.target_blob,
            source=await self.ports.source.sign_read(transfer.source_blob, until),
            etag=transfer.etag,
            engine=engine,
            metadata=receipt(source.metadata, transfer.etag, transfer.id),
            if_match=target.etag if target else None,
            tier=self.route.tier if source.kind is Kind.BLOCK else None,  # the other kinds have no tier to set
            tags=await self._tags(source),
        )

    async def _tags(self, source: SourceBlob) -> dict[str, str]:
        if not source.tag_count or self.tagless:
            return {}
        tags = await self.ports.source.tags(self.run.transfer.source_blob, self.run.transfer.etag)
        if tags is None:
            self._leave_tags("the app may not read them at the source")
        return tags or {}

    def _leave_tags(self, why: str) -> None:
        self.tagless, self.note = True, f"index tags were not copied: {why}"

    def _no_engine(self, reason: Reason, source: SourceBlob) -> Outcome:
        if reason is Reason.UNSUPPORTED_BLOB:
            detail = f"{self.route.engine} cannot carry a {source.kind} of {source.size} bytes"
            return Outcome(Verdict.PERMANENT, reason=reason, detail=detail, size=source.size)
        detail = f"the target's service cannot read the source with {', '.join(sorted(self.refused))}; last answer: {self.last}"
        return Outcome(Verdict.RETRYABLE, reason=reason, detail=detail, size=source.size)


def _state(target: TargetBlob | None) -> tuple[str, CopyStatus | None] | None:
    # A copy that fails may keep its target's ETag.
    return (target.etag, target.copy_status) if target else None


async def confirm(ports: Ports, run: Run, target: TargetBlob, size: int) -> Outcome:
    """The target holds the version. Where its copy properties show the source's SAS, they are cleared (rule 14).

    The receipt is the verdict: a target that cannot be cleared (a lease, a policy) is verified, and a note says so.

    Raises:
        LookAgain: nobody knows whether it was cleared.
        Retryable: the service was busy.
    """
    note = ""
    if target.copy_status is CopyStatus.SUCCESS and target.shows_sas:
        try:
            await ports.target.clear_copy(run.transfer.target_blob, target)
        except (Failure, Rejected) as error:
            if error.reason is Reason.THROTTLED:
                raise
            note = f"{UNCLEARED}: {error}"
        except LookAgain as error:
            if error.status != HTTPStatus.PRECONDITION_FAILED:  # else somebody changed it: cleared all the same
                raise
    return Outcome(Verdict.VERIFIED, size=size, note=note)


def waiting(target: TargetBlob) -> Outcome:
    """The version is on its way there: how far it is, and what the service says of it where the copy stumbles."""
    said = text_without_secrets(target.copy_detail)
    return Outcome(Verdict.WAITING, engine=Engine.ASYNC, size=target.total, copied=target.copied, detail=said)


def receipt(metadata: dict[str, str], etag: str, transfer_id: str) -> dict[str, str]:
    """The source's metadata with our receipt. Names differ by case for nobody: a receipt that was carried here is replaced."""
    kept = {
        key: value for key, value in metadata.items() if key.lower() not in {RECEIPT_SOURCE_ETAG, RECEIPT_TRANSFER_ID}
    }
    return {**kept, RECEIPT_SOURCE_ETAG: etag, RECEIPT_TRANSFER_ID: transfer_id}
