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


def test_todays_route_is_found_by_its_name() -> None:
    """Or is gone."""
    none = cast("Any", None)
    ports = Ports((ROUTE,), none, none, none, none, none, none, lambda: NOW, lambda: 0.0, Times(), "1")
    assert ports.route("default") == ROUTE
    assert ports.route("gone") is None


def test_a_signed_url_is_never_printed() -> None:
    """I8: it is a secret."""
    assert "sig=" not in repr(CopySource("https://a/b?sig=secret"))
