"""What the host does to an app, and that this one bears it: on the whole stack. docs/host.md has the list."""

import http.client
import json
from typing import Any

import pytest

from tests.e2e.desk import FINAL, Desk
from tests.e2e.helpers import copying, created

MIB = 1024 * 1024
SECRET = "c2VjcmV0LWtleQ"  # no key of anything


def waiting(desk: Desk, rule: int) -> int:
    """How many requests a fault holds."""
    return int(next(fault["waiting"] for fault in desk.control.faults() if fault["id"] == rule))


def is_final(desk: Desk, name: str) -> bool:
    """Whether the transfer of a name has ended."""
    return desk.transfer_of(name).body.get("state") in FINAL


def test_a_worker_that_dies_costs_a_backoff_and_no_second_copy(desk: Desk) -> None:
    """Its activities fail, and the host ends their orchestrations. Each is resumed, and what was copied is found."""
    names = [f"orphan-{number}" for number in range(8)]
    rule = desk.control.add_fault(
        {"operation": "CopyBlobFromUrl", "blob": "^orphan-"}, {"hold": True, "when": "after"}, 8
    )
    for name in names:
        desk.put(name, name.encode())
    desk.until(lambda: waiting(desk, rule) == len(names), "all activities wait for their answer")
    desk.kill_worker()
    desk.control.remove_faults(rule)
    desk.until_resumed(lambda: all(is_final(desk, name) for name in names), "all have ended")
    for name in names:
        assert desk.transfer_of(name).body["state"] == "verified"
        assert desk.read(desk.target(name)) == name.encode()
    looks = desk.control.requests(operation="HeadBlob", account="sharingtarget", internal=False)
    assert {look["blob"] for look in looks} >= set(names)  # who hears that it has copied does not look for it
    assert desk.requests(names)["CopyBlobFromUrl"] == len(names)


def test_twelve_deliveries_at_once_are_one_transfer(desk: Desk) -> None:
    """A start is not atomic: several are accepted, and one copy is asked for."""
    desk.control.events(mode="drop")
    try:
        etag = desk.put("crowded.txt", b"once")
    finally:
        desk.control.events(mode="deliver")
    event = created(desk.source("crowded.txt").url, "source", "crowded.txt", etag)
    for _ in range(12):
        desk.queue().send_message(event)
    assert desk.until_final("crowded.txt")["state"] == "verified"
    desk.until(lambda: desk.queue().get_queue_properties().approximate_message_count == 0, "all are taken")
    assert desk.requests(["crowded.txt"])["CopyBlobFromUrl"] == 1


@pytest.mark.usefixtures("endless")
def test_a_suspended_transfer_is_running_and_can_be_cancelled(desk: Desk) -> None:
    """Whoever suspended it: nobody may start it anew, a cancel is noticed, and after the resumption it ends."""
    desk.put("suspended.bin", b"suspended" * MIB, container="async")
    found = desk.until(lambda: copying(desk, "suspended.bin"), "it is pending")
    assert desk.webhook(f"/instances/{found['id']}/suspend?reason=why") == 202
    shared = desk.api("POST", "/transfers", {"route": "patient", "name": "suspended.bin"})
    assert (shared.status, shared.body["transfers"][0]["id"]) == (202, found["id"])
    assert desk.api("GET", f"/transfers/{found['id']}").body["attempt"] == 0
    answer = desk.api("DELETE", f"/transfers/{found['id']}")
    assert (answer.status, answer.body["cancelling"]) == (202, True)
    desk.webhook(f"/instances/{found['id']}/resume?reason=because")  # refused if its next execution has begun already
    assert desk.until_ended(found["id"])["state"] == "cancelled"
    assert not desk.target("suspended.bin", "async").exists()


def test_a_chunked_body_is_lost_and_the_answer_says_so(desk: Desk) -> None:
    """The host drops it: nothing is shared, and the fix names Content-Length."""
    body = json.dumps({"route": "default", "name": "never.txt"}).encode()
    connection = http.client.HTTPConnection("127.0.0.1", desk.stack.host_port, timeout=60)
    connection.request(
        "POST", "/api/transfers", iter([body]), {"Content-Type": "application/json"}, encode_chunked=True
    )
    answer = connection.getresponse()
    said = json.loads(answer.read())
    connection.close()
    assert answer.status == 400
    assert "Content-Length" in said["fix"]


@pytest.fixture
def shared(desk: Desk) -> Any:
    """A verified transfer."""
    desk.put("looked-at.txt", b"look")
    return desk.until_final("looked-at.txt")


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
def test_paths_and_parameters_as_the_host_hands_them_over(
    desk: Desk, shared: dict[str, str], path: str, status: int | None
) -> None:
    """Without case, with a slash more, dots resolved, %2F kept; repeated parameters come as one with a comma, and are refused."""
    answer = desk.api("GET", path.format(id=shared["id"]))
    assert answer.status in ({status} if status else {200, 503})
    if answer.status == 400:
        assert answer.body["fix"]


@pytest.mark.parametrize("path", ["/transfers", "/transfers/{id}", "/transfers?colour=red", "/health", "/transfers/x"])
def test_the_key_in_a_query_is_never_echoed(desk: Desk, shared: dict[str, str], path: str) -> None:
    """The host hands it over as a parameter and in the URL."""
    path = path.format(id=shared["id"])
    answer = desk.api("GET", f"{path}{'&' if '?' in path else '?'}code={SECRET}")
    assert answer.status < 500 or path == "/health"
    assert SECRET not in json.dumps([answer.headers, answer.body])
    assert SECRET not in (desk.stack.state / "stack.log").read_text()


def test_a_method_that_a_path_does_not_have_is_404_with_an_empty_body(desk: Desk) -> None:
    """There is no 405, no OPTIONS and no HEAD of the host's own."""
    for method in ("PUT", "OPTIONS", "PATCH"):
        answer = desk.api(method, "/transfers")
        assert (answer.status, answer.body) == (404, None)
