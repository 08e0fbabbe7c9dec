"""The port `Target` on Azure Storage. Every act is one conditional request; the condition of an abort is the copy id."""

from base64 import b64decode
from enum import Enum
from typing import Any, cast
from xml.etree import ElementTree as ET

from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobBlock, BlobProperties, StandardBlobTier

from adapters.clients import (
    LAST_RESPONSE,
    Clients,
    Use,
    condition,
    content_headers,
    content_settings,
    convert,
    convert_page,
    md5,
    quoted_etag,
)
from adapters.requests import copy_headers
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
    code_of,
)
from ports.blobs import Commit, Copy, CopySource, Probe
from rules.errors import NO_BLOCKS, Permanent, Reason, StorageError
from rules.routes.model import Blob, Engine, Place
from rules.transfers.blocks import Block
from rules.transfers.decisions import RECEIPT_SOURCE_ETAG, RECEIPT_TRANSFER_ID, CopyStatus, TargetBlob
from rules.transfers.identity import bare_etag
from rules.transfers.model import Kind
from rules.transfers.policies import STAGE_TIMEOUT, UNSENDABLE, unsendable_metadata


class _State(Enum):
    """The state of a block as the SDK compares it. It sends its own `BlockState.UNCOMMITTED` ("Uncommitted") as `Latest`."""

    UNCOMMITTED = "uncommitted"


class TargetBlobs:
    """Target blobs."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    async def head(self, blob: Blob) -> TargetBlob | None:
        """Send a HEAD for a blob; return None only if the blob does not exist."""
        properties = await self._clients.head(TARGET_HEAD, blob)
        return None if properties is None else convert(TARGET_HEAD, properties, _target_blob)

    async def page(
        self, place: Place, limit: int, marker: str | None
    ) -> tuple[list[tuple[str, TargetBlob | Permanent]], str | None]:
        """List a page of blobs; return it with the next marker, None at the end."""
        items, next_marker = await self._clients.page(TARGET_LIST, place, limit, marker)
        return convert_page(TARGET_LIST, items, _target_blob), next_marker

    async def copy(self, copy: Copy) -> str | None:
        """Ask the service to copy; return the target's ETag if this request itself copied the version."""
        self._check_metadata(TARGET_COPY, copy.target, copy.metadata)
        await self._clients.check_name(TARGET_HEAD, copy.target)
        sync = copy.engine is Engine.SYNC
        headers = copy_headers(copy, requires_sync=sync)
        async with self._clients.request_scope(TARGET_COPY):
            response = await self._clients.requests(copy.target.endpoint, Use.ACT).send("PUT", copy.target.url, headers)
        # An async copy that reports success immediately proves nothing: a look must confirm it.
        if not sync or response.headers.get("x-ms-copy-status") != CopyStatus.SUCCESS:
            return None
        return bare_etag(response.headers.get("ETag", ""))

    async def staged(self, blob: Blob) -> dict[str, int]:
        """List the staged blocks of a name as id and size. Ids of other clients are shown as they are."""
        async with self._clients.request_scope(TARGET_STAGED):
            try:
                _, blocks = await self._clients.blob(blob).get_block_list("uncommitted")
            except HttpResponseError as error:
                # A file that takes no blocks has none. `stage` gets the refusal.
                if code_of(error) == "BlobNotFound" or code_of(error) in NO_BLOCKS:
                    return {}
                raise
            except ValueError:  # an id that is not base64 makes the SDK fail the whole list
                return _parse_blocks(LAST_RESPONSE.get().body())
        return {block.id: block.size for block in blocks}

    async def stage(self, target: Blob, source: CopySource, etag: str, block: Block) -> None:
        """Copy a block of the source to the target without committing it. The SDK does not repeat the request."""
        await self._clients.check_name(TARGET_HEAD, target)
        async with self._clients.request_scope(TARGET_STAGE, STAGE_TIMEOUT):
            await self._clients.blob(target, Use.STAGE).stage_block_from_url(
                block.id,
                source.url,
                block.offset,
                block.size,
                timeout=STAGE_TIMEOUT,
                # The SDK has no argument for this condition.
                headers={"x-ms-source-if-match": quoted_etag(etag)},
            )

    async def commit(self, commit: Commit) -> str:
        """Make staged blocks the blob's content. Only staged blocks are used, never those of the present content."""
        self._check_metadata(TARGET_COMMIT, commit.target, commit.metadata)
        settings = content_settings(TARGET_COMMIT, commit.headers)
        await self._clients.check_name(TARGET_HEAD, commit.target)
        async with self._clients.request_scope(TARGET_COMMIT):
            done = await self._clients.blob(commit.target, Use.ACT).commit_block_list(
                [BlobBlock(name, state=cast("Any", _State.UNCOMMITTED)) for name in commit.blocks],
                content_settings=settings,
                metadata=commit.metadata,
                standard_blob_tier=_tier(commit.tier),
                tags=commit.tags or None,
                **condition(commit.if_match),
            )
        return bare_etag(str(done.get("etag") or ""))

    async def abort(self, blob: Blob, copy_id: str) -> None:
        """Abort a pending copy."""
        async with self._clients.request_scope(TARGET_ABORT):
            await self._clients.blob(blob, Use.ACT).abort_copy(copy_id)

    async def clear_copy(self, blob: Blob, target: TargetBlob) -> str:
        """Write the blob's own headers back, which drops its copy properties; return the new ETag."""
        settings = content_settings(TARGET_CLEAR, target.headers)
        async with self._clients.request_scope(TARGET_CLEAR):
            done = await self._clients.blob(blob, Use.ACT).set_http_headers(settings, **condition(target.etag))
        return bare_etag(str(done.get("etag") or ""))

    async def delete(self, blob: Blob, etag: str) -> None:
        """Delete the blob if it still has this ETag; do nothing if it does not exist."""
        async with self._clients.request_scope(TARGET_DELETE):
            try:
                await self._clients.blob(blob, Use.ACT).delete_blob(**condition(etag))
            except HttpResponseError as error:
                if code_of(error) != "BlobNotFound":
                    raise

    async def probe(self, blob: Blob, tier: str | None) -> Probe:
        """Write an empty blob and its tags, then delete it."""
        client = self._clients.blob(blob, Use.ACT)
        async with self._clients.request_scope(TARGET_PROBE):
            made = await client.upload_blob(b"", standard_blob_tier=_tier(tier), **condition(None))
        try:
            async with self._clients.request_scope(TARGET_PROBE):
                await client.set_blob_tags({"probe": "1"})
            tags = True
        except StorageError:  # without the permission, or with a hierarchical namespace, tags are left out
            tags = False
        await self.delete(blob, bare_etag(made["etag"]))
        return Probe(made["date"], tags)

    def _check_metadata(self, request: Request, target: Blob, metadata: dict[str, str]) -> None:
        """Refuse metadata that cannot be sent byte for byte. With an account key it must be ASCII: the SDK signs other bytes."""
        encoding = "utf-8" if self._clients.key_for(target.endpoint) is None else "ascii"
        key = unsendable_metadata(metadata, encoding)
        if key is not None:
            raise Permanent(
                Reason.UNSUPPORTED_BLOB, request.name, UNSENDABLE.format(key=key, encoding=encoding.upper())
            )


