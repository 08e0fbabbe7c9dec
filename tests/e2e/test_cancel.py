"""Cancelling transfers: no cancel is lost, its answer is true, and no incomplete target remains."""

import http.client
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from tests.e2e.client import ON_FUNC, Answer, Client
from tests.e2e.events import created_event, until_queue_is_empty
from tests.e2e.transfers import copying_transfer, held_request

MIB = 1024 * 1024


def test_cancel_of_a_pending_copy_leaves_no_incomplete_target(client: Client) -> None:
    """A late duplicate of the event does not restart the transfer; a share request does."""
    client.create_container("sharingsource", "async")
    client.create_container("sharingtarget", "async")
    client.control.copies(hold=True)
    try:
        client.put("unwanted.bin", b"unwanted" * MIB, container="async")
        pending = client.until(lambda: copying_transfer(client, "unwanted.bin"), "it is pending")
        assert client.target("unwanted.bin", "async").get_blob_properties().size == 0
        answer = client.api("DELETE", f"/transfers/{pending['id']}")
        assert answer.status == 202
        assert answer.body["cancelling"] is True
        assert client.until_ended(pending["id"])["state"] == "cancelled"
        assert not client.target("unwanted.bin", "async").exists()
    finally:
        client.control.copies(hold=False)
    deliver_duplicate(client, pending)
    assert client.api("GET", f"/transfers/{pending['id']}").body["state"] == "cancelled"
    again = client.api("DELETE", f"/transfers/{pending['id']}")
    assert (again.status, again.body["state"]) == (409, "cancelled")
    assert client.api("POST", "/transfers", {"route": "patient", "name": "unwanted.bin"}).status == 202
    ended = client.until_ended(pending["id"])
    while ended["state"] == "cancelled":
        ended = client.until_ended(pending["id"])
    assert (ended["state"], ended["attempt"]) == ("verified", 1)


def deliver_duplicate(client: Client, transfer: dict[str, Any]) -> None:
    blob = client.source("unwanted.bin", "async")
    client.queue().send_message(created_event(blob.url, "async", "unwanted.bin", transfer["source"]["etag"]))
    until_queue_is_empty(client)


@pytest.mark.usefixtures("held_copies")
@pytest.mark.parametrize(
    ("operation", "account", "when"),
    [
        pytest.param("HeadBlob", "sharingsource", "before", id="before it copies"),
        pytest.param("CopyBlob", "sharingtarget", "after", id="while it copies"),
        pytest.param("HeadBlob", "sharingtarget", "before", id="while it looks at the target"),
    ],
)
def test_cancel_during_an_activity_and_again_during_the_cleanup(
    client: Client, operation: str, account: str, when: str
) -> None:
    """Both are answered with 202, although the first has not taken effect yet."""
    name = f"midway-{operation}-{account}"
    with held_request(client, operation, account, name, when) as until_held:
        client.put(name, b"midway" * MIB, container="async")
        until_held()
        found = client.transfer_of(name, "patient").body
        answer = client.api("DELETE", f"/transfers/{found['id']}")
        assert (answer.status, answer.body["cancelling"]) == (202, True)
    with held_request(client, "AbortCopy", "sharingtarget", name) as until_held:
        until_held()
        again = client.api("DELETE", f"/transfers/{found['id']}")
        assert (again.status, again.body["cancelling"], again.body["ending"]) == (202, True, "cancelled")
    assert client.until_ended(found["id"])["state"] == "cancelled"
    assert not client.target(name, "async").exists()
    late = client.api("DELETE", f"/transfers/{found['id']}")
    assert (late.status, late.body["state"]) == (409, "cancelled")


def test_a_cancel_after_the_copy_ends_verified(client: Client) -> None:
    """The only activity of a small blob has already copied it, and a complete target counts."""
    with held_request(client, "CopyBlobFromUrl", "sharingtarget", "toolate.txt", "after") as until_held:
        client.put("toolate.txt", b"too late")
        until_held()
        found = client.transfer_of("toolate.txt").body
        answer = client.api("DELETE", f"/transfers/{found['id']}")
        assert (answer.status, answer.body["cancelling"]) == (202, True)
    assert client.until_ended(found["id"])["state"] == "verified"
    assert client.read(client.target("toolate.txt")) == b"too late"
    late = client.api("DELETE", f"/transfers/{found['id']}")
    assert (late.status, late.body["state"]) == (409, "verified")


