"""The timers: lost activities are resumed, stuck orchestrations ended, old histories purged, undelivered events accepted."""

import json
import os
import sqlite3
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from tests.e2e.client import AGENT, FINAL, Client
from tests.e2e.events import created_event
from tests.e2e.transfers import copying_transfer, held_request, log_lines

MIB = 1024 * 1024
UNDELIVERED = {
    "deadLetterReason": "MaxDeliveryAttemptsExceeded",
    "deliveryAttempts": 30,
    "lastDeliveryOutcome": "NotFound",
    "publishTime": "2026-11-24T19:02:44.0265758Z",
    "lastDeliveryAttemptTime": "2026-11-25T19:02:44.0465788Z",
}
stand_in_only = pytest.mark.skipif(
    os.environ.get("HOST") == "func", reason="the test changes times in the stand-in's task hub, which is a file"
)

# The log actions for an orchestration that was stuck, and for one whose activity was lost.
ENDED, RESUMED = ["watchdog.stuck", "resume.ended"], ["watchdog.lost", "resume.resumed"]


def actions(client: Client, transfer_id: str) -> list[str]:
    """The log actions about a transfer, in order."""
    return [line["action"] for line in log_lines(client, transfer_id)]


def backdate(client: Client, transfer_id: str, by: timedelta) -> None:
    """Move the creation, acceptance and last change of a transfer into the past."""
    then = (datetime.now(UTC) - by).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    with closing(sqlite3.connect(client.stack.state / "host.sqlite", timeout=30)) as hub, hub:
        [(text, custom)] = hub.execute("SELECT input, custom FROM instances WHERE id = ?", (transfer_id,))
        columns = (
            json.dumps(_with_accepted_at(json.loads(text), then)),
            _without_next_check(custom),
            then,
            then,
            transfer_id,
        )
        hub.execute("UPDATE instances SET input = ?, custom = ?, created = ?, updated = ? WHERE id = ?", columns)


def _with_accepted_at(run: Any, then: str) -> Any:
    """The SDK may have encoded the input twice."""
    return json.dumps(_with_accepted_at(json.loads(run), then)) if isinstance(run, str) else run | {"accepted_at": then}


def _without_next_check(custom: str | None) -> str | None:
    return custom and json.dumps(json.loads(custom) | {"next_check_at": None})


def delete_messages(client: Client, transfer_id: str) -> None:
    """Delete every message and timer that would continue the transfer."""
    with closing(sqlite3.connect(client.stack.state / "host.sqlite", timeout=30)) as hub, hub:
        for table in ("inbox", "timers", "activities"):
            hub.execute(f"DELETE FROM {table} WHERE instance = ?", (transfer_id,))  # noqa: S608  # fixed names


@stand_in_only
@pytest.mark.usefixtures("held_copies")
def test_a_transfer_whose_messages_were_lost_becomes_a_dead_letter_and_can_be_replayed(client: Client) -> None:
    """No incomplete target remains. The watchdog ignores a transfer that waits for less than its limit."""
    names = ("stuck.bin", "waiting.bin")
    for name in names:
        client.put(name, name.encode() * MIB, container="async")
    stuck, waiting = [
        client.until(partial(copying_transfer, client, name), f"{name} is pending")["id"] for name in names
    ]
    client.stack.kill_host()
    for transfer_id, by in ((stuck, timedelta(days=3)), (waiting, timedelta(minutes=14))):
        delete_messages(client, transfer_id)
        backdate(client, transfer_id, by)
    client.stack.start_host()
    client.run_timer("watchdog")
    letter = client.until(lambda: dead_letter(client, stuck), "it is a dead letter")
    assert letter["reason"] == "internal"
    assert "Terminated: no progress for 72 hours" in letter["detail"]
    assert not client.target("stuck.bin", "async").exists()
    shown = client.api("GET", f"/transfers/{waiting}").body
    assert (shown["state"], shown["attempt"], shown["resumes"]) == ("copying", 0, 0)
    assert [action for action in actions(client, stuck) if action in ENDED] == ENDED
    assert not {*ENDED, *RESUMED} & set(actions(client, waiting))
    assert '"action": "watchdog.silent"' in client.log.read_text().replace('\\"', '"')
    client.control.copies(hold=False)
    assert client.api("POST", f"/dead-letters/{stuck}/replay").status == 202
    client.until(lambda: client.api("GET", f"/transfers/{stuck}").body["state"] == "verified", "the replay is verified")
    assert client.read(client.target("stuck.bin", "async")) == b"stuck.bin" * MIB
    # Terminate the other one. Its copy is complete.
    assert client.post_webhook(f"/instances/{waiting}/terminate?reason=test") == 202
    assert until_resumed_and_ended(client, waiting)["state"] == "verified"


