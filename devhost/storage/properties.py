"""What readers are shown of a copy: Azurite knows only copies that succeeded at once, under ids of its own."""

from __future__ import annotations

import re
from dataclasses import replace
from email.utils import formatdate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from devhost.storage.answers import Answer
    from devhost.storage.config import Place
    from devhost.storage.ledger import Copy, Ledger
    from devhost.storage.operations import Operation
    from devhost.storage.pace import Pace
    from devhost.storage.upstream import Upstream

# "These properties are gone if the blob has been modified by Set Blob Properties, Put Blob or Put Block List":
# https://learn.microsoft.com/rest/api/storageservices/get-blob-properties
_END_OF_A_COPY = {"PutBlob", "PutBlobFromUrl", "PutBlockList", "CopyBlobFromUrl", "DeleteBlob", "SetProperties"}

_SIGNATURE = re.compile(r"(?<=[?&])sig=[^&]*&?")
_ELEMENTS = {
    "x-ms-copy-id": "CopyId",
    "x-ms-copy-status": "CopyStatus",
    "x-ms-copy-source": "CopySource",
    "x-ms-copy-progress": "CopyProgress",
    "x-ms-copy-status-description": "CopyStatusDescription",
    "x-ms-copy-completion-time": "CopyCompletionTime",
}


class CopyProperties:
    """Makes Azurite's answers about blobs true."""

    def __init__(self, upstream: Upstream, ledger: Ledger, pace: Pace) -> None:
        self._upstream = upstream
        self._ledger = ledger
        self._pace = pace

    async def correct(self, wanted: Operation, before: Copy | None, answer: Answer) -> None:
        """Correct an answer; `before` is the copy onto the blob that was known when the request came."""
        if wanted.name in {"HeadBlob", "GetBlob"}:
            self._describe(before, answer)
        elif not answer.ok:
            return
        elif wanted.name in _END_OF_A_COPY:
            await self._end(wanted)
        elif wanted.name == "SetMetadata" and before:
            self._ledger.put(replace(before, etag=answer.etag))

    def _describe(self, copy: Copy | None, answer: Answer) -> None:
        """Add or correct the headers. A failed copy is shown as long as the blob is the one it left."""
        stored = answer.headers.get("x-ms-copy-id")
        if copy and copy.etag == answer.etag:
            answer.headers.update(self._of(copy))
            if copy.pending:
                answer.headers.pop("Content-MD5", None)
                answer.headers.update(_md5(copy))
        elif stored and (shown := self._ledger.shown(stored)):
            answer.headers["x-ms-copy-id"] = shown
            answer.headers["x-ms-copy-source"] = self._shown_source(answer.headers["x-ms-copy-source"])
        elif stored:
            for name in [name for name in answer.headers if name.lower().startswith("x-ms-copy-")]:
                del answer.headers[name]

    def listed(self, place: Place, etag: str, stored: Mapping[str, str]) -> dict[str, str]:
        """Return the elements about a blob's copy in a list; `stored` are those that Azurite has."""
        copies = (copy for copy in self._ledger.all() if copy.key[:2] == place and copy.etag.strip('"') == etag)
        if copy := next(copies, None):
            md5 = {"Content-MD5": copy.md5} if copy.pending else {}
            return md5 | {_ELEMENTS[name]: text for name, text in self._of(copy).items()}
        if shown := self._ledger.shown(stored.get("CopyId", "")):
            source = self._shown_source(stored["CopySource"])
            kept = {name: text for name, text in stored.items() if name != "IncrementalCopy"}
            return kept | {"CopyId": shown, "CopySource": source}
        return {}

    def _of(self, copy: Copy) -> dict[str, str]:
        properties = {
            "x-ms-copy-id": copy.id,
            "x-ms-copy-status": str(copy.status),
            "x-ms-copy-source": self._shown_source(copy.source),
            "x-ms-copy-progress": self._pace.progress(copy),
        }
        if description := self._pace.stumble if copy.pending else copy.description:
            properties["x-ms-copy-status-description"] = description
        if copy.finished:
            properties["x-ms-copy-completion-time"] = formatdate(copy.finished, usegmt=True)
        return properties

    def _shown_source(self, url: str) -> str:
        """The service shows the SAS without its signature; until 2019, and here on request, with it."""
        return url if self._pace.show_signature else _SIGNATURE.sub("", url).rstrip("?&")

    async def _end(self, wanted: Operation) -> None:
        """Show no more of the last copy; only Set Blob Properties leaves Azurite something to hide."""
        self._ledger.forget(wanted.key)
        if wanted.name == "SetProperties":
            head = await self._upstream.ask("HEAD", wanted.path)
            if stored := head.headers.get("x-ms-copy-id"):
                self._ledger.show(stored, "")


def _md5(copy: Copy) -> dict[str, str]:
    """The target has the source's from the start (PY22 test_copy_blob_async_private_blob_with_sas)."""
    return {"Content-MD5": copy.md5} if copy.md5 else {}
