"""The figures as the API answers them."""

from dataclasses import replace
from datetime import timedelta

import pytest

from rules.figures import aggregate, view
from rules.figures.feed import Kind
from rules.figures.view import Price
from rules.routes.model import Objective
from tests.unit.rules.figures.test_aggregate import message
from tests.unit.samples import NOW, ROUTE, after

FIGURES = aggregate.merge(
    aggregate.new(NOW),
    [
        message(1, size=2**30, target_etag="0x1"),
        message(2, accepted_at=NOW - timedelta(seconds=100)),
        message(3, Kind.OPENED),
        message(4, Kind.OPENED, at=after(seconds=-9)),
        message(5, Kind.SUPERSEDED),
    ],
    NOW,
)
LATENCY = {"count": 2, "p50": pytest.approx(2, rel=0.03), "p95": pytest.approx(100, rel=0.03)}


def test_a_route() -> None:
    shown = view.of_route(ROUTE, FIGURES, {"throttled": 1}, Price(0.5, "EUR"), NOW)
    assert list(shown) == [
        *("route", "source", "target", "state", "running", "today", "total", "latency", "throughput", "dead_letters"),
        *("objective", "budget", "egress"),
    ]
    assert (shown["route"], shown["state"], shown["source"]) == ("default", "active", ROUTE.source.url)
    assert shown["running"] == {"count": 2, "bytes": 20, "oldest_at": "2026-11-24T19:02:35.120Z"}
    counts = {"verified": 2, "superseded": 1, "dead_lettered": 0, "cancelled": 0, "bytes": 2**30 + 10}
    counts |= {"polls": 0, "retries": 0, "resumes": 0}
    assert shown["today"] == shown["total"] == counts
    for span in ("hour", "day"):
        assert shown["latency"][span] == LATENCY | {"p99": LATENCY["p95"]}
    assert shown["throughput"] == [{"at": "2026-11-24T19:00:00.000Z", "transfers": 2, "bytes": 2**30 + 10}]
    assert shown["dead_letters"] == {"throttled": 1}
    assert (shown["objective"], shown["budget"]) == (None, None)
    assert shown["egress"] == {"price_per_gib": 0.5, "currency": "EUR", "today": 0.5}


def test_an_hour_later_and_a_day_later() -> None:
    later = view.of_route(ROUTE, FIGURES, {}, None, after(hours=2))
    assert later["latency"]["hour"] == {"count": 0, "p50": None, "p95": None, "p99": None}
    assert later["latency"]["day"]["count"] == 2
    tomorrow = view.of_route(ROUTE, FIGURES, {}, None, after(days=1, hours=1))
    assert (tomorrow["today"]["verified"], tomorrow["total"]["verified"]) == (0, 2)
    assert (tomorrow["throughput"], tomorrow["egress"]) == ([], None)


@pytest.mark.parametrize(
    ("percentile", "within", "share", "left", "met"),
    [(50, 10, 0.5, 0, True), (75, 10, 0.5, -1, False), (99, 1_000, 1, 1, True)],
)
def test_an_objective(percentile: float, within: float, share: float, left: float, *, met: bool) -> None:
    route = replace(ROUTE, objective=Objective(percentile, timedelta(seconds=within)))
    shown = view.of_route(route, FIGURES, {}, None, NOW)["objective"]
    assert shown == {"percentile": percentile, "within": within, "share": share, "budget_left": left, "met": met}


def test_a_budget_is_used_up_until_midnight() -> None:
    route = replace(ROUTE, daily_bytes=2**30)
    shown = view.of_route(route, FIGURES, {}, None, NOW)
    assert (shown["state"], shown["budget"]["used"]) == ("over_budget", 2**30 + 10)
    assert shown["budget"]["resets_at"] == "2026-11-25T00:00:00.000Z"
    assert view.of_route(replace(route, paused=True), FIGURES, {}, None, NOW)["state"] == "paused"
    assert view.of_route(route, FIGURES, {}, None, after(hours=5))["state"] == "active"
    assert view.of_route(replace(route, daily_bytes=2**31), FIGURES, {}, None, NOW)["state"] == "active"


def test_the_summary_is_the_sum() -> None:
    shown = view.summary([FIGURES, FIGURES, aggregate.new(NOW)], [{"throttled": 1}, {"throttled": 2}], Price(1), NOW)
    assert (shown["routes"], shown["running"]["count"], shown["today"]["verified"]) == (3, 4, 4)
    assert (shown["latency"]["day"]["count"], len(shown["throughput"])) == (4, 1)
    assert shown["dead_letters"] == {"throttled": 3}
    assert shown["egress"]["today"] == 2
    nothing = view.summary([aggregate.new(NOW)], [], None, NOW)
    assert (nothing["running"]["oldest_at"], nothing["latency"]["hour"]["p50"], nothing["egress"]) == (None, None, None)


def test_the_cost_of_a_dry_run() -> None:
    assert view.egress_of_job(Price(0.02), 50 * 2**30) == {"price_per_gib": 0.02, "currency": "USD", "estimate": 1.0}
    assert view.egress_of_job(None, 1) is None
