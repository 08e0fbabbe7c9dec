"""Replays the action list of one orchestrator call against the history, and finds the new, the open and the finished work.

Mirrors `OutOfProcOrchestrationShim` (the list) on top of `TaskOrchestrationContext` (the ids) of the real host. The
whole list is replayed each time and never compared with the last one, because ids are assigned in order of scheduling
and those of retries interleave with later actions. The SDK derives the ids independently, and both must agree.
"""

from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from devhost.host import clock
from devhost.host.actions import Action, ActionType, Activity, Child, Decision, Timer
from devhost.host.events import Event, Kind

SCHEDULED = {Kind.TASK_SCHEDULED: Activity, Kind.TIMER_CREATED: Timer, Kind.SUB_ORCHESTRATION_INSTANCE_CREATED: Child}
NAMES = {Activity: "an activity task", Timer: "a timer task", Child: "a sub-orchestration instance"}
DEPLOYED = "Was a change made to the orchestrator code after this instance had already started running?"


class NonDeterministicError(Exception):
    """The history holds work that this replay did not schedule."""


class UnsupportedActionError(Exception):
    """The stand-in does not support the action (entities, durable HTTP)."""


class TaskFailedError(Exception):
    """A task of the orchestration ended with an error."""


class Promise(Awaitable[Any]):
    """A task that the history may settle.

    As in DTFx, coroutines that wait for it continue inside the call that settles it, without an event loop, so that ids
    are assigned in a fixed order.
    """

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
        """End the task. A second call has no effect."""
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


def _start(work: Coroutine[Any, Any, Any]) -> Promise:
    """Run `work` up to its first wait; its result or error settles the returned promise."""
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


@dataclass
class Outcome:
    """The result of a replay."""

    finished: bool = False
    open: bool = False
    decisions: list[Decision] = field(default_factory=list)
    next_number: int = 0
    continued: str | None = None
    terminated: str | None = None
    suspended: str | None = None


