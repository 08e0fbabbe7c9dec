"""The host's HTTP servers and its admin API.

The public port serves the functions, `/admin` and the management API; the RPC port serves the SDK's client.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPMethod, HTTPStatus
from typing import Any

from aiohttp import web

from devhost.host.indexing import Function
from devhost.host.keys import Keys
from devhost.host.management import Management
from devhost.host.status import RPC, WEBHOOK
from devhost.host.web import Web, clean_path
from devhost.host.worker import Worker

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Fire = Callable[[Function, str], Awaitable[None]]
LOOPBACK = "127.0.0.1"
"""No key is required by default, so other machines must not connect."""
RPC_PORT = 17071
MAX_BODY = 100 * 1024 * 1024
GRACE = 5.0
LONGEST_LINE = 65_536
WELCOME = (
    "<!DOCTYPE html><html lang=en><title>Your Functions app is up and running</title>"
    "<h1>Your Functions 4.0 app is up and running</h1><p>(devhost: a stand-in for the Azure Functions host)</p></html>"
)
VERSION = "4.1037.0.0"
UNAUTHORIZED = {"WWW-Authenticate": "Bearer"}


class Admin:
    """Answers `/` and `/admin`; `/admin/meter` does not exist on a real host. `fire` runs a function that is not HTTP."""

    def __init__(self, worker: Worker, keys: Keys, fire: Fire, restart: Callable[[], None]) -> None:
        self._worker, self._keys, self._fire, self._restart = worker, keys, fire, restart
        self._begun = time.monotonic()
        self._fired: set[asyncio.Task[None]] = set()

    async def answer(self, request: web.Request, path: str) -> web.Response:  # noqa: PLR0911  # one return for each page
        """Answer a call. All pages except the welcome page require the master key."""
        if path == "/":
            return web.Response(body=WELCOME.encode(), content_type="text/html")
        if not self._keys.admits(request, "ADMIN"):
            return web.Response(status=HTTPStatus.UNAUTHORIZED, headers=UNAUTHORIZED)
        functions = {function.name.lower(): function for function in self._worker.functions}
        match request.method, path.lower().rstrip("/").split("/")[2:]:
            case ((HTTPMethod.GET | HTTPMethod.POST), ["host", "ping"]):
                return web.Response()
            case HTTPMethod.GET, ["host", "status"]:
                return web.json_response(self._status())
            case HTTPMethod.POST, ["host", "restart"]:
                self._restart()
                return web.Response()
            case HTTPMethod.GET, ["meter"]:
                return web.json_response(self._worker.meter.read())
            case HTTPMethod.GET, ["functions"]:
                return web.json_response([_described(one, request.host) for one in functions.values()])
            case HTTPMethod.POST, ["functions", name] if name in functions:
                return await self._run(request, functions[name])
        return web.Response(status=HTTPStatus.NOT_FOUND)

    def _status(self) -> dict[str, Any]:
        return {
            "id": "devhost",
            "state": "Running",
            "version": VERSION,
            "versionDetails": VERSION.removesuffix(".0"),
            "platformVersion": "",
            "instanceId": "",
            "computerName": "",
            "processUptime": int((time.monotonic() - self._begun) * 1000),
            "functionAppContentEditingState": "Unknown",
        }

    async def _run(self, request: web.Request, function: Function) -> web.Response:
        """Start a function and answer 202 at once."""
        try:
            given = json.loads(await request.read() or b"{}")
        except ValueError:
            return web.Response(status=HTTPStatus.BAD_REQUEST)
        text = given.get("input", "") if isinstance(given, dict) else ""
        task = asyncio.ensure_future(self._fire(function, text if isinstance(text, str) else json.dumps(text)))
        self._fired.add(task)
        task.add_done_callback(self._fired.discard)
        return web.Response(status=HTTPStatus.ACCEPTED)


def _described(function: Function, host: str) -> dict[str, Any]:
    route = function.trigger.get("route")
    return {
        "name": function.name,
        "href": f"http://{host}/admin/functions/{function.name}",
        "config": {"name": function.name, "bindings": [function.trigger], "language": "python"},
        "invoke_url_template": None if route is None else f"http://{host}/api/{route}",
        "language": "python",
        "isDisabled": False,
    }


@dataclass
class Front:
    """Routes requests to the functions, the admin API or the management API (none in an app without orchestrations)."""

    functions: Web
    admin: Admin
    durable: Management | None
    keys: Keys
    _runners: list[web.AppRunner] = field(default_factory=list)

    async def listen(self, port: int) -> int:
        """Open the RPC port, then the public one; return the RPC port. Raises OSError."""
        try:
            rpc_port = await self._open(self.rpc, RPC_PORT)
        except OSError:  # another host has it
            rpc_port = await self._open(self.rpc, 0)
        await self._open(self.public, port)
        return rpc_port

    async def close_public(self) -> None:
        """Stop accepting requests on the public port, and let running ones finish."""
        await self._runners.pop().cleanup()

    async def close(self) -> None:
        """Close the open ports."""
        for runner in self._runners:
            await runner.cleanup()

    async def _open(self, handler: Handler, port: int) -> int:
        runner = web.AppRunner(
            _app(handler),
            access_log=None,
            handle_signals=False,
            shutdown_timeout=GRACE,
            auto_decompress=False,
            max_line_size=LONGEST_LINE,
            max_field_size=LONGEST_LINE,
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, LOOPBACK, port).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runners.append(runner)
        return int(runner.addresses[0][1])

    async def public(self, request: web.Request) -> web.StreamResponse:
        """Answer on the public port. As in Kestrel, a NUL in the path or a header beyond ASCII is a 400."""
        path = clean_path(request.raw_path)
        if "%00" in path or any(not value.isascii() for _, value in request.raw_headers):
            return web.Response(status=HTTPStatus.BAD_REQUEST, headers={"Connection": "close"})
        if path.lower().startswith(WEBHOOK):
            return await self._webhook(request, path[len(WEBHOOK) :])
        if path == "/" or path.lower().startswith("/admin/"):
            return await self.admin.answer(request, path)
        return await self.functions.answer(request, path)

    async def _webhook(self, request: web.Request, path: str) -> web.Response:
        if not self.keys.admits(request, "SYSTEM"):
            if self.keys.admits(request, "FUNCTION"):  # a key of the wrong level
                return web.Response(status=HTTPStatus.FORBIDDEN)
            return web.Response(status=HTTPStatus.UNAUTHORIZED, headers=UNAUTHORIZED)
        if self.durable is None:
            return web.Response(status=HTTPStatus.NOT_FOUND)
        return await self.durable.answer(request, path)

    async def rpc(self, request: web.Request) -> web.StreamResponse:
        """Answer on the RPC port, which requires no key."""
        path = clean_path(request.raw_path)
        if self.durable is None or not path.lower().startswith(RPC + "/"):
            return web.Response(status=HTTPStatus.NOT_FOUND)
        response = await self.durable.answer(request, path[len(RPC) :])
        if path.lower().rstrip("/") == f"{RPC}/instances" and request.method == HTTPMethod.GET:
            # Measured: at the last page the header is empty here, and absent on the public port.
            response.headers.setdefault("x-ms-continuation-token", "")
        return response


def _app(handler: Handler) -> web.Application:
    app = web.Application(client_max_size=MAX_BODY)
    app.router.add_route("*", "/{path:(?s:.*)}", handler)
    app.on_response_prepare.append(_drop_content_type)
    return app


async def _drop_content_type(_request: web.Request, response: web.StreamResponse) -> None:
    """Remove the content type of an empty response, as Kestrel does."""
    if isinstance(response, web.Response) and not response.body and "application/octet-stream" in response.content_type:
        response.headers.popall("Content-Type", None)
