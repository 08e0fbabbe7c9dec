"""Orchestrations of every shape, which write down what the host gives them and what the SDK returns."""

# mypy: disable-error-code="untyped-decorator"
# The SDK's decorators have no types.

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Generator
from datetime import timedelta
from pathlib import Path
from typing import Any

import azure.durable_functions as df
import azure.functions as func
from azure.durable_functions.models.DurableOrchestrationContext import DurableOrchestrationContext
from azure.durable_functions.orchestrator import Orchestrator

Steps = Generator[Any, Any, Any]
EPISODES = Path(os.environ["NOTES"]) / "episodes.jsonl"
from_json, handle = DurableOrchestrationContext.from_json, Orchestrator.handle
given: list[str] = []
calls = Counter[str]()
app: Any = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)


def keep_what_is_given(text: str) -> Any:
    """Stands before the SDK's reader."""
    given[:] = [text]
    return from_json(text)


def write_down(orchestrator: Any, context: Any) -> str:
    """Stands around the SDK's run of an orchestrator."""
    trigger, out, error = json.loads(given[0]), None, None
    try:
        out = handle(orchestrator, context)
    except Exception as raised:
        error = str(raised)
        raise
    finally:
        line = {"instance": trigger["instanceId"], "in": trigger, "out": out and json.loads(out), "error": error}
        with EPISODES.open("ab", buffering=0) as lines:  # one write: a reader never sees half a line
            lines.write(json.dumps(line).encode() + b"\n")
    return str(out)


DurableOrchestrationContext.from_json = staticmethod(keep_what_is_given)
Orchestrator.handle = write_down


def orchestration(steps: Callable[[Any], Steps]) -> Any:
    """Register an orchestrator."""
    return app.orchestration_trigger(context_name="context")(steps)


def later(context: Any, **after: float) -> Any:
    """A timer."""
    return context.create_timer(context.current_utc_datetime + timedelta(**after))


@app.activity_trigger(input_name="x")
def echo(x: Any) -> Any:
    """Give back what came, in an object."""
    return {"echo": x}


@app.activity_trigger(input_name="x")
def slow(x: Any) -> Any:
    """Take some seconds."""
    time.sleep(x["seconds"])
    return {"slept": x["seconds"]}


@app.activity_trigger(input_name="x")
def flaky(x: Any) -> Any:
    """Fail the first times."""
    calls[x["key"]] += 1
    if calls[x["key"]] <= x["fail"]:
        raise ValueError(f"no {calls[x['key']]}")
    return {"after": calls[x["key"]]}


@app.activity_trigger(input_name="x")
def none_result(x: str) -> None:  # the input is the host's business
    """Return nothing."""


@app.activity_trigger(input_name="x")
def text(x: str) -> str:
    """Return text beyond ASCII."""
    return "täxt:" + x


@orchestration
def chain(context: Any) -> Steps:
    """Four activities in a row."""
    first = yield context.call_activity("echo", {"n": 1})
    second = yield context.call_activity("echo", first)
    third = yield context.call_activity("text", "ü")
    fourth = yield context.call_activity("none_result", "x")
    return [first, second, third, fourth]


@orchestration
def fan(context: Any) -> Steps:
    """Three activities at once."""
    return (yield context.task_all([context.call_activity("echo", {"n": n}) for n in range(3)]))


@orchestration
def fan_fail(context: Any) -> Steps:
    """Two activities at once, of which one fails."""
    failing = context.call_activity("flaky", {"key": context.instance_id, "fail": 99})
    try:
        yield context.task_all([failing, context.call_activity("slow", {"seconds": 2})])
    except Exception as error:  # noqa: BLE001  # the SDK raises nothing narrower
        return (yield context.call_activity("echo", {"caught": str(error)[:60]}))


@orchestration
def any_timer(context: Any) -> Steps:
    """An activity wins over a timer, which is cancelled."""
    timeout = later(context, seconds=30)
    activity = context.call_activity("slow", {"seconds": 1})
    winner = yield context.task_any([timeout, activity])
    if winner == activity:
        timeout.cancel()
        return "activity first"
    return "timer first"


@orchestration
def any_timer_left_open(context: Any) -> Steps:
    """An activity wins over a timer, which goes on."""
    timeout = later(context, seconds=6)
    yield context.task_any([timeout, context.call_activity("echo", {})])
    return "done with an open timer"


@orchestration
def event_or_timer(context: Any) -> Steps:
    """An event or a timer."""
    timeout = later(context, seconds=(context.get_input() or {}).get("seconds", 4))
    event = context.wait_for_external_event("go")
    winner = yield context.task_any([event, timeout])
    if winner == event:
        timeout.cancel()
        return {"event": event.result}
    return "timed out"


