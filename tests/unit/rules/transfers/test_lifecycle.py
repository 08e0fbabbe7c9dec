"""The course of a transfer: which step follows from what the last one found; and whole walks from start to end."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.errors import Reason
from rules.routes.model import Engine
from rules.transfers import lifecycle, policies
from rules.transfers.model import Ending, Outcome, Run, Step, Successor, Verdict
from rules.transfers.states import FINAL, TRANSITIONS, State
from tests.unit.samples import NEWER, NOW, RUN, TRANSFER, after, outcomes, quick, runs

VERIFIED = Outcome(Verdict.VERIFIED, engine=Engine.SYNC, size=1_000)
WAITING = Outcome(Verdict.WAITING, engine=Engine.ASYNC, size=1_000)
BEGAN = replace(WAITING, began=True)
AGAIN = Outcome(Verdict.AGAIN)
BUSY = Outcome(Verdict.RETRYABLE, reason=Reason.THROTTLED, detail="busy")
ARCHIVED = Outcome(Verdict.PERMANENT, reason=Reason.SOURCE_ARCHIVED, detail="archived")
NO_NINTH = Outcome(Verdict.RETRYABLE, reason=Reason.TARGET_CONFLICT, detail="another writer always replaced it")
OVERWRITTEN = Outcome(Verdict.SUPERSEDED, ending=Ending(State.SUPERSEDED, successor=Successor(NEWER)))
CANCELLED_BEFORE = Outcome(Verdict.ENDED, ending=Ending(State.CANCELLED))
DONE = Outcome(Verdict.DONE)
SETTLE = Outcome(Verdict.DONE, pause=90)
LATE = timedelta(days=7)


def at(step: Step, **changes: Any) -> Run:
    """A run before this step; one that ends is on its way to a dead letter."""
    ending = Ending(State.DEAD_LETTERED, reason=Reason.THROTTLED, detail="busy")
    common = {"ending": None if step in {Step.START, Step.CHECK} else ending}
    state = State.COPYING if step is Step.CHECK else State.ACCEPTED
    return replace(RUN, step=step, state=state, **{**common, **changes})


GONE = Outcome(Verdict.GONE, pause=30)
OCCUPIED = Outcome(Verdict.OCCUPIED, reason=Reason.TARGET_CONFLICT, detail="of another type", pause=90)


def backoff(count: int) -> int:
    """The pause after so many failures."""
    return policies.backoff(count, TRANSFER.id)


# The table of `course.advance`: step, what the run is, verdict -> the next step, its pause, the end that is recorded.
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
def test_what_follows_while_a_version_is_carried(
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
def test_what_follows_while_a_transfer_ends(
    step: Step, changes: dict[str, Any], outcome: Outcome, following: Step | None, pause: int
) -> None:
    """The lower half: whatever the deadline says, the end is said, cleaned and closed."""
    run = lifecycle.advance(at(step, recorded=True, first_look_at=NOW - LATE, **changes), outcome, NOW)
    assert (run.step, run.pause) == (following, pause)


FAILED = Ending(State.DEAD_LETTERED, Reason.SOURCE_ARCHIVED)
CANCELLED = Ending(State.CANCELLED)
SUPERSEDED = Ending(State.SUPERSEDED, successor=Successor(NEWER))


@pytest.mark.parametrize(
    ("ending", "changes", "closes"),
    [
        (FAILED, {}, True),  # a letter to write
        (CANCELLED, {}, False),
        (CANCELLED, {"has_open_dead_letter": True}, True),  # a letter to resolve
        (CANCELLED, {"attempt": 1}, False),  # the record of the end stays: it is true
        (SUPERSEDED, {}, False),
        (SUPERSEDED, {"has_open_dead_letter": True}, True),
        (SUPERSEDED, {"attempt": 1}, True),  # the record of the attempt before is no more true
    ],
)
def test_closing_is_skipped_where_it_has_nothing_to_do(
    ending: Ending, changes: dict[str, Any], *, closes: bool
) -> None:
    """A first run that is cancelled or superseded costs no activity more."""
    run = lifecycle.advance(at(Step.RECORD, ending=ending, **changes), DONE, NOW)
    assert (run.step is Step.CLOSE) is closes
    assert (run.state is ending.state) is not closes


class Walk:
    """A transfer on its way, told what each step finds; its clock moves by what each pause says."""

    def __init__(self, run: Run = RUN) -> None:
        self.run = run
        self.now = run.accepted_at
        self.steps: list[str] = []

    def finds(self, *outcomes: Outcome) -> "Walk":
        """Each step finds the next of these; then its pause passes."""
        for outcome in outcomes:
            assert self.run.step
            self.steps.append(self.run.step)
            self.run = lifecycle.advance(self.run, outcome, self.now)
            self.now += timedelta(seconds=self.run.pause)
        return self

    def breaks(self, times: int = 1, detail: str = "the host is ill") -> "Walk":
        """The step's activity raises, so many times."""
        for _ in range(times):
            self.run = lifecycle.handle_failure(self.run, detail, self.now)
            self.now += timedelta(seconds=self.run.pause)
        return self

    def is_cancelled(self) -> "Walk":
        """A person cancels while a step's activity runs."""
        self.run = replace(self.run, cancelling=True)
        return self

    def is_cancelled_in_a_pause(self) -> "Walk":
        """A person cancels while a timer runs."""
        self.run = lifecycle.cancel(self.run)
        return self

    @property
    def end(self) -> tuple[State, Reason | None]:
        """How it ended."""
        assert self.run.step is None
        ending = self.run.ending
        return self.run.state, ending.reason if ending else None


