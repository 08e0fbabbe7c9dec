"""Orchestrations, queue, timer and HTTP functions of every shape that the stand-in must drive."""

# mypy: disable-error-code="untyped-decorator"
# The SDK's decorators have no types.

import asyncio
import json
import os
from collections.abc import Callable, Generator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import azure.durable_functions as df
import azure.functions as func

app: Any = df.DFApp(http_auth_level=func.AuthLevel.FUNCTION)
BORN = uuid4().hex
NOTES = Path(os.environ["NOTES"])
Steps = Generator[Any, Any, Any]


def note(name: str, value: Any) -> None:
    """Write down a line that the test reads."""
    with (NOTES / name).open("a") as lines:
        lines.write(json.dumps(value) + "\n")


def orchestration(steps: Callable[[Any], Steps]) -> Any:
    return app.orchestration_trigger(context_name="context")(steps)


@app.activity_trigger(input_name="value")
async def echo(value: Any) -> Any:
    note("echo", value)
    return value


@app.activity_trigger(input_name="value")
def fails(value: Any) -> None:
    raise ValueError(f"no {value}")


@app.activity_trigger(input_name="value")
async def slow(value: Any) -> str:
    """Take some seconds; the note counts the starts."""
    note("slow", value)
    await asyncio.sleep(value)
    return "slept"


@orchestration
def chain(context: Any) -> Steps:
    first = yield context.call_activity("echo", {"n": 1})
    second = yield context.call_activity("echo", [first, "ü"])
    return {"result": second, "version": context.version, "input": context.get_input()}


@orchestration
def late(context: Any) -> Steps:
    yield context.create_timer(context.current_utc_datetime + timedelta(seconds=1))
    return (yield context.call_activity("echo", context.instance_id))


@orchestration
def fan(context: Any) -> Steps:
    return (yield context.task_all([context.call_activity("echo", n) for n in range(3)]))


@orchestration
def retries(context: Any) -> Steps:
    """A call with retries that fails for good."""
    try:
        yield context.call_activity_with_retry("fails", df.RetryOptions(50, 2), 1)
    except Exception as error:  # noqa: BLE001  # the SDK raises nothing narrower
        return (yield context.call_activity("echo", str(error)[:60]))


@orchestration
def breaks(context: Any) -> Steps:
    yield context.call_activity("echo", 0)
    raise RuntimeError("broken")


@orchestration
def again(context: Any) -> Steps:
    rounds = (context.get_input() or {"n": 0})["n"]
    context.set_custom_status({"round": rounds})
    yield context.call_activity("echo", rounds)
    if rounds < 2:
        context.continue_as_new({"n": rounds + 1})
        return None
    return rounds


@orchestration
def waits(context: Any) -> Steps:
    """An event or a timer; the loser is cancelled."""
    event = context.wait_for_external_event("go")
    timer = context.create_timer(context.current_utc_datetime + timedelta(seconds=(context.get_input() or 60)))
    winner = yield context.task_any([event, timer])
    if winner == event:
        timer.cancel()
        return event.result
    return "too late"


@orchestration
def parent(context: Any) -> Steps:
    """One child that returns and one that fails."""
    child = yield context.call_sub_orchestrator("chain")
    try:
        yield context.call_sub_orchestrator("breaks", None, context.instance_id + "-child")
    except Exception as error:  # noqa: BLE001  # the SDK raises nothing narrower
        return [child["result"], str(error).partition(" \n")[0]]


@orchestration
def naps(context: Any) -> Steps:
    """An activity of some seconds, a timer, an activity."""
    yield context.call_activity("slow", context.get_input())
    yield context.create_timer(context.current_utc_datetime + timedelta(seconds=1))
    return (yield context.call_activity("echo", "awake"))


@orchestration
def boasts(context: Any) -> Steps:
    context.set_custom_status("x" * 9000)
    yield context.call_activity("echo", 0)


@app.activity_trigger(input_name="value")
def trace(value: Any, context: func.Context) -> Any:
    found = context.trace_context
    return {"value": value, "parent": found.trace_parent, "state": found.trace_state, "attributes": found.attributes}


@orchestration
def traced(context: Any) -> Steps:
    """Run two executions, each with an activity, and a child in the first. Note the trace that the host gave to each."""
    given = context.histories[1].ParentTraceContext
    found = [*(context.get_input() or []), [given, (yield context.call_activity("trace", context.instance_id))]]
    if len(found) == 1 and not context.parent_instance_id:
        child = yield context.call_sub_orchestrator("traced", None, context.instance_id + "-child")
        context.continue_as_new([*found, *child])
        return None
    return found


@orchestration
def calls_unknown_activity(context: Any) -> Steps:
    yield context.call_activity("unknown", 0)


@app.route(route="start/{name}/{id}", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
@app.durable_client_input(client_name="client")
async def start(req: func.HttpRequest, client: Any) -> func.HttpResponse:
    body = req.get_body()
    try:
        name, instance = req.route_params["name"], req.route_params["id"]
        return func.HttpResponse(await client.start_new(name, instance, json.loads(body) if body else None))
    except Exception as error:  # noqa: BLE001  # the SDK raises nothing narrower
        return func.HttpResponse(str(error), status_code=409)


@app.route(route="hello", methods=["GET"])
def hello(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    trace = context.trace_context
    shown = {
        "name": context.function_name,
        "params": dict(req.params),
        "trace": trace.trace_parent,
        "state": trace.trace_state,
    }
    return func.HttpResponse(json.dumps(shown))


@app.route(route="born", methods=["GET"])
def born(req: func.HttpRequest) -> func.HttpResponse:  # noqa: ARG001  # the host passes it
    """Identify one load of this module."""
    return func.HttpResponse(BORN)


@app.queue_trigger(arg_name="message", queue_name="%QUEUE%", connection="QUEUES")
async def on_message(message: func.QueueMessage, context: func.Context) -> None:
    """Note a message; sleep or fail if its text says so."""
    body = message.get_body().decode()
    trace = context.trace_context.trace_parent
    note("queue", {"id": message.id, "body": body, "count": message.dequeue_count, "trace": trace})
    if body.startswith("SLEEP"):
        await asyncio.sleep(float(body.split()[1]))
        note("awake", body)
    if "FAIL" in body:
        raise ValueError("a failure on request")


@app.timer_trigger(arg_name="timer", schedule="0 0 0 1 1 *")
def yearly(timer: func.TimerRequest) -> None:
    note("yearly", {"past_due": timer.past_due})


@app.timer_trigger(arg_name="timer", schedule="0 0 0 1 1 *", run_on_startup=True)
def at_start(timer: func.TimerRequest, context: func.Context) -> None:
    note("timer trace", context.trace_context.trace_parent)
    note("at_start", timer.schedule_status)  # type: ignore[attr-defined]  # the SDK's type leaves it out


@app.timer_trigger(arg_name="timer", schedule="every day")
def bad_schedule(timer: func.TimerRequest) -> None:
    note("bad", timer.past_due)
