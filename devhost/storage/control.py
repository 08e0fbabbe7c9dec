"""The control API for tests under `/-/`, a path that no account can have. It takes and returns JSON."""

import base64
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import asdict, fields
from http import HTTPStatus
from typing import Any

from aiohttp import web

from devhost.storage.config import StackError, watches
from devhost.storage.copies import Copies
from devhost.storage.events import Encoding, Events, Mode, Schema
from devhost.storage.faults import Faults
from devhost.storage.journal import Journal
from devhost.storage.lake import Lake
from devhost.storage.ledger import Copy
from devhost.storage.operations import parts
from devhost.storage.upstream import Upstream

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
PREFIX = "/-/"


class Control:
    """Answers the control API. Its changes last until the stack stops."""

    def __init__(  # noqa: PLR0913, PLR0917  # the parts of the stack
        self, upstream: Upstream, copies: Copies, events: Events, faults: Faults, journal: Journal, lake: Lake
    ) -> None:
        self._upstream = upstream
        self._lake = lake
        self._copies = copies
        self._events = events
        self._faults = faults
        self._journal = journal

    def in_front_of(self, handler: Handler) -> Handler:
        """Return a handler that answers paths below PREFIX and leaves the others to `handler`."""

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            return await (self._answer(request) if request.raw_path.startswith(PREFIX) else handler(request))

        return handle

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a call; an invalid one is a 400 with the reason."""
        try:
            body = await request.json() if request.body_exists else None
            answer = await self._call(request, body)
        except (ValueError, TypeError, KeyError, AttributeError, re.error, StackError) as problem:
            return _json({"error": str(problem)}, HTTPStatus.BAD_REQUEST)
        if answer is None:
            return _json({"error": f"{request.method} {request.path} does not exist"}, HTTPStatus.NOT_FOUND)
        return _json(answer)

    async def _call(self, request: web.BaseRequest, body: Any) -> Any:  # noqa: C901, PLR0911  # the table of the API
        name, _, number = request.path.removeprefix(PREFIX).partition("/")
        match request.method, name:
            case "GET", "health":
                return {"status": "up"}
            case "GET", "requests":
                return {"requests": self._journal.select(request.query)}
            case "DELETE", "requests":
                self._journal.clear()
                return {"requests": []}
            case "GET", "faults":
                return {"faults": self._faults.describe()}
            case "POST", "faults":
                return self._faults.add(body).describe()
            case "DELETE", "faults":
                self._faults.remove(int(number) if number else None)
                return {"faults": self._faults.describe()}
            case "GET" | "PUT", "copies":
                self._set_pace(body or {})
                return {**asdict(self._copies.pace), "copies": [self._describe(copy) for copy in self._copies.all()]}
            case "GET" | "PUT", "accounts":
                return self._set_accounts(body or {})
            case "GET" | "PUT", "events":
                return await self._set_events(body or {})
            case "POST", "sftp":
                return await self._sftp(**body)
        return None

    async def _sftp(self, api: str, path: str, data: str = "", to: str = "") -> dict[str, Any]:
        answer = await self._lake.sftp(api, path, base64.b64decode(data, validate=True), to)
        if not answer.ok:
            raise ValueError(f"{answer.status} {answer.code}")
        return {"status": answer.status, "etag": answer.etag}

    def _set_accounts(self, changes: dict[str, Any]) -> dict[str, Any]:
        if "hierarchical" in changes:
            self._upstream.hierarchical = frozenset(changes["hierarchical"])
        if path := changes.get("made_by_lake"):
            self._upstream.made_by_lake.add(parts(f"/{path}"))
        made_by_lake = ["/".join(key) for key in sorted(self._upstream.made_by_lake)]
        return {"hierarchical": sorted(self._upstream.hierarchical), "made_by_lake": made_by_lake}

    def _set_pace(self, changes: dict[str, Any]) -> None:
        pace = self._copies.pace
        typed = {field.name: type(getattr(pace, field.name)) for field in fields(pace)}
        values = {name: typed[name](value) for name, value in changes.items()}
        if values.get("rate", 1) <= 0:
            raise ValueError("rate is a positive number of bytes per second")
        for name, value in values.items():
            setattr(pace, name, value)

    async def _set_events(self, changes: dict[str, Any]) -> dict[str, Any]:
        events = self._events
        settings = {
            "encoding": events.encoding,
            "schema": events.schema,
            "mode": events.mode,
            "watch": sorted(map(str, events.watch)),
            **changes,
        }
        encoding, schema, mode = Encoding(settings["encoding"]), Schema(settings["schema"]), Mode(settings["mode"])
        events.watch = watches(",".join(settings["watch"]), self._upstream.accounts)
        events.encoding, events.schema, events.mode = encoding, schema, mode
        if mode in {Mode.DELIVER, Mode.DUPLICATE}:
            await events.deliver_held()
        return settings | {"watch": sorted(map(str, events.watch))}

    def _describe(self, copy: Copy) -> dict[str, Any]:
        """Describe a copy without its source's URL, which holds a signature."""
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
