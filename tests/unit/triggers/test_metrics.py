"""`GET /api/metrics`: OpenMetrics text that a scraper reads, with the same numbers as `GET /api/routes`."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from operations.upkeep.figures import collect
from rules import codec
from rules.errors import Reason
from rules.figures.feed import Kind
from rules.routes.model import Objective
from tests.unit.rules.figures.test_aggregate import message
from tests.unit.samples import NOW, ROUTE
from tests.unit.triggers.api import Api
from tests.unit.world import World

Samples = dict[tuple[str, ...], float]


async def scrape(world: World) -> tuple[dict[str, Samples], dict[str, Any]]:
    api = Api(world)
    answer = await api.call("get_metrics")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text; version=1")
    found: dict[str, Samples] = {}
    for family in text_string_to_metric_families(answer.text):  # type: ignore[no-untyped-call]  # as in the app
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    (route,) = (await api.call("get_routes")).body["routes"]
    return found, route


async def test_the_metrics_are_the_figures_of_each_route() -> None:
    world = World(routes=(replace(ROUTE, paused=True, objective=Objective(99, timedelta(minutes=15))),))
    sent = [message(1), message(2), message(3, Kind.DEAD_LETTERED, reason=Reason.COPY_FAILED), message(4, Kind.OPENED)]
    for each in sent:
        await world.feed.put(json.dumps(codec.encode(each)).encode())
    world.clock = NOW.replace(minute=5)
    await collect(world.ports, world.instances)
    found, route = await scrape(world)
    name = route["route"]
    assert found["sharing_transfers_total"] == {
        (name, state): count for state, count in route["total"].items() if state != "bytes"
    }
    assert found["sharing_transfers_total"][name, "verified"] == 2
    assert found["sharing_shared_bytes_total"] == {(name,): route["total"]["bytes"]}
    assert found["sharing_running_transfers"] == {(name,): 1}
    assert found["sharing_latency_seconds"]["0.99", name, "day"] == route["latency"]["day"]["p99"]
    assert found["sharing_route_state"] == {(name, "active"): 0, (name, "paused"): 1, (name, "over_budget"): 0}
    assert found["sharing_objective_budget_left"] == {(name,): route["objective"]["budget_left"]}
    assert found["sharing_updated_timestamp_seconds"] == {(): world.clock.timestamp()}


async def test_before_anything_has_happened_there_are_only_zeros() -> None:
    found, _ = await scrape(World())
    assert set(found["sharing_transfers_total"].values()) == {0}
    assert "sharing_latency_seconds" not in found
