"""Copy Blob as slow as the service: Azurite finishes every asynchronous copy at once, so its end is held back here.

1. The client's own request goes to Azurite, which checks everything and copies; what it refuses is refused.
2. The copy is recorded, then the target is emptied: a committed blob of zero length with the metadata, a new ETag.
3. The client is told `pending`. Until the end the target refuses writes, and shows its progress.
4. At the end the real copy is made, pinned to the source's ETag at the start; or the copy failed, or was aborted.

Killed between 1 and 2 the copy stands as done at once, which the service may do too; later, the ledger knows the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from aiohttp import ClientError
from multidict import CIMultiDict

from devhost.storage.answers import Answer, error
from devhost.storage.config import StackError
from devhost.storage.ledger import Copy, Status
from devhost.storage.operations import operation, parts, source_of
from devhost.storage.pace import Pace
from devhost.storage.properties import CopyProperties
from devhost.storage.strictness import copy_refusal

if TYPE_CHECKING:
    from aiohttp import web

    from devhost.storage.config import Config
    from devhost.storage.events import Events
    from devhost.storage.ledger import Ledger
    from devhost.storage.operations import Key, Operation
    from devhost.storage.upstream import Upstream

TICK_SECONDS = 0.05
ACCEPTED = 202
NOT_FOUND = 404
CONFLICT = 409
CLIENT_ERRORS = range(400, 500)

_CARRIED = ("host", "x-ms-access-tier", "x-ms-lease-id", "x-ms-rehydrate-priority", "x-ms-seal-blob", "x-ms-tags")
# How a failed copy describes a source that could not be read.
_DESCRIBED = {403: "Forbidden", 404: "ResourceNotFound"}
_CONTENT = {
    "Content-Type": "x-ms-blob-content-type",
    "Content-Encoding": "x-ms-blob-content-encoding",
    "Content-Language": "x-ms-blob-content-language",
    "Content-Disposition": "x-ms-blob-content-disposition",
    "Cache-Control": "x-ms-blob-cache-control",
}


class Copies:
    """The pending copies of all accounts."""

    def __init__(self, upstream: Upstream, ledger: Ledger, events: Events, config: Config) -> None:
        self.pace = Pace(config.copy_rate, config.copy_seconds)
        self._upstream = upstream
        self._ledger = ledger
        self._events = events
        self.properties = CopyProperties(upstream, ledger, self.pace)
        self._locks: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()

    def all(self) -> list[Copy]:
        """Return every copy that is pending, failed or aborted."""
        return self._ledger.all()

    def latest(self, key: Key) -> Copy | None:
        """Return the copy onto a target, unless it succeeded."""
        return self._ledger.get(key)

    def refusal(self, wanted: Operation) -> Answer | None:
        """Refuse a write to the target of a pending copy.

        Deleting it counts as one: Microsoft's pages do not say, and the stricter answer is the safer to develop with.
        """
        copy = self._ledger.get(wanted.key)
        if copy is None or not copy.pending or not wanted.writes_a_blob:
            return None
        return error(409, "PendingCopyOperation", "There is currently a pending copy operation.")

    async def quiet(self, key: Key) -> None:
        """Wait while a copy starts or ends on this blob: nobody may see what lies between."""
        lock = self._locks.get(key)
        if lock:
            async with lock:
                pass

    async def start(self, request: web.BaseRequest, wanted: Operation) -> Answer:
        """Start an asynchronous copy."""
        source = request.headers["x-ms-copy-source"]
        async with self._lock(wanted.key):
            if refusal := self.refusal(wanted):
                return refusal
            if refusal := await copy_refusal(self._upstream, request, wanted):
                return refusal
            source_etag = await self._source_etag(request, source)
            answer = await self._upstream.forward(request)
            # A blob copied onto itself has nothing to wait for.
            if answer.status != ACCEPTED or parts(source_of(source)[0]) == wanted.key:
                return answer
            return await self._become_pending(request, wanted, answer, source_etag)

    async def abort(self, request: web.BaseRequest, wanted: Operation) -> Answer:
        """End a pending copy by a client's wish; the empty target with its metadata stays."""
        async with self._lock(wanted.key):
            answer = await self._upstream.forward(request)
            # Azurite, which knows of no pending copy, answers 409; any other refusal (signature, lease) is right.
            return await self._aborted(wanted, answer) if answer.status == CONFLICT else answer

    async def _aborted(self, wanted: Operation, answer: Answer) -> Answer:
        answer.drop()
        copy = self._ledger.get(wanted.key)
        if copy is None or not copy.pending:
            return error(409, "NoPendingCopyOperation", "There is currently no pending copy operation.")
        if wanted.query.get("copyid") != copy.id:
            return error(409, "CopyIdMismatch", "The specified copy ID did not match the pending copy operation.")
        self._end(copy, Status.ABORTED, "", etag="")
        await self._change_etag(copy)
        kept = {name: answer.headers[name] for name in ("x-ms-request-id", "x-ms-version") if name in answer.headers}
        return Answer(204, CIMultiDict(kept))

    async def _change_etag(self, copy: Copy) -> None:
        """Write an aborted copy's empty target once more: the service shows another ETag (PY19, PY22 test_abort_copy_blob)."""
        head = await self._upstream.ask("HEAD", copy.path)
        changed = await self._upstream.ask("PUT", copy.path, "comp=metadata", _metadata(head) | _lease(copy))
        aborted = self._ledger.get(copy.key)
        if aborted and changed.ok:
            self._ledger.put(replace(aborted, etag=changed.etag))

    async def run(self) -> None:
        """End every copy when it is time, for ever."""
        while True:
            due = [copy for copy in self._ledger.all() if copy.pending and self.pace.is_due(copy)]
            await asyncio.gather(*(self._finish(copy.key) for copy in due))
            await asyncio.sleep(TICK_SECONDS)

    async def recover(self) -> None:
        """Write the targets whose copies were recorded, begun or aborted, just before the stack was killed."""
        for copy in self._ledger.all():
            if copy.pending and not copy.etag:
                await self._empty(copy, await self._upstream.ask("HEAD", copy.path))
            elif not copy.etag:
                await self._change_etag(copy)

    def _lock(self, key: Key) -> asyncio.Lock:
        return self._locks.setdefault(key, asyncio.Lock())

    async def _source_etag(self, request: web.BaseRequest, source: str) -> str:
        """Return the version that is copied: what the client insists on, else what is there before anything is done."""
        wanted = request.headers.get("x-ms-source-if-match")
        if wanted and wanted != "*":
            return wanted
        return (await self._upstream.ask("HEAD", *source_of(source))).etag

    async def _become_pending(
        self, request: web.BaseRequest, wanted: Operation, answer: Answer, source_etag: str
    ) -> Answer:
        full = await self._upstream.ask("HEAD", wanted.path)
        copy = Copy(
            *wanted.key,
            id=answer.headers["x-ms-copy-id"],
            path=wanted.path,
            source=request.headers["x-ms-copy-source"],
            source_etag=source_etag,
            size=int(full.headers.get("Content-Length", "0")),
            started=time.time(),
            headers={name: value for name, value in request.headers.items() if _is_carried(name)},
            request_id=answer.headers.get("x-ms-request-id", ""),
            client_request_id=request.headers.get("x-ms-client-request-id", ""),
            md5=full.headers.get("Content-MD5", ""),
            doom=self.pace.take_failure(),
        )
        self._ledger.put(copy)
        if emptied := await self._empty(copy, full, answer.etag):
            answer.headers["ETag"] = emptied.etag
            answer.headers["Last-Modified"] = emptied.headers["Last-Modified"]
            answer.headers["x-ms-copy-status"] = Status.PENDING
        return answer

    async def _empty(self, copy: Copy, full: Answer, etag: str = "") -> Answer | None:
        """Put the zero-length blob; None if somebody else's write came in between, for then the copy was done."""
        headers = _empty_headers(copy, full) | ({"If-Match": etag} if etag else {})
        emptied = await self._upstream.ask("PUT", copy.path, "", headers)
        if not emptied.ok:
            self._ledger.forget(copy.key)
            return None
        self._ledger.put(replace(copy, etag=emptied.etag))
        return emptied

    async def _finish(self, key: Key) -> None:
        async with self._lock(key):
            copy = self._ledger.get(key)
            if copy is None or not copy.pending:
                return
            # If Azurite is going away or the queue refuses: the copy is still pending and comes up again.
            with contextlib.suppress(ClientError, StackError):
                await self._make(copy)

    async def _make(self, copy: Copy) -> None:
        if copy.doom:
            self._end(copy, Status.FAILED, copy.doom)
            return
        made = await self._upstream.ask("PUT", copy.path, "", _copy_headers(copy))
        if made.ok:
            await self._succeed(copy, made)
            return
        await self._judge(copy, made, await self._upstream.ask("HEAD", copy.path))

    async def _judge(self, copy: Copy, refused: Answer, target: Answer) -> None:
        """Say what a refusal of the real copy means; if Azurite is merely out of order, nothing: it is asked again."""
        if target.etag == copy.etag:
            if refused.status in CLIENT_ERRORS:
                code = _DESCRIBED.get(refused.status, refused.code)
                self._end(copy, Status.FAILED, f'{refused.status} {code} "Copy failed when reading the source."')
        elif target.headers.get("x-ms-copy-id"):
            await self._succeed(copy, target)  # we were killed after making the copy, before recording it
        elif target.ok or target.status == NOT_FOUND:
            self._ledger.forget(copy.key)  # its container was deleted, or somebody wrote past the proxy

    async def _succeed(self, copy: Copy, made: Answer) -> None:
        """Record the end after its event is queued: killed in between, the event comes twice rather than never."""
        self._ledger.show(made.headers["x-ms-copy-id"], copy.id)
        start = operation("PUT", copy.path, {"x-ms-copy-source": copy.source})
        if self._events.watches(start):
            await self._events.created(start, made.etag, copy.request_id, copy.client_request_id)
        self._ledger.forget(copy.key)

    def _end(self, copy: Copy, status: Status, description: str, *, etag: str | None = None) -> None:
        etag = copy.etag if etag is None else etag
        self._ledger.put(replace(copy, status=status, description=description, finished=time.time(), etag=etag))


