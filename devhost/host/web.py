"""HTTP functions: finds the function of a request, calls it, and converts its answer.

Mirrors ASP.NET Core routing as far as Azure Functions uses it. Measured: case does not matter, a trailing slash is
accepted, a literal segment wins over a parameter *for the methods that it has*, `%2F` stays encoded in a parameter while
all other characters are decoded, dots are resolved before routing.
"""

import logging
import re
from dataclasses import dataclass, field
from http import HTTPMethod, HTTPStatus
from typing import Any, Self
from urllib.parse import parse_qsl, unquote

from aiohttp import web
from azure.functions.meta import Datum

from devhost.host import tracing
from devhost.host.indexing import Function
from devhost.host.keys import Keys
from devhost.host.worker import FunctionError, Worker

log = logging.getLogger("host.http")
ALL_METHODS = tuple(method.value for method in (HTTPMethod.GET, HTTPMethod.POST, HTTPMethod.DELETE, HTTPMethod.HEAD,
                                                HTTPMethod.PATCH, HTTPMethod.PUT, HTTPMethod.OPTIONS))  # fmt: skip
BODYLESS = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)
PARAMETER = re.compile(
    r"\{(?P<stars>\*{0,2})(?P<name>\w+)(?P<constraint>:length\((?P<length>\d+)\))?(?P<optional>\?)?\}"
)


class RouteError(Exception):
    """The host cannot use a route, and disables its function alone."""


@dataclass(frozen=True)
class Route:
    """A route template; `rank` sorts literals before constrained parameters, parameters, and catch-alls."""

    template: str
    pattern: re.Pattern[str]
    rank: tuple[int, ...]
    lengths: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, template: str) -> Self:
        """Compile a template such as `items/{id:length(32)}`, `files/{*path}`, `opt/{name?}`. Raises RouteError."""
        pattern, rank, lengths = "", [], {}
        for segment in filter(None, template.strip("/").split("/")):
            found = PARAMETER.fullmatch(segment)
            if found is None and ("{" in segment or "}" in segment):
                raise RouteError(f"this host does not support the segment '{segment}' of the route '{template}'")
            if found is None:
                pattern += "/" + re.escape(segment)
                rank.append(0)
            elif found["stars"]:
                pattern += f"(?:/(?P<{found['name']}>.*?))?"
                rank.append(3)
            else:
                part = f"/(?P<{found['name']}>[^/]+)"
                pattern += f"(?:{part})?" if found["optional"] else part
                rank.append(1 if found["length"] else 2)
            if found and found["length"]:
                lengths[found["name"]] = int(found["length"])
        return cls(template, re.compile(pattern + "/?", re.IGNORECASE), tuple(rank), lengths)

    def match(self, path: str) -> dict[str, str] | None:
        """Return the decoded parameters of a raw path below the prefix; None if it does not match."""
        if not (found := self.pattern.fullmatch(path)):
            return None
        values = {name: _decoded(text) for name, text in found.groupdict().items() if text}
        fits = all(len(text) == self.lengths.get(name, len(text)) for name, text in values.items())
        return values if fits else None


def _decoded(text: str) -> str:
    """Percent-decode all characters but `%2F`, as Kestrel does."""
    return "".join(part if part.lower() == "%2f" else unquote(part) for part in re.split("(%2[Ff])", text))


def clean_path(raw: str) -> str:
    """Return the path of a raw request target without `.` and `..` segments, encoded ones included."""
    path = raw.partition("?")[0]
    if "." not in path and "%2e" not in path.lower():
        return path
    resolved: list[str] = []
    for segment in path.split("/"):
        plain = re.sub("%2e", ".", segment, flags=re.IGNORECASE)
        if plain == "..":
            resolved = resolved[:-1] if len(resolved) > 1 else resolved
        elif plain != ".":
            resolved.append(segment)
    return "/".join(resolved) or "/"


@dataclass(frozen=True)
class Endpoint:
    """An HTTP function and its route."""

    function: Function
    route: Route
    methods: tuple[str, ...]
    level: str


def endpoint(function: Function, taken: list[Endpoint]) -> Endpoint:
    """Make the endpoint of a function. Raises RouteError."""
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
    """Answers the requests below the route prefix."""

    def __init__(
        self, worker: Worker, endpoints: list[Endpoint], keys: Keys, prefix: str, *, traced: bool = False
    ) -> None:
        self._worker, self._keys, self._traced = worker, keys, traced
        self._prefix = f"/{prefix}" if prefix else ""
        self._endpoints = sorted(endpoints, key=lambda one: one.route.rank)

    async def answer(self, request: web.Request, path: str) -> web.StreamResponse:
        """Answer a request; `path` is the result of `clean_path`."""
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
        """Find the function of a path and method. As on the real host, only the methods of a route match; others are a 404."""
        if path[: len(self._prefix)].lower() != self._prefix.lower():
            return None, {}
        rest = path[len(self._prefix) :]
        for one in self._endpoints:
            if method in one.methods and (values := one.route.match(rest)) is not None:
                return one, values
        return None, {}


async def _datum(request: web.Request, path: str, values: dict[str, str]) -> Datum:
    """Convert a request to what the worker receives."""
    query = request.rel_url.raw_query_string
    # Measured: the body of a chunked request arrives empty. It must be read anyway, to keep the connection usable.
    body = await request.read()
    body = b"" if "chunked" in request.headers.get("Transfer-Encoding", "") else body
    parts = {
        "method": Datum(request.method, "string"),
        "url": Datum(f"{request.scheme}://{request.host}{path}" + (f"?{query}" if query else ""), "string"),
        "headers": _strings({name.lower(): text for name, text in request.headers.items()}),
        "query": _strings(_query(query)),
        "params": _strings(values),
        "body": Datum(body, "bytes"),
    }
    return Datum(parts, "http")


def _strings(values: dict[str, str]) -> dict[str, Datum]:
    return {name: Datum(text, "string") for name, text in values.items()}


def _query(text: str) -> dict[str, str]:
    """Join repeated parameters with a comma and drop those without a value."""
    values: dict[str, str] = {}
    for name, value in parse_qsl(text):
        values[name] = f"{values[name]},{value}" if name in values else value
    return values


def _response(result: Datum | None) -> web.StreamResponse:
    """Convert a function's result. Like Kestrel's, the answer is chunked and has no Content-Length."""
    if result is None or result.type != "http":
        response = web.Response(text=str(result.value) if result and result.value is not None else "")
    else:
        answer: dict[str, Any] = result.value
        response = web.Response(status=int(answer["status_code"].value), body=answer["body"].value)
        for name, datum in answer["headers"].items():
            response.headers["Content-Type" if name == "content-type" else name] = datum.value
    if response.status not in BODYLESS:
        response.enable_chunked_encoding()
    return response
