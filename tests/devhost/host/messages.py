"""Helpers for tests of queue triggers."""

import time
from contextlib import suppress
from typing import Any

import pytest
from azure.core.exceptions import ResourceExistsError
from azure.storage.queue import QueueClient


def queue(connection: str, name: str) -> QueueClient:
    client = QueueClient.from_connection_string(connection, name)
    with suppress(ResourceExistsError):
        client.create_queue()
    return client


def noted(host: Any, text: str) -> list[Any]:
    """Wait until the function has noted messages that hold `text`."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if found := [one for one in host.notes("queue") if text in one["body"]]:
            return found
        time.sleep(0.02)
    pytest.fail("the function was not called")
