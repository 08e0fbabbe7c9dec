"""Puts the host together: loads the app, opens the state, listens, and takes everything down in order."""

import asyncio
import json
import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from aiohttp import web
from azure.functions.meta import Datum

from devhost.host import indexing
from devhost.host.admin import Admin
from devhost.host.config import Config, ConfigError
from devhost.host.engine import Engine
from devhost.host.hub import Hub
from devhost.host.indexing import Function
from devhost.host.keys import Keys
from devhost.host.management import Management
from devhost.host.queues import QueueListener
from devhost.host.routes import RouteError
from devhost.host.store import Store
from devhost.host.timers import Timer
from devhost.host.urls import RPC, WEBHOOK, Urls
from devhost.host.web import Endpoint, Web, clean_path, endpoint
from devhost.host.worker import FunctionError, Worker, place

log = logging.getLogger("host")
RPC_PORT = 17071
GRACE = 5.0
MAX_BODY = 100 * 1024 * 1024


class Host:
    """A running host. `start` it, wait, `stop` it."""

    def __init__(self, config: Config, environment: Mapping[str, str]) -> None:
        self._config, self._environment = config, environment
        self._keys = Keys.load(config.state / "host-keys.json", asked=config.keys)
        self._urls = Urls(config.hub, self._keys.system)
        self._rpc_port = 0
        self._worker = Worker(_load(config), self._binding, config.default_version)
        self._store = Store(config.state / "host.sqlite")
        self._engine = Engine(
            self._store, self._worker, max_activities=config.max_activities, early_timers=config.early_timers
        )
        self._management = Management(Hub(self._engine, config.default_version), self._store, self._urls)
        self._endpoints: list[Endpoint] = []
        self._queues: dict[str, QueueListener] = {}
        self._timers: dict[str, Timer] = {}
        self._runners: list[web.AppRunner] = []
        self._tasks: list[asyncio.Task[None]] = []

    def _binding(self) -> str:
        return self._urls.binding(self._config.port, self._rpc_port)

    async def start(self) -> None:
        """Listen and work. Raises ConfigError if the port is busy."""
        self._sort()
        self._web = Web(self._worker, self._endpoints, self._keys, self._config.route_prefix)
        self._admin = Admin(self._worker.functions, self._keys, self._fire)
        try:
            await self._listen(self._public, "0.0.0.0", self._config.port)  # noqa: S104  # as func start does
        except OSError as error:
            raise ConfigError(f"port {self._config.port} is busy. Fix: free it, or set HOST_PORT to another") from error
        self._rpc_port = await self._listen_rpc()
        self._announce()
        self._engine.resume()
        loops = [self._engine, *self._queues.values(), *self._timers.values()]
        self._tasks = [asyncio.create_task(_guard(loop)) for loop in loops]

    async def stop(self) -> None:
        """Take in nothing more, finish what runs, give back the rest."""
        for task in self._tasks[1:]:
            task.cancel()
        for runner in self._runners[:1]:
            await runner.cleanup()
        await asyncio.gather(self._engine.stop(GRACE), *(queue.stop(GRACE) for queue in self._queues.values()))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for runner in self._runners[1:]:
            await runner.cleanup()
        await _close_sdk()
        self._worker.close()
        self._store.close()

    def _sort(self) -> None:
        """Give every function its listener. One that cannot have it is disabled alone, as on the real host."""
        for function in self._worker.functions:
            try:
                self._place(function)
            except (ConfigError, RouteError, ValueError) as error:
                log.error("the function '%s' is in error and disabled: %s", function.name, error)  # noqa: TRY400  # its text says it all

    def _place(self, function: Function) -> None:
        match function.kind:
            case "httpTrigger":
                self._endpoints.append(endpoint(function, self._endpoints))
            case "queueTrigger":
                listener = QueueListener(function, self._worker, self._config.queues, self._environment)
                self._queues[function.name] = listener
            case "timerTrigger":
                self._timers[function.name] = Timer(function, self._worker, self._store, self._environment)
            case "orchestrationTrigger" | "activityTrigger":
                pass
            case other:
                raise ConfigError(f"{other} is not supported by this host")

    async def _listen(self, handler: Any, address: str, port: int) -> int:
        runner = web.AppRunner(_app(handler), access_log=None, handle_signals=False, shutdown_timeout=GRACE)
        await runner.setup()
        site = web.TCPSite(runner, address, port)
        try:
            await site.start()
        except OSError:
            await runner.cleanup()
            raise
        self._runners.append(runner)
        return int(runner.addresses[0][1])

    async def _listen_rpc(self) -> int:
        """A port of its own for the SDK, so that several hosts run side by side."""
        try:
            return await self._listen(self._rpc, "127.0.0.1", RPC_PORT)
        except OSError:
            return await self._listen(self._rpc, "127.0.0.1", 0)

    async def _public(self, request: web.Request) -> web.StreamResponse:
        path = clean_path(request.raw_path)
        if "%00" in path or any(not value.isascii() for _, value in request.raw_headers):
            return web.Response(status=HTTPStatus.BAD_REQUEST, headers={"Connection": "close"})
        if path.lower().startswith(WEBHOOK):
            if not self._keys.admits(request, "SYSTEM"):
                return web.Response(status=HTTPStatus.UNAUTHORIZED, headers={"WWW-Authenticate": "Bearer"})
            if self._worker.durable:
                return await self._management.answer(request, path[len(WEBHOOK) :])
            return web.Response(status=HTTPStatus.NOT_FOUND)
        if path == "/" or path.lower().startswith("/admin/"):
            return await self._admin.answer(request, path)
        return await self._web.answer(request, path)

    async def _rpc(self, request: web.Request) -> web.StreamResponse:
        path = clean_path(request.raw_path)
        if not path.lower().startswith(RPC + "/"):
            return web.Response(status=HTTPStatus.NOT_FOUND)
        response = await self._management.answer(request, path[len(RPC) :])
        if path.lower().rstrip("/") == f"{RPC}/instances" and request.method == "GET":
            response.headers.setdefault(
                "x-ms-continuation-token", ""
            )  # measured: empty here, absent on the public port
        return response

    async def _fire(self, function: Function, text: str) -> None:
        """Run a function because `/admin/functions` was told to."""
        try:
            if timer := self._timers.get(function.name):
                await timer.fire()
            elif queue := self._queues.get(function.name):
                await queue.deliver(text)
            elif function.kind == "activityTrigger":
                await self._worker.invoke(function, Datum(text, "string"))
        except FunctionError as error:
            log.error("'%s' failed: %s", function.name, error.line)  # noqa: TRY400  # the function's own failure

    def _announce(self) -> None:
        config, base = self._config, f"http://localhost:{self._config.port}"
        log.info("devhost, a stand-in for Azure Functions 4.1037, on %s (durable RPC on %d)", base, self._rpc_port)
        log.info("app %s, state %s, task hub %s", config.app, config.state, config.hub)
        for one in self._endpoints:
            url = f"{base}/{config.route_prefix}/{one.route.template}".replace("//", "/").replace(":/", "://")
            log.info("%s: [%s] %s", one.function.name, ",".join(one.methods), url)
        for name, queue in self._queues.items():
            log.info("%s: queueTrigger %s", name, queue.queue)
        for name, timer in self._timers.items():
            log.info("%s: timerTrigger %s", name, timer.schedule.text)
        for function in self._worker.functions:
            if function.kind in ("orchestrationTrigger", "activityTrigger"):
                log.info("%s: %s", function.name, function.kind)
        if config.keys:
            log.info("keys (%s): %s", config.state / "host-keys.json", json.dumps(self._keys.names()))
        log.info("ready")


