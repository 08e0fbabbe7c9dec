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
from operations.figures.feed import report
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
    for step, execute in transfers.ACTIVITIES.items():
        app.function_name(STEPS[step])(app.activity_trigger(input_name="run")(_step(step, execute, services)))
    for phase, execute_batch in jobs.ACTIVITIES.items():
        # The phase `act` starts transfers, for which it needs the durable client.
        function = app.durable_client_input(client_name="client")(_phase(phase, execute_batch, services))
        app.function_name(PHASES[phase])(app.activity_trigger(input_name="job")(function))


def _step(step: Step, execute: transfers.Activity, services: Services) -> Callable[[Any, Any], Any]:
    async def activity(run: dict, context: func.Context) -> dict:  # type: ignore[type-arg]  # the worker accepts only plain classes
        current = codec.decode(Run, run)
        began = time.monotonic()
        with _traced(context):
            outcome = _redact(await _with_redacted_errors(execute(services.ports, current)))
            log(
                f"transfer.{step}",
                f"{step}: {outcome.verdict}",
                level=_level(current, outcome),
                id=current.transfer.id,
                route=current.transfer.route,
                name=current.transfer.name,
                attempt=current.attempt,
                state=current.ending.state if current.ending else None,
                verdict=outcome.verdict,
                reason=(outcome.ending or outcome).reason,
                detail=(outcome.ending or outcome).detail,
                ms=round((time.monotonic() - began) * 1000),
            )
            await _with_redacted_errors(report(services.ports, current, outcome))
        encoded: dict[str, Any] = codec.encode(outcome)
        return encoded

    activity.__name__ = STEPS[step]
    return activity


def _redact(outcome: Outcome) -> Outcome:
    """Remove secrets from the texts of an outcome, which end up in the history, in dead letters and in API answers."""
    ending = outcome.ending and replace(outcome.ending, detail=text_without_secrets(outcome.ending.detail))
    detail, note = text_without_secrets(outcome.detail), text_without_secrets(outcome.note)
    return replace(outcome, detail=detail, note=note, ending=ending)


def _level(run: Run, outcome: Outcome) -> int:
    """WARNING if this step has just written a dead letter; a failure that is retried is INFO."""
    closed = run.step is Step.CLOSE and outcome.verdict is Verdict.DONE
    dead_lettered = run.ending is not None and run.ending.state is State.DEAD_LETTERED
    return logging.WARNING if closed and dead_lettered else logging.INFO


def _phase(phase: Phase, execute_batch: jobs.Activity, services: Services) -> Callable[[Any, Any, Any], Any]:
    async def activity(job: dict, client: df.DurableOrchestrationClient, context: func.Context) -> dict:  # type: ignore[type-arg]  # as above
        current = codec.decode(Job, job)
        with _traced(context):
            batch = await _with_redacted_errors(
                jobs.run(execute_batch, services.ports, services.instances(client), current)
            )
            batch = replace(batch, failure=text_without_secrets(batch.failure))
            counts = {name: count for name, count in codec.encode(batch.tally).items() if count}
            log(f"job.{phase}", batch.failure or "batch finished", id=current.id, route=current.route, **counts)
        encoded: dict[str, Any] = codec.encode(batch)
        return encoded

    activity.__name__ = PHASES[phase]
    return activity


def _traced(context: func.Context) -> AbstractContextManager[None]:
    # Without tracing, the host passes no trace context.
    return traced(context.trace_context.trace_parent if context.trace_context else None)


async def _with_redacted_errors(activity: Awaitable[T]) -> T:
    try:
        return await activity
    except Exception as error:  # noqa: BLE001  # its text goes into the orchestration's history and the host's log
        raise RuntimeError(text_without_secrets(f"{type(error).__name__}: {error}")) from None
