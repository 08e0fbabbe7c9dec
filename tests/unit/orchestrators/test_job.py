"""The orchestration of a job on the real SDK's replay."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from orchestrators.job import MAX_BATCHES
from rules import codec
from rules.jobs.model import Batch, Job, JobKind, JobState, Phase, Tally
from rules.transfers.policies import MAX_FAILURES, MIN_POLL
from tests.unit.orchestrators.conftest import MakeHarness
from tests.unit.orchestrators.harness import Answer, Harness
from tests.unit.samples import NOW

RECONCILE = Job("reconcile-" + "a" * 24, JobKind.RECONCILE, NOW, route="default", rate=20)
ACTING = replace(RECONCILE, phase=Phase.ACT, pages=9, tally=Tally(found=900))
REPLAY = Job("replay-" + "a" * 24, JobKind.REPLAY, NOW)
LOST = RuntimeError("python exited with code 137")
BUSY = Batch(failure="source.list: 503 ServerBusy")
NO_ROUTE = Batch(failure="no current route has this name", permanent=True)
# The longest marker of a service.
TOKEN = "m" * 2_048
MORE = Batch(Tally(found=500, missing=500), wrote=True, cursor=TOKEN, hint=TOKEN)
END = Batch(Tally(found=500, missing=500), wrote=True)
NOTHING = Batch()
# Of history, for one raised event with its episode.
ROWS_OF_AN_EVENT = 3


def act_batches(pages: int, count: int = 100) -> list[Answer]:
    """`act` batches that handle this many pages, one page each."""
    return [Batch(Tally(started=count), wrote=True, page=page) for page in range(1, pages + 1)]


SCENARIOS: dict[str, tuple[str, dict[str, Answer | list[Answer]]]] = {
    "nothing to do": ("done", {"survey": NOTHING, "extras": NOTHING}),
    "one of each": ("done", {"survey": END, "extras": NOTHING, "act": act_batches(1)}),
    "many pages": ("done", {"survey": [*[MORE] * 12, END], "extras": [*[MORE] * 7, END], "act": act_batches(21)}),
    "storage with outages": (
        "done",
        {
            "survey": [BUSY, LOST, MORE, BUSY, END],
            "extras": [LOST, NOTHING],
            "act": [BUSY, *act_batches(1), LOST, LOST, *act_batches(2)[1:]],
        },
    ),
    "storage that stays unavailable": ("failed", {"survey": [MORE, BUSY]}),
    "workers that die": ("failed", {"survey": LOST}),
    "a removed route": ("failed", {"survey": [MORE, MORE, NO_ROUTE]}),
}


def assert_within_bounds(harness: Harness, raised: int = 0) -> None:
    """Check the sizes of history (with four cancel events), inputs, statuses and timers."""
    assert max(harness.history_rows) + (4 - raised) * ROWS_OF_AN_EVENT <= 60
    for given in harness.inputs:
        assert codec.encode(codec.decode(Job, given)) == given
        assert len(json.dumps(given)) < 16_000
    for status in [*harness.statuses, harness.output]:
        assert len(json.dumps(status)) < 4_000
        assert TOKEN not in json.dumps(status)
    # An open timer would keep the instance running, so one that is no longer awaited is cancelled.
    assert len(harness.open_decisions) == json.dumps(harness.actions).count('"isCanceled": true') <= 1
    assert (
        min(harness.pauses, default=MIN_POLL) >= MIN_POLL
    )  # under two seconds a timer fires immediately on the real host


@pytest.mark.parametrize("early", [0.0, 1.0])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_scenario_reaches_its_end_within_its_bounds(
    make_harness: MakeHarness, scenario: str, early: float
) -> None:
    state, answers = SCENARIOS[scenario]
    harness = make_harness(RECONCILE, early=early, **answers).run()
    assert (harness.output["state"], harness.output["phase"]) == (state, None)
    assert len(harness.inputs) == max(1, -(-len(harness.calls) // MAX_BATCHES))
    assert_within_bounds(harness)


def test_phases_run_in_order_and_each_batch_continues_where_the_last_one_ended(make_harness: MakeHarness) -> None:
    harness = make_harness(RECONCILE, survey=[MORE, END], extras=[MORE, NOTHING], act=act_batches(3)).run()
    assert harness.steps == ["survey", "survey", "extras", "extras", "act", "act", "act"]
    assert [job.cursor for _, job in harness.calls] == [None, TOKEN, None, TOKEN, None, None, None]
    assert [job.page for _, job in harness.calls[4:]] == [0, 1, 2]
    assert [job.batches for _, job in harness.calls[4:]] == [0, 1, 2]
    assert harness.output["counts"]["started"] == 300
    assert (harness.output["pages"], harness.output["batches"]) == (3, 3)


def test_a_replay_has_no_extras(make_harness: MakeHarness) -> None:
    assert make_harness(REPLAY, survey=[MORE, END], act=act_batches(2)).run().steps == [
        "survey",
        "survey",
        "act",
        "act",
    ]


def test_a_dry_run_never_acts(make_harness: MakeHarness) -> None:
    harness = make_harness(replace(RECONCILE, dry_run=True), survey=END, extras=NOTHING).run()
    assert harness.steps == ["survey", "extras"]
    assert (harness.output["state"], harness.output["counts"]["found"]) == ("done", 500)


def test_pauses_between_batches_follow_the_rate_and_none_follows_the_last(make_harness: MakeHarness) -> None:
    """100 lines at 20 per second take 5 seconds; a batch that started nothing has no pause."""
    answers = [
        *act_batches(2),
        Batch(Tally(skipped=100), wrote=True, page=3),
        *act_batches(4, 30)[3:],
        *act_batches(5)[4:],
    ]
    harness = make_harness(RECONCILE, survey=[*[MORE] * 4, END], extras=NOTHING, act=answers).run()
    assert harness.pauses == [5, 5, 2]


def test_the_progress_is_shown_after_every_batch(make_harness: MakeHarness) -> None:
    harness = make_harness(RECONCILE, survey=[MORE, END], extras=NOTHING, act=act_batches(2)).run()
    found = [shown["counts"]["found"] for shown in harness.statuses]
    started = [shown["counts"]["started"] for shown in harness.statuses]
    assert (found, started) == (sorted(found), sorted(started))
    phases = [shown["phase"] for shown in harness.statuses]
    assert list(dict.fromkeys(phases)) == ["survey", "extras", "act", None]


def test_lost_batches_are_repeated_from_the_same_place_after_a_backoff(make_harness: MakeHarness) -> None:
    harness = make_harness(
        RECONCILE, survey=[MORE, LOST, BUSY, LOST, NOTHING], extras=NOTHING, act=act_batches(1)
    ).run()
    assert harness.output["state"] == "done"
    assert {job.cursor for _, job in harness.calls[1:5]} == {TOKEN}
    assert harness.pauses == sorted(harness.pauses)
    assert len(harness.pauses) == 3


def test_ten_lost_batches_in_a_row_end_the_job_as_failed_with_the_cause(make_harness: MakeHarness) -> None:
    harness = make_harness(RECONCILE, survey=[MORE, LOST]).run()
    assert harness.steps.count("survey") == 1 + MAX_FAILURES
    assert (harness.output["state"], harness.output["counts"]["found"]) == ("failed", 500)
    assert "exited with code 137" in harness.output["detail"]


def test_an_unreadable_batch_is_repeated(make_harness: MakeHarness) -> None:
    """An activity of another release may return unknown values."""
    harness = make_harness(RECONCILE, extras=NOTHING).step()
    harness.activities = lambda _phase, _job: Batch(failure=5)  # type: ignore[arg-type]
    harness.step()
    assert harness.running
    assert harness.custom_status["detail"] == "str was expected, not int"
    harness.activities = lambda _phase, _job: NOTHING
    assert harness.run().output["state"] == "done"


def test_a_secret_in_an_exception_reaches_neither_status_nor_history(make_harness: MakeHarness) -> None:
    harness = make_harness(RECONCILE, survey=RuntimeError("GET https://x/?sv=1&sig=c2VjcmV0&se=2 failed")).run()
    assert "c2VjcmV0" not in json.dumps([harness.output, harness.inputs, harness.statuses, harness.actions])


def test_unknown_fields_in_the_input_are_ignored(make_harness: MakeHarness) -> None:
    """A newer release may have written them."""
    harness = make_harness(RECONCILE, survey=NOTHING, extras=NOTHING)
    harness.start(colour="blue")
    assert harness.run().output["state"] == "done"


@pytest.mark.parametrize("phase", [None, *Phase])
def test_a_job_continues_from_the_phase_in_its_input(make_harness: MakeHarness, phase: Phase | None) -> None:
    given = replace(RECONCILE, phase=phase, state=JobState.RUNNING if phase else JobState.DONE, tally=Tally(found=1))
    harness = make_harness(given, survey=NOTHING, extras=NOTHING, act=NOTHING).run()
    assert harness.output["state"] == "done"
    assert harness.steps[:1] == ([phase.value] if phase else [])


class TestCancel:
    def test_in_the_first_episode_it_ends_after_the_first_batch(self, make_harness: MakeHarness) -> None:
        harness = make_harness(RECONCILE, survey=END)
        harness.start(harness.cancel_event())
        assert (harness.running, harness.custom_status["cancelling"]) == (True, True)
        harness.run()
        assert (harness.steps, harness.output["state"]) == (["survey"], "cancelled")

    def test_during_a_batch_it_is_shown_immediately_and_that_batch_is_the_last(self, make_harness: MakeHarness) -> None:
        harness = make_harness(ACTING, act=act_batches(9)).step().step().step().cancel()
        assert (harness.running, harness.custom_status["cancelling"], harness.custom_status["state"]) == (
            True,
            True,
            "running",
        )
        harness.run()
        assert (harness.output["state"], harness.output["counts"]["started"]) == ("cancelled", 200)

    def test_during_a_failing_batch_the_batch_is_not_repeated(self, make_harness: MakeHarness) -> None:
        for answer in (LOST, BUSY, NO_ROUTE):
            harness = make_harness(RECONCILE, survey=[MORE, answer]).step().step().cancel().run()
            assert (harness.steps, harness.output["state"]) == (["survey", "survey"], "cancelled")

    def test_in_a_pause_it_ends_the_job_immediately_and_cancels_the_timer(self, make_harness: MakeHarness) -> None:
        """An open timer would keep the instance running."""
        harness = make_harness(ACTING, act=act_batches(9)).step().step()
        assert json.dumps(harness.actions).count('"isCanceled": true') == 0
        harness.cancel()
        assert (harness.running, harness.output["state"]) == (False, "cancelled")
        assert json.dumps(harness.actions).count('"isCanceled": true') == 1
        assert harness.output["counts"]["started"] == 100

    def test_in_one_episode_with_the_timer_the_first_event_wins(self, make_harness: MakeHarness) -> None:
        """After the timer, the cancel is noticed at the next batch."""
        for order, batches in ((("cancel", "timer"), 1), (("timer", "cancel"), 2)):
            harness = make_harness(ACTING, act=act_batches(9)).step().step()
            make_event: dict[str, Callable[[], Any]] = {"cancel": harness.cancel_event, "timer": harness.next_answer}
            harness.deliver(*[make_event[name]() for name in order]).run()
            assert harness.output["state"] == "cancelled"
            assert harness.steps.count("act") == batches

    def test_an_event_lost_at_continue_as_new_can_be_raised_again(self, make_harness: MakeHarness) -> None:
        """The host drops undelivered events, and the status does not show the cancel, so the operation raises it again."""
        harness = make_harness(RECONCILE, survey=MORE)
        while len(harness.steps) < MAX_BATCHES - 1 or not harness.open_decisions:
            harness.step()
        harness.deliver(harness.next_answer(), harness.cancel_event())
        assert (len(harness.inputs), harness.custom_status["cancelling"]) == (2, False)
        assert harness.cancel().custom_status["cancelling"] is True
        assert harness.run().output["state"] == "cancelled"

    def test_noticed_with_the_last_batch_of_an_execution_it_ends_instead_of_continuing_as_new(
        self, make_harness: MakeHarness
    ) -> None:
        harness = make_harness(RECONCILE, survey=MORE)
        while len(harness.steps) < MAX_BATCHES - 1 or not harness.open_decisions:
            harness.step()
        harness.deliver(harness.cancel_event(), harness.next_answer())
        assert (len(harness.inputs), harness.output["state"]) == (1, "cancelled")

    def test_after_the_end_it_changes_nothing(self, make_harness: MakeHarness) -> None:
        harness = make_harness(RECONCILE, survey=NOTHING, extras=NOTHING).run()
        assert harness.cancel().output["state"] == "done"

    def test_further_cancels_change_nothing(self, make_harness: MakeHarness) -> None:
        harness = make_harness(RECONCILE, survey=MORE).step().cancel(4).run()
        assert (harness.steps, harness.output["state"]) == (["survey"], "cancelled")
        assert_within_bounds(harness, raised=4)

    @pytest.mark.parametrize("scenario", SCENARIOS)
    @pytest.mark.parametrize("moment", range(1, 40, 3))
    def test_at_any_moment_it_ends_cancelled_or_as_without_a_cancel(
        self, make_harness: MakeHarness, scenario: str, moment: int
    ) -> None:
        """The instance is never stuck, and at most one more batch runs."""
        state, answers = SCENARIOS[scenario]
        harness = make_harness(RECONCILE, early=moment % 4 == 1, **answers)
        for _ in range(moment):
            if harness.running:
                harness.step()
        before, ended = len(harness.calls), not harness.running
        harness.cancel(2).run()
        assert harness.output["state"] == (state if ended else "cancelled")
        assert len(harness.calls) <= before + 1
        assert_within_bounds(harness, raised=2)
