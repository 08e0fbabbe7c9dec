"""Calls the app's functions as the real Python worker does: converts the arguments and the result.

Mirrors `invocation_request` of the worker. Async functions run on the loop, plain ones in a pool of threads.

Unlike the real worker this one is not a process. When it dies, its calls end and the app is loaded again. Busy threads
and open sessions of the old modules remain until the host ends.
"""

import asyncio
import contextvars
import os
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, ClassVar, Self
from uuid import uuid4

from azure.functions.meta import Datum

from devhost.host.indexing import Function, converter
from devhost.host.tracing import TraceContext

THREADS_PER_CORE = 6
"""Measured on the real worker: twelve concurrent plain activities on two cores."""
DOWN = 1.0
"""Seconds from the end of a worker until the next one is up. Measured: about one."""
NOTICE = 0.05
"""Seconds until the host notices the end of its worker; until then calls still go to the dead one."""
DIED = f"{sys.executable} exited with code 137 (0x89)"
MISSING = "Did not find any initialized language workers"


class FunctionError(Exception):
    """A function failed: `text` is `Type: message`, `stack` the trace, as the worker sends them to the host."""

    def __init__(self, text: str, stack: str = "", at: str = "") -> None:
        self.text, self.stack, self._at = text, stack, at
        super().__init__(text)

    @classmethod
    def of(cls, error: BaseException, directory: str) -> Self:
        """Wrap an exception of a function whose app is in `directory`."""
        stack = "".join(traceback.format_tb(error.__traceback__))
        return cls(f"{type(error).__name__}: {error}", stack, place(error, directory))

    @property
    def line(self) -> str:
        """The error and its place in the app's own code, as one line for the log."""
        return " ".join(f"{self.text}{self._at}".split())


class WorkerLostError(FunctionError):
    """The worker ended while the function ran, or the next one is not up yet."""


