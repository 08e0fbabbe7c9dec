"""The orchestration of a transfer, driven through the SDK's own replay."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrators.transfer import MAX_WAITS
from rules import codec
from rules.errors import Reason
from rules.transfers.lifecycle import UNCLEAN
from rules.transfers.model import Ending, Outcome, Run, Step, Verdict
from rules.transfers.policies import MAX_COPY_ATTEMPTS, MAX_FAILURES, backoff
from rules.transfers.states import State
from tests.unit.orchestrators.conftest import Staged
from tests.unit.orchestrators.stage import (
    AGAIN,
    DONE,
    FORBIDDEN,
    LOST,
    SETTLE,
    SUPERSEDED,
    THROTTLED,
    VERIFIED,
    WAITING,
    Answer,
    Stage,
)
from tests.unit.samples import NAME, NEWER, NOW, RUN

ROWS_OF_AN_EVENT = 3


def test_a_small_blob_is_exactly_one_activity(staged: Staged) -> None:
    """The first run of a new blob costs the task hub one activity, and nothing else."""
    stage = staged(start=VERIFIED).play()
    assert stage.status == "Completed"
    assert stage.steps == ["start"]
    assert stage.output["state"] == "verified"
    assert stage.rows == [8]


def test_the_first_actions_are_one_wait_for_a_cancel_and_one_activity(staged: Staged) -> None:
    """The host is asked for both at once, and the activity is given the whole run."""
    stage = staged(start=VERIFIED).next()
    (first,) = stage.actions
    assert [(child["actionType"], child.get("externalEventName")) for child in first["compoundActions"]] == [
        (6, "cancel"),
        (0, None),
    ]
    assert codec.decode(Run, first["compoundActions"][1]["input"]) == RUN


def test_a_large_blob_is_started_and_polled_on_timers(staged: Staged) -> None:
    """Start, then a pause and a look until the copy is there."""
    stage = staged(start=[WAITING, VERIFIED], check=[WAITING, WAITING, AGAIN]).play()
    assert stage.steps == ["start", "check", "check", "check", "start"]
    assert stage.pauses == [2, 4, 8]
    assert stage.output["state"] == "verified"


def test_a_superseded_version_is_recorded_settled_cleaned_and_names_its_successor(staged: Staged) -> None:
    """The steps of its end, in their order."""
    stage = staged(start=SUPERSEDED, record=SETTLE).play()
    assert stage.steps == ["start", "record", "clean"]
    assert stage.pauses == [90]
    assert stage.output["successor"]["etag"] == NEWER


def test_nothing_half_made_is_not_waited_for(staged: Staged) -> None:
    """Where the record says that there is nothing to clean, there is neither pause nor cleaning."""
    assert staged(start=SUPERSEDED).play().steps == ["start", "record"]


def test_a_permanent_failure_is_recorded_cleaned_and_written(staged: Staged) -> None:
    """The dead letter is written before the orchestration ends."""
    stage = staged(start=FORBIDDEN, record=SETTLE).play()
    assert stage.steps == ["start", "record", "clean", "close"]
    assert (stage.output["state"], stage.output["reason"]) == ("dead_lettered", "target_unwritable")


def test_a_failure_that_proves_complete_ends_verified(staged: Staged) -> None:
    """Cleaning found the version whole: that is the truth, whatever was recorded."""
    stage = staged(start=FORBIDDEN, record=SETTLE, clean=Outcome(Verdict.VERIFIED, size=7)).play()
    assert stage.output["state"] == "verified"


def test_a_retryable_failure_backs_off_and_ends_as_its_own_reason(staged: Staged) -> None:
    """Eight tries on growing timers; then the dead letter says why."""
    stage = staged(start=THROTTLED).play()
    assert stage.steps.count("start") == MAX_COPY_ATTEMPTS
    assert stage.pauses == sorted(stage.pauses)
    assert (stage.output["state"], stage.output["reason"]) == ("dead_lettered", "throttled")


def test_the_deadline_ends_a_copy_that_never_comes(staged: Staged) -> None:
    """Timers that fire a second early do not make it run hot around the deadline."""
    stage = staged(replace(RUN, deadline=timedelta(minutes=10)), early=1.0, start=WAITING, check=WAITING).play()
    assert (stage.output["state"], stage.output["reason"]) == ("dead_lettered", "deadline_exceeded")
    assert stage.now - NOW < timedelta(minutes=11)
    assert len(stage.calls) < 30


def test_a_lost_activity_is_infrastructure_and_is_tried_again(staged: Staged) -> None:
    """A worker that dies makes its activities fail; the transfer goes on."""
    stage = staged(start=[LOST, LOST, VERIFIED]).play()
    assert stage.output["state"] == "verified"
    assert [run.first for _, run in stage.calls] == [True, False, False]


def test_ten_lost_activities_in_a_row_end_it_as_internal(staged: Staged) -> None:
    """Then a person is needed."""
    stage = staged(start=LOST).play()
    assert stage.steps.count("start") == MAX_FAILURES
    assert (stage.output["state"], stage.output["reason"]) == ("dead_lettered", "internal")
    assert "exited with code 137" in stage.output["detail"]


def test_one_answer_between_lost_activities_starts_the_count_again(staged: Staged) -> None:
    """In a row means in a row."""
    stage = staged(start=[*[LOST] * 9, WAITING, *[LOST] * 9, VERIFIED], check=AGAIN).play()
    assert stage.output["state"] == "verified"


@pytest.mark.parametrize("step", ["record", "close"])
def test_the_records_of_an_end_are_never_given_up(staged: Staged, step: str) -> None:
    """Neither exceptions nor failures keep the records of an end from being written: it is tried until it is done."""
    answers: dict[str, Answer | list[Answer]] = {"start": FORBIDDEN, "record": SETTLE}
    answers[step] = [*[LOST] * 15, *[THROTTLED] * 15, SETTLE if step == "record" else Outcome(Verdict.DONE)]
    stage = staged(**answers).play()
    assert stage.steps.count(step) == 31
    assert stage.output["reason"] == "target_unwritable"


@pytest.mark.parametrize("answer", [LOST, THROTTLED])
def test_a_target_that_cannot_be_cleaned_does_not_keep_a_transfer_from_its_end(staged: Staged, answer: Answer) -> None:
    """Eight times, then its letter is written, and says what may be left."""
    stage = staged(start=FORBIDDEN, record=SETTLE, clean=answer).play()
    assert stage.steps == ["start", "record", *["clean"] * MAX_COPY_ATTEMPTS, "close"]
    assert stage.pauses == [90, *(backoff(count, RUN.transfer.id) for count in range(1, MAX_COPY_ATTEMPTS))]
    assert stage.calls[-1][1].note.startswith(UNCLEAN)
    assert (stage.output["state"], stage.output["reason"]) == ("dead_lettered", "target_unwritable")


def test_a_secret_in_an_exception_reaches_neither_status_nor_history(staged: Staged) -> None:
    """Its text is kept without what follows `sig=`."""
    stage = staged(start=RuntimeError("GET https://x/?sv=1&sig=c2VjcmV0&se=2 failed")).play()
    assert "c2VjcmV0" not in json.dumps([stage.output, stage.inputs, stage.shown, stage.actions])


def test_an_outcome_that_nobody_can_read_is_infrastructure_too(staged: Staged) -> None:
    """An activity of another version may answer what this one does not know."""
    stage = staged(start=VERIFIED).next()
    stage.activities = lambda _step, _run: Outcome("perhaps")  # type: ignore[arg-type]
    stage.next()
    assert stage.running
    stage.activities = lambda _step, _run: VERIFIED
    assert stage.play().output["state"] == "verified"


def at_the_last_answer_of_an_execution(staged: Staged) -> Stage:
    """A stage that continues as new with its next answer: nine waits lie behind it once that has come."""
    stage = staged(start=AGAIN)
    while len(stage.steps) < MAX_WAITS - 1 or not stage.open:
        stage.next()
    return stage


class TestCancel:
    """A person's cancel, wherever it comes."""

    def test_before_the_first_activity_has_answered(self, staged: Staged) -> None:
        """The activity's outcome is still waited for: nothing of ours acts after the end."""
        stage = staged(start=THROTTLED, record=SETTLE).next().cancel()
        assert stage.custom["cancelling"] is True
        assert stage.running
        assert stage.play().steps == ["start", "record", "clean", "close"][: len(stage.steps)]
        assert stage.output["state"] == "cancelled"

    def test_in_the_very_first_episode(self, staged: Staged) -> None:
        """It may come before the orchestrator has waited for anything."""
        stage = staged(start=WAITING)
        stage.begin(stage.raised())
        assert stage.custom["cancelling"] is True
        assert stage.play().output["state"] == "cancelled"

    def test_verified_wins_over_a_cancel_that_came_while_it_copied(self, staged: Staged) -> None:
        """What is done is done, and is said."""
        assert staged(start=VERIFIED).next().cancel().play().output["state"] == "verified"

    def test_superseded_wins_as_well(self, staged: Staged) -> None:
        """Its successor is known then, and must not be lost."""
        stage = staged(start=SUPERSEDED).next().cancel().play()
        assert stage.output["state"] == "superseded"

    def test_an_exception_after_a_cancel_is_no_reason_to_go_on(self, staged: Staged) -> None:
        """The cancel is what was asked for."""
        stage = staged(start=LOST, record=SETTLE).next().cancel().play()
        assert stage.steps[:2] == ["start", "record"]
        assert stage.output["state"] == "cancelled"

    def test_at_a_timer_it_cancels_the_timer(self, staged: Staged) -> None:
        """And a new execution ends the transfer: no raised event lengthens its history, no open timer keeps it running."""
        stage = staged(start=WAITING).next().next()
        assert stage.actions[-1]["compoundActions"][-1]["isCanceled"] is False
        stage.cancel()
        assert stage.custom["cancelling"] is True
        assert len(stage.inputs) == 2  # a new execution: the cancelled timer stayed in the old one
        assert stage.play().output["state"] == "cancelled"
        assert stage.steps == ["start", "record"]

    def test_a_cancelled_timer_that_fires_all_the_same_changes_nothing(self, staged: Staged) -> None:
        """Its message was on the way."""
        stage = staged(start=WAITING).next().next().cancel()
        assert stage.play().output["state"] == "cancelled"

    def test_together_with_the_timer_the_one_that_came_first_wins(self, staged: Staged) -> None:
        """Both arrive in one episode."""
        stage = staged(start=WAITING, check=VERIFIED).next().next()
        stage.batch(stage.raised(), stage.answered())
        assert stage.play().output["state"] == "cancelled"

    def test_right_after_the_timer_it_is_seen_at_the_next_activity(self, staged: Staged) -> None:
        """An event that came early is given to the next wait."""
        stage = staged(start=WAITING, check=WAITING).next().next()
        stage.batch(stage.answered(), stage.raised())
        assert stage.custom["cancelling"] is True
        assert stage.play().steps == ["start", "check", "record"]
        assert stage.output["state"] == "cancelled"

    def test_during_a_poll_the_poll_is_the_last(self, staged: Staged) -> None:
        """One more look, then the end."""
        stage = staged(start=WAITING, check=WAITING).next().next().next().cancel().play()
        assert stage.steps == ["start", "check", "record"]
        assert stage.output["state"] == "cancelled"

    def test_lost_where_an_execution_continues_as_new_it_is_raised_again(self, staged: Staged) -> None:
        """The host drops what it had not handed out; the status shows nothing of it, so `cancel` asks again."""
        stage = at_the_last_answer_of_an_execution(staged)
        stage.batch(stage.answered(), stage.raised())
        assert len(stage.inputs) == 2
        assert stage.custom["cancelling"] is False
        assert stage.cancel().custom["cancelling"] is True
        assert stage.play().output["state"] == "cancelled"

    def test_cancelling_survives_continue_as_new(self, staged: Staged) -> None:
        """Seen just before an execution continues as new, it travels in the next one's input."""
        stage = at_the_last_answer_of_an_execution(staged)
        stage.batch(stage.raised(), stage.answered())
        assert len(stage.inputs) == 2
        assert codec.decode(Run, stage.inputs[1]).cancelling is True
        assert stage.custom["cancelling"] is True
        assert stage.play().output["state"] == "cancelled"

    def test_during_the_end_it_is_too_late(self, staged: Staged) -> None:
        """The transfer ends as it was going to."""
        stage = staged(start=FORBIDDEN, record=SETTLE).next().next().cancel()
        assert stage.custom["cancelling"] is False
        stage.next().cancel(3)
        assert stage.play().output["state"] == "dead_lettered"

    def test_after_the_end_nothing_happens(self, staged: Staged) -> None:
        """The host refuses the event."""
        stage = staged(start=VERIFIED).play()
        assert stage.cancel().output["state"] == "verified"

    def test_a_second_and_a_third_one_change_nothing(self, staged: Staged) -> None:
        """It is raised until the status shows it."""
        stage = staged(start=WAITING, record=SETTLE).next().cancel(3).play()
        assert stage.steps == ["start", "record", "clean"]
        assert stage.output["state"] == "cancelled"

    @pytest.mark.parametrize("moment", range(1, 24))
    def test_at_any_moment_it_ends_cancelled_or_as_it_would_have(self, staged: Staged, moment: int) -> None:
        """Wherever the event falls in, timers early or not: no instance is stuck."""
        stage = staged(early=moment % 2, start=[THROTTLED, WAITING], check=[WAITING] * 6 + [FORBIDDEN], record=SETTLE)
        for _ in range(moment):
            if stage.running:
                stage.next()
        stage.cancel(2).play()
        assert stage.output["state"] in {"cancelled", "dead_lettered"}


