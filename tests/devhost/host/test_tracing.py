"""Traces as the real host passes them on: off by default, and without an exporter when they are on."""

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

SWITCH = {"AzureFunctionsJobHost__extensions__durableTask__tracing__distributedTracingEnabled": "true"}
TRACE = "0123456789abcdef" * 2
CALLER = f"00-{TRACE}-1111111111111111-"
TEXT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]")


@pytest.fixture(scope="module")
def tracing(launch: Callable[..., Any]) -> Any:
    return launch(**SWITCH).ready()


def start(host: Any, instance: str, **headers: str) -> list[list[Any]]:
    """Run the traced orchestration; return its notes of its two executions and of its child."""
    assert host.durable("POST", f"/orchestrators/traced/{instance}", **headers)[0] == 202
    found: list[list[Any]] = host.wait(instance, "Completed", "Failed")["output"]
    return found


def parts(text: str) -> tuple[str, str, str]:
    assert TEXT.fullmatch(text), text
    _, trace, span, flags = text.split("-")
    return trace, span, flags


@pytest.mark.parametrize(("flags", "kept"), [("01", "01"), ("00", "00")])
def test_an_orchestration_carries_on_the_trace_of_its_start(tracing: Any, flags: str, kept: str) -> None:
    """Over continue_as_new, into its child and every activity, each with a separate span; so is the tracestate."""
    name = f"called-{flags}"
    first, child, second = start(tracing, name, traceparent=CALLER + flags, tracestate="a=1,b=2")
    spans = []
    for (given, seen), instance in ((first, name), (child, f"{name}-child"), (second, name)):
        assert seen["value"] == instance
        assert (given["TraceState"], seen["state"]) == ("a=1,b=2", "a=1,b=2")
        attributes = {"type": "activity", "task.name": "trace", "task.instance_id": instance}
        assert seen["attributes"] == {f"durabletask.{key}": value for key, value in attributes.items()}
        for text in (given["TraceParent"], given["Id"], seen["parent"]):
            trace, span, shown = parts(text)
            assert (trace, shown) == (TRACE, kept)
            spans.append(span)
        assert parts(given["Id"])[1] == given["SpanId"]
    assert first[0] == second[0], "one span for all executions of an instance"
    assert len(set(spans)) == 7
    assert "1111111111111111" not in spans


def test_the_history_shows_the_trace(tracing: Any) -> None:
    """Clients see all of its fields."""
    start(tracing, "shown", traceparent=CALLER + "01")
    given = tracing.status("shown", "?showHistory=true")["historyEvents"][0]["ParentTraceContext"]
    assert set(given) == {"TraceParent", "TraceState", "Id", "SpanId", "ActivityStartTime"}
    assert parts(given["TraceParent"])[0] == TRACE


@pytest.mark.parametrize(
    ("name", "headers"),
    [
        ("none", {}),
        ("empty", {"traceparent": ""}),
        ("garbage", {"traceparent": "no trace"}),
        ("no-trace", {"traceparent": f"00-{'0' * 32}-1111111111111111-01"}),
        ("no-span", {"traceparent": f"00-{TRACE}-{'0' * 16}-01"}),
    ],
)
def test_a_start_without_a_trace_begins_one(tracing: Any, name: str, headers: dict[str, str]) -> None:
    """It is not recorded: its flags are 00."""
    found = start(tracing, name, **headers)
    traces = [parts(text) for given, seen in found for text in (given["TraceParent"], seen["parent"])]
    assert all(one[0] == other[0] for one, other in pairwise(traces))
    assert {flags for _, _, flags in traces} == {"00"}
    assert traces[0][0] != TRACE


def test_a_start_through_the_sdk_begins_a_trace_of_its_own(tracing: Any) -> None:
    """It does not continue the trace of the HTTP function that starts it."""
    tracing.call("POST", "/api/start/traced/by-sdk", traceparent=CALLER + "01")
    assert parts(tracing.wait("by-sdk")["output"][0][0]["TraceParent"])[0] != TRACE


def test_an_http_function_goes_on_in_its_callers_trace(tracing: Any) -> None:
    seen = tracing.call("GET", "/api/hello", traceparent=CALLER + "01", tracestate="a=1")[1]
    assert parts(seen["trace"])[::2] == (TRACE, "01")
    assert parts(seen["trace"])[1] != "1" * 16
    assert seen["state"] == "a=1"


def test_a_timer_has_no_trace(tracing: Any) -> None:
    assert tracing.notes("timer trace") == [None]


def test_without_the_setting_there_is_no_trace(host: Any) -> None:
    """Null in the history, None in a function."""
    found = start(host, "untraced", traceparent=CALLER + "01")
    assert [given for given, _ in found] == [None] * 3
    assert [(seen["parent"], seen["state"], seen["attributes"]) for _, seen in found] == [(None, None, {})] * 3
    assert host.call("GET", "/api/hello", traceparent=CALLER + "01")[1]["trace"] is None
