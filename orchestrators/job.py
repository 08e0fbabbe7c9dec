"""The orchestration of a job: obeys `rules.jobs`, yields, and nothing else."""

from collections.abc import Generator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import azure.durable_functions as df

from rules import codec, redaction
from rules.fixed_names import CANCEL, PHASES
from rules.jobs import lifecycle, status
from rules.jobs.model import Batch, Job, Phase

# A batch with its pause costs eight rows of history.
MAX_BATCHES = 5

Yields = Generator[Any, Any, Job]


def job(context: df.DurableOrchestrationContext) -> Generator[Any, Any, dict[str, Any] | None]:
    """Do a job, batch by batch.

    1. Do one batch: one activity.
    2. Let `jobs` say what follows from it.
    3. Pause on a durable timer, if it says so: that is the rate.
    4. Again, until the job has no phase left; after `MAX_BATCHES` batches as a new execution: history stays short.
    """
    doing = codec.decode(Job, context.get_input())
    cancel = context.wait_for_external_event(CANCEL)
    context.set_custom_status(status.progress(doing))
    for _ in range(MAX_BATCHES):
        if doing.phase:
            doing = yield from _batch(context, doing, doing.phase, cancel)
            context.set_custom_status(status.progress(doing))
        if doing.phase and doing.pause:
            doing = yield from _pause(context, doing, cancel)
    if doing.phase:
        context.continue_as_new(codec.encode(doing))
        return None
    return status.progress(doing)


def _batch(context: df.DurableOrchestrationContext, doing: Job, phase: Phase, cancel: Any) -> Yields:
    activity = context.call_activity(PHASES[phase], codec.encode(doing))
    first = yield context.task_any([cancel, activity])
    if first is cancel:
        doing = replace(doing, cancelling=True)
        context.set_custom_status(status.progress(doing))
    try:
        batch = codec.decode(Batch, (yield activity))
    except Exception as error:  # noqa: BLE001  # the SDK raises nothing narrower for a failed activity
        return lifecycle.handle_failure(doing, redaction.text_without_secrets(str(error)), context.current_utc_datetime)
    return lifecycle.advance(doing, batch, context.current_utc_datetime)


def _pause(context: df.DurableOrchestrationContext, doing: Job, cancel: Any) -> Yields:
    timer = context.create_timer(context.current_utc_datetime + timedelta(seconds=doing.pause))
    first = yield context.task_any([cancel, timer])
    if first is not cancel:
        return doing
    timer.cancel()  # a timer that is left open would keep the instance Running
    return lifecycle.cancel(doing, context.current_utc_datetime)
