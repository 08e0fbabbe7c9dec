"""The blobs that the app copies: read at the source, written at the target."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from rules.errors import Permanent
from rules.routes.model import Blob, Engine, Place
from rules.transfers.blocks import Block
from rules.transfers.decisions import SourceBlob, TargetBlob


@dataclass(frozen=True, slots=True)
class CopySource:
    """The URL with a SAS by which the target's service reads a source. It is a secret: never log or store it."""

    url: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Copy:
    """A request to copy the version `etag`, on condition that the target is unchanged.

    `if_match` None means If-None-Match: * (the target must not exist). `metadata` replaces the source's and holds the
    receipt.
    """

    target: Blob
    source: CopySource
    etag: str
    engine: Engine
    metadata: dict[str, str]
    if_match: str | None = None
    tier: str | None = None
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Commit:
    """A request to make the staged `blocks`, in this order, the target's content, on condition that it is unchanged.

    `if_match` None means If-None-Match: *. `headers` are the content headers, as `SourceBlob.headers` has them.
    Without blocks the blob becomes empty.
    """

    target: Blob
    blocks: tuple[str, ...]
    metadata: dict[str, str]
    headers: dict[str, str] = field(default_factory=dict)
    if_match: str | None = None
    tier: str | None = None
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Probe:
    """What a probe of a target has shown: the service's time, and whether index tags may be written."""

    at: datetime | None
    tags: bool


class Source(Protocol):
    """The source side of routes."""

    async def head(self, blob: Blob) -> SourceBlob | None:
        """Read a blob's properties. None only if the service answers BlobNotFound, or if it is a directory.

        A missing container is Retryable. A name that this account would store differently (`names.HIERARCHICAL`) is
        Permanent `invalid_name`, also in `Target.head` and `Target.copy`.
        """

    async def page(
        self, place: Place, limit: int, marker: str | None
    ) -> tuple[list[tuple[str, SourceBlob | Permanent]], str | None]:
        """List a page of a place's blobs as raw name and blob, and the marker of the next page, None at the end.

        An item that cannot be read is returned as an error in its place.
        """

    async def tags(self, blob: Blob, etag: str) -> dict[str, str] | None:
        """Read a blob's index tags; None without permission, or if the version is gone, which its copy will detect."""

    async def sign_read(self, blob: Blob, until: datetime) -> CopySource:
        """Return the blob's URL with a SAS that permits only reading it, until `until`. The signing key is cached."""


class Target(Protocol):
    """The target side of routes. Every write is one conditional request, which the SDK does not retry."""

    async def head(self, blob: Blob) -> TargetBlob | None:
        """Read a blob's properties; None if it does not exist.

        A missing container is Permanent `target_unwritable`, a directory of this name Permanent `target_conflict`.
        """

    async def page(
        self, place: Place, limit: int, marker: str | None
    ) -> tuple[list[tuple[str, TargetBlob | Permanent]], str | None]:
        """List a page of a place's blobs as `Source.page` does."""

    async def copy(self, copy: Copy) -> str | None:
        """Copy a version. Return the target's ETag; None if the service accepted it and copies in the background.

        Raises LookAgain for a code that means "changed", for no answer, and for `CANNOT_VERIFY_SOURCE`; `Rejected` for
        a refusal with an unknown code.
        """

    async def staged(self, blob: Blob) -> dict[str, int]:
        """List the staged, uncommitted blocks of a name: id → size in bytes. Empty if there are none."""

    async def stage(self, target: Blob, source: CopySource, etag: str, block: Block) -> None:
        """Copy one block of the version `etag` to the target, where no reader sees it. It may be repeated.

        Raises LookAgain with the status 412 if the source has changed; Retryable if the service or the source is busy,
        or without an answer; LookAgain `CANNOT_VERIFY_SOURCE` if the service cannot read the source; Rejected for a
        target that does not accept the block.
        """

    async def commit(self, commit: Commit) -> str:
        """Replace the target's content by the staged blocks, in one step. Return the target's ETag.

        Raises LookAgain for a code that means "changed" (a block that is not staged is one), and for no answer;
        `Rejected` for a refusal with an unknown code.
        """

    async def abort(self, blob: Blob, copy_id: str) -> None:
        """Abort a pending copy, which leaves an empty blob with the metadata. LookAgain if none is pending."""

    async def clear_copy(self, blob: Blob, target: TargetBlob) -> str:
        """Remove the copy properties, which show the SAS, by setting the headers to their own values (If-Match).

        Return the target's new ETag.
        """

    async def delete(self, blob: Blob, etag: str) -> None:
        """Delete the blob if it still has this ETag.

        For an absent blob, this returns if the service answers BlobNotFound, and raises LookAgain if it answers 412.
        """

    async def probe(self, blob: Blob, tier: str | None) -> Probe:
        """Write this empty blob, which must not exist, with this tier, and delete it.

        Raises an error as `copy` and `delete` do. After an error of the deletion the blob is left.
        """