def test_a_small_blob_is_one_step() -> None:
    """`accepted` to `verified`: no second activity, no timer."""
    walk = Walk().finds(VERIFIED)
    assert walk.end == (State.VERIFIED, None)
    assert walk.now == NOW
    assert (walk.run.engine, walk.run.size) == (Engine.SYNC, 1_000)
    assert walk.run.ending == Ending(State.VERIFIED)


def test_a_large_blob_is_polled_and_then_confirmed() -> None:
    """Exponentially while nothing shows, then by its progress."""
    walk = Walk().finds(BEGAN)
    assert walk.run.state is State.COPYING
    pauses = [walk.run.pause]
    for copied in (0, 0, 100, 800):
        walk.finds(replace(WAITING, copied=copied))
        pauses.append(walk.run.pause)
    assert pauses == [2, 4, 8, 60, 9]
    walk.finds(AGAIN, VERIFIED)
    assert walk.end == (State.VERIFIED, None)
    assert walk.steps == ["start", "check", "check", "check", "check", "check", "start"]
    assert (walk.run.copied, walk.run.copy_attempts) == (800, 1)


def test_eight_tries_and_then_a_dead_letter() -> None:
    """With the reason of the last, after seven pauses."""
    walk = Walk().finds(*[BUSY] * 7)
    assert (walk.run.step, walk.run.copy_attempts, walk.run.reason, walk.run.detail) == (
        "start",
        7,
        "throttled",
        "busy",
    )
    assert walk.now - NOW == timedelta(seconds=sum(backoff(count) for count in range(1, 8)))
    walk.finds(BUSY, SETTLE, DONE, DONE)
    assert walk.end == (State.DEAD_LETTERED, Reason.THROTTLED)
    assert walk.steps[7:] == ["start", "record", "clean", "close"]
    assert walk.run.ending
    assert walk.run.ending.detail == "busy"


def test_a_failure_that_is_mended_in_time_leaves_no_trace() -> None:
    """What is shown is what is true now."""
    walk = Walk().finds(*[BUSY] * 7, VERIFIED)
    assert walk.end == (State.VERIFIED, None)
    assert (walk.run.reason, walk.run.detail) == (None, "")


