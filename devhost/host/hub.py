"""What a client may ask of an orchestration: start, raise, terminate, suspend, resume, rewind, restart, purge.

The refusals and their texts are those of the Durable Task extension 3.19: measured, not guessed.
"""

import asyncio
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from uuid import uuid4

from devhost.host import clock, events, tracing
from devhost.host.engine import Engine
from devhost.host.episode import compact
from devhost.host.events import Event, Kind
from devhost.host.store import Instance

MAX_ID = 512
BETWEEN = 0.01
"""Seconds between the look for a live instance and the start: on the real host they are two requests to storage."""
FAILED = (Kind.TASK_FAILED, Kind.SUB_ORCHESTRATION_FAILED)
STACK = "   at Microsoft.Azure.WebJobs.Extensions.DurableTask.HttpApiHandler"


class RefusalError(Exception):
    """The answer is no: an HTTP status and a JSON body, or none."""

    def __init__(self, status: int, body: Any = None) -> None:
        super().__init__(f"{status} {body}")
        self.status, self.body = status, body


def error_body(message: str, text: str, kind: str) -> dict[str, str]:
    """The extension's HttpError."""
    return {"Message": message, "ExceptionMessage": text, "ExceptionType": kind, "StackTrace": STACK}


class Hub:
    """The client's side of the task hub."""

    def __init__(self, engine: Engine, default_version: str | None, *, traced: bool = False) -> None:
        self._engine, self._store = engine, engine.store
        self._default_version, self._traced = default_version, traced

    async def start(  # a start is made of these
        self,
        name: str,
        instance: str | None,
        data: str | None,
        version: str | None = None,
        *,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> str:
        """Start an orchestration; an ended one with this id is silently replaced. `data` is JSON text.

        The caller's trace, if `headers` names one, goes on.

        Measured: a start is not atomic. Of twelve at once up to all are accepted; one of them runs, the others' messages
        find it alive and are dropped.
        """
        identity = instance or uuid4().hex
        self._refuse_live(identity)
        await asyncio.sleep(BETWEEN)
        if (there := self._store.get(identity)) and there.live:
            return identity
        return self._start(name, identity, str(uuid4()), data, version or self._default_version, headers)

    def _refuse_live(self, instance: str) -> None:
        there = self._store.get(instance)
        if there and there.live:
            text = f"An Orchestration instance with the status {there.status} already exists."
            raise RefusalError(409, {"Message": text})

    def _start(  # noqa: PLR0913, PLR0917  # as above
        self,
        name: str,
        instance: str,
        execution: str,
        data: str | None,
        version: str | None,
        headers: Mapping[str, str],
    ) -> str:
        if len(instance) > MAX_ID:
            text = "The property value exceeds the maximum allowed size (64KB)."
            message = "Something went wrong while processing your request"
            raise RefusalError(500, error_body(message, text, "Azure.RequestFailedException"))
        before = self._store.get(instance)
        generation = (before.generation or 0) + 1 if before else 0
        started = events.execution_started(
            clock.stamp(clock.now()),
            name,
            instance,
            execution,
            data=data,
            version=version,
            generation=generation,
            trace=tracing.of_start(headers) if self._traced else None,
        )
        with self._store.transaction():
            self._store.create(started)
        if "\\" not in instance:  # measured: such an id is accepted and stays Pending for ever
            self._engine.wake(instance)
        return instance

    def find(self, instance: str) -> Instance:
        """An instance. Refuses 404."""
        if found := self._store.get(instance):
            return found
        raise RefusalError(404)

    def _live(self, instance: str) -> Instance:
        found = self.find(instance)
        if not found.live:
            raise RefusalError(410)
        return found

    def _post(self, instance: str, event: Event) -> None:
        self._store.post(instance, event)
        self._engine.wake(instance)

    def raise_event(self, instance: str, name: str, data: Any) -> None:
        """Send an event with a JSON value."""
        self._live(instance)
        self._post(instance, events.event_raised(clock.stamp(clock.now()), name, compact(data)))

    def terminate(self, instance: str, reason: str) -> None:
        """End it now; what it scheduled runs on unheard."""
        self._live(instance)
        self._post(instance, events.event(Kind.EXECUTION_TERMINATED, clock.stamp(clock.now()), Input=reason))

    def suspend(self, instance: str, reason: str) -> None:
        """Hold back new work."""
        self._turn(instance, "suspend", Kind.EXECUTION_SUSPENDED, reason, ("Pending", "Running"))

    def resume(self, instance: str, reason: str) -> None:
        """Let it work again."""
        self._turn(instance, "resume", Kind.EXECUTION_RESUMED, reason, ("Suspended",))

    def _turn(self, instance: str, verb: str, kind: Kind, reason: str, allowed: tuple[str, ...]) -> None:
        found = self._live(instance)
        if found.status not in allowed:
            text = (
                f"Cannot {verb} the orchestration instance {instance} because instance is in the {found.status} state."
            )
            message = "Something went wrong while processing your request"
            raise RefusalError(500, error_body(message, text, "System.InvalidOperationException"))
        self._post(instance, events.event(kind, clock.stamp(clock.now()), Reason=reason))

    def restart(self, instance: str, *, new_id: bool) -> str:
        """Start it again with the same name and input, under a new id or its own."""
        found = self._store.get(instance)
        if not found:
            text = f"No instance with ID '{instance}' was found. (Parameter 'instanceId')"
            message = "InstanceId does not match a valid orchestration instance."
            raise RefusalError(400, error_body(message, text, "System.ArgumentException"))
        if found.live and not new_id:
            raise RefusalError(409, {"Message": "A non-terminal instance with this instance ID already exists."})
        target = uuid4().hex if new_id else instance
        return self._start(found.name, target, uuid4().hex, found.input or "null", self._default_version, {})

    def rewind(self, instance: str, reason: str) -> None:
        """Take a failed instance back to before its failures: they become Generic events, what failed runs again."""
        found = self.find(instance)
        if found.status != "Failed":
            raise RefusalError(
                412,
                f"This orchestration has status {found.status}, but only orchestrations in the "
                '"Failed" state can be rewound.',
            )
        with self._store.transaction():
            self._rewind(found, reason)

    def _rewind(self, instance: Instance, reason: str) -> None:
        """A failed child is not started anew but rewound itself; it answers the same call again."""
        history = self._store.history(instance.id)
        failed = {event["TaskScheduledId"] for event in history if event["EventType"] in FAILED}
        for n, event in enumerate(history):
            kind, called = event["EventType"], event["EventId"] in failed
            if kind in (*FAILED, Kind.EXECUTION_COMPLETED) or (kind == Kind.TASK_SCHEDULED and called):
                history[n] = events.generic(event)
            elif kind == Kind.SUB_ORCHESTRATION_CREATED and called:
                self._rewind_child(event["InstanceId"], reason)
        self._store.rewrite(instance.id, history)
        self._store.update(instance.id, status="Running", output=None)
        note = events.event(Kind.GENERIC, clock.stamp(clock.now()), Data=reason)
        self._store.post(instance.id, note, instance.execution)
        self._engine.wake(instance.id)

    def _rewind_child(self, name: str, reason: str) -> None:
        if (child := self._store.get(name)) and child.status == "Failed":
            self._rewind(child, reason)

    def purge(self, instance: str) -> None:
        """Forget an ended instance."""
        found = self.find(instance)
        if found.live:
            raise RefusalError(
                412,
                "Only orchestrations in a terminal state can be purged, but the orchestration with instance ID "
                f"{instance} has status {found.status}",
            )
        with self._store.transaction():
            self._store.forget(instance)


def value(text: str | None) -> Any:
    """JSON text as a value; null for none."""
    return None if text is None else json.loads(text)
