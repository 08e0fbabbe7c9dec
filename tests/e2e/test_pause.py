"""A paused route: what it misses is shared by itself after the pause. Another route of the same source goes on."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.client import Client
from tests.e2e.events import until_queue_is_empty
from tests.e2e.stacks import environment, restart, running_stack
from tests.e2e.transfers import transfers_named


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A stack with two routes of one source, one of them paused."""
    state = tmp_path_factory.mktemp("pause")
    settings = environment(state)
    accounts = f"http://127.0.0.1:{settings['AZURITE_BLOB_PORT']}"
    routes = [
        {
            "name": name,
            "source": f"{accounts}/sharingsource/source/",
            "target": f"{accounts}/sharingtarget/target/{name}/",
            "paused": name == "paused",
        }
        for name in ("paused", "active")
    ]
    with running_stack(state, settings | {"ROUTES": json.dumps(routes)}) as running:
        yield running


def reconciles(client: Client) -> list[dict[str, Any]]:
    return client.list_all("/reconciles")


def test_what_a_paused_route_misses_is_shared_after_the_pause(client: Client) -> None:
    client.put("missed.txt", b"missed")
    assert client.until_final("missed.txt", "active")["state"] == "verified"
    until_queue_is_empty(client)
    assert transfers_named(client, "missed.txt", "paused") == []
    client.run_timer("schedule")
    checks = {check["name"]: check["detail"] for check in client.api("GET", "/health").body["checks"]}
    assert checks["route paused"] == "paused"
    assert client.api("POST", "/transfers", {"route": "paused", "name": "missed.txt"}).status == 202
    assert client.until_final("missed.txt", "paused")["state"] == "verified"
    client.put("later.txt", b"later")
    assert client.until_final("later.txt", "active")["state"] == "verified"
    until_queue_is_empty(client)
    assert reconciles(client) == []

    routes = [{**route, "paused": False} for route in json.loads(client.stack.environment["ROUTES"])]
    restart(client, {**client.stack.environment, "ROUTES": json.dumps(routes)})
    client.run_timer("schedule")
    assert client.until_final("later.txt", "paused")["state"] == "verified"
    client.run_timer("schedule")
    (job,) = client.until(
        lambda: [job for job in reconciles(client) if job["state"] == "done"], "the reconcile is done"
    )
    assert (job["route"], job["counts"]["started"], job["counts"]["match"]) == ("paused", 1, 1)
    assert len(reconciles(client)) == 1
