"""The steps of a transfer, one activity each: a pure body `run_x(ports, run)` and its registration."""

import time
from collections.abc import Callable
from typing import Any

import azure.durable_functions as df

from activities.check import run_check
from activities.finish import run_clean, run_close, run_record
from activities.start import run_start
from activities.steps import Body
from operations.log import log
from rules import codec
from rules.letters import text_without_secrets
from rules.models import Run, Step
from rules.ports import Ports

BODIES: dict[Step, Body] = {
    Step.START: run_start,
    Step.CHECK: run_check,
    Step.RECORD: run_record,
    Step.CLEAN: run_clean,
    Step.CLOSE: run_close,
}


def register(app: df.DFApp, ports: Callable[[], Ports]) -> None:
    """Put every step into the app under its own name."""
    for step, body in BODIES.items():
        app.function_name(step.value)(app.activity_trigger(input_name="run")(_activity(step, body, ports)))


def _activity(step: Step, body: Body, ports: Callable[[], Ports]) -> Callable[[Any], Any]:
    async def activity(run: dict) -> dict:  # type: ignore[type-arg]  # the worker takes plain classes alone
        request = codec.decode(Run, run)
        began = time.monotonic()
        try:
            outcome = await body(ports(), request)
        except Exception as error:  # noqa: BLE001  # its text goes into the history and the host's log
            raise RuntimeError(text_without_secrets(f"{type(error).__name__}: {error}")) from None
        log(
            f"transfer.{step}",
            f"{step} found {outcome.verdict}",
            id=request.transfer.id,
            route=request.transfer.route,
            attempt=request.attempt,
            verdict=outcome.verdict,
            reason=outcome.reason,
            detail=outcome.detail,
            ms=round((time.monotonic() - began) * 1000),
        )
        encoded: dict[str, Any] = codec.encode(outcome)
        return encoded

    activity.__name__ = step.value
    return activity
