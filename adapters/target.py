"""The port `Target` on Azure Storage. Every act is one conditional request."""

from base64 import b64decode

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobProperties, ContentSettings, StandardBlobTier

from adapters.clients import Clients, condition, each, md5, quoted_etag, understood
from adapters.translation import (
    TARGET_ABORT,
    TARGET_CLEAR,
    TARGET_COPY,
    TARGET_DELETE,
    TARGET_HEAD,
    TARGET_LIST,
    code_of,
)
from ports.blobs import Copy
from rules.errors import Permanent, Reason
from rules.routes.model import Blob, Engine, Place
from rules.transfers.decisions import RECEIPT_SOURCE_ETAG, RECEIPT_TRANSFER_ID, CopyStatus, TargetBlob
from rules.transfers.identity import bare_etag
from rules.transfers.model import Kind

HEADERS = ("content_type", "content_encoding", "content_language", "content_disposition", "cache_control")


class TargetBlobs:
    """Where versions are written."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    async def head(self, blob: Blob) -> TargetBlob | None:
        """Look at a blob once; None where there is none, and only there."""
        properties = await self._clients.head(TARGET_HEAD, blob)
        return None if properties is None else understood(TARGET_HEAD, properties, _seen)

    async def page(
        self, place: Place, limit: int, marker: str | None
    ) -> tuple[list[tuple[str, TargetBlob | Permanent]], str | None]:
        """List a page of a place's blobs."""
        items, following = await self._clients.page(TARGET_LIST, place, limit, marker)
        return each(TARGET_LIST, items, _seen), following

    async def copy(self, copy: Copy) -> bool:
        """Ask the service to copy; True if this very request read the version."""
        self._check(copy)
        await self._clients.check_name(TARGET_HEAD, copy.target)
        sync = copy.engine is Engine.SYNC
        async with self._clients.request_scope(TARGET_COPY):
            answer = await self._clients.blob(copy.target, act=True).start_copy_from_url(
                copy.source.url,
                metadata=copy.metadata,
                source_etag=quoted_etag(copy.etag),
                source_match_condition=MatchConditions.IfNotModified,
                standard_blob_tier=StandardBlobTier(copy.tier) if copy.tier else None,
                tags=copy.tags or None,
                requires_sync=sync or None,
                **condition(copy.if_match),
            )
        # An async copy that is done at once proves nothing: it is looked at like any other.
        return sync and answer["copy_status"] == CopyStatus.SUCCESS

    async def abort(self, blob: Blob, copy_id: str) -> None:
        """Abort a pending copy."""
        async with self._clients.request_scope(TARGET_ABORT):
            await self._clients.blob(blob, act=True).abort_copy(copy_id)

    async def clear_copy(self, blob: Blob, target: TargetBlob) -> None:
        """Set the properties to what they are, which drops the copy's.

        Headers beyond ASCII are left alone: nobody knows in which bytes they would arrive.
        """
        if not "".join(target.headers.values()).isascii():
            detail = "its content headers contain non-ASCII characters"
            raise Permanent(Reason.UNSUPPORTED_BLOB, TARGET_CLEAR.name, detail)
        async with self._clients.request_scope(TARGET_CLEAR):
            await self._clients.blob(blob, act=True).set_http_headers(
                _settings(target.headers), **condition(target.etag)
            )

    async def delete(self, blob: Blob, etag: str) -> None:
        """Delete, if it still has this ETag."""
        async with self._clients.request_scope(TARGET_DELETE):
            try:
                await self._clients.blob(blob, act=True).delete_blob(**condition(etag))
            except HttpResponseError as error:
                if code_of(error) != "BlobNotFound":
                    raise

    def _check(self, copy: Copy) -> None:
        """Refuse metadata that cannot be sent byte for byte: it goes out as UTF-8, and other bytes reach us as lone surrogates.

        With an account key it must be ASCII: the SDK signs other bytes than are sent. The SDK strips white space of all kinds.
        """
        encoding = "utf-8" if self._clients.key_for(copy.target.endpoint) is None else "ascii"
        for key, value in copy.metadata.items():
            if value.strip() != value.strip(" \t") or not (key.isascii() and _fits(value, encoding)):
                detail = (
                    f"the value of the source's metadata {key!a} cannot be sent as {encoding.upper()} byte for byte"
                )
                raise Permanent(Reason.UNSUPPORTED_BLOB, TARGET_COPY.name, detail)


def _fits(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _seen(properties: BlobProperties) -> TargetBlob:
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
        # The service shows the URL with its SAS, or today without the signature: then there is nothing to hide.
        shows_sas="sig=" in (copy.source or ""),
        md5=md5(properties.content_settings),
        headers=_headers(properties.content_settings),
    )


def _headers(settings: ContentSettings) -> dict[str, str]:
    headers = {name: value for name in HEADERS if (value := getattr(settings, name))}
    return headers | ({"content_md5": value} if (value := md5(settings)) else {})


def _settings(headers: dict[str, str]) -> ContentSettings:
    digest = headers.get("content_md5")
    values = {name: headers.get(name) for name in HEADERS}
    return ContentSettings(**values, content_md5=bytearray(b64decode(digest)) if digest else None)
