"""Puts the host together: loads the app, opens the state, listens, and takes everything down in order."""

import asyncio
import json
import logging
from collections.abc import Mapping
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
from devhost.host.store import Store
from devhost.host.triggers import Triggers
from devhost.host.urls import Urls
from devhost.host.web import Web
from devhost.host.worker import Worker, place

log = logging.getLogger("host")


class Loop(Protocol):
    """What works until it is cancelled."""

    async def run(self) -> None:
        """Work for ever."""


class Host:
    """A running host. `start` it, wait, `stop` it."""

    def __init__(self, config: Config, environment: Mapping[str, str]) -> None:
        self._config, self._rpc_port = config, 0
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
            Web(self._worker, self._triggers.endpoints, self._keys, config.route_prefix, traced=config.traced),
            Admin(self._worker.functions, self._keys, self._triggers.fire, self._worker.meter),
            management if self._worker.durable else None,
            self._keys,
        )
        self._listeners: list[asyncio.Task[None]] = []

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
        loops: list[Loop] = [*self._triggers.queues.values(), *self._triggers.timers.values()]
        self._listeners = [asyncio.create_task(_guard(loop)) for loop in loops]

    def lose_worker(self) -> None:
        """The worker dies and another one takes its place: what ran in it has failed."""
        log.error("python exited with code 137: %d calls failed; the worker is started again", self._worker.die())

    async def stop(self) -> None:
        """Take in nothing more, finish what runs, give back the rest; the client's RPC port goes last."""
        for listener in self._listeners:
            listener.cancel()
        await self._front.close_public()
        await asyncio.gather(self._engine.stop(GRACE), *(q.stop(GRACE) for q in self._triggers.queues.values()))
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


async def _guard(loop: Loop) -> None:
    """A loop of the host must not die unseen."""
    try:
        await loop.run()
    except Exception:
        log.exception("%s has stopped: restart the host", type(loop).__name__)