def _load(config: Config) -> list[Function]:
    """The app's functions; none of them if one does not fit, as on the real host, which then still answers."""
    try:
        return indexing.load(config.app)
    except Exception as error:  # noqa: BLE001  # whatever the app raises while it is imported
        text = " ".join(f"{type(error).__name__}: {error}{place(error, str(config.app))}".split())
        log.error("no function was loaded: %s", text)  # noqa: TRY400  # the text names the line
        return []


def _app(handler: Any) -> web.Application:
    app = web.Application(client_max_size=MAX_BODY)
    app.router.add_route("*", "/{path:.*}", handler)
    app.on_response_prepare.append(_undress)
    return app


async def _undress(_request: web.Request, response: web.StreamResponse) -> None:
    """Kestrel names no content type for an empty answer."""
    if isinstance(response, web.Response) and not response.body and "application/octet-stream" in response.content_type:
        response.headers.popall("Content-Type", None)


async def _guard(loop: Any) -> None:
    """A loop of the host must not die unseen."""
    try:
        await loop.run()
    except asyncio.CancelledError:
        raise
    except Exception:
        log.exception("%s has stopped: restart the host", type(loop).__name__)


async def _close_sdk() -> None:
    """The SDK keeps one HTTP session for ever; closing it spares a warning at exit."""
    from azure.durable_functions.models.utils import http_utils  # noqa: PLC0415  # only if the app has it loaded anyway

    await http_utils._close_session()  # noqa: SLF001  # it has no public way
