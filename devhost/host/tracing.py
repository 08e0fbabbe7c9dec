"""Distributed traces: which one an orchestration belongs to, and what a function sees of it.

Nothing is exported. Measured on the real host with `tracing.distributedTracingEnabled`: the ids are there all the same.
Each piece of work is a span (W3C trace context) below the span of what asked for it.
"""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from devhost.host import clock
from devhost.host.events import Event

HEADER = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
MAX_STATE = 513


@dataclass(frozen=True)
class Span:
    """A span of a trace; `state` is what the caller's system wants to be handed on."""

    trace: str
    id: str
    flags: str = "00"
    state: str | None = None

    @classmethod
    def below(cls, parent: str | None, state: str | None) -> Self:
        """A new span below the one that a `traceparent` names, or below none: then it begins a trace."""
        found = HEADER.fullmatch(parent or "")
        if not found:
            return cls(secrets.token_hex(16), secrets.token_hex(8))
        return cls(found[1], secrets.token_hex(8), "01" if int(found[3], 16) & 1 else "00", state)

    def __str__(self) -> str:
        return f"00-{self.trace}-{self.id}-{self.flags}"


@dataclass(frozen=True)
class TraceContext:
    """`context.trace_context`, as the worker fills it."""

    trace_parent: str | None = None
    trace_state: str | None = None
    attributes: dict[str, str] = field(default_factory=dict)


def of_request(headers: Mapping[str, str]) -> TraceContext:
    """What an HTTP function sees: the caller's trace goes on."""
    span = _called(headers)
    return TraceContext(str(span), span.state)


def of_activity(given: Event | None, name: str, instance: str) -> TraceContext:
    """What an activity sees; `given` is the ParentTraceContext of its TaskScheduled, null while tracing is off."""
    if not given:
        return TraceContext()
    span = Span.below(given["TraceParent"], given["TraceState"])
    task = {"type": "activity", "task.name": name, "task.instance_id": instance}
    return TraceContext(str(span), span.state, {f"durabletask.{key}": value for key, value in task.items()})


def of_start(headers: Mapping[str, str]) -> Event:
    """The ParentTraceContext of an orchestration that a client starts."""
    return started(_parent(_called(headers)))


def started(parent: Event) -> Event:
    """The ParentTraceContext of an execution: its parent's span, and its own, which stays over continue_as_new."""
    own = Span.below(parent["TraceParent"], parent["TraceState"])
    return parent | {"Id": str(own), "SpanId": own.id, "ActivityStartTime": clock.offset(clock.stamp(clock.now()))}


def scheduled(execution: Event | None) -> Event | None:
    """The ParentTraceContext of a call, below the span of the execution that makes it."""
    return execution and _parent(Span.below(execution["Id"], execution["TraceState"]))


def span_id(parent: Event | None) -> str | None:
    """The id of a call's own span."""
    return str(parent["TraceParent"]).split("-")[2] if parent else None


def _called(headers: Mapping[str, str]) -> Span:
    return Span.below(headers.get("traceparent"), headers.get("tracestate"))


def _parent(span: Span) -> Event:
    state = span.state if len(span.state or "") <= MAX_STATE else None
    return {"TraceParent": str(span), "TraceState": state, "Id": None, "SpanId": None, "ActivityStartTime": None}
