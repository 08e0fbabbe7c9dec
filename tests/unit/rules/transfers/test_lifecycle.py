"""The lifecycle of a transfer: its table, and complete runs from start to end."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.errors import Reason
from rules.routes.model import Engine
from rules.transfers import lifecycle, policies, status
from rules.transfers.model import Ending, Lane, Outcome, Run, Step, Successor, Verdict
from rules.transfers.policies import Times
from rules.transfers.states import FINAL, TRANSITIONS, State
from tests.unit.samples import NEWER, NOW, RUN, TRANSFER, after, outcomes, quick, runs

VERIFIED = Outcome(Verdict.VERIFIED, engine=Engine.SYNC, size=1_000)
WAITING = Outcome(Verdict.WAITING, engine=Engine.ASYNC, size=1_000)
BEGAN = replace(WAITING, began=True)
AGAIN = Outcome(Verdict.AGAIN)
BUSY = Outcome(Verdict.RETRYABLE, reason=Reason.THROTTLED, detail="busy")
ARCHIVED = Outcome(Verdict.PERMANENT, reason=Reason.SOURCE_ARCHIVED, detail="archived")
OVERWRITTEN_AGAIN = Outcome(
    Verdict.RETRYABLE, reason=Reason.TARGET_CONFLICT, detail="another writer always replaced it"
)
OVERWRITTEN = Outcome(Verdict.SUPERSEDED, ending=Ending(State.SUPERSEDED, successor=Successor(NEWER)))
CANCELLED_BEFORE = Outcome(Verdict.ENDED, ending=Ending(State.CANCELLED))
LANES = (Lane(0, 2), Lane(2, 4))
STAGING = Outcome(Verdict.STAGING, engine=Engine.BLOCKS, size=40, lanes=LANES)
STAGED = replace(STAGING, lanes=(Lane(2, 2, 20), Lane(4, 4, 20)))
LANE_STAGED = replace(STAGING, lanes=(Lane(2, 2, 20),))
LANE_BUSY = Outcome(Verdict.RETRYABLE, reason=Reason.THROTTLED, detail="busy", lanes=(LANES[0],))
DONE = Outcome(Verdict.DONE)
SETTLE = Outcome(Verdict.DONE, pause=90)
LATE = timedelta(days=7)
COPY_PHASE = {Step.START, Step.STAGE, Step.CHECK}


def at(step: Step, **changes: Any) -> Run:
    """A run before this step; from `record` on it ends with a dead letter."""
    ending = Ending(State.DEAD_LETTERED, reason=Reason.THROTTLED, detail="busy")
    common = {"ending": None if step in COPY_PHASE else ending}
    state = State.COPYING if step in {Step.STAGE, Step.CHECK} else State.ACCEPTED
    return replace(RUN, step=step, state=state, **{**common, **changes})


GONE = Outcome(Verdict.GONE, pause=30)
OCCUPIED = Outcome(Verdict.OCCUPIED, reason=Reason.TARGET_CONFLICT, detail="of another type", pause=90)


def backoff(count: int) -> int:
    return policies.backoff(count, TRANSFER.id)


# Changes to the run, outcome, then the next step, its pause and the recorded end.
Following = tuple[Step | None, int, State | None]
CARRYING: list[tuple[dict[str, Any], Outcome, Following]] = [
    ({}, VERIFIED, (None, 0, State.VERIFIED)),
    ({"has_open_dead_letter": True}, VERIFIED, (Step.CLOSE, 0, State.VERIFIED)),
    ({"attempt": 1}, VERIFIED, (Step.CLOSE, 0, State.VERIFIED)),
    ({}, OVERWRITTEN, (Step.RECORD, 0, State.SUPERSEDED)),
    ({}, CANCELLED_BEFORE, (Step.RECORD, 0, State.CANCELLED)),
    ({"cancelling": True}, VERIFIED, (None, 0, State.VERIFIED)),
    ({"cancelling": True}, OVERWRITTEN, (Step.RECORD, 0, State.SUPERSEDED)),
    ({"cancelling": True}, CANCELLED_BEFORE, (Step.RECORD, 0, State.CANCELLED)),
    ({"cancelling": True}, WAITING, (Step.RECORD, 0, State.CANCELLED)),
    ({"cancelling": True}, AGAIN, (Step.RECORD, 0, State.CANCELLED)),
    ({"cancelling": True}, BUSY, (Step.RECORD, 0, State.CANCELLED)),
    ({"cancelling": True}, GONE, (Step.RECORD, 0, State.CANCELLED)),
    ({"cancelling": True}, OCCUPIED, (Step.RECORD, 0, State.CANCELLED)),
    ({"cancelling": True}, ARCHIVED, (Step.RECORD, 0, State.CANCELLED)),
    ({}, ARCHIVED, (Step.RECORD, 0, State.DEAD_LETTERED)),
    ({"first_look_at": NOW - LATE}, WAITING, (Step.RECORD, 0, State.DEAD_LETTERED)),
    ({"first_look_at": NOW - LATE}, AGAIN, (Step.RECORD, 0, State.DEAD_LETTERED)),
    ({"first_look_at": NOW - LATE}, BUSY, (Step.RECORD, 0, State.DEAD_LETTERED)),
    ({"first_look_at": NOW - LATE}, VERIFIED, (None, 0, State.VERIFIED)),
    ({}, WAITING, (Step.CHECK, 2, None)),
    ({}, AGAIN, (Step.START, 0, None)),
    ({}, BUSY, (Step.START, backoff(1), None)),
]


@pytest.mark.parametrize("step", [Step.START, Step.CHECK])
@pytest.mark.parametrize(("changes", "outcome", "following"), CARRYING)
def test_what_follows_start_and_check(
    step: Step, changes: dict[str, Any], outcome: Outcome, following: Following
) -> None:
    """The upper half of the table of `advance`."""
    if step is Step.CHECK and following == (Step.CHECK, 2, None):
        following = (Step.CHECK, 4, None)  # its second poll
    run = lifecycle.advance(at(step, **changes), outcome, NOW)
    assert (run.step, run.pause, run.ending and run.ending.state) == following


ENDING: list[tuple[Step, dict[str, Any], Outcome, Step | None, int]] = [
    (Step.RECORD, {}, SETTLE, Step.CLEAN, 90),
    (Step.RECORD, {}, DONE, Step.CLOSE, 0),
    (Step.CLEAN, {}, DONE, Step.CLOSE, 0),
    (Step.CLEAN, {}, VERIFIED, Step.CLOSE, 0),
    (Step.CLOSE, {}, DONE, None, 0),
    (Step.RECORD, {"activity_failures": 20}, BUSY, Step.RECORD, backoff(21)),
    (Step.CLEAN, {"activity_failures": 6}, BUSY, Step.CLEAN, backoff(7)),
    (Step.CLEAN, {"activity_failures": 7}, BUSY, Step.CLOSE, 0),
    (Step.CLOSE, {"activity_failures": 20}, BUSY, Step.CLOSE, backoff(21)),
]


@pytest.mark.parametrize(("step", "changes", "outcome", "following", "pause"), ENDING)
def test_what_follows_record_clean_and_close(
    step: Step, changes: dict[str, Any], outcome: Outcome, following: Step | None, pause: int
) -> None:
    """The lower half of the table of `advance`, which the deadline does not affect."""
    run = lifecycle.advance(at(step, recorded=True, first_look_at=NOW - LATE, **changes), outcome, NOW)
    assert (run.step, run.pause) == (following, pause)


@pytest.mark.parametrize(
    ("run", "outcome", "following"),
    [
        (at(Step.START), VERIFIED, Step.NOTIFY),
        (at(Step.CHECK), VERIFIED, Step.NOTIFY),
        (at(Step.START, attempt=1), VERIFIED, Step.CLOSE),  # the dead letter is resolved first
        (at(Step.CLEAN), VERIFIED, Step.NOTIFY),
        (at(Step.CLEAN, recorded=True), VERIFIED, Step.CLOSE),
        (at(Step.CLOSE, ending=Ending(State.VERIFIED)), DONE, Step.NOTIFY),
        (at(Step.CLOSE), DONE, None),
        (at(Step.RECORD, ending=Ending(State.SUPERSEDED)), DONE, None),
        (at(Step.RECORD, ending=Ending(State.CANCELLED)), DONE, None),
        (at(Step.START), ARCHIVED, Step.RECORD),
    ],
)
def test_only_a_verified_version_is_announced_as_the_last_step(run: Run, outcome: Outcome, following: Step) -> None:
    after_step = lifecycle.advance(replace(run, notify=True), outcome, NOW)
    assert after_step.step is following
    # It is final and shown as verified before its recipient is notified.
    assert (after_step.state is State.VERIFIED) == (following is Step.NOTIFY)
    assert (after_step.verified_at == NOW) == (outcome is VERIFIED)


def test_a_failed_notification_is_repeated_without_limit_and_changes_no_end() -> None:
    """The activity itself stops after its last try, because it must write a dead letter first."""
    run = replace(at(Step.NOTIFY, ending=Ending(State.VERIFIED)), state=State.VERIFIED, notify=True)
    for count in range(1, 30):
        failed = lifecycle.advance(run, BUSY, NOW) if count % 2 else lifecycle.handle_failure(run, "crash", NOW)
        assert (failed.step, failed.state, failed.pause) == (Step.NOTIFY, State.VERIFIED, backoff(count))
        run = failed
    ended = lifecycle.advance(run, DONE, NOW)
    assert (ended.step, ended.state, ended.ending) == (None, State.VERIFIED, Ending(State.VERIFIED))


FAILED = Ending(State.DEAD_LETTERED, Reason.SOURCE_ARCHIVED)
CANCELLED = Ending(State.CANCELLED)
SUPERSEDED = Ending(State.SUPERSEDED, successor=Successor(NEWER))


@pytest.mark.parametrize(
    ("ending", "changes", "closes"),
    [
        (FAILED, {}, True),  # a dead letter to write
        (CANCELLED, {}, False),
        (CANCELLED, {"has_open_dead_letter": True}, True),  # a dead letter to resolve
        (CANCELLED, {"attempt": 1}, False),  # the record of the end stays
        (SUPERSEDED, {}, False),
        (SUPERSEDED, {"has_open_dead_letter": True}, True),
        (SUPERSEDED, {"attempt": 1}, True),  # the record of the earlier attempt is obsolete
    ],
)
def test_close_is_skipped_if_it_has_nothing_to_do(ending: Ending, changes: dict[str, Any], *, closes: bool) -> None:
    run = lifecycle.advance(at(Step.RECORD, ending=ending, **changes), DONE, NOW)
    assert (run.step is Step.CLOSE) is closes
    assert (run.state is ending.state) is not closes


class Simulation:
    """A transfer with a clock, which advances by each pause."""

    def __init__(self, run: Run = RUN) -> None:
        self.run = run
        self.now = run.accepted_at
        self.steps: list[str] = []

    def apply(self, *outcomes: Outcome) -> "Simulation":
        """Apply these outcomes, one per step."""
        for outcome in outcomes:
            assert self.run.step
            self.steps.append(self.run.step)
            self.run = lifecycle.advance(self.run, outcome, self.now)
            self.now += timedelta(seconds=self.run.pause)
        return self

    def fail(self, times: int = 1, detail: str = "the host failed") -> "Simulation":
        """The activity of the step raises this many times."""
        for _ in range(times):
            if self.run.lanes and self.run.step is Step.STAGE:
                self.run = lifecycle.handle_lane_failure(self.run, self.run.lanes[0], detail, self.now)
            else:
                self.run = lifecycle.handle_failure(self.run, detail, self.now)
            self.now += timedelta(seconds=self.run.pause)
        return self

    def request_cancel(self) -> "Simulation":
        """A person cancels while an activity runs."""
        self.run = replace(self.run, cancelling=True)
        return self

    def cancel_in_pause(self) -> "Simulation":
        """A person cancels while a timer runs."""
        self.run = lifecycle.cancel(self.run)
        return self

    @property
    def end(self) -> tuple[State, Reason | None]:
        assert self.run.step is None
        ending = self.run.ending
        return self.run.state, ending.reason if ending else None


def test_a_small_blob_needs_one_step_and_no_timer() -> None:
    simulation = Simulation().apply(VERIFIED)
    assert simulation.end == (State.VERIFIED, None)
    assert simulation.now == NOW
    assert (simulation.run.engine, simulation.run.size) == (Engine.SYNC, 1_000)
    assert simulation.run.ending == Ending(State.VERIFIED)


def test_a_large_blob_is_polled_and_then_confirmed() -> None:
    simulation = Simulation().apply(BEGAN)
    assert simulation.run.state is State.COPYING
    pauses = [simulation.run.pause]
    for copied in (0, 0, 100, 800):
        simulation.apply(replace(WAITING, copied=copied))
        pauses.append(simulation.run.pause)
    assert pauses == [2, 4, 8, 60, 9]
    simulation.apply(AGAIN, VERIFIED)
    assert simulation.end == (State.VERIFIED, None)
    assert simulation.steps == ["start", "check", "check", "check", "check", "check", "start"]
    assert (simulation.run.copied, simulation.run.copy_attempts) == (800, 1)


def test_after_eight_tries_a_transfer_is_dead_lettered() -> None:
    simulation = Simulation().apply(*[BUSY] * 7)
    assert (simulation.run.step, simulation.run.copy_attempts, simulation.run.reason, simulation.run.detail) == (
        "start",
        7,
        "throttled",
        "busy",
    )
    assert simulation.now - NOW == timedelta(seconds=sum(backoff(count) for count in range(1, 8)))
    simulation.apply(BUSY, SETTLE, DONE, DONE)
    assert simulation.end == (State.DEAD_LETTERED, Reason.THROTTLED)
    assert simulation.steps[7:] == ["start", "record", "clean", "close"]
    assert simulation.run.ending
    assert simulation.run.ending.detail == "busy"


def test_a_success_clears_the_reason_of_earlier_failures() -> None:
    simulation = Simulation().apply(*[BUSY] * 7, VERIFIED)
    assert simulation.end == (State.VERIFIED, None)
    assert (simulation.run.reason, simulation.run.detail) == (None, "")


def test_a_copy_that_never_ends_is_dead_lettered_at_the_deadline() -> None:
    simulation = Simulation().apply(WAITING)
    while simulation.run.step is Step.CHECK:
        simulation.apply(WAITING)
    assert after(hours=24) - policies.GRACE <= simulation.now <= after(hours=24)
    assert len(simulation.steps) < 1_450
    simulation.apply(SETTLE, DONE, DONE)
    assert simulation.end == (State.DEAD_LETTERED, Reason.DEADLINE_EXCEEDED)


def test_the_deadline_of_a_route_counts_from_the_first_look() -> None:
    simulation = Simulation(replace(RUN, deadline=timedelta(minutes=5)))
    simulation.now = after(hours=3)
    simulation.apply(WAITING)
    while simulation.run.step is Step.CHECK:
        simulation.apply(WAITING)
    assert after(hours=3, minutes=4) < simulation.now <= after(hours=3, minutes=5)


def test_time_in_a_backlog_does_not_count_towards_the_deadline() -> None:
    simulation = Simulation(replace(RUN, deadline=timedelta(minutes=1)))
    simulation.now = after(minutes=2)
    assert simulation.apply(BUSY, VERIFIED).end == (State.VERIFIED, None)


def test_the_deadline_also_starts_with_a_first_look_that_raises() -> None:
    simulation = Simulation(replace(RUN, deadline=timedelta(minutes=1)))
    simulation.now = after(hours=1)
    simulation.fail()
    assert (simulation.run.first_look_at, simulation.run.step) == (after(hours=1), Step.START)


def test_an_absent_source_gets_a_second_look_after_a_pause() -> None:
    simulation = Simulation().apply(GONE)
    assert (simulation.run.step, simulation.run.pause, simulation.run.gone, simulation.run.copy_attempts) == (
        Step.START,
        30,
        True,
        0,
    )
    simulation.apply(BUSY)
    assert not simulation.run.gone
    assert simulation.apply(GONE, OVERWRITTEN).run.step is Step.RECORD


def test_an_absent_source_gets_a_second_look_even_at_the_deadline() -> None:
    run = lifecycle.advance(at(Step.START, first_look_at=NOW - LATE), GONE, NOW)
    assert (run.step, run.pause, run.gone) == (Step.START, 30, True)


def test_a_resumed_run_repeats_both_looks_and_settle() -> None:
    """Their pause may have been cut short."""
    run = lifecycle.resume(at(Step.START, gone=True, settled=True), "the worker died")
    assert (run.gone, run.settled) == (False, False)


def test_a_target_of_another_type_waits_for_settle_until_the_deadline() -> None:
    simulation = Simulation().apply(OCCUPIED)
    assert (simulation.run.step, simulation.run.pause, simulation.run.settled, simulation.run.copy_attempts) == (
        Step.START,
        90,
        True,
        0,
    )
    run = lifecycle.advance(at(Step.START, first_look_at=NOW - LATE), OCCUPIED, NOW)
    assert run.ending is not None
    assert (run.ending.state, run.ending.reason) == (State.DEAD_LETTERED, Reason.TARGET_CONFLICT)


def test_at_the_deadline_a_known_failure_is_the_reason() -> None:
    run = lifecycle.advance(at(Step.START, first_look_at=NOW - LATE), BUSY, NOW)
    assert run.ending == Ending(State.DEAD_LETTERED, reason=Reason.THROTTLED, detail="busy")
    run = lifecycle.advance(at(Step.START, first_look_at=NOW - LATE), AGAIN, NOW)
    assert run.ending
    assert (run.ending.reason, run.ending.detail) == (Reason.DEADLINE_EXCEEDED, "not copied before the deadline")


def test_a_copy_without_progress_for_30_minutes_is_dead_lettered() -> None:
    simulation = Simulation().apply(WAITING, replace(WAITING, copied=10))
    while simulation.run.step is Step.CHECK:
        simulation.apply(replace(WAITING, copied=10))
    assert timedelta(minutes=30) <= simulation.now - NOW <= timedelta(minutes=32)
    simulation.apply(SETTLE, DONE, DONE)
    assert simulation.end == (State.DEAD_LETTERED, Reason.COPY_FAILED)


def test_a_stalled_copy_is_dead_lettered_with_the_report_of_the_service() -> None:
    stalled = replace(WAITING, copied=10, detail="502 BadGateway")
    simulation = Simulation().apply(WAITING, stalled)
    while simulation.run.step is Step.CHECK:
        simulation.apply(stalled)
    assert simulation.run.ending is not None
    assert simulation.run.ending.detail == "no progress for 0:30:00; the service reports: 502 BadGateway"


WITH_FALLBACK = replace(WAITING, copy_id="copy-1", patience=Times().patience)


def test_a_stalled_copy_is_handed_over_to_blocks() -> None:
    """The note says so in the API, also at the end."""
    stalled = replace(WITH_FALLBACK, copied=900, detail="502 BadGateway")
    simulation = Simulation().apply(replace(WITH_FALLBACK, began=True), stalled)
    while simulation.run.step is Step.CHECK:
        simulation.apply(stalled)
    assert timedelta(minutes=30) <= simulation.now - NOW <= timedelta(minutes=32)
    assert (simulation.run.step, simulation.run.pause, simulation.run.ending) == (Step.START, 0, None)
    assert (simulation.run.refused, simulation.run.slow_copy) == ((Engine.ASYNC,), "copy-1")
    assert "no progress for 0:30:00; the service reports: 502 BadGateway" in simulation.run.note
    verified = replace(VERIFIED, engine=Engine.BLOCKS, refused=simulation.run.refused)
    assert simulation.apply(verified).end == (State.VERIFIED, None)
    assert "copies by blocks" in status.progress(simulation.run)["detail"]


def test_a_copy_too_slow_for_its_deadline_is_handed_over_early() -> None:
    simulation = Simulation().apply(replace(WITH_FALLBACK, began=True, size=1_000_000))
    while simulation.run.step is Step.CHECK:
        copied = int((simulation.now - NOW).total_seconds())  # a byte a second, but 24 h have 86,400 seconds
        simulation.apply(replace(WITH_FALLBACK, size=1_000_000, copied=copied))
    assert timedelta(minutes=10) < simulation.now - NOW <= timedelta(minutes=12)
    assert (simulation.run.step, simulation.run.refused) == (Step.START, (Engine.ASYNC,))
    assert "too slow for the deadline" in simulation.run.note


def test_a_copy_that_is_too_slow_and_has_no_fallback_goes_on() -> None:
    """It may become faster."""
    simulation = Simulation().apply(replace(BEGAN, size=1_000_000))
    while simulation.now - NOW < timedelta(hours=6):
        copied = int((simulation.now - NOW).total_seconds())
        simulation.apply(replace(WAITING, size=1_000_000, copied=copied))
    assert (simulation.run.step, simulation.run.refused) == (Step.CHECK, ())


def test_a_copy_that_never_begins_is_handed_over_if_blocks_may_replace_it() -> None:
    simulation = Simulation().apply(replace(WITH_FALLBACK, began=True))
    while simulation.run.step is Step.CHECK:
        simulation.apply(WITH_FALLBACK)
    assert timedelta(minutes=30) <= simulation.now - NOW <= timedelta(minutes=32)
    assert (simulation.run.step, simulation.run.refused) == (Step.START, (Engine.ASYNC,))


def test_start_and_check_decide_which_engines_stay_refused() -> None:
    run = lifecycle.advance(at(Step.START), replace(BUSY, refused=(Engine.SYNC,)), NOW)
    assert run.refused == (Engine.SYNC,)
    failed = replace(BUSY, refused=(Engine.ASYNC,))
    assert lifecycle.advance(replace(run, step=Step.CHECK), failed, NOW).refused == (Engine.ASYNC,)
    assert lifecycle.advance(run, BUSY, NOW).refused == ()


def test_a_copy_without_any_progress_yet_is_not_stalled() -> None:
    """The service may run the copies of one account one after another."""
    simulation = Simulation().apply(WAITING)
    while simulation.now - NOW < timedelta(hours=12):
        simulation.apply(WAITING)
    assert simulation.run.step is Step.CHECK


def test_a_copy_that_is_overwritten_again_and_again_is_made_eight_times() -> None:
    simulation = Simulation().apply(*[BEGAN, AGAIN] * 8)
    assert (simulation.run.step, simulation.run.copy_attempts) == (Step.START, 8)
    simulation.apply(OVERWRITTEN_AGAIN, SETTLE, DONE, DONE)
    assert simulation.end == (State.DEAD_LETTERED, Reason.TARGET_CONFLICT)
    assert simulation.run.ending
    assert simulation.run.ending.detail == OVERWRITTEN_AGAIN.detail


def test_the_eighth_copy_may_succeed() -> None:
    simulation = Simulation().apply(*[BEGAN, AGAIN] * 7, BEGAN, WAITING, AGAIN, VERIFIED)
    assert simulation.end == (State.VERIFIED, None)


def test_a_backoff_ends_at_the_deadline() -> None:
    simulation = Simulation(replace(RUN, deadline=timedelta(minutes=1))).apply(BUSY, BUSY, BUSY, BUSY)
    assert simulation.now <= after(minutes=1)
    assert simulation.apply(BUSY, SETTLE, DONE, DONE).end == (State.DEAD_LETTERED, BUSY.reason)


def test_a_copy_already_in_progress_does_not_count_as_a_try() -> None:
    """It was started before a crash or by another client."""
    simulation = Simulation().apply(WAITING)
    assert (simulation.run.step, simulation.run.copy_attempts, simulation.run.pause, simulation.run.copying_at) == (
        Step.CHECK,
        0,
        2,
        NOW,
    )


def test_failed_polls_do_not_count_as_tries_while_a_copy_progresses() -> None:
    simulation = Simulation().apply(BEGAN)
    for copied in range(10, 30):
        simulation.apply(replace(WAITING, copied=copied), BUSY, replace(WAITING, copied=copied))
    assert (simulation.run.step, simulation.run.copy_attempts) == (Step.CHECK, 1)
    assert simulation.apply(AGAIN, VERIFIED).end == (State.VERIFIED, None)


def test_a_failed_copy_is_tried_again_with_backoff() -> None:
    failed = Outcome(Verdict.RETRYABLE, reason=Reason.COPY_FAILED, detail="500 InternalError")
    simulation = Simulation().apply(BEGAN, replace(WAITING, copied=500), failed)
    assert (simulation.run.step, simulation.run.pause, simulation.run.copy_attempts) == (Step.START, backoff(1), 1)
    simulation.apply(BEGAN)
    assert (
        simulation.run.copy_attempts,
        simulation.run.copied,
        simulation.run.progressed_at,
        simulation.run.polls,
    ) == (2, 0, None, 0)


def test_polls_and_retries_are_counted_over_all_copies_and_steps() -> None:
    failed = Outcome(Verdict.RETRYABLE, reason=Reason.COPY_FAILED, detail="500 InternalError")
    simulation = Simulation().apply(BEGAN, replace(WAITING, copied=500), failed).fail(2).apply(BEGAN, VERIFIED)
    assert (simulation.run.all_polls, simulation.run.retries, simulation.run.polls) == (3, 3, 0)
    assert lifecycle.handle_lane_failure(at(Step.STAGE, lanes=LANES), LANES[0], "failed", NOW).retries == 1


def test_ten_exceptions_in_a_row_are_internal() -> None:
    """Rule 8."""
    simulation = Simulation().fail(9)
    assert (
        simulation.run.step,
        simulation.run.activity_failures,
        simulation.run.copy_attempts,
        simulation.run.first,
    ) == ("start", 9, 0, False)
    assert simulation.now - NOW == timedelta(seconds=sum(backoff(count) for count in range(1, 10)))
    simulation.fail().apply(SETTLE, DONE, DONE)
    assert simulation.end == (State.DEAD_LETTERED, Reason.INTERNAL)
    assert simulation.run.ending
    assert simulation.run.ending.detail == "the host failed"


def test_an_outcome_resets_the_count_of_exceptions() -> None:
    simulation = Simulation().fail(9).apply(BUSY).fail(9)
    assert (simulation.run.step, simulation.run.activity_failures) == (Step.START, 9)


def test_an_exception_at_the_deadline_is_internal() -> None:
    run = lifecycle.handle_failure(at(Step.CHECK, first_look_at=NOW - LATE), "failed", NOW)
    assert run.ending == Ending(State.DEAD_LETTERED, reason=Reason.INTERNAL, detail="failed")


def test_an_exception_after_a_cancel_request_ends_cancelled() -> None:
    simulation = Simulation().request_cancel().fail().apply(SETTLE, DONE)
    assert simulation.end == (State.CANCELLED, None)


@pytest.mark.parametrize("step", [Step.RECORD, Step.CLOSE])
def test_record_and_close_retry_without_limit(step: Step) -> None:
    """Otherwise a transfer would have no final state."""
    simulation = Simulation(at(step, first_look_at=NOW - LATE)).fail(25).apply(*[BUSY] * 25)
    assert (simulation.run.step, simulation.run.pause) == (step, backoff(50))


def test_clean_gives_up_after_eight_tries_with_a_note() -> None:
    for simulation in (
        Simulation(at(Step.CLEAN)).apply(*[BUSY] * 8),
        Simulation(at(Step.CLEAN)).fail(8, BUSY.detail),
        Simulation(at(Step.CLEAN)).fail(4).apply(*[BUSY] * 4),
    ):
        assert (simulation.run.step, simulation.run.pause, simulation.run.activity_failures) == (Step.CLOSE, 0, 0)
        assert simulation.run.note == f"{lifecycle.UNCLEAN}: {BUSY.detail}"
        assert simulation.apply(*[BUSY] * 9, DONE).end == (State.DEAD_LETTERED, Reason.THROTTLED)
        assert simulation.run.note == f"{lifecycle.UNCLEAN}: {BUSY.detail}"


def test_a_cancelled_transfer_that_cannot_be_cleaned_ends_without_a_pause() -> None:
    end = Ending(State.CANCELLED)
    simulation = Simulation(at(Step.CLEAN, ending=end)).fail(8, "x" * 9_999)
    assert simulation.end == (State.CANCELLED, None)
    assert simulation.run.pause == 0
    assert len(simulation.run.note) == len(lifecycle.UNCLEAN) + 2 + lifecycle.MAX_DETAIL


def test_a_superseded_version_ends_with_its_successor() -> None:
    """Rule 6."""
    simulation = Simulation().apply(OVERWRITTEN, DONE)
    assert simulation.end == (State.SUPERSEDED, None)
    assert simulation.run.ending == Ending(State.SUPERSEDED, successor=Successor(NEWER))


def test_a_superseded_version_cleans_its_incomplete_target() -> None:
    """Rule 7."""
    simulation = Simulation().apply(WAITING, AGAIN, OVERWRITTEN, SETTLE, DONE)
    assert simulation.end == (State.SUPERSEDED, None)
    assert simulation.steps == ["start", "check", "start", "record", "clean"]


def test_a_late_duplicate_of_a_cancelled_transfer_ends_cancelled() -> None:
    """`duplicate_start_race`"""
    simulation = Simulation().apply(CANCELLED_BEFORE, SETTLE, DONE)
    assert simulation.end == (State.CANCELLED, None)


def test_a_cancel_during_the_first_activity_settles_and_cleans() -> None:
    """`cancel_during_start`"""
    simulation = Simulation().request_cancel().apply(WAITING, SETTLE, DONE)
    assert simulation.end == (State.CANCELLED, None)
    assert simulation.steps == ["start", "record", "clean"]


def test_a_cancel_during_an_activity_that_verifies_is_too_late() -> None:
    assert Simulation().request_cancel().apply(VERIFIED).end == (State.VERIFIED, None)


@pytest.mark.parametrize("before", [[WAITING], [BUSY]], ids=["between polls", "in a backoff"])
def test_a_cancel_in_a_pause_leads_to_record(before: list[Outcome]) -> None:
    simulation = Simulation().apply(*before).cancel_in_pause()
    assert (simulation.run.step, simulation.run.pause, simulation.run.cancelling) == (Step.RECORD, 0, True)
    assert simulation.apply(SETTLE, DONE).end == (State.CANCELLED, None)


def test_a_cancelled_transfer_that_clean_finds_complete_is_verified() -> None:
    simulation = Simulation().apply(WAITING).cancel_in_pause().apply(SETTLE, VERIFIED, DONE)
    assert simulation.end == (State.VERIFIED, None)
    assert simulation.steps == ["start", "record", "clean", "close"]


def test_clean_sets_an_unknown_size_and_keeps_a_known_one() -> None:
    unknown = lifecycle.advance(at(Step.CLEAN, recorded=True), replace(VERIFIED, note="as it is"), NOW)
    assert (unknown.size, unknown.note) == (1_000, "as it is")
    assert unknown.ending == Ending(State.VERIFIED)
    assert lifecycle.advance(at(Step.CLEAN, size=7), DONE, NOW).size == 7


def test_a_failed_transfer_that_clean_finds_complete_is_verified() -> None:
    simulation = Simulation().apply(ARCHIVED, SETTLE, VERIFIED, DONE)
    assert simulation.end == (State.VERIFIED, None)


@pytest.mark.parametrize("step", Step)
def test_only_start_stage_and_check_are_in_the_copy_phase(step: Step) -> None:
    assert lifecycle.in_copy_phase(at(step)) is (step in COPY_PHASE)


@pytest.mark.parametrize("step", Step)
def test_a_resumed_run_continues_at_its_step_and_looks_first(step: Step) -> None:
    run = at(
        step,
        attempt=2,
        copy_attempts=3,
        activity_failures=4,
        pause=9,
        polls=5,
        resumes=1,
        copied=7,
        recorded=True,
        first=True,
    )
    found = lifecycle.resume(run, "x" * 9_999)
    assert found == replace(
        run, first=False, activity_failures=0, pause=0, resumes=2, detail="x" * lifecycle.MAX_DETAIL
    )


@pytest.mark.parametrize("step", Step)
def test_a_resumed_run_with_a_cancel_request_does_not_copy(step: Step) -> None:
    run = at(step, cancelling=True)
    found = lifecycle.resume(run, "why")
    if lifecycle.in_copy_phase(run):
        assert (found.step, found.ending and found.ending.state) == (Step.RECORD, State.CANCELLED)
    else:
        assert (found.step, found.ending) == (step, run.ending)
    assert (found.first, found.resumes) == (False, 1)


@pytest.mark.parametrize("cancelling", [False, True])
@pytest.mark.parametrize("step", Step)
def test_an_abandoned_run_starts_with_record_and_outranks_the_broken_one(step: Step, *, cancelling: bool) -> None:
    """A decided end stays; otherwise it ends cancelled after a cancel request, else dead-lettered."""
    run = at(step, cancelling=cancelling, resumes=5, activity_failures=4, pause=9, first=True)
    found = lifecycle.abandon(run, "why")
    assert (found.step, found.first, found.activity_failures, found.pause, found.resumes) == (
        Step.CLOSE if step is Step.NOTIFY else Step.RECORD,
        False,
        0,
        0,
        6,
    )
    if run.ending:
        assert found.ending == run.ending
    elif cancelling:
        assert found.ending == Ending(State.CANCELLED)
    else:
        failed = Ending(State.DEAD_LETTERED, reason=Reason.INTERNAL, detail="why")
        assert found.ending == failed


@pytest.mark.parametrize("again", [lifecycle.resume, lifecycle.abandon])
def test_a_restarted_run_reaches_an_end_from_every_step(again: Callable[[Run, str], Run]) -> None:
    for step in Step:
        simulation = Simulation(again(at(step), "why"))
        while simulation.run.step and lifecycle.in_copy_phase(simulation.run):
            simulation.apply(ARCHIVED)
        while simulation.run.step:
            simulation.apply(DONE)
        assert simulation.end[0] is State.DEAD_LETTERED


def test_a_permanent_failure_without_a_reason_is_internal() -> None:
    simulation = Simulation().apply(Outcome(Verdict.PERMANENT), DONE, DONE)
    assert simulation.end == (State.DEAD_LETTERED, Reason.INTERNAL)


def test_a_run_that_closes_without_an_ending_is_dead_lettered() -> None:
    assert lifecycle.advance(at(Step.CLOSE, ending=None), DONE, NOW).state is State.DEAD_LETTERED
    assert lifecycle.advance(at(Step.RECORD, ending=None), DONE, NOW).state is State.DEAD_LETTERED


def test_a_detail_is_shortened_and_a_note_is_kept() -> None:
    run = lifecycle.advance(RUN, Outcome(Verdict.RETRYABLE, detail="x" * 9_999, note="without tags"), NOW)
    assert len(run.detail) == lifecycle.MAX_DETAIL
    assert lifecycle.advance(run, VERIFIED, NOW).note == "without tags"
    given_up = lifecycle.give_up(RUN, Reason.INTERNAL, "x" * 9_999).ending
    assert given_up
    assert len(given_up.detail) == lifecycle.MAX_DETAIL


@pytest.mark.parametrize(
    ("engine", "now", "until"),
    [
        (Engine.SYNC, NOW, after(minutes=30)),
        (Engine.SYNC, after(hours=3), after(hours=3.5)),
        (Engine.BLOCKS, after(hours=3), after(hours=3.5)),
        (Engine.ASYNC, NOW, after(hours=24)),
        (Engine.ASYNC, after(hours=23.9), after(hours=24.4)),
    ],
)
def test_a_sas_expires_as_early_as_the_engine_allows(engine: Engine, now: datetime, until: datetime) -> None:
    """Rule 14: after 30 minutes for `sync` and `blocks`, at the deadline for `async`."""
    assert lifecycle.sas_expiry(replace(RUN, first_look_at=NOW), engine, now) == until


def test_a_sas_of_the_first_look_expires_at_its_deadline() -> None:
    assert lifecycle.sas_expiry(RUN, Engine.ASYNC, after(hours=9)) == after(hours=33)


LIKELY = [
    VERIFIED,
    WAITING,
    replace(WAITING, copied=9),
    AGAIN,
    BUSY,
    ARCHIVED,
    OVERWRITTEN,
    GONE,
    OCCUPIED,
    CANCELLED_BEFORE,
    replace(WITH_FALLBACK, copied=9),
    STAGING,
    STAGED,
    LANE_STAGED,
    LANE_BUSY,
    DONE,
    SETTLE,
]
EVENTS = st.sampled_from(["apply", "apply", "apply", "fail", "cancel"])


def simulate(simulation: Simulation, event: str, outcome: Outcome) -> None:
    if event == "fail":
        simulation.fail()
    elif event == "cancel" and lifecycle.in_copy_phase(simulation.run):
        simulation.cancel_in_pause()
    else:
        simulation.apply(outcome)


@quick
@given(events=st.lists(st.tuples(EVENTS, st.sampled_from(LIKELY) | outcomes()), max_size=25), letter=st.booleans())
def test_any_sequence_of_outcomes_follows_the_table_of_transitions(
    events: list[tuple[str, Outcome]], *, letter: bool
) -> None:
    """It has a step if and only if its state is not final, and a final state stays."""
    simulation = Simulation(replace(RUN, has_open_dead_letter=letter))
    for event, outcome in events:
        before = simulation.run
        simulate(simulation, event, outcome)
        assert simulation.run.state is before.state or simulation.run.state in TRANSITIONS[before.state]
        assert (simulation.run.step is None) == (simulation.run.state in FINAL)
        assert simulation.run.pause >= 0
        if simulation.run.step is None:
            assert simulation.run.pause == 0
            break


@quick
@given(st.lists(st.sampled_from(LIKELY), min_size=1, max_size=5))
def test_every_cycle_of_outcomes_ends_at_the_deadline(cycle: list[Outcome]) -> None:
    simulation = Simulation()
    while simulation.run.step and lifecycle.in_copy_phase(simulation.run):
        simulation.apply(cycle[len(simulation.steps) % len(cycle)])
        simulation.now += timedelta(minutes=5)  # the duration of the step
    while simulation.run.step:
        simulation.apply(DONE)
    assert simulation.run.state in FINAL


@quick
@given(runs(), outcomes())
def test_a_run_never_returns_to_start_or_check_once_its_end_is_decided(run: Run, outcome: Outcome) -> None:
    drawn = replace(run, state=State.COPYING, step=Step.RECORD)
    following = lifecycle.advance(drawn, outcome, NOW)
    assert following.step in {Step.RECORD, Step.CLEAN, Step.CLOSE, None}
