"""The figures as metrics. `INSTRUMENTS` names each one, by the conventions of OpenTelemetry."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from rules.figures import histogram, view
from rules.figures.aggregate import EFFORTS, Aggregate
from rules.figures.feed import Kind
from rules.routes.model import Route

# The ends of the histogram's buckets, in seconds: powers of two, for which the counts are exact.
BOUNDS = tuple(2.0**power for power in range(-2, 21))
ROUTE, STATE, REASON, WINDOW, QUANTILE = (
    "sharing.route",
    "sharing.state",
    "error.type",
    "sharing.window",
    "sharing.quantile",
)
STATES = [kind for kind in Kind if kind is not Kind.OPENED]


class Form(StrEnum):
    """What the value of an instrument is."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Instrument:
    """One metric. `unit` is a UCUM code, `attributes` are the names of those of its points."""

    name: str
    form: Form
    unit: str
    about: str
    attributes: tuple[str, ...] = (ROUTE,)


@dataclass(frozen=True, slots=True)
class Buckets:
    """A histogram: the count of each bucket that ends at one of `BOUNDS`, and of those above; the sum in seconds."""

    counts: tuple[int, ...]
    sum: float


@dataclass(frozen=True, slots=True)
class Point:
    """One value, with the values of the instrument's attributes. A counter and a histogram count since `since`."""

    attributes: tuple[str, ...]
    value: float | Buckets
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Metric:
    """An instrument with its points."""

    instrument: Instrument
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Queue:
    """The queue of events: how many wait, and since when the oldest of them does."""

    count: int
    oldest_at: datetime | None = None


INSTRUMENTS = {
    each.name: each
    for each in (
        Instrument("sharing.transfers", Form.COUNTER, "{transfer}", "Attempts that have ended.", (ROUTE, STATE)),
        Instrument(
            "sharing.failures",
            Form.COUNTER,
            "{transfer}",
            "Attempts that have ended with a reason: a part of `sharing.transfers`.",
            (ROUTE, STATE, REASON),
        ),
        Instrument("sharing.io", Form.COUNTER, "By", "Bytes of verified transfers."),
        Instrument(
            "sharing.transfer.duration", Form.HISTOGRAM, "s", "From the event to verified, of all verified transfers."
        ),
        Instrument("sharing.polls", Form.COUNTER, "{poll}", "Polls of pending copies by attempts that have ended."),
        Instrument("sharing.retries", Form.COUNTER, "{retry}", "Steps that these attempts repeated after a failure."),
        Instrument(
            "sharing.resumes", Form.COUNTER, "{resume}", "Restarts of these attempts after the host failed them."
        ),
        Instrument("sharing.running", Form.GAUGE, "{transfer}", "Transfers that need more than one step."),
        Instrument("sharing.running.size", Form.GAUGE, "By", "Bytes of these transfers."),
        Instrument("sharing.running.age", Form.GAUGE, "s", "The time since the oldest of them began; 0 if none runs."),
        Instrument("sharing.dead_letters", Form.GAUGE, "{dead_letter}", "Open dead letters.", (ROUTE, REASON)),
        Instrument(
            "sharing.latency",
            Form.GAUGE,
            "s",
            "From the event to verified, of the transfers of the last hour or day.",
            (ROUTE, WINDOW, QUANTILE),
        ),
        Instrument(
            "sharing.objective.budget", Form.GAUGE, "1", "The share of the error budget that is left; below 0: missed."
        ),
        Instrument(
            "sharing.route.state",
            Form.GAUGE,
            "",
            "1 for the state that the route has, 0 for the others.",
            (ROUTE, STATE),
        ),
        Instrument("sharing.backlog", Form.GAUGE, "{event}", "Events that wait in the queue, approximately.", ()),
        Instrument("sharing.backlog.age", Form.GAUGE, "s", "The age of the oldest visible one; 0 if none waits.", ()),
        Instrument("sharing.figures.age", Form.GAUGE, "s", "The time since the figures were last updated.", ()),
    )
}


def measure(
    routes: Sequence[tuple[Route, Aggregate]],
    dead_letters: Mapping[str, Mapping[str, int]],
    queue: Queue,
    updated_at: datetime | None,
    now: datetime,
) -> list[Metric]:
    """Return every metric that has a point, in the order of `INSTRUMENTS`."""
    points: dict[str, list[Point]] = {name: [] for name in INSTRUMENTS}

    def add(name: str, value: float | Buckets, *attributes: str, since: datetime | None = None) -> None:
        points[name].append(Point(attributes, value, since))

    for route, figures in routes:
        for name, value, *attributes in _counters(figures):
            add(name, value, route.name, *attributes, since=figures.since)
        for name, gauge, *attributes in _gauges(route, figures, now):
            add(name, gauge, route.name, *attributes)
    for route_name, reasons in sorted(dead_letters.items()):
        for reason, count in sorted(reasons.items()):
            add("sharing.dead_letters", count, route_name, reason)
    add("sharing.backlog", queue.count)
    add("sharing.backlog.age", _age(queue.oldest_at, now))
    if updated_at is not None:
        add("sharing.figures.age", _age(updated_at, now))
    return [Metric(INSTRUMENTS[name], tuple(each)) for name, each in points.items() if each]


def _counters(figures: Aggregate) -> Iterator[tuple[str, float | Buckets, *tuple[str, ...]]]:
    for state in STATES:
        yield "sharing.transfers", figures.total.get(state, 0), state
        for reason, count in sorted(figures.reasons.get(state, {}).items()):
            yield "sharing.failures", count, state, reason
    yield "sharing.io", figures.total.get("bytes", 0)
    for effort in EFFORTS:
        yield f"sharing.{effort}", figures.total.get(effort, 0)
    below = [histogram.count_within(figures.latencies, bound) for bound in BOUNDS]
    counts = (
        after - before for before, after in zip([0, *below], [*below, sum(figures.latencies.values())], strict=True)
    )
    yield "sharing.transfer.duration", Buckets(tuple(counts), figures.seconds)


def _gauges(route: Route, figures: Aggregate, now: datetime) -> Iterator[tuple[str, float, *tuple[str, ...]]]:
    running = figures.running.values()
    yield "sharing.running", len(running)
    yield "sharing.running.size", sum(each.size for each in running)
    yield "sharing.running.age", _age(min((each.at for each in running), default=None), now)
    for window, percentiles in view.latency([figures], now).items():
        for percent in view.PERCENTILES:
            if percentiles[f"p{percent}"] is not None:
                yield "sharing.latency", percentiles[f"p{percent}"], window, f"{percent / 100:g}"
    if (met := view.objective(route, figures, now)) is not None:
        yield "sharing.objective.budget", met["budget_left"]
    for state in view.RouteState:
        yield "sharing.route.state", float(view.state(route, figures, now) == state), state


def _age(since: datetime | None, now: datetime) -> float:
    return max(0.0, (now - since).total_seconds()) if since else 0.0
