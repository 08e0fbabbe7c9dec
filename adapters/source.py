"""The port `Source` on Azure Storage."""

from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobProperties

from adapters.clients import Clients, each, md5, quoted_etag, understood
from adapters.signing import Signatures
from adapters.translation import SOURCE_HEAD, SOURCE_LIST, SOURCE_TAGS, code_of
from ports.blobs import CopySource
from rules.errors import Permanent
from rules.routes.model import Blob, Place
from rules.transfers.decisions import CopyStatus, SourceBlob
from rules.transfers.identity import bare_etag
from rules.transfers.model import Kind

# The version is gone, or the account has no tags: one with a hierarchical namespace does not know the query.
WITHOUT_TAGS = frozenset(
    {
        "BlobNotFound",
        "ConditionNotMet",
        "FeatureNotYetSupportedForHierarchicalNamespaceAccounts",
        "InvalidQueryParameterValue",
    }
)


class SourceBlobs:
    """Where versions are read."""

    def __init__(self, clients: Clients, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clients = clients
        self._signatures = Signatures(clients, now)

    async def head(self, blob: Blob) -> SourceBlob | None:
        """Look at a blob once; None where there is none, and only there."""
        properties = await self._clients.head(SOURCE_HEAD, blob)
        return None if properties is None else understood(SOURCE_HEAD, properties, _seen)

    async def page(
        self, place: Place, limit: int, marker: str | None
    ) -> tuple[list[tuple[str, SourceBlob | Permanent]], str | None]:
        """List a page of a place's blobs."""
        items, following = await self._clients.page(SOURCE_LIST, place, limit, marker)
        return each(SOURCE_LIST, items, _seen), following

    async def tags(self, blob: Blob, etag: str) -> dict[str, str] | None:
        """Read a blob's index tags; None where the app may not, and where the version is gone: its copy will say so."""
        async with self._clients.request_scope(SOURCE_TAGS):
            try:
                return await self._clients.blob(blob).get_blob_tags(
                    etag=quoted_etag(etag), match_condition=MatchConditions.IfNotModified
                )
            except HttpResponseError as error:
                if error.status_code == HTTPStatus.FORBIDDEN or code_of(error) in WITHOUT_TAGS:
                    return None
                raise

    async def sign_read(self, blob: Blob, until: datetime) -> CopySource:
        """Sign a read of this one blob until then."""
        return CopySource(await self._signatures.url(blob, until))


def _seen(properties: BlobProperties) -> SourceBlob:
    status = properties.copy.status
    return SourceBlob(
        etag=bare_etag(properties.etag),
        size=properties.size,
        kind=Kind(properties.blob_type.value),
        metadata=dict(properties.metadata or {}),
        copy_status=CopyStatus(status) if status else None,
        # A blob that is being rehydrated shows the archive tier until it is done.
        archived=properties.blob_tier == "Archive",
        tag_count=properties.tag_count or 0,
        md5=md5(properties.content_settings),
    )
