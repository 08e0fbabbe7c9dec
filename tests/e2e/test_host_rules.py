"""The host behaviour that docs/host.md lists, and how the app handles it, on the whole stack."""

import http.client
import json
from typing import Any

import pytest

from tests.e2e.client import FINAL, Client
from tests.e2e.events import created_event, until_queue_is_empty
from tests.e2e.transfers import copying_transfer

MIB = 1024 * 1024
SECRET = "c2VjcmV0LWtleQ"  # not a real key


def held_requests(client: Client, rule: int) -> int:
    return int(next(fault["waiting"] for fault in client.control.faults() if fault["id"] == rule))


def is_final(client: Client, name: str) -> bool:
    return client.transfer_of(name).body.get("state") in FINAL


def test_a_dead_worker_delays_transfers_but_causes_no_second_copy(client: Client) -> None:
    """Its activities fail, and the host fails their orchestrations. The app resumes each and finds the copy."""
    names = [f"orphan-{number}" for number in range(8)]
    rule = client.control.add_fault(
        {"operation": "CopyBlobFromUrl", "blob": "^orphan-"}, {"hold": True, "when": "after"}, 8
    )
    for name in names:
        client.put(name, name.encode())
    client.until(lambda: held_requests(client, rule) == len(names), "all activities wait for their answer")
    client.kill_worker()
    client.control.remove_faults(rule)
    client.until_resumed(lambda: all(is_final(client, name) for name in names), "all have ended")
    for name in names:
        assert client.transfer_of(name).body["state"] == "verified"
        assert client.read(client.target(name)) == name.encode()
    looks = client.control.requests(operation="HeadBlob", account="sharingtarget", internal=False)
    assert {look["blob"] for look in looks} >= set(names)  # the resumed activities look for the copy
    assert client.count_requests(names)["CopyBlobFromUrl"] == len(names)


def test_twelve_concurrent_deliveries_are_one_transfer(client: Client) -> None:
    """A start is not atomic: the host may accept several, but only one copy is requested."""
    client.control.events(mode="drop")
    try:
        etag = client.put("crowded.txt", b"once")
    finally:
        client.control.events(mode="deliver")
    event = created_event(client.source("crowded.txt").url, "source", "crowded.txt", etag)
    for _ in range(12):
        client.queue().send_message(event)
    assert client.until_final("crowded.txt")["state"] == "verified"
    until_queue_is_empty(client)
    assert client.count_requests(["crowded.txt"])["CopyBlobFromUrl"] == 1


@pytest.mark.usefixtures("held_copies")
def test_a_suspended_transfer_is_running_and_can_be_cancelled(client: Client) -> None:
    """A share does not restart it, and it ends cancelled after it is resumed."""
    client.put("suspended.bin", b"suspended" * MIB, container="async")
    found = client.until(lambda: copying_transfer(client, "suspended.bin"), "it is pending")
    assert client.post_webhook(f"/instances/{found['id']}/suspend?reason=why") == 202
    shared = client.api("POST", "/transfers", {"route": "patient", "name": "suspended.bin"})
    assert (shared.status, shared.body["transfers"][0]["id"]) == (202, found["id"])
    assert client.api("GET", f"/transfers/{found['id']}").body["attempt"] == 0
    answer = client.api("DELETE", f"/transfers/{found['id']}")
    assert (answer.status, answer.body["cancelling"]) == (202, True)
    # Refused if its next execution has started already.
    client.post_webhook(f"/instances/{found['id']}/resume?reason=because")
    assert client.until_ended(found["id"])["state"] == "cancelled"
    assert not client.target("suspended.bin", "async").exists()


def test_a_chunked_body_is_dropped_and_the_answer_says_so(client: Client) -> None:
    """The host drops it. The fix names Content-Length."""
    body = json.dumps({"route": "default", "name": "never.txt"}).encode()
    connection = http.client.HTTPConnection("127.0.0.1", client.stack.host_port, timeout=60)
    connection.request(
        "POST", "/api/transfers", iter([body]), {"Content-Type": "application/json"}, encode_chunked=True
    )
    answer = connection.getresponse()
    problem = json.loads(answer.read())
    connection.close()
    assert answer.status == 400
    assert "Content-Length" in problem["fix"]


@pytest.fixture
def shared(client: Client) -> Any:
    client.put("shared.txt", b"shared")
    return client.until_final("shared.txt")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/../API/Transfers/", 200),
        ("/Transfers/{id}/", 200),
        ("/transfers/%2e%2e/health", None),
        ("/transfers/..%2fhealth", 400),
        ("/transfers/{id}%2F", 400),
        ("/transfers/a%5Cb", 400),
        ("/transfers/{id}%23", 400),
        ("/transfers?state=verified&state=cancelled", 400),
        ("/transfers?route=default&route=first", 400),
        ("/transfers?limit=1&limit=1", 400),
        ("/transfers?route=default&name=a&name=b", 400),
        ("/transfers?state=", 400),
        ("/transfers?route=default&state=", 400),
        ("/dead-letters?reason=", 400),
        ("/transfers?limit=3&continuation=", 200),
    ],
)
def test_paths_and_parameters_arrive_as_the_host_normalizes_them(
    client: Client, shared: dict[str, str], path: str, status: int | None
) -> None:
    """Case is ignored, a trailing slash dropped, dots are resolved, %2F is kept.

    The host joins repeated parameters with a comma, and the app refuses them.
    """
    answer = client.api("GET", path.format(id=shared["id"]))
    assert answer.status in ({status} if status else {200, 503})
    if answer.status == 400:
        assert answer.body["fix"]


@pytest.mark.parametrize("path", ["/transfers", "/transfers/{id}", "/transfers?colour=red", "/health", "/transfers/x"])
def test_the_key_in_a_query_is_never_echoed(client: Client, shared: dict[str, str], path: str) -> None:
    """The host passes it as a parameter and in the URL."""
    path = path.format(id=shared["id"])
    answer = client.api("GET", f"{path}{'&' if '?' in path else '?'}code={SECRET}")
    assert answer.status < 500 or path == "/health"
    assert SECRET not in json.dumps([answer.headers, answer.body])
    assert SECRET not in (client.stack.state / "stack.log").read_text()


def test_a_method_that_a_path_does_not_have_is_404_with_an_empty_body(client: Client) -> None:
    """The host does not answer 405, OPTIONS or HEAD."""
    for method in ("PUT", "OPTIONS", "PATCH"):
        answer = client.api(method, "/transfers")
        assert (answer.status, answer.body) == (404, None)