def place(error: BaseException, directory: str) -> str:
    """Return ` (file:line)` of the last frame in the app's folder (not in a library); empty if there is none."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename.startswith(directory) and "site-packages" not in frame.filename
    ]
    return f" ({frames[-1].filename}:{frames[-1].lineno})" if directory and frames else ""


def _missing(name: str, known: Iterable[str]) -> FunctionError:
    names = ", ".join(f"'{one}'" for one in known)
    text = f"The function '{name}' doesn't exist, is disabled, or is not an orchestrator function. Additional info: "
    if names:
        return FunctionError(f"{text}The following are the known orchestrator functions: {names}.")
    return FunctionError(f"{text}No orchestrator functions are currently registered under that name!")


class Meter:
    """Counts executions, and the time in which an instance runs at least one function: Azure bills both.

    On the Flex Consumption plan all durable functions share instances, all HTTP functions share others, and each other
    function has its own; the time is measured for each of these groups.
    """

    GROUPS: ClassVar = {"orchestrationTrigger": "durable", "activityTrigger": "durable", "httpTrigger": "http"}

    def __init__(self) -> None:
        self._executions = Counter[str]()
        self._active: dict[str, float] = {}
        self._running = Counter[str]()
        self._since: dict[str, float] = {}

    @contextmanager
    def running(self, function: Function) -> Iterator[None]:
        """Count the block as one execution."""
        group = self.GROUPS.get(function.kind, function.name)
        self._executions[function.name] += 1
        if not self._running[group]:
            self._since[group] = time.monotonic()
        self._running[group] += 1
        try:
            yield
        finally:
            self._running[group] -= 1
            if not self._running[group]:
                self._active[group] = self._active.get(group, 0.0) + time.monotonic() - self._since[group]

    def read(self) -> dict[str, Any]:
        """Return the counts as JSON. The time excludes groups that are running."""
        return {"executions": self._executions, "active_seconds": self._active}


class Context:
    """`azure.functions.Context`, as the worker fills it."""

    def __init__(self, function: Function, trace: TraceContext | None) -> None:
        self.invocation_id = str(uuid4())
        self.function_name = function.name
        self.function_directory = function.directory
        self.thread_local_storage = threading.local()
        self.trace_context = trace or TraceContext()
        self.retry_context = None


class Worker:
    """The loaded functions. `client` returns the JSON of the durable client binding."""

    def __init__(self, functions: list[Function], client: Callable[[], str], default_version: str | None) -> None:
        self.default_version = default_version
        self.meter = Meter()
        self._client = client
        self._calls: set[asyncio.Task[Datum | None]] = set()
        self.load(functions)

    def load(self, functions: list[Function]) -> None:
        """Start a new worker with these functions, in place of one that died."""
        self.functions = functions
        self._lost: float | None = None
        self._threads = ThreadPoolExecutor(THREADS_PER_CORE * (os.cpu_count() or 1), "function")
        self._named = {f.name: f for f in functions}
        self._orchestrators = {f.durable_name: f for f in functions if f.kind == "orchestrationTrigger"}
        self._activities = {f.durable_name: f for f in functions if f.kind == "activityTrigger"}

    def close(self) -> None:
        """Stop accepting calls. This does not wait for busy threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def die(self) -> int:
        """Fail all running calls, and every call until `load`; return the number of running ones."""
        self._lost = time.monotonic()
        self.close()
        for call in self._calls:
            call.cancel()
        return len(self._calls)

    @property
    def up(self) -> bool:
        """Whether the worker lives."""
        return self._lost is None

    def _loss(self) -> str | None:
        """Return the error of a call while no worker is up."""
        if self._lost is None:
            return None
        return DIED if time.monotonic() - self._lost < NOTICE else MISSING

    @property
    def durable(self) -> bool:
        """Whether the app has orchestrators."""
        return bool(self._orchestrators)

    def has_activity(self, name: str) -> bool:
        """Whether the app has the activity."""
        return name in self._activities

    def orchestrate(self, name: str, trigger: str) -> str:
        """Call an orchestrator and return its state's JSON; it never waits. Raises FunctionError."""
        if loss := self._loss():
            raise WorkerLostError(f"One or more errors occurred. ({loss})")
        if name not in self._orchestrators:
            raise _missing(name, self._orchestrators)
        function = self._orchestrators[name]
        try:
            arguments = self._arguments(function, Datum(trigger, "string"))
            with self.meter.running(function):
                return str(function.call(**arguments))
        except Exception as error:
            raise FunctionError.of(error, function.directory) from error

    async def activity(self, name: str, data: str, trace: TraceContext | None = None) -> str:
        """Call an activity with JSON text and return JSON text. Raises FunctionError."""
        datum = await self.invoke(self._activities[name], Datum(data, "string"), trace=trace)
        return str(datum.value) if datum else "null"

    async def invoke(
        self,
        function: Function,
        datum: Datum,
        metadata: dict[str, Datum] | None = None,
        trace: TraceContext | None = None,
    ) -> Datum | None:
        """Call a function with its trigger's value. Raises FunctionError."""
        if loss := self._loss():
            raise WorkerLostError(loss)
        function = self._named.get(function.name, function)  # a listener may hold the function of an earlier worker
        call = asyncio.create_task(self._invoked(function, datum, metadata, trace))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        try:
            await asyncio.wait({call})
        except asyncio.CancelledError:  # the host stops: the call ends with it
            call.cancel()
            await asyncio.wait({call})
            raise
        if call.cancelled():
            raise WorkerLostError(DIED)
        return call.result()

    async def _invoked(
        self, function: Function, datum: Datum, metadata: dict[str, Datum] | None, trace: TraceContext | None
    ) -> Datum | None:
        try:
            arguments = self._arguments(function, datum, metadata, trace)
            with self.meter.running(function):
                result = await self._call(function, arguments)
            if result is not None and not function.returns:
                raise RuntimeError(  # noqa: TRY301  # becomes the function's failure like any other
                    f"function {function.name!r} without a $return binding returned a non-None value"
                )
            return self._result(function, result)
        except Exception as error:
            raise FunctionError.of(error, function.directory) from error

    def _arguments(
        self,
        function: Function,
        datum: Datum,
        metadata: dict[str, Datum] | None = None,
        trace: TraceContext | None = None,
    ) -> dict[str, Any]:
        arguments: dict[str, Any] = {}
        for name, kind in function.inputs.items():
            value = datum if name == function.trigger["name"] else Datum(self._client(), "string")
            arguments[name] = _decode(kind, value, metadata or {})
        if function.needs_context:
            arguments["context"] = Context(function, trace)
        return arguments

    async def _call(self, function: Function, arguments: dict[str, Any]) -> Any:
        if function.is_async:
            return await function.call(**arguments)
        run = contextvars.copy_context().run
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: run(lambda: function.call(**arguments))
        )

    @staticmethod
    def _result(function: Function, value: Any) -> Datum | None:
        if function.returns is None:
            return None
        try:
            return converter(function.returns).encode(value, expected_type=None)  # type: ignore[no-any-return]
        except NotImplementedError:
            raise TypeError(
                f'unable to encode outgoing TypedData: unsupported type "{function.returns}" for '
                f'Python type "{type(value).__name__}"'
            ) from None


def _decode(kind: str, datum: Datum, metadata: dict[str, Datum]) -> Any:
    try:
        return converter(kind).decode(datum, trigger_metadata=metadata)
    except NotImplementedError:
        raise TypeError(
            f"unable to decode incoming TypedData: unsupported combination of TypedData field {datum.type!r} "
            f"and expected binding type {kind}"
        ) from None