def test_a_copy_that_never_ends_is_given_up_at_the_deadline() -> None:
    """An async copy has a day, and the last poll is not after it."""
    walk = Walk().finds(WAITING)
    while walk.run.step is Step.CHECK:
        walk.finds(WAITING)
    assert after(hours=24) - policies.GRACE <= walk.now <= after(hours=24)
    assert len(walk.steps) < 1_450
    walk.finds(SETTLE, DONE, DONE)
    assert walk.end == (State.DEAD_LETTERED, Reason.DEADLINE_EXCEEDED)


def test_a_routes_own_deadline_counts() -> None:
    """From the first look on: what waits for hours in a backlog has had no try yet."""
    walk = Walk(replace(RUN, deadline=timedelta(minutes=5)))
    walk.now = after(hours=3)
    walk.finds(WAITING)
    while walk.run.step is Step.CHECK:
        walk.finds(WAITING)
    assert after(hours=3, minutes=4) < walk.now <= after(hours=3, minutes=5)


def test_a_backlog_past_the_deadline_costs_no_try() -> None:
    """The first look comes late, and is answered busy."""
    walk = Walk(replace(RUN, deadline=timedelta(minutes=1)))
    walk.now = after(minutes=2)
    assert walk.finds(BUSY, VERIFIED).end == (State.VERIFIED, None)


def test_an_exception_of_the_first_look_begins_the_deadline_too() -> None:
    """It was tried."""
    walk = Walk(replace(RUN, deadline=timedelta(minutes=1)))
    walk.now = after(hours=1)
    walk.breaks()
    assert (walk.run.first_look_at, walk.run.step) == (after(hours=1), Step.START)


def test_a_source_that_is_not_there_is_looked_for_once_more() -> None:
    """The pause is the step's; whatever else is found, the next look is the first one again."""
    walk = Walk().finds(GONE)
    assert (walk.run.step, walk.run.pause, walk.run.gone, walk.run.copy_attempts) == (Step.START, 30, True, 0)
    walk.finds(BUSY)
    assert not walk.run.gone
    assert walk.finds(GONE, OVERWRITTEN).run.step is Step.RECORD


def test_one_that_is_not_there_at_the_deadline_is_looked_for_all_the_same() -> None:
    """What was deleted is no failure."""
    run = lifecycle.advance(at(Step.START, first_look_at=NOW - LATE), GONE, NOW)
    assert (run.step, run.pause, run.gone) == (Step.START, 30, True)


def test_a_resumed_run_looks_for_it_twice() -> None:
    """Nobody knows how much of the pause has passed."""
    run = lifecycle.resume(at(Step.START, gone=True, settled=True), "the worker died")
    assert (run.gone, run.settled) == (False, False)


def test_a_target_of_another_type_is_waited_for_and_given_up_at_the_deadline() -> None:
    """`settle`, then `start`."""
    walk = Walk().finds(OCCUPIED)
    assert (walk.run.step, walk.run.pause, walk.run.settled, walk.run.copy_attempts) == (Step.START, 90, True, 0)
    run = lifecycle.advance(at(Step.START, first_look_at=NOW - LATE), OCCUPIED, NOW)
    assert run.ending is not None
    assert (run.ending.state, run.ending.reason) == (State.DEAD_LETTERED, Reason.TARGET_CONFLICT)


def test_at_the_deadline_a_failure_is_told_rather_than_the_deadline() -> None:
    """What was in the way is what the operator must mend."""
    run = lifecycle.advance(at(Step.START, first_look_at=NOW - LATE), BUSY, NOW)
    assert run.ending == Ending(State.DEAD_LETTERED, reason=Reason.THROTTLED, detail="busy")
    run = lifecycle.advance(at(Step.START, first_look_at=NOW - LATE), AGAIN, NOW)
    assert run.ending
    assert (run.ending.reason, run.ending.detail) == (Reason.DEADLINE_EXCEEDED, "not copied before the deadline")


def test_a_copy_that_stalls_is_given_up() -> None:
    """30 minutes after its last progress."""
    walk = Walk().finds(WAITING, replace(WAITING, copied=10))
    while walk.run.step is Step.CHECK:
        walk.finds(replace(WAITING, copied=10))
    assert timedelta(minutes=30) <= walk.now - NOW <= timedelta(minutes=32)
    walk.finds(SETTLE, DONE, DONE)
    assert walk.end == (State.DEAD_LETTERED, Reason.COPY_FAILED)


