"""The copy request: engine, receipt, SAS and index tags."""

from dataclasses import dataclass, replace

from ports.blobs import Commit, Copy, CopySource
from ports.services import Ports
from rules.errors import Failure, Reason, Rejected, StorageError
from rules.routes.model import Engine, EnginePreference, Route
from rules.transfers import blocks, lifecycle
from rules.transfers.blocks import Plan
from rules.transfers.decisions import RECEIPT_SOURCE_ETAG, RECEIPT_TRANSFER_ID, SourceBlob, TargetBlob
from rules.transfers.model import Kind, Outcome, Run, Verdict
from rules.transfers.policies import (
    UNSENDABLE,
    choose_engine,
    choose_tier,
    metadata_fits,
    unsendable_metadata,
    written_kind,
)


@dataclass
class CopyRequests:
    """Builds the copy requests of one `start`, each without the engines and tags for which an earlier one was refused."""

    ports: Ports
    route: Route
    run: Run
    refused: tuple[Engine, ...] = ()
    without_tags: bool = False
    note: str = ""

    def engine(self, source: SourceBlob) -> Engine | Reason:
        """Return the engine for the next request, or why there is none."""
        transfer, refused = self.run.transfer, frozenset(self.refused)
        # The SDK cannot set such a header byte for byte. The other engines do not set headers.
        if self.route.engine is EnginePreference.AUTO and not "".join(source.headers.values()).isascii():
            refused |= {Engine.BLOCKS}
        return choose_engine(
            self.route.engine,
            source.kind,
            refused,
            small=source.size <= self.ports.sizes.sync_limit,
            same_account=transfer.source.endpoint == transfer.target.endpoint,
        )

    def kind(self, source: SourceBlob) -> Kind:
        """Return the type of blob that the next request writes."""
        return written_kind(self.engine(source), source.kind)

    def plan(self, source: SourceBlob) -> Plan:
        """Return the blocks of this version."""
        return blocks.plan(self.run.transfer, source.size, self.ports.sizes)

    async def sign(self, engine: Engine) -> CopySource:
        """Return the source's URL with a SAS for one copy or activity."""
        until = lifecycle.sas_expiry(self.run, engine, self.ports.now())
        return await self.ports.source.sign_read(self.run.transfer.source_blob, until)

    def unsupported(self, source: SourceBlob) -> Outcome | None:
        """Return the outcome if no engine can copy the version."""
        metadata = self._metadata(source)
        key = unsendable_metadata(metadata)
        if key is None and metadata_fits(metadata):
            return None
        too_large = "metadata and receipt together exceed 8 KB"
        detail = too_large if key is None else UNSENDABLE.format(key=key, encoding="UTF-8")
        return Outcome(Verdict.PERMANENT, reason=Reason.UNSUPPORTED_BLOB, detail=detail, size=source.size)

    async def build(self, engine: Engine, source: SourceBlob, target: TargetBlob | None) -> Copy | Commit:
        """Return the request that copies this source over this target.

        By blocks it is the commit; the blocks must be staged by then.
        """
        transfer, metadata = self.run.transfer, self._metadata(source)
        tier = choose_tier(self.route.tier, source.tier, written_kind(engine, source.kind))
        tags, if_match = await self._tags(source), target.etag if target else None
        if engine is Engine.BLOCKS:
            return Commit(
                target=transfer.target_blob,
                blocks=self.plan(source).ids,
                metadata=metadata,
                headers=source.headers,
                if_match=if_match,
                tier=tier,
                tags=tags,
            )
        return Copy(
            target=transfer.target_blob,
            source=await self.sign(engine),
            etag=transfer.etag,
            engine=engine,
            metadata=metadata,
            if_match=if_match,
            tier=tier,
            tags=tags,
        )

    def note_for(self, engine: Engine, source: SourceBlob) -> str:
        """Return what the copy does not preserve."""
        changed = engine is Engine.BLOCKS and source.kind is not Kind.BLOCK
        return "; ".join(
            filter(None, (f"the target is a block blob, the source a {source.kind}" if changed else "", self.note))
        )

    def leave_out_engine(self, engine: Engine) -> None:
        """Exclude an engine that cannot copy this version."""
        self.refused = (*self.refused, engine)

    def has_other_engine(self, source: SourceBlob) -> bool:
        """Whether another engine is left if the present one is excluded. A forced engine has no fallback."""
        engine = self.engine(source)
        if self.route.engine is not EnginePreference.AUTO or isinstance(engine, Reason):
            return False
        return not isinstance(replace(self, refused=(*self.refused, engine)).engine(source), Reason)

    def leave_out_tags(self, request: Copy | Commit, refusal: Failure | Rejected) -> bool:
        """Leave out the tags from now on if they may be why this request was refused. Return whether to repeat it.

        Every refusal except throttling may be due to the tags: a role, a hierarchical namespace or an old account prevents them.
        A copy without tags shows whether they were the cause.
        """
        if not request.tags or refusal.reason is Reason.THROTTLED:
            return False
        self._skip_tags(f"the target's account refused them ({refusal.detail})")
        return True

    def without_engine(self, reason: Reason, source: SourceBlob, last: StorageError | None) -> Outcome:
        """Return the outcome if no engine is left."""
        if reason is Reason.UNSUPPORTED_BLOB:
            detail = f"{self.route.engine} cannot carry a {source.kind} of {source.size} bytes"
            return Outcome(Verdict.PERMANENT, reason=reason, detail=detail, size=source.size)
        engines = ", ".join(sorted(self.refused))
        detail = f"the target's service cannot read the source with {engines}; last answer: {last}"
        return Outcome(Verdict.RETRYABLE, reason=reason, detail=detail, size=source.size)

    def _metadata(self, source: SourceBlob) -> dict[str, str]:
        """The source's metadata with this transfer's receipt. Metadata names are case-insensitive: a copied receipt is replaced."""
        transfer = self.run.transfer
        receipt = {RECEIPT_SOURCE_ETAG: transfer.etag, RECEIPT_TRANSFER_ID: transfer.id}
        return {key: value for key, value in source.metadata.items() if key.lower() not in receipt} | receipt

    async def _tags(self, source: SourceBlob) -> dict[str, str]:
        if not source.tag_count or self.without_tags:
            return {}
        tags = await self.ports.source.tags(self.run.transfer.source_blob, self.run.transfer.etag)
        if tags is None:
            self._skip_tags("the app may not read them at the source")
        return tags or {}

    def _skip_tags(self, why: str) -> None:
        self.without_tags, self.note = True, f"index tags were not copied: {why}"