def _is_carried(name: str) -> bool:
    return name.lower() in _CARRIED or name.lower().startswith("x-ms-meta-")


def _copy_headers(copy: Copy) -> dict[str, str]:
    pinned = {"x-ms-copy-source": copy.source, "x-ms-source-if-match": copy.source_etag, "If-Match": copy.etag}
    return copy.headers | pinned


def _empty_headers(copy: Copy, full: Answer) -> dict[str, str]:
    content = {_CONTENT[name]: full.headers[name] for name in _CONTENT if name in full.headers}
    kind = full.headers["x-ms-blob-type"]
    # A page blob is made in its full size at once, of zeros.
    pages = {"x-ms-blob-content-length": str(copy.size)} if kind == "PageBlob" else {}
    tags = {name: value for name, value in copy.headers.items() if name.lower() == "x-ms-tags"}
    return _metadata(full) | content | pages | tags | _lease(copy) | {"x-ms-blob-type": kind, "Content-Length": "0"}


def _metadata(blob: Answer) -> dict[str, str]:
    return {name: value for name, value in blob.headers.items() if name.lower().startswith("x-ms-meta-")}


def _lease(copy: Copy) -> dict[str, str]:
    return {name: value for name, value in copy.headers.items() if name.lower() == "x-ms-lease-id"}
