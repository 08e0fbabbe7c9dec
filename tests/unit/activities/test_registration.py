"""How steps and turns become activities: one function each, one value in, one out, one line in the log."""

import json
import logging
import traceback
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, get_type_hints

import azure.durable_functions as df
import azure.functions as func
import pytest

import activities
from adapters.translation import LETTERS_WRITE, SOURCE_HEAD, SOURCE_LIST, error_for_answer
from operations.log import LOGGER, log
from ports.services import Services
from rules import codec
from rules.fixed_names import PHASES, STEPS
from rules.jobs.model import Batch, Job, JobKind, Phase, Tally
from rules.transfers.identity import trace_id
from rules.transfers.model import Ending, Outcome, Run, Step, Verdict
from rules.transfers.states import State
from tests.unit.samples import NOW
from tests.unit.world import World

TRACE, SPAN = "11" * 16, "22" * 8
TRACED = SimpleNamespace(trace_context=SimpleNamespace(trace_parent=f"00-{TRACE}-{SPAN}-00"))
UNTRACED = SimpleNamespace(trace_context=SimpleNamespace(trace_parent=None))
JOB = Job("reconcile-" + "a" * 24, JobKind.RECONCILE, NOW, route="default")


def registered(world: World) -> dict[str, Any]:
    """The activities of an app, by name."""
    app = df.DFApp()
    activities.register(app, Services(lambda: world.ports, lambda _client: world.instances))
    return {function.get_function_name(): function for function in app.get_functions()}


def test_every_step_and_every_turn_is_an_activity(world: World) -> None:
    """By the names that the orchestrators call."""
    assert (list(STEPS), list(PHASES)) == (list(Step), list(Phase))
    assert list(registered(world)) == [*STEPS.values(), *PHASES.values()]


