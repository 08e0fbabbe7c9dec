"""The orchestration of one transfer. `rules.transfers.lifecycle` decides each next step."""

from collections.abc import Generator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import azure.durable_functions as df

from rules import codec, redaction
from rules.fixed_names import CANCEL, STEPS
from rules.transfers import lifecycle, policies, status
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
    while run.step and waits < MAX_WAITS and run.cancelling is cancelling:
        if run.step is Step.STAGE:
            run, waits = (yield from _stage(context, run, cancel, MAX_WAITS - waits)), MAX_WAITS
        else:
            run, waits = (yield from _step(context, run, run.step, cancel)), waits + 1
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


def _stage(context: df.DurableOrchestrationContext, run: Run, cancel: Any, budget: int) -> Yields:
    """Let every lane run one activity after another, independently, until none is left or `budget` tasks were scheduled.

    A lane that failed waits on its own timer. All activities have ended on return: a result that arrives in the next execution
    is lost.
    """
    _show(context, run)
    activities: dict[Any, int] = {}  # each task, and the end of its lane, which identifies the lane
    timers: dict[Any, int] = {}
    ready = [lane.end for lane in run.lanes]
    while True:
        goes_on = run.step is Step.STAGE and not run.cancelling
        for lane in [run.lane(end) for end in ready[:budget]] if goes_on else []:
            if lane.done:
                continue
            budget -= 1
            if lane.due and not policies.is_reached(_now(context), lane.due):
                timers[context.create_timer(lane.due)] = lane.end
            else:
                one_lane = codec.encode(replace(run, lanes=(lane,)))
                activities[context.call_activity(STEPS[Step.STAGE], one_lane)] = lane.end
        if not budget or not goes_on:
            for timer in timers:  # an open timer would keep the instance Running
                timer.cancel()
            timers = {}
        if not activities and not timers:
            return lifecycle.cancel(run) if run.cancelling and lifecycle.in_copy_phase(run) else run
        first = yield context.task_any([*([] if run.cancelling else [cancel]), *activities, *timers])
        ready = []
        if first is cancel:
            run = replace(run, cancelling=True)
        elif first in timers:
            ready = [timers.pop(first)]
            run = lifecycle.wake_lane(run, ready[0])
        else:
            ready = [activities.pop(first)]
            run = yield from _after_lane(context, run, ready[0], first)
        _show(context, run)


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
