"""The port `Target` on Azure Storage. Every act is one conditional request; the condition of an abort is the copy id."""

from base64 import b64decode

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobProperties, ContentSettings, StandardBlobTier

from adapters.clients import Clients, condition, convert, convert_page, md5, quoted_etag
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

    async def copy(self, copy: Copy) -> bool:
        """Ask the service to copy; return True if this request itself copied the version."""
        self._check_metadata(copy)
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
        # An async copy that reports success immediately proves nothing: a look must confirm it.
        return sync and answer["copy_status"] == CopyStatus.SUCCESS

    async def abort(self, blob: Blob, copy_id: str) -> None:
        """Abort a pending copy."""
        async with self._clients.request_scope(TARGET_ABORT):
            await self._clients.blob(blob, act=True).abort_copy(copy_id)

    async def clear_copy(self, blob: Blob, target: TargetBlob) -> None:
        """Write the blob's own headers back, which drops its copy properties.

        Raises:
            Permanent: a header is not ASCII. The SDK might encode it differently and so change it.
        """
        if not "".join(target.headers.values()).isascii():
            detail = "its content headers contain non-ASCII characters"
            raise Permanent(Reason.UNSUPPORTED_BLOB, TARGET_CLEAR.name, detail)
        async with self._clients.request_scope(TARGET_CLEAR):
            await self._clients.blob(blob, act=True).set_http_headers(
                _settings(target.headers), **condition(target.etag)
            )

    async def delete(self, blob: Blob, etag: str) -> None:
        """Delete the blob if it still has this ETag; do nothing if it does not exist."""
        async with self._clients.request_scope(TARGET_DELETE):
            try:
                await self._clients.blob(blob, act=True).delete_blob(**condition(etag))
            except HttpResponseError as error:
                if code_of(error) != "BlobNotFound":
                    raise

    def _check_metadata(self, copy: Copy) -> None:
        """Refuse metadata that the SDK cannot send byte for byte.

        The SDK sends UTF-8 and strips all kinds of white space; bytes of the source that are not UTF-8 are lone surrogates
        here. With an account key the metadata must be ASCII, because the SDK then signs other bytes than it sends.
        """
        encoding = "utf-8" if self._clients.key_for(copy.target.endpoint) is None else "ascii"
        for key, value in copy.metadata.items():
            if value.strip() != value.strip(" \t") or not (key.isascii() and _can_encode(value, encoding)):
                detail = (
                    f"the value of the source's metadata {key!a} cannot be sent as {encoding.upper()} byte for byte"
                )
                raise Permanent(Reason.UNSUPPORTED_BLOB, TARGET_COPY.name, detail)


def _can_encode(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


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
        headers=_headers(properties.content_settings),
    )


def _headers(settings: ContentSettings) -> dict[str, str]:
    headers = {name: value for name in HEADERS if (value := getattr(settings, name))}
    return headers | ({"content_md5": value} if (value := md5(settings)) else {})


def _settings(headers: dict[str, str]) -> ContentSettings:
    digest = headers.get("content_md5")
    values = {name: headers.get(name) for name in HEADERS}
    return ContentSettings(**values, content_md5=bytearray(b64decode(digest)) if digest else None)
