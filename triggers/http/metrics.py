"""The metrics as OpenMetrics text, for those who scrape.

Names follow from those of OpenTelemetry as its specification says for Prometheus, so a scraper and a collector show the
same series.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from math import inf

import azure.functions as func
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import CollectorRegistry
from prometheus_client.utils import floatToGoString

from rules.figures.metrics import BOUNDS, Buckets, Form, Instrument, Metric, Point
from triggers.http.answers import HEADERS

UNITS = {"s": "seconds", "By": "bytes", "1": "ratio"}
FAMILIES = {
    Form.COUNTER: CounterMetricFamily,
    Form.GAUGE: GaugeMetricFamily,
    Form.HISTOGRAM: HistogramMetricFamily,
}


def metrics_answer(metrics: Sequence[Metric]) -> func.HttpResponse:
    """Return the metrics as OpenMetrics text."""
    registry = CollectorRegistry()
    registry.register(_Collector(metrics))
    text = generate_latest(registry)  # type: ignore[no-untyped-call]  # the library declares no types here
    headers = {**HEADERS, "Content-Type": CONTENT_TYPE_LATEST}
    return func.HttpResponse(text, mimetype="application/openmetrics-text", charset="utf-8", headers=headers)


def family_name(instrument: Instrument) -> str:
    """Return the OpenMetrics name of an instrument, without the suffixes of its samples."""
    parts = [underscored(instrument.name), UNITS.get(instrument.unit, "")]
    return "_".join(filter(None, parts))


def underscored(name: str) -> str:
    """Return a name of OpenTelemetry as OpenMetrics spells it."""
    return name.replace(".", "_")


class _Collector:
    """What the library asks for the metrics."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Family]:
        for metric in self._metrics:
            instrument = metric.instrument
            labels = [underscored(name) for name in instrument.attributes]
            name, unit = family_name(instrument), UNITS.get(instrument.unit, "")
            family = FAMILIES[instrument.form](name, instrument.about, labels=labels, unit=unit)
            for point in metric.points:
                _add(family, point)
            yield family


def _add(family: Family, point: Point) -> None:
    labels, value = list(point.attributes), point.value
    if isinstance(family, HistogramMetricFamily) and isinstance(value, Buckets):
        ends = [floatToGoString(bound) for bound in (*BOUNDS, inf)]  # type: ignore[no-untyped-call]  # as above
        family.add_metric(labels, list(zip(ends, accumulate(value.counts), strict=True)), value.sum)
    elif isinstance(family, CounterMetricFamily) and isinstance(value, (int, float)):
        family.add_metric(labels, value, point.since.timestamp() if point.since else None)
    elif isinstance(family, GaugeMetricFamily) and isinstance(value, (int, float)):
        family.add_metric(labels, value)
