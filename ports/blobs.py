"""The blobs that are shared: read at the source, written at the target."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from rules.errors import Permanent
from rules.routes.model import Blob, Engine, Place
from rules.transfers.decisions import SourceBlob, TargetBlob


@dataclass(frozen=True, slots=True)
class CopySource:
    """A source as the target's service may read it: a URL with a SAS. A secret: never printed, never stored."""

    url: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Copy:
    """One request to copy: pinned to the version, conditional on the target, carrying the receipt.

    `if_match` None means If-None-Match: * (there must be no target). `metadata` replaces the source's and holds the receipt.
    """

    target: Blob
    source: CopySource
    etag: str
    engine: Engine
    metadata: dict[str, str]
    if_match: str | None = None
    tier: str | None = None
    tags: dict[str, str] = field(default_factory=dict)


class Source(Protocol):
    """Where versions are read."""

    async def head(self, blob: Blob) -> SourceBlob | None:
        """Look at a blob once. None only where the service says BlobNotFound, or that it is a directory.

        A missing container is Retryable. A name that this account would store otherwise (`names.HIERARCHICAL`) is Permanent
        `invalid_name`, as it is for `Target.head` and `Target.copy`.
        """

    async def page(
        self, place: Place, limit: int, marker: str | None
    ) -> tuple[list[tuple[str, SourceBlob | Permanent]], str | None]:
        """List a page of a place's blobs, raw name and blob; the marker of the next page, None at the end.

        A blob that the list shows in a way that cannot be read is an error in its place: the others are shown all the same.
        """

    async def tags(self, blob: Blob, etag: str) -> dict[str, str] | None:
        """Read a blob's index tags; None where the app may not, or the version is gone (its pinned copy will say so)."""

    async def sign_read(self, blob: Blob, until: datetime) -> CopySource:
        """Sign a read of this one blob until then. No request per blob: the key behind it is cached."""


class Target(Protocol):
    """Where versions are written. Every act is conditional and one request; the SDK does not retry it."""

    async def head(self, blob: Blob) -> TargetBlob | None:
        """Look at a blob once. None where there is no blob.

        A missing container is Permanent `target_unwritable`, a directory of that name Permanent `target_conflict`.
        """

    async def page(
        self, place: Place, limit: int, marker: str | None
    ) -> tuple[list[tuple[str, TargetBlob | Permanent]], str | None]:
        """List a page of a place's blobs as `Source.page` does."""

    async def copy(self, copy: Copy) -> bool:
        """Ask the service to copy. True: done, this very request read the version. False: accepted, look later.

        A code that says "changed" and no answer are LookAgain; so is `CANNOT_VERIFY_SOURCE`, with that code. A refusal by a
        code that is not known is `Rejected`, a LookAgain with a reason.
        """

    async def abort(self, blob: Blob, copy_id: str) -> None:
        """Abort a pending copy. It leaves a zero-length blob with the metadata. Nothing pending any more: LookAgain."""

    async def clear_copy(self, blob: Blob, target: TargetBlob) -> None:
        """Set the properties to what they are (If-Match), which drops the copy's: they show the source URL with its SAS."""

    async def delete(self, blob: Blob, etag: str) -> None:
        """Delete, if it still has this ETag. Absent already is fine, or LookAgain: some services answer 412 to it."""
