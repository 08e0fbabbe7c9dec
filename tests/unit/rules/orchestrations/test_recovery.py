"""Recovery of broken orchestrations: the table of `recovery.plan`, and cancels."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rules.codec import stamp
from rules.errors import Reason
from rules.jobs import status
from rules.jobs.model import Job, JobKind, JobState, Phase, Tally
from rules.orchestrations import recovery
from rules.orchestrations.instance import Instance
from rules.orchestrations.recovery import LOST_ACTIVITY, MAX_FAILURE_TEXT
from rules.routes.model import Engine
from rules.transfers import lifecycle, policies
from rules.transfers.model import Ended, Ending, Run, Step
from rules.transfers.policies import MAX_RESUMES
from rules.transfers.states import State
from rules.transfers.status import progress
from tests.unit.samples import NOW, RUN, TRANSFER, after, quick, runs

HOST = "Orchestrator function 'transfer' failed: the language worker exited"
FAILURE_TEXT = f"the orchestration was Failed: {HOST}"
COPYING = replace(RUN, step=Step.CHECK, state=State.COPYING, engine=Engine.ASYNC, activity_failures=3, pause=9)
BUSY = Ending(State.DEAD_LETTERED, reason=Reason.THROTTLED, detail="busy")
CLEANING = replace(COPYING, step=Step.CLEAN, ending=BUSY)
JOB = Job("reconcile-" + "a" * 24, JobKind.RECONCILE, NOW, route="default", phase=Phase.ACT, failures=3, pause=9)
IMMEDIATELY = 0


def transfer(run: Run | None, status: str = "Failed", output: Any = HOST, **custom: Any) -> Instance:
    """A transfer that broke now."""
    return Instance(TRANSFER.id, status, run, custom, output, NOW)


def job(found: Job, status: str = "Failed", output: Any = HOST, **custom: Any) -> Instance:
    """A job that broke now."""
    return Instance(found.id, status, None, custom, output, NOW, found)


def pause(resumes: int, identity: str = TRANSFER.id) -> int:
    return policies.resume_pause(resumes, identity)


def due_before(seconds: float, run: Run = COPYING) -> Run:
    """The run with its deadline this many seconds after its resume would be due."""
    return replace(run, first_look_at=NOW, deadline=timedelta(seconds=pause(run.resumes) + seconds))


SPENT = replace(COPYING, resumes=MAX_RESUMES)
LAST = replace(COPYING, resumes=MAX_RESUMES - 1)
OLD = replace(COPYING, first_look_at=NOW - timedelta(days=9))
# Broken orchestration, then the next step, the decided end, the pause, whether it is resumed.
Row = tuple[Instance, Step, State | None, int, bool]
TRANSFERS: dict[str, Row] = {
    "failed, copying": (transfer(COPYING), Step.CHECK, None, pause(0), True),
    "failed, before its first step": (transfer(RUN), Step.START, None, pause(0), True),
    "failed, resumed 4 times": (transfer(LAST), Step.CHECK, None, pause(4), True),
    "failed, resumed 5 times": (transfer(SPENT), Step.RECORD, State.DEAD_LETTERED, IMMEDIATELY, False),
    "failed, past its deadline": (transfer(OLD), Step.RECORD, State.DEAD_LETTERED, IMMEDIATELY, False),
    "failed, its deadline is earlier": (transfer(due_before(0)), Step.RECORD, State.DEAD_LETTERED, IMMEDIATELY, False),
    "failed, its deadline is later": (transfer(due_before(3)), Step.CHECK, None, pause(0), True),
    "failed in its first execution, after the hour of a small blob": (
        transfer(RUN, engine="async", first_look_at=stamp(NOW - timedelta(hours=2))),
        Step.START,
        None,
        pause(0),
        True,
    ),
    "failed in its first execution, past the hour of a small blob": (
        transfer(RUN, engine="newer", first_look_at=stamp(NOW - timedelta(hours=2))),
        Step.RECORD,
        State.DEAD_LETTERED,
        IMMEDIATELY,
        False,
    ),
    "failed, two hours old and without a first look": (
        transfer(replace(RUN, accepted_at=NOW - timedelta(hours=2)), first_look_at=None),
        Step.START,
        None,
        pause(0),
        True,
    ),
    "failed, ending": (transfer(CLEANING), Step.CLEAN, State.DEAD_LETTERED, pause(0), True),
    "failed, ending, spent": (
        transfer(replace(CLEANING, resumes=99, first_look_at=OLD.first_look_at)),
        Step.CLEAN,
        State.DEAD_LETTERED,
        pause(99),
        True,
    ),
    "failed, cancelled in its input": (
        transfer(replace(COPYING, cancelling=True)),
        Step.RECORD,
        State.CANCELLED,
        pause(0),
        True,
    ),
    "failed, cancelled in its status": (
        transfer(COPYING, cancelling=True),
        Step.RECORD,
        State.CANCELLED,
        pause(0),
        True,
    ),
    "failed, cancelled, spent": (
        transfer(SPENT, cancelling=True),
        Step.RECORD,
        State.CANCELLED,
        IMMEDIATELY,
        False,
    ),
    "lost": (transfer(COPYING, "Terminated", LOST_ACTIVITY), Step.CHECK, None, IMMEDIATELY, True),
    "lost, spent": (transfer(SPENT, "Terminated", f"Reason: {LOST_ACTIVITY}"), Step.CHECK, None, IMMEDIATELY, True),
    "lost, ending": (
        transfer(CLEANING, "Terminated", LOST_ACTIVITY),
        Step.CLEAN,
        State.DEAD_LETTERED,
        IMMEDIATELY,
        True,
    ),
    "lost, cancelled": (
        transfer(COPYING, "Terminated", LOST_ACTIVITY, cancelling=True),
        Step.RECORD,
        State.CANCELLED,
        IMMEDIATELY,
        True,
    ),
    "terminated": (transfer(COPYING, "Terminated", "by hand"), Step.RECORD, State.DEAD_LETTERED, IMMEDIATELY, False),
    "terminated, no reason": (
        transfer(COPYING, "Terminated", None),
        Step.RECORD,
        State.DEAD_LETTERED,
        IMMEDIATELY,
        False,
    ),
    "terminated, ending": (
        transfer(CLEANING, "Terminated", "by hand"),
        Step.RECORD,
        State.DEAD_LETTERED,
        IMMEDIATELY,
        False,
    ),
    "terminated, cancelled": (
        transfer(COPYING, "Terminated", "by hand", cancelling=True),
        Step.RECORD,
        State.CANCELLED,
        IMMEDIATELY,
        False,
    ),
}
JOB_PAUSE = pause(0, JOB.id)
STOPPED = replace(JOB, cancelling=True)
SPENT_JOB = replace(JOB, resumes=MAX_RESUMES)
# Broken orchestration, then the next phase, its state, the pause, whether it is resumed.
JobRow = tuple[Instance, Phase | None, JobState, int, bool]
JOBS: dict[str, JobRow] = {
    "failed": (job(JOB), Phase.ACT, JobState.RUNNING, JOB_PAUSE, True),
    "failed, old": (job(replace(JOB, created_at=OLD.accepted_at)), Phase.ACT, JobState.RUNNING, JOB_PAUSE, True),
    "failed, resumed 4 times": (
        job(replace(JOB, resumes=4)),
        Phase.ACT,
        JobState.RUNNING,
        pause(4, JOB.id),
        True,
    ),
    "failed, resumed 5 times": (job(SPENT_JOB), None, JobState.FAILED, IMMEDIATELY, False),
    "failed, cancelled": (job(STOPPED), None, JobState.CANCELLED, JOB_PAUSE, True),
    "failed, cancelled in its status": (job(JOB, cancelling=True), None, JobState.CANCELLED, JOB_PAUSE, True),
    "failed, cancelled, spent": (job(SPENT_JOB, cancelling=True), None, JobState.CANCELLED, IMMEDIATELY, False),
    "lost": (job(JOB, "Terminated", LOST_ACTIVITY), Phase.ACT, JobState.RUNNING, IMMEDIATELY, True),
    "lost, spent": (job(SPENT_JOB, "Terminated", LOST_ACTIVITY), Phase.ACT, JobState.RUNNING, IMMEDIATELY, True),
    "lost, cancelled": (job(STOPPED, "Terminated", LOST_ACTIVITY), None, JobState.CANCELLED, IMMEDIATELY, True),
    "terminated": (job(JOB, "Terminated", "by hand"), None, JobState.FAILED, IMMEDIATELY, False),
    "terminated, cancelled": (job(STOPPED, "Terminated", "by hand"), None, JobState.CANCELLED, IMMEDIATELY, False),
}


@pytest.mark.parametrize("row", TRANSFERS.values(), ids=TRANSFERS)
def test_how_a_broken_transfer_continues(row: Row) -> None:
    instance, step, end, seconds, resumed = row
    found, before = recovery.plan(instance), instance.run
    assert found is not None
    assert before is not None
    assert isinstance(found.input, Run)
    assert (found.due, found.resumed) == (after(seconds=seconds), resumed)
    assert (found.input.step, found.input.ending and found.input.ending.state) == (step, end)
    assert (found.input.attempt, found.input.resumes) == (before.attempt, before.resumes + 1)
    assert (found.input.first, found.input.activity_failures, found.input.pause) == (False, 0, 0)


@pytest.mark.parametrize("row", JOBS.values(), ids=JOBS)
def test_how_a_broken_job_continues(row: JobRow) -> None:
    instance, phase, state, seconds, resumed = row
    found, before = recovery.plan(instance), instance.job
    assert found is not None
    assert before is not None
    assert isinstance(found.input, Job)
    assert (found.due, found.resumed) == (after(seconds=seconds), resumed)
    assert (found.input.phase, found.input.state) == (phase, state)
    assert found.input.resumes == before.resumes + (phase is not None)
    assert found.input.pause == 0


@pytest.mark.parametrize("status", ["Failed", "Terminated"])
@pytest.mark.parametrize("output", [HOST, LOST_ACTIVITY])
def test_an_unreadable_input_has_no_plan(status: str, output: str) -> None:
    assert recovery.plan(transfer(None, status, output)) is None
    assert recovery.input_after_cancel(transfer(None, status, output)) is None


def test_an_abandoned_transfer_ends_with_the_failure_text_unless_its_end_was_decided() -> None:
    for instance, reason, detail in (
        (transfer(SPENT), Reason.INTERNAL, FAILURE_TEXT),
        (transfer(COPYING, "Terminated", "by hand"), Reason.INTERNAL, "the orchestration was Terminated: by hand"),
        (transfer(CLEANING, "Terminated", "by hand"), Reason.THROTTLED, "busy"),
    ):
        found = recovery.plan(instance)
        assert found is not None
        assert isinstance(found.input, Run)
        assert found.input.ending is not None
        assert (found.input.ending.reason, found.input.ending.detail) == (reason, detail)


def test_a_resumed_run_shows_the_failure_text() -> None:
    for instance in (transfer(COPYING), job(JOB), job(SPENT_JOB)):
        found = recovery.plan(instance)
        assert found is not None
        assert found.input.detail == FAILURE_TEXT


def test_an_abandoned_job_keeps_the_counts_of_its_status() -> None:
    """A resumed job repeats its batch, so it keeps the counts of its input."""
    live = status.progress(replace(JOB, tally=Tally(started=90), pages=4, batches=7))
    for instance, started in ((job(SPENT_JOB, **live), 90), (job(STOPPED, **live), 90), (job(JOB, **live), 0)):
        found = recovery.plan(instance)
        assert found is not None
        assert isinstance(found.input, Job)
        assert found.input.tally.started == started


@pytest.mark.parametrize("status", ["Failed", "Terminated"])
def test_the_failure_text_is_short_and_without_secrets(status: str) -> None:
    """It is redacted before it is cut, so that no part of a secret remains."""
    url = "https://a.blob.core.windows.net/c/b?sv=2025&sig=Zm9vYmFy&se=1"
    keys = "AccountKey=a2V5a2V5 https://host/runtime?code=ZnVuY3Rpb24"
    found = recovery.failure_text(transfer(COPYING, status, f"{url} {keys} " + "x" * 9_999))
    assert not any(secret in found for secret in ("Zm9vYmFy", "a2V5a2V5", "ZnVuY3Rpb24"))
    assert found.startswith(f"the orchestration was {status}: https://a.blob.core.windows.net/c/b?sv=2025&sig=REMOVED")
    assert len(found) == len(f"the orchestration was {status}: ") + MAX_FAILURE_TEXT
    edge = recovery.failure_text(transfer(COPYING, status, "x" * (MAX_FAILURE_TEXT - 8) + " sig=Zm9vYmFy"))
    assert "Zm9" not in edge


@pytest.mark.parametrize("output", [None, 7, {"state": "verified"}, ["x"], "\ud800", ""])
def test_the_failure_text_exists_for_any_output(output: Any) -> None:
    found = recovery.failure_text(transfer(COPYING, "Failed", output))
    assert found.startswith("the orchestration was Failed: ")
    assert found.encode()


def test_a_cancel_of_a_broken_transfer_starts_it_at_its_end() -> None:
    for run in (RUN, COPYING, SPENT):
        found = recovery.input_after_cancel(transfer(run))
        assert isinstance(found, Run)
        assert (found.step, found.ending and found.ending.state) == (Step.RECORD, State.CANCELLED)
        assert (found.cancelling, found.resumes, found.first) == (True, run.resumes + 1, False)


@pytest.mark.parametrize("step", [Step.RECORD, Step.CLEAN, Step.CLOSE])
def test_a_cancel_of_a_broken_transfer_that_is_ending_starts_nothing(step: Step) -> None:
    assert recovery.input_after_cancel(transfer(replace(CLEANING, step=step))) is None


def test_a_cancel_of_a_broken_job_ends_it_with_the_counts_of_its_status() -> None:
    live = status.progress(replace(JOB, tally=Tally(started=90)))
    found = recovery.input_after_cancel(job(JOB, **live))
    assert isinstance(found, Job)
    assert (found.phase, found.state, found.cancelling, found.tally.started) == (None, JobState.CANCELLED, True, 90)


statuses = st.sampled_from(["Failed", "Terminated"])
outputs = st.sampled_from([HOST, LOST_ACTIVITY, "by hand", None])
counts = st.integers(0, 99)


@quick
@given(run=runs(), resumes=counts, status=statuses, output=outputs, noticed=st.booleans())
def test_every_broken_transfer_has_a_plan_that_outranks_the_broken_execution(
    run: Run, resumes: int, status: str, output: Any, *, noticed: bool
) -> None:
    assume(run.step is not None)
    run = replace(run, resumes=resumes)
    instance = Instance(run.transfer.id, status, run, {**progress(run), "cancelling": noticed}, output, NOW)
    found = recovery.plan(instance)
    assert found is not None
    assert isinstance(found.input, Run)
    assert found.input.step is not None
    assert (found.input.first, found.input.attempt, found.input.transfer) == (False, run.attempt, run.transfer)
    assert NOW <= found.due <= after(seconds=750)
    ranks = [
        Ended(one.transfer.id, one.attempt, Ending(State.CANCELLED), resumes=one.resumes).rank
        for one in (run, found.input)
    ]
    assert ranks[0] < ranks[1]
    if lifecycle.in_copy_phase(found.input):
        assert lifecycle.in_copy_phase(run)
        assert not noticed
        assert not run.cancelling


@quick
@given(runs(), counts)
def test_a_transfer_that_keeps_failing_ends_after_five_resumes(run: Run, resumes: int) -> None:
    assume(run.step is not None)
    run, ends, carried = replace(run, resumes=resumes), None, 0
    for _ in range(2 * MAX_RESUMES):
        found = recovery.plan(transfer(run))
        assert found is not None
        assert isinstance(found.input, Run)
        run = found.input
        carried += run.ending is None
        assert ends is None or run.ending == ends
        ends = run.ending
    assert carried <= MAX_RESUMES or run.step not in {Step.START, Step.CHECK}


def test_a_verified_transfer_is_resumed_to_notify_even_past_its_deadline() -> None:
    """Its status is newer than its input: it must not end in any other way."""
    run = replace(RUN, notify=True, deadline=timedelta(minutes=1))
    shown = progress(
        replace(run, state=State.VERIFIED, size=7, engine=Engine.BLOCKS, verified_at=NOW, first_look_at=NOW)
    )
    broken = Instance(TRANSFER.id, "Failed", run, shown, "the worker died", NOW + timedelta(days=9))
    planned = recovery.plan(broken)
    assert planned is not None
    assert isinstance(planned.input, Run)
    assert (planned.resumed, planned.input.step, planned.input.state) == (True, Step.NOTIFY, State.VERIFIED)
    assert (planned.input.size, planned.input.engine, planned.input.verified_at) == (7, Engine.BLOCKS, NOW)
    planned = recovery.plan(replace(broken, custom={"state": "verified"}, status="Terminated"))
    assert planned is not None
    assert isinstance(planned.input, Run)
    assert (planned.resumed, planned.input.step, planned.input.notify) == (False, Step.CLOSE, False)
    assert planned.input.ending == Ending(State.VERIFIED)
