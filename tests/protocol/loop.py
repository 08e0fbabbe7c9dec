"""An event loop without clock, sockets and chance: it runs what is ready, in order, and stops where everything waits."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any


class Loop(asyncio.AbstractEventLoop):  # what it lacks raises NotImplementedError
    """Just enough for coroutines that wait for futures and gather: the same steps in the same order, every time."""

    def __init__(self) -> None:
        self._ready: deque[asyncio.Handle] = deque()

    def settle(self) -> None:
        """Run until nothing is ready any more."""
        asyncio._set_running_loop(self)
        try:
            while self._ready:
                self._ready.popleft()._run()
        finally:
            asyncio._set_running_loop(None)

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Any = None) -> asyncio.Handle:  # type: ignore[override]
        """Queue a callback."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def create_task(self, coro: Coroutine[Any, Any, Any], **_: Any) -> asyncio.Task[Any]:  # type: ignore[override]
        """Make a task that may be dropped where it waits: that is how a run ends whose next answer is not known yet."""
        task = asyncio.Task(coro, loop=self)
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        return task

    def create_future(self) -> asyncio.Future[Any]:
        """Make a future of this loop."""
        return asyncio.Future(loop=self)

    def get_debug(self) -> bool:
        """Never debug: it would read the clock."""
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Ignore what befalls dropped tasks."""
