"""Blob events, and the dead letters of messages that lead to no transfer."""

import json

from azure.storage.queue import QueueClient

from tests.e2e.client import Client


def created_event(url: str, container: str, name: str, etag: str) -> str:
    """Return a BlobCreated event in the Event Grid schema."""
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


def until_queue_is_empty(client: Client) -> None:
    """Wait until the app has received and deleted all messages of the event queue."""
    queue = client.queue()
    client.until(lambda: queue.get_queue_properties().approximate_message_count == 0, "the event queue is empty")


def message_dead_letters(client: Client) -> list[dict[str, str]]:
    """Return the open dead letters of messages."""
    return [item for item in client.list_all("/dead-letters") if item["id"].startswith("message-")]


def is_drained(client: Client, queue: QueueClient) -> bool:
    """Run the timer `drain` and return whether the queue is empty."""
    client.run_timer("drain")
    return bool(queue.get_queue_properties().approximate_message_count == 0)
