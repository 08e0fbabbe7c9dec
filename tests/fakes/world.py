"""The state that the fakes share: containers, blobs with their pending copies, and the hook before every request."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from adapters.codes import Side
from adapters.translation import Request, error_for_answer
from rules.errors import Permanent, Reason, StorageError
from rules.routes.model import Blob, Place
from rules.routes.names import hierarchical_refusal
from rules.transfers.decisions import CopyStatus
from rules.transfers.model import Kind

CONFLICT, NOT_FOUND = 409, 404
READING_FAILED = '"Copy failed when reading the source."'

Hook = Callable[[Request, str], Awaitable[Exception | None]]
"""Called with the request and its subject before the effect. It may wait. If it raises, the request has no effect. If it returns
an exception, the fake raises it after the effect: `translation.error_for_no_answer(request)` simulates a lost response."""
# A write of another client.
OUTSIDER_PUT = Request("outsider.put", Side.TARGET, act=True)


async def no_fault(_request: Request, _subject: str) -> None:
    """Do nothing: the default hook."""


@dataclass(frozen=True, slots=True)
class CopyState:
    """The latest copy to a blob; `source` is set while it is pending."""

    id: str
    status: CopyStatus
    total: int
    copied: int = 0
    detail: str = ""
    source: Blob | None = None
    source_etag: str = ""
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """One version of a blob; every write replaces it."""

    content: bytes
    etag: str = ""
    kind: Kind = Kind.BLOCK
    metadata: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=lambda: {"content_type": "application/octet-stream"})
    tags: dict[str, str] = field(default_factory=dict)
    tier: str | None = None
    copy: CopyState | None = None
    leased: bool = False
    made_by_lake: bool = False
    """Whether the Data Lake API made the blob. Then the service accepts no blocks for it until it is deleted."""

    modified_at: datetime | None = None

    @property
    def pending(self) -> bool:
        """Whether a copy to the blob is pending."""
        return self.copy is not None and self.copy.status is CopyStatus.PENDING


class MemoryStorage:
    """All accounts. Owners and outsiders act through its methods, the app through the fakes."""

    def __init__(self, *, hook: Hook = no_fault, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.hook = hook
        self.now = now
        self.containers: set[tuple[str, str]] = set()
        self.blobs: dict[Blob, Item] = {}
        self.staged: dict[Blob, dict[str, bytes]] = {}
        """The staged blocks of each name, by id. A write of a block replaces the inner table."""
        self.signed: dict[str, tuple[Blob, datetime]] = {}
        self.hierarchical: set[str] = set()
        self._count = 0

    @asynccontextmanager
    async def request(self, request: Request, subject: str) -> AsyncIterator[None]:
        """Await the hook, the only await of a fake's method; the enclosed block is the effect."""
        error = await self.hook(request, subject)
        try:
            yield
        except StorageError:
            if error is None:
                raise
        if error is not None:
            raise error

    def create(self, endpoint: str, container: str) -> None:
        self.containers.add((endpoint, container))

    def put(self, blob: Blob, item: Item) -> str:
        """Write a blob as its owner or an outsider does; return its ETag.

        Raises:
            StorageError: the service would refuse the write.
        """
        self.check_container(OUTSIDER_PUT, blob)
        if (existing := self.blobs.get(blob)) and existing.pending:
            raise error_for_answer(OUTSIDER_PUT, CONFLICT, "PendingCopyOperation")
        return self.write(blob, replace(item, etag=self.next_etag())).etag

    def write(self, blob: Blob, item: Item) -> Item:
        """Replace a whole blob, which drops the staged blocks of its name."""
        existing = self.blobs.get(blob)
        made_by_lake = item.made_by_lake or (existing is not None and existing.made_by_lake)
        self.blobs[blob] = replace(item, made_by_lake=made_by_lake)
        self.staged.pop(blob, None)
        return item

    def remove(self, blob: Blob) -> None:
        """Delete a blob and the staged blocks of its name, as its owner or an outsider does."""
        self.blobs.pop(blob, None)
        self.staged.pop(blob, None)

    def stage(self, blob: Blob, block: str, content: bytes) -> None:
        """Stage a block as an outsider does."""
        self.staged[blob] = {**self.staged.get(blob, {}), block: content}

    def finish(self, blob: Blob) -> None:
        """End a pending copy: with success if the source has not changed since its start, else as failed."""
        target = self.blobs[blob]
        if target.copy is None or target.copy.source is None:
            raise ValueError("no copy is pending")
        source = self.blobs.get(target.copy.source)
        if source is None:
            self.fail(blob, f"404 ResourceNotFound {READING_FAILED}")
        elif source.etag != target.copy.source_etag:
            self.fail(blob, f"412 ConditionNotMet {READING_FAILED}")
        elif target.copy.until is not None and target.copy.until < self.now():
            self.fail(blob, f"403 Forbidden {READING_FAILED}")
        else:
            done = CopyState(target.copy.id, CopyStatus.SUCCESS, target.copy.total, target.copy.total)
            self.blobs[blob] = replace(target, content=source.content, etag=self.next_etag(), copy=done)

    def fail(self, blob: Blob, detail: str, status: CopyStatus = CopyStatus.FAILED) -> None:
        """End a pending copy without success. An empty blob with the copy's metadata stays; an abort changes its ETag."""
        target = self.blobs[blob]
        if target.copy is None or not target.pending:
            raise ValueError("no copy is pending")
        copy = CopyState(target.copy.id, status, target.copy.total, detail=detail)
        etag = self.next_etag() if status is CopyStatus.ABORTED else target.etag
        self.blobs[blob] = replace(target, etag=etag, copy=copy)

    def lease(self, blob: Blob, *, held: bool = True) -> None:
        """Take or break a lease: writes without the lease id are refused."""
        self.blobs[blob] = replace(self.blobs[blob], leased=held)

    def check_name(self, request: Request, blob: Blob) -> None:
        """Refuse a name that an account with a hierarchical namespace stores under another name."""
        refusal = hierarchical_refusal(blob.name)
        if refusal is not None and blob.endpoint in self.hierarchical:
            raise Permanent(Reason.INVALID_NAME, request.name, refusal)

    def check_container(self, request: Request, blob: Blob) -> None:
        """Raise ContainerNotFound if the container does not exist."""
        if (blob.endpoint, blob.container) not in self.containers:
            raise error_for_answer(request, NOT_FOUND, "ContainerNotFound")

    def page(
        self, request: Request, place: Place, limit: int, marker: str | None
    ) -> tuple[list[tuple[str, Item]], str | None]:
        """Return a page of blobs, ordered by name."""
        self.check_container(request, place.blob(""))
        names = sorted(
            blob.name
            for blob in self.blobs
            if (blob.endpoint, blob.container) == (place.endpoint, place.container)
            and blob.name.startswith(place.prefix)
            and blob.name > (marker or "")
        )
        items = [(name, self.blobs[Blob(place.endpoint, place.container, name)]) for name in names[:limit]]
        return items, names[limit - 1] if len(names) > limit else None

    def next_etag(self) -> str:
        """Return an ETag that has not been used. Its order means nothing."""
        return f"0x8DE{self.next_number():08X}"

    def next_number(self) -> int:
        self._count += 1
        return self._count
