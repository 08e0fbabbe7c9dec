"""The HTTP management API of the Durable Task extension: one table of calls, the same on the public and the RPC port."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from http import HTTPMethod, HTTPStatus
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from devhost.host import instances, status
from devhost.host.hub import Hub, RefusalError, error_body
from devhost.host.instances import Query
from devhost.host.store import Instance, Store
from devhost.host.urls import Urls

Parts = dict[str, str]
Call = Callable[[web.Request, Parts], Awaitable[web.Response]]
POLL = 0.02


class Management:
    """Answers `/orchestrators` and `/instances` below whichever base it is asked under."""

    def __init__(self, hub: Hub, store: Store, urls: Urls) -> None:
        self._hub, self._store, self._urls = hub, store, urls
        one = r"/instances/(?P<id>[^/]+)"
        table: list[tuple[HTTPMethod, str, Call]] = [
            (HTTPMethod.POST, r"/orchestrators/(?P<name>[^/]+)(?:/(?P<id>[^/]+))?", self._start),
            (HTTPMethod.GET, "/instances", self._list),
            (HTTPMethod.DELETE, "/instances", self._purge_many),
            (HTTPMethod.GET, one, self._status),
            (HTTPMethod.DELETE, one, self._purge),
            (HTTPMethod.POST, one + r"/raiseEvent/(?P<name>[^/]+)", self._raise),
            (HTTPMethod.POST, one + "/restart", self._restart),
            (HTTPMethod.POST, one + r"/(?P<verb>terminate|suspend|resume|rewind)", self._tell),
        ]
        self._table = [(method, re.compile(pattern + "/?", re.IGNORECASE), call) for method, pattern, call in table]

    async def answer(self, request: web.Request, path: str) -> web.Response:
        """Answer a call; `path` is raw and begins behind the base."""
        for method, pattern, call in self._table:
            if request.method == method and (found := pattern.fullmatch(path)):
                parts = {key: unquote(text) for key, text in found.groupdict().items() if text}
                try:
                    return await call(request, parts)
                except RefusalError as refusal:
                    return _json(refusal.body, refusal.status)
        return web.Response(status=HTTPStatus.NOT_FOUND)

    async def _start(self, request: web.Request, parts: Parts) -> web.Response:
        text = (await request.read()).decode() or None
        if text:
            _parse(text, "Invalid JSON content")
        version = request.query.get("version")
        instance = await self._hub.start(parts["name"], parts.get("id"), text, version, headers=request.headers)
        if "timeout" in request.query and (ended := await self._wait(instance, float(request.query["timeout"]))):
            return _json(status.payload(ended)["output"])
        return self._accepted(request, instance)

    async def _wait(self, instance: str, seconds: float) -> Instance | None:
        """The instance once it has ended; none if that takes too long."""
        deadline = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < deadline:
            if (found := self._store.get(instance)) and not found.live:
                return found
            await asyncio.sleep(POLL)
        return None

    def _accepted(self, request: web.Request, instance: str) -> web.Response:
        body = self._urls.started(f"http://{request.host}", instance)
        headers = {"Location": body["statusQueryGetUri"], "Retry-After": "10"}
        return _json(body, HTTPStatus.ACCEPTED, headers)

    async def _status(self, request: web.Request, parts: Parts) -> web.Response:
        found = self._hub.find(parts["id"])
        body = status.payload(found, show_input=_flag(request, "showInput", default=True))
        if _flag(request, "showHistory"):
            show_output = _flag(request, "showHistoryOutput")
            body["historyEvents"] = status.history(self._store.history(found.id), show_output=show_output)
        if found.live:
            headers = {"Location": f"http://{request.host}{request.raw_path}", "Retry-After": "5"}
            return _json(body, HTTPStatus.ACCEPTED, headers)
        failed = found.status == "Failed" and _flag(request, "returnInternalServerErrorOnFailure")
        return _json(body, HTTPStatus.INTERNAL_SERVER_ERROR if failed else HTTPStatus.OK)

    async def _list(self, request: web.Request, _parts: Parts) -> web.Response:
        top = _integer(request.query.get("top"))
        if top is not None and top < 0:
            text = "Specified argument was out of the range of valid values. (Parameter 'PageSize')"
            message = "Something went wrong while processing your request"
            raise RefusalError(500, error_body(message, text, "System.ArgumentOutOfRangeException"))
        token = request.headers.get("x-ms-continuation-token")
        if request.query.get("taskHub", self._urls.hub) != self._urls.hub:
            return _json([])
        query = Query.of(request.query)
        found, following = instances.page(self._store, query, top, token)
        # Measured: without a filter the input is shown all the same.
        show_input = query == Query() or _flag(request, "showInput", default=True)
        headers = {"x-ms-continuation-token": following} if following else {}
        return _json([status.payload(instance, show_input=show_input) for instance in found], headers=headers)

    async def _purge_many(self, request: web.Request, _parts: Parts) -> web.Response:
        query = Query.of(request.query)
        if not query.created_from:
            raise RefusalError(400, "Please provide value for 'createdTimeFrom' parameter.")
        count = instances.purge(self._store, query)
        return _json({"instancesDeleted": count}) if count else web.Response(status=HTTPStatus.NOT_FOUND)

    async def _purge(self, _request: web.Request, parts: Parts) -> web.Response:
        self._hub.purge(parts["id"])
        return _json({"instancesDeleted": 1})

    async def _raise(self, request: web.Request, parts: Parts) -> web.Response:
        self._hub.find(parts["id"])
        if request.content_type != "application/json":
            raise RefusalError(400, {"Message": "Only application/json request content is supported"})
        text = (await request.read()).decode()
        self._hub.raise_event(parts["id"], parts["name"], _parse(text, "Invalid JSON content") if text else None)
        return web.Response(status=HTTPStatus.ACCEPTED)

    async def _tell(self, request: web.Request, parts: Parts) -> web.Response:
        tell = getattr(self._hub, parts["verb"].lower())
        tell(parts["id"], request.query.get("reason", ""))
        return web.Response(status=HTTPStatus.ACCEPTED)

    async def _restart(self, request: web.Request, parts: Parts) -> web.Response:
        new_id = _flag(request, "restartWithNewInstanceId", default=True)
        return self._accepted(request, self._hub.restart(parts["id"], new_id=new_id))


def _parse(text: str, message: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        explanation = f"Unexpected character encountered while parsing value: {text[:1]}. Path '', line 0, position 0."
        body = error_body(message, explanation, "Newtonsoft.Json.JsonReaderException")
        raise RefusalError(400, body) from None


def _json(body: Any, code: int = HTTPStatus.OK, headers: dict[str, str] | None = None) -> web.Response:
    """A JSON answer, or an empty one: the SDK parses every body that there is."""
    if body is None and code != HTTPStatus.OK:
        return web.Response(status=code)
    return web.json_response(body, status=code, headers=headers)


def _flag(request: web.Request, name: str, *, default: bool = False) -> bool:
    text = request.query.get(name, "").lower()
    return text == "true" if text in ("true", "false") else default


def _integer(text: str | None) -> int | None:
    try:
        return int(text) if text else None
    except ValueError:
        return None