@orchestration
def two_events(context: Any) -> Steps:
    """One event after the other."""
    first = yield context.wait_for_external_event("one")
    second = yield context.wait_for_external_event("two")
    return [first, second]


@orchestration
def timer(context: Any) -> Steps:
    """Two seconds."""
    yield later(context, seconds=2)
    return str(context.current_utc_datetime)


@orchestration
def long_timer(context: Any) -> Steps:
    """Longer than one timer may be: the SDK makes several of it."""
    yield later(context, days=10)
    return "never"


@orchestration
def retry_ok(context: Any) -> Steps:
    """Success at the third attempt."""
    data = {"key": context.instance_id, "fail": 2}
    result = yield context.call_activity_with_retry("flaky", df.RetryOptions(500, 4), data)
    return (yield context.call_activity("echo", result))


@orchestration
def retry_fail(context: Any) -> Steps:
    """No success."""
    data = {"key": context.instance_id, "fail": 99}
    try:
        yield context.call_activity_with_retry("flaky", df.RetryOptions(500, 2), data)
    except Exception as error:  # noqa: BLE001  # the SDK raises nothing narrower
        return (yield context.call_activity("echo", {"caught": str(error)[:80]}))


@orchestration
def activity_fails(context: Any) -> Steps:
    """Fail with an activity."""
    yield context.call_activity("flaky", {"key": context.instance_id, "fail": 99})


@orchestration
def raises(context: Any) -> Steps:
    """Fail behind an activity."""
    yield context.call_activity("echo", {})
    raise RuntimeError("orchestrator broke")


@orchestration
def sub(context: Any) -> Steps:
    """Three children: two return, one fails."""
    first = yield context.call_sub_orchestrator("chain")
    second = yield context.call_sub_orchestrator("timer", None, context.instance_id + "-child")
    try:
        yield context.call_sub_orchestrator("raises")
    except Exception as error:  # noqa: BLE001  # the SDK raises nothing narrower
        return [first, second, str(error)[:120]]


@orchestration
def again(context: Any) -> Steps:
    """Three executions."""
    rounds = (context.get_input() or {"n": 0})["n"]
    context.set_custom_status({"round": rounds})
    yield later(context, seconds=1)
    if rounds < 2:
        context.continue_as_new({"n": rounds + 1})
        return None
    return {"rounds": rounds}


@orchestration
def poll(context: Any) -> Steps:
    """Two executions that look for an end, with timers between."""
    state = context.get_input() or {"polls": 0}
    for _ in range(2):
        context.set_custom_status({"state": "copying", "polls": state["polls"]})
        found = yield context.call_activity("echo", {"polls": state["polls"]})
        if found["echo"]["polls"] >= 3:
            context.set_custom_status({"state": "verified"})
            return {"state": "verified", "polls": state["polls"]}
        yield later(context, seconds=1)
        state["polls"] += 1
    context.continue_as_new(state)


@orchestration
def unknown_activity(context: Any) -> Steps:
    """Call what does not exist."""
    yield context.call_activity("does_not_exist", {})


@orchestration
def sleeper(context: Any) -> Steps:
    """Wait for ten minutes."""
    yield later(context, seconds=600)
    return "woke"


@orchestration
def one(context: Any) -> Steps:
    """Never started: an answer names every orchestrator."""
    yield context.call_activity("echo", context.get_input())


@orchestration
def five_polls(context: Any) -> Steps:
    """Never started: an answer names every orchestrator."""
    yield context.call_activity("echo", context.get_input())


@app.route(route="new/{name}/{id}", methods=["POST"])
@app.durable_client_input(client_name="client")
async def new(req: func.HttpRequest, client: Any) -> func.HttpResponse:
    """Start through the SDK's client."""
    body = req.get_body()
    try:
        name, instance = req.route_params["name"], req.route_params["id"]
        started = await client.start_new(name, instance, json.loads(body) if body else None)
        return func.HttpResponse(json.dumps({"id": started}))
    except Exception as error:  # noqa: BLE001  # the SDK raises nothing narrower
        return func.HttpResponse(json.dumps({"type": type(error).__name__, "text": str(error)}), status_code=500)


@app.route(route="bindings")
@app.durable_client_input(client_name="client")
async def bindings(req: func.HttpRequest, client: Any) -> func.HttpResponse:  # noqa: ARG001  # only the client is shown
    """What the host gives the client."""
    return func.HttpResponse(json.dumps(vars(client._orchestration_bindings), default=str))


@app.route(route="raise/{id}/{name}", methods=["POST"])
@app.durable_client_input(client_name="client")
async def raise_event(req: func.HttpRequest, client: Any) -> func.HttpResponse:
    """Raise an event through the SDK's client."""
    await client.raise_event(req.route_params["id"], req.route_params["name"], json.loads(req.get_body()))
    return func.HttpResponse("ok")
