"""An orchestration as the Durable extension reports it."""

import pytest

from rules.jobs.model import Job, JobKind
from rules.orchestrations.instance import Instance, StatusFilter
from tests.unit.samples import NAME, NOW, RUN

JOB = Job("reconcile-" + "a" * 24, JobKind.RECONCILE, NOW)


@pytest.mark.parametrize(
    ("status", "running", "broken"),
    [
        ("Pending", True, False),
        ("Running", True, False),
        ("Suspended", True, False),
        ("ContinuedAsNew", True, False),
        ("Completed", False, False),
        ("Canceled", False, False),
        ("Failed", False, True),
        ("Terminated", False, True),
    ],
)
def test_the_runtime_status_decides_whether_it_runs_or_is_broken(status: str, *, running: bool, broken: bool) -> None:
    instance = Instance("x", status, None, {}, None, NOW)
    assert (instance.running, instance.broken) == (running, broken)
    assert (status in StatusFilter.UNDER_WAY) is (running or broken)


@pytest.mark.parametrize(
    ("status", "readable", "unreadable"),
    [
        ("Pending", True, True),
        ("Running", True, True),
        ("Completed", False, False),
        ("Failed", True, False),
        ("Terminated", True, False),
    ],
)
def test_a_broken_orchestration_is_under_way_if_its_input_can_be_read(
    status: str, *, readable: bool, unreadable: bool
) -> None:
    assert Instance("x", status, RUN, {}, None, NOW).under_way is readable
    assert Instance("x", status, None, {}, None, NOW, JOB).under_way is readable
    assert Instance("x", status, None, {}, None, NOW).under_way is unreadable


def test_the_input_is_a_run_or_a_job_or_none() -> None:
    assert Instance("x", "Running", RUN, {}, None, NOW).input is RUN
    assert Instance("x", "Running", None, {}, None, NOW, JOB).input is JOB
    assert Instance("x", "Running", None, {}, None, NOW).input is None


@pytest.mark.parametrize(
    ("status", "output", "live"),
    [
        ("Running", None, {"state": "copying"}),
        ("Running", {"state": "verified"}, {"state": "copying"}),
        ("Completed", {"state": "verified"}, {"state": "verified"}),
        ("Failed", "an exception's text", {"state": "copying"}),
    ],
)
def test_the_progress_is_the_output_only_of_an_orchestration_that_ended_itself(
    status: str, output: object, live: dict[str, str]
) -> None:
    assert Instance("x", status, None, {"state": "copying"}, output, NOW).live == live


def test_the_name_is_that_of_the_blob_of_a_readable_transfer() -> None:
    assert Instance("x", "Running", RUN, {}, None, NOW).name == NAME
    assert Instance("x", "Running", None, {}, None, NOW, JOB).name is None