@pytest.mark.usefixtures("held_copies")
def test_two_concurrent_cancels_survive_a_killed_host(client: Client) -> None:
    client.put("torn.bin", b"torn" * MIB, container="async")
    found = client.until(lambda: copying_transfer(client, "torn.bin"), "it is pending")
    path = f"/transfers/{found['id']}"
    with ThreadPoolExecutor(2) as pool:
        cancels = [pool.submit(client.api, "DELETE", path) for _ in range(2)]
        client.until(lambda: client.api("GET", path).body["cancelling"], "the cancel is confirmed")
        client.stack.kill_host()
        answers = [cancel.result() for cancel in cancels if cancel.exception() is None]
    assert {answer.status for answer in answers} <= {202}
    client.stack.start_host()
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: client.api("DELETE", path), range(2)))
    assert all(answer.status == 202 or answer.body["state"] == "cancelled" for answer in answers)
    assert client.until_ended(found["id"])["state"] == "cancelled"
    assert not client.target("torn.bin", "async").exists()


@pytest.mark.usefixtures("held_copies")
def test_a_cancelled_replay_resolves_its_dead_letter(client: Client) -> None:
    refused = {"status": 404, "code": "ContainerNotFound"}
    rule = client.control.add_fault({"operation": "CopyBlob", "blob": "^twice.bin$"}, refused)
    try:
        client.put("twice.bin", b"twice" * MIB, container="async")
        failed = client.until_final("twice.bin", "patient")
    finally:
        client.control.remove_faults(rule)
    path = f"/transfers/{failed['id']}"
    assert failed["state"] == "dead_lettered"
    too_late = client.api("DELETE", path)
    assert (too_late.status, too_late.body["state"]) == (409, "dead_lettered")
    assert client.api("POST", f"/dead-letters/{failed['id']}/replay").status == 202
    client.until(lambda: copying_transfer(client, "twice.bin"), "the replay is pending")
    answer = client.api("DELETE", path)
    assert (answer.status, answer.body["attempt"]) == (202, 1)
    ended = client.until_ended(failed["id"])
    assert (ended["state"], ended["attempt"]) == ("cancelled", 1)
    dead_letter = client.api("GET", f"/dead-letters/{failed['id']}").body
    assert (dead_letter["state"], dead_letter["resolved_as"]) == ("resolved", "cancelled")


def test_a_superseded_transfer_cannot_be_cancelled(client: Client) -> None:
    client.control.events(mode="hold")
    try:
        etag = client.put("gone-before", b"gone")
        client.source("gone-before").delete_blob()
    finally:
        client.control.events(mode="deliver")

    def superseded() -> list[dict[str, Any]]:
        items = client.list_all("/transfers?route=default&state=superseded")
        return [item for item in items if item["source"]["etag"] == etag]

    [found] = client.until(superseded, "it ends")
    answer = client.api("DELETE", f"/transfers/{found['id']}")
    assert (answer.status, answer.body["state"]) == (409, "superseded")


@pytest.fixture
def slow_copies(client: Client) -> Iterator[None]:
    """Copies take ten seconds, so that some are complete before their cleanup. Copies of 1 MiB take four minutes.

    A killed real host continues only after more than a minute, so all its copies take four minutes.
    """
    client.create_container("sharingsource", "async")
    client.create_container("sharingtarget", "async")
    before = client.control.copies()
    client.control.copies(seconds=240 if ON_FUNC else 10, rate=MIB // 240)
    yield
    client.control.copies(seconds=before["seconds"], rate=before["rate"])


@pytest.mark.usefixtures("slow_copies")
def test_the_answers_of_thirty_cancels_through_two_kills_are_true(client: Client) -> None:
    names = [f"storm-{number}" for number in range(30)]
    for number, name in enumerate(names):
        client.put(name, b"x" * (MIB if number % 3 == 0 else 1), container="async")
    with ThreadPoolExecutor(6) as pool:
        cancels = {name: pool.submit(cancel_until_answered, client, name) for name in names}
        for count in (8, 20):
            client.until(partial(are_done, cancels, count), f"{count} are answered")
            client.stack.kill_host()
            client.stack.start_host()
        answers = {name: cancel.result() for name, cancel in cancels.items()}
    states = {}
    for name, answer in answers.items():
        states[name] = client.until_ended(answer.body.get("transfer_id") or answer.body["id"])["state"]
        assert states[name] in ({"cancelled", "verified"} if answer.status == 202 else {answer.body["state"]}), name
        assert client.target(name, "async").exists() is (states[name] == "verified"), name
    assert "cancelled" in states.values()


def are_done(cancels: dict[str, Future[Answer]], count: int) -> bool:
    return sum(cancel.done() for cancel in cancels.values()) >= count


def cancel_until_answered(client: Client, name: str) -> Answer:
    """Cancel the transfer of a blob, and repeat while the host is down or busy. Return the answer with status 202 or 409."""

    def look() -> Answer | None:
        try:
            found = client.transfer_of(name, "patient")
            answer = client.api("DELETE", f"/transfers/{found.body['id']}") if found.status == 200 else found
        except (OSError, http.client.HTTPException):
            return None  # the host is down
        if answer.status == 409:
            answer.body["transfer_id"] = found.body["id"]
        return answer if answer.status in {202, 409} else None

    answer: Answer = client.until(look, f"{name} is answered")
    return answer
