"""The metrics on their way to an OpenTelemetry collector."""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import timedelta

import aiohttp
import pytest

from adapters.collector import OtlpCollector
from rules.errors import Reason, Retryable
from rules.figures import aggregate
from rules.figures.feed import Kind
from rules.figures.metrics import BOUNDS, INSTRUMENTS, Metric, Queue, measure
from rules.routes.model import Objective
from tests.otlp import PATH, Sink, sink
from tests.unit.rules.figures.test_aggregate import message
from tests.unit.samples import NOW, ROUTE, after

HEADERS = {"api-key": "a secret"}
RESOURCE = {"service.name": "blob-data-sharing"}
SENT = [
    message(1, polls=3, retries=1, resumes=2),
    message(2, accepted_at=after(minutes=-20)),
    message(3, Kind.DEAD_LETTERED, reason=Reason.COPY_FAILED),
    message(4, Kind.OPENED, size=2**53 + 1),
]


@pytest.fixture
def collector() -> Iterator[Sink]:
    with sink() as running:
        yield running


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


def port(session: aiohttp.ClientSession, url: str) -> OtlpCollector:
    return OtlpCollector(session, url, HEADERS, RESOURCE, lambda: NOW)


def metrics() -> list[Metric]:
    route = replace(ROUTE, objective=Objective(90, timedelta(minutes=15)))
    figures = aggregate.merge(aggregate.new(after(hours=-1)), SENT, NOW)
    return measure([(route, figures)], {"default": {Reason.COPY_FAILED: 1}}, Queue(2, after(minutes=-1)), NOW, NOW)


async def test_every_instrument_arrives_with_its_values(collector: Sink, session: aiohttp.ClientSession) -> None:
    await port(session, collector.url + PATH).send(metrics())
    ((resource,),) = [each["resourceMetrics"] for each in collector.requests]
    assert resource["resource"]["attributes"] == [
        {"key": "service.name", "value": {"stringValue": "blob-data-sharing"}}
    ]
    found = {each["name"]: each for each in resource["scopeMetrics"][0]["metrics"]}
    assert set(found) == set(INSTRUMENTS)
    assert all(each["description"] for each in found.values())
    assert collector.headers[0]["api-key"] == "a secret"
    points = collector.points
    assert points("sharing.transfers")["default", "verified"] == 2
    assert points("sharing.failures") == {("default", "dead_lettered", "copy_failed"): 1}
    assert [points(f"sharing.{each}")["default",] for each in ("io", "polls", "retries", "resumes")] == [20, 3, 1, 2]
    assert points("sharing.running.size") == {("default",): 2**53 + 1}
    assert points("sharing.backlog") == {(): 2}
    assert points("sharing.backlog.age") == {(): 60}
    assert points("sharing.objective.budget") == {("default",): -4}
    assert points("sharing.transfer.duration") == {("default",): (2, 1202)}


async def test_counters_are_sums_since_the_beginning(collector: Sink, session: aiohttp.ClientSession) -> None:
    await port(session, collector.url + PATH).send(metrics())
    found = {each["name"]: each for each in collector.requests[0]["resourceMetrics"][0]["scopeMetrics"][0]["metrics"]}
    counter, histogram = found["sharing.io"]["sum"], found["sharing.transfer.duration"]["histogram"]
    assert counter["isMonotonic"]
    for each in (counter, histogram):
        assert each["aggregationTemporality"] == "AGGREGATION_TEMPORALITY_CUMULATIVE"
        (point,) = each["dataPoints"]
        times = int(point["timeUnixNano"]), int(point["startTimeUnixNano"])
        assert times == (NOW.timestamp() * 10**9, after(hours=-1).timestamp() * 10**9)
    (point,) = histogram["dataPoints"]
    assert point["explicitBounds"] == list(BOUNDS)
    counts = dict(zip(map(float, point["explicitBounds"]), map(int, point["bucketCounts"]), strict=False))
    assert {bound: count for bound, count in counts.items() if count} == {2: 1, 2048: 1}
    assert len(point["bucketCounts"]) == len(BOUNDS) + 1


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (401, b"who are you", "HTTP 401"),
        (503, b"", "HTTP 503"),
        (302, b"", "HTTP 302"),
        (
            200,
            b'{"partialSuccess": {"rejectedDataPoints": "2", "errorMessage": "too old"}}',
            "2 points rejected: too old",
        ),
    ],
)
async def test_a_refusal_says_why(
    collector: Sink, session: aiohttp.ClientSession, status: int, body: bytes, expected: str
) -> None:
    collector.answers.append((status, body, {"Location": f"{collector.url}/elsewhere"}))
    with pytest.raises(Retryable) as caught:
        await port(session, collector.url + PATH).send(metrics())
    assert expected in str(caught.value)
    assert HEADERS["api-key"] not in str(caught.value)
    assert len(collector.headers) == 1


@pytest.mark.parametrize("body", [b"", b"[]", b"not JSON", b'{"partialSuccess": null}', b'{"partialSuccess": {}}'])
async def test_any_other_answer_with_200_is_a_success(
    collector: Sink, session: aiohttp.ClientSession, body: bytes
) -> None:
    collector.answers.append((200, body, {}))
    await port(session, collector.url + PATH).send(metrics())


async def test_a_collector_that_is_gone_is_a_failure(session: aiohttp.ClientSession) -> None:
    with sink() as gone:
        pass
    with pytest.raises(Retryable, match="ClientConnectorError"):
        await port(session, gone.url + PATH).send([])


def test_the_sink_refuses_what_is_not_of_the_schema() -> None:
    for body in (b"{", json.dumps({"resourceMetrics": [{"scope": {}}]}).encode()):
        assert Sink().take(PATH, {"content-type": "application/json"}, body)[0] == 400
