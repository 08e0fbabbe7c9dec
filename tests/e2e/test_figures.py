"""Figures, ledger and daily budget on the local stack."""

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from operations.figures import query
from rules.figures import aggregate
from rules.figures.feed import Kind, Message
from tests.e2e.client import Client
from tests.e2e.events import until_queue_is_empty
from tests.e2e.stacks import environment, running_stack
from tests.e2e.storm import LONG
from tests.e2e.transfers import transfers_named
from tests.otlp import Sink, sink

# `make soak` has SOAK=long.
MANY = 100_000 if LONG else 2_000
LATELY = datetime.now(UTC)
END = Message(
    Kind.VERIFIED, LATELY, "", attempt=0, route="free", name="copy", source="s", target="t", accepted_at=LATELY, size=1
)


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
    # The timer sends the metrics at its end.
    client.until(lambda: collector.points("sharing.transfers")["free", "verified"] == verified, "the metrics are sent")
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


def fill(client: Client, model: dict[str, Any], numbers: range) -> None:
    """Copy a finished transfer into the host's store, once for each number, and count as many ends of its route."""
    ends = [replace(END, id=f"{model['id'][:8]}-{number:010x}{'0' * 14}") for number in numbers]
    with closing(sqlite3.connect(client.stack.state / "host.sqlite", timeout=60)) as store, store:
        row = store.execute("SELECT * FROM instances WHERE id = ?", [model["id"]]).fetchone()
        rows = (
            [value.replace(model["id"], end.id) if isinstance(value, str) else value for value in row] for end in ends
        )
        store.executemany(f"INSERT INTO instances VALUES ({', '.join('?' * len(row))})", rows)  # noqa: S608  # only placeholders
    blob = client.accounts["sharingstate"].get_blob_client("figures", "free.json")
    figures = aggregate.read(json.loads(blob.download_blob().readall()))
    # Without the lines of the ledger, which the timer appends in pages.
    filled = replace(aggregate.merge(figures, ends, datetime.now(UTC)), pages={})
    blob.upload_blob(json.dumps(aggregate.record(filled)).encode(), overwrite=True)


def cost(client: Client) -> tuple[dict[str, list[str]], dict[str, float]]:
    """The requests for figures of one call of each kind, and its milliseconds, when the process has kept nothing."""
    asked, took = {}, {}
    for path in ("/routes", "/summary"):

        def call(path: str = path) -> list[str]:
            time.sleep(query.SECONDS)
            client.control.forget_requests()
            began = time.perf_counter()
            assert client.api("GET", path).status == 200
            took[path] = round((time.perf_counter() - began) * 1000, 1)
            own = [each for each in client.control.requests(account="sharingstate") if each["container"] == "figures"]
            return sorted(f"{each['operation']} {each['blob']}" for each in own)

        # Nothing is read if the timer, which sends metrics, has just read it.
        asked[path] = client.until(call, "the figures are read")
    return asked, took


def test_the_cost_of_a_call_does_not_depend_on_the_number_of_transfers(client: Client) -> None:
    """With SOAK=long, 100,000 finished instances are in the store. The time is printed, not checked."""
    (model,) = transfers_named(client, "first.txt", "free")
    fill(client, model, range(100))
    before, took_before = cost(client)
    fill(client, model, range(100, MANY))
    after, took_after = cost(client)
    print(f"milliseconds of a call with 100 and with {MANY} finished instances: {took_before}, {took_after}")  # noqa: T201  # the measurement
    assert before == after
    assert all(len(each) == 3 for each in before.values())
    (free,) = [each for each in client.api("GET", "/routes").body["routes"] if each["route"] == "free"]
    assert free["total"]["verified"] >= MANY
