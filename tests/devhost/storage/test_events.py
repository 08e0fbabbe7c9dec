"""Each new blob in a watched container raises one event, queued before the client gets its answer."""

import contextlib
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobBlock, BlobClient, BlobType
from azure.storage.queue import QueueClient

from devhost.storage.config import EVENT_QUEUE, KEY
from tests.contract.facts import fact
from tests.devhost.storage.cloud import Cloud, eventually, refused


def _commit_blocks(blob: BlobClient) -> None:
    blob.stage_block("0001", b"one")
    blob.stage_block("0002", b"two")
    blob.commit_block_list([BlobBlock("0001"), BlobBlock("0002")])


WRITES: dict[str, Callable[[BlobClient], Any]] = {
    "PutBlob": lambda blob: blob.upload_blob(b"123456"),
    "PutBlockList": _commit_blocks,
}


@fact(
    "Event Grid",
    "the fields of a BlobCreated event, the subject with its leading slash, the ETag without quotes, `accessTier` Default",
    "an event of 22 December 2025 (12044444572)",
)
@pytest.mark.parametrize("api", WRITES)
def test_a_new_blob_is_one_event(cloud: Cloud, api: str) -> None:
    """The event is queued before the client gets its answer, with the fields of a real one of 22 December 2025."""
    blob = cloud.source()
    WRITES[api](blob)
    (event,) = cloud.events()
    data = event["data"]
    properties = blob.get_blob_properties()

    assert list(event) == ["id", "source", "specversion", "type", "subject", "time", "data"]
    assert event["source"].endswith("/providers/Microsoft.Storage/storageAccounts/sharingsource")
    assert event["subject"] == f"/blobServices/default/containers/source/blobs/{blob.blob_name}"
    assert (event["type"], event["specversion"]) == ("Microsoft.Storage.BlobCreated", "1.0")
    assert (data["api"], data["url"], data["eTag"]) == (api, blob.url, properties.etag.strip('"'))
    assert (data["contentLength"], data["blobType"], data["accessTier"]) == (6, "BlockBlob", "Default")
    assert data["contentType"] == "application/octet-stream"
    assert {"clientRequestId", "requestId", "storageDiagnostics"} < set(data)
    assert re.fullmatch("[0-9A-F]{48}", data["sequencer"])


def test_creating_an_append_blob_is_an_event(cloud: Cloud) -> None:
    """It is a Put Blob; appending to it is not an event."""
    blob = cloud.source()
    blob.create_append_blob()
    blob.append_block(b"more")
    (event,) = cloud.events()
    assert (event["data"]["api"], event["data"]["blobType"]) == ("PutBlob", BlobType.APPENDBLOB)


def test_a_synchronous_copy_is_an_event(cloud: Cloud) -> None:
    source = cloud.uploaded()
    copy = cloud.source()
    copy.start_copy_from_url(cloud.readable(source), requires_sync=True)
    (event,) = cloud.events()
    assert (event["data"]["api"], event["data"]["url"]) == ("CopyBlob", copy.url)


def test_an_asynchronous_copy_is_an_event_when_it_ends(cloud: Cloud) -> None:
    """Its start raises no event."""
    cloud.stack.control.copies(hold=True)
    source = cloud.uploaded(b"12345")
    copy = cloud.source()
    copy.start_copy_from_url(cloud.readable(source))
    assert cloud.events() == []

    cloud.stack.control.copies(hold=False)
    eventually(lambda: copy.get_blob_properties().copy.status == "success")
    (event,) = cloud.events()
    assert (event["data"]["api"], event["data"]["contentLength"]) == ("CopyBlob", 5)
    assert event["data"]["eTag"] == copy.get_blob_properties().etag.strip('"')


def test_other_requests_raise_no_event(cloud: Cloud) -> None:
    """Changes of a blob, its deletion, refused writes, and containers that are not watched."""
    blob = cloud.uploaded()
    blob.set_blob_metadata({"a": "b"})
    blob.set_standard_blob_tier("Hot")  # its tier already
    blob.create_snapshot()
    with pytest.raises(HttpResponseError):
        blob.upload_blob(b"again", overwrite=False)
    blob.delete_blob(delete_snapshots="include")
    cloud.target().upload_blob(b"elsewhere")
    assert cloud.events() == []


@fact(
    "Event Grid",
    "the fields of a BlobTierChanged event, without an ETag; it is sent after the change",
    "[doc] event-schema-blob-storage",
)
def test_a_changed_tier_is_an_event(cloud: Cloud) -> None:
    """It keeps the ETag of the blob."""
    blob = cloud.uploaded(b"123456")
    etag = blob.get_blob_properties().etag
    tiers = ("Cool", "Archive", "Hot")
    for tier in tiers:
        blob.set_standard_blob_tier(tier)
    events = cloud.events()
    assert {event["type"] for event in events} == {"Microsoft.Storage.BlobTierChanged"}
    assert {event["subject"] for event in events} == {f"/blobServices/default/containers/source/blobs/{blob.blob_name}"}
    changes = [(event["data"]["previousTier"], event["data"]["accessTier"]) for event in events]
    assert changes == [("Hot", "Cool"), ("Cool", "Archive"), ("Archive", "Hot")]
    data = events[0]["data"]
    assert (data["api"], data["url"], data["contentLength"]) == ("SetBlobTier", blob.url, 6)
    assert (data["blobType"], data["contentType"]) == ("BlockBlob", "application/octet-stream")
    assert "eTag" not in data
    assert blob.get_blob_properties().etag == etag
    cloud.target("tier").upload_blob(b"elsewhere", overwrite=True)
    cloud.target("tier").set_standard_blob_tier("Cool")
    assert cloud.events() == []


