"""The metered values: executions, and the time in which an instance runs at least one function."""

import time
from dataclasses import replace
from typing import Any

import pytest

from devhost.host.indexing import Function
from devhost.host.worker import Meter

ONE = Function(
    name="one",
    kind="activityTrigger",
    trigger={},
    call=print,
    inputs={},
    needs_context=False,
    returns=None,
    is_async=False,
    directory="",
)
OTHER = replace(ONE, name="other", kind="orchestrationTrigger")
QUEUE = replace(ONE, name="queue", kind="queueTrigger")


def test_time_is_counted_once_however_many_run() -> None:
    """Overlapping durable functions count once; a queue function is a separate group."""
    meter = Meter()
    with meter.running(ONE), meter.running(QUEUE), meter.running(OTHER):
        time.sleep(0.05)
    with meter.running(ONE):
        time.sleep(0.05)
    found = meter.read()
    assert found["executions"] == {"one": 2, "other": 1, "queue": 1}
    assert 0.1 <= found["active_seconds"]["durable"] < 0.2
    assert 0.05 <= found["active_seconds"]["queue"] < 0.1


def test_a_function_that_fails_is_metered_too() -> None:
    meter = Meter()
    with pytest.raises(ValueError, match="no"), meter.running(ONE):
        raise ValueError("no")
    found = meter.read()
    assert (found["executions"], set(found["active_seconds"])) == ({"one": 1}, {"durable"})


def test_the_host_reports_it(host: Any) -> None:
    """An orchestration of two activities takes three calls of the orchestrator and two of the activity."""
    before = host.call("GET", "/admin/meter")[1]["executions"]
    host.start("chain", "metered")
    host.wait("metered", "Completed")
    after = host.call("GET", "/admin/meter")[1]
    assert after["executions"]["chain"] - before.get("chain", 0) == 3
    assert after["executions"]["echo"] - before.get("echo", 0) == 2
    assert after["active_seconds"]["durable"] > 0
