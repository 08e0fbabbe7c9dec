"""What no event brings about: a lost activity is resumed, a stuck orchestration ended, old history goes; what Event Grid gave up."""

import json
import os
import sqlite3
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from tests.e2e.desk import AGENT, FINAL, Desk
from tests.e2e.helpers import copying, created, held, said

MIB = 1024 * 1024
GIVEN_UP = {
    "deadLetterReason": "MaxDeliveryAttemptsExceeded",
    "deliveryAttempts": 30,
    "lastDeliveryOutcome": "NotFound",
    "publishTime": "2026-11-24T19:02:44.0265758Z",
    "lastDeliveryAttemptTime": "2026-11-25T19:02:44.0465788Z",
}
aged_by_hand = pytest.mark.skipif(
    os.environ.get("HOST") == "func", reason="the stand-in's task hub is a file in which time can be turned back"
)


# What the log holds of an orchestration that was stuck, and of one whose activity was lost.
ENDED, GIVEN_BACK = ["watchdog.stuck", "resume.ended"], ["watchdog.lost", "resume.resumed"]


def actions(desk: Desk, transfer_id: str) -> list[str]:
    """What the log holds of a transfer, in order."""
    return [line["action"] for line in said(desk, transfer_id)]


def age(desk: Desk, transfer_id: str, by: timedelta) -> None:
    """Let a transfer be older than it is: when it was begun, accepted, and last changed."""
    then = (datetime.now(UTC) - by).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    with closing(sqlite3.connect(desk.stack.state / "host.sqlite", timeout=30)) as hub, hub:
        [(text, custom)] = hub.execute("SELECT input, custom FROM instances WHERE id = ?", (transfer_id,))
        columns = (json.dumps(_accepted(json.loads(text), then)), _unchecked(custom), then, then, transfer_id)
        hub.execute("UPDATE instances SET input = ?, custom = ?, created = ?, updated = ? WHERE id = ?", columns)


def _accepted(run: Any, then: str) -> Any:
    """The input, which the SDK may have encoded twice."""
    return json.dumps(_accepted(json.loads(run), then)) if isinstance(run, str) else run | {"accepted_at": then}


def _unchecked(custom: str | None) -> str | None:
    return custom and json.dumps(json.loads(custom) | {"next_check_at": None})


def lose(desk: Desk, transfer_id: str) -> None:
    """Take every message that would move a transfer, as a task hub that lost them."""
    with closing(sqlite3.connect(desk.stack.state / "host.sqlite", timeout=30)) as hub, hub:
        for table in ("inbox", "timers", "activities"):
            hub.execute(f"DELETE FROM {table} WHERE instance = ?", (transfer_id,))  # noqa: S608  # fixed names


@aged_by_hand
@pytest.mark.usefixtures("endless")
def test_a_transfer_whose_messages_were_lost_becomes_a_dead_letter_and_can_be_replayed(desk: Desk) -> None:
    """Ended by the watchdog, taken to its end, nothing half-made is left; one that only waits is left alone."""
    names = ("stuck.bin", "waiting.bin")
    for name in names:
        desk.put(name, name.encode() * MIB, container="async")
    stuck, waiting = [desk.until(partial(copying, desk, name), f"{name} is pending")["id"] for name in names]
    desk.stack.kill_host()
    for transfer_id, by in ((stuck, timedelta(days=3)), (waiting, timedelta(minutes=14))):
        lose(desk, transfer_id)
        age(desk, transfer_id, by)
    desk.stack.start_host()
    desk.fire("watchdog")
    letter = desk.until(lambda: dead_letter(desk, stuck), "it is a dead letter")
    assert letter["reason"] == "internal"
    assert "Terminated: no progress for 72 hours" in letter["detail"]
    assert not desk.target("stuck.bin", "async").exists()
    shown = desk.api("GET", f"/transfers/{waiting}").body
    assert (shown["state"], shown["attempt"], shown["resumes"]) == ("copying", 0, 0)
    assert [action for action in actions(desk, stuck) if action in ENDED] == ENDED
    assert not {*ENDED, *GIVEN_BACK} & set(actions(desk, waiting))
    assert '"action": "watchdog.silent"' in desk.log.read_text().replace('\\"', '"')
    desk.control.copies(hold=False)
    assert desk.api("POST", f"/dead-letters/{stuck}/replay").status == 202
    desk.until(lambda: desk.api("GET", f"/transfers/{stuck}").body["state"] == "verified", "the replay is verified")
    assert desk.read(desk.target("stuck.bin", "async")) == b"stuck.bin" * MIB
    # The other is ended by hand; its copy was complete by then.
    assert desk.webhook(f"/instances/{waiting}/terminate?reason=test") == 202
    assert taken_up(desk, waiting)["state"] == "verified"


