"""The orchestration of a transfer on the real SDK's replay."""

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
from tests.unit.orchestrators.conftest import MakeHarness
from tests.unit.orchestrators.harness import (
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
    Harness,
)
from tests.unit.samples import NAME, NEWER, NOW, RUN

ROWS_OF_AN_EVENT = 3


def test_a_small_blob_costs_one_activity_and_eight_rows(make_harness: MakeHarness) -> None:
    harness = make_harness(start=VERIFIED).run()
    assert harness.status == "Completed"
    assert harness.steps == ["start"]
    assert harness.output["state"] == "verified"
    assert harness.history_rows == [8]


def test_the_first_actions_are_one_wait_for_a_cancel_and_one_activity(make_harness: MakeHarness) -> None:
    harness = make_harness(start=VERIFIED).step()
    (first,) = harness.actions
    assert [(child["actionType"], child.get("externalEventName")) for child in first["compoundActions"]] == [
        (6, "cancel"),
        (0, None),
    ]
    assert codec.decode(Run, first["compoundActions"][1]["input"]) == RUN


def test_a_large_blob_is_started_and_polled_on_timers(make_harness: MakeHarness) -> None:
    harness = make_harness(start=[WAITING, VERIFIED], check=[WAITING, WAITING, AGAIN]).run()
    assert harness.steps == ["start", "check", "check", "check", "start"]
    assert harness.pauses == [2, 4, 8]
    assert harness.output["state"] == "verified"


def test_a_superseded_version_is_recorded_settled_cleaned_and_names_its_successor(make_harness: MakeHarness) -> None:
    harness = make_harness(start=SUPERSEDED, record=SETTLE).run()
    assert harness.steps == ["start", "record", "clean"]
    assert harness.pauses == [90]
    assert harness.output["successor"]["etag"] == NEWER


def test_a_record_step_without_a_pause_skips_the_cleaning(make_harness: MakeHarness) -> None:
    assert make_harness(start=SUPERSEDED).run().steps == ["start", "record"]


def test_a_permanent_failure_is_recorded_cleaned_and_dead_lettered(make_harness: MakeHarness) -> None:
    harness = make_harness(start=FORBIDDEN, record=SETTLE).run()
    assert harness.steps == ["start", "record", "clean", "close"]
    assert (harness.output["state"], harness.output["reason"]) == ("dead_lettered", "target_unwritable")


def test_a_failed_transfer_whose_target_is_complete_ends_verified(make_harness: MakeHarness) -> None:
    harness = make_harness(start=FORBIDDEN, record=SETTLE, clean=Outcome(Verdict.VERIFIED, size=7)).run()
    assert harness.output["state"] == "verified"


def test_a_retryable_failure_backs_off_and_is_dead_lettered_with_its_reason_after_eight_tries(
    make_harness: MakeHarness,
) -> None:
    harness = make_harness(start=THROTTLED).run()
    assert harness.steps.count("start") == MAX_COPY_ATTEMPTS
    assert harness.pauses == sorted(harness.pauses)
    assert (harness.output["state"], harness.output["reason"]) == ("dead_lettered", "throttled")


def test_a_copy_that_never_ends_is_dead_lettered_at_the_deadline(make_harness: MakeHarness) -> None:
    """Timers that fire a second early do not cause a busy loop near the deadline."""
    harness = make_harness(replace(RUN, deadline=timedelta(minutes=10)), early=1.0, start=WAITING, check=WAITING).run()
    assert (harness.output["state"], harness.output["reason"]) == ("dead_lettered", "deadline_exceeded")
    assert harness.now - NOW < timedelta(minutes=11)
    assert len(harness.calls) < 30


def test_a_lost_activity_is_repeated(make_harness: MakeHarness) -> None:
    """The activity of a worker that died fails."""
    harness = make_harness(start=[LOST, LOST, VERIFIED]).run()
    assert harness.output["state"] == "verified"
    assert [run.first for _, run in harness.calls] == [True, False, False]


def test_ten_lost_activities_in_a_row_are_dead_lettered_as_internal(make_harness: MakeHarness) -> None:
    harness = make_harness(start=LOST).run()
    assert harness.steps.count("start") == MAX_FAILURES
    assert (harness.output["state"], harness.output["reason"]) == ("dead_lettered", "internal")
    assert "exited with code 137" in harness.output["detail"]


