"""An event loop without clock, sockets and randomness: it runs ready callbacks in order and stops when all tasks wait."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any


class Loop(asyncio.AbstractEventLoop):  # what it lacks raises NotImplementedError
    """An event loop for coroutines that only wait for futures and `gather`: the same steps in the same order every time."""

    def __init__(self) -> None:
        self._ready: deque[asyncio.Handle] = deque()

    def settle(self) -> None:
        """Run until no callback is ready."""
        asyncio._set_running_loop(self)
        try:
            while self._ready:
                self._ready.popleft()._run()
        finally:
            asyncio._set_running_loop(None)

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Any = None) -> asyncio.Handle:  # type: ignore[override]
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def create_task(self, coro: Coroutine[Any, Any, Any], **_: Any) -> asyncio.Task[Any]:  # type: ignore[override]
        """Create a task that may be dropped while it waits, without a warning."""
        task = asyncio.Task(coro, loop=self)
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        return task

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def get_debug(self) -> bool:
        """Return False: debug mode would read the clock."""
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Ignore errors of dropped tasks."""
