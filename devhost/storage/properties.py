"""The copy properties that readers see. Azurite shows only completed copies, and under other ids than the proxy returned."""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from email.utils import formatdate

from devhost.storage.answers import Answer
from devhost.storage.ledger import Copy, Ledger
from devhost.storage.operations import Operation
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


@dataclass(slots=True)
class Pace:
    """The speed of asynchronous copies and of Put Block From URL. It may change while they run. A restart of the stack does not reset a copy's time."""

    rate: float
    """Bytes per second."""
    seconds: float
    """The minimum duration of a copy."""
    block_seconds: float = 0.0
    """How long each Put Block From URL waits before it stages its block."""
    hold: bool = False
    """No copy ends."""
    stall_at: float = 1.0
    """The share of its bytes at which a copy stops. Below 1, no copy ends."""
    fail_next: str = ""
    """If not empty, the next copy that starts fails at its end, with this description."""
    stumble: str = ""
    """The status description of pending copies."""
    show_signature: bool = False
    """Whether a copy shows its source's SAS with the signature, as the service did until 2019."""

    def share(self, copy: Copy) -> float:
        """Return the completed share of a copy, from 0 to 1."""
        seconds = max(self.seconds, copy.size / self.rate)
        done = (time.time() - copy.started) / seconds if seconds else 1.0
        return max(0.0, min(done, self.stall_at, 1.0))

    def is_due(self, copy: Copy) -> bool:
        """Whether a copy may end."""
        return not self.hold and self.share(copy) >= 1

    def progress(self, copy: Copy) -> str:
        """Return `bytes/total`; a failed or aborted copy keeps no bytes."""
        return f"{int(copy.size * self.share(copy)) if copy.pending else 0}/{copy.size}"

    def take_failure(self) -> str:
        """Return the failure of the copy that starts now, if any."""
        failure, self.fail_next = self.fail_next, ""
        return failure


class CopyProperties:
    """Corrects Azurite's answers about blobs."""

    def __init__(self, upstream: Upstream, ledger: Ledger, pace: Pace) -> None:
        self._upstream = upstream
        self._ledger = ledger
        self._pace = pace

    async def correct(self, wanted: Operation, before: Copy | None, answer: Answer) -> None:
        """Correct an answer; `before` is the copy onto the blob when the request arrived."""
        if wanted.name in {"HeadBlob", "GetBlob"}:
            self._describe(before, answer)
        elif not answer.ok:
            return
        elif wanted.name in _END_OF_A_COPY:
            await self._end(wanted)
        elif wanted.name == "SetMetadata" and before:
            self._ledger.put(replace(before, etag=answer.etag))

    def _describe(self, copy: Copy | None, answer: Answer) -> None:
        """Correct the headers. A failed copy is shown until the blob changes."""
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

    def listed(self, container: tuple[str, str], etag: str, stored: Mapping[str, str]) -> dict[str, str]:
        """Return the elements about a blob's copy in a list; `stored` are Azurite's."""
        copies = (copy for copy in self._ledger.all() if copy.key[:2] == container and copy.etag.strip('"') == etag)
        if copy := next(copies, None):
            md5 = _md5(copy) if copy.pending else {}
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
        """Remove the signature from a SAS, unless `show_signature` is set."""
        return url if self._pace.show_signature else _SIGNATURE.sub("", url).rstrip("?&")

    async def _end(self, wanted: Operation) -> None:
        """Hide the last copy. After Set Blob Properties and Put Block List, Azurite still shows one."""
        self._ledger.forget(wanted.key)
        if wanted.name in {"SetProperties", "PutBlockList"}:
            head = await self._upstream.ask("HEAD", wanted.path)
            if stored := head.headers.get("x-ms-copy-id"):
                self._ledger.show(stored, "")


def _md5(copy: Copy) -> dict[str, str]:
    """Return the source's MD5, which the target has from the start (PY22 test_copy_blob_async_private_blob_with_sas)."""
    return {"Content-MD5": copy.md5} if copy.md5 else {}