def test_an_answered_activity_resets_the_count_of_lost_ones(make_harness: MakeHarness) -> None:
    harness = make_harness(start=[*[LOST] * 9, WAITING, *[LOST] * 9, VERIFIED], check=AGAIN).run()
    assert harness.output["state"] == "verified"


@pytest.mark.parametrize("step", ["record", "close"])
def test_the_steps_that_record_an_end_are_retried_without_limit(make_harness: MakeHarness, step: str) -> None:
    answers: dict[str, Answer | list[Answer]] = {"start": FORBIDDEN, "record": SETTLE}
    answers[step] = [*[LOST] * 15, *[THROTTLED] * 15, SETTLE if step == "record" else Outcome(Verdict.DONE)]
    harness = make_harness(**answers).run()
    assert harness.steps.count(step) == 31
    assert harness.output["reason"] == "target_unwritable"


@pytest.mark.parametrize("answer", [LOST, THROTTLED])
def test_cleaning_is_given_up_after_eight_tries_and_the_note_says_so(make_harness: MakeHarness, answer: Answer) -> None:
    harness = make_harness(start=FORBIDDEN, record=SETTLE, clean=answer).run()
    assert harness.steps == ["start", "record", *["clean"] * MAX_COPY_ATTEMPTS, "close"]
    assert harness.pauses == [90, *(backoff(count, RUN.transfer.id) for count in range(1, MAX_COPY_ATTEMPTS))]
    assert harness.calls[-1][1].note.startswith(UNCLEAN)
    assert (harness.output["state"], harness.output["reason"]) == ("dead_lettered", "target_unwritable")


def test_a_secret_in_an_exception_reaches_neither_status_nor_history(make_harness: MakeHarness) -> None:
    harness = make_harness(start=RuntimeError("GET https://x/?sv=1&sig=c2VjcmV0&se=2 failed")).run()
    assert "c2VjcmV0" not in json.dumps([harness.output, harness.inputs, harness.statuses, harness.actions])


def test_an_unreadable_outcome_is_repeated(make_harness: MakeHarness) -> None:
    """An activity of another release may return unknown values."""
    harness = make_harness(start=VERIFIED).step()
    harness.activities = lambda _step, _run: Outcome("perhaps")  # type: ignore[arg-type]
    harness.step()
    assert harness.running
    harness.activities = lambda _step, _run: VERIFIED
    assert harness.run().output["state"] == "verified"


def at_last_answer_of_execution(make_harness: MakeHarness) -> Harness:
    """A harness that continues as new with its next answer, the ninth wait."""
    harness = make_harness(start=AGAIN)
    while len(harness.steps) < MAX_WAITS - 1 or not harness.open_decisions:
        harness.step()
    return harness


