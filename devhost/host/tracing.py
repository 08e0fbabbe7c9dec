"""Distributed traces: the trace of an orchestration, and the part of it that a function sees.

No span is exported. Measured on the real host with `tracing.distributedTracingEnabled`: the ids exist even so.
Each piece of work is a span (W3C trace context) below the span of its caller.
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
    """A span of a trace; `state` is the caller's `tracestate`."""

    trace: str
    id: str
    flags: str = "00"
    state: str | None = None

    @classmethod
    def below(cls, parent: str | None, state: str | None) -> Self:
        """Make a span below the one that `parent`, a `traceparent`, names. Without a valid one it begins a trace."""
        found = HEADER.fullmatch(parent or "")
        if not found:
            return cls(secrets.token_hex(16), secrets.token_hex(8))
        return cls(found[1], secrets.token_hex(8), "01" if int(found[3], 16) & 1 else "00", state)

    def __str__(self) -> str:
        return f"00-{self.trace}-{self.id}-{self.flags}"


@dataclass(frozen=True)
class TraceContext:
    """`context.trace_context` of a function."""

    trace_parent: str | None = None
    trace_state: str | None = None
    attributes: dict[str, str] = field(default_factory=dict)


def of_request(headers: Mapping[str, str]) -> TraceContext:
    """Return the context of an HTTP function, which continues the caller's trace."""
    span = _called(headers)
    return TraceContext(str(span), span.state)


def of_activity(given: Event | None, name: str, instance: str) -> TraceContext:
    """Return the context of an activity; `given` is the ParentTraceContext of its TaskScheduled, null without tracing."""
    if not given:
        return TraceContext()
    span = Span.below(given["TraceParent"], given["TraceState"])
    task = {"type": "activity", "task.name": name, "task.instance_id": instance}
    return TraceContext(str(span), span.state, {f"durabletask.{key}": value for key, value in task.items()})


def of_start(headers: Mapping[str, str]) -> Event:
    """Return the ParentTraceContext of an orchestration that a client starts."""
    return started(_parent(_called(headers)))


def started(parent: Event) -> Event:
    """Return the ParentTraceContext of an execution: its parent's span, and its own, which continue_as_new keeps."""
    own = Span.below(parent["TraceParent"], parent["TraceState"])
    return parent | {"Id": str(own), "SpanId": own.id, "ActivityStartTime": clock.offset(clock.timestamp())}


def scheduled(execution: Event | None) -> Event | None:
    """Return the ParentTraceContext of a call, below the span of the calling execution."""
    return execution and _parent(Span.below(execution["Id"], execution["TraceState"]))


def span_id(parent: Event | None) -> str | None:
    """Return the id of a call's own span."""
    return str(parent["TraceParent"]).split("-")[2] if parent else None


def _called(headers: Mapping[str, str]) -> Span:
    return Span.below(headers.get("traceparent"), headers.get("tracestate"))


def _parent(span: Span) -> Event:
    state = span.state if len(span.state or "") <= MAX_STATE else None
    return {"TraceParent": str(span), "TraceState": state, "Id": None, "SpanId": None, "ActivityStartTime": None}