def test_an_overwrite_is_another_event_with_a_higher_sequencer(cloud: Cloud) -> None:
    blob = cloud.source()
    for data in b"1", b"2", b"3":
        blob.upload_blob(data, overwrite=True)
    sequencers = [event["data"]["sequencer"] for event in cloud.events()]
    assert len(set(sequencers)) == 3
    assert sequencers == sorted(sequencers)


def test_watching_more_containers(cloud: Cloud) -> None:
    """The list may change while the stack runs."""
    container = cloud.sources.create_container(f"c{uuid.uuid4().hex}")
    cloud.stack.control.events(watch=["sharingtarget/target", f"sharingsource/{container.container_name}"])
    cloud.source().upload_blob(b"no longer")
    cloud.target().upload_blob(b"now")
    container.upload_blob("x", b"now").close()
    assert [event["source"].rpartition("/")[2] for event in cloud.events()] == ["sharingtarget", "sharingsource"]


def test_each_container_names_its_events_account(cloud: Cloud) -> None:
    """Two apps on one stack: each gets the events of its own source, including held ones; both may watch one container."""
    watched = ["sharingsource/source", "sharingtarget/target@another"]
    with queue(cloud, "another") as another:
        assert cloud.stack.control.events(watch=watched, mode="hold")["watch"] == watched
        blobs = [cloud.source(), cloud.target()]
        for blob in blobs:
            blob.upload_blob(b"held")
        cloud.stack.control.events(mode="deliver")
        assert [urls(each) for each in (cloud, another)] == [[blob.url] for blob in blobs]

        cloud.stack.control.events(watch=["sharingsource/source", "sharingsource/source@another"])
        (both := cloud.source()).upload_blob(b"for both")
        assert [urls(each) for each in (cloud, another)] == [[both.url]] * 2


def test_an_unknown_events_account_is_refused(cloud: Cloud) -> None:
    """Otherwise no blob would be acknowledged."""
    with pytest.raises(ValueError, match="DEVHOST_ACCOUNTS=unknown"):
        cloud.stack.control.events(watch=["sharingsource/source@unknown"])
    assert cloud.stack.control.events()["watch"] == ["sharingsource/source"]


def urls(cloud: Cloud) -> list[str]:
    """Whose events are in the queue; they are taken."""
    return [event["data"]["url"] for event in cloud.events()]


@contextlib.contextmanager
def queue(cloud: Cloud, account: str) -> Iterator[Cloud]:
    """Yield the event queue of another account."""
    with QueueClient(cloud.stack.queue_url(account), EVENT_QUEUE, credential=KEY) as other:
        other.create_queue()
        yield replace(cloud, queue=other)
        other.delete_queue()


@fact("Event Grid", "a queue message is base64", "#azure-docs 102923")
@pytest.mark.parametrize("encoding", ["base64", "plain"])
def test_encoding(cloud: Cloud, encoding: str) -> None:
    """As Event Grid, the stack sends base64 (azure-docs issue 102923), and plain text on request."""
    if encoding == "plain":
        cloud.stack.control.events(encoding=encoding)
    cloud.source("é").upload_blob(b"", overwrite=True)
    (message,) = cloud.queue.receive_messages()
    assert message.content.startswith("{") is (encoding == "plain")
    cloud.queue.update_message(message, visibility_timeout=0)
    (event,) = cloud.events()
    assert event["subject"].endswith("/blobs/é")


@fact("Event Grid", "`data.url` is not encoded", "#azure-sdk-for-net 23634")
def test_the_url_is_raw(cloud: Cloud) -> None:
    """A `#` in a name is not encoded (azure-sdk-for-net issue 23634)."""
    blob = cloud.source("a#b c%20")
    blob.upload_blob(b"", overwrite=True)
    (event,) = cloud.events()
    assert event["data"]["url"].endswith("/sharingsource/source/a#b c%20")


def test_event_grid_schema(cloud: Cloud) -> None:
    cloud.stack.control.events(schema="eventgrid")
    cloud.source().upload_blob(b"")
    (event,) = cloud.events()
    expected = {"topic", "subject", "eventType", "eventTime", "id", "data", "dataVersion", "metadataVersion"}
    assert set(event) == expected


@pytest.mark.parametrize(("mode", "count"), [("duplicate", 2), ("drop", 0), ("deliver", 1)])
def test_modes(cloud: Cloud, mode: str, count: int) -> None:
    """On request, events are lost or sent twice."""
    cloud.stack.control.events(mode=mode)
    cloud.source().upload_blob(b"")
    assert len(cloud.events()) == count


def test_held_events_are_sent_later_and_in_order(cloud: Cloud) -> None:
    cloud.stack.control.events(mode="hold")
    blobs = [cloud.source() for _ in range(3)]
    for blob in blobs:
        blob.upload_blob(b"")
    assert cloud.events() == []
    cloud.stack.control.events(mode="deliver")
    assert [event["data"]["url"] for event in cloud.events()] == [blob.url for blob in blobs]


def test_a_blob_without_its_event_is_not_acknowledged(cloud: Cloud) -> None:
    """While the queue is missing, every put fails and its client retries."""
    cloud.queue.delete_queue()
    with refused(503, "ServerBusy"):
        cloud.source().upload_blob(b"")
    cloud.queue.create_queue()


def test_events_never_expire(cloud: Cloud) -> None:
    """A stack that sleeps for a week loses nothing."""
    cloud.source().upload_blob(b"")
    (message,) = cloud.queue.receive_messages()
    assert message.expires_on
    assert message.expires_on.year == 9999
