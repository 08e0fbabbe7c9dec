"""The JSON of the management API: an instance and its history, and the URLs of the API.

Mirrors `HttpApiHandler` and the history projection of `DurableClient`.
"""

import json
from typing import Any
from urllib.parse import quote

from devhost.host import clock
from devhost.host.events import Event, Kind
from devhost.host.store import Instance

WEBHOOK = "/runtime/webhooks/durabletask"
RPC = "/durabletask"
SCHEDULING = (Kind.TASK_SCHEDULED, Kind.SUB_ORCHESTRATION_INSTANCE_CREATED)
INVISIBLE = (*SCHEDULING, Kind.ORCHESTRATOR_STARTED, Kind.ORCHESTRATOR_COMPLETED)
HIDDEN = {
    "EventId",
    "IsPlayed",
    "OrchestrationInstance",
    "ParentInstance",
    "Version",
    "Tags",
    "TaskScheduledId",
    "TimerId",
}


def payload(instance: Instance, *, show_input: bool = True) -> dict[str, Any]:
    """Return the status of an instance, without its history."""
    parent = instance.parent and json.loads(instance.parent)["OrchestrationInstance"]["InstanceId"]
    return {
        "name": instance.name,
        "instanceId": instance.id,
        **({"parentInstanceId": parent} if parent else {}),
        **({"version": instance.version} if instance.version else {}),
        "runtimeStatus": instance.status,
        "input": _value(instance.input) if show_input else None,
        "customStatus": _value(instance.custom),
        "output": _value(instance.output),
        "createdTime": _seconds(instance.created),
        "lastUpdatedTime": _seconds(instance.updated),
    }


def _value(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def _seconds(text: str) -> str:
    """Cut a stored time to whole seconds."""
    return text[:19] + "Z"


def history(events: list[Event], *, show_output: bool) -> list[Event]:
    """Return the visible history: a call is part of its answer, and bookkeeping is left out."""
    scheduled = {event["EventId"]: event for event in events if event["EventType"] in SCHEDULING}
    return [
        _shown(event, scheduled, show_output=show_output) for event in events if event["EventType"] not in INVISIBLE
    ]


def _shown(event: Event, scheduled: dict[int, Event], *, show_output: bool) -> Event:
    kind = Kind(event["EventType"])
    shown = {key: value for key, value in event.items() if key not in HIDDEN}
    shown["EventType"] = kind.name.title().replace("_", "")
    if kind == Kind.EXECUTION_STARTED:
        shown["FunctionName"] = shown.pop("Name")
    if origin := scheduled.get(event.get("TaskScheduledId", -1)):
        at = clock.offset(origin["Timestamp"])
        child = {"InstanceId": origin["InstanceId"]} if "InstanceId" in origin else {}
        shown |= {"ScheduledTime": at, "FunctionName": origin["Name"], **child, "Input": origin["Input"]}
    if "Result" in shown:
        result = shown.pop("Result")
        shown |= {"Result": _value(result)} if show_output else {}
    return shown


class Urls:
    """The URLs that the extension returns. They carry the system key, so the app must not pass them on to its clients."""

    def __init__(self, hub: str, key: str) -> None:
        self._hub, self._key = hub, key

    def binding(self, port: int, rpc_port: int) -> str:
        """Return the JSON that a durable client parameter receives. SDK 1.x needs the trailing slash of the RPC address."""
        base = f"http://localhost:{port}{WEBHOOK}"
        start = f"{base}/orchestrators/{{functionName}}[/{{instanceId}}]"
        wait = "timeout={timeoutInSeconds}&pollingInterval={intervalInSeconds}"
        urls = {
            "taskHubName": self._hub,
            "connectionName": None,
            "creationUrls": {
                "createNewInstancePostUri": f"{start}?code={self._key}",
                "createAndWaitOnNewInstancePostUri": f"{start}?{wait}&code={self._key}",
            },
            "managementUrls": {"id": "INSTANCEID", **self._management(base, "INSTANCEID", rewind=True)},
            "baseUrl": base,
            "requiredQueryStringParameters": f"code={self._key}",
            "rpcBaseUrl": f"http://127.0.0.1:{rpc_port}{RPC}/",
            "httpBaseUrl": base,
            "maxGrpcMessageSizeInBytes": None,
            "grpcHttpClientTimeout": None,
        }
        return json.dumps(urls)

    def started(self, origin: str, instance: str) -> dict[str, str]:
        """Return the answer to a start at `origin`. Measured: on the RPC port these URLs lead to 404."""
        return {"id": instance, **self._management(origin + WEBHOOK, quote(instance, safe="!$&'()*+,;=:-._~"))}

    def _management(self, base: str, instance: str, *, rewind: bool = False) -> dict[str, str]:
        url, tail = f"{base}/instances/{instance}", f"taskHub={self._hub}&connection=Storage&code={self._key}"
        rewound = {"rewindPostUri": f"{url}/rewind?reason={{text}}&{tail}"} if rewind else {}
        return {
            "statusQueryGetUri": f"{url}?{tail}",
            "sendEventPostUri": f"{url}/raiseEvent/{{eventName}}?{tail}",
            "terminatePostUri": f"{url}/terminate?reason={{text}}&{tail}",
            **rewound,
            "purgeHistoryDeleteUri": f"{url}?{tail}",
            "restartPostUri": f"{url}/restart?{tail}",
            "suspendPostUri": f"{url}/suspend?reason={{text}}&{tail}",
            "resumePostUri": f"{url}/resume?reason={{text}}&{tail}",
        }
