"""Helpers that several end-to-end tests share."""

import base64
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from azure.storage.queue import QueueClient

from tests.e2e.desk import FINAL, Desk

LINE = re.compile(r'\{"action": .*\}')


def until(look: Callable[[], bool], what: str) -> None:
    """Wait up to a minute for a condition."""
    end = time.monotonic() + 60
    while not look():
        assert time.monotonic() < end, what
        time.sleep(0.2)


def of_name(desk: Desk, name: str, route: str = "default") -> list[dict[str, str]]:
    """Return the transfers of a name."""
    return [item for item in desk.everything(f"/transfers?route={route}") if item["source"]["name"] == name]


def settled(transfers: list[dict[str, str]], count: int) -> list[dict[str, str]] | None:
    """Return the transfers if there are `count` of them and all have ended."""
    return transfers if len(transfers) == count and all(item["state"] in FINAL for item in transfers) else None


def copying(desk: Desk, name: str) -> dict[str, str] | None:
    """Return the transfer of a name if its copy is pending."""
    answer = desk.transfer_of(name, "patient")
    return answer.body if answer.status == 200 and answer.body["state"] == "copying" else None


def created(url: str, container: str, name: str, etag: str) -> str:
    """Return an event in Event Grid's schema."""
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


@contextmanager
def held(desk: Desk, operation: str, account: str, name: str, when: str = "before") -> Iterator[Callable[[], Any]]:
    """Hold the next matching request about a blob until the end of the block; yield a function that waits until it is held."""
    match = {"operation": operation, "account": account, "blob": f"^{name}$"}
    rule = desk.control.add_fault(match, {"hold": True, "when": when})

    def is_held() -> bool:
        return any(fault["id"] == rule and fault["waiting"] for fault in desk.control.faults())

    try:
        yield lambda: desk.until(is_held, f"{operation} of {name} is held")
    finally:
        desk.control.remove_faults(rule)


def restart(desk: Desk, environment: Mapping[str, str]) -> None:
    """Restart the host with other settings."""
    assert desk.stack.host is not None
    desk.stack.host.terminate()
    desk.stack.host.wait(60)
    desk.stack.kill_host()  # its pipe
    desk.stack.environment = environment
    desk.stack.start_host()


def messages(desk: Desk) -> list[dict[str, str]]:
    """Return the open dead letters of messages."""
    return [item for item in desk.everything("/dead-letters") if item["id"].startswith("message-")]


def drained(desk: Desk, queue: QueueClient) -> bool:
    """Run the drain timer; return whether the queue is empty."""
    desk.fire("drain")
    return bool(queue.get_queue_properties().approximate_message_count == 0)


def in_a_queue(desk: Desk, name: str, account: str = "sharingstate") -> Callable[[], None]:
    """Put the account key into an unknown queue; return a function that deletes the queue."""
    queue = QueueClient.from_connection_string(desk.stack.connection_string(account), name)
    queue.create_queue()
    queue.send_message(base64.b64encode(desk.stack.key.encode()).decode())
    return queue.delete_queue


def said(desk: Desk, transfer_id: str) -> list[dict[str, Any]]:
    """Return the app's log lines about a transfer. A real host escapes their quotes."""
    log = (desk.stack.state / "stack.log").read_text().replace('\\"', '"')
    found = [json.loads(text) for text in LINE.findall(log) if f'"id": "{transfer_id}"' in text]
    return [line for number, line in enumerate(found) if line not in found[:number]]
