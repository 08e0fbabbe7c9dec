"""An instance as the status API shows it. Mirrors `HttpApiHandler` and the history projection of `DurableClient`."""

import json
from typing import Any

from devhost.host import clock
from devhost.host.events import Event, Kind
from devhost.host.hub import value
from devhost.host.store import Instance

NAMES = {
    Kind.EXECUTION_STARTED: "ExecutionStarted",
    Kind.EXECUTION_COMPLETED: "ExecutionCompleted",
    Kind.EXECUTION_TERMINATED: "ExecutionTerminated",
    Kind.TASK_COMPLETED: "TaskCompleted",
    Kind.TASK_FAILED: "TaskFailed",
    Kind.SUB_ORCHESTRATION_COMPLETED: "SubOrchestrationInstanceCompleted",
    Kind.SUB_ORCHESTRATION_FAILED: "SubOrchestrationInstanceFailed",
    Kind.TIMER_CREATED: "TimerCreated",
    Kind.TIMER_FIRED: "TimerFired",
    Kind.EVENT_RAISED: "EventRaised",
    Kind.GENERIC: "GenericEvent",
    Kind.EXECUTION_SUSPENDED: "ExecutionSuspended",
    Kind.EXECUTION_RESUMED: "ExecutionResumed",
}
SCHEDULING = (Kind.TASK_SCHEDULED, Kind.SUB_ORCHESTRATION_CREATED)
HIDDEN = (
    "EventId",
    "IsPlayed",
    "OrchestrationInstance",
    "ParentInstance",
    "Version",
    "Tags",
    "TaskScheduledId",
    "TimerId",
)


def payload(instance: Instance, *, show_input: bool = True) -> dict[str, Any]:
    """The status without its history."""
    parent = instance.parent and json.loads(instance.parent)["OrchestrationInstance"]["InstanceId"]
    return {
        "name": instance.name,
        "instanceId": instance.id,
        **({"parentInstanceId": parent} if parent else {}),
        **({"version": instance.version} if instance.version else {}),
        "runtimeStatus": instance.status,
        "input": value(instance.input) if show_input else None,
        "customStatus": value(instance.custom),
        "output": value(instance.output),
        "createdTime": clock.seconds(instance.created),
        "lastUpdatedTime": clock.seconds(instance.updated),
    }


def history(events: list[Event], *, show_output: bool) -> list[Event]:
    """The history for people: scheduling is folded into what answered it, bookkeeping is left out."""
    scheduled = {event["EventId"]: event for event in events if event["EventType"] in SCHEDULING}
    return [_shown(event, scheduled, show_output=show_output) for event in events if event["EventType"] in NAMES]


def _shown(event: Event, scheduled: dict[int, Event], *, show_output: bool) -> Event:
    kind = Kind(event["EventType"])
    shown = {"EventType": NAMES[kind], **{key: v for key, v in event.items() if key not in (*HIDDEN, "EventType")}}
    if kind == Kind.EXECUTION_STARTED:
        shown["FunctionName"] = shown.pop("Name")
    if origin := scheduled.get(event.get("TaskScheduledId", -1)):
        at = clock.offset(origin["Timestamp"])
        child = {"InstanceId": origin["InstanceId"]} if "InstanceId" in origin else {}
        shown |= {"ScheduledTime": at, "FunctionName": origin["Name"], **child, "Input": origin["Input"]}
    if "Result" in shown:
        if show_output:
            shown["Result"] = value(shown["Result"])
        else:
            del shown["Result"]
    return shown