def test_a_copy_that_stalls_is_given_up_with_what_the_service_says_of_it() -> None:
    """Its description, where it has one."""
    stumbling = replace(WAITING, copied=10, detail="502 BadGateway")
    walk = Walk().finds(WAITING, stumbling)
    while walk.run.step is Step.CHECK:
        walk.finds(stumbling)
    assert walk.run.ending is not None
    assert walk.run.ending.detail == "no progress for 0:30:00; the service reports: 502 BadGateway"


def test_a_copy_that_has_not_begun_does_not_stall() -> None:
    """Copies of one account may run one after another."""
    walk = Walk().finds(*[WAITING] * 200)
    assert walk.now - NOW > timedelta(hours=3)
    assert walk.run.step is Step.CHECK


def test_a_copy_that_never_stays_is_made_eight_times() -> None:
    """Somebody else writes the target for ever: a person must stop them."""
    walk = Walk().finds(*[BEGAN, AGAIN] * 8)
    assert (walk.run.step, walk.run.copy_attempts) == (Step.START, 8)
    walk.finds(NO_NINTH, SETTLE, DONE, DONE)
    assert walk.end == (State.DEAD_LETTERED, Reason.TARGET_CONFLICT)
    assert walk.run.ending
    assert walk.run.ending.detail == NO_NINTH.detail


def test_the_eighth_copy_may_stay() -> None:
    """It is waited for like any other."""
    walk = Walk().finds(*[BEGAN, AGAIN] * 7, BEGAN, WAITING, AGAIN, VERIFIED)
    assert walk.end == (State.VERIFIED, None)


def test_a_retry_is_not_waited_for_beyond_the_deadline() -> None:
    """The last backoff ends where the deadline is."""
    walk = Walk(replace(RUN, deadline=timedelta(minutes=1))).finds(BUSY, BUSY, BUSY, BUSY)
    assert walk.now <= after(minutes=1)
    assert walk.finds(BUSY, SETTLE, DONE, DONE).end == (State.DEAD_LETTERED, BUSY.reason)


def test_a_copy_that_is_found_on_its_way_is_no_try() -> None:
    """Adopted after a crash, or somebody else's of the same version: only what this run began counts."""
    walk = Walk().finds(WAITING)
    assert (walk.run.step, walk.run.copy_attempts, walk.run.pause, walk.run.copying_at) == (Step.CHECK, 0, 2, NOW)


def test_looks_that_fail_do_not_count_as_copies_while_one_progresses() -> None:
    """A copy of hours outlives more than eight looks that could not be had."""
    walk = Walk().finds(BEGAN)
    for copied in range(10, 30):
        walk.finds(replace(WAITING, copied=copied), BUSY, replace(WAITING, copied=copied))
    assert (walk.run.step, walk.run.copy_attempts) == (Step.CHECK, 1)
    assert walk.finds(AGAIN, VERIFIED).end == (State.VERIFIED, None)


def test_a_failed_copy_is_tried_again_with_backoff() -> None:
    """Each copy is one of the eight copy_attempts."""
    failed = Outcome(Verdict.RETRYABLE, reason=Reason.COPY_FAILED, detail="500 InternalError")
    walk = Walk().finds(BEGAN, replace(WAITING, copied=500), failed)
    assert (walk.run.step, walk.run.pause, walk.run.copy_attempts) == (Step.START, backoff(1), 1)
    walk.finds(BEGAN)
    assert (walk.run.copy_attempts, walk.run.copied, walk.run.progressed_at, walk.run.polls) == (2, 0, None, 0)


