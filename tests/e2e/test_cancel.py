"""A cancel is never lost, never a lie, and leaves nothing half-made."""

import json

from tests.e2e.desk import Desk
from tests.e2e.test_overwrite import copying

MIB = 1024 * 1024


def test_cancel_while_pending_leaves_no_half_made_target(desk: Desk) -> None:
    """And a late duplicate of its event does not restart it; a person may."""
    desk.container("sharingsource", "async")
    desk.container("sharingtarget", "async")
    desk.control.copies(hold=True)
    try:
        desk.put("unwanted.bin", b"unwanted" * MIB, container="async")
        pending = desk.until(lambda: copying(desk, "unwanted.bin"), "it is pending")
        assert desk.target("unwanted.bin", "async").get_blob_properties().size == 0
        answer = desk.api("DELETE", f"/transfers/{pending['id']}")
        assert answer.status == 202
        assert answer.body["cancelling"] is True
        assert desk.until_ended(pending["id"])["state"] == "cancelled"
        assert not desk.target("unwanted.bin", "async").exists()
    finally:
        desk.control.copies(hold=False)
    late_duplicate(desk, pending)
    assert desk.api("GET", f"/transfers/{pending['id']}").body["state"] == "cancelled"
    again = desk.api("DELETE", f"/transfers/{pending['id']}")
    assert (again.status, again.body["state"]) == (409, "cancelled")
    assert desk.api("POST", "/transfers", {"route": "patient", "name": "unwanted.bin"}).status == 202
    ended = desk.until_ended(pending["id"])
    while ended["state"] == "cancelled":
        ended = desk.until_ended(pending["id"])
    assert (ended["state"], ended["attempt"]) == ("verified", 1)


def late_duplicate(desk: Desk, transfer: dict[str, str]) -> None:
    """Deliver the event of a transfer's version once more, and wait until it was taken."""
    queue = desk.queue()
    blob = desk.source("unwanted.bin", "async")
    queue.send_message(created(blob.url, "async", "unwanted.bin", transfer["source"]["etag"]))  # type: ignore[index]
    desk.until(lambda: queue.get_queue_properties().approximate_message_count == 0, "the duplicate was taken")


def created(url: str, container: str, name: str, etag: str) -> str:
    """An event as Event Grid would send it, in its own schema."""
    return json.dumps(
        {
            "id": "e2e",
            "topic": "/subscriptions/s/resourceGroups/r/providers/Microsoft.Storage/storageAccounts/sharingsource",
            "subject": f"/blobServices/default/containers/{container}/blobs/{name}",
            "eventType": "Microsoft.Storage.BlobCreated",
            "eventTime": "2026-11-24T00:00:00Z",
            "dataVersion": "",
            "metadataVersion": "1",
            "data": {"api": "PutBlob", "eTag": f'"{etag}"', "url": url, "contentLength": 1},
        }
    )