@aged_by_hand
@pytest.mark.parametrize(
    ("operation", "when"),
    [
        pytest.param("HeadBlob", "before", id="before it copied"),
        pytest.param("CopyBlob", "after", id="after it copied"),
    ],
)
@pytest.mark.usefixtures("endless")
def test_a_lost_activity_is_given_back_and_copies_once(desk: Desk, operation: str, when: str) -> None:
    """The host drops a call that it does not know: nobody has it in hand, and after a quarter of an hour it is started again."""
    name = f"lost-{operation}.bin"
    account = "sharingsource" if operation == "HeadBlob" else "sharingtarget"
    with held(desk, operation, account, name, when) as until_held:
        desk.put(name, name.encode(), container="async")
        until_held()
        desk.stack.kill_host()
    found = lost(desk, name)
    desk.control.copies(hold=False)
    desk.stack.start_host()
    desk.fire("watchdog")
    desk.until(lambda: "watchdog.lost" in actions(desk, found), "it is given back")
    ended = taken_up(desk, found)
    assert (ended["state"], ended["attempt"], ended["resumes"]) == ("verified", 0, 1)
    assert desk.read(desk.target(name, "async")) == name.encode()
    assert desk.requests([name])["CopyBlob"] == 1
    assert [action for action in actions(desk, found) if action in GIVEN_BACK] == GIVEN_BACK


def lost(desk: Desk, name: str) -> str:
    """Let the only activity of a name's transfer be lost while no host runs, twenty minutes ago; the transfer's id."""
    with closing(sqlite3.connect(desk.stack.state / "host.sqlite", timeout=30)) as hub:
        text = f"%{name}%"
        [(transfer_id,)] = hub.execute("SELECT instance FROM activities WHERE data LIKE ?", (text,)).fetchall()
    lose(desk, transfer_id)
    age(desk, transfer_id, timedelta(minutes=20))
    return str(transfer_id)


def taken_up(desk: Desk, transfer_id: str) -> dict[str, Any]:
    """A transfer that was ended or failed, once it has been started again and has ended; its own timer may do it, too."""

    def look() -> dict[str, Any] | None:
        desk.fire("resume")
        shown: dict[str, Any] = desk.api("GET", f"/transfers/{transfer_id}").body
        return shown if shown["state"] in FINAL else None

    found: dict[str, Any] = desk.until(look, f"{transfer_id} ends")
    return found


def dead_letter(desk: Desk, transfer_id: str) -> dict[str, Any] | None:
    """An open dead letter, once the resume timer and settle have brought it about."""
    desk.fire("resume")
    answer = desk.api("GET", f"/dead-letters/{transfer_id}")
    return answer.body if answer.status == 200 and answer.body["state"] == "open" else None


def purged(desk: Desk, transfer_id: str) -> None:
    """Let a transfer have ended a month ago, and purge it."""
    age(desk, transfer_id, timedelta(days=31))
    desk.fire("purge")
    answer = desk.until(lambda: gone(desk, transfer_id), "it is purged")
    assert all(word in answer["fix"] for word in ("30 days", "route", "name", "source_etag", "transfer_id"))


def gone(desk: Desk, transfer_id: str) -> dict[str, Any] | None:
    """The problem, once a transfer is not known any more."""
    answer = desk.api("GET", f"/transfers/{transfer_id}")
    return answer.body if answer.status == 404 else None


def of_target(desk: Desk, name: str) -> Counter[tuple[str, int]]:
    """What the app asked of a target blob, and the answers."""
    asked = desk.control.requests(account="sharingtarget", blob=name, internal=False)
    return Counter((request["operation"], request["status"]) for request in asked if AGENT in request["user_agent"])


