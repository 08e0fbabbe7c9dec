"""Calls the app's functions as the real Python worker does: converted arguments in, converted result out.

Mirrors `invocation_request` of the worker. Async functions run on the loop, plain ones in a pool of threads.

The real worker is a process of its own, and here it is not. When it dies, its calls end and the app is loaded anew. What
the old modules keep alive (a thread that is busy, an open session) stays until the host ends.
"""

import asyncio
import contextvars
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

from azure.functions.meta import Datum

from devhost.host.indexing import Function, converter
from devhost.host.meter import Meter
from devhost.host.tracing import TraceContext

THREADS_PER_CORE = 6
"""Measured on the real worker: twelve plain activities at once on two cores."""
DOWN = 1.0
"""Seconds from the end of a worker until the next one is up. Measured: about one."""
NOTICE = 0.05
"""Seconds in which the host has not noticed the end: a call still goes to the dead worker."""
DIED = f"{sys.executable} exited with code 137 (0x89)"
MISSING = "Did not find any initialized language workers"


class FunctionError(Exception):
    """A function failed: `text` is `Type: message`, `stack` where; what the worker sends to the host."""

    def __init__(self, error: BaseException, directory: str = "") -> None:
        self.text = f"{type(error).__name__}: {error}"
        self.stack = "".join(traceback.format_tb(error.__traceback__))
        self._place = place(error, directory)
        super().__init__(self.text)

    @property
    def line(self) -> str:
        """One line for the log: what happened, and where in the app's own code."""
        return " ".join(f"{self.text}{self._place}".split())


def place(error: BaseException, directory: str) -> str:
    """` (file:line)` of the last frame in the app's folder, libraries in it left out; empty if there is none."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename.startswith(directory) and "site-packages" not in frame.filename
    ]
    return f" ({frames[-1].filename}:{frames[-1].lineno})" if directory and frames else ""


class MissingFunctionError(FunctionError):
    """The host knows no such orchestrator."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(LookupError())
        names = ", ".join(f"'{one}'" for one in known)
        self.text = (
            f"The function '{name}' doesn't exist, is disabled, or is not an orchestrator function. Additional info: "
        ) + (
            f"The following are the known orchestrator functions: {names}."
            if names
            else "No orchestrator functions are currently registered under that name!"
        )
        self.args = (self.text,)


class WorkerLostError(FunctionError):
    """No worker: its process ended while the function ran, or the next one is not up yet. There is no trace."""

    def __init__(self, text: str) -> None:
        super().__init__(SystemError())
        self.text = text
        self.args = (text,)


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
    """The loaded functions, ready to be called. `client` gives the durable client binding's JSON."""

    def __init__(self, functions: list[Function], client: Callable[[], str], default_version: str | None) -> None:
        self.default_version = default_version
        self.meter = Meter()
        self._client = client
        self._calls: set[asyncio.Task[Datum | None]] = set()
        self.load(functions)

    def load(self, functions: list[Function]) -> None:
        """Be a new worker process, with these functions."""
        self.functions = functions
        self._lost: float | None = None
        self._threads = ThreadPoolExecutor(THREADS_PER_CORE * (os.cpu_count() or 1), "function")
        self._named = {f.name: f for f in functions}
        self._orchestrators = {f.durable_name: f for f in functions if f.kind == "orchestrationTrigger"}
        self._activities = {f.durable_name: f for f in functions if f.kind == "activityTrigger"}

    def close(self) -> None:
        """Take no more calls; a thread that is still busy is left to itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def die(self) -> int:
        """Fail every call that runs, and every call until `load`; how many run."""
        self._lost = time.monotonic()
        self.close()
        for call in self._calls:
            call.cancel()
        return len(self._calls)

    @property
    def up(self) -> bool:
        """Whether there is a worker."""
        return self._lost is None

    def _loss(self) -> str | None:
        """What a call is answered while no worker is up."""
        if self._lost is None:
            return None
        return DIED if time.monotonic() - self._lost < NOTICE else MISSING

    @property
    def durable(self) -> bool:
        """Whether the app has orchestrators."""
        return bool(self._orchestrators)

    def has_activity(self, name: str) -> bool:
        """Whether such an activity was loaded."""
        return name in self._activities

    def orchestrate(self, name: str, trigger: str) -> str:
        """Call an orchestrator, here and now: it does not wait. Raises FunctionError."""
        if loss := self._loss():
            raise WorkerLostError(f"One or more errors occurred. ({loss})")
        if name not in self._orchestrators:
            raise MissingFunctionError(name, self._orchestrators)
        function = self._orchestrators[name]
        try:
            arguments = self._arguments(function, Datum(trigger, "string"))
            with self.meter.running(function):
                return str(function.call(**arguments))
        except Exception as error:
            raise FunctionError(error, function.directory) from error

    async def activity(self, name: str, data: str, trace: TraceContext | None = None) -> str:
        """Call an activity with JSON text; gives JSON text. Raises FunctionError."""
        datum = await self.invoke(self._activities[name], Datum(data, "string"), trace=trace)
        return str(datum.value) if datum else "null"

    async def invoke(
        self,
        function: Function,
        datum: Datum,
        metadata: dict[str, Datum] | None = None,
        trace: TraceContext | None = None,
    ) -> Datum | None:
        """Call any function with its trigger's value. Raises FunctionError."""
        if loss := self._loss():
            raise WorkerLostError(loss)
        function = self._named.get(function.name, function)  # a listener may hold the one of an earlier worker
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
            raise FunctionError(error, function.directory) from error

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
