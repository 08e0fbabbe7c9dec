"""History events as the Durable Task extension serializes them for an orchestrator, with one function per kind.

The sets of fields were measured on the real host. Inputs of scheduled work are null, because the real host does not
store them in the history (`storeInputsInOrchestrationHistory: false`).
"""

from enum import IntEnum
from typing import Any

Event = dict[str, Any]


class Kind(IntEnum):
    """The values of `EventType`."""

    EXECUTION_STARTED = 0
    EXECUTION_COMPLETED = 1
    EXECUTION_TERMINATED = 3
    TASK_SCHEDULED = 4
    TASK_COMPLETED = 5
    TASK_FAILED = 6
    SUB_ORCHESTRATION_INSTANCE_CREATED = 7
    SUB_ORCHESTRATION_INSTANCE_COMPLETED = 8
    SUB_ORCHESTRATION_INSTANCE_FAILED = 9
    TIMER_CREATED = 10
    TIMER_FIRED = 11
    ORCHESTRATOR_STARTED = 12
    ORCHESTRATOR_COMPLETED = 13
    EVENT_RAISED = 15
    GENERIC_EVENT = 17
    EXECUTION_SUSPENDED = 19
    EXECUTION_RESUMED = 20


def event(kind: Kind, at: str, number: int = -1, **fields: Any) -> Event:
    """Make an event; `number` is the sequence number of scheduled work, and -1 for all other events."""
    return {"EventType": int(kind), "EventId": number, "IsPlayed": False, "Timestamp": at, **fields}


def execution_started(  # noqa: PLR0913  # the fields of the event
    at: str,
    name: str,
    instance: str,
    execution: str,
    *,
    data: str | None,
    version: str | None = None,
    parent: Event | None = None,
    generation: int | None = None,
    trace: Event | None = None,
) -> Event:
    """Start an execution; `generation` counts the starts of one id, and is null for a child or a continuation."""
    return event(
        Kind.EXECUTION_STARTED,
        at,
        OrchestrationInstance={"InstanceId": instance, "ExecutionId": execution},
        ParentInstance=parent,
        Name=name,
        Version=version,
        Input=data,
        Tags=None,
        Correlation=None,
        ParentTraceContext=trace,
        ScheduledStartTime=None,
        Generation=generation,
        GenerateNewTrace=False,
    )


def task_scheduled(at: str, number: int, name: str, trace: Event | None = None) -> Event:
    """Record the call of an activity."""
    return event(
        Kind.TASK_SCHEDULED, at, number, Name=name, Version="", Input=None, ParentTraceContext=trace, Tags=None
    )


def task_completed(at: str, number: int, result: str | None) -> Event:
    """Record the result of an activity, as JSON text."""
    return event(Kind.TASK_COMPLETED, at, TaskScheduledId=number, Result=result)


def task_failed(at: str, number: int, reason: str, details: str) -> Event:
    """Record the failure of an activity."""
    return event(Kind.TASK_FAILED, at, TaskScheduledId=number, Reason=reason, Details=details, FailureDetails=None)


def child_created(  # noqa: PLR0913  # the fields of the event
    at: str, number: int, name: str, instance: str, version: str | None, *, span: str | None
) -> Event:
    """Record the call of a sub-orchestration."""
    return event(
        Kind.SUB_ORCHESTRATION_INSTANCE_CREATED,
        at,
        number,
        Name=name,
        Version=version,
        InstanceId=instance,
        Input=None,
        ClientSpanId=span,
        Tags=None,
    )


def child_completed(at: str, number: int, result: str | None) -> Event:
    """Record the result of a sub-orchestration, as JSON text."""
    return event(Kind.SUB_ORCHESTRATION_INSTANCE_COMPLETED, at, TaskScheduledId=number, Result=result)


def child_failed(at: str, number: int, reason: str, details: str) -> Event:
    """Record the failure or termination of a sub-orchestration; `reason` is the text of its output."""
    return event(
        Kind.SUB_ORCHESTRATION_INSTANCE_FAILED,
        at,
        TaskScheduledId=number,
        Reason=reason,
        Details=details,
        FailureDetails=None,
    )


def timer_created(at: str, number: int, fire_at: str) -> Event:
    """Record the creation of a timer."""
    return event(Kind.TIMER_CREATED, at, number, FireAt=fire_at)


def timer_fired(created: str, number: int, fire_at: str) -> Event:
    """Record the end of a timer. As on the real host, its Timestamp is the time when the timer was *created*."""
    return event(Kind.TIMER_FIRED, created, TimerId=number, FireAt=fire_at)


def event_raised(at: str, name: str, data: str) -> Event:
    """Record an external event; `data` is JSON text."""
    return event(Kind.EVENT_RAISED, at, Name=name, Input=data, ParentTraceContext=None)


def generic(original: Event) -> Event:
    """Make the event that replaces `original` in a rewind."""
    fields = {key: original[key] for key in ("EventId", "IsPlayed", "Timestamp")}
    return {"Data": None, "EventType": int(Kind.GENERIC_EVENT), **fields}