@aged_by_hand
def test_a_late_duplicate_of_a_purged_verified_transfer_copies_nothing(desk: Desk) -> None:
    """One look finds the receipt, and there is nothing to clear; a younger one stays known."""
    etag = desk.put("purged.txt", b"purged")
    desk.put("younger.txt", b"younger")
    found, younger = desk.until_final("purged.txt"), desk.until_final("younger.txt")
    there, before = desk.target("purged.txt").get_blob_properties(), of_target(desk, "purged.txt")
    purged(desk, found["id"])
    desk.queue().send_message(created(desk.source("purged.txt").url, "source", "purged.txt", etag))
    assert (
        desk.until_ended(found["id"])["state"] == "verified"
    )  # asked for by its name, the app looks at the target, too
    asked = of_target(desk, "purged.txt") - before
    assert asked == {("CopyBlobFromUrl", 409): 1, ("HeadBlob", 200): 1}
    assert desk.read(desk.target("purged.txt")) == b"purged"
    assert desk.target("purged.txt").get_blob_properties().metadata == there.metadata
    assert desk.api("GET", f"/transfers/{younger['id']}").status == 200


@aged_by_hand
@pytest.mark.usefixtures("endless")
def test_a_late_duplicate_of_a_purged_cancelled_transfer_is_stopped_by_the_record_of_its_end(desk: Desk) -> None:
    """It ends cancelled again, and nothing is copied."""
    etag = desk.put("never.bin", b"never" * MIB, container="async")
    found = desk.until(lambda: copying(desk, "never.bin"), "it is pending")
    assert desk.api("DELETE", f"/transfers/{found['id']}").status == 202
    assert desk.until_ended(found["id"])["state"] == "cancelled"
    before = desk.requests(["never.bin"])["CopyBlob"]
    purged(desk, found["id"])
    desk.queue().send_message(created(desk.source("never.bin", "async").url, "async", "never.bin", etag))
    assert desk.until_ended(found["id"])["state"] == "cancelled"
    assert desk.requests(["never.bin"])["CopyBlob"] == before
    assert not desk.target("never.bin", "async").exists()


@aged_by_hand
def test_a_transfer_whose_dead_letter_is_open_is_not_purged(desk: Desk) -> None:
    """However old."""
    refused = {"status": 404, "code": "ContainerNotFound"}
    rule = desk.control.add_fault({"operation": "CopyBlobFromUrl", "blob": "^old.txt$"}, refused)
    try:
        desk.put("old.txt", b"old")
        found = desk.until_final("old.txt")
    finally:
        desk.control.remove_faults(rule)
    assert found["state"] == "dead_lettered"
    desk.put("marker.txt", b"marker")
    marker = desk.until_final("marker.txt")["id"]
    age(desk, found["id"], timedelta(days=31))
    purged(desk, marker)
    assert desk.api("GET", f"/transfers/{found['id']}").body["state"] == "dead_lettered"


def test_what_event_grid_could_not_deliver_is_accepted(desk: Desk) -> None:
    """Each event of the blob; what is none becomes a dead letter; then the blob is gone."""
    names = [f"undelivered/{number}.txt" for number in range(3)]
    desk.control.events(mode="drop")
    try:
        etags = {name: desk.put(name, name.encode()) for name in names}
    finally:
        desk.control.events(mode="deliver")
    events = [
        json.loads(created(desk.source(name).url, "source", name, etag)) | GIVEN_UP for name, etag in etags.items()
    ]
    letters = {item["id"] for item in desk.everything("/dead-letters?reason=malformed")}
    kept = desk.accounts["sharingevents"].get_container_client("event-dead-letters")
    body = json.dumps([*events, {"no": "event"} | GIVEN_UP])
    kept.upload_blob("topic/SUBSCRIPTION/2026/11/25/19/0.json", body)
    desk.fire("drain")
    for name in names:
        assert desk.until_final(name)["state"] == "verified"
        assert desk.read(desk.target(name)) == name.encode()
    desk.until(lambda: not list(kept.list_blobs()), "the blob is deleted")
    [new] = {item["id"] for item in desk.everything("/dead-letters?reason=malformed")} - letters
    assert new.startswith("message-")
