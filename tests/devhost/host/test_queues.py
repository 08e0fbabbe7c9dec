"""Queue triggers on a real queue service: encodings, metadata, retries, the poison queue."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import ResourceExistsError
from azure.storage.queue import QueueClient

TRACED = {"AzureFunctionsJobHost__extensions__durableTask__tracing__distributedTracingEnabled": "true"}


def queue(connection: str, name: str) -> QueueClient:
    """A queue that exists."""
    client = QueueClient.from_connection_string(connection, name)
    with suppress(ResourceExistsError):
        client.create_queue()
    return client


def taken(client: QueueClient) -> str:
    """The next message's raw text, once there is one."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for message in client.receive_messages(max_messages=1):
            client.delete_message(message)
            return str(message.content)
        time.sleep(0.05)
    pytest.fail("no message came")


def noted(host: Any, text: str) -> list[Any]:
    """What the function noted about messages that hold `text`, once it has."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if found := [one for one in host.notes("queue") if text in one["body"]]:
            return found
        time.sleep(0.02)
    pytest.fail("the function was not called")


@pytest.fixture(scope="module")
def listening(launch: Callable[..., Any], queues: str) -> Iterator[Any]:
    """A host with the queue service; `events` is its queue."""
    with queue(queues, "events"), queue(queues, "events-poison"):
        yield launch(QUEUES=queues, **TRACED).ready()


def test_text_arrives_as_it_is(listening: Any, queues: str) -> None:
    """Under "none" base64 stays base64, and the message is gone afterwards. It has no trace, though tracing is on."""
    with queue(queues, "events") as events:
        events.send_message("aGVsbG8=")
        seen = noted(listening, "aGVsbG8=")[0]
        assert (seen["count"], seen["trace"]) == (1, None)


def test_the_properties_of_a_json_message_replace_the_metadata(listening: Any, queues: str) -> None:
    """The id that a function sees is the event's own, whatever the case of the key."""
    with queue(queues, "events") as events:
        events.send_message(json.dumps({"iD": "event-7", "text": "merged", "DEQUEUECOUNT": "4"}))
        seen = noted(listening, "merged")[0]
        assert (seen["id"], seen["count"]) == ("event-7", 4)


def test_what_fails_three_times_goes_to_the_poison_queue(listening: Any, queues: str) -> None:
    """Raw, as a new message."""
    with queue(queues, "events") as events, queue(queues, "events-poison") as poison:
        events.send_message("FAIL please")
        assert taken(poison) == "FAIL please"
    assert [one["count"] for one in noted(listening, "FAIL please")] == [1, 2, 3]


def test_an_unreadable_property_never_reaches_the_function(listening: Any, queues: str) -> None:
    """It fails in the worker, every time, until it is poison."""
    text = json.dumps({"DequeueCount": "x", "text": "unreadable"})
    with queue(queues, "events") as events, queue(queues, "events-poison") as poison:
        events.send_message(text)
        assert taken(poison) == text
    assert not [one for one in listening.notes("queue") if "unreadable" in one["body"]]


def test_base64_is_the_default_and_anything_else_is_poison_at_once(
    launch: Callable[..., Any], queues: str, tmp_path: Path
) -> None:
    """The function never sees it; what is base64 arrives decoded."""
    source = (Path(__file__).parent / "apps/shapes/function_app.py").read_text()
    (tmp_path / "function_app.py").write_text(source)
    (tmp_path / "host.json").write_text('{"version": "2.0"}')
    with queue(queues, "encoded") as encoded, queue(queues, "encoded-poison") as poison:
        host = launch(tmp_path, tmp_path, QUEUES=queues, QUEUE="encoded").ready()
        encoded.send_message("not base64!")
        assert taken(poison) == "not base64!"
        encoded.send_message("aGVsbG8=")
        assert noted(host, "hello")[0]["body"] == "hello"
    assert len(host.notes("queue")) == 1
    assert host.end() == 0
