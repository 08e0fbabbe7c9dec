"""Where Azurite is more lenient with Copy Blob From URL than the service, and the proxy is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from devhost.storage.answers import error
from devhost.storage.operations import parts, source_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from devhost.storage.answers import Answer
    from devhost.storage.operations import Operation
    from devhost.storage.upstream import Upstream

SYNC_LIMIT = 256 * 1024 * 1024


async def sync_refusal(upstream: Upstream, wanted: Operation, headers: Mapping[str, str]) -> Answer | None:
    """Refuse a synchronous copy that the service would refuse.

    Microsoft documents the status 409 for both limits, and no error code: the codes are guesses.
    What cannot be read at all is left to Azurite, which refuses it in the service's words.
    """
    source = headers["x-ms-copy-source"]
    path, snapshot = source_of(source)
    head = await upstream.ask("HEAD", path, snapshot)
    if not head.ok:
        return None
    if head.headers["x-ms-blob-type"] != "BlockBlob":
        return error(409, "InvalidSourceBlobType", "The copy source blob type is invalid for this operation.")
    if int(head.headers["Content-Length"]) > SYNC_LIMIT:
        return error(409, "CannotVerifyCopySource", "The copy source is larger than 256 MiB.")
    if parts(path)[0] == wanted.account and "sig=" in source:
        return await _unreadable(upstream, source)
    return None


async def _unreadable(upstream: Upstream, source: str) -> Answer | None:
    """Check the SAS of a source in the same account: Azurite looks at it only across accounts."""
    head = await upstream.read_as(source)
    if head.ok:
        return None
    return error(head.status, "CannotVerifyCopySource", "Could not verify the copy source.")
