"""The port `Source` on Azure Storage."""

from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobProperties

from adapters.clients import Clients, content_headers, convert, convert_page, md5, quoted_etag
from adapters.signing import Signatures
from adapters.translation import SOURCE_HEAD, SOURCE_LIST, SOURCE_TAGS, code_of
from ports.blobs import CopySource
from rules.errors import Permanent
from rules.routes.model import Blob, Place
from rules.transfers.decisions import CopyStatus, SourceBlob
from rules.transfers.identity import bare_etag
from rules.transfers.model import Kind

# The version is gone, or the account has a hierarchical namespace and so no tags.
NO_TAGS_CODES = frozenset(
    {
        "BlobNotFound",
        "ConditionNotMet",
        "FeatureNotYetSupportedForHierarchicalNamespaceAccounts",
        "InvalidQueryParameterValue",
    }
)


class SourceBlobs:
    """Source blobs, read-only."""

    def __init__(self, clients: Clients, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clients = clients
        self._signatures = Signatures(clients, now)

    async def head(self, blob: Blob) -> SourceBlob | None:
        """Send a HEAD for a blob; return None only if the blob does not exist."""
        properties = await self._clients.head(SOURCE_HEAD, blob)
        return None if properties is None else convert(SOURCE_HEAD, properties, _source_blob)

    async def page(
        self, place: Place, limit: int, marker: str | None
    ) -> tuple[list[tuple[str, SourceBlob | Permanent]], str | None]:
        """List a page of blobs; return it with the next marker, None at the end."""
        items, next_marker = await self._clients.page(SOURCE_LIST, place, limit, marker)
        return convert_page(SOURCE_LIST, items, _source_blob), next_marker

    async def tags(self, blob: Blob, etag: str) -> dict[str, str] | None:
        """Read index tags; return None if access is denied or the version is gone (its pinned copy then fails)."""
        async with self._clients.request_scope(SOURCE_TAGS):
            try:
                return await self._clients.blob(blob).get_blob_tags(
                    etag=quoted_etag(etag), match_condition=MatchConditions.IfNotModified
                )
            except HttpResponseError as error:
                if error.status_code == HTTPStatus.FORBIDDEN or code_of(error) in NO_TAGS_CODES:
                    return None
                raise

    async def sign_read(self, blob: Blob, until: datetime) -> CopySource:
        """Return a URL with which the target's service can read only this blob, until then at the latest."""
        return CopySource(await self._signatures.url(blob, until))


def _source_blob(properties: BlobProperties) -> SourceBlob:
    status = properties.copy.status
    return SourceBlob(
        etag=bare_etag(properties.etag),
        size=properties.size,
        kind=Kind(properties.blob_type.value),
        metadata=dict(properties.metadata or {}),
        copy_status=CopyStatus(status) if status else None,
        # A blob shows the archive tier until its rehydration has finished.
        archived=properties.blob_tier == "Archive",
        tier=None if properties.blob_tier_inferred else properties.blob_tier,
        tag_count=properties.tag_count or 0,
        md5=md5(properties.content_settings),
        headers=content_headers(properties.content_settings),
        modified_at=properties.last_modified,
    )
