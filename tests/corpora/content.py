"""Blobs with content of many kinds, each with the engine and the state that its transfer must have."""

import gzip
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from azure.storage.blob import BlobType

MIB = 1024 * 1024
PIECE = 4 * MIB
# With a smaller unit of sizes, smaller blobs cross the same limit. `make soak` uses the app's own unit.
UNIT = MIB if os.environ.get("SOAK") == "long" else 64 * 1024
SYNC_LIMIT = 256 * UNIT
FOREIGN = b"by another writer"
# The size of a receipt: two keys, an id of 33 characters, and an ETag of the emulator of about 17.
RECEIPT = len("source_etag") + 17 + len("transfer_id") + 33
LATEST = {
    "content_type": "text/plain",
    "content_language": "fr",
    "content_disposition": "inline",
    "cache_control": "no-cache",
}


@dataclass(frozen=True)
class Case:
    """A blob, and the expected result of its transfer."""

    name: str
    size: int
    engine: str | None
    state: str = "verified"
    reason: str | None = None
    kind: BlobType = BlobType.BLOCKBLOB
    staged: bool = False
    zipped: bool = False
    existing: bytes | None = None
    headers: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def blob(self) -> str:
        return f"content/{self.name}"

    def pieces(self) -> Iterator[bytes]:
        """The content in pieces. No two pieces of any two cases are alike."""
        for start in range(0, self.size, PIECE):
            data = hashlib.shake_256(f"{self.name} {start}".encode()).digest(min(PIECE, self.size - start))
            yield gzip.compress(data, mtime=0) if self.zipped else data


def filled(size: int) -> dict[str, str]:
    """Metadata of this size in bytes, including its names."""
    whole, rest = divmod(size, 1_000)
    return {f"m{number}": "v" * 998 for number in range(whole)} | ({"rest": "v" * (rest - 4)})


CASES = (
    Case("empty", 0, "sync"),
    Case("one byte", 1, "sync"),
    Case("4 MiB less one", 4 * MIB - 1, "sync"),
    Case("4 MiB", 4 * MIB, "sync"),
    Case("4 MiB and one", 4 * MIB + 1, "sync"),
    Case("256 units less one", SYNC_LIMIT - 1, "sync", staged=True),
    Case("256 units", SYNC_LIMIT, "sync", staged=True),
    Case("256 units and one", SYNC_LIMIT + 1, "blocks", staged=True),
    Case("append blob", 70_000, "async", kind=BlobType.APPENDBLOB, headers=LATEST, metadata={"Owner": "Zo"}),
    Case("page blob", 130 * 512, "async", kind=BlobType.PAGEBLOB, headers=LATEST, metadata={"Owner": "Zo"}),
    # Put Block List stores the header without comparing it with the content.
    Case("wrong md5", 9 * MIB, "sync", staged=True, headers={"content_md5": bytearray(b"not of this blob")}),
    Case("gzip", 3 * MIB, "sync", zipped=True, headers={**LATEST, "content_encoding": "gzip"}),
    Case("nearly 8 KB of metadata", 10, "sync", metadata=filled(8 * 1024 - RECEIPT - 2)),
    Case(
        "over 8 KB of metadata", 10, None, "dead_lettered", "unsupported_blob", metadata=filled(8 * 1024 - RECEIPT + 2)
    ),
    Case("a receipt of another transfer", 10, "sync", metadata={"source_etag": "0x1", "Transfer_Id": "x", "kept": "y"}),
    Case("ten tags", 10, "sync", tags={f"tag {number}": f"value/{number}+=:._-" for number in range(10)}),
    Case("tags of an append blob", 10, "async", kind=BlobType.APPENDBLOB, tags={"team": "data"}),
    Case("written by another writer", 10, "sync", existing=FOREIGN),
    Case("256 units and one, written by another writer", SYNC_LIMIT + 1, "blocks", staged=True, existing=FOREIGN),
)
