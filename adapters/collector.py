"""The port `Collector`: OTLP/HTTP in JSON, which an OpenTelemetry collector takes on its HTTP port.

JSON needs no protobuf, of which the Functions worker loads its own version before the app.
https://opentelemetry.io/docs/specs/otlp/#otlphttp
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any

import aiohttp

from rules.errors import Reason, Retryable
from rules.figures.metrics import BOUNDS, Buckets, Form, Metric, Point

SCOPE = "blob_data_sharing"
CUMULATIVE = 2
# A slow collector must not hold the timer back.
TIMEOUT = aiohttp.ClientTimeout(total=10)
MAX_ANSWER = 64 * 1024


class OtlpCollector:
    """The collector at `url`. `headers` may hold a secret. `resource` says what sends the metrics."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        headers: Mapping[str, str],
        resource: Mapping[str, str],
        now: Callable[[], datetime],
    ) -> None:
        self._session = session
        self._url = url
        self._headers = {**headers, "Content-Type": "application/json"}
        self._resource = resource
        self._now = now

    async def send(self, metrics: Sequence[Metric]) -> None:
        """Send the metrics. Raises Retryable if the collector did not take them all."""
        body = json.dumps(encode(metrics, self._resource, self._now())).encode()
        try:
            # A redirect would carry the headers to another host.
            async with self._session.post(
                self._url, data=body, headers=self._headers, timeout=TIMEOUT, allow_redirects=False
            ) as response:
                status, answer = response.status, await response.content.read(MAX_ANSWER)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _refused(type(error).__name__) from None
        if status != HTTPStatus.OK:
            raise _refused(f"HTTP {status}")
        if rejected := _rejected(answer):
            raise _refused(rejected)


def _refused(why: str) -> Retryable:
    return Retryable(Reason.INTERNAL, "metrics.send", f"the collector did not take the metrics: {why}")


def _rejected(answer: bytes) -> str:
    """Return what a partial success says; empty if there is none."""
    try:
        partial = json.loads(answer)["partialSuccess"]
        count, text = int(partial.get("rejectedDataPoints", 0)), str(partial.get("errorMessage", ""))
    except (ValueError, TypeError, KeyError, AttributeError):
        return ""
    return f"{count} points rejected: {text}" if count else ""


def encode(metrics: Sequence[Metric], resource: Mapping[str, str], now: datetime) -> dict[str, Any]:
    """Return metrics as the JSON of an ExportMetricsServiceRequest."""
    scope = {"scope": {"name": SCOPE}, "metrics": [_metric(metric, now) for metric in metrics]}
    return {"resourceMetrics": [{"resource": {"attributes": _attributes(resource)}, "scopeMetrics": [scope]}]}


def _metric(metric: Metric, now: datetime) -> dict[str, Any]:
    instrument = metric.instrument
    points = [
        _point(dict(zip(instrument.attributes, each.attributes, strict=True)), each, now) for each in metric.points
    ]
    kind: dict[Form, dict[str, Any]] = {
        Form.COUNTER: {"sum": {"dataPoints": points, "aggregationTemporality": CUMULATIVE, "isMonotonic": True}},
        Form.HISTOGRAM: {"histogram": {"dataPoints": points, "aggregationTemporality": CUMULATIVE}},
        Form.GAUGE: {"gauge": {"dataPoints": points}},
    }
    return {
        "name": instrument.name,
        "description": instrument.about,
        "unit": instrument.unit,
        **kind[instrument.form],
    }


def _point(attributes: Mapping[str, str], point: Point, now: datetime) -> dict[str, Any]:
    found: dict[str, Any] = {"attributes": _attributes(attributes), "timeUnixNano": _nanoseconds(now)}
    if point.since is not None:
        found["startTimeUnixNano"] = _nanoseconds(point.since)
    if isinstance(point.value, Buckets):
        counts = [str(count) for count in point.value.counts]
        total = str(sum(point.value.counts))
        return {**found, "count": total, "sum": point.value.sum, "bucketCounts": counts, "explicitBounds": BOUNDS}
    return {**found, "asInt": str(point.value)} if isinstance(point.value, int) else {**found, "asDouble": point.value}


def _attributes(values: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"key": key, "value": {"stringValue": value}} for key, value in values.items()]


def _nanoseconds(moment: datetime) -> str:
    return str(int(moment.timestamp() * 1_000_000) * 1_000)  # as text: JSON numbers are not exact to 64 bits