def test_ten_exceptions_in_a_row_are_internal() -> None:
    """Rule 8: infrastructure, not a verdict on the blob."""
    walk = Walk().breaks(9)
    assert (walk.run.step, walk.run.activity_failures, walk.run.copy_attempts, walk.run.first) == ("start", 9, 0, False)
    assert walk.now - NOW == timedelta(seconds=sum(backoff(count) for count in range(1, 10)))
    walk.breaks().finds(SETTLE, DONE, DONE)
    assert walk.end == (State.DEAD_LETTERED, Reason.INTERNAL)
    assert walk.run.ending
    assert walk.run.ending.detail == "the host is ill"


def test_an_answer_between_exceptions_begins_the_count_anew() -> None:
    """Ten in a row, not ten in all."""
    walk = Walk().breaks(9).finds(BUSY).breaks(9)
    assert (walk.run.step, walk.run.activity_failures) == (Step.START, 9)


def test_an_exception_at_the_deadline_is_internal() -> None:
    """There is no time left for another try."""
    run = lifecycle.handle_failure(at(Step.CHECK, first_look_at=NOW - LATE), "ill", NOW)
    assert run.ending == Ending(State.DEAD_LETTERED, reason=Reason.INTERNAL, detail="ill")


def test_an_exception_once_a_cancel_was_seen_is_the_cancel() -> None:
    """Nobody waits for a host that is ill to be told that their cancel is seen."""
    walk = Walk().is_cancelled().breaks().finds(SETTLE, DONE)
    assert walk.end == (State.CANCELLED, None)


@pytest.mark.parametrize("step", [Step.RECORD, Step.CLOSE])
def test_the_steps_that_record_an_end_go_on_without_limit(step: Step) -> None:
    """A transfer in no state would break I1."""
    walk = Walk(at(step, first_look_at=NOW - LATE)).breaks(25).finds(*[BUSY] * 25)
    assert (walk.run.step, walk.run.pause) == (step, backoff(50))


def test_a_target_that_cannot_be_cleaned_does_not_keep_a_transfer_from_its_end() -> None:
    """Whether the service refuses or the activity raises: the eighth time it goes on at once, with a note of the last."""
    for walk in (
        Walk(at(Step.CLEAN)).finds(*[BUSY] * 8),
        Walk(at(Step.CLEAN)).breaks(8, BUSY.detail),
        Walk(at(Step.CLEAN)).breaks(4).finds(*[BUSY] * 4),
    ):
        assert (walk.run.step, walk.run.pause, walk.run.activity_failures) == (Step.CLOSE, 0, 0)
        assert walk.run.note == f"{lifecycle.UNCLEAN}: {BUSY.detail}"
        assert walk.finds(*[BUSY] * 9, DONE).end == (State.DEAD_LETTERED, Reason.THROTTLED)
        assert walk.run.note == f"{lifecycle.UNCLEAN}: {BUSY.detail}"


def test_a_cancelled_one_that_cannot_be_cleaned_ends_without_a_pause() -> None:
    """Nothing is left to close, so nothing is left to wait for."""
    end = Ending(State.CANCELLED)
    walk = Walk(at(Step.CLEAN, ending=end)).breaks(8, "x" * 9_999)
    assert walk.end == (State.CANCELLED, None)
    assert walk.run.pause == 0
    assert len(walk.run.note) == len(lifecycle.UNCLEAN) + 2 + lifecycle.MAX_DETAIL


def test_a_superseded_version_names_its_successor() -> None:
    """Rule 6; nothing half-made: no settling, no closing."""
    walk = Walk().finds(OVERWRITTEN, DONE)
    assert walk.end == (State.SUPERSEDED, None)
    assert walk.run.ending == Ending(State.SUPERSEDED, successor=Successor(NEWER))


def test_a_superseded_version_cleans_what_it_left_half_made() -> None:
    """Rule 7."""
    walk = Walk().finds(WAITING, AGAIN, OVERWRITTEN, SETTLE, DONE)
    assert walk.end == (State.SUPERSEDED, None)
    assert walk.steps == ["start", "check", "start", "record", "clean"]


