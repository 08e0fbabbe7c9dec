"""Puts the host together: loads the app, opens the state, listens, and takes everything down in order."""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from azure.durable_functions.models.utils import http_utils

from devhost.host import indexing
from devhost.host.admin import Admin
from devhost.host.config import Config, ConfigError
from devhost.host.engine import Engine
from devhost.host.front import GRACE, Front
from devhost.host.hub import Hub
from devhost.host.indexing import Function
from devhost.host.keys import Keys
from devhost.host.management import Management
from devhost.host.queues import QueueListener
from devhost.host.store import Store
from devhost.host.triggers import Triggers
from devhost.host.urls import Urls
from devhost.host.web import Web
from devhost.host.worker import DIED, DOWN, NOTICE, Worker, place

log = logging.getLogger("host")
MAX_DEATHS = 3
GIVING_UP = (
    "Exceeded language worker restart retry count for runtime:python. "
    "Shutting down and proactively recycling the Functions Host to recover"
)


class Loop(Protocol):
    """What works until it is cancelled."""

    async def run(self) -> None:
        """Work for ever."""


class Host:
    """A running host. `start` it, wait, `stop` it. It calls `give_up` when its worker has died too often."""

    def __init__(self, config: Config, environment: Mapping[str, str], give_up: Callable[[], None]) -> None:
        self._config, self._environment, self._give_up = config, environment, give_up
        self._rpc_port, self._deaths = 0, 0
        self._keys = Keys.load(config.state / "host-keys.json", asked=config.keys)
        self._urls = Urls(config.hub, self._keys.system)
        self._store = Store(config.state / "host.sqlite")
        self._worker = Worker(_load(config), self._binding, config.default_version)
        self._triggers = Triggers(config, self._worker, self._store, environment)
        self._engine = Engine(
            self._store, self._worker, max_activities=config.max_activities, early_timers=config.early_timers
        )
        management = Management(
            Hub(self._engine, config.default_version, traced=config.traced), self._store, self._urls
        )
        self._front = Front(
            self._web(),
            Admin(self._worker, self._keys, self._fire, self.restart),
            management if self._worker.durable else None,
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

    def lose_worker(self) -> None:
        """The worker dies, and another one is up after a while. After the third death the host ends itself."""
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
        """Restart the job host in this process, as the real one does when a file of the app or its settings change.

        The engine is not stopped: what an orchestrator meets meanwhile is a worker that is not there, as on the real
        host. host.json is not read again.
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
        """Another worker loads the app, which takes its part of the time."""
        due = time.monotonic() + DOWN
        await asyncio.sleep(NOTICE)
        functions = _load(self._config)
        logging.getLogger("asyncio").addFilter(_is_no_leftover)
        await asyncio.sleep(due - time.monotonic())
        self._worker.load(functions)
        log.info("a new worker is up")

    def _silence(self) -> None:
        for listener in self._listeners:
            listener.cancel()

    async def stop(self) -> None:
        """Take in nothing more, finish what runs, cut off the rest; the client's RPC port goes last."""
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
        await http_utils._close_session()  # noqa: SLF001  # the SDK keeps one session for ever and has no public way
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
    """The app's functions; none of them if one does not fit, as on the real host, which then still answers."""
    try:
        return indexing.load(config.app)
    except Exception as error:  # noqa: BLE001  # whatever the app raises while it is imported
        text = " ".join(f"{type(error).__name__}: {error}{place(error, str(config.app))}".split())
        log.error("no function was loaded: %s", text)  # noqa: TRY400  # the text names the line
        return []


def _is_no_leftover(record: logging.LogRecord) -> bool:
    """The sessions of the last worker would have ended with its process; here asyncio finds them unclosed."""
    return not record.getMessage().startswith("Unclosed ")


async def _guard(loop: Loop) -> None:
    """A loop of the host must not die unseen."""
    try:
        await loop.run()
    except Exception:
        log.exception("%s has stopped: restart the host", type(loop).__name__)
