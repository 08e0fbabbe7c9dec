"""The lifecycle of a transfer while lanes stage its blocks."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from rules.errors import Reason
from rules.routes.model import Engine
from rules.transfers import lifecycle, policies, status
from rules.transfers.model import Ending, Lane, Outcome, Run, Step, Verdict
from rules.transfers.policies import MAX_COPY_ATTEMPTS
from rules.transfers.states import State
from tests.unit.samples import NOW, RUN, TRANSFER, after

TIB = 1024**4
LANES = (Lane(0, 5), Lane(5, 10))
STAGING = Outcome(Verdict.STAGING, engine=Engine.BLOCKS, size=100, lanes=LANES)
AGAIN = Outcome(Verdict.AGAIN, detail="412 CannotVerifyCopySource")
ARCHIVED = Outcome(Verdict.PERMANENT, reason=Reason.NOT_ALLOWED, detail="no current route")
OVERWRITTEN = Outcome(Verdict.SUPERSEDED, ending=Ending(State.SUPERSEDED))
LATE = timedelta(days=7)


def staging(**changes: Any) -> Run:
    """A run whose two lanes have just begun."""
    run = lifecycle.advance(RUN, STAGING, NOW)
    return replace(run, **changes)


def progress(*lanes: Lane) -> Outcome:
    return Outcome(Verdict.STAGING, lanes=lanes)


def busy(*lanes: Lane) -> Outcome:
    return Outcome(Verdict.RETRYABLE, reason=Reason.THROTTLED, detail="503 ServerBusy", lanes=lanes)


def end_of(run: Run) -> tuple[State, Reason | None]:
    assert run.step is Step.RECORD
    assert run.ending is not None
    return run.ending.state, run.ending.reason


def test_start_begins_the_lanes_and_counts_a_try() -> None:
    lanes = (Lane(1, 5, staged=10), Lane(7, 10, staged=20))
    run = lifecycle.advance(RUN, replace(STAGING, lanes=lanes, refused=(Engine.SYNC,)), NOW)
    assert (run.step, run.pause, run.state, run.lanes) == (Step.STAGE, 0, State.COPYING, lanes)
    assert (run.engine, run.size, run.copied, run.refused) == (Engine.BLOCKS, 100, 30, (Engine.SYNC,))
    assert (run.copy_attempts, run.copying_at) == (1, NOW)


def test_lanes_begin_eight_times_at_most() -> None:
    """What the eighth have staged is committed."""
    run = lifecycle.advance(replace(RUN, copy_attempts=MAX_COPY_ATTEMPTS - 1), STAGING, NOW)
    assert (run.step, run.copy_attempts) == (Step.STAGE, MAX_COPY_ATTEMPTS)
    run = lifecycle.advance(run, progress(Lane(5, 5), Lane(10, 10)), NOW)
    assert run.step is Step.START
    run = lifecycle.advance(run, STAGING, NOW)
    assert end_of(run) == (State.DEAD_LETTERED, Reason.TARGET_CONFLICT)


def test_the_time_since_the_copy_began_includes_earlier_lanes() -> None:
    run = lifecycle.advance(replace(staging(), step=Step.START), STAGING, after(hours=1))
    assert (run.copy_attempts, run.copying_at) == (2, NOW)


def test_an_activity_changes_only_its_lane() -> None:
    run = lifecycle.advance(staging(), progress(Lane(8, 10, staged=30, flow=17)), after(seconds=100))
    assert (run.step, run.pause, run.copied) == (Step.STAGE, 0, 30)
    assert run.lanes == (LANES[0], Lane(8, 10, staged=30, flow=17))
    assert run.updated_at == after(seconds=100)
    assert [run.lane(5), run.lane(10)] == list(run.lanes)


@pytest.mark.parametrize("now", [NOW, NOW + LATE], ids=["in time", "late"])
def test_once_every_lane_is_done_start_commits_even_if_it_is_late(now: Any) -> None:
    """A commit costs little."""
    run = lifecycle.advance(staging(), progress(Lane(5, 5, staged=50)), NOW)
    assert run.step is Step.STAGE
    run = lifecycle.advance(run, progress(Lane(10, 10, staged=50)), now)
    assert (run.step, run.pause, run.lanes, run.copied) == (Step.START, 0, (), 100)
    assert (run.copy_attempts, run.state) == (1, State.COPYING)


def test_again_returns_to_start_after_a_pause_that_grows_with_the_tries() -> None:
    for tries in range(1, MAX_COPY_ATTEMPTS):
        run = lifecycle.advance(staging(copy_attempts=tries), AGAIN, NOW)
        assert (run.step, run.lanes, run.copy_attempts) == (Step.START, (), tries)
        assert run.pause == policies.backoff(tries, TRANSFER.id)
        assert run.detail == AGAIN.detail


def test_again_keeps_the_progress_of_its_lane_in_the_status() -> None:
    run = lifecycle.advance(staging(), replace(AGAIN, lanes=(Lane(3, 5, staged=30),)), NOW)
    assert (run.step, run.lanes, run.copied) == (Step.START, (), 30)


def test_the_pause_after_again_ends_at_the_deadline() -> None:
    run = staging(deadline=timedelta(minutes=5), copy_attempts=7)
    assert lifecycle.advance(run, AGAIN, after(minutes=4)).pause == 60
    assert lifecycle.advance(run, AGAIN, after(hours=4)).pause == 0


def test_a_busy_lane_waits_alone() -> None:
    run = lifecycle.advance(staging(), busy(Lane(2, 5, staged=20, flow=1)), NOW)
    first, second = run.lanes
    assert (run.step, run.pause, run.copied) == (Step.STAGE, 0, 20)
    assert (run.reason, run.detail) == (Reason.THROTTLED, "503 ServerBusy")
    assert (first.next, first.staged, first.flow, first.failures) == (2, 20, 1, 1)
    assert first.due == after(seconds=policies.backoff(1, f"{TRANSFER.id} 5"))
    assert second == LANES[1]


def test_a_lane_is_ready_if_it_has_blocks_to_stage_and_does_not_wait() -> None:
    run = lifecycle.advance(staging(), busy(LANES[0]), NOW)
    due = run.lane(5).due
    assert due is not None
    assert lifecycle.ready_lanes(run, NOW) == [LANES[1]]
    assert lifecycle.ready_lanes(run, due - policies.GRACE) == list(run.lanes)  # timers fire early
    run = lifecycle.advance(run, progress(Lane(10, 10, staged=50)), NOW)
    assert lifecycle.ready_lanes(run, NOW) == []


def test_if_all_lanes_wait_the_run_waits_for_the_first() -> None:
    run = lifecycle.advance(staging(), busy(LANES[0]), NOW)
    for _ in range(4):
        run = lifecycle.advance(run, busy(run.lane(10)), NOW)
    first = run.lane(5).due
    assert first is not None
    seconds = lifecycle.seconds_to_next_lane(run, NOW)
    assert 0 <= seconds - (first - NOW).total_seconds() < 1
    assert lifecycle.ready_lanes(run, after(seconds=seconds)) == [run.lane(5)]
    done = replace(run, lanes=(Lane(5, 5, due=after(seconds=3)), run.lane(10)))
    assert lifecycle.seconds_to_next_lane(done, NOW) > seconds


def test_the_pauses_of_a_lane_grow_and_differ_from_those_of_another() -> None:
    run, due = staging(), []
    for _ in range(MAX_COPY_ATTEMPTS - 1):
        run = lifecycle.advance(run, busy(run.lane(5)), NOW)
        moment = run.lane(5).due
        assert moment is not None
        due.append((moment - NOW).total_seconds())
    assert due == sorted(due)
    assert due[-1] > 32 * due[0]
    other = lifecycle.advance(staging(), busy(LANES[1]), NOW).lane(10).due
    assert other is not None
    assert (other - NOW).total_seconds() != due[0]


def test_after_eight_activities_in_a_row_without_a_block_the_run_gives_up() -> None:
    run = staging()
    for count in range(1, MAX_COPY_ATTEMPTS):
        run = lifecycle.advance(run, busy(run.lane(5)), NOW)
        assert (run.step, run.lane(5).failures) == (Step.STAGE, count)
    run = lifecycle.advance(run, busy(run.lane(5)), NOW)
    assert end_of(run) == (State.DEAD_LETTERED, Reason.THROTTLED)
    assert run.ending is not None
    assert run.ending.detail == "503 ServerBusy"


def test_a_staged_block_resets_the_count() -> None:
    run = staging()
    for _ in range(7):
        run = lifecycle.advance(run, busy(run.lane(5)), NOW)
    run = lifecycle.advance(run, busy(replace(run.lane(5), next=1, staged=10)), NOW)
    assert (run.step, run.lane(5).failures) == (Step.STAGE, 1)
    run = lifecycle.advance(run, progress(Lane(2, 5, staged=20)), NOW)
    assert run.lane(5) == Lane(2, 5, staged=20)


def test_the_failures_of_two_lanes_are_counted_apart() -> None:
    run = staging()
    for _ in range(7):
        run = lifecycle.advance(run, busy(run.lane(5)), NOW)
        run = lifecycle.advance(run, busy(run.lane(10)), NOW)
    assert [lane.failures for lane in run.lanes] == [7, 7]
    assert run.step is Step.STAGE


@pytest.mark.parametrize("lanes", [(), (LANES[0],)], ids=["no lane", "its lane"])
def test_a_permanent_failure_ends_the_run(lanes: tuple[Lane, ...]) -> None:
    run = lifecycle.advance(staging(), replace(ARCHIVED, lanes=lanes), NOW)
    assert end_of(run) == (State.DEAD_LETTERED, Reason.NOT_ALLOWED)
    without_reason = lifecycle.advance(staging(), Outcome(Verdict.PERMANENT, lanes=lanes), NOW)
    assert end_of(without_reason) == (State.DEAD_LETTERED, Reason.INTERNAL)


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (progress(Lane(3, 5, staged=30)), Reason.DEADLINE_EXCEEDED),
        (busy(Lane(3, 5, staged=30)), Reason.THROTTLED),
    ],
)
def test_at_the_deadline_the_run_gives_up_and_its_status_shows_the_progress(outcome: Outcome, reason: Reason) -> None:
    run = lifecycle.advance(staging(), outcome, NOW + LATE)
    assert end_of(run) == (State.DEAD_LETTERED, reason)
    assert run.copied == 30


def test_the_deadline_grows_with_the_size() -> None:
    large = lifecycle.advance(RUN, replace(STAGING, size=10 * TIB), NOW)
    outcome = progress(Lane(3, 5, staged=30))
    assert lifecycle.advance(large, outcome, after(hours=33)).step is Step.STAGE
    assert lifecycle.advance(large, outcome, after(hours=34)).step is Step.RECORD
    assert lifecycle.advance(replace(large, size=10), outcome, after(hours=24)).step is Step.RECORD


@pytest.mark.parametrize(
    "outcome",
    [progress(Lane(3, 5, staged=30)), progress(Lane(5, 5), Lane(10, 10)), AGAIN, busy(LANES[0]), ARCHIVED],
    ids=["staging", "done", "again", "retryable", "permanent"],
)
def test_after_a_cancel_request_every_outcome_ends_cancelled(outcome: Outcome) -> None:
    run = lifecycle.advance(staging(cancelling=True), outcome, NOW)
    assert (run.step, run.pause, run.ending) == (Step.RECORD, 0, Ending(State.CANCELLED))


def test_a_cancel_between_two_activities_ends_cancelled() -> None:
    run = lifecycle.cancel(staging())
    assert (run.step, run.cancelling, run.ending) == (Step.RECORD, True, Ending(State.CANCELLED))


def test_a_lane_whose_activity_raised_waits_alone() -> None:
    """Rule 8: an exception is not a verdict on the blob."""
    run = lifecycle.handle_lane_failure(staging(), LANES[1], "python exited", after(seconds=9))
    assert (run.step, run.pause, run.updated_at) == (Step.STAGE, 0, after(seconds=9))
    assert (run.reason, run.detail) == (Reason.INTERNAL, "python exited")
    assert run.lanes[0] == LANES[0]
    assert run.lanes[1] == replace(
        LANES[1], failures=1, due=after(seconds=9 + policies.backoff(1, f"{TRANSFER.id} 10"))
    )
    following = lifecycle.advance(run, progress(Lane(4, 5, staged=40)), NOW)
    assert (following.reason, following.detail) == (None, "")


def test_eight_exceptions_of_a_lane_in_a_row_are_internal() -> None:
    run = staging()
    for _ in range(MAX_COPY_ATTEMPTS):
        assert run.step is Step.STAGE
        run = lifecycle.handle_lane_failure(run, run.lane(5), "x" * 9_999, NOW)
    assert end_of(run) == (State.DEAD_LETTERED, Reason.INTERNAL)
    assert run.ending is not None
    assert len(run.ending.detail) == lifecycle.MAX_DETAIL


def test_an_exception_of_a_lane_after_a_cancel_request_ends_cancelled() -> None:
    run = lifecycle.handle_lane_failure(staging(cancelling=True), LANES[0], "python exited", NOW)
    assert (run.step, run.ending) == (Step.RECORD, Ending(State.CANCELLED))


def test_a_resumed_run_keeps_its_lanes() -> None:
    """What they have staged is kept by the service."""
    run = lifecycle.advance(staging(), progress(Lane(3, 5, staged=30)), NOW)
    found = lifecycle.resume(run, "the worker died")
    assert (found.step, found.lanes, found.copied) == (Step.STAGE, run.lanes, 30)


def test_a_run_without_lanes_returns_to_start() -> None:
    """Another release may have written it."""
    run = lifecycle.advance(replace(staging(), lanes=()), progress(), NOW)
    assert (run.step, run.lanes) == (Step.START, ())


def test_the_note_says_which_staged_blocks_stay_at_the_target() -> None:
    """Nothing deletes them; the service drops them a week later."""
    run = lifecycle.advance(staging(), progress(Lane(3, 5, staged=30)), NOW)
    week = f"{after(days=7):%Y-%m-%d}"
    left = f"30 bytes in staged blocks stay at the target until {week}"
    assert lifecycle.cancel(run).note == left
    failed = lifecycle.give_up(run, Reason.TARGET_CONFLICT, "another writer")
    superseded = lifecycle.advance(replace(run, step=Step.START), OVERWRITTEN, NOW)
    assert (failed.note, superseded.note) == (left, left)
    closed = replace(failed, state=State.DEAD_LETTERED)
    assert status.progress(closed)["detail"] == f"another writer; {left}"
    whole = lifecycle.advance(replace(failed, step=Step.CLEAN), Outcome(Verdict.VERIFIED), NOW)
    assert (whole.ending, whole.note) == (lifecycle.VERIFIED, "")
