"""The orchestration of a job: on the real SDK's replay, under a clock of its own, with a cancel at every moment."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from orchestrators.job import MAX_BATCHES
from rules import codec
from rules.jobs.model import Batch, Job, JobKind, JobState, Phase, Tally
from rules.transfers.policies import MAX_FAILURES, MIN_POLL
from tests.unit.orchestrators.conftest import Staged
from tests.unit.orchestrators.stage import Answer, Stage
from tests.unit.samples import NOW

RECONCILE = Job("reconcile-" + "a" * 24, JobKind.RECONCILE, NOW, route="default", rate=20)
ACTING = replace(RECONCILE, phase=Phase.ACT, pages=9, tally=Tally(found=900))
REPLAY = Job("replay-" + "a" * 24, JobKind.REPLAY, NOW)
LOST = RuntimeError("python exited with code 137")
BUSY = Batch(failure="source.list: 503 ServerBusy")
NO_ROUTE = Batch(failure="no current route has this name", permanent=True)
# What a service's own marker may be at its longest.
TOKEN = "m" * 2_048
MORE = Batch(Tally(found=500, missing=500), wrote=True, cursor=TOKEN, hint=TOKEN)
END = Batch(Tally(found=500, missing=500), wrote=True)
NOTHING = Batch()
# Executions begin 12, 0, 13 after continue_as_new: three rows of a raised event, besides its episode.
ROWS_OF_AN_EVENT = 3


def acts(pages: int, count: int = 100) -> list[Answer]:
    """Batches of acting that go through so many pages, a batch each."""
    return [Batch(Tally(started=count), wrote=True, page=page) for page in range(1, pages + 1)]


WALKS: dict[str, tuple[str, dict[str, Answer | list[Answer]]]] = {
    "nothing to do": ("done", {"survey": NOTHING, "extras": NOTHING}),
    "one of each": ("done", {"survey": END, "extras": NOTHING, "act": acts(1)}),
    "many pages": ("done", {"survey": [*[MORE] * 12, END], "extras": [*[MORE] * 7, END], "act": acts(21)}),
    "storage that comes and goes": (
        "done",
        {
            "survey": [BUSY, LOST, MORE, BUSY, END],
            "extras": [LOST, NOTHING],
            "act": [BUSY, *acts(1), LOST, LOST, *acts(2)[1:]],
        },
    ),
    "storage that stays away": ("failed", {"survey": [MORE, BUSY]}),
    "workers that die": ("failed", {"survey": LOST}),
    "a route that is gone": ("failed", {"survey": [MORE, MORE, NO_ROUTE]}),
}


def within_bounds(stage: Stage, raised: int = 0) -> None:
    """History with four cancels raised, input, status and timers, each within its bound."""
    assert max(stage.rows) + (4 - raised) * ROWS_OF_AN_EVENT <= 60
    for given in stage.inputs:
        assert codec.encode(codec.decode(Job, given)) == given
        assert len(json.dumps(given)) < 16_000
    for shown in [*stage.shown, stage.output]:
        assert len(json.dumps(shown)) < 4_000
        assert TOKEN not in json.dumps(shown)
    # A timer that is left open would keep the instance running: one that nobody waits for any more is cancelled.
    assert len(stage.open) == json.dumps(stage.actions).count('"isCanceled": true') <= 1
    assert min(stage.pauses, default=MIN_POLL) >= MIN_POLL  # under two seconds a timer fires at once on the real host


@pytest.mark.parametrize("early", [0.0, 1.0])
@pytest.mark.parametrize("walk", WALKS)
def test_every_walk_comes_to_its_end_within_its_bounds(staged: Staged, walk: str, early: float) -> None:
    """However long: after five batches an execution continues as new, and the job travels whole."""
    state, answers = WALKS[walk]
    stage = staged(RECONCILE, early=early, **answers).play()
    assert (stage.output["state"], stage.output["phase"]) == (state, None)
    assert len(stage.inputs) == max(1, -(-len(stage.calls) // MAX_BATCHES))
    within_bounds(stage)


def test_survey_then_extras_then_act(staged: Staged) -> None:
    """Each batch is one activity of its phase's name, and goes on where the one before ended."""
    stage = staged(RECONCILE, survey=[MORE, END], extras=[MORE, NOTHING], act=acts(3)).play()
    assert stage.steps == ["survey", "survey", "extras", "extras", "act", "act", "act"]
    assert [job.cursor for _, job in stage.calls] == [None, TOKEN, None, TOKEN, None, None, None]
    assert [job.page for _, job in stage.calls[4:]] == [0, 1, 2]
    assert [job.batches for _, job in stage.calls[4:]] == [0, 1, 2]
    assert stage.output["counts"]["started"] == 300
    assert (stage.output["pages"], stage.output["batches"]) == (3, 3)


