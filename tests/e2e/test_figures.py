"""Figures, ledger and daily budget on the local stack."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.e2e.client import Client
from tests.e2e.events import until_queue_is_empty
from tests.e2e.stacks import environment, running_stack
from tests.e2e.transfers import transfers_named
from tests.otlp import Sink, sink


@pytest.fixture(scope="module")
def collector() -> Iterator[Sink]:
    with sink() as running:
        yield running


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, collector: Sink) -> Iterator[Client]:
    """A stack with a collector and two routes of one source, one of them with a daily budget of ten bytes."""
    state = tmp_path_factory.mktemp("figures")
    settings = environment(state)
    accounts = f"http://127.0.0.1:{settings['AZURITE_BLOB_PORT']}"
    routes = [
        {
            "name": name,
            "source": f"{accounts}/sharingsource/source/",
            "target": f"{accounts}/sharingtarget/target/{name}/",
        }
        for name in ("limited", "free")
    ]
    routes[0]["daily_bytes"] = 10  # type: ignore[assignment]
    settings |= {
        "ROUTES": json.dumps(routes),
        "EGRESS_PRICE_PER_GIB": "1",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_EXPORTER_OTLP_HEADERS": "api-key=secret",
        "TRACE_URL": "https://jaeger.example/trace/{trace_id}",
    }
    with running_stack(state, settings) as running:
        yield running


def collected(client: Client, ready: Any) -> dict[str, dict[str, Any]]:
    """Run the timer until the figures are as wanted; return them by route."""

    def look() -> dict[str, dict[str, Any]] | None:
        client.run_timer("figures")
        routes = {each["route"]: each for each in client.api("GET", "/routes").body["routes"]}
        return routes if ready(routes) else None

    found: dict[str, dict[str, Any]] = client.until(look, "the figures are there")
    return found


def test_transfers_are_counted_listed_and_limited(client: Client) -> None:
    etag = client.put("first.txt", b"0123456789")
    ended = {route: client.until_final("first.txt", route) for route in ("limited", "free")}
    figures = collected(client, lambda routes: all(each["today"]["verified"] == 1 for each in routes.values()))
    free = figures["free"]
    assert (free["state"], free["today"]["bytes"], free["latency"]["hour"]["count"]) == ("active", 10, 1)
    assert free["egress"]["price_per_gib"] == 1
    assert (figures["limited"]["state"], figures["limited"]["budget"]["used"]) == ("over_budget", 10)

    day = datetime.now(UTC).date().isoformat()
    (item,) = client.list_all(f"/ledger?route=free&day={day}", "")
    target = client.target("free/first.txt").get_blob_properties()
    assert (item["id"], item["source_etag"], item["size"]) == (ended["free"]["id"], etag, 10)
    assert item["target_etag"] == ended["free"]["target_etag"] == str(target.etag).strip('"')
    assert client.api("GET", f"/ledger?route=unknown&day={day}").status == 404

    client.until(lambda: over_budget(client), "the process knows that the budget is used up")
    summary = client.api("GET", "/summary").body
    assert (summary["routes"], summary["running"]["count"]) == (2, 0)


def over_budget(client: Client) -> bool:
    """Put another blob, and return whether the route without budget alone has shared it."""
    name = f"{datetime.now(UTC).timestamp()}.txt"
    client.put(name, b"more")
    assert client.until_final(name, "free")["state"] == "verified"
    until_queue_is_empty(client)
    return transfers_named(client, name, "limited") == []


def test_the_collector_gets_what_a_scraper_reads(client: Client, collector: Sink) -> None:
    """After the transfers of the test before."""
    verified = collected(client, lambda routes: routes["free"]["total"]["verified"] >= 2)["free"]["total"]["verified"]
    assert collector.points("sharing.transfers")["free", "verified"] == verified
    count, seconds = collector.points("sharing.transfer.duration")["free",]
    assert (count, seconds > 0) == (verified, True)
    text = client.request("GET", f"{client.stack.api}/metrics", None, {}).body.decode()
    samples = {
        (sample.name, sample.labels.get("sharing_route"), sample.labels.get("sharing_state")): sample.value
        for family in text_string_to_metric_families(text)  # type: ignore[no-untyped-call]  # no types in the library
        for sample in family.samples
    }
    assert samples["sharing_transfers_total", "free", "verified"] == verified
    assert samples["sharing_transfer_duration_seconds_sum", "free", None] == seconds
    assert {each["api-key"] for each in collector.headers} == {"secret"}
    (first,) = transfers_named(client, "first.txt", "free")
    shown = client.api("GET", f"/transfers/{first['id']}").body
    assert shown["trace_url"] == f"https://jaeger.example/trace/{shown['trace_id']}"
