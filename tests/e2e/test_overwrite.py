"""Overwrites, duplicates and deletions: the newest version wins regardless of the order of events."""

import uuid

from tests.e2e.client import Client
from tests.e2e.events import until_queue_is_empty
from tests.e2e.transfers import copying_transfer, final_transfers, transfers_named

MIB = 1024 * 1024


def test_a_hundred_quick_overwrites_end_with_the_last_bytes(client: Client) -> None:
    etags = [client.put("hot.txt", f"version {number}".encode()) for number in range(100)]
    assert client.until_final("hot.txt")["state"] == "verified"
    transfers = client.until(lambda: final_transfers(transfers_named(client, "hot.txt"), 100), "all hundred end")
    assert {item["source"]["etag"] for item in transfers} == set(etags)
    assert {item["state"] for item in transfers} <= {"verified", "superseded"}
    assert client.read(client.target("hot.txt")) == b"version 99"
    assert client.count_requests(["hot.txt"])["CopyBlobFromUrl"] <= 100 + 8


def test_a_duplicate_event_causes_no_second_copy(client: Client) -> None:
    """Event Grid delivers at least once."""
    client.control.events(mode="duplicate")
    try:
        client.put("twice.txt", b"twice")
    finally:
        client.control.events(mode="deliver")
    assert client.until_final("twice.txt")["state"] == "verified"
    until_queue_is_empty(client)
    assert client.count_requests(["twice.txt"])["CopyBlobFromUrl"] == 1


def test_an_overwrite_during_a_copy_ends_with_the_new_bytes(client: Client) -> None:
    """The pending copy of the old version is aborted, and the old transfer names its successor."""
    client.create_container("sharingsource", "async")
    client.create_container("sharingtarget", "async")
    client.control.copies(hold=True)
    try:
        old = client.put("changing.bin", b"old" * MIB, container="async")
        first = client.until(lambda: copying_transfer(client, "changing.bin"), "the old version is pending")
        new = client.put("changing.bin", b"new" * MIB, container="async")
    finally:
        client.control.copies(hold=False)
    assert client.until_final("changing.bin", "patient")["source"]["etag"] == new
    ended = client.until_ended(first["id"])
    assert (ended["source"]["etag"], ended["state"], ended["successor"]["etag"]) == (old, "superseded", new)
    assert client.read(client.target("changing.bin", "async")) == b"new" * MIB


def test_a_transfer_of_a_deleted_source_is_superseded(client: Client) -> None:
    """Deletions are not shared."""
    name = f"deleted-{uuid.uuid4()}"
    client.control.events(mode="hold")
    try:
        etag = client.put(name, b"deleted soon")
        client.source(name).delete_blob()
    finally:
        client.control.events(mode="deliver")
    found = client.until(lambda: final_transfers(transfers_named(client, name), 1), "its transfer ends")[0]
    assert (found["source"]["etag"], found["state"]) == (etag, "superseded")
    assert found["successor"] == {"id": None, "etag": None}
    assert not client.target(name).exists()
