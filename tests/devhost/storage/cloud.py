"""The SDK's clients for a stack, and helpers that most tests use."""

import base64
import contextlib
import json
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobClient, BlobSasPermissions, BlobServiceClient, generate_blob_sas
from azure.storage.queue import QueueClient

from devhost.storage.config import EVENT_QUEUE, EVENTS_ACCOUNT, KEY
from devhost.storage.testing import Stack

PATIENCE_SECONDS = 30


@dataclass(frozen=True)
class Cloud:
    """A stack and the SDK's clients for it, without retries, so that tests see each fault."""

    stack: Stack
    sources: BlobServiceClient
    targets: BlobServiceClient
    queue: QueueClient

    def source(self, name: str = "", container: str = "source") -> BlobClient:
        """Return a client of a blob in the source account, with a new name by default."""
        return self.sources.get_blob_client(container, name or uuid.uuid4().hex)

    def target(self, name: str = "") -> BlobClient:
        """Return a client of a blob in the target account."""
        return self.targets.get_blob_client("target", name or uuid.uuid4().hex)

    def uploaded(self, data: bytes = b"some bytes", name: str = "", **options: Any) -> BlobClient:
        """Upload a source blob and consume its event."""
        blob = self.source(name)
        blob.upload_blob(data, overwrite=True, **options)
        self.events()
        return blob

    def readable(self, blob: BlobClient) -> str:
        """Return the URL of a source blob with a SAS to read it."""
        sas = generate_blob_sas(
            str(blob.account_name),
            blob.container_name,
            blob.blob_name,
            account_key=KEY,
            permission=BlobSasPermissions(read=True),
            expiry=datetime.now(UTC) + timedelta(hours=1),
        )
        return f"{blob.url}?{sas}"

    def raw_url(self, blob: BlobClient) -> str:
        """Return a blob's URL without encoding its name."""
        return f"{self.stack.blob_url(str(blob.account_name))}/{blob.container_name}/{blob.blob_name}"

    def all_events(self) -> list[dict[str, Any]]:
        """Return the events until the queue is empty."""
        events = []
        while more := self.events():
            events += more
        return events

    def events(self) -> list[dict[str, Any]]:
        """Return the next 32 events."""
        messages = list(self.queue.receive_messages(max_messages=32, visibility_timeout=60))
        for message in messages:
            self.queue.delete_message(message)
        return [_decoded(message.content) for message in messages]


@contextlib.contextmanager
def connected(stack: Stack) -> Iterator[Cloud]:
    with (
        BlobServiceClient(stack.blob_url("sharingsource"), KEY, retry_total=0) as sources,
        BlobServiceClient(stack.blob_url("sharingtarget"), KEY, retry_total=0) as targets,
        QueueClient(stack.queue_url(EVENTS_ACCOUNT), EVENT_QUEUE, credential=KEY) as queue,
    ):
        yield Cloud(stack, sources, targets, queue)


@contextlib.contextmanager
def refused(status: int, code: str) -> Iterator[None]:
    """Expect the service to refuse what is done inside."""
    with pytest.raises(HttpResponseError) as caught:
        yield
    assert (caught.value.status_code, caught.value.error_code) == (status, code)  # type: ignore[attr-defined]  # the SDK adds it


def eventually(is_true: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_true():
        assert time.monotonic() < deadline, "the condition is still false"
        time.sleep(0.02)


def _decoded(content: str) -> dict[str, Any]:
    text = content if content.startswith("{") else base64.b64decode(content, validate=True).decode()
    return dict(json.loads(text))
