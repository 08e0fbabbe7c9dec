"""What readers are shown of a copy: Azurite knows only copies that succeeded at once, under ids of its own."""

from __future__ import annotations

import re
from dataclasses import replace
from email.utils import formatdate
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from devhost.storage.answers import Answer
    from devhost.storage.ledger import Copy, Ledger
    from devhost.storage.operations import Operation
    from devhost.storage.pace import Pace
    from devhost.storage.upstream import Upstream

# "These properties are gone if the blob has been modified by Set Blob Properties, Put Blob or Put Block List":
# https://learn.microsoft.com/rest/api/storageservices/get-blob-properties
_END_OF_A_COPY = {"PutBlob", "PutBlobFromUrl", "PutBlockList", "CopyBlobFromUrl", "DeleteBlob", "SetProperties"}

_BLOB = re.compile(r"<Properties>.*?</Properties>", re.DOTALL)
_COPY = re.compile(
    r"<Copy(\w+)>[^<]*</Copy\1>|<(?:IncrementalCopy|Copy\w+)\s*/>|<IncrementalCopy>[^<]*</IncrementalCopy>"
)
_COPY_ID = re.compile(r"<CopyId>([^<]*)</CopyId>")
_ETAG = re.compile(r"<Etag>([^<]*)</Etag>")
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
        elif wanted.name == "ListBlobs":
            await self._describe_all(wanted, answer)
        elif wanted.name in _END_OF_A_COPY:
            await self._end(wanted)
        elif wanted.name == "SetMetadata" and before:
            self._ledger.put(replace(before, etag=answer.etag))

    def _describe(self, copy: Copy | None, answer: Answer) -> None:
        """Add or correct the headers. A failed copy is shown as long as the blob is the one it left."""
        stored = answer.headers.get("x-ms-copy-id")
        if copy and copy.etag == answer.etag:
            answer.headers.update(self._of(copy))
        elif stored and (shown := self._ledger.shown(stored)):
            answer.headers["x-ms-copy-id"] = shown
        elif stored:
            for name in [name for name in answer.headers if name.lower().startswith("x-ms-copy-")]:
                del answer.headers[name]

    async def _describe_all(self, wanted: Operation, answer: Answer) -> None:
        """Do the same in a list, which Azurite fills with copy properties whether they were asked for or not."""
        text = (await answer.read()).decode()
        if "copy" in wanted.query.get("include", "").split(","):
            place = wanted.account, wanted.container
            copies = {copy.etag.strip('"'): copy for copy in self._ledger.all() if copy.key[:2] == place}
            listed = _BLOB.sub(lambda found: self._listed(found[0], copies), text)
        else:
            listed = _COPY.sub("", text)
        answer.replace(listed.encode())

    def _listed(self, properties: str, copies: dict[str, Copy]) -> str:
        etag, stored = _ETAG.search(properties), _COPY_ID.search(properties)
        copy = copies.get(etag[1]) if etag else None
        if copy:
            elements = (
                f"<{_ELEMENTS[name]}>{escape(text)}</{_ELEMENTS[name]}>" for name, text in self._of(copy).items()
            )
            return properties.replace("</Properties>", "".join(elements) + "</Properties>")
        if stored and (shown := self._ledger.shown(stored[1])):
            return properties.replace(stored[0], f"<CopyId>{shown}</CopyId>")
        return _COPY.sub("", properties)

    def _of(self, copy: Copy) -> dict[str, str]:
        properties = {
            "x-ms-copy-id": copy.id,
            "x-ms-copy-status": str(copy.status),
            "x-ms-copy-source": copy.source,
            "x-ms-copy-progress": self._pace.progress(copy),
        }
        if copy.description:
            properties["x-ms-copy-status-description"] = copy.description
        if copy.finished:
            properties["x-ms-copy-completion-time"] = formatdate(copy.finished, usegmt=True)
        return properties

    async def _end(self, wanted: Operation) -> None:
        """Show no more of the last copy; only Set Blob Properties leaves Azurite something to hide."""
        self._ledger.forget(wanted.key)
        if wanted.name == "SetProperties":
            head = await self._upstream.ask("HEAD", wanted.path)
            if stored := head.headers.get("x-ms-copy-id"):
                self._ledger.show(stored, "")
