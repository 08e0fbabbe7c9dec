"""The copy request: engine, receipt, SAS and index tags."""

from dataclasses import dataclass

from ports.blobs import Copy
from ports.services import Ports
from rules.errors import Failure, Reason, Rejected, StorageError
from rules.routes.model import Engine, Route
from rules.transfers import lifecycle
from rules.transfers.decisions import RECEIPT_SOURCE_ETAG, RECEIPT_TRANSFER_ID, SourceBlob, TargetBlob
from rules.transfers.model import Kind, Outcome, Run, Verdict
from rules.transfers.policies import choose_engine, metadata_fits


@dataclass
class CopyRequests:
    """Builds the copy requests of one `start`, each without the engines and tags for which an earlier one was refused."""

    ports: Ports
    route: Route
    run: Run
    refused_engines: frozenset[Engine] = frozenset()
    without_tags: bool = False
    note: str = ""

    async def build(self, source: SourceBlob, target: TargetBlob | None, last: StorageError | None) -> Copy | Outcome:
        """Return the request that copies this source over this target, or the outcome if the version cannot be copied."""
        engine = choose_engine(self.route.engine, source.kind, source.size, self.refused_engines)
        if isinstance(engine, Reason):
            return self._without_engine(engine, source, last)
        transfer = self.run.transfer
        until = lifecycle.sas_expiry(self.run, engine, self.ports.now())
        copy = Copy(
            target=transfer.target_blob,
            source=await self.ports.source.sign_read(transfer.source_blob, until),
            etag=transfer.etag,
            engine=engine,
            metadata=_with_receipt(source.metadata, transfer.etag, transfer.id),
            if_match=target.etag if target else None,
            tier=self.route.tier if source.kind is Kind.BLOCK else None,  # only block blobs have a tier to set
            tags=await self._tags(source),
        )
        if not metadata_fits(copy.metadata):
            detail = "metadata and receipt together exceed 8 KB"
            return Outcome(Verdict.PERMANENT, reason=Reason.UNSUPPORTED_BLOB, detail=detail, size=source.size)
        return copy

    def leave_out_engine(self, engine: Engine) -> None:
        """Exclude an engine with which the target's service could not read the source."""
        self.refused_engines |= {engine}

    def leave_out_tags(self, copy: Copy, refusal: Failure | Rejected) -> bool:
        """Leave out the tags from now on if they may be why this copy was refused. Return whether to repeat the copy.

        Every refusal except throttling may be due to the tags: a role, a hierarchical namespace or an old account prevents them.
        A copy without tags shows whether they were the cause.
        """
        if not copy.tags or refusal.reason is Reason.THROTTLED:
            return False
        self._skip_tags(f"the target's account refused them ({refusal.detail})")
        return True

    async def _tags(self, source: SourceBlob) -> dict[str, str]:
        if not source.tag_count or self.without_tags:
            return {}
        tags = await self.ports.source.tags(self.run.transfer.source_blob, self.run.transfer.etag)
        if tags is None:
            self._skip_tags("the app may not read them at the source")
        return tags or {}

    def _skip_tags(self, why: str) -> None:
        self.without_tags, self.note = True, f"index tags were not copied: {why}"

    def _without_engine(self, reason: Reason, source: SourceBlob, last: StorageError | None) -> Outcome:
        if reason is Reason.UNSUPPORTED_BLOB:
            detail = f"{self.route.engine} cannot carry a {source.kind} of {source.size} bytes"
            return Outcome(Verdict.PERMANENT, reason=reason, detail=detail, size=source.size)
        engines = ", ".join(sorted(self.refused_engines))
        detail = f"the target's service cannot read the source with {engines}; last answer: {last}"
        return Outcome(Verdict.RETRYABLE, reason=reason, detail=detail, size=source.size)


def _with_receipt(metadata: dict[str, str], etag: str, transfer_id: str) -> dict[str, str]:
    """The source's metadata with this transfer's receipt. Metadata names are case-insensitive: a copied receipt is replaced."""
    receipt = {RECEIPT_SOURCE_ETAG: etag, RECEIPT_TRANSFER_ID: transfer_id}
    return {key: value for key, value in metadata.items() if key.lower() not in receipt} | receipt
