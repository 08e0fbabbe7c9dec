"""The figures as metrics."""

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from rules.errors import Reason
from rules.figures import aggregate
from rules.figures.feed import Kind
from rules.figures.metrics import BOUNDS, INSTRUMENTS, Buckets, Form, Metric, Queue, measure
from rules.routes.model import Objective
from tests.unit.rules.figures.test_aggregate import message, stored
from tests.unit.samples import NOW, ROUTE, after, quick

IDLE = Queue(0)
SENT = [
    message(1, polls=3),
    message(2, accepted_at=after(minutes=-10), resumes=1),
    message(3, Kind.DEAD_LETTERED, reason=Reason.THROTTLED, retries=8),
    message(4, Kind.DEAD_LETTERED, reason=Reason.COPY_FAILED),
    message(5, Kind.OPENED, at=after(seconds=-30)),
    message(6, Kind.OPENED),
]


def points(metrics: list[Metric], name: str) -> dict[tuple[str, ...], float | Buckets]:
    return {point.attributes: point.value for each in metrics if each.instrument.name == name for point in each.points}


def test_the_figures_of_a_route() -> None:
    route = replace(ROUTE, objective=Objective(50, timedelta(minutes=1)))
    figures = stored(aggregate.merge(aggregate.merge(aggregate.new(NOW), SENT[:3], NOW), SENT[3:], NOW))
    letters = {"default": {"throttled": 2}, "": {"bad_event": 1}}
    found = measure([(route, figures)], letters, Queue(7, after(seconds=-5)), after(seconds=-9), NOW)
    assert [each.instrument for each in found] == list(INSTRUMENTS.values())
    assert points(found, "sharing.transfers") == {
        ("default", "verified"): 2,
        ("default", "superseded"): 0,
        ("default", "dead_lettered"): 2,
        ("default", "cancelled"): 0,
    }
    assert points(found, "sharing.failures") == {
        ("default", "dead_lettered", "copy_failed"): 1,
        ("default", "dead_lettered", "throttled"): 1,
    }
    expected = {"io": 20, "polls": 3, "retries": 8, "resumes": 1, "running": 2, "running.size": 20, "running.age": 30}
    assert {name: points(found, f"sharing.{name}") for name in expected} == {
        name: {("default",): value} for name, value in expected.items()
    }
    assert points(found, "sharing.dead_letters") == {("", "bad_event"): 1, ("default", "throttled"): 2}
    assert points(found, "sharing.objective.budget") == {("default",): 0}
    assert points(found, "sharing.route.state")["default", "active"] == 1
    assert set(points(found, "sharing.latency")) == {
        ("default", window, quantile) for window in ("hour", "day") for quantile in ("0.5", "0.95", "0.99")
    }
    assert (points(found, "sharing.backlog"), points(found, "sharing.backlog.age")) == ({(): 7}, {(): 5})
    assert points(found, "sharing.figures.age") == {(): 9}


def test_what_counts_says_since_when() -> None:
    figures = aggregate.merge(aggregate.new(after(days=-1)), SENT, NOW)
    for each in measure([(ROUTE, figures)], {}, IDLE, None, NOW):
        counts = each.instrument.form is not Form.GAUGE
        assert {point.since for point in each.points} == {after(days=-1) if counts else None}
        assert all(len(point.attributes) == len(each.instrument.attributes) for point in each.points)


def test_without_transfers_only_what_is_known() -> None:
    found = measure([(ROUTE, aggregate.new(NOW))], {}, IDLE, None, NOW)
    known = {each.instrument.name for each in found}
    unknown = {"failures", "dead_letters", "latency", "objective.budget", "figures.age"}
    assert known == set(INSTRUMENTS) - {f"sharing.{name}" for name in unknown}
    assert points(found, "sharing.running.age") == {("default",): 0}
    assert points(found, "sharing.transfer.duration") == {("default",): Buckets((0,) * (len(BOUNDS) + 1), 0)}


@quick
@given(st.lists(st.floats(0, 3e6) | st.sampled_from(BOUNDS), max_size=20))
def test_a_bucket_of_the_histogram_ends_exactly_at_its_bound(latencies: list[float]) -> None:
    exact = [timedelta(seconds=each) for each in latencies]
    sent = [message(number, accepted_at=NOW - latency) for number, latency in enumerate(exact)]
    metrics = measure([(ROUTE, aggregate.merge(aggregate.new(NOW), sent, NOW))], {}, IDLE, None, NOW)
    (found,) = points(metrics, "sharing.transfer.duration").values()
    assert isinstance(found, Buckets)
    for number, bound in enumerate(BOUNDS):
        assert sum(found.counts[: number + 1]) == sum(each.total_seconds() <= bound for each in exact)
    assert sum(found.counts) == len(latencies)