def test_a_late_duplicate_finds_that_its_transfer_was_cancelled() -> None:
    """`duplicate_start_race`: the record of the end is what counts."""
    walk = Walk().finds(CANCELLED_BEFORE, SETTLE, DONE)
    assert walk.end == (State.CANCELLED, None)


def test_cancel_while_the_first_activity_runs() -> None:
    """`cancel_during_start`: the end is recorded, and what the activity left is cleaned after `settle`."""
    walk = Walk().is_cancelled().finds(WAITING, SETTLE, DONE)
    assert walk.end == (State.CANCELLED, None)
    assert walk.steps == ["start", "record", "clean"]


def test_cancel_comes_too_late_where_the_activity_verified() -> None:
    """What is true is said."""
    assert Walk().is_cancelled().finds(VERIFIED).end == (State.VERIFIED, None)


@pytest.mark.parametrize("before", [[WAITING], [BUSY]], ids=["between polls", "in a backoff"])
def test_cancel_in_a_pause(before: list[Outcome]) -> None:
    """What would come next does not."""
    walk = Walk().finds(*before).is_cancelled_in_a_pause()
    assert (walk.run.step, walk.run.pause, walk.run.cancelling) == (Step.RECORD, 0, True)
    assert walk.finds(SETTLE, DONE).end == (State.CANCELLED, None)


def test_cleaning_may_find_the_version_complete() -> None:
    """Nothing whole is called a failure: cancelled, and verified after all; the record of the end is dropped by `close`."""
    walk = Walk().finds(WAITING).is_cancelled_in_a_pause().finds(SETTLE, VERIFIED, DONE)
    assert walk.end == (State.VERIFIED, None)
    assert walk.steps == ["start", "record", "clean", "close"]


def test_the_size_that_cleaning_learned_is_kept() -> None:
    """One that broke early does not know it before; one that knows it does not forget it."""
    unknown = lifecycle.advance(at(Step.CLEAN, recorded=True), replace(VERIFIED, note="as it is"), NOW)
    assert (unknown.size, unknown.note) == (1_000, "as it is")
    assert unknown.ending == Ending(State.VERIFIED)
    assert lifecycle.advance(at(Step.CLEAN, size=7), DONE, NOW).size == 7


def test_a_dead_letter_that_proves_complete_is_verified() -> None:
    """It is never written."""
    walk = Walk().finds(ARCHIVED, SETTLE, VERIFIED, DONE)
    assert walk.end == (State.VERIFIED, None)


@pytest.mark.parametrize("step", Step)
def test_a_cancel_stops_only_what_is_still_carried(step: Step) -> None:
    """An end is an end."""
    assert lifecycle.in_copy_phase(at(step)) is (step in {Step.START, Step.CHECK})


@pytest.mark.parametrize("step", Step)
def test_what_the_host_failed_goes_on_at_its_step(step: Step) -> None:
    """The same attempt with all that it knows; never blindly, for the failed execution may have copied."""
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
def test_what_the_host_failed_after_a_cancel_does_not_carry_on(step: Step) -> None:
    """A transfer that is ending already goes on to its end."""
    run = at(step, cancelling=True)
    found = lifecycle.resume(run, "why")
    if lifecycle.in_copy_phase(run):
        assert (found.step, found.ending and found.ending.state) == (Step.RECORD, State.CANCELLED)
    else:
        assert (found.step, found.ending) == (step, run.ending)
    assert (found.first, found.resumes) == (False, 1)


