"""A fake of `Source`."""

from datetime import datetime

from adapters.translation import SOURCE_HEAD, SOURCE_LIST, SOURCE_TAGS
from ports.blobs import CopySource
from rules.errors import Permanent
from rules.routes.model import Blob, Place
from rules.transfers.decisions import SourceBlob
from tests.fakes.world import Item, MemoryStorage


class MemorySource:
    """Source blobs, read-only."""

    def __init__(self, world: MemoryStorage, *, may_read_tags: bool = True) -> None:
        self._world = world
        self.may_read_tags = may_read_tags

    async def head(self, blob: Blob) -> SourceBlob | None:
        async with self._world.request(SOURCE_HEAD, blob.url):
            self._world.check_name(SOURCE_HEAD, blob)
            self._world.check_container(SOURCE_HEAD, blob)
            item = self._world.blobs.get(blob)
            return _source_blob(item) if item else None

    async def page(
        self, place: Place, limit: int, marker: str | None
    ) -> tuple[list[tuple[str, SourceBlob | Permanent]], str | None]:
        async with self._world.request(SOURCE_LIST, place.url):
            items, next_marker = self._world.page(SOURCE_LIST, place, limit, marker)
            return [(name, _source_blob(item)) for name, item in items], next_marker

    async def tags(self, blob: Blob, etag: str) -> dict[str, str] | None:
        async with self._world.request(SOURCE_TAGS, blob.url):
            self._world.check_container(SOURCE_TAGS, blob)
            item = self._world.blobs.get(blob)
            return dict(item.tags) if self.may_read_tags and item and item.etag == etag else None

    async def sign_read(self, blob: Blob, until: datetime) -> CopySource:
        """Return a signed URL without a request, as with a cached key."""
        url = f"{blob.url}?se={until.isoformat()}&sig=secret-{self._world.next_number()}"
        self._world.signed[url] = (blob, until)
        return CopySource(url)


def _source_blob(item: Item) -> SourceBlob:
    return SourceBlob(
        etag=item.etag,
        size=len(item.content),
        kind=item.kind,
        metadata=dict(item.metadata),
        copy_status=item.copy.status if item.copy else None,
        archived=item.tier == "Archive",
        tier=item.tier,
        tag_count=len(item.tags),
        md5=item.headers.get("content_md5"),
        headers=dict(item.headers),
        modified_at=item.modified_at,
    )
