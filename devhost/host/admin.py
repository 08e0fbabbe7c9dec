"""The host's own pages: `/`, `/admin/host/ping`, `/admin/host/status`, `/admin/functions`, `POST /admin/functions/{name}`.

`POST /admin/host/restart` restarts the job host in place. And one that no real host has: `/admin/meter`.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from http import HTTPMethod, HTTPStatus
from typing import Any

from aiohttp import web

from devhost.host.indexing import Function
from devhost.host.keys import Keys
from devhost.host.worker import Worker

WELCOME = (
    "<!DOCTYPE html><html lang=en><title>Your Functions app is up and running</title>"
    "<h1>Your Functions 4.0 app is up and running</h1><p>(devhost: a stand-in for the Azure Functions host)</p></html>"
)
VERSION = "4.1037.0.0"
Fire = Callable[[Function, str], Awaitable[None]]


class Admin:
    """Answers `/` and `/admin`. `fire` runs a function that is not an HTTP function with a given input."""

    def __init__(self, worker: Worker, keys: Keys, fire: Fire, restart: Callable[[], None]) -> None:
        self._worker, self._keys, self._fire, self._restart = worker, keys, fire, restart
        self._begun = time.monotonic()
        self._fired: set[asyncio.Task[None]] = set()

    async def answer(self, request: web.Request, path: str) -> web.Response:  # noqa: PLR0911  # a table of pages
        """Answer a call. Everything but the welcome page asks for the master key."""
        if path == "/":
            return web.Response(body=WELCOME.encode(), content_type="text/html")
        if not self._keys.admits(request, "ADMIN"):
            return web.Response(status=HTTPStatus.UNAUTHORIZED, headers={"WWW-Authenticate": "Bearer"})
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
        """202 at once: the function runs on its own."""
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
    return {
        "name": function.name,
        "href": f"http://{host}/admin/functions/{function.name}",
        "config": {"name": function.name, "bindings": [function.trigger], "language": "python"},
        "invoke_url_template": f"http://{host}/api/{function.trigger['route']}"
        if "route" in function.trigger
        else None,
        "language": "python",
        "isDisabled": False,
    }
