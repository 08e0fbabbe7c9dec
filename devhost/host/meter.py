"""Meters what Azure bills a function app for: executions, and the time in which an instance runs at least one function.

On the Flex Consumption plan all durable functions share instances, all HTTP functions share others, and each other function
has its own: so the time is metered by such groups.
"""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from devhost.host.indexing import Function

GROUPS = {"orchestrationTrigger": "durable", "activityTrigger": "durable", "httpTrigger": "http"}


class Meter:
    """Everything since the start."""

    def __init__(self) -> None:
        self._executions = Counter[str]()
        self._active: dict[str, float] = {}
        self._running = Counter[str]()
        self._since: dict[str, float] = {}

    @contextmanager
    def running(self, function: Function) -> Iterator[None]:
        """Meter one execution."""
        group = GROUPS.get(function.kind, function.name)
        self._executions[function.name] += 1
        if not self._running[group]:
            self._since[group] = time.monotonic()
        self._running[group] += 1
        try:
            yield
        finally:
            self._running[group] -= 1
            if not self._running[group]:
                self._active[group] = self._active.get(group, 0.0) + time.monotonic() - self._since[group]

    def read(self) -> dict[str, Any]:
        """For a person or a program; what still runs is not in the time yet."""
        return {"executions": self._executions, "active_seconds": self._active}
