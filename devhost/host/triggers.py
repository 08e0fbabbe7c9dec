"""Gives every loaded function its listener: an HTTP route, a queue, a schedule. One that fits none is disabled alone."""

import logging
from collections.abc import Iterator, Mapping

from azure.functions.meta import Datum

from devhost.host.config import Config, ConfigError
from devhost.host.indexing import Function
from devhost.host.queues import QueueListener
from devhost.host.routes import RouteError
from devhost.host.store import Store
from devhost.host.timers import Timer
from devhost.host.web import Endpoint, endpoint
from devhost.host.worker import FunctionError, Worker

log = logging.getLogger("host")


class Triggers:
    """The listeners of an app."""

    def __init__(self, config: Config, worker: Worker, store: Store, environment: Mapping[str, str]) -> None:
        self._config, self._environment = config, environment
        self._worker, self._store = worker, store
        self.endpoints: list[Endpoint] = []
        self.queues: dict[str, QueueListener] = {}
        self.timers: dict[str, Timer] = {}
        for function in worker.functions:
            try:
                self._place(function)
            except (ConfigError, RouteError, ValueError) as error:
                log.error("the function '%s' is in error and disabled: %s", function.name, error)  # noqa: TRY400  # its text says it all

    def _place(self, function: Function) -> None:
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
        """Run a function because `/admin/functions` was told to."""
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
        """What `func start` prints: every function with its kind and its URL, queue or schedule."""
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
