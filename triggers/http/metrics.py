"""The figures as OpenMetrics text, for those who scrape."""

from collections.abc import Iterator
from typing import Any

import azure.functions as func
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import CollectorRegistry

from rules.codec import parse_time
from triggers.http.answers import HEADERS

QUANTILES = {"p50": "0.5", "p95": "0.95", "p99": "0.99"}
STATES = ("active", "paused", "over_budget")


def metrics_answer(routes: dict[str, Any]) -> func.HttpResponse:
    """Return the answer of `GET /api/routes` as OpenMetrics text."""
    registry = CollectorRegistry()
    registry.register(_Figures(routes))
    text = generate_latest(registry)  # type: ignore[no-untyped-call]  # the library declares no types here
    headers = {**HEADERS, "Content-Type": CONTENT_TYPE_LATEST}
    return func.HttpResponse(text, mimetype="application/openmetrics-text", charset="utf-8", headers=headers)


class _Figures:
    """A collector of the figures of all routes."""

    def __init__(self, routes: dict[str, Any]) -> None:
        self._updated_at = routes["updated_at"]
        self._routes = routes["routes"]

    def collect(self) -> Iterator[Metric]:
        yield from self._counters()
        yield from self._running()
        yield from self._latency()
        letters = GaugeMetricFamily("sharing_dead_letters", "Open dead letters.", labels=["route", "reason"])
        for route in self._routes:
            for reason, count in route["dead_letters"].items():
                letters.add_metric([route["route"], reason], count)
        yield letters
        state = GaugeMetricFamily(
            "sharing_route_state", "1 for the state that the route has.", labels=["route", "state"]
        )
        for route in self._routes:
            for each in STATES:
                state.add_metric([route["route"], each], float(route["state"] == each))
        yield state
        if self._updated_at:
            about = "When the figures were last updated."
            yield GaugeMetricFamily(
                "sharing_updated_timestamp_seconds", about, parse_time(self._updated_at).timestamp()
            )

    def _counters(self) -> Iterator[Metric]:
        ended = CounterMetricFamily("sharing_transfers", "Attempts that have ended.", labels=["route", "state"])
        copied = CounterMetricFamily(
            "sharing_shared_bytes", "Bytes of verified transfers.", labels=["route"], unit="bytes"
        )
        for route in self._routes:
            for state, count in route["total"].items():
                if state == "bytes":
                    copied.add_metric([route["route"]], count)
                else:
                    ended.add_metric([route["route"], state], count)
        yield ended
        yield copied

    def _running(self) -> Iterator[Metric]:
        count = GaugeMetricFamily(
            "sharing_running_transfers", "Transfers that need more than one step.", labels=["route"]
        )
        size = GaugeMetricFamily("sharing_running_bytes", "Bytes of these transfers.", labels=["route"], unit="bytes")
        oldest = GaugeMetricFamily(
            "sharing_oldest_running_timestamp_seconds",
            "When the oldest of them began.",
            labels=["route"],
            unit="seconds",
        )
        for route in self._routes:
            running = route["running"]
            count.add_metric([route["route"]], running["count"])
            size.add_metric([route["route"]], running["bytes"])
            if running["oldest_at"]:
                oldest.add_metric([route["route"]], parse_time(running["oldest_at"]).timestamp())
        yield from (count, size, oldest)

    def _latency(self) -> Iterator[Metric]:
        about = "From the event to verified, in the last hour or day."
        labels = ["route", "window", "quantile"]
        latency = GaugeMetricFamily("sharing_latency_seconds", about, labels=labels, unit="seconds")
        met = GaugeMetricFamily(
            "sharing_objective_budget_left", "The share of the error budget that is left.", labels=["route"]
        )
        for route in self._routes:
            for window, figures in route["latency"].items():
                for name, quantile in QUANTILES.items():
                    if figures[name] is not None:
                        latency.add_metric([route["route"], window, quantile], figures[name])
            if route["objective"] is not None and route["objective"]["budget_left"] is not None:
                met.add_metric([route["route"]], route["objective"]["budget_left"])
        yield from (latency, met)
