"""Assembles the host: loads the app, opens the state, starts and stops the listeners and the HTTP servers."""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from azure.durable_functions.models.utils import http_utils
from azure.functions.meta import Datum

from devhost.host import indexing
from devhost.host.config import Config, ConfigError
from devhost.host.engine import Engine
from devhost.host.front import GRACE, Admin, Front
from devhost.host.hub import Hub
from devhost.host.indexing import Function
from devhost.host.keys import Keys
from devhost.host.management import Management
from devhost.host.queues import QueueListener
from devhost.host.status import Urls
from devhost.host.store import Store
from devhost.host.timers import Timer
from devhost.host.web import Endpoint, RouteError, Web, endpoint
from devhost.host.worker import DIED, DOWN, NOTICE, FunctionError, Worker, place

log = logging.getLogger("host")
MAX_DEATHS = 3
GIVING_UP = (
    "Exceeded language worker restart retry count for runtime:python. "
    "Shutting down and proactively recycling the Functions Host to recover"
)


class Loop(Protocol):
    """A loop that runs until it is cancelled."""

    async def run(self) -> None:
        """Run until cancelled."""


class Triggers:
    """The listeners of an app: HTTP routes, queues, timers. A function whose trigger is invalid is disabled alone."""

    def __init__(self, config: Config, worker: Worker, store: Store, environment: Mapping[str, str]) -> None:
        self._config, self._environment = config, environment
        self._worker, self._store = worker, store
        self.endpoints: list[Endpoint] = []
        self.queues: dict[str, QueueListener] = {}
        self.timers: dict[str, Timer] = {}
        for function in worker.functions:
            try:
                self._add(function)
            except (ConfigError, RouteError, ValueError) as error:
                log.error("the function '%s' is in error and disabled: %s", function.name, error)  # noqa: TRY400  # the text is enough

    def _add(self, function: Function) -> None:
        match function.kind:
            case "httpTrigger":
                self.endpoints.append(endpoint(function, self.endpoints))
            case "queueTrigger":
                listener = QueueListener(function, self._worker, self._config.queues, self._environment)
                self.queues[function.name] = listener
            case "timerTrigger":
                self.timers[function.name] = Timer(function, self._worker, self._store, self._environment)
            case "orchestrationTrigger" | "activityTrigger":
                pass
            case other:
                raise ConfigError(f"{other} is not supported by this host")

    async def fire(self, function: Function, text: str) -> None:
        """Run a function on behalf of `/admin/functions`."""
        try:
            if timer := self.timers.get(function.name):
                await timer.fire()
            elif queue := self.queues.get(function.name):
                await queue.deliver(text)
            elif function.kind == "activityTrigger":
                await self._worker.invoke(function, Datum(text, "string"))
        except FunctionError as error:
            log.error("'%s' failed: %s", function.name, error.line)  # noqa: TRY400  # the function's own failure

    def lines(self) -> Iterator[str]:
        """Describe each function as `func start` does, with its kind and its URL, queue or schedule."""
        prefix = "/".join(filter(None, (f"http://localhost:{self._config.port}", self._config.route_prefix)))
        for one in self.endpoints:
            yield f"{one.function.name}: [{','.join(one.methods)}] {prefix}/{one.route.template.lstrip('/')}"
        for name, queue in self.queues.items():
            yield f"{name}: queueTrigger {queue.queue}"
        for name, timer in self.timers.items():
            yield f"{name}: timerTrigger {timer.schedule.text}"
        for function in self._worker.functions:
            if function.kind in ("orchestrationTrigger", "activityTrigger"):
                yield f"{function.name}: {function.kind}"


