"""The tasks of a replay: coroutines that history moves on, without an event loop and without a clock.

DTFx runs what waits for a task inside the call that completes it, so that ids are handed out in one fixed order. An
event loop would not promise that; these twenty lines do.
"""

from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any


class TaskFailedError(Exception):
    """A task of the orchestration ended with an error."""


class Promise(Awaitable[Any]):
    """A task that history may settle; its waiters go on within the call that settles it, as in DTFx."""

    def __init__(self) -> None:
        self.settled = False
        self._value: Any = None
        self._error: TaskFailedError | None = None
        self._waiters: list[Callable[[], None]] = []

    def __await__(self) -> Generator["Promise", None, Any]:
        while not self.settled:
            yield self
        if self._error:
            raise self._error
        return self._value

    def settle(self, value: Any = None, error: TaskFailedError | None = None) -> None:
        """End the task, once; a second end is ignored."""
        if self.settled:
            return
        self.settled, self._value, self._error = True, value, error
        for waiter in self._waiters:
            waiter()

    def then(self, waiter: Callable[[], None]) -> None:
        """Call `waiter` when the task has ended."""
        if self.settled:
            waiter()
        else:
            self._waiters.append(waiter)


def start(work: Coroutine[Any, Any, Any]) -> Promise:
    """Run `work` until it waits for the first time; what it returns or raises settles the promise."""
    outcome = Promise()

    def step() -> None:
        try:
            waits_for: Promise = work.send(None)
        except StopIteration as stop:
            outcome.settle(stop.value)
        except TaskFailedError as error:
            outcome.settle(error=error)
        else:
            waits_for.then(step)

    step()
    return outcome
