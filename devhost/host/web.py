"""HTTP functions: from a request to a function and back, with the oddities that were measured on the real host."""

import logging
from dataclasses import dataclass
from http import HTTPMethod, HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web
from azure.functions.meta import Datum

from devhost.host import tracing
from devhost.host.indexing import Function
from devhost.host.keys import Keys
from devhost.host.routes import Route, RouteError, resolve_dots
from devhost.host.worker import FunctionError, Worker

log = logging.getLogger("host.http")
ALL_METHODS = tuple(method.value for method in (HTTPMethod.GET, HTTPMethod.POST, HTTPMethod.DELETE, HTTPMethod.HEAD,
                                                HTTPMethod.PATCH, HTTPMethod.PUT, HTTPMethod.OPTIONS))  # fmt: skip
BODYLESS = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)


@dataclass(frozen=True)
class Endpoint:
    """An HTTP function and its route."""

    function: Function
    route: Route
    methods: tuple[str, ...]
    level: str


def endpoint(function: Function, taken: list[Endpoint]) -> Endpoint:
    """The endpoint of a function. Raises RouteError, which disables this function alone."""
    template = function.trigger.get("route") or function.name
    if template.lower().startswith("admin"):
        raise RouteError(f"the route '{template}' conflicts with the host's own: routes must not begin with 'admin'")
    route = Route.of(template)
    methods = tuple(method.upper() for method in function.trigger.get("methods") or ALL_METHODS)
    for other in taken:
        same = other.route.pattern.pattern.lower() == route.pattern.pattern.lower()
        if same and set(methods) & set(other.methods):
            raise RouteError(f"the route '{template}' is taken by the function '{other.function.name}'")
    return Endpoint(function, route, methods, function.trigger.get("authLevel", "FUNCTION"))


class Web:
    """Answers everything below the route prefix."""

    def __init__(  # an app's front is made of these
        self, worker: Worker, endpoints: list[Endpoint], keys: Keys, prefix: str, *, traced: bool = False
    ) -> None:
        self._worker, self._keys, self._traced = worker, keys, traced
        self._prefix = f"/{prefix}" if prefix else ""
        self._endpoints = sorted(endpoints, key=lambda one: one.route.rank)

    async def answer(self, request: web.Request, path: str) -> web.StreamResponse:
        """Answer a request; `path` is raw, its dots resolved."""
        endpoint, values = self._find(request.method, path)
        if endpoint is None:
            return web.Response(status=HTTPStatus.NOT_FOUND)
        if not self._keys.admits(request, endpoint.level):
            return web.Response(status=HTTPStatus.UNAUTHORIZED)
        datum = await _datum(request, path, values)
        trace = tracing.of_request(request.headers) if self._traced else None
        try:
            return _response(await self._worker.invoke(endpoint.function, datum, trace=trace))
        except FunctionError as error:
            log.error("'%s' failed: %s", endpoint.function.name, error.line)  # noqa: TRY400  # the function's own trace
            return web.Response(status=HTTPStatus.INTERNAL_SERVER_ERROR)

    def _find(self, method: str, path: str) -> tuple[Endpoint | None, dict[str, str]]:
        """No HEAD for GET, no OPTIONS, no 405: a method that no function has is a path that no function has."""
        if path[: len(self._prefix)].lower() != self._prefix.lower():
            return None, {}
        rest = path[len(self._prefix) :]
        for one in self._endpoints:
            if method in one.methods and (values := one.route.match(rest)) is not None:
                return one, values
        return None, {}


async def _datum(request: web.Request, path: str, values: dict[str, str]) -> Datum:
    """The request as the worker receives it."""
    url = f"{request.scheme}://{request.host}{path}"
    url += f"?{request.rel_url.raw_query_string}" if request.rel_url.raw_query_string else ""
    # Measured: the body of a chunked request arrives empty. It is read all the same, to keep the connection usable.
    body = await request.read()
    body = b"" if "chunked" in request.headers.get("Transfer-Encoding", "") else body
    parts = {
        "method": Datum(request.method, "string"),
        "url": Datum(url, "string"),
        "headers": _strings({name.lower(): text for name, text in request.headers.items()}),
        "query": _strings(_query(request.rel_url.raw_query_string)),
        "params": _strings(values),
        "body": Datum(body, "bytes"),
    }
    return Datum(parts, "http")


def _strings(values: dict[str, str]) -> dict[str, Datum]:
    return {name: Datum(text, "string") for name, text in values.items()}


def _query(text: str) -> dict[str, str]:
    """Repeated parameters are joined with a comma; those without a value are dropped."""
    values: dict[str, str] = {}
    for name, value in parse_qsl(text):
        values[name] = f"{values[name]},{value}" if name in values else value
    return values


def _response(result: Datum | None) -> web.StreamResponse:
    """The function's answer; a function that returned None never comes here, it has failed."""
    if result is None or result.type != "http":
        text = str(result.value) if result and result.value is not None else ""
        return _chunked(web.Response(text=text))
    answer: dict[str, Any] = result.value
    response = web.Response(status=int(answer["status_code"].value), body=answer["body"].value)
    for name, datum in answer["headers"].items():
        response.headers["Content-Type" if name == "content-type" else name] = datum.value
    for cookie in answer["cookies"] or []:
        for morsel in cookie.values():
            response.headers.add("Set-Cookie", morsel.OutputString())
    return _chunked(response)


def _chunked(response: web.Response) -> web.Response:
    """Function answers come without a Content-Length, as from Kestrel."""
    if response.status not in BODYLESS:
        response.enable_chunked_encoding()
    return response


def clean_path(raw: str) -> str:
    """The path of a raw request target, its dots resolved."""
    return resolve_dots(raw.partition("?")[0])
