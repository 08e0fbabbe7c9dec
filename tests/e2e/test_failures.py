"""Failures: each is kept with its reason and can be replayed, and no message stays in a queue."""

import base64
import json
from functools import partial

import pytest
from azure.storage.blob import StandardBlobTier

from tests.e2e.client import Client
from tests.e2e.events import created_event, is_drained, message_dead_letters, until_queue_is_empty
from tests.e2e.transfers import copying_transfer


def test_a_failure_becomes_a_dead_letter_and_is_replayed(client: Client) -> None:
    client.create_container("sharingsource", "lost")
    client.put("report.csv", b"1,2,3", container="lost")
    failed = client.until_final("report.csv", "missing")
    assert (failed["state"], failed["reason"]) == ("dead_lettered", "target_unwritable")
    letter = client.api("GET", f"/dead-letters/{failed['id']}").body
    assert (letter["state"], letter["reason"], letter["attempts"]["0"]["reason"]) == (
        "open",
        "target_unwritable",
        "target_unwritable",
    )
    assert letter["hint"]
    assert failed["id"] in {
        item["id"] for item in client.list_all("/dead-letters?reason=target_unwritable&route=missing")
    }
    late = created_event(client.source("report.csv", "lost").url, "lost", "report.csv", failed["source"]["etag"])
    client.queue().send_message(late)
    until_queue_is_empty(client)
    assert client.api("GET", f"/transfers/{failed['id']}").body["attempt"] == 0  # a late duplicate does not restart it

    client.create_container("sharingtarget", "missing")
    replayed = client.api("POST", f"/dead-letters/{failed['id']}/replay")
    assert (replayed.status, replayed.headers["Location"]) == (202, f"../../transfers/{failed['id']}")
    client.until(lambda: client.api("GET", f"/transfers/{failed['id']}").body["state"] == "verified", "it is verified")
    assert client.read(client.target("report.csv", "missing")) == b"1,2,3"
    resolved = client.api("GET", f"/dead-letters/{failed['id']}").body
    assert (resolved["state"], resolved["resolved_as"]) == ("resolved", "verified")
    assert client.api("POST", f"/dead-letters/{failed['id']}/replay").status == 409


def test_an_archived_blob_is_shared_once_it_is_rehydrated(client: Client) -> None:
    """Without a request to the app."""
    client.put("archived.bin", b"cold", standard_blob_tier=StandardBlobTier.ARCHIVE)
    failed = client.until_final("archived.bin")
    assert (failed["state"], failed["reason"]) == ("dead_lettered", "source_archived")
    client.source("archived.bin").set_standard_blob_tier(StandardBlobTier.HOT)
    client.until(lambda: client.api("GET", f"/transfers/{failed['id']}").body["state"] == "verified", "it is verified")
    assert client.read(client.target("archived.bin")) == b"cold"
    letter = client.api("GET", f"/dead-letters/{failed['id']}").body
    assert (letter["state"], letter["resolved_as"], letter["replays"]) == ("resolved", "verified", 0)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("not an event", "malformed"),
        ("[]", "malformed"),
        ("[" * 60_000, "malformed"),
        (created_event("http://169.254.169.254/metadata", "source", "x", "0x1"), "not_allowed"),
        (created_event("http://127.0.0.1/sharingsource/source/..%2fx", "source", "../x", "0x1"), "invalid_name"),
    ],
)
def test_a_bad_message_becomes_a_dead_letter(client: Client, body: str, reason: str) -> None:
    old = {item["id"] for item in message_dead_letters(client)}
    client.queue().send_message(body)
    found = client.until(
        lambda: [item for item in message_dead_letters(client) if item["id"] not in old], f"{reason} is kept"
    )
    assert [item["reason"] for item in found] == [reason]
    letter = client.api("GET", f"/dead-letters/{found[0]['id']}").body
    assert base64.b64decode(letter["message"]).decode() == body
    assert client.queue("blob-events-poison").get_queue_properties().approximate_message_count == 0
    assert client.api("POST", f"/dead-letters/{found[0]['id']}/replay").status == 409


def test_a_message_that_the_trigger_cannot_read_is_drained_from_the_poison_queue(client: Client) -> None:
    """The host merges a message's properties into the trigger's metadata, so this message fails before the app receives it."""
    etag = client.put("poisoned.txt", b"poisoned")
    assert client.until_final("poisoned.txt")["state"] == "verified"
    event = {
        **json.loads(created_event(client.source("poisoned.txt").url, "source", "poisoned.txt", etag)),
        "DequeueCount": "x",
    }
    client.queue().send_message(json.dumps(event))
    client.queue("blob-events-poison").send_message("not an event")
    for name in ("blob-events", "blob-events-poison"):  # the timer may drain it earlier
        client.until(partial(is_drained, client, client.queue(name)), f"{name} is empty")
    assert "malformed" in {item["reason"] for item in message_dead_letters(client)}
    assert client.count_requests(["poisoned.txt"])["CopyBlobFromUrl"] == 1  # accepted as a duplicate


def test_base64_and_plain_events_are_both_accepted(client: Client) -> None:
    """Microsoft does not document which of them Event Grid sends."""
    for encoding, schema in (("base64", "cloudevents"), ("plain", "eventgrid")):
        settings = client.control.events()
        assert {"encoding", "schema"} <= set(settings)
        client.control.events(encoding=encoding, schema=schema)
        try:
            client.put(f"encoded/{encoding}", encoding.encode())
        finally:
            client.control.events(encoding=settings["encoding"], schema=settings["schema"])
        assert client.until_final(f"encoded/{encoding}")["state"] == "verified"


def test_a_terminated_orchestration_gets_its_dead_letter(client: Client) -> None:
    """The transfer stays `copying` and shows its ending until the app has completed it."""
    client.create_container("sharingsource", "async")
    client.create_container("sharingtarget", "async")
    client.control.copies(hold=True)
    try:
        client.put("broken.bin", b"broken", container="async")
        pending = client.until(lambda: copying_transfer(client, "broken.bin"), "it is pending")
        assert client.post_webhook(f"/instances/{pending['id']}/terminate?reason=test") == 202
        transfer = client.until(lambda: with_ending(client, pending["id"]), "its ending is transfer")
        assert (transfer["state"], transfer["ending"]) == ("copying", "dead_lettered")
        client.run_timer("resume")
        letter = client.until(lambda: dead_letter(client, pending["id"]), "its dead letter is written")
    finally:
        client.control.copies(hold=False)
    assert letter["reason"] == "internal"
    assert not client.target("broken.bin", "async").exists()
    assert client.until_ended(pending["id"])["state"] == "dead_lettered"


def with_ending(client: Client, transfer_id: str) -> dict[str, str] | None:
    transfer: dict[str, str] = client.api("GET", f"/transfers/{transfer_id}").body
    return transfer if transfer["ending"] else None


def dead_letter(client: Client, letter_id: str) -> dict[str, str] | None:
    answer = client.api("GET", f"/dead-letters/{letter_id}")
    return answer.body if answer.status == 200 else None