async def test_an_activity_takes_a_run_and_gives_an_outcome_as_json(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """What the SDK hands over is a plain object; what it stores is one as well."""
    transfer = world.put()
    with caplog.at_level(logging.INFO, LOGGER.name):
        given = await registered(world)["transfer_start"].get_user_function()(
            run=codec.encode(Run(transfer, NOW)), context=UNTRACED
        )
    assert codec.decode(Outcome, json.loads(json.dumps(given))).verdict is Verdict.VERIFIED
    (line,) = [json.loads(record.getMessage()) for record in caplog.records if record.name == LOGGER.name]
    assert (line["action"], line["id"], line["verdict"]) == ("transfer.start", transfer.id, "verified")
    assert line["name"] == transfer.name
    assert line["state"] is None
    assert "sig" not in caplog.text


@pytest.mark.parametrize(
    ("state", "verdict", "level"),
    [
        (State.DEAD_LETTERED, "done", "WARNING"),
        (State.DEAD_LETTERED, "retryable", "INFO"),
        (State.VERIFIED, "done", "INFO"),
    ],
)
async def test_a_line_says_what_the_transfer_ends_as(
    world: World, caplog: pytest.LogCaptureFixture, state: State, verdict: str, level: str
) -> None:
    """The alert on new dead letters rests on it. It is a warning once the letter is written."""
    if verdict == "retryable":
        world.refuse(LETTERS_WRITE, error_for_answer(LETTERS_WRITE, 503, "ServerBusy"))
    run = Run(world.put(), NOW, step=Step.CLOSE, ending=Ending(state))
    with caplog.at_level(logging.INFO, LOGGER.name):
        await registered(world)["transfer_close"].get_user_function()(run=codec.encode(run), context=UNTRACED)
    (record,) = [record for record in caplog.records if record.name == LOGGER.name]
    line = json.loads(record.getMessage())
    assert (line["action"], line["state"], line["verdict"]) == ("transfer.close", state, verdict)
    assert record.levelname == level


async def test_an_input_that_is_no_run_raises_so_that_the_orchestrator_backs_off(world: World) -> None:
    """Infrastructure, not a verdict on the blob."""
    with pytest.raises((TypeError, ValueError, KeyError)):
        await registered(world)["transfer_start"].get_user_function()(run={"transfer": 5}, context=UNTRACED)


async def test_what_an_activity_raises_leaves_it_without_its_signature(world: World) -> None:
    """The host writes it into its log and into the history, with whatever it was raised from."""
    transfer = world.put()
    world.refuse(SOURCE_HEAD, ValueError("GET https://x/y?sv=1&sig=c2VjcmV0&se=2 broke"))
    with pytest.raises(RuntimeError, match=r"ValueError: GET https://x/y\?sv=1&sig=\w+&se=2 broke") as raised:
        await registered(world)["transfer_start"].get_user_function()(
            run=codec.encode(Run(transfer, NOW)), context=UNTRACED
        )
    assert (raised.value.__cause__, raised.value.__suppress_context__) == (None, True)
    assert "c2VjcmV0" not in "".join(traceback.format_exception(raised.value))


async def called(world: World, phase: Phase, job: Any, context: Any = UNTRACED) -> Any:
    """A turn, called as the worker calls it: behind the SDK's client middleware, for it starts transfers."""
    return (
        await registered(world)[PHASES[phase]]
        .get_user_function()
        .client_function(job=job, client="client", context=context)
    )


@pytest.mark.parametrize("name", [*STEPS.values(), *PHASES.values()])
def test_the_worker_gives_every_activity_its_context(world: World, name: str) -> None:
    """It does so for a parameter of this name and type; it reads them through the SDK's middleware."""
    assert get_type_hints(registered(world)[name].get_user_function())["context"] is func.Context


async def test_the_lines_of_an_activity_carry_the_trace_and_span_of_its_call(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Also the lines of what it starts; nothing of it is left afterwards."""
    run = codec.encode(Run(world.put(), NOW))
    survey, act = codec.encode(JOB), codec.encode(replace(JOB, phase=Phase.ACT, pages=1))
    with caplog.at_level(logging.INFO, LOGGER.name):
        await called(world, Phase.SURVEY, survey, TRACED)
        await called(world, Phase.ACT, act, TRACED)
        await registered(world)["transfer_start"].get_user_function()(run=run, context=TRACED)
        log("after", "the call")
    *lines, after = [json.loads(record.getMessage()) for record in caplog.records if record.name == LOGGER.name]
    assert {line["action"] for line in lines} == {"job.survey", "transfer.restarted", "job.act", "transfer.start"}
    assert {(line["trace_id"], line["span_id"]) for line in lines} == {(TRACE, SPAN)}
    assert not {"trace_id", "span_id"} & after.keys()


@pytest.mark.parametrize("context", [UNTRACED, SimpleNamespace(trace_context=None)])
async def test_without_tracing_the_trace_follows_from_the_id(
    world: World, caplog: pytest.LogCaptureFixture, context: Any
) -> None:
    """It is the same trace, without a span."""
    transfer = world.put()
    with caplog.at_level(logging.INFO, LOGGER.name):
        await registered(world)["transfer_start"].get_user_function()(
            run=codec.encode(Run(transfer, NOW)), context=context
        )
        await called(world, Phase.SURVEY, codec.encode(JOB), context)
    lines = [json.loads(record.getMessage()) for record in caplog.records if record.name == LOGGER.name]
    assert [line["trace_id"] for line in lines] == [trace_id(transfer.id), trace_id(JOB.id)]
    assert not any("span_id" in line for line in lines)


async def test_a_turn_takes_a_job_and_gives_a_turn_as_json(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """With one line in the log, of what it counted; what it starts goes through the client."""
    transfer = world.put()
    with caplog.at_level(logging.INFO, LOGGER.name):
        surveyed = await called(world, Phase.SURVEY, codec.encode(JOB))
        acted = await called(world, Phase.ACT, codec.encode(replace(JOB, phase=Phase.ACT, pages=1)))
    assert codec.decode(Batch, json.loads(json.dumps(surveyed))).tally == Tally(found=1, bytes=10, missing=1)
    assert codec.decode(Batch, json.loads(json.dumps(acted))).tally == Tally(started=1)
    assert list(world.instances.kept) == [transfer.id]
    lines = [json.loads(record.getMessage()) for record in caplog.records if record.name == LOGGER.name]
    first, last = lines[0], lines[-1]
    assert (first["action"], first["id"], first["route"], first["missing"]) == ("job.survey", JOB.id, "default", 1)
    assert (last["action"], last["started"]) == ("job.act", 1)
    assert "failed" not in last


async def test_a_turn_that_failed_says_so_in_its_line(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """It is a value, and is done again."""
    world.refuse(SOURCE_LIST, error_for_answer(SOURCE_LIST, 503, "ServerBusy"))
    with caplog.at_level(logging.INFO, LOGGER.name):
        given = await called(world, Phase.SURVEY, codec.encode(JOB))
    assert "503 ServerBusy" in codec.decode(Batch, given).failure
    assert "503 ServerBusy" in caplog.text


async def test_an_input_that_is_no_job_raises(world: World) -> None:
    """Infrastructure, and nothing is asked of storage."""
    with pytest.raises((TypeError, ValueError, KeyError)):
        await called(world, Phase.ACT, {"id": 5})
    assert world.requests == []


async def test_what_a_turn_raises_leaves_it_without_its_signature(world: World) -> None:
    """As for a step."""
    world.refuse(SOURCE_LIST, ValueError("GET https://x/y?sv=1&sig=c2VjcmV0&se=2 broke"))
    with pytest.raises(RuntimeError, match="ValueError") as raised:
        await called(world, Phase.SURVEY, codec.encode(JOB))
    assert "c2VjcmV0" not in "".join(traceback.format_exception(raised.value))