@stand_in_only
@pytest.mark.parametrize(
    ("operation", "when"),
    [
        pytest.param("HeadBlob", "before", id="before it copied"),
        pytest.param("CopyBlob", "after", id="after it copied"),
    ],
)
@pytest.mark.usefixtures("held_copies")
def test_a_lost_activity_is_resumed_and_copies_once(client: Client, operation: str, when: str) -> None:
    """The host drops calls of an activity that it does not know.

    After 15 minutes the watchdog ends the orchestration, and the app resumes it.
    """
    name = f"lost-{operation}.bin"
    account = "sharingsource" if operation == "HeadBlob" else "sharingtarget"
    with held_request(client, operation, account, name, when) as until_held:
        client.put(name, name.encode(), container="async")
        until_held()
        client.stack.kill_host()
    found = lose_activity(client, name)
    client.control.copies(hold=False)
    client.stack.start_host()
    client.run_timer("watchdog")
    client.until(lambda: "watchdog.lost" in actions(client, found), "the loss is detected")
    ended = until_resumed_and_ended(client, found)
    assert (ended["state"], ended["attempt"], ended["resumes"]) == ("verified", 0, 1)
    assert client.read(client.target(name, "async")) == name.encode()
    assert client.count_requests([name])["CopyBlob"] == 1
    assert [action for action in actions(client, found) if action in RESUMED] == RESUMED


def lose_activity(client: Client, name: str) -> str:
    """Lose the only activity of a blob's transfer 20 minutes ago, while the host is down. Return the transfer's id."""
    with closing(sqlite3.connect(client.stack.state / "host.sqlite", timeout=30)) as hub:
        text = f"%{name}%"
        [(transfer_id,)] = hub.execute("SELECT instance FROM activities WHERE data LIKE ?", (text,)).fetchall()
    delete_messages(client, transfer_id)
    backdate(client, transfer_id, timedelta(minutes=20))
    return str(transfer_id)


def until_resumed_and_ended(client: Client, transfer_id: str) -> dict[str, Any]:
    """Run the timer `resume` until the transfer has ended, and return it."""

    def look() -> dict[str, Any] | None:
        client.run_timer("resume")
        shown: dict[str, Any] = client.api("GET", f"/transfers/{transfer_id}").body
        return shown if shown["state"] in FINAL else None

    found: dict[str, Any] = client.until(look, f"{transfer_id} ends")
    return found


def dead_letter(client: Client, transfer_id: str) -> dict[str, Any] | None:
    """Run the timer `resume`, and return the dead letter if it is open."""
    client.run_timer("resume")
    answer = client.api("GET", f"/dead-letters/{transfer_id}")
    return answer.body if answer.status == 200 and answer.body["state"] == "open" else None


def purge(client: Client, transfer_id: str) -> None:
    """Backdate an ended transfer by a month, and purge it."""
    backdate(client, transfer_id, timedelta(days=31))
    client.run_timer("purge")
    answer = client.until(lambda: not_found_problem(client, transfer_id), "it is purged")
    assert all(word in answer["fix"] for word in ("30 days", "route", "name", "source_etag", "transfer_id"))


def not_found_problem(client: Client, transfer_id: str) -> dict[str, Any] | None:
    """Return the problem if the transfer is unknown."""
    answer = client.api("GET", f"/transfers/{transfer_id}")
    return answer.body if answer.status == 404 else None


def target_requests(client: Client, name: str) -> Counter[tuple[str, int]]:
    """Count the app's requests to a target blob by operation and status."""
    requests = client.control.requests(account="sharingtarget", blob=name, internal=False)
    return Counter((request["operation"], request["status"]) for request in requests if AGENT in request["user_agent"])


