"""The action list of one orchestrator call, replayed against the history: what is new, what is open, what is done.

Mirrors `OutOfProcOrchestrationShim` (the list) on top of `TaskOrchestrationContext` (the ids) of the real host. The
whole list is replayed each time, never compared with the last one, because ids are handed out in order of scheduling
and those of retries interleave with later actions. The SDK derives the same ids by itself: the two must agree.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from devhost.host import clock
from devhost.host.actions import Action, ActionType, Activity, Child, Decision, Timer
from devhost.host.events import Event, Kind
from devhost.host.promises import Promise, TaskFailedError, start


class NonDeterministicError(Exception):
    """Non-Deterministic workflow detected: the history holds what this replay does not do."""


class UnsupportedActionError(Exception):
    """The stand-in has no such action (entities, durable HTTP)."""


SCHEDULED = {Kind.TASK_SCHEDULED: Activity, Kind.TIMER_CREATED: Timer, Kind.SUB_ORCHESTRATION_CREATED: Child}


@dataclass
class Outcome:
    """What a replay found."""

    finished: bool = False
    open: bool = False
    decisions: list[Decision] = field(default_factory=list)
    next_number: int = 0
    continued: str | None = None
    terminated: str | None = None
    suspended: str | None = None


class Replay:
    """One replay. Make it, `run` it, throw it away."""

    def __init__(self) -> None:
        self._outcome = Outcome()
        self._now = clock.now()
        self._pending: dict[int, Decision] = {}
        self._open: dict[int, Promise] = {}
        self._waits: dict[str, list[Promise]] = {}
        self._early: dict[str, list[Event]] = {}

    def run(self, actions: list[Action], history: list[Event]) -> Outcome:
        """Replay `actions` against the whole history, this episode's events included."""
        main: Promise | None = None
        for event in history:
            if event["EventType"] == Kind.EXECUTION_STARTED:
                main = start(self._all(actions))
            else:
                self._apply(event)
        self._outcome.finished = main is not None and main.settled
        self._outcome.open = bool(self._open)
        self._outcome.decisions = [self._pending[number] for number in sorted(self._pending)]
        return self._outcome

    async def _all(self, actions: list[Action]) -> None:
        """Every action in order; an error is the orchestrator's business, which has seen it already."""
        for action in actions:
            with suppress(TaskFailedError):
                await self._invoke(action)

    async def _invoke(self, action: Action) -> Any:  # noqa: PLR0911  # a table of the protocol's actions
        match action["actionType"]:
            case ActionType.CALL_ACTIVITY:
                return await self._call_activity(action)
            case ActionType.CALL_ACTIVITY_WITH_RETRY:
                return await self._with_retry(action, self._call_activity)
            case ActionType.CALL_SUB_ORCHESTRATOR:
                return await self._call_child(action)
            case ActionType.CALL_SUB_ORCHESTRATOR_WITH_RETRY:
                return await self._with_retry(action, self._call_child)
            case ActionType.CONTINUE_AS_NEW:
                self._outcome.continued = action["input"]
            case ActionType.CREATE_TIMER:
                return await self._set_timer(clock.parse(action["fireAt"]), cancelled=action["isCanceled"])
            case ActionType.WAIT_FOR_EXTERNAL_EVENT:
                return await self._wait_for(action["externalEventName"])
            case ActionType.WHEN_ANY:
                await self._any([start(self._invoke(child)) for child in action["compoundActions"]])
            case ActionType.WHEN_ALL:
                await self._every([start(self._invoke(child)) for child in action["compoundActions"]])
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
        """A cancelled timer still takes its number, but is over at once and holds nothing open."""
        number, promise = self._schedule(lambda number: Timer(number, clock.stamp(due)))
        if cancelled:
            del self._open[number]
            promise.settle(error=TaskFailedError("The timer was cancelled."))
        return promise

    async def _with_retry(self, action: Action, call: Callable[[Action], Promise]) -> Any:
        """DTFx sets one more timer, due at once, after the *last* failure; the SDK sticks without it."""
        options = action["retryOptions"]
        attempts, pause = options["maxNumberOfAttempts"], options["firstRetryIntervalInMilliseconds"]
        for attempt in range(1, attempts + 1):
            try:
                return await call(action)
            except TaskFailedError as error:
                last = error
            pause_now = timedelta(milliseconds=pause if attempt < attempts else 0)
            await self._set_timer(self._now + pause_now)
            pause *= options.get("backoffCoefficient", 1)
        raise last

    def _wait_for(self, name: str) -> Promise:
        """Names match without case; an early event is kept for the first wait; of several waits the last comes first."""
        promise, key = Promise(), name.casefold()
        if early := self._early.get(key):
            promise.settle(early.pop(0))
        else:
            self._waits.setdefault(key, []).append(promise)
        return promise

    @staticmethod
    async def _any(children: list[Promise]) -> None:
        """Over when the first child is; the others stay open."""
        first = Promise()
        for child in children:
            child.then(first.settle)
        if children:
            await first

    @staticmethod
    async def _every(children: list[Promise]) -> None:
        """Over when *all* children are, even after an error: .NET's WhenAll, not the SDK's."""
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
            case Kind.TASK_SCHEDULED | Kind.TIMER_CREATED | Kind.SUB_ORCHESTRATION_CREATED:
                self._confirm(event)
            case Kind.TASK_COMPLETED | Kind.SUB_ORCHESTRATION_COMPLETED:
                self._settle(event["TaskScheduledId"])
            case Kind.TASK_FAILED | Kind.SUB_ORCHESTRATION_FAILED:
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
        """A second answer for one number is ignored, as DTFx does."""
        if promise := self._open.pop(number, None):
            promise.settle(error=error)

    def _raise(self, event: Event) -> None:
        key = event["Name"].casefold()
        if waits := self._waits.get(key):
            waits.pop().settle(event)
        else:
            self._early.setdefault(key, []).append(event)

    def _confirm(self, event: Event) -> None:
        """The history holds a piece of scheduled work: this replay must have scheduled the very same."""
        number, decided = event["EventId"], self._pending.pop(event["EventId"], None)
        kind = SCHEDULED[Kind(event["EventType"])]
        wanted = f"scheduled {_describe(kind)} with sequence ID {number}"
        wanted += f" and name '{event['Name']}' (version '{event['Version'] or ''}')" if "Name" in event else ""
        if decided is None:
            raise NonDeterministicError(
                f"Non-Deterministic workflow detected: A previous execution of this orchestration {wanted}, but the "
                "current replay execution hasn't (yet?) scheduled this task. Was a change made to the orchestrator "
                "code after this instance had already started running?"
            )
        if type(decided) is not kind or getattr(decided, "name", None) != event.get("Name"):
            raise NonDeterministicError(
                f"Non-Deterministic workflow detected: A previous execution of this orchestration {wanted}, but the "
                f"current orchestration replay instead scheduled {_describe(type(decided))} with this sequence number "
                f"('{getattr(decided, 'name', '')}'). Was a change made to the orchestrator code after this instance "
                "had already started running?"
            )


def _describe(kind: type[Decision]) -> str:
    return {Activity: "an activity task", Timer: "a timer task", Child: "a sub-orchestration instance"}[kind]
