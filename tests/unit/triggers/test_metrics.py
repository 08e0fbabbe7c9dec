"""`GET /api/metrics`: OpenMetrics text that a scraper reads, with the same numbers as `GET /api/routes`."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from operations.upkeep.figures import collect
from rules import codec
from rules.errors import Reason
from rules.figures.aggregate import EFFORTS
from rules.figures.feed import Kind
from rules.figures.metrics import INSTRUMENTS, STATES
from rules.routes.model import Objective
from tests.unit.rules.figures.test_aggregate import message
from tests.unit.samples import NOW, ROUTE
from tests.unit.triggers.api import Api
from tests.unit.world import World
from triggers.http.metrics import family_name

Samples = dict[tuple[str, ...], float]


async def scrape(world: World) -> tuple[dict[str, Samples], dict[str, Any]]:
    api = Api(world)
    answer = await api.call("get_metrics")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text; version=1")
    found: dict[str, Samples] = {}
    for family in text_string_to_metric_families(answer.text):  # type: ignore[no-untyped-call]  # as in the app
        assert family.name in {family_name(each) for each in INSTRUMENTS.values()}
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    (route,) = (await api.call("get_routes")).body["routes"]
    return found, route


async def test_the_metrics_are_the_figures_of_each_route() -> None:
    world = World(routes=(replace(ROUTE, paused=True, objective=Objective(99, timedelta(minutes=15))),))
    sent = [
        message(1, polls=4, retries=2, resumes=1),
        message(2),
        message(3, Kind.DEAD_LETTERED, reason=Reason.COPY_FAILED),
        message(4, Kind.OPENED),
    ]
    for each in sent:
        await world.feed.put(json.dumps(codec.encode(each)).encode())
    world.clock = NOW.replace(minute=5)
    await collect(world.ports, world.instances)
    world.pass_time(3)
    found, route = await scrape(world)
    name = route["route"]
    assert found["sharing_transfers_total"] == {(name, state): route["total"][state] for state in STATES}
    assert found["sharing_transfers_total"][name, "verified"] == 2
    assert found["sharing_failures_total"] == {("copy_failed", name, "dead_lettered"): 1}
    assert found["sharing_io_bytes_total"] == {(name,): route["total"]["bytes"]}
    for effort in EFFORTS:
        assert found[f"sharing_{effort}_total"] == {(name,): route["total"][effort]} != {(name,): 0}
    assert found["sharing_running"] == {(name,): 1}
    assert found["sharing_running_age_seconds"] == {(name,): 183}
    assert found["sharing_latency_seconds"]["0.99", name, "day"] == route["latency"]["day"]["p99"]
    assert found["sharing_route_state"] == {(name, "active"): 0, (name, "paused"): 1, (name, "over_budget"): 0}
    assert found["sharing_objective_budget_ratio"] == {(name,): route["objective"]["budget_left"]}
    assert found["sharing_figures_age_seconds"] == {(): 3}
    duration = found["sharing_transfer_duration_seconds_bucket"]
    assert (duration[("1.0", name)], duration[("2.0", name)], duration[("+Inf", name)]) == (0, 2, 2)
    assert found["sharing_transfer_duration_seconds_sum"] == {(name,): 4}


async def test_the_backlog_is_that_of_the_queue() -> None:
    world = World()
    await world.events.put(b"{}")
    world.pass_time(90)
    found, _ = await scrape(world)
    assert (found["sharing_backlog"], found["sharing_backlog_age_seconds"]) == ({(): 1}, {(): 90})


async def test_before_anything_has_happened_there_are_only_zeros() -> None:
    found, _ = await scrape(World())
    assert set(found["sharing_transfers_total"].values()) == {0}
    assert found["sharing_backlog_age_seconds"] == {(): 0}
    assert "sharing_latency_seconds" not in found
    assert "sharing_figures_age_seconds" not in found
