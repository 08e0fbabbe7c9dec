"""The HTTP management API of the Durable Task extension, which is the same on the public and the RPC port."""

import json
import re
from collections.abc import Awaitable, Callable
from http import HTTPMethod, HTTPStatus
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from devhost.host import instances, status
from devhost.host.hub import WRONG, Hub, RefusalError, error_body
from devhost.host.instances import Query
from devhost.host.status import Urls
from devhost.host.store import Store

Parts = dict[str, str]
Call = Callable[[web.Request, Parts], Awaitable[web.Response]]


class Management:
    """Answers `/orchestrators` and `/instances`."""

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
            (HTTPMethod.POST, one + r"/(?P<verb>terminate|suspend|resume|rewind)", self._change),
        ]
        self._table = [(method, re.compile(pattern + "/?", re.IGNORECASE), call) for method, pattern, call in table]

    async def answer(self, request: web.Request, path: str) -> web.Response:
        """Answer a call; `path` is raw and without the base."""
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
            _parse(text)
        version = request.query.get("version")
        instance = await self._hub.start(parts["name"], parts.get("id"), text, version, headers=request.headers)
        return self._accepted(request, instance)

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
            raise RefusalError(500, error_body(WRONG, text, "System.ArgumentOutOfRangeException"))
        query, token = Query.of(request.query), request.headers.get("x-ms-continuation-token")
        found, following = instances.page(self._store, query, top, token)
        # Measured: without a filter the input is always shown.
        show_input = query == Query() or _flag(request, "showInput", default=True)
        headers = {"x-ms-continuation-token": following} if following else {}
        return _json([status.payload(instance, show_input=show_input) for instance in found], headers=headers)

    async def _purge_many(self, request: web.Request, _parts: Parts) -> web.Response:
        query = Query.of(request.query)
        if not query.created_from:
            raise RefusalError(HTTPStatus.BAD_REQUEST, "Please provide value for 'createdTimeFrom' parameter.")
        count = instances.purge(self._store, query)
        return _json({"instancesDeleted": count}) if count else web.Response(status=HTTPStatus.NOT_FOUND)

    async def _purge(self, _request: web.Request, parts: Parts) -> web.Response:
        self._hub.purge(parts["id"])
        return _json({"instancesDeleted": 1})

    async def _raise(self, request: web.Request, parts: Parts) -> web.Response:
        self._hub.find(parts["id"])
        if request.content_type != "application/json":
            body = {"Message": "Only application/json request content is supported"}
            raise RefusalError(HTTPStatus.BAD_REQUEST, body)
        text = (await request.read()).decode()
        self._hub.raise_event(parts["id"], parts["name"], _parse(text) if text else None)
        return web.Response(status=HTTPStatus.ACCEPTED)

    async def _change(self, request: web.Request, parts: Parts) -> web.Response:
        change = getattr(self._hub, parts["verb"].lower())
        change(parts["id"], request.query.get("reason", ""))
        return web.Response(status=HTTPStatus.ACCEPTED)

    async def _restart(self, request: web.Request, parts: Parts) -> web.Response:
        new_id = _flag(request, "restartWithNewInstanceId", default=True)
        return self._accepted(request, self._hub.restart(parts["id"], new_id=new_id))


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        explanation = f"Unexpected character encountered while parsing value: {text[:1]}. Path '', line 0, position 0."
        body = error_body("Invalid JSON content", explanation, "Newtonsoft.Json.JsonReaderException")
        raise RefusalError(HTTPStatus.BAD_REQUEST, body) from None


def _json(body: Any, code: int = HTTPStatus.OK, headers: dict[str, str] | None = None) -> web.Response:
    """Answer JSON, or nothing: the SDK parses every body that is not empty."""
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