def test_a_replay_has_no_extras(staged: Staged) -> None:
    """There is no other side."""
    assert staged(REPLAY, survey=[MORE, END], act=acts(2)).play().steps == ["survey", "survey", "act", "act"]


def test_a_dry_run_never_acts(staged: Staged) -> None:
    """It tells, and ends."""
    stage = staged(replace(RECONCILE, dry_run=True), survey=END, extras=NOTHING).play()
    assert stage.steps == ["survey", "extras"]
    assert (stage.output["state"], stage.output["counts"]["found"]) == ("done", 500)


def test_between_two_batches_it_waits_as_long_as_the_rate_asks_and_not_after_the_last(staged: Staged) -> None:
    """A hundred at twenty a second is five seconds; a batch that started nothing waits for nothing."""
    answers = [*acts(2), Batch(Tally(skipped=100), wrote=True, page=3), *acts(4, 30)[3:], *acts(5)[4:]]
    stage = staged(RECONCILE, survey=[*[MORE] * 4, END], extras=NOTHING, act=answers).play()
    assert stage.pauses == [5, 5, 2]


def test_the_progress_is_shown_after_every_batch(staged: Staged) -> None:
    """Counts only grow, and every phase is seen."""
    stage = staged(RECONCILE, survey=[MORE, END], extras=NOTHING, act=acts(2)).play()
    found = [shown["counts"]["found"] for shown in stage.shown]
    started = [shown["counts"]["started"] for shown in stage.shown]
    assert (found, started) == (sorted(found), sorted(started))
    phases = [shown["phase"] for shown in stage.shown]
    assert list(dict.fromkeys(phases)) == ["survey", "extras", "act", None]


def test_lost_batches_are_done_again_from_the_same_place(staged: Staged) -> None:
    """A worker that dies makes its activities fail: a backoff, and the same request."""
    stage = staged(RECONCILE, survey=[MORE, LOST, BUSY, LOST, NOTHING], extras=NOTHING, act=acts(1)).play()
    assert stage.output["state"] == "done"
    assert {job.cursor for _, job in stage.calls[1:5]} == {TOKEN}
    assert stage.pauses == sorted(stage.pauses)
    assert len(stage.pauses) == 3


def test_ten_lost_batches_in_a_row_end_it_as_failed_and_say_why(staged: Staged) -> None:
    """What it counted stays."""
    stage = staged(RECONCILE, survey=[MORE, LOST]).play()
    assert stage.steps.count("survey") == 1 + MAX_FAILURES
    assert (stage.output["state"], stage.output["counts"]["found"]) == ("failed", 500)
    assert "exited with code 137" in stage.output["detail"]


def test_a_batch_that_nobody_can_read_is_infrastructure_too(staged: Staged) -> None:
    """An activity of another version may answer what this one does not know."""
    stage = staged(RECONCILE, extras=NOTHING).next()
    stage.activities = lambda _phase, _job: Batch(failure=5)  # type: ignore[arg-type]
    stage.next()
    assert stage.running
    assert stage.custom["detail"] == "str was expected, not int"
    stage.activities = lambda _phase, _job: NOTHING
    assert stage.play().output["state"] == "done"


def test_a_secret_in_an_exception_reaches_neither_status_nor_history(staged: Staged) -> None:
    """Its text is kept without what follows `sig=`."""
    stage = staged(RECONCILE, survey=RuntimeError("GET https://x/?sv=1&sig=c2VjcmV0&se=2 failed")).play()
    assert "c2VjcmV0" not in json.dumps([stage.output, stage.inputs, stage.shown, stage.actions])


def test_a_job_of_another_version_with_unknown_fields_is_understood(staged: Staged) -> None:
    """A newer app may have written more."""
    stage = staged(RECONCILE, survey=NOTHING, extras=NOTHING)
    stage.begin(colour="blue")
    assert stage.play().output["state"] == "done"


@pytest.mark.parametrize("phase", [None, *Phase])
def test_one_that_is_started_in_any_phase_goes_on_from_there(staged: Staged, phase: Phase | None) -> None:
    """Also one that has none left: it says how it ended."""
    given = replace(RECONCILE, phase=phase, state=JobState.RUNNING if phase else JobState.DONE, tally=Tally(found=1))
    stage = staged(given, survey=NOTHING, extras=NOTHING, act=NOTHING).play()
    assert stage.output["state"] == "done"
    assert stage.steps[:1] == ([phase.value] if phase else [])