class Host:
    """A running host. It calls `give_up` when its worker has died too often."""

    def __init__(self, config: Config, environment: Mapping[str, str], give_up: Callable[[], None]) -> None:
        self._config, self._environment, self._give_up = config, environment, give_up
        self._rpc_port, self._deaths = 0, 0
        self._keys = Keys.load(config.state / "host-keys.json", required=config.keys)
        self._urls = Urls(config.hub, self._keys.system)
        self._store = Store(config.state / "host.sqlite")
        self._worker = Worker(_load(config), self._binding, config.default_version)
        self._triggers = Triggers(config, self._worker, self._store, environment)
        self._engine = Engine(
            self._store, self._worker, max_activities=config.max_activities, early_timers=config.early_timers
        )
        hub = Hub(self._engine, config.default_version, traced=config.traced)
        self._front = Front(
            self._web(),
            Admin(self._worker, self._keys, self._fire, self.restart),
            Management(hub, self._store, self._urls) if self._worker.durable else None,
            self._keys,
        )
        self._listeners: list[asyncio.Task[None]] = []
        self._abandoned: list[QueueListener] = []
        self._replacing: asyncio.Task[None] | None = None

    def _web(self) -> Web:
        config = self._config
        return Web(self._worker, self._triggers.endpoints, self._keys, config.route_prefix, traced=config.traced)

    async def _fire(self, function: Function, text: str) -> None:
        await self._triggers.fire(function, text)

    def _binding(self) -> str:
        return self._urls.binding(self._config.port, self._rpc_port)

    async def start(self) -> None:
        """Listen and work. Raises ConfigError if the port is busy."""
        port = self._config.port
        try:
            self._rpc_port = await self._front.listen(port)
        except OSError as error:
            await self._front.close()
            raise ConfigError(f"port {port} is busy. Fix: free it, or set HOST_PORT to another") from error
        self._announce()
        self._engine.resume()
        self._orchestrations = asyncio.create_task(_guard(self._engine))
        self._listen()

    def _listen(self) -> None:
        loops: list[Loop] = [*self._triggers.queues.values(), *self._triggers.timers.values()]
        self._listeners = [asyncio.create_task(_guard(loop)) for loop in loops]

    @property
    def exhausted(self) -> bool:
        """Whether its worker has died too often."""
        return self._deaths >= MAX_DEATHS

    def kill_worker(self) -> None:
        """Kill the worker. The next one is up after a second; after the third death the host ends itself."""
        if not self._worker.up:
            return
        self._deaths += 1
        log.error("%s: %d calls failed", DIED, self._worker.die())
        if self.exhausted:
            log.error(GIVING_UP)
            self._give_up()
        else:
            self._replacing = asyncio.create_task(self._replace_worker())

    def restart(self) -> None:
        """Restart the job host in this process, as the real one does after a change of the app's files or settings.

        The engine does not stop, so orchestrators that are called before the next worker is up fail, as on the real host.
        host.json is not read again.
        """
        if not self._worker.up:
            return
        self._silence()
        for queue in self._triggers.queues.values():
            queue.abandon()
            self._abandoned.append(queue)
        log.warning("host restart requested: %d calls failed", self._worker.die())
        self._replacing = asyncio.create_task(self._restarted())

    async def _restarted(self) -> None:
        await self._replace_worker()
        self._triggers = Triggers(self._config, self._worker, self._store, self._environment)
        self._front.functions = self._web()
        self._listen()

    async def _replace_worker(self) -> None:
        """Load the app into a new worker; the time that this takes is part of DOWN."""
        due = time.monotonic() + DOWN
        await asyncio.sleep(NOTICE)
        functions = _load(self._config)
        logging.getLogger("asyncio").addFilter(_hide_unclosed)
        await asyncio.sleep(due - time.monotonic())
        self._worker.load(functions)
        log.info("a new worker is up")

    def _silence(self) -> None:
        for listener in self._listeners:
            listener.cancel()

    async def stop(self) -> None:
        """Stop accepting work, let running work finish, cancel the rest. The RPC port closes last, for running functions."""
        if self._replacing:
            self._replacing.cancel()
        self._silence()
        await self._front.close_public()
        queues = self._triggers.queues.values()
        await asyncio.gather(
            self._engine.stop(GRACE), *(q.stop(GRACE) for q in queues), *(q.stop(0) for q in self._abandoned)
        )
        self._orchestrations.cancel()
        await asyncio.gather(self._orchestrations, *self._listeners, return_exceptions=True)
        await self._front.close()
        await http_utils._close_session()  # noqa: SLF001  # the SDK has no public way to close its session
        self._worker.close()
        self._store.close()

    def _announce(self) -> None:
        config, base = self._config, f"http://localhost:{self._config.port}"
        log.info("devhost, a stand-in for Azure Functions 4.1037, on %s (durable RPC on %d)", base, self._rpc_port)
        log.info("app %s, state %s, task hub %s", config.app, config.state, config.hub)
        for line in self._triggers.lines():
            log.info("%s", line)
        if config.keys:
            log.info("keys (%s): %s", config.state / "host-keys.json", json.dumps(self._keys.names()))
        log.info("ready")


def _load(config: Config) -> list[Function]:
    """Load the app's functions. As on the real host, an error in one of them disables all, and the host still answers."""
    try:
        return indexing.load(config.app)
    except Exception as error:  # noqa: BLE001  # the app may raise anything while it is imported
        text = " ".join(f"{type(error).__name__}: {error}{place(error, str(config.app))}".split())
        log.error("no function was loaded: %s", text)  # noqa: TRY400  # the text names the line
        return []


def _hide_unclosed(record: logging.LogRecord) -> bool:
    """Hide asyncio's messages about sessions of the last worker, which would have ended with its process."""
    return not record.getMessage().startswith("Unclosed ")


async def _guard(loop: Loop) -> None:
    """Log the error that ends a loop."""
    try:
        await loop.run()
    except Exception:
        log.exception("%s has stopped: restart the host", type(loop).__name__)