class TestCancel:
    def test_during_the_first_activity_its_outcome_is_awaited(self, make_harness: MakeHarness) -> None:
        """No activity of the transfer may act after the end."""
        harness = make_harness(start=THROTTLED, record=SETTLE).step().cancel()
        assert harness.custom_status["cancelling"] is True
        assert harness.running
        assert harness.run().steps == ["start", "record", "clean", "close"][: len(harness.steps)]
        assert harness.output["state"] == "cancelled"

    def test_in_the_first_episode_it_is_noticed(self, make_harness: MakeHarness) -> None:
        """The event may arrive before the orchestrator waits for it."""
        harness = make_harness(start=WAITING)
        harness.start(harness.cancel_event())
        assert harness.custom_status["cancelling"] is True
        assert harness.run().output["state"] == "cancelled"

    def test_verified_wins_over_a_cancel_during_the_copy(self, make_harness: MakeHarness) -> None:
        assert make_harness(start=VERIFIED).step().cancel().run().output["state"] == "verified"

    def test_superseded_wins_over_a_cancel(self, make_harness: MakeHarness) -> None:
        """Otherwise its successor would be lost."""
        harness = make_harness(start=SUPERSEDED).step().cancel().run()
        assert harness.output["state"] == "superseded"

    def test_a_lost_activity_is_not_repeated_after_a_cancel(self, make_harness: MakeHarness) -> None:
        harness = make_harness(start=LOST, record=SETTLE).step().cancel().run()
        assert harness.steps[:2] == ["start", "record"]
        assert harness.output["state"] == "cancelled"

    def test_in_a_pause_it_cancels_the_timer_and_continues_as_new(self, make_harness: MakeHarness) -> None:
        """Otherwise more events would lengthen the history, or the open timer would keep the instance running."""
        harness = make_harness(start=WAITING).step().step()
        assert harness.actions[-1]["compoundActions"][-1]["isCanceled"] is False
        harness.cancel()
        assert harness.custom_status["cancelling"] is True
        assert len(harness.inputs) == 2  # a new execution: the cancelled timer stayed in the old one
        assert harness.run().output["state"] == "cancelled"
        assert harness.steps == ["start", "record"]

    def test_a_cancelled_timer_that_still_fires_changes_nothing(self, make_harness: MakeHarness) -> None:
        harness = make_harness(start=WAITING).step().step().cancel()
        assert harness.run().output["state"] == "cancelled"

    def test_before_the_timer_in_one_episode_it_wins(self, make_harness: MakeHarness) -> None:
        harness = make_harness(start=WAITING, check=VERIFIED).step().step()
        harness.deliver(harness.cancel_event(), harness.next_answer())
        assert harness.run().output["state"] == "cancelled"

    def test_after_the_timer_in_one_episode_it_is_noticed_at_the_next_activity(self, make_harness: MakeHarness) -> None:
        harness = make_harness(start=WAITING, check=WAITING).step().step()
        harness.deliver(harness.next_answer(), harness.cancel_event())
        assert harness.custom_status["cancelling"] is True
        assert harness.run().steps == ["start", "check", "record"]
        assert harness.output["state"] == "cancelled"

    def test_during_a_poll_that_poll_is_the_last(self, make_harness: MakeHarness) -> None:
        harness = make_harness(start=WAITING, check=WAITING).step().step().step().cancel().run()
        assert harness.steps == ["start", "check", "record"]
        assert harness.output["state"] == "cancelled"

    def test_an_event_lost_at_continue_as_new_can_be_raised_again(self, make_harness: MakeHarness) -> None:
        """The host drops undelivered events, and the status does not show the cancel, so the operation raises it again."""
        harness = at_last_answer_of_execution(make_harness)
        harness.deliver(harness.next_answer(), harness.cancel_event())
        assert len(harness.inputs) == 2
        assert harness.custom_status["cancelling"] is False
        assert harness.cancel().custom_status["cancelling"] is True
        assert harness.run().output["state"] == "cancelled"

    def test_cancelling_survives_continue_as_new(self, make_harness: MakeHarness) -> None:
        harness = at_last_answer_of_execution(make_harness)
        harness.deliver(harness.cancel_event(), harness.next_answer())
        assert len(harness.inputs) == 2
        assert codec.decode(Run, harness.inputs[1]).cancelling is True
        assert harness.custom_status["cancelling"] is True
        assert harness.run().output["state"] == "cancelled"

    def test_while_the_transfer_ends_it_is_too_late(self, make_harness: MakeHarness) -> None:
        harness = make_harness(start=FORBIDDEN, record=SETTLE).step().step().cancel()
        assert harness.custom_status["cancelling"] is False
        harness.step().cancel(3)
        assert harness.run().output["state"] == "dead_lettered"

    def test_after_the_end_it_changes_nothing(self, make_harness: MakeHarness) -> None:
        harness = make_harness(start=VERIFIED).run()
        assert harness.cancel().output["state"] == "verified"

    def test_further_cancels_change_nothing(self, make_harness: MakeHarness) -> None:
        harness = make_harness(start=WAITING, record=SETTLE).step().cancel(3).run()
        assert harness.steps == ["start", "record", "clean"]
        assert harness.output["state"] == "cancelled"

    @pytest.mark.parametrize("moment", range(1, 24))
    def test_at_any_moment_it_ends_cancelled_or_as_without_a_cancel(
        self, make_harness: MakeHarness, moment: int
    ) -> None:
        """The instance is never stuck."""
        harness = make_harness(
            early=moment % 2, start=[THROTTLED, WAITING], check=[WAITING] * 6 + [FORBIDDEN], record=SETTLE
        )
        for _ in range(moment):
            if harness.running:
                harness.step()
        harness.cancel(2).run()
        assert harness.output["state"] in {"cancelled", "dead_lettered"}