class TestCancel:
    """A person's cancel, wherever it comes."""

    def test_in_the_very_first_episode(self, staged: Staged) -> None:
        """Before the first batch: that batch ends, and nothing of it is acted on."""
        stage = staged(RECONCILE, survey=END)
        stage.begin(stage.raised())
        assert (stage.running, stage.custom["cancelling"]) == (True, True)
        stage.play()
        assert (stage.steps, stage.output["state"]) == (["survey"], "cancelled")

    def test_during_a_batch_it_is_shown_at_once_and_the_batch_is_the_last(self, staged: Staged) -> None:
        """What the batch did is counted."""
        stage = staged(ACTING, act=acts(9)).next().next().next().cancel()
        assert (stage.running, stage.custom["cancelling"], stage.custom["state"]) == (True, True, "running")
        stage.play()
        assert (stage.output["state"], stage.output["counts"]["started"]) == ("cancelled", 200)

    def test_during_a_batch_that_is_lost_it_is_the_end_as_well(self, staged: Staged) -> None:
        """It is not done again."""
        for answer in (LOST, BUSY, NO_ROUTE):
            stage = staged(RECONCILE, survey=[MORE, answer]).next().next().cancel().play()
            assert (stage.steps, stage.output["state"]) == (["survey", "survey"], "cancelled")

    def test_in_a_pause_it_ends_at_once_and_cancels_the_timer(self, staged: Staged) -> None:
        """No open timer keeps the instance running."""
        stage = staged(ACTING, act=acts(9)).next().next()
        assert json.dumps(stage.actions).count('"isCanceled": true') == 0
        stage.cancel()
        assert (stage.running, stage.output["state"]) == (False, "cancelled")
        assert json.dumps(stage.actions).count('"isCanceled": true') == 1
        assert stage.output["counts"]["started"] == 100

    def test_together_with_the_timer_the_one_that_came_first_wins(self, staged: Staged) -> None:
        """Both arrive in one episode; right after the timer it is seen at the next batch."""
        for order, acted in ((("raised", "answered"), 1), (("answered", "raised"), 2)):
            stage = staged(ACTING, act=acts(9)).next().next()
            moves: dict[str, Callable[[], Any]] = {"raised": stage.raised, "answered": stage.answered}
            stage.batch(*[moves[name]() for name in order]).play()
            assert stage.output["state"] == "cancelled"
            assert stage.steps.count("act") == acted

    def test_lost_where_it_continues_as_new_it_is_raised_again(self, staged: Staged) -> None:
        """The host drops what it had not handed out; the status shows nothing of it, so `cancel` asks again."""
        stage = staged(RECONCILE, survey=MORE)
        while len(stage.steps) < MAX_BATCHES - 1 or not stage.open:
            stage.next()
        stage.batch(stage.answered(), stage.raised())
        assert (len(stage.inputs), stage.custom["cancelling"]) == (2, False)
        assert stage.cancel().custom["cancelling"] is True
        assert stage.play().output["state"] == "cancelled"

    def test_just_before_it_continues_as_new_it_ends_instead(self, staged: Staged) -> None:
        """The last batch of an execution was the last one of the job."""
        stage = staged(RECONCILE, survey=MORE)
        while len(stage.steps) < MAX_BATCHES - 1 or not stage.open:
            stage.next()
        stage.batch(stage.raised(), stage.answered())
        assert (len(stage.inputs), stage.output["state"]) == (1, "cancelled")

    def test_after_the_end_nothing_happens(self, staged: Staged) -> None:
        """The host refuses the event."""
        stage = staged(RECONCILE, survey=NOTHING, extras=NOTHING).play()
        assert stage.cancel().output["state"] == "done"

    def test_several_change_nothing(self, staged: Staged) -> None:
        """It is raised until the status shows it."""
        stage = staged(RECONCILE, survey=MORE).next().cancel(4).play()
        assert (stage.steps, stage.output["state"]) == (["survey"], "cancelled")
        within_bounds(stage, raised=4)

    @pytest.mark.parametrize("walk", WALKS)
    @pytest.mark.parametrize("moment", range(1, 40, 3))
    def test_at_any_moment_it_ends_cancelled_or_as_it_would_have(self, staged: Staged, walk: str, moment: int) -> None:
        """Wherever the event falls in, timers early or not: no instance is stuck, and no batch follows the next one."""
        state, answers = WALKS[walk]
        stage = staged(RECONCILE, early=moment % 4 == 1, **answers)
        for _ in range(moment):
            if stage.running:
                stage.next()
        before, ended = len(stage.calls), not stage.running
        stage.cancel(2).play()
        assert stage.output["state"] == (state if ended else "cancelled")
        assert len(stage.calls) <= before + 1
        within_bounds(stage, raised=2)
