"""Log lines: one JSON object each, with a stable `action`, without secrets, and safe against line breaks in names."""

import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from rules.redaction import text_without_secrets
from rules.transfers.identity import trace_id

LOGGER = logging.getLogger("blob_data_sharing")
# W3C Trace Context: version, trace, span, flags.
TRACE_PARENT = re.compile("00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")
# The names of blobs are logged exactly: `code=DE/` in one is a folder, not a key.
BLOB_NAMES = frozenset({"name", "oldest_name", "blob"})
_CALL: ContextVar[dict[str, str] | None] = ContextVar("call", default=None)


def log(action: str, text: str, *, level: int = logging.INFO, **fields: Any) -> None:
    """Write one line. `action` is one of `operations/actions.py:ACTIONS`.

    Secrets are removed from `text` and from every field but the names of blobs, before JSON escapes could hide them.
    """
    line = {"action": action, "text": text, **fields, **_trace(fields.get("id"))}
    line = {field: value if field in BLOB_NAMES else _redacted(value) for field, value in line.items()}
    LOGGER.log(level, "%s", json.dumps(line, default=lambda value: _redacted(str(value))))


def _redacted(value: Any) -> Any:
    return text_without_secrets(value) if isinstance(value, str) else value


@contextmanager
def traced(trace_parent: str | None) -> Iterator[None]:
    """Add the trace and the span of the host's call to every line that is written inside."""
    found = TRACE_PARENT.fullmatch(trace_parent or "")
    token = _CALL.set({"trace_id": found[1], "span_id": found[2]} if found else None)
    try:
        yield
    finally:
        _CALL.reset(token)


def _trace(identity: Any) -> dict[str, str]:
    """The trace of the current call; outside a call, the trace that follows from the id."""
    call = _CALL.get()
    if call is not None:
        return call
    trace = trace_id(identity) if isinstance(identity, str) else ""
    return {"trace_id": trace} if trace else {}