def _tier(name: str | None) -> StandardBlobTier | None:
    return StandardBlobTier(name) if name else None


def _parse_blocks(body: bytes) -> dict[str, int]:
    """Read a list of blocks that the SDK cannot read."""
    blocks = ET.fromstring(body).iter("Block")  # noqa: S314  # the SDK has parsed it as XML
    return {_block_id(block.findtext("Name", "")): int(block.findtext("Size", "0")) for block in blocks}


def _block_id(name: str) -> str:
    """Return a block's id as the SDK does: decoded, or as it is if that is impossible."""
    try:
        return b64decode(name).decode()
    except ValueError:
        return name


def _target_blob(properties: BlobProperties) -> TargetBlob:
    copy, metadata = properties.copy, properties.metadata or {}
    copied, _, total = (copy.progress or "0/").partition("/")
    return TargetBlob(
        etag=bare_etag(properties.etag),
        size=properties.size,
        kind=Kind(properties.blob_type.value) if properties.blob_type else None,
        source_etag=metadata.get(RECEIPT_SOURCE_ETAG),
        transfer_id=metadata.get(RECEIPT_TRANSFER_ID),
        copy_status=CopyStatus(copy.status) if copy.status else None,
        copy_id=copy.id,
        copied=int(copied),
        total=int(total) if total else None,
        copy_detail=copy.status_description or "",
        # The service shows the source URL with its SAS, or (today) without the signature. Without it there is no secret.
        shows_sas="sig=" in (copy.source or ""),
        md5=md5(properties.content_settings),
        headers=content_headers(properties.content_settings),
    )