@stand_in_only
def test_a_late_duplicate_of_a_purged_verified_transfer_copies_nothing(client: Client) -> None:
    """One look finds the receipt. Younger transfers are not purged."""
    etag = client.put("purged.txt", b"purged")
    client.put("younger.txt", b"younger")
    found, younger = client.until_final("purged.txt"), client.until_final("younger.txt")
    properties, before = client.target("purged.txt").get_blob_properties(), target_requests(client, "purged.txt")
    purge(client, found["id"])
    client.queue().send_message(created_event(client.source("purged.txt").url, "source", "purged.txt", etag))
    # A lookup by name would read the target too.
    assert client.until_ended(found["id"])["state"] == "verified"
    requests = target_requests(client, "purged.txt") - before
    assert requests == {("CopyBlobFromUrl", 409): 1, ("HeadBlob", 200): 1}
    assert client.read(client.target("purged.txt")) == b"purged"
    assert client.target("purged.txt").get_blob_properties().metadata == properties.metadata
    assert client.api("GET", f"/transfers/{younger['id']}").status == 200


@stand_in_only
@pytest.mark.usefixtures("held_copies")
def test_a_late_duplicate_of_a_purged_cancelled_transfer_is_stopped_by_the_record_of_its_end(client: Client) -> None:
    etag = client.put("never.bin", b"never" * MIB, container="async")
    found = client.until(lambda: copying_transfer(client, "never.bin"), "it is pending")
    assert client.api("DELETE", f"/transfers/{found['id']}").status == 202
    assert client.until_ended(found["id"])["state"] == "cancelled"
    before = client.count_requests(["never.bin"])["CopyBlob"]
    purge(client, found["id"])
    client.queue().send_message(created_event(client.source("never.bin", "async").url, "async", "never.bin", etag))
    assert client.until_ended(found["id"])["state"] == "cancelled"
    assert client.count_requests(["never.bin"])["CopyBlob"] == before
    assert not client.target("never.bin", "async").exists()


@stand_in_only
def test_a_transfer_whose_dead_letter_is_open_is_not_purged(client: Client) -> None:
    refused = {"status": 404, "code": "ContainerNotFound"}
    rule = client.control.add_fault({"operation": "CopyBlobFromUrl", "blob": "^old.txt$"}, refused)
    try:
        client.put("old.txt", b"old")
        found = client.until_final("old.txt")
    finally:
        client.control.remove_faults(rule)
    assert found["state"] == "dead_lettered"
    client.put("marker.txt", b"marker")
    marker = client.until_final("marker.txt")["id"]
    backdate(client, found["id"], timedelta(days=31))
    purge(client, marker)
    assert client.api("GET", f"/transfers/{found['id']}").body["state"] == "dead_lettered"


def test_undelivered_events_of_event_grid_are_accepted(client: Client) -> None:
    """An item that is not an event becomes a dead letter. Then the app deletes the blob."""
    names = [f"undelivered/{number}.txt" for number in range(3)]
    client.control.events(mode="drop")
    try:
        etags = {name: client.put(name, name.encode()) for name in names}
    finally:
        client.control.events(mode="deliver")
    events = [
        json.loads(created_event(client.source(name).url, "source", name, etag)) | UNDELIVERED
        for name, etag in etags.items()
    ]
    letters = {item["id"] for item in client.list_all("/dead-letters?reason=malformed")}
    kept = client.accounts["sharingevents"].get_container_client("event-dead-letters")
    body = json.dumps([*events, {"not": "an event"} | UNDELIVERED])
    kept.upload_blob("topic/SUBSCRIPTION/2026/11/25/19/0.json", body)
    client.run_timer("drain")
    for name in names:
        assert client.until_final(name)["state"] == "verified"
        assert client.read(client.target(name)) == name.encode()
    client.until(lambda: not list(kept.list_blobs()), "the blob is deleted")
    [new] = {item["id"] for item in client.list_all("/dead-letters?reason=malformed")} - letters
    assert new.startswith("message-")
