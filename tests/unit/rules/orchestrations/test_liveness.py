"""The tables of the watchdog and of the purge."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from rules.codec import stamp
from rules.jobs.model import Job, JobKind
from rules.orchestrations.instance import Instance
from rules.orchestrations.liveness import Liveness, assess, last_sign_of_life, may_purge
from rules.transfers.model import Run
from tests.unit.samples import NOW, RUN, TRANSFER

QUARTER, HOUR, DAY = timedelta(minutes=15), timedelta(hours=1), timedelta(days=1)
SECOND = timedelta(seconds=1)
JOB_ID = "reconcile-0123456789abcdef01234567"
JOB = Job(JOB_ID, JobKind.RECONCILE, NOW)


def transfer(
    silent: timedelta,
    run: Run | None = RUN,
    status: str = "Running",
    next_check: timedelta | None = None,
    **custom: Any,
) -> Instance:
    """A transfer that last changed this long ago."""
    if next_check is not None:
        custom["next_check_at"] = stamp(NOW + next_check)
    return Instance(TRANSFER.id, status, run, custom, None, NOW - silent)


def job(silent: timedelta, status: str = "Running", job: Job | None = JOB) -> Instance:
    """A job that last changed this long ago."""
    return Instance(JOB_ID, status, None, {}, None, NOW - silent, job)


def accepted(ago: timedelta, deadline: timedelta | None = None) -> Run:
    """A run that was accepted this long ago."""
    return Run(TRANSFER, NOW - ago, deadline=deadline)


def resumed(resumes: int, run: Run = RUN) -> Run:
    """A run with this many resumes."""
    return replace(run, resumes=resumes)


@pytest.mark.parametrize(
    ("instance", "expected"),
    [
        (transfer(timedelta()), Liveness.ACTIVE),
        (transfer(QUARTER), Liveness.ACTIVE),
        (job(QUARTER), Liveness.ACTIVE),
        (transfer(2 * DAY, accepted(9 * DAY), next_check=timedelta(minutes=1)), Liveness.ACTIVE),
        (transfer(2 * DAY, accepted(9 * DAY), next_check=-QUARTER), Liveness.ACTIVE),
        # A pending orchestration waits in the task hub, so it has no activity to lose.
        (transfer(HOUR, status="Pending"), Liveness.ACTIVE),
        (transfer(HOUR, status="ContinuedAsNew"), Liveness.ACTIVE),
        (transfer(HOUR, None), Liveness.ACTIVE),
        (transfer(QUARTER + SECOND), Liveness.LOST),
        (transfer(HOUR + SECOND), Liveness.LOST),
        (transfer(2 * DAY, accepted(9 * DAY), next_check=-QUARTER - SECOND), Liveness.LOST),
        (transfer(DAY, accepted(9 * DAY)), Liveness.LOST),
        (transfer(9 * DAY, accepted(9 * DAY), next_check=-DAY), Liveness.LOST),
        (transfer(2 * DAY, accepted(2 * DAY, deadline=6 * DAY)), Liveness.LOST),
        (job(QUARTER + SECOND), Liveness.LOST),
        (job(DAY), Liveness.LOST),
        # Doubled for each resume, since the host may be that slow.
        (transfer(2 * QUARTER, resumed(1)), Liveness.ACTIVE),
        (transfer(2 * QUARTER + SECOND, resumed(1)), Liveness.LOST),
        (transfer(4 * QUARTER + SECOND, resumed(3)), Liveness.SILENT),
        (transfer(8 * QUARTER + SECOND, resumed(3)), Liveness.LOST),
        (job(4 * QUARTER, job=replace(JOB, resumes=2)), Liveness.ACTIVE),
        (job(4 * QUARTER + SECOND, job=replace(JOB, resumes=2)), Liveness.LOST),
        (transfer(DAY, resumed(99)), Liveness.SILENT),
        (transfer(11 * DAY, resumed(9_999, accepted(11 * DAY, deadline=20 * DAY))), Liveness.LOST),
        (transfer(HOUR + SECOND, status="Pending"), Liveness.SILENT),
        (transfer(DAY, status="Pending"), Liveness.SILENT),
        (job(DAY, "Pending"), Liveness.SILENT),
        (job(DAY, job=None), Liveness.SILENT),
        (transfer(2 * DAY, accepted(2 * DAY, deadline=DAY)), Liveness.STUCK),
        (transfer(DAY + timedelta(seconds=1), accepted(2 * DAY)), Liveness.STUCK),
        (transfer(2 * DAY, accepted(2 * DAY), status="Pending"), Liveness.STUCK),
        (transfer(3 * DAY, accepted(3 * DAY), next_check=-2 * DAY), Liveness.STUCK),
        (job(DAY + timedelta(seconds=1)), Liveness.STUCK),
        (job(2 * DAY, job=None), Liveness.STUCK),
        (transfer(9 * DAY, None), Liveness.SILENT),
    ],
)
def test_how_the_watchdog_classifies_an_orchestration(instance: Instance, expected: Liveness) -> None:
    """The table of `liveness.assess`."""
    assert assess(instance, NOW) is expected


@pytest.mark.parametrize("garbage", [None, "soon", 7, "2026-11-24T19:02:44", {}, "0001-01-01T00:00:00+14:00"])
def test_an_unreadable_next_check_is_ignored(garbage: Any) -> None:
    assert last_sign_of_life(transfer(HOUR, next_check_at=garbage)) == NOW - HOUR


MONTH = timedelta(days=30)
OVER = MONTH + timedelta(seconds=1)


@pytest.mark.parametrize(
    ("instance", "expected"),
    [
        (transfer(OVER, status="Running"), False),
        (transfer(OVER, status="Pending"), False),
        (transfer(OVER, status="Suspended"), False),
        (job(OVER, "Running"), False),
        (transfer(OVER, status="Failed"), False),
        (transfer(OVER, status="Terminated"), False),
        (transfer(MONTH, status="Completed"), False),
        (transfer(OVER, status="Completed"), True),
        (transfer(OVER, None, status="Completed"), True),
        (job(MONTH, "Completed"), False),
        *((job(OVER, status), True) for status in ("Completed", "Failed", "Terminated")),
        (job(OVER, "Failed", None), True),
    ],
)
def test_which_histories_may_be_purged(instance: Instance, *, expected: bool) -> None:
    """The table of `liveness.may_purge`."""
    assert may_purge(instance, NOW) is expected
