"""One episode: takes new messages, calls the orchestrator once, replays its actions, returns the changes to commit.

Mirrors `OutOfProcMiddleware.CallOrchestratorAsync` and the completion rules of DTFx's `TaskOrchestrationExecutor`.
The call of the orchestrator is the only I/O.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

from devhost.host import clock, events, tracing
from devhost.host.actions import Child, Decision, Timer
from devhost.host.events import Event, Kind
from devhost.host.replay import NonDeterministicError, Outcome, Replay, UnsupportedActionError

State = dict[str, Any]
Call = Callable[[str, str], str]
"""Calls the named orchestrator with the trigger's JSON; returns the JSON of its state or raises OrchestratorError."""

MAX_CUSTOM_STATUS = 16 * 1024
OUT_OF_PROC_DATA = "$OutOfProcData$:"


class OrchestratorError(Exception):
    """The orchestrator could not be called, or raised an exception; then the SDK puts its state into the text."""


@dataclass(frozen=True)
class Result:
    """The changes of one episode. `new` is appended to the history; the rest becomes messages and status."""

    status: str
    new: list[Event]
    decisions: list[Decision] = field(default_factory=list)
    output: str | None = None
    custom: str | None = None
    continued: Event | None = None


def compact(value: Any) -> str:
    """Format JSON as Newtonsoft does without indentation."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def run(history: list[Event], inbound: list[Event], call: Call, *, continued: bool) -> Result:
    """Run one episode on top of `history`; `continued` marks the first one after continue_as_new."""
    new = [events.event(Kind.ORCHESTRATOR_STARTED, clock.timestamp()), *inbound]
    if continued:  # measured: the history then begins 12, 0, 13
        new.insert(2, events.event(Kind.ORCHESTRATOR_COMPLETED, clock.timestamp()))
    started = (history + new)[1]
    state = _call(history, new, started, call)
    played = [event | {"IsPlayed": event["EventType"] != Kind.ORCHESTRATOR_STARTED} for event in new]
    try:
        outcome = Replay().run((state.get("actions") or [[]])[0], history + new)
    except (NonDeterministicError, UnsupportedActionError) as error:
        return _end(played, "Failed", compact(str(error)), _custom(state), 0)
    return _conclude(played, started, state, outcome)


def trigger(history: list[Event], new: list[Event], started: Event) -> str:
    """Return the JSON that an orchestration trigger receives."""
    parent = started["ParentInstance"]
    return json.dumps(
        {
            "history": history + new,
            "input": None if started["Input"] is None else json.loads(started["Input"]),
            "instanceId": started["OrchestrationInstance"]["InstanceId"],
            "isReplaying": bool(history),
            "parentInstanceId": parent and parent["OrchestrationInstance"]["InstanceId"],
            "sourceInstanceId": None,
            "upperSchemaVersion": 1,
            "upperSchemaVersionNew": 3,
            "longRunningTimerIntervalDuration": "3.00:00:00",
            "maximumShortTimerDuration": "6.00:00:00",
            "defaultHttpAsyncRequestSleepTimeMillseconds": 30000,
        },
        ensure_ascii=False,
    )


def _call(history: list[Event], new: list[Event], started: Event, call: Call) -> State:
    """Call the orchestrator. An exception becomes a state: the one in its text, or one that only holds the error."""
    try:
        text = call(started["Name"], trigger(history, new, started))
    except OrchestratorError as error:
        reason, _, hidden = str(error).partition(OUT_OF_PROC_DATA)
        state: State = json.loads(hidden) if hidden else {"actions": [[]], "error": reason}
    else:
        state = json.loads(text)
    if len((_custom(state) or "").encode("utf-16-le")) > MAX_CUSTOM_STATUS:
        error_text = "The UTF-16 size of the JSON-serialized custom status payload must not exceed 16 KB."
        return {"actions": [[]], "error": error_text}
    return state


def _custom(state: State) -> str | None:
    return compact(state["customStatus"]) if "customStatus" in state else None


def _conclude(played: list[Event], started: Event, state: State, outcome: Outcome) -> Result:
    """Apply the rule of DTFx: an execution completes only when no scheduled work is open; termination does not wait."""
    custom = _custom(state)
    if outcome.terminated is not None:
        return _end(played, "Terminated", compact(outcome.terminated), custom, outcome.next_number)
    if outcome.finished and not outcome.open:
        if state.get("error"):
            text = f"Orchestrator function '{started['Name']}' failed: {state['error']}"
            return _end(played, "Failed", compact(text), custom, outcome.next_number)
        if outcome.continued is not None:
            return Result("Running", [], custom=custom, continued=_continuation(started, outcome.continued))
        if state["isDone"]:
            return _end(played, "Completed", compact(state.get("output")), custom, outcome.next_number)
    if outcome.suspended is not None:  # measured: suspension holds back only new work
        return Result("Suspended", _close(played, []), output=compact(outcome.suspended), custom=custom)
    decisions = [_addressed(decision, started) for decision in outcome.decisions]
    return Result("Running", _close(played, decisions), decisions, custom=custom)


def _addressed(decision: Decision, started: Event) -> Decision:
    """Add the trace, and name a sub-orchestration without an id after its parent's execution."""
    if isinstance(decision, Timer):
        return decision
    decision = replace(decision, trace=tracing.scheduled(started["ParentTraceContext"]))
    if isinstance(decision, Child) and decision.instance is None:
        execution = started["OrchestrationInstance"]["ExecutionId"]
        return replace(decision, instance=f"{execution}:{decision.number}")
    return decision


def _scheduled(decision: Decision) -> Event:
    at = clock.timestamp()
    if isinstance(decision, Timer):
        return events.timer_created(at, decision.number, decision.fire_at)
    if isinstance(decision, Child):
        name, span = decision.instance or "", tracing.span_id(decision.trace)
        return events.child_created(at, decision.number, decision.name, name, decision.version, span=span)
    return events.task_scheduled(at, decision.number, decision.name, decision.trace)


def _close(played: list[Event], decisions: list[Decision]) -> list[Event]:
    completed = events.event(Kind.ORCHESTRATOR_COMPLETED, clock.timestamp())
    return [*played, *map(_scheduled, decisions), completed]


def _end(played: list[Event], status: str, output: str, custom: str | None, number: int) -> Result:
    at = clock.timestamp()
    completed = events.event(
        Kind.EXECUTION_COMPLETED, at, number, OrchestrationStatus=status, Result=output, FailureDetails=None
    )
    return Result(status, _close([*played, completed], []), output=output, custom=custom)


def _continuation(started: Event, data: str) -> Event:
    """Start the next execution: same instance, new execution id, no generation, same version."""
    return events.execution_started(
        clock.timestamp(),
        started["Name"],
        started["OrchestrationInstance"]["InstanceId"],
        uuid4().hex,
        data=compact(data),
        version=started["Version"],
        parent=started["ParentInstance"],
        trace=started["ParentTraceContext"],
    )
