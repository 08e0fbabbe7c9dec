"""A fake of `Target`. It checks in the service's order and refuses with the service's codes."""

from dataclasses import replace

from adapters.translation import (
    TARGET_ABORT,
    TARGET_CLEAR,
    TARGET_COMMIT,
    TARGET_COPY,
    TARGET_DELETE,
    TARGET_HEAD,
    TARGET_LIST,
    TARGET_PROBE,
    TARGET_STAGE,
    TARGET_STAGED,
    Request,
    error_for_answer,
)
from ports.blobs import Commit, Copy, CopySource, Probe
from rules.errors import CANNOT_VERIFY_SOURCE, Permanent
from rules.routes.model import Blob, Engine, Place
from rules.transfers.blocks import Block
from rules.transfers.decisions import RECEIPT_SOURCE_ETAG, RECEIPT_TRANSFER_ID, CopyStatus, TargetBlob
from rules.transfers.model import Kind
from tests.fakes.world import CONFLICT, NOT_FOUND, CopyState, Item, MemoryStorage

BAD_REQUEST, FORBIDDEN, PRECONDITION_FAILED, NOT_SATISFIABLE = 400, 403, 412, 416
MOST_BLOCKS = 100_000


class MemoryTarget:
    """Target blobs."""

    def __init__(self, world: MemoryStorage, *, may_write_tags: bool = True) -> None:
        self._world = world
        self.may_write_tags = may_write_tags

    async def head(self, blob: Blob) -> TargetBlob | None:
        async with self._world.request(TARGET_HEAD, blob.url):
            self._world.check_name(TARGET_HEAD, blob)
            self._world.check_container(TARGET_HEAD, blob)
            item = self._world.blobs.get(blob)
            return _target_blob(item) if item else None

    async def page(
        self, place: Place, limit: int, marker: str | None
    ) -> tuple[list[tuple[str, TargetBlob | Permanent]], str | None]:
        async with self._world.request(TARGET_LIST, place.url):
            items, next_marker = self._world.page(TARGET_LIST, place, limit, marker)
            return [(name, _target_blob(item)) for name, item in items], next_marker

    async def copy(self, copy: Copy) -> str | None:
        async with self._world.request(TARGET_COPY, copy.target.url):
            self._world.check_name(TARGET_HEAD, copy.target)
            existing = self._world.blobs.get(copy.target)
            self._refuse_pending(TARGET_COPY, existing)
            self._world.check_container(TARGET_COPY, copy.target)
            source = self._source(copy)
            if copy.tags and not self.may_write_tags:
                raise error_for_answer(TARGET_COPY, FORBIDDEN, "AuthorizationPermissionMismatch")
            sync = copy.engine is Engine.SYNC
            self._refuse(TARGET_COPY, existing, copy.if_match, "ConditionNotMet" if sync else "TargetConditionNotMet")
            if existing is not None and existing.kind is not source.kind:
                raise error_for_answer(TARGET_COPY, CONFLICT, "InvalidBlobType")
            written = self._world.write(
                copy.target, self._copied(copy, source) if sync else self._pending(copy, source)
            )
            return written.etag if sync else None

    async def probe(self, blob: Blob, tier: str | None) -> Probe:
        async with self._world.request(TARGET_PROBE, blob.url):
            self._world.check_container(TARGET_PROBE, blob)
            self._world.put(blob, Item(b"", tier=tier or "Hot"))
        await self.delete(blob, self._world.blobs[blob].etag)
        return Probe(self._world.now(), self.may_write_tags)

    async def staged(self, blob: Blob) -> dict[str, int]:
        async with self._world.request(TARGET_STAGED, blob.url):
            self._world.check_container(TARGET_STAGED, blob)
            return {block: len(content) for block, content in sorted(self._world.staged.get(blob, {}).items())}

    async def stage(self, target: Blob, source: CopySource, etag: str, block: Block) -> None:
        async with self._world.request(TARGET_STAGE, target.url):
            self._world.check_name(TARGET_HEAD, target)
            existing = self._world.blobs.get(target)
            self._refuse_pending(TARGET_STAGE, existing)
            self._world.check_container(TARGET_STAGE, target)
            if block.size == 0:
                raise error_for_answer(TARGET_STAGE, BAD_REQUEST, "InvalidHeaderValue")
            item = self._read(TARGET_STAGE, source)
            if item.etag != etag:
                raise error_for_answer(TARGET_STAGE, PRECONDITION_FAILED, CANNOT_VERIFY_SOURCE)
            content = item.content[block.offset : block.offset + block.size]
            if not content:
                raise error_for_answer(TARGET_STAGE, NOT_SATISFIABLE, CANNOT_VERIFY_SOURCE)
            self._refuse_blocks(TARGET_STAGE, existing)
            self._refuse_block(target, block)
            self._world.stage(target, block.id, content)

    async def commit(self, commit: Commit) -> str:
        async with self._world.request(TARGET_COMMIT, commit.target.url):
            self._world.check_name(TARGET_HEAD, commit.target)
            existing = self._world.blobs.get(commit.target)
            self._refuse_pending(TARGET_COMMIT, existing)
            self._world.check_container(TARGET_COMMIT, commit.target)
            if commit.tags and not self.may_write_tags:
                raise error_for_answer(TARGET_COMMIT, FORBIDDEN, "AuthorizationPermissionMismatch")
            self._refuse(TARGET_COMMIT, existing, commit.if_match)
            self._refuse_blocks(TARGET_COMMIT, existing)
            staged = self._world.staged.get(commit.target, {})
            if not staged.keys() >= set(commit.blocks):
                raise error_for_answer(TARGET_COMMIT, BAD_REQUEST, "InvalidBlockList")
            item = Item(
                content=b"".join(staged[block] for block in commit.blocks),
                etag=self._world.next_etag(),
                metadata=dict(commit.metadata),
                headers={"content_type": "application/octet-stream"} | commit.headers,
                tags=dict(commit.tags),
                tier=commit.tier,
            )
            return self._world.write(commit.target, item).etag

    async def abort(self, blob: Blob, copy_id: str) -> None:
        async with self._world.request(TARGET_ABORT, blob.url):
            item = self._existing(TARGET_ABORT, blob)
            if item.copy is None or not item.pending:
                raise error_for_answer(TARGET_ABORT, CONFLICT, "NoPendingCopyOperation")
            if item.copy.id != copy_id:
                raise error_for_answer(TARGET_ABORT, CONFLICT, "CopyIdMismatch")
            self._world.fail(blob, "", CopyStatus.ABORTED)

    async def clear_copy(self, blob: Blob, target: TargetBlob) -> str:
        async with self._world.request(TARGET_CLEAR, blob.url):
            item = self._existing(TARGET_CLEAR, blob)
            self._refuse(TARGET_CLEAR, item, target.etag)
            etag = self._world.next_etag()
            self._world.blobs[blob] = replace(item, etag=etag, headers=dict(target.headers), copy=None)
            return etag

    async def delete(self, blob: Blob, etag: str) -> None:
        async with self._world.request(TARGET_DELETE, blob.url):
            self._world.check_container(TARGET_DELETE, blob)
            self._refuse(TARGET_DELETE, self._world.blobs.get(blob), etag)
            self._world.remove(blob)

    def _existing(self, request: Request, blob: Blob) -> Item:
        self._world.check_container(request, blob)
        item = self._world.blobs.get(blob)
        if item is None:
            raise error_for_answer(request, NOT_FOUND, "BlobNotFound")
        return item

    def _refuse_pending(self, request: Request, item: Item | None) -> None:
        if item is not None and item.pending:
            raise error_for_answer(request, CONFLICT, "PendingCopyOperation")

    def _refuse(self, request: Request, item: Item | None, if_match: str | None, code: str = "ConditionNotMet") -> None:
        """Refuse a pending copy, a lease or a failed condition. `if_match` None means If-None-Match: *."""
        self._refuse_pending(request, item)
        if item is not None and item.leased:
            raise error_for_answer(request, PRECONDITION_FAILED, "LeaseIdMissing")
        if if_match is None and item is not None:
            raise error_for_answer(request, CONFLICT, "BlobAlreadyExists")
        if if_match is not None and (item is None or item.etag != if_match):
            raise error_for_answer(request, PRECONDITION_FAILED, code)

    def _refuse_blocks(self, request: Request, item: Item | None) -> None:
        """Refuse a blob whose type, lease or origin does not allow blocks."""
        if item is not None and item.made_by_lake:
            raise error_for_answer(request, CONFLICT, "BlobOperationNotSupported")
        if item is not None and item.kind is not Kind.BLOCK:
            raise error_for_answer(request, CONFLICT, "InvalidBlobType")
        if item is not None and item.leased:
            raise error_for_answer(request, PRECONDITION_FAILED, "LeaseIdMissing")

    def _refuse_block(self, target: Blob, block: Block) -> None:
        """Refuse an id of another length than those staged, and more blocks than the service stages for a name."""
        staged = self._world.staged.get(target, {})
        if any(len(other) != len(block.id) for other in staged):
            raise error_for_answer(TARGET_STAGE, BAD_REQUEST, "InvalidBlobOrBlock")
        if block.id not in staged and len(staged) >= MOST_BLOCKS:
            raise error_for_answer(TARGET_STAGE, CONFLICT, "BlockCountExceedsLimit")

    def _read(self, request: Request, source: CopySource, *, gone: str = CANNOT_VERIFY_SOURCE) -> Item:
        """Return a source that its SAS lets the service read. `gone` is the code if it does not exist."""
        blob, until = self._world.signed[source.url]
        if until < self._world.now():
            raise error_for_answer(request, FORBIDDEN, CANNOT_VERIFY_SOURCE)
        item = self._world.blobs.get(blob)
        if item is None:
            raise error_for_answer(request, NOT_FOUND, gone)
        if item.tier == "Archive":
            raise error_for_answer(request, CONFLICT, CANNOT_VERIFY_SOURCE)
        return item

    def _source(self, copy: Copy) -> Item:
        """Return the source as the service reads it: valid SAS, online, of a type that the engine supports, pinned."""
        blob, _ = self._world.signed[copy.source.url]
        is_same_account = copy.engine is Engine.ASYNC and blob.endpoint == copy.target.endpoint
        item = self._read(TARGET_COPY, copy.source, gone="BlobNotFound" if is_same_account else CANNOT_VERIFY_SOURCE)
        if copy.engine is Engine.SYNC and item.kind is not Kind.BLOCK:
            raise error_for_answer(TARGET_COPY, CONFLICT, "InvalidSourceBlobType")
        if copy.tier and item.kind is not Kind.BLOCK:
            raise error_for_answer(TARGET_COPY, BAD_REQUEST, "InvalidHeaderValue")  # only block blobs have these tiers
        if item.etag != copy.etag:
            code = CANNOT_VERIFY_SOURCE if copy.engine is Engine.SYNC else "SourceConditionNotMet"
            raise error_for_answer(TARGET_COPY, PRECONDITION_FAILED, code)
        return item

    def _copied(self, copy: Copy, source: Item) -> Item:
        size = len(source.content)
        return self._item(copy, source, source.content, CopyState(self._copy_id(), CopyStatus.SUCCESS, size, size))

    def _pending(self, copy: Copy, source: Item) -> Item:
        """Return the target of a started copy: the old content is gone. A page blob has its full size in zeros, others are empty."""
        blob, until = self._world.signed[copy.source.url]
        content = bytes(len(source.content)) if source.kind is Kind.PAGE else b""
        state = CopyState(
            self._copy_id(),
            CopyStatus.PENDING,
            len(source.content),
            source=blob,
            source_etag=source.etag,
            until=until,
        )
        return self._item(copy, source, content, state)

    def _item(self, copy: Copy, source: Item, content: bytes, state: CopyState) -> Item:
        return Item(
            content=content,
            etag=self._world.next_etag(),
            kind=source.kind,
            metadata=dict(copy.metadata) or dict(source.metadata),
            headers=dict(source.headers),
            tags=dict(copy.tags),
            tier=copy.tier,
            copy=state,
        )

    def _copy_id(self) -> str:
        return f"copy-{self._world.next_number()}"


def _target_blob(item: Item) -> TargetBlob:
    copy = item.copy
    return TargetBlob(
        etag=item.etag,
        size=len(item.content),
        kind=item.kind,
        source_etag=item.metadata.get(RECEIPT_SOURCE_ETAG),
        transfer_id=item.metadata.get(RECEIPT_TRANSFER_ID),
        copy_status=copy.status if copy else None,
        copy_id=copy.id if copy else None,
        copied=copy.copied if copy else 0,
        total=copy.total if copy else None,
        copy_detail=copy.detail if copy else "",
        shows_sas=copy is not None,
        md5=item.headers.get("content_md5"),
        headers=dict(item.headers),
    )
