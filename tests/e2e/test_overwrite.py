"""Newest wins, whatever comes in whatever order."""

import uuid

from tests.e2e.desk import Desk
from tests.e2e.helpers import copying, of_name, settled

MIB = 1024 * 1024


def test_a_hundred_quick_overwrites_end_with_the_last_bytes(desk: Desk) -> None:
    """Every version ends in a final state, and none but superseded and verified ones."""
    etags = [desk.put("hot.txt", f"version {number}".encode()) for number in range(100)]
    assert desk.until_final("hot.txt")["state"] == "verified"
    transfers = desk.until(lambda: settled(of_name(desk, "hot.txt"), 100), "all hundred end")
    assert {item["source"]["etag"] for item in transfers} == set(etags)
    assert {item["state"] for item in transfers} <= {"verified", "superseded"}
    assert desk.read(desk.target("hot.txt")) == b"version 99"
    assert desk.requests(["hot.txt"])["CopyBlobFromUrl"] <= 100 + 8


def test_a_second_delivery_of_an_event_costs_no_copy(desk: Desk) -> None:
    """Event Grid delivers at least once."""
    desk.control.events(mode="duplicate")
    try:
        desk.put("twice.txt", b"twice")
    finally:
        desk.control.events(mode="deliver")
    assert desk.until_final("twice.txt")["state"] == "verified"
    desk.until(lambda: desk.queue().get_queue_properties().approximate_message_count == 0, "the queue is empty")
    assert desk.requests(["twice.txt"])["CopyBlobFromUrl"] == 1


def test_an_overwrite_during_a_copy_ends_with_the_new_bytes(desk: Desk) -> None:
    """The pending copy of the old version gives way; the old transfer names its successor."""
    desk.container("sharingsource", "async")
    desk.container("sharingtarget", "async")
    desk.control.copies(hold=True)
    try:
        old = desk.put("changing.bin", b"old" * MIB, container="async")
        first = desk.until(lambda: copying(desk, "changing.bin"), "the old version is pending")
        new = desk.put("changing.bin", b"new" * MIB, container="async")
    finally:
        desk.control.copies(hold=False)
    assert desk.until_final("changing.bin", "patient")["source"]["etag"] == new
    ended = desk.until_ended(first["id"])
    assert (ended["source"]["etag"], ended["state"], ended["successor"]["etag"]) == (old, "superseded", new)
    assert desk.read(desk.target("changing.bin", "async")) == b"new" * MIB


def test_a_deleted_source_is_superseded_by_its_deletion(desk: Desk) -> None:
    """Deletions are not shared: what was shared before stays."""
    name = f"deleted-{uuid.uuid4()}"
    desk.control.events(mode="hold")
    try:
        etag = desk.put(name, b"soon gone")
        desk.source(name).delete_blob()
    finally:
        desk.control.events(mode="deliver")
    found = desk.until(lambda: settled(of_name(desk, name), 1), "its transfer ends")[0]
    assert (found["source"]["etag"], found["state"]) == (etag, "superseded")
    assert found["successor"] == {"id": None, "etag": None}
    assert not desk.target(name).exists()
