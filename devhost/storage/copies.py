"""Copy Blob as slow as the service. Azurite completes every asynchronous copy at once, so the proxy delays its end.

1. The client's own request goes to Azurite, which checks it and copies. A refusal is passed on.
2. The copy is recorded, then the target is emptied: a committed blob without bytes, with the metadata and a new ETag.
3. The client receives `pending`. Until the end the target refuses writes and shows its progress.
4. At the end the real copy is made, pinned to the source's ETag at the start, unless the copy fails or is aborted.

If the stack is killed between 1 and 2, the copy is complete at once, which the service may do too. After 2, the ledger
has the copy.
"""

import asyncio
import contextlib
import time
from dataclasses import replace
from weakref import WeakValueDictionary

from aiohttp import ClientError, web
from multidict import CIMultiDict

from devhost.storage.answers import Answer, error
from devhost.storage.config import Config, StackError
from devhost.storage.events import APIS, Caller, Events
from devhost.storage.ledger import Copy, Ledger, Status
from devhost.storage.operations import Key, Operation, operation, parts, source_of
from devhost.storage.properties import CopyProperties, Pace
from devhost.storage.strictness import copy_refusal
from devhost.storage.upstream import Upstream

TICK_SECONDS = 0.05
ACCEPTED = 202
NOT_FOUND = 404
CONFLICT = 409
CLIENT_ERRORS = range(400, 500)

