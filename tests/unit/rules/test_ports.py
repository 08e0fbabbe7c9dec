"""The values that cross a port."""

from typing import Any, cast

import pytest

from rules.policies import Times
from rules.ports import CopySource, Instance, Ports
from tests.unit.rules.samples import NOW, ROUTE


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
    ports = Ports((ROUTE,), none, none, none, none, none, none, lambda: NOW, lambda: 0.0, Times(), "1")
    assert ports.route("default") == ROUTE
    assert ports.route("gone") is None


def test_a_signed_url_is_never_printed() -> None:
    """I8: it is a secret."""
    assert "sig=" not in repr(CopySource("https://a/b?sig=secret"))
