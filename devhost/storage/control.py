"""The control API under `/-/`, a path that no account can have: what tests and the demo ask of the stack, in JSON."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, fields
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from aiohttp import web

from devhost.storage.config import StackError, watches
from devhost.storage.events import Encoding, Mode, Schema

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from devhost.storage.copies import Copies
    from devhost.storage.events import Events
    from devhost.storage.faults import Faults
    from devhost.storage.journal import Journal
    from devhost.storage.ledger import Copy
    from devhost.storage.upstream import Upstream

    Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

PREFIX = "/-/"


class Control:
    """Answers the control API; whatever it changes lasts until the stack stops."""

    def __init__(self, upstream: Upstream, copies: Copies, events: Events, faults: Faults, journal: Journal) -> None:
        self._upstream = upstream
        self._copies = copies
        self._events = events
        self._faults = faults
        self._journal = journal
        self._calls: dict[tuple[str, str], Callable[[web.BaseRequest], Awaitable[Any]]] = {
            ("GET", "health"): self._health,
            ("GET", "requests"): self._requests,
            ("DELETE", "requests"): self._forget_requests,
            ("GET", "faults"): self._list_faults,
            ("POST", "faults"): self._add_fault,
            ("DELETE", "faults"): self._remove_faults,
            ("GET", "copies"): self._list_copies,
            ("PUT", "copies"): self._set_pace,
            ("GET", "accounts"): self._accounts,
            ("PUT", "accounts"): self._set_accounts,
            ("GET", "events"): self._event_settings,
            ("PUT", "events"): self._set_events,
        }

    def in_front_of(self, handler: Handler) -> Handler:
        """Answer what begins with PREFIX here, and leave the rest to `handler`."""

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            return await (self._answer(request) if request.raw_path.startswith(PREFIX) else handler(request))

        return handle

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one call; what it cannot make sense of is a 400 that says why."""
        name = request.path.removeprefix(PREFIX).partition("/")[0]
        call = self._calls.get((request.method, name))
        if call is None:
            return _json({"error": f"{request.method} {request.path} does not exist"}, HTTPStatus.NOT_FOUND)
        try:
            return _json(await call(request))
        except (ValueError, TypeError, KeyError, AttributeError, re.error, StackError) as problem:
            return _json({"error": str(problem)}, HTTPStatus.BAD_REQUEST)

    async def _health(self, _request: web.BaseRequest) -> Any:
        return {"status": "up"}

    async def _requests(self, request: web.BaseRequest) -> Any:
        return {"requests": self._journal.select(request.query)}

    async def _forget_requests(self, _request: web.BaseRequest) -> Any:
        self._journal.clear()
        return {"requests": []}

    async def _list_faults(self, _request: web.BaseRequest) -> Any:
        return {"faults": self._faults.describe()}

    async def _add_fault(self, request: web.BaseRequest) -> Any:
        return self._faults.add(await request.json()).describe()

    async def _remove_faults(self, request: web.BaseRequest) -> Any:
        number = request.path.removeprefix(f"{PREFIX}faults").strip("/")
        self._faults.remove(int(number) if number else None)
        return {"faults": self._faults.describe()}

    async def _list_copies(self, _request: web.BaseRequest) -> Any:
        return {**asdict(self._copies.pace), "copies": [self._describe(copy) for copy in self._copies.all()]}

    async def _set_pace(self, request: web.BaseRequest) -> Any:
        changes = await request.json()
        typed = {field.name: type(getattr(self._copies.pace, field.name)) for field in fields(self._copies.pace)}
        values = {name: typed[name](value) for name, value in changes.items()}
        if values.get("rate", 1) <= 0:
            raise ValueError("rate is a positive number of bytes a second")
        for name, value in values.items():
            setattr(self._copies.pace, name, value)
        return await self._list_copies(request)

    async def _accounts(self, _request: web.BaseRequest) -> Any:
        return {"hierarchical": sorted(self._upstream.hierarchical)}

    async def _set_accounts(self, request: web.BaseRequest) -> Any:
        self._upstream.hierarchical = frozenset((await request.json())["hierarchical"])
        return await self._accounts(request)

    async def _event_settings(self, _request: web.BaseRequest) -> Any:
        return {
            "encoding": self._events.encoding,
            "schema": self._events.schema,
            "mode": self._events.mode,
            "watch": sorted(map(str, self._events.watch)),
        }

    async def _set_events(self, request: web.BaseRequest) -> Any:
        settings = {**await self._event_settings(request), **await request.json()}
        encoding, schema, mode = Encoding(settings["encoding"]), Schema(settings["schema"]), Mode(settings["mode"])
        self._events.watch = watches(",".join(settings["watch"]), self._upstream.accounts)
        self._events.encoding, self._events.schema, self._events.mode = encoding, schema, mode
        if mode in {Mode.DELIVER, Mode.DUPLICATE}:
            await self._events.deliver_held()
        return await self._event_settings(request)

    def _describe(self, copy: Copy) -> Mapping[str, Any]:
        """Leave out the source's URL: it holds a signature."""
        return {
            "account": copy.account,
            "container": copy.container,
            "blob": copy.blob,
            "id": copy.id,
            "status": copy.status,
            "progress": self._copies.pace.progress(copy),
            "description": copy.description,
        }


def _json(value: Any, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    return web.json_response(value, status=status, dumps=lambda body: json.dumps(body, indent=1) + "\n")