WALKS: dict[str, dict[str, Answer | list[Answer]]] = {
    "polls for long": {"start": [WAITING, VERIFIED], "check": [*[WAITING] * 30, AGAIN]},
    "tries, then its letter": {"start": THROTTLED, "record": SETTLE},
    "activity_failures, then its letter": {"start": LOST, "record": SETTLE},
    "polls, then superseded": {"start": [WAITING, SUPERSEDED], "check": [WAITING, WAITING, AGAIN], "record": SETTLE},
    "polls, then permanent": {"start": [WAITING, FORBIDDEN], "check": [WAITING, AGAIN], "record": SETTLE},
    "an end that fails": {"start": FORBIDDEN, "record": [*[LOST] * 12, SETTLE], "close": [*[THROTTLED] * 12, DONE]},
    "again and again": {"start": [*[AGAIN] * 20, VERIFIED]},
}


@pytest.mark.parametrize("early", [0.0, 1.0])
@pytest.mark.parametrize("walk", WALKS)
def test_history_stays_short_whatever_a_transfer_takes(staged: Staged, walk: str, early: float) -> None:
    """Rows of an execution, its input, its status, its timers: each within its bound on the longest walks."""
    stage = staged(replace(RUN, deadline=timedelta(days=6)), early=early, **WALKS[walk]).play()
    assert max(stage.rows) + 4 * ROWS_OF_AN_EVENT <= 60
    for given in stage.inputs:
        run = codec.decode(Run, given)
        assert (run.transfer, run.accepted_at) == (RUN.transfer, RUN.accepted_at)
        assert codec.encode(run) == given
        assert len(json.dumps(given)) < 16_000
    for shown in [*stage.shown, stage.output]:
        assert len(json.dumps(shown)) < 4_000
        assert NAME not in json.dumps(shown)
    assert stage.open == []  # a timer that is left open would keep the instance running
    assert min(stage.pauses, default=2) >= 2  # under two seconds a timer fires at once on the real host


