"""The registered activities: names, encoding, log lines, and redaction of errors."""

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
from activities import transfers
from adapters.translation import DEAD_LETTERS_WRITE, SOURCE_HEAD, SOURCE_LIST, error_for_answer
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


def register(world: World) -> dict[str, Any]:
    """The activities of an app, by name."""
    app = df.DFApp()
    activities.register(app, Services(lambda: world.ports, lambda _client: world.instances))
    return {function.get_function_name(): function for function in app.get_functions()}


def test_every_step_and_every_phase_is_an_activity(world: World) -> None:
    assert (list(STEPS), list(PHASES)) == (list(Step), list(Phase))
    assert list(register(world)) == [*STEPS.values(), *PHASES.values()]


async def test_a_step_takes_a_run_and_returns_an_outcome_as_json(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    transfer = world.put()
    with caplog.at_level(logging.INFO, LOGGER.name):
        given = await register(world)["transfer_start"].get_user_function()(
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
async def test_the_log_line_of_close_has_the_final_state(
    world: World, caplog: pytest.LogCaptureFixture, state: State, verdict: str, level: str
) -> None:
    """An alert depends on it. The level is WARNING once the dead letter is written."""
    if verdict == "retryable":
        world.refuse(DEAD_LETTERS_WRITE, error_for_answer(DEAD_LETTERS_WRITE, 503, "ServerBusy"))
    run = Run(world.put(), NOW, step=Step.CLOSE, ending=Ending(state))
    with caplog.at_level(logging.INFO, LOGGER.name):
        await register(world)["transfer_close"].get_user_function()(run=codec.encode(run), context=UNTRACED)
    (record,) = [record for record in caplog.records if record.name == LOGGER.name]
    line = json.loads(record.getMessage())
    assert (line["action"], line["state"], line["verdict"]) == ("transfer.close", state, verdict)
    assert record.levelname == level


async def test_an_unreadable_run_raises_so_that_the_orchestrator_backs_off(world: World) -> None:
    with pytest.raises((TypeError, ValueError, KeyError)):
        await register(world)["transfer_start"].get_user_function()(run={"transfer": 5}, context=UNTRACED)


async def test_an_exception_of_a_step_contains_no_signature(world: World) -> None:
    """The host writes it, with its cause, to its log and to the history."""
    transfer = world.put()
    world.refuse(SOURCE_HEAD, ValueError("GET https://x/y?sv=1&sig=c2VjcmV0&se=2 broke"))
    with pytest.raises(RuntimeError, match=r"ValueError: GET https://x/y\?sv=1&sig=\w+&se=2 broke") as raised:
        await register(world)["transfer_start"].get_user_function()(
            run=codec.encode(Run(transfer, NOW)), context=UNTRACED
        )
    assert (raised.value.__cause__, raised.value.__suppress_context__) == (None, True)
    assert "c2VjcmV0" not in "".join(traceback.format_exception(raised.value))


async def run_phase(world: World, phase: Phase, job: Any, context: Any = UNTRACED) -> Any:
    """Call a phase's activity without the SDK's client middleware, as the worker does."""
    return (
        await register(world)[PHASES[phase]]
        .get_user_function()
        .client_function(job=job, client="client", context=context)
    )


@pytest.mark.parametrize("name", [*STEPS.values(), *PHASES.values()])
def test_every_activity_has_a_context_parameter(world: World, name: str) -> None:
    """The worker passes the context to a parameter of this name and type."""
    assert get_type_hints(register(world)[name].get_user_function())["context"] is func.Context


async def test_log_lines_have_the_trace_and_span_of_their_call(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Lines after the call do not."""
    run = codec.encode(Run(world.put(), NOW))
    survey, act = codec.encode(JOB), codec.encode(replace(JOB, phase=Phase.ACT, pages=1))
    with caplog.at_level(logging.INFO, LOGGER.name):
        await run_phase(world, Phase.SURVEY, survey, TRACED)
        await run_phase(world, Phase.ACT, act, TRACED)
        await register(world)["transfer_start"].get_user_function()(run=run, context=TRACED)
        log("after", "the call")
    *lines, after = [json.loads(record.getMessage()) for record in caplog.records if record.name == LOGGER.name]
    assert {line["action"] for line in lines} == {"job.survey", "transfer.restarted", "job.act", "transfer.start"}
    assert {(line["trace_id"], line["span_id"]) for line in lines} == {(TRACE, SPAN)}
    assert not {"trace_id", "span_id"} & after.keys()


@pytest.mark.parametrize("context", [UNTRACED, SimpleNamespace(trace_context=None)])
async def test_without_tracing_the_trace_id_is_derived_from_the_id(
    world: World, caplog: pytest.LogCaptureFixture, context: Any
) -> None:
    transfer = world.put()
    with caplog.at_level(logging.INFO, LOGGER.name):
        await register(world)["transfer_start"].get_user_function()(
            run=codec.encode(Run(transfer, NOW)), context=context
        )
        await run_phase(world, Phase.SURVEY, codec.encode(JOB), context)
    lines = [json.loads(record.getMessage()) for record in caplog.records if record.name == LOGGER.name]
    assert [line["trace_id"] for line in lines] == [trace_id(transfer.id), trace_id(JOB.id)]
    assert not any("span_id" in line for line in lines)


async def test_a_phase_takes_a_job_and_returns_a_batch_as_json(world: World, caplog: pytest.LogCaptureFixture) -> None:
    transfer = world.put()
    with caplog.at_level(logging.INFO, LOGGER.name):
        surveyed = await run_phase(world, Phase.SURVEY, codec.encode(JOB))
        acted = await run_phase(world, Phase.ACT, codec.encode(replace(JOB, phase=Phase.ACT, pages=1)))
    assert codec.decode(Batch, json.loads(json.dumps(surveyed))).tally == Tally(found=1, bytes=10, missing=1)
    assert codec.decode(Batch, json.loads(json.dumps(acted))).tally == Tally(started=1)
    assert list(world.instances.kept) == [transfer.id]
    lines = [json.loads(record.getMessage()) for record in caplog.records if record.name == LOGGER.name]
    first, last = lines[0], lines[-1]
    assert (first["action"], first["id"], first["route"], first["missing"]) == ("job.survey", JOB.id, "default", 1)
    assert (last["action"], last["started"]) == ("job.act", 1)
    assert "failed" not in last


async def test_the_log_line_of_a_failed_batch_has_the_failure(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.refuse(SOURCE_LIST, error_for_answer(SOURCE_LIST, 503, "ServerBusy"))
    with caplog.at_level(logging.INFO, LOGGER.name):
        given = await run_phase(world, Phase.SURVEY, codec.encode(JOB))
    assert "503 ServerBusy" in codec.decode(Batch, given).failure
    assert "503 ServerBusy" in caplog.text


async def test_an_unreadable_job_raises(world: World) -> None:
    with pytest.raises((TypeError, ValueError, KeyError)):
        await run_phase(world, Phase.ACT, {"id": 5})
    assert world.requests == []


async def test_an_exception_of_a_phase_contains_no_signature(world: World) -> None:
    world.refuse(SOURCE_LIST, ValueError("GET https://x/y?sv=1&sig=c2VjcmV0&se=2 broke"))
    with pytest.raises(RuntimeError, match="ValueError") as raised:
        await run_phase(world, Phase.SURVEY, codec.encode(JOB))
    assert "c2VjcmV0" not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize("texts", [("detail",), ("note",), ("ending", "detail")], ids="-".join)
async def test_no_text_of_an_outcome_holds_a_secret(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, texts: tuple[str, ...]
) -> None:
    secret = "403 AuthenticationFailed https://x/y?sig=c2VjcmV0&se=1"
    outcome = Outcome(Verdict.ENDED, detail=secret, note=secret, ending=Ending(State.DEAD_LETTERED, detail=secret))

    async def body(_ports: Any, _run: Any) -> Outcome:
        return outcome

    monkeypatch.setitem(transfers.ACTIVITIES, Step.START, body)
    caplog.set_level(logging.INFO, LOGGER.name)
    run = codec.encode(Run(world.put(), NOW))
    found = await register(world)["transfer_start"].get_user_function()(run=run, context=UNTRACED)
    for text in texts:
        found = found[text]
    assert found == "403 AuthenticationFailed https://x/y?sig=REMOVED&se=1"
    assert "c2VjcmV0" not in caplog.text