SCENARIOS: dict[str, dict[str, Answer | list[Answer]]] = {
    "many polls": {"start": [WAITING, VERIFIED], "check": [*[WAITING] * 30, AGAIN]},
    "tries, then dead letter": {"start": THROTTLED, "record": SETTLE},
    "lost activities, then dead letter": {"start": LOST, "record": SETTLE},
    "polls, then superseded": {"start": [WAITING, SUPERSEDED], "check": [WAITING, WAITING, AGAIN], "record": SETTLE},
    "polls, then permanent": {"start": [WAITING, FORBIDDEN], "check": [WAITING, AGAIN], "record": SETTLE},
    "failures while it ends": {
        "start": FORBIDDEN,
        "record": [*[LOST] * 12, SETTLE],
        "close": [*[THROTTLED] * 12, DONE],
    },
    "many looks": {"start": [*[AGAIN] * 20, VERIFIED]},
}


@pytest.mark.parametrize("early", [0.0, 1.0])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_history_inputs_and_statuses_stay_small_in_every_scenario(
    make_harness: MakeHarness, scenario: str, early: float
) -> None:
    harness = make_harness(replace(RUN, deadline=timedelta(days=6)), early=early, **SCENARIOS[scenario]).run()
    assert max(harness.history_rows) + 4 * ROWS_OF_AN_EVENT <= 60
    for given in harness.inputs:
        run = codec.decode(Run, given)
        assert (run.transfer, run.accepted_at) == (RUN.transfer, RUN.accepted_at)
        assert codec.encode(run) == given
        assert len(json.dumps(given)) < 16_000
    for status in [*harness.statuses, harness.output]:
        assert len(json.dumps(status)) < 4_000
        assert NAME not in json.dumps(status)
    assert harness.open_decisions == []  # an open timer would keep the instance running
    assert min(harness.pauses, default=2) >= 2  # under two seconds a timer fires immediately on the real host


@pytest.mark.parametrize("moment", range(1, 21, 3))
def test_history_stays_short_with_several_cancels(make_harness: MakeHarness, moment: int) -> None:
    """Each raised event costs an episode of three rows."""
    harness = make_harness(start=WAITING, check=[*[WAITING] * 6, FORBIDDEN], record=SETTLE)
    for _ in range(moment):
        harness.step()
    harness.cancel(4).run()
    assert max(harness.history_rows) <= 60


def test_a_long_detail_does_not_exceed_the_status_limit(make_harness: MakeHarness) -> None:
    harness = make_harness(start=Outcome(Verdict.RETRYABLE, reason=Reason.THROTTLED, detail="\U0001f4a5" * 5_000)).run()
    assert all(len(json.dumps(status)) < 4_096 for status in [*harness.statuses, harness.output])


def test_a_run_starts_at_the_step_in_its_input(make_harness: MakeHarness) -> None:
    """The sweep starts runs at `record` or `close`."""
    ending = Ending(State.DEAD_LETTERED, Reason.INTERNAL)
    harness = make_harness(replace(RUN, step=Step.CLOSE, ending=ending)).run()
    assert harness.steps == ["close"]
    assert harness.output["state"] == "dead_lettered"


def test_a_replay_ends_with_close_to_resolve_its_dead_letter(make_harness: MakeHarness) -> None:
    harness = make_harness(replace(RUN, attempt=1, has_open_dead_letter=True), start=VERIFIED).run()
    assert harness.steps == ["start", "close"]
    assert harness.output["attempt"] == 1


def test_unknown_fields_in_the_input_are_ignored(make_harness: MakeHarness) -> None:
    """A newer release may have written them."""
    harness = make_harness(start=VERIFIED)
    harness.start(colour="blue")
    assert harness.run().output["state"] == "verified"