@pytest.mark.parametrize("cancelling", [False, True])
@pytest.mark.parametrize("step", Step)
def test_what_is_broken_off_begins_with_the_record_of_its_end(step: Step, *, cancelling: bool) -> None:
    """An end that is decided stays; else a person's cancel counts, else it is a dead letter. It outranks what broke."""
    run = at(step, cancelling=cancelling, resumes=5, activity_failures=4, pause=9, first=True)
    found = lifecycle.abandon(run, "why")
    assert (found.step, found.first, found.activity_failures, found.pause, found.resumes) == (
        Step.RECORD,
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
def test_what_is_started_again_reaches_an_end(again: Callable[[Run, str], Run]) -> None:
    """From every step, with three steps that succeed."""
    for step in Step:
        walk = Walk(again(at(step), "why"))
        while walk.run.step and lifecycle.in_copy_phase(walk.run):
            walk.finds(ARCHIVED)
        while walk.run.step:
            walk.finds(DONE)
        assert walk.end[0] is State.DEAD_LETTERED


def test_a_permanent_failure_without_a_reason_is_internal() -> None:
    """Total: also for what no activity says."""
    walk = Walk().finds(Outcome(Verdict.PERMANENT), DONE, DONE)
    assert walk.end == (State.DEAD_LETTERED, Reason.INTERNAL)


def test_a_run_that_closes_without_an_end_is_dead_lettered() -> None:
    """Total: also for an input that nobody writes."""
    assert lifecycle.advance(at(Step.CLOSE, ending=None), DONE, NOW).state is State.DEAD_LETTERED
    assert lifecycle.advance(at(Step.RECORD, ending=None), DONE, NOW).state is State.DEAD_LETTERED


def test_details_and_notes_are_kept_short() -> None:
    """The input stays under 16 KB; a note (tags were left out) stays until the end."""
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
        (Engine.ASYNC, NOW, after(hours=24)),
        (Engine.ASYNC, after(hours=23.9), after(hours=24.4)),
    ],
)
def test_the_source_is_readable_as_briefly_as_the_engine_allows(engine: Engine, now: datetime, until: datetime) -> None:
    """Rule 14: 30 minutes for `sync`, until the deadline for `async`."""
    assert lifecycle.sas_expiry(replace(RUN, first_look_at=NOW), engine, now) == until


def test_the_first_look_of_all_signs_until_its_own_deadline() -> None:
    """However late it comes."""
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
    DONE,
    SETTLE,
]
EVENTS = st.sampled_from(["finds", "finds", "finds", "breaks", "cancel"])


def step_on(walk: Walk, event: str, outcome: Outcome) -> None:
    """One thing happens to a walk."""
    if event == "breaks":
        walk.breaks()
    elif event == "cancel" and lifecycle.in_copy_phase(walk.run):
        walk.is_cancelled_in_a_pause()
    else:
        walk.finds(outcome)


@quick
@given(happenings=st.lists(st.tuples(EVENTS, st.sampled_from(LIKELY) | outcomes()), max_size=25), letter=st.booleans())
def test_any_walk_moves_along_the_table_alone(happenings: list[tuple[str, Outcome]], *, letter: bool) -> None:
    """It never raises, has a step if and only if it is not final, and what is final stays so."""
    walk = Walk(replace(RUN, has_open_dead_letter=letter))
    for event, outcome in happenings:
        before = walk.run
        step_on(walk, event, outcome)
        assert walk.run.state is before.state or walk.run.state in TRANSITIONS[before.state]
        assert (walk.run.step is None) == (walk.run.state in FINAL)
        assert walk.run.pause >= 0
        if walk.run.step is None:
            assert walk.run.pause == 0
            break


@quick
@given(st.lists(st.sampled_from(LIKELY), min_size=1, max_size=5))
def test_every_walk_ends(cycle: list[Outcome]) -> None:
    """Whatever goes on repeating, the deadline comes; then three steps that succeed are enough."""
    walk = Walk()
    while walk.run.step and lifecycle.in_copy_phase(walk.run):
        walk.finds(cycle[len(walk.steps) % len(cycle)])
        walk.now += timedelta(minutes=5)  # a step takes a while, too
    while walk.run.step:
        walk.finds(DONE)
    assert walk.run.state in FINAL


@quick
@given(runs(), outcomes())
def test_a_run_whose_end_is_decided_does_not_carry_again(run: Run, outcome: Outcome) -> None:
    """From `record` on, the only way is out."""
    drawn = replace(run, state=State.COPYING, step=Step.RECORD)
    following = lifecycle.advance(drawn, outcome, NOW)
    assert following.step in {Step.RECORD, Step.CLEAN, Step.CLOSE, None}
