"""What fails is kept with its reason, and can be replayed; nothing rots in a queue."""

import base64
import json
from functools import partial

import pytest

from tests.e2e.desk import Desk
from tests.e2e.helpers import created, drained, messages


def test_a_failure_becomes_a_dead_letter_and_is_replayed(desk: Desk) -> None:
    """Reason and hint; mended; replayed once; then there is nothing more to replay."""
    desk.container("sharingsource", "lost")
    desk.put("report.csv", b"1,2,3", container="lost")
    failed = desk.until_final("report.csv", "missing")
    assert (failed["state"], failed["reason"]) == ("dead_lettered", "target_unwritable")
    letter = desk.api("GET", f"/dead-letters/{failed['id']}").body
    assert (letter["state"], letter["reason"], letter["attempts"]["0"]["reason"]) == (
        "open",
        "target_unwritable",
        "target_unwritable",
    )
    assert letter["hint"]
    assert failed["id"] in {
        item["id"] for item in desk.everything("/dead-letters?reason=target_unwritable&route=missing")
    }
    late = created(desk.source("report.csv", "lost").url, "lost", "report.csv", failed["source"]["etag"])
    desk.queue().send_message(late)
    desk.until(lambda: desk.queue().get_queue_properties().approximate_message_count == 0, "the duplicate was taken")
    assert desk.api("GET", f"/transfers/{failed['id']}").body["attempt"] == 0  # not restarted by a late duplicate

    desk.container("sharingtarget", "missing")
    replayed = desk.api("POST", f"/dead-letters/{failed['id']}/replay")
    assert (replayed.status, replayed.headers["Location"]) == (202, f"../../transfers/{failed['id']}")
    desk.until(lambda: desk.api("GET", f"/transfers/{failed['id']}").body["state"] == "verified", "it is verified")
    assert desk.read(desk.target("report.csv", "missing")) == b"1,2,3"
    resolved = desk.api("GET", f"/dead-letters/{failed['id']}").body
    assert (resolved["state"], resolved["resolved_as"]) == ("resolved", "verified")
    assert desk.api("POST", f"/dead-letters/{failed['id']}/replay").status == 409


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("no event at all", "malformed"),
        ("[]", "malformed"),
        ("[" * 60_000, "malformed"),
        (created("http://169.254.169.254/metadata", "source", "x", "0x1"), "not_allowed"),
        (created("http://127.0.0.1/sharingsource/source/..%2fx", "source", "../x", "0x1"), "invalid_name"),
    ],
)
def test_a_bad_message_becomes_a_dead_letter(desk: Desk, body: str, reason: str) -> None:
    """With its reason; the queue and its poison twin end empty."""
    known = {item["id"] for item in messages(desk)}
    desk.queue().send_message(body)
    found = desk.until(lambda: [item for item in messages(desk) if item["id"] not in known], f"{reason} is kept")
    assert [item["reason"] for item in found] == [reason]
    letter = desk.api("GET", f"/dead-letters/{found[0]['id']}").body
    assert base64.b64decode(letter["message"]).decode() == body
    assert desk.queue("blob-events-poison").get_queue_properties().approximate_message_count == 0
    assert desk.api("POST", f"/dead-letters/{found[0]['id']}/replay").status == 409


def test_what_no_trigger_can_read_is_drained_from_the_poison_queue(desk: Desk) -> None:
    """The host merges a message's own properties into the trigger's metadata: this one fails before the app sees it."""
    etag = desk.put("poisoned.txt", b"poisoned")
    assert desk.until_final("poisoned.txt")["state"] == "verified"
    event = {
        **json.loads(created(desk.source("poisoned.txt").url, "source", "poisoned.txt", etag)),
        "DequeueCount": "x",
    }
    desk.queue().send_message(json.dumps(event))
    desk.queue("blob-events-poison").send_message("rotten")
    for name in ("blob-events", "blob-events-poison"):  # its own timer may drain it before we do
        desk.until(partial(drained, desk, desk.queue(name)), f"{name} is empty")
    assert "malformed" in {item["reason"] for item in messages(desk)}
    assert desk.requests(["poisoned.txt"])["CopyBlobFromUrl"] == 1  # accepted as a duplicate


def test_base64_and_plain_events_are_both_taken(desk: Desk) -> None:
    """Which of them Event Grid sends is not settled."""
    for encoding, schema in (("base64", "cloudevents"), ("plain", "eventgrid")):
        settings = desk.control.events()
        assert {"encoding", "schema"} <= set(settings)
        desk.control.events(encoding=encoding, schema=schema)
        try:
            desk.put(f"encoded/{encoding}", encoding.encode())
        finally:
            desk.control.events(encoding=settings["encoding"], schema=settings["schema"])
        assert desk.until_final(f"encoded/{encoding}")["state"] == "verified"


def test_a_terminated_orchestration_gets_its_dead_letter(desk: Desk) -> None:
    """It is under way until it is taken to its end, and says what that will be."""
    desk.container("sharingsource", "async")
    desk.container("sharingtarget", "async")
    desk.control.copies(hold=True)
    try:
        desk.put("broken.bin", b"broken", container="async")
        pending = desk.until(lambda: running(desk, "broken.bin"), "it is pending")
        terminate(desk, pending["id"])
        shown = desk.until(lambda: ending(desk, pending["id"]), "it is shown")
        assert (shown["state"], shown["ending"]) == ("copying", "dead_lettered")
        desk.fire("resume")
        letter = desk.until(lambda: opened(desk, pending["id"]), "its letter is written")
    finally:
        desk.control.copies(hold=False)
    assert letter["reason"] == "internal"
    assert not desk.target("broken.bin", "async").exists()
    assert desk.until_ended(pending["id"])["state"] == "dead_lettered"


def ending(desk: Desk, transfer_id: str) -> dict[str, str] | None:
    """A transfer, once it is on its way to its end."""
    shown: dict[str, str] = desk.api("GET", f"/transfers/{transfer_id}").body
    return shown if shown["ending"] else None


def running(desk: Desk, name: str) -> dict[str, str] | None:
    """The transfer of a name, once its copy is pending."""
    answer = desk.transfer_of(name, "patient")
    return answer.body if answer.status == 200 and answer.body["state"] == "copying" else None


def opened(desk: Desk, letter_id: str) -> dict[str, str] | None:
    """A dead letter, once it is there."""
    answer = desk.api("GET", f"/dead-letters/{letter_id}")
    return answer.body if answer.status == 200 else None


def terminate(desk: Desk, instance: str) -> None:
    """What an operator may do behind the app's back, over the extension's own API."""
    assert desk.webhook(f"/instances/{instance}/terminate?reason=test") == 202