class Replay:
    """One replay; `run` may be called once."""

    def __init__(self) -> None:
        self._outcome = Outcome()
        self._now = clock.now()
        self._pending: dict[int, Decision] = {}
        self._open: dict[int, Promise] = {}
        self._waits: dict[str, list[Promise]] = {}
        self._early: dict[str, list[Event]] = {}

    def run(self, actions: list[Action], history: list[Event]) -> Outcome:
        """Replay `actions` against the whole history, including the events of this episode."""
        main: Promise | None = None
        for event in history:
            if event["EventType"] == Kind.EXECUTION_STARTED:
                main = _start(self._run_all(actions))
            else:
                self._apply(event)
        self._outcome.finished = main is not None and main.settled
        self._outcome.open = bool(self._open)
        self._outcome.decisions = [self._pending[number] for number in sorted(self._pending)]
        return self._outcome

    async def _run_all(self, actions: list[Action]) -> None:
        """Run the actions in order. The orchestrator has already seen their errors."""
        for action in actions:
            with suppress(TaskFailedError):
                await self._invoke(action)

    async def _invoke(self, action: Action) -> Any:
        match action["actionType"]:
            case ActionType.CALL_ACTIVITY:
                return await self._call_activity(action)
            case ActionType.CALL_ACTIVITY_WITH_RETRY:
                return await self._call_with_retry(action)
            case ActionType.CALL_SUB_ORCHESTRATOR:
                return await self._call_child(action)
            case ActionType.CONTINUE_AS_NEW:
                self._outcome.continued = action["input"]
            case ActionType.CREATE_TIMER:
                return await self._set_timer(clock.parse(action["fireAt"]), cancelled=action["isCanceled"])
            case ActionType.WAIT_FOR_EXTERNAL_EVENT:
                return await self._wait_for(action["externalEventName"])
            case ActionType.WHEN_ANY:
                await self._any([_start(self._invoke(child)) for child in action["compoundActions"]])
            case ActionType.WHEN_ALL:
                await self._all([_start(self._invoke(child)) for child in action["compoundActions"]])
            case unknown:
                raise UnsupportedActionError(f"{ActionType(unknown).name} is not supported by this host")
        return None

    def _schedule(self, decide: Callable[[int], Decision]) -> tuple[int, Promise]:
        number = self._outcome.next_number
        self._outcome.next_number += 1
        self._pending[number] = decide(number)
        self._open[number] = Promise()
        return number, self._open[number]

    def _call_activity(self, action: Action) -> Promise:
        return self._schedule(lambda number: Activity(number, action["functionName"], action["input"]))[1]

    def _call_child(self, action: Action) -> Promise:
        name, data = action["functionName"], action["input"]
        instance, version = action.get("instanceId") or None, action.get("version")
        return self._schedule(lambda number: Child(number, name, data, instance, version))[1]

    def _set_timer(self, due: datetime, *, cancelled: bool = False) -> Promise:
        """Set a timer. A cancelled one takes a number, but ends immediately and keeps no work open."""
        number, promise = self._schedule(lambda number: Timer(number, clock.stamp(due)))
        if cancelled:
            del self._open[number]
            promise.settle(error=TaskFailedError("The timer was cancelled."))
        return promise

    async def _call_with_retry(self, action: Action) -> Any:
        """Call an activity up to its number of attempts.

        DTFx sets one more timer, due at once, after the *last* failure; without it the SDK never continues.
        """
        options = action["retryOptions"]
        attempts, pause = options["maxNumberOfAttempts"], options["firstRetryIntervalInMilliseconds"]
        for attempt in range(1, attempts + 1):
            try:
                return await self._call_activity(action)
            except TaskFailedError as error:
                last = error
            await self._set_timer(self._now + timedelta(milliseconds=pause if attempt < attempts else 0))
            pause *= options.get("backoffCoefficient", 1)
        raise last

    def _wait_for(self, name: str) -> Promise:
        """Wait for an event. Names match without case, the first wait gets an early event, the last wait is served first."""
        promise, key = Promise(), name.casefold()
        if early := self._early.get(key):
            promise.settle(early.pop(0))
        else:
            self._waits.setdefault(key, []).append(promise)
        return promise

    @staticmethod
    async def _any(children: list[Promise]) -> None:
        """Wait for the first child; the others stay open."""
        first = Promise()
        for child in children:
            child.then(first.settle)
        if children:
            await first

    @staticmethod
    async def _all(children: list[Promise]) -> None:
        """Wait for *all* children, even after an error, as .NET's WhenAll does and the SDK does not."""
        failure: TaskFailedError | None = None
        for child in children:
            try:
                await child
            except TaskFailedError as error:
                failure = failure or error
        if failure:
            raise failure

    def _apply(self, event: Event) -> None:
        match event["EventType"]:
            case Kind.ORCHESTRATOR_STARTED:
                self._now = clock.parse(event["Timestamp"])
            case Kind.TASK_SCHEDULED | Kind.TIMER_CREATED | Kind.SUB_ORCHESTRATION_INSTANCE_CREATED:
                self._confirm(event)
            case Kind.TASK_COMPLETED | Kind.SUB_ORCHESTRATION_INSTANCE_COMPLETED:
                self._settle(event["TaskScheduledId"])
            case Kind.TASK_FAILED | Kind.SUB_ORCHESTRATION_INSTANCE_FAILED:
                self._settle(event["TaskScheduledId"], TaskFailedError(event["Reason"]))
            case Kind.TIMER_FIRED:
                self._settle(event["TimerId"])
            case Kind.EVENT_RAISED:
                self._raise(event)
            case Kind.EXECUTION_TERMINATED:
                self._outcome.terminated = event["Input"]
            case Kind.EXECUTION_SUSPENDED:
                self._outcome.suspended = event["Reason"]
            case Kind.EXECUTION_RESUMED:
                self._outcome.suspended = None

    def _settle(self, number: int, error: TaskFailedError | None = None) -> None:
        """Settle a task. As in DTFx, a second answer for the same number has no effect."""
        if promise := self._open.pop(number, None):
            promise.settle(error=error)

    def _raise(self, event: Event) -> None:
        key = event["Name"].casefold()
        if waits := self._waits.get(key):
            waits.pop().settle(event)
        else:
            self._early.setdefault(key, []).append(event)

    def _confirm(self, event: Event) -> None:
        """Match scheduled work in the history with the work that this replay scheduled."""
        number, decided = event["EventId"], self._pending.pop(event["EventId"], None)
        kind = SCHEDULED[Kind(event["EventType"])]
        if type(decided) is kind and getattr(decided, "name", None) == event.get("Name"):
            return
        text = f"A previous execution of this orchestration scheduled {NAMES[kind]} with sequence ID {number}"
        text += f" and name '{event['Name']}' (version '{event['Version'] or ''}')" if "Name" in event else ""
        if decided is None:
            text += ", but the current replay execution hasn't (yet?) scheduled this task."
        else:
            text += (
                f", but the current orchestration replay instead scheduled {NAMES[type(decided)]} with this sequence "
                f"number ('{getattr(decided, 'name', '')}')."
            )
        raise NonDeterministicError(f"Non-Deterministic workflow detected: {text} {DEPLOYED}")
