"""The orchestration of a job. `rules.jobs.lifecycle` decides each next batch."""

from collections.abc import Generator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import azure.durable_functions as df

from rules import codec, redaction
from rules.fixed_names import CANCEL, PHASES
from rules.jobs import lifecycle, status
from rules.jobs.model import Batch, Job, Phase

# Per execution. A batch with its pause adds eight rows of history.
MAX_BATCHES = 5

Yields = Generator[Any, Any, Job]


def job(context: df.DurableOrchestrationContext) -> Generator[Any, Any, dict[str, Any] | None]:
    """Do a job batch by batch, and return the final progress.

    1. Do one batch in an activity.
    2. Advance the job.
    3. If it has a pause, wait on a durable timer; the pauses limit the rate.
    4. Repeat until the job has no phase left. After `MAX_BATCHES` batches, continue as new to keep the history short.
    """
    current = codec.decode(Job, context.get_input())
    cancel = context.wait_for_external_event(CANCEL)
    context.set_custom_status(status.progress(current))
    for _ in range(MAX_BATCHES):
        if current.phase:
            current = yield from _batch(context, current, current.phase, cancel)
            context.set_custom_status(status.progress(current))
        if current.phase and current.pause:
            current = yield from _pause(context, current, cancel)
    if current.phase:
        context.continue_as_new(codec.encode(current))
        return None
    return status.progress(current)


def _batch(context: df.DurableOrchestrationContext, current: Job, phase: Phase, cancel: Any) -> Yields:
    activity = context.call_activity(PHASES[phase], codec.encode(current))
    first = yield context.task_any([cancel, activity])
    if first is cancel:
        current = replace(current, cancelling=True)
        context.set_custom_status(status.progress(current))
    try:
        batch = codec.decode(Batch, (yield activity))
    except Exception as error:  # noqa: BLE001  # the SDK raises nothing narrower for a failed activity
        return lifecycle.handle_failure(
            current, redaction.text_without_secrets(str(error)), context.current_utc_datetime
        )
    return lifecycle.advance(current, batch, context.current_utc_datetime)


def _pause(context: df.DurableOrchestrationContext, current: Job, cancel: Any) -> Yields:
    timer = context.create_timer(context.current_utc_datetime + timedelta(seconds=current.pause))
    first = yield context.task_any([cancel, timer])
    if first is not cancel:
        return current
    timer.cancel()  # an open timer would keep the instance Running
    return lifecycle.cancel(current, context.current_utc_datetime)
