"""The orchestration of one transfer. `rules.transfers.lifecycle` decides each next step."""

from collections.abc import Generator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import azure.durable_functions as df

from rules import codec, redaction
from rules.fixed_names import CANCEL, STEPS
from rules.transfers import lifecycle, status
from rules.transfers.model import Outcome, Run, Step

# Per execution: `start` and four polls, each with its timer, or nine activities of lanes. A wait adds four rows of history, two for
# the result and two for what it schedules. A cancel also ends the execution: history stays under 60 rows even if twenty cancel
# events arrive together.
MAX_WAITS = 9

Yields = Generator[Any, Any, Run]


def transfer(context: df.DurableOrchestrationContext) -> Generator[Any, Any, dict[str, Any] | None]:
    """Copy one version to one target, and return the final progress.

    1. Do the run's step in an activity; `stage` in one for each lane at the same time.
    2. Advance the run with its outcome.
    3. If the run has a pause, wait on a durable timer.
    4. Repeat until the run has no step left. After `MAX_WAITS` waits, or a cancel, continue as new to keep the history short.
    """
    run = codec.decode(Run, context.get_input())
    # Wait for the cancel event only once: the extension passes an early event to every later wait for it.
    cancel = context.wait_for_external_event(CANCEL)
    waits, cancelling = 0, run.cancelling
    while run.step and waits + _tasks(run) <= MAX_WAITS and run.cancelling is cancelling:
        waits += _tasks(run)
        run = yield from (
            _round(context, run, cancel) if run.step is Step.STAGE else _step(context, run, run.step, cancel)
        )
        if run.pause:
            run = yield from _pause(context, run, cancel)
            waits += 1
    if run.step:
        context.continue_as_new(codec.encode(run))
        return None
    return _show(context, run)


def _step(context: df.DurableOrchestrationContext, run: Run, step: Step, cancel: Any) -> Yields:
    _show(context, run)
    activity = context.call_activity(STEPS[step], codec.encode(run))
    if lifecycle.in_copy_phase(run) and not run.cancelling:
        first = yield context.task_any([cancel, activity])
        if first is cancel:
            # Wait for the activity: its outcome may be `verified`, and it must not act after the end is recorded.
            run = replace(run, cancelling=True)
            _show(context, run)
    try:
        outcome = codec.decode(Outcome, (yield activity))
    except Exception as error:  # noqa: BLE001  # the SDK raises nothing narrower for a failed activity
        return lifecycle.handle_failure(run, redaction.text_without_secrets(str(error)), _now(context))
    return lifecycle.advance(run, outcome, _now(context))


def _tasks(run: Run) -> int:
    """The tasks that the run's step schedules at most, without its pause."""
    return len(run.lanes) if run.step is Step.STAGE else 1


def _round(context: df.DurableOrchestrationContext, run: Run, cancel: Any) -> Yields:
    """Let every lane that does not wait run one activity, all at the same time; if all of them wait, only set the pause.

    A lane cannot go on by itself: what a later `task_any` adds, the extension schedules only after a task that the
    earlier one has added has ended. All activities have ended on return: a result that arrives in the next execution
    is lost.
    """
    ready = lifecycle.ready_lanes(run, _now(context))
    if not ready:
        return replace(run, pause=lifecycle.seconds_to_next_lane(run, _now(context)))
    run = replace(run, pause=0)
    _show(context, run)
    activities: dict[Any, int] = {  # each task, and the end of its lane, which identifies the lane
        context.call_activity(STEPS[Step.STAGE], codec.encode(replace(run, lanes=(lane,)))): lane.end for lane in ready
    }
    while activities:
        first = yield context.task_any([*([] if run.cancelling else [cancel]), *activities])
        if first is cancel:
            run = replace(run, cancelling=True)
        else:
            run = yield from _after_lane(context, run, activities.pop(first), first)
        _show(context, run)
    return run


def _after_lane(context: df.DurableOrchestrationContext, run: Run, end: int, activity: Any) -> Yields:
    try:
        outcome = codec.decode(Outcome, (yield activity))
    except Exception as error:  # noqa: BLE001  # as in `_step`
        detail = redaction.text_without_secrets(str(error))
        return (
            lifecycle.handle_lane_failure(run, run.lane(end), detail, _now(context)) if run.step is Step.STAGE else run
        )
    # Once the run has left the step, the staged blocks are all that matters of the other lanes.
    return lifecycle.advance(run, outcome, _now(context)) if run.step is Step.STAGE else run


def _pause(context: df.DurableOrchestrationContext, run: Run, cancel: Any) -> Yields:
    due = _now(context) + timedelta(seconds=run.pause)
    _show(context, run, due)
    timer = context.create_timer(due)
    if not lifecycle.in_copy_phase(run) or run.cancelling:
        yield timer
        return run
    first = yield context.task_any([cancel, timer])
    if first is not cancel:
        return run
    timer.cancel()  # an open timer would keep the instance Running
    return lifecycle.cancel(run)


def _show(context: df.DurableOrchestrationContext, run: Run, due: datetime | None = None) -> dict[str, Any]:
    shown = status.progress(run, due)
    context.set_custom_status(shown)
    return shown


def _now(context: df.DurableOrchestrationContext) -> datetime:
    now: datetime = context.current_utc_datetime
    return now
