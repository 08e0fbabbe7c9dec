"""The client operations on orchestrations: start, raise, terminate, suspend, resume, rewind, restart, purge.

The refusals and their texts were measured on the Durable Task extension 3.19.
"""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any
from uuid import uuid4

from devhost.host import clock, events, tracing
from devhost.host.engine import Engine
from devhost.host.episode import compact
from devhost.host.events import Event, Kind
from devhost.host.store import Instance

MAX_ID = 512
START_GAP = 0.01
"""Seconds between the search for a live instance and the start, which are two storage requests on the real host."""
FAILED = (Kind.TASK_FAILED, Kind.SUB_ORCHESTRATION_INSTANCE_FAILED)
STACK = "   at Microsoft.Azure.WebJobs.Extensions.DurableTask.HttpApiHandler"
WRONG = "Something went wrong while processing your request"


class RefusalError(Exception):
    """An HTTP status, and a JSON body or none."""

    def __init__(self, status: int, body: Any = None) -> None:
        super().__init__(f"{status} {body}")
        self.status, self.body = status, body


def error_body(message: str, text: str, kind: str) -> dict[str, str]:
    """Return the extension's HttpError."""
    return {"Message": message, "ExceptionMessage": text, "ExceptionType": kind, "StackTrace": STACK}


class Hub:
    """The client operations of one task hub. All of them raise RefusalError."""

    def __init__(self, engine: Engine, default_version: str | None, *, traced: bool = False) -> None:
        self._engine, self._store = engine, engine.store
        self._default_version, self._traced = default_version, traced

    async def start(
        self,
        name: str,
        instance: str | None,
        data: str | None,
        version: str | None = None,
        *,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> str:
        """Start an orchestration and return its id. It silently replaces an ended one of this id. `data` is JSON text.

        It continues the trace in `headers`, if there is one.

        Measured: a start is not atomic. Of twelve concurrent starts up to twelve are accepted; one of them runs, and the
        messages of the others are dropped because the instance is live.
        """
        identity = instance or uuid4().hex
        if (found := self._store.get(identity)) and found.live:
            text = f"An Orchestration instance with the status {found.status} already exists."
            raise RefusalError(HTTPStatus.CONFLICT, {"Message": text})
        await asyncio.sleep(START_GAP)
        if (found := self._store.get(identity)) and found.live:
            return identity
        trace = tracing.of_start(headers) if self._traced else None
        return self._start(name, identity, str(uuid4()), data, version or self._default_version, trace)

    def _start(  # noqa: PLR0913, PLR0917  # the fields of the event
        self,
        name: str,
        instance: str,
        execution: str,
        data: str | None,
        version: str | None,
        trace: Event | None = None,
    ) -> str:
        if len(instance) > MAX_ID:
            text = "The property value exceeds the maximum allowed size (64KB)."
            raise RefusalError(500, error_body(WRONG, text, "Azure.RequestFailedException"))
        before = self._store.get(instance)
        started = events.execution_started(
            clock.timestamp(),
            name,
            instance,
            execution,
            data=data,
            version=version,
            generation=(before.generation or 0) + 1 if before else 0,
            trace=trace,
        )
        with self._store.transaction():
            self._store.create(started)
        if "\\" not in instance:  # measured: such an id is accepted and stays Pending forever
            self._engine.wake(instance)
        return instance

    def find(self, instance: str) -> Instance:
        """Return an instance."""
        if found := self._store.get(instance):
            return found
        raise RefusalError(HTTPStatus.NOT_FOUND)

    def _live(self, instance: str) -> Instance:
        found = self.find(instance)
        if not found.live:
            raise RefusalError(HTTPStatus.GONE)
        return found

    def _post(self, instance: str, event: Event) -> None:
        self._store.post(instance, event)
        self._engine.wake(instance)

    def raise_event(self, instance: str, name: str, data: Any) -> None:
        """Send an event with a JSON value."""
        self._live(instance)
        self._post(instance, events.event_raised(clock.timestamp(), name, compact(data)))

    def terminate(self, instance: str, reason: str) -> None:
        """End an instance. Its activities run on, and their results are dropped."""
        self._live(instance)
        self._post(instance, events.event(Kind.EXECUTION_TERMINATED, clock.timestamp(), Input=reason))

    def suspend(self, instance: str, reason: str) -> None:
        """Hold back new work of an instance."""
        self._switch(instance, "suspend", Kind.EXECUTION_SUSPENDED, reason, ("Pending", "Running"))

    def resume(self, instance: str, reason: str) -> None:
        """End a suspension."""
        self._switch(instance, "resume", Kind.EXECUTION_RESUMED, reason, ("Suspended",))

    def _switch(self, instance: str, verb: str, kind: Kind, reason: str, allowed: tuple[str, ...]) -> None:
        status = self._live(instance).status
        if status not in allowed:
            text = f"Cannot {verb} the orchestration instance {instance} because instance is in the {status} state."
            raise RefusalError(500, error_body(WRONG, text, "System.InvalidOperationException"))
        self._post(instance, events.event(kind, clock.timestamp(), Reason=reason))

    def restart(self, instance: str, *, new_id: bool) -> str:
        """Start an instance again with the same name and input, under a new id or its own; return the id."""
        found = self._store.get(instance)
        if not found:
            text = f"No instance with ID '{instance}' was found. (Parameter 'instanceId')"
            message = "InstanceId does not match a valid orchestration instance."
            raise RefusalError(HTTPStatus.BAD_REQUEST, error_body(message, text, "System.ArgumentException"))
        target = uuid4().hex if new_id else instance
        return self._start(found.name, target, uuid4().hex, found.input or "null", self._default_version)

    def rewind(self, instance: str, reason: str) -> None:
        """Run the failed activities of a failed instance again: events from their calls on become Generic events."""
        status = self.find(instance).status
        if status != "Failed":
            text = (
                f'This orchestration has status {status}, but only orchestrations in the "Failed" state can be rewound.'
            )
            raise RefusalError(HTTPStatus.PRECONDITION_FAILED, text)
        history = self._store.history(instance)
        failed = {event["TaskScheduledId"] for event in history if event["EventType"] in FAILED}
        for n, event in enumerate(history):
            is_call = event["EventType"] == Kind.TASK_SCHEDULED and event["EventId"] in failed
            if is_call or event["EventType"] in (*FAILED, Kind.EXECUTION_COMPLETED):
                history[n] = events.generic(event)
        with self._store.transaction():
            self._store.rewrite(instance, history)
            self._store.update(instance, status="Running", output=None)
            self._post(instance, events.event(Kind.GENERIC_EVENT, clock.timestamp(), Data=reason))

    def purge(self, instance: str) -> None:
        """Delete an ended instance."""
        found = self.find(instance)
        if found.live:
            text = (
                "Only orchestrations in a terminal state can be purged, but the orchestration with instance ID "
                f"{instance} has status {found.status}"
            )
            raise RefusalError(HTTPStatus.PRECONDITION_FAILED, text)
        with self._store.transaction():
            self._store.forget(instance)
