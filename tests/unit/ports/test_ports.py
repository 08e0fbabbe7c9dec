"""The values that cross a port."""

from typing import Any, cast

import pytest

from ports.blobs import CopySource
from ports.services import Ports
from rules.jobs.model import Job, JobKind
from rules.orchestrations.instance import Instance, StatusFilter
from rules.transfers.policies import Times
from tests.unit.samples import NOW, ROUTE, RUN

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
def test_an_instance_runs_or_broke_or_ended_by_itself(status: str, *, running: bool, broken: bool) -> None:
    """By the extension's words."""
    instance = Instance("x", status, None, {}, None, NOW)
    assert (instance.running, instance.broken) == (running, broken)
    assert (status in StatusFilter.UNDER_WAY) is (running or broken)


@pytest.mark.parametrize(
    ("status", "read", "unread"),
    [
        ("Pending", True, True),
        ("Running", True, True),
        ("Completed", False, False),
        ("Failed", True, False),
        ("Terminated", True, False),
    ],
)
def test_what_is_broken_is_under_way_if_its_input_can_be_read(status: str, *, read: bool, unread: bool) -> None:
    """Then it is started again; else it stays as it is."""
    assert Instance("x", status, RUN, {}, None, NOW).under_way is read
    assert Instance("x", status, None, {}, None, NOW, JOB).under_way is read
    assert Instance("x", status, None, {}, None, NOW).under_way is unread


def test_the_input_is_a_run_or_a_job_or_cannot_be_read() -> None:
    """One of the three."""
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
def test_an_instance_speaks_by_its_status_until_it_has_ended(status: str, output: object, live: dict[str, str]) -> None:
    """What a broken one leaves as its output is no word of its orchestrator."""
    assert Instance("x", status, None, {"state": "copying"}, output, NOW).live == live


def test_todays_route_is_found_by_its_name() -> None:
    """Or is gone."""
    none = cast("Any", None)
    ports = Ports((ROUTE,), none, none, none, none, none, lambda: NOW, lambda: 0.0, Times(), "1")
    assert ports.route("default") == ROUTE
    assert ports.route("gone") is None


def test_a_signed_url_is_never_printed() -> None:
    """I8: it is a secret."""
    assert "sig=" not in repr(CopySource("https://a/b?sig=secret"))
