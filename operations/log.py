"""Log lines: one JSON object each, with a stable `action` beside the prose, safe against line breaks in names."""

import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from rules.transfers.identity import trace_id

LOGGER = logging.getLogger("blob_data_sharing")
# W3C Trace Context: version, trace, span, flags.
TRACE_PARENT = re.compile("00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")
_CALL: ContextVar[dict[str, str] | None] = ContextVar("call", default=None)


def log(action: str, prose: str, *, level: int = logging.INFO, **fields: Any) -> None:
    """Say what happened. `action` is one of `operations/actions.py:ACTIONS`."""
    line = {"action": action, "text": prose, **fields, **_trace(fields.get("id"))}
    LOGGER.log(level, "%s", json.dumps(line, default=str))


@contextmanager
def traced(trace_parent: str | None) -> Iterator[None]:
    """Give every line in here the trace and the span of the call that the host made."""
    found = TRACE_PARENT.fullmatch(trace_parent or "")
    token = _CALL.set({"trace_id": found[1], "span_id": found[2]} if found else None)
    try:
        yield
    finally:
        _CALL.reset(token)


def _trace(identity: Any) -> dict[str, str]:
    """What the host said of this call; outside a call, the trace that follows from the id."""
    call = _CALL.get()
    if call is not None:
        return call
    trace = trace_id(identity) if isinstance(identity, str) else ""
    return {"trace_id": trace} if trace else {}