_COPIED_HEADERS = (
    "host",
    "x-ms-access-tier",
    "x-ms-lease-id",
    "x-ms-rehydrate-priority",
    "x-ms-seal-blob",
    "x-ms-tags",
)
# The error in the description of a failed copy.
_DESCRIBED = {403: "Forbidden", 404: "ResourceNotFound"}


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
        """Return the copy onto a target; None if it succeeded."""
        return self._ledger.get(key)

    def refusal(self, wanted: Operation) -> Answer | None:
        """Refuse a write to the target of a pending copy.

        A deletion counts as a write. This is not documented. It is the stricter assumption, so it hides no error of the app.
        """
        copy = self._ledger.get(wanted.key)
        if copy is None or not copy.pending or not wanted.writes_a_blob:
            return None
        return error(409, "PendingCopyOperation", "There is currently a pending copy operation.")

    async def wait_while_locked(self, key: Key) -> None:
        """Wait while a copy onto this blob starts or ends, because no client may see the intermediate states."""
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
            # A copy of a blob onto itself is complete at once.
            if answer.status != ACCEPTED or parts(source_of(source)[0]) == wanted.key:
                return answer
            return await self._become_pending(request, wanted, answer, source_etag)

    async def abort(self, request: web.BaseRequest, wanted: Operation) -> Answer:
        """Abort a pending copy; the empty target with its metadata stays."""
        async with self._lock(wanted.key):
            answer = await self._upstream.forward(request)
            # Azurite has no pending copies and answers 409. Any other refusal (signature, lease) is correct.
            return await self._record_abort(wanted, answer) if answer.status == CONFLICT else answer

    async def _record_abort(self, wanted: Operation, answer: Answer) -> Answer:
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
        """Write an aborted copy's target once more, since the service changes its ETag (PY19, PY22 test_abort_copy_blob)."""
        head = await self._upstream.ask("HEAD", copy.path)
        changed = await self._upstream.ask("PUT", copy.path, "comp=metadata", head.metadata | _lease(copy))
        aborted = self._ledger.get(copy.key)
        if aborted and changed.ok:
            self._ledger.put(replace(aborted, etag=changed.etag))

    async def run(self) -> None:
        """End copies that are due, until cancelled."""
        while True:
            due = [copy for copy in self._ledger.all() if copy.pending and self.pace.is_due(copy)]
            await asyncio.gather(*(self._finish(copy.key) for copy in due))
            await asyncio.sleep(TICK_SECONDS)

    async def recover(self) -> None:
        """Write the targets of copies that were started or aborted just before the stack was killed."""
        for copy in self._ledger.all():
            if copy.pending and not copy.etag:
                await self._empty(copy, await self._upstream.ask("HEAD", copy.path))
            elif not copy.etag:
                await self._change_etag(copy)

    def _lock(self, key: Key) -> asyncio.Lock:
        return self._locks.setdefault(key, asyncio.Lock())

    async def _source_etag(self, request: web.BaseRequest, source: str) -> str:
        """Return the ETag of the copied version: the client's condition, or the source's present one."""
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
            headers={name: value for name, value in request.headers.items() if _is_copied(name)},
            request_id=answer.headers.get("x-ms-request-id", ""),
            client_request_id=request.headers.get("x-ms-client-request-id", ""),
            md5=full.headers.get("Content-MD5", ""),
            failure=self.pace.take_failure(),
        )
        self._ledger.put(copy)
        if emptied := await self._empty(copy, full, answer.etag):
            answer.headers["ETag"] = emptied.etag
            answer.headers["Last-Modified"] = emptied.headers["Last-Modified"]
            answer.headers["x-ms-copy-status"] = Status.PENDING
        return answer

    async def _empty(self, copy: Copy, full: Answer, etag: str = "") -> Answer | None:
        """Write the target without bytes; return None if another write came first, since then the copy is complete."""
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
            # If Azurite stops or the queue refuses the event, the copy is still pending and is tried again.
            with contextlib.suppress(ClientError, StackError):
                await self._make_real_copy(copy)

    async def _make_real_copy(self, copy: Copy) -> None:
        if copy.failure:
            self._end(copy, Status.FAILED, copy.failure)
            return
        pinned = {"x-ms-copy-source": copy.source, "x-ms-source-if-match": copy.source_etag, "If-Match": copy.etag}
        made = await self._upstream.ask("PUT", copy.path, "", copy.headers | pinned)
        if made.ok:
            await self._succeed(copy, made)
            return
        await self._handle_refusal(copy, made, await self._upstream.ask("HEAD", copy.path))

    async def _handle_refusal(self, copy: Copy, refused: Answer, target: Answer) -> None:
        """Handle the refusal of the real copy. After a server error it is tried again."""
        if target.etag == copy.etag:
            if refused.status in CLIENT_ERRORS:
                code = _DESCRIBED.get(refused.status, refused.code)
                self._end(copy, Status.FAILED, f'{refused.status} {code} "Copy failed when reading the source."')
        elif target.headers.get("x-ms-copy-id"):
            await self._succeed(copy, target)  # the stack was killed between the copy and its record
        elif target.ok or target.status == NOT_FOUND:
            self._ledger.forget(copy.key)  # its container was deleted, or a client bypassed the proxy to write the blob

    async def _succeed(self, copy: Copy, made: Answer) -> None:
        """Queue the event, then record the end: if the stack is killed in between, the event is sent twice."""
        self._ledger.show(made.headers["x-ms-copy-id"], copy.id)
        start = operation("PUT", copy.path, {"x-ms-copy-source": copy.source})
        await self._events.created(start, made.etag, Caller(APIS[start.name], copy.request_id, copy.client_request_id))
        self._ledger.forget(copy.key)

    def _end(self, copy: Copy, status: Status, description: str, *, etag: str | None = None) -> None:
        etag = copy.etag if etag is None else etag
        self._ledger.put(replace(copy, status=status, description=description, finished=time.time(), etag=etag))


def _is_copied(name: str) -> bool:
    return name.lower() in _COPIED_HEADERS or name.lower().startswith("x-ms-meta-")


def _empty_headers(copy: Copy, full: Answer) -> dict[str, str]:
    kind = full.headers["x-ms-blob-type"]
    # A page blob is created in its full size, with zeros.
    pages = {"x-ms-blob-content-length": str(copy.size)} if kind == "PageBlob" else {}
    tags = {name: value for name, value in copy.headers.items() if name.lower() == "x-ms-tags"}
    return full.metadata | full.content | pages | tags | _lease(copy) | {"x-ms-blob-type": kind, "Content-Length": "0"}


def _lease(copy: Copy) -> dict[str, str]:
    return {name: value for name, value in copy.headers.items() if name.lower() == "x-ms-lease-id"}
