"""What a recipient is told, and the message of a notification that failed."""

import json
from dataclasses import replace

import pytest

from rules.dead_letters import letters, records
from rules.errors import Reason
from rules.events.decide import NO_RECIPIENT, Announcement, decide_on
from rules.events.write import notice_event
from rules.routes.model import Engine, Route
from rules.transfers import identity, notices
from rules.transfers.model import Kind
from rules.transfers.notices import Notice
from tests.unit.samples import ETAG, NAME, NOTIFYING, NOW, ROUTE, RUN, TARGET, TARGET_HOST, TRANSFER, after, body

VERIFIED = replace(RUN, verified_at=after(seconds=3), size=1_000, engine=Engine.SYNC)
NOTICE = notices.of_run(VERIFIED)
BODY = notice_event(TRANSFER, NOTICE)


def test_the_event_has_the_id_of_the_transfer_and_what_a_consumer_needs_to_read_exactly_this_version() -> None:
    target = replace(TARGET, kind=Kind.BLOCK, headers={"content_type": "text/csv"})
    event = notices.shared_event(TRANSFER, NOTICE, target)
    assert (event["specversion"], event["id"]) == ("1.0", TRANSFER.id)
    assert (event["type"], event["time"]) == ("BlobDataSharing.Blob.Shared", "2026-11-24T19:02:47.120Z")
    assert event["source"] == "/blobDataSharing/routes/default"
    assert event["subject"] == "/blobServices/default/containers/target/blobs/out/2026/report.csv"
    assert event["data"] == {
        "route": "default",
        "url": f"{TARGET_HOST}/target/out/2026/report.csv",
        "eTag": "0x1",
        "sourceUrl": TRANSFER.source_blob.url,
        "sourceETag": ETAG,
        "contentLength": 1_000,
        "contentType": "text/csv",
        "blobType": "BlockBlob",
        "engine": "sync",
        "acceptedAt": "2026-11-24T19:02:44.120Z",
        "verifiedAt": "2026-11-24T19:02:47.120Z",
    }
    json.dumps(event)


def test_a_run_without_a_time_was_verified_when_it_was_accepted_at_the_earliest() -> None:
    assert notices.of_run(RUN) == Notice("default", NOW, NOW)


def test_the_message_of_a_failed_notification_leads_to_it_again() -> None:
    assert decide_on(BODY, (ROUTE, replace(NOTIFYING, name="other"), NOTIFYING)).announcement == Announcement(
        TRANSFER, NOTICE
    )
    assert notice_event(TRANSFER, NOTICE) == BODY, "a repeated write must find the same dead letter"


def test_neither_a_pause_nor_filters_stop_a_notification() -> None:
    route = replace(NOTIFYING, paused=True, exclude=("*",), max_size=1)
    assert decide_on(BODY, (route,)).announcement == Announcement(TRANSFER, NOTICE)


@pytest.mark.parametrize(
    "routes",
    [
        (),
        (ROUTE,),
        (replace(NOTIFYING, name="other"),),
        (replace(NOTIFYING, source=replace(ROUTE.source, container="ccc")),),
    ],
)
def test_without_a_recipient_the_message_is_ignored(routes: tuple[Route, ...]) -> None:
    assert decide_on(BODY, routes).ignored == NO_RECIPIENT


def test_a_notice_of_another_blob_is_rejected() -> None:
    message = json.loads(BODY)
    message["data"]["url"] += "x"
    rejection = decide_on(body(message), (NOTIFYING,)).rejection
    assert rejection is not None
    assert rejection.reason is Reason.NOT_ALLOWED


@pytest.mark.parametrize(
    "changes", [{"notice": None}, {"notice": {"route": 1}}, {"eTag": "*"}, {"notice": {"route": "default"}}]
)
def test_a_damaged_notice_is_malformed(changes: dict[str, object]) -> None:
    message = json.loads(BODY)
    message["data"] |= changes
    rejection = decide_on(body(message), (NOTIFYING,)).rejection
    assert rejection is not None
    assert rejection.reason is Reason.MALFORMED


def test_the_dead_letter_shows_the_transfer_and_holds_the_message() -> None:
    letter = letters.of_notice(replace(VERIFIED, activity_failures=19), BODY, "404 QueueNotFound", after(hours=2), "1")
    assert letter.id == identity.notice_id(TRANSFER.id)
    assert letter.id.startswith(identity.route_prefix("default")), "a list of the route's dead letters includes it"
    assert not identity.TRANSFER_ID_PATTERN.fullmatch(letter.id), "the sweep would resolve it"
    assert (letter.reason, letter.detail, letter.attempts[0].tries) == (Reason.NOT_NOTIFIED, "404 QueueNotFound", 20)
    assert (letter.route, letter.name, letter.etag, letter.size) == ("default", NAME, ETAG, 1_000)
    assert letter.attempts[0].started_at == VERIFIED.verified_at
    assert records.read(json.loads(json.dumps(records.record(letter)))) == letter


def test_the_dead_letter_of_a_run_without_a_time() -> None:
    assert letters.of_notice(RUN, BODY, "busy", NOW, "1").attempts[0].started_at == NOW


def test_a_probe_has_a_type_of_its_own() -> None:
    event = notices.probe_event("default", NOW)
    assert (event["type"], event["id"]) == ("BlobDataSharing.Probe", "probe-2026-11-24T19:02:44.120Z")
    json.dumps(event)
