"""The activities: the steps of a transfer and the phases of a job, with their logging and redaction."""

import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, TypeVar

import azure.durable_functions as df
import azure.functions as func

from activities import jobs, transfers
from operations.log import log, traced
from ports.services import Services
from rules import codec
from rules.fixed_names import PHASES, STEPS
from rules.jobs.model import Job, Phase
from rules.redaction import text_without_secrets
from rules.transfers.model import Outcome, Run, Step, Verdict
from rules.transfers.states import State

T = TypeVar("T")


def register(app: df.DFApp, services: Services) -> None:
    """Register every activity under its fixed name."""
    for step, body in transfers.ACTIVITIES.items():
        app.function_name(STEPS[step])(app.activity_trigger(input_name="run")(_step(step, body, services)))
    for phase, batch in jobs.ACTIVITIES.items():
        # A batch starts transfers and needs the durable client, which every function except an orchestrator may have.
        function = app.durable_client_input(client_name="client")(_phase(phase, batch, services))
        app.function_name(PHASES[phase])(app.activity_trigger(input_name="job")(function))


def _step(step: Step, body: transfers.Activity, services: Services) -> Callable[[Any, Any], Any]:
    async def activity(run: dict, context: func.Context) -> dict:  # type: ignore[type-arg]  # the worker accepts only plain classes
        request = codec.decode(Run, run)
        began = time.monotonic()
        with _traced(context):
            outcome = _redact(await _without_secrets(body(services.ports, request)))
            log(
                f"transfer.{step}",
                f"{step}: {outcome.verdict}",
                level=_level(request, outcome),
                id=request.transfer.id,
                route=request.transfer.route,
                name=request.transfer.name,
                attempt=request.attempt,
                state=request.ending.state if request.ending else None,
                verdict=outcome.verdict,
                reason=(outcome.ending or outcome).reason,
                detail=(outcome.ending or outcome).detail,
                ms=round((time.monotonic() - began) * 1000),
            )
        encoded: dict[str, Any] = codec.encode(outcome)
        return encoded

    activity.__name__ = STEPS[step]
    return activity


def _redact(outcome: Outcome) -> Outcome:
    """Remove secrets from the texts of an outcome, which reach the history, dead letters and answers."""
    ending = outcome.ending and replace(outcome.ending, detail=text_without_secrets(outcome.ending.detail))
    detail, note = text_without_secrets(outcome.detail), text_without_secrets(outcome.note)
    return replace(outcome, detail=detail, note=note, ending=ending)


def _level(run: Run, outcome: Outcome) -> int:
    """WARNING if this step has just written a dead letter; a failure that is retried is INFO."""
    closed = run.step is Step.CLOSE and outcome.verdict is Verdict.DONE
    dead_lettered = run.ending is not None and run.ending.state is State.DEAD_LETTERED
    return logging.WARNING if closed and dead_lettered else logging.INFO


def _phase(phase: Phase, body: jobs.Activity, services: Services) -> Callable[[Any, Any, Any], Any]:
    async def activity(job: dict, client: df.DurableOrchestrationClient, context: func.Context) -> dict:  # type: ignore[type-arg]  # as above
        request = codec.decode(Job, job)
        with _traced(context):
            batch = await _without_secrets(jobs.run(body, services.ports, services.instances(client), request))
            batch = replace(batch, failure=text_without_secrets(batch.failure))
            counts = {name: count for name, count in codec.encode(batch.tally).items() if count}
            log(f"job.{phase}", batch.failure or "batch finished", id=request.id, route=request.route, **counts)
        encoded: dict[str, Any] = codec.encode(batch)
        return encoded

    activity.__name__ = PHASES[phase]
    return activity


def _traced(context: func.Context) -> AbstractContextManager[None]:
    # The host gives no trace context if it does not trace.
    return traced(context.trace_context.trace_parent if context.trace_context else None)


async def _without_secrets(body: Awaitable[T]) -> T:
    try:
        return await body
    except Exception as error:  # noqa: BLE001  # its text goes into the orchestration's history and the host's log
        raise RuntimeError(text_without_secrets(f"{type(error).__name__}: {error}")) from None
