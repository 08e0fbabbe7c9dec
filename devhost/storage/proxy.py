"""The proxy in front of Azurite's blob service. It forwards most requests unchanged."""

import asyncio
import re
import time
from email.utils import formatdate

from aiohttp import ClientError, web

from devhost.storage.answers import Answer, error, format_error, hang_up
from devhost.storage.config import StackError
from devhost.storage.copies import Copies
from devhost.storage.events import APIS, Caller, Events
from devhost.storage.faults import DroppedError, Fault, Faults
from devhost.storage.hierarchy import Hierarchy
from devhost.storage.journal import Entry, Journal
from devhost.storage.lake import Lake
from devhost.storage.lists import Lists
from devhost.storage.operations import LAKE, Operation, operation
from devhost.storage.strictness import copy_refusal, correct, invalid_request
from devhost.storage.upstream import Upstream

AZURITES_OWN_CLIENT = "axios/"
RANGE = re.compile(r"bytes=(\d{1,15})-(\d{1,15})")


class Proxy:
    """Handles requests: records each, applies a fault, serves it, queues the event of a new blob, and sends the response."""

    def __init__(self, upstream: Upstream, copies: Copies, events: Events, faults: Faults, journal: Journal) -> None:
        self._upstream = upstream
        self._copies = copies
        self._hierarchy = Hierarchy(upstream)
        self.lake = Lake(upstream, self._hierarchy, events)
        self._lists = Lists(upstream, copies.properties, self._hierarchy)
        self._events = events
        self._faults = faults
        self._journal = journal

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a client. An error becomes a response, or closes the connection."""
        path, question, query = request.raw_path.partition("?")
        target = f"{self._upstream.stored(path)}{question}{query}"
        wanted = operation(request.method, target, request.headers)
        entry = self._record(request, wanted)
        try:
            answer = await self._answer(request, wanted, entry)
        except (DroppedError, ConnectionError):
            await hang_up(request)
            return web.StreamResponse()
        except (ClientError, StackError):
            # A blob whose event was not queued must not be acknowledged, so that the client tries again.
            answer = error(503, "ServerBusy", "The storage emulator failed. Try again.")
        except ValueError:
            answer = error(400, "InvalidUri", "The request URI is invalid.")
        entry.answered = True
        entry.status, entry.code = answer.status, answer.code
        return await answer.send(request)

    async def _answer(self, request: web.BaseRequest, wanted: Operation, entry: Entry) -> Answer:
        fault = None if entry.internal else self._faults.take(request, wanted)
        if fault and fault.when == "before" and (instead := await fault.apply()):
            return instead
        answer = await (self._upstream.forward(request) if entry.internal else self._answer_like_azure(request, wanted))
        if fault and fault.clock:
            answer.headers["Date"] = formatdate(time.time() + fault.clock, usegmt=True)
        entry.status, entry.code = answer.status, answer.code
        return await _apply_after(fault, answer)

    async def _answer_like_azure(self, request: web.BaseRequest, wanted: Operation) -> Answer:
        answer = (
            invalid_request(request, wanted)
            or self._hierarchy.refusal(request, wanted)
            or await (self._serve_lake if wanted.name in LAKE else self._serve)(request, wanted)
        )
        answer = await correct(self._upstream, request, wanted, answer)
        await self._hierarchy.complete(request, wanted, answer)
        if not answer.ok:
            await format_error(answer)
        return answer

    async def _serve(self, request: web.BaseRequest, wanted: Operation) -> Answer:
        """Serve a request. The event of a new blob is queued before this returns."""
        if wanted.name == "PutBlockFromUrl":
            await asyncio.sleep(self._copies.pace.block_seconds)
        await self._copies.wait_while_locked(wanted.key)
        if wanted.name == "AbortCopy":
            return await self._copies.abort(request, wanted)
        if wanted.name == "CopyBlob":
            return await self._queue_event(request, wanted, await self._copies.start(request, wanted))
        if refusal := self._copies.refusal(wanted):
            return refusal
        if wanted.name in {"CopyBlobFromUrl", "PutBlockFromUrl"} and (
            refusal := await copy_refusal(self._upstream, request, wanted)
        ):
            return refusal
        tier = await self._events.tier(wanted) if wanted.name == "SetTier" else ""
        before = self._copies.latest(wanted.key)
        answer = await self._upstream.forward(request)
        if wanted.name == "ListBlobs" and answer.ok:
            return await self._lists.page(request, wanted, answer)
        await self._copies.properties.correct(wanted, before, answer)
        if tier and answer.ok:
            await self._events.tier_changed(wanted, tier, _caller("SetBlobTier", request, answer))
        return await self._queue_event(request, wanted, answer)

    async def _serve_lake(self, request: web.BaseRequest, wanted: Operation) -> Answer:
        await self._copies.wait_while_locked(wanted.key)
        return self._copies.refusal(wanted) or await self.lake.serve(request, wanted)

    async def _queue_event(self, request: web.BaseRequest, wanted: Operation, answer: Answer) -> Answer:
        """Queue the event, if any. A pending copy raises it at its end."""
        is_pending = answer.headers.get("x-ms-copy-status") == "pending"
        if answer.ok and not is_pending and wanted.name in APIS:
            await self._events.created(wanted, answer.etag, _caller(APIS[wanted.name], request, answer))
        return answer

    def _record(self, request: web.BaseRequest, wanted: Operation) -> Entry:
        user_agent = request.headers.get("User-Agent", "")
        entry = Entry(
            number=self._journal.next_number(),
            operation=wanted.name,
            method=request.method,
            account=wanted.account,
            container=wanted.container,
            blob=wanted.blob,
            user_agent=user_agent,
            client_request_id=request.headers.get("x-ms-client-request-id", ""),
            internal=user_agent.startswith(AZURITES_OWN_CLIENT),
            length=_length(request),
        )
        self._journal.add(entry)
        return entry


def _length(request: web.BaseRequest) -> int:
    found = RANGE.fullmatch(request.headers.get("x-ms-source-range", ""))
    return int(found[2]) - int(found[1]) + 1 if found else request.content_length or 0


async def _apply_after(fault: Fault | None, answer: Answer) -> Answer:
    if fault is None or fault.when == "before":
        return answer
    try:
        instead = await fault.apply()
    except DroppedError:
        answer.drop()
        raise
    if instead:
        answer.drop()
    return instead or answer


def _caller(api: str, request: web.BaseRequest, answer: Answer) -> Caller:
    return Caller(api, answer.headers.get("x-ms-request-id", ""), request.headers.get("x-ms-client-request-id", ""))