@pytest.mark.parametrize("moment", range(1, 21, 3))
def test_history_stays_short_where_a_cancel_is_raised_several_times(staged: Staged, moment: int) -> None:
    """Each raised event costs an episode of its own: three rows."""
    stage = staged(start=WAITING, check=[*[WAITING] * 6, FORBIDDEN], record=SETTLE)
    for _ in range(moment):
        stage.next()
    stage.cancel(4).play()
    assert max(stage.rows) <= 60


def test_the_longest_detail_keeps_the_status_small(staged: Staged) -> None:
    """Whatever the service says, and in whatever script."""
    stage = staged(start=Outcome(Verdict.RETRYABLE, reason=Reason.THROTTLED, detail="\U0001f4a5" * 5_000)).play()
    assert all(len(json.dumps(shown)) < 4_096 for shown in [*stage.shown, stage.output])


def test_a_run_that_only_closes_begins_at_its_step(staged: Staged) -> None:
    """The sweep takes up at `record` or `close`; nothing is copied."""
    ending = Ending(State.DEAD_LETTERED, Reason.INTERNAL)
    stage = staged(replace(RUN, step=Step.CLOSE, ending=ending)).play()
    assert stage.steps == ["close"]
    assert stage.output["state"] == "dead_lettered"


def test_a_replay_resolves_its_letter_at_the_end(staged: Staged) -> None:
    """Only a run that may have an open letter pays for the look."""
    stage = staged(replace(RUN, attempt=1, has_open_dead_letter=True), start=VERIFIED).play()
    assert stage.steps == ["start", "close"]
    assert stage.output["attempt"] == 1


def test_a_run_of_another_version_with_unknown_fields_is_understood(staged: Staged) -> None:
    """A newer app may have written more."""
    stage = staged(start=VERIFIED)
    stage.begin(colour="blue")
    assert stage.play().output["state"] == "verified"
