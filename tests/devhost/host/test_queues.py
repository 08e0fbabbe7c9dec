"""Queue triggers on a real queue service: encodings, metadata, retries, locks, the poison queue.

The tests of the host's process come first, then those of the listener alone, with a lock of two seconds.
"""

import asyncio
import base64
import itertools
import json
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import azure.functions as func
import pytest
from azure.core.exceptions import HttpResponseError
from azure.storage.queue import QueueClient

from devhost.host import queues as listeners
from devhost.host.config import ConfigError, Queues
from devhost.host.indexing import Function
from devhost.host.queues import QueueListener
from devhost.host.worker import Worker
from tests.devhost.host.conftest import until
from tests.devhost.host.messages import noted, queue

TRACED = {"AzureFunctionsJobHost__extensions__durableTask__tracing__distributedTracingEnabled": "true"}


def taken(client: QueueClient) -> str:
    """Wait for a message and return its raw text."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for message in client.receive_messages(max_messages=1):
            client.delete_message(message)
            return str(message.content)
        time.sleep(0.05)
    pytest.fail("no message arrived")


@pytest.fixture(scope="module")
def listening(launch: Callable[..., Any], queues: str) -> Iterator[Any]:
    """Run a listener; cancel it at the end."""
    with queue(queues, "events"), queue(queues, "events-poison"):
        yield launch(QUEUES=queues, **TRACED).ready()


def test_text_arrives_as_it_is(listening: Any, queues: str) -> None:
    """Without an encoding, base64 is not decoded. A message has no trace although tracing is on."""
    with queue(queues, "events") as events:
        events.send_message("aGVsbG8=")
        seen = noted(listening, "aGVsbG8=")[0]
        assert (seen["count"], seen["trace"]) == (1, None)


def test_the_properties_of_a_json_message_replace_the_metadata(listening: Any, queues: str) -> None:
    """The function sees the event's own id, in any case of the key."""
    with queue(queues, "events") as events:
        events.send_message(json.dumps({"iD": "event-7", "text": "merged", "DEQUEUECOUNT": "4"}))
        seen = noted(listening, "merged")[0]
        assert (seen["id"], seen["count"]) == ("event-7", 4)


def test_a_message_that_fails_three_times_is_poison(listening: Any, queues: str) -> None:
    with queue(queues, "events") as events, queue(queues, "events-poison") as poison:
        events.send_message("FAIL please")
        assert taken(poison) == "FAIL please"
    assert [one["count"] for one in noted(listening, "FAIL please")] == [1, 2, 3]


def test_an_unreadable_property_never_reaches_the_function(listening: Any, queues: str) -> None:
    """Each delivery fails in the worker until the message is poison."""
    text = json.dumps({"DequeueCount": "x", "text": "unreadable"})
    with queue(queues, "events") as events, queue(queues, "events-poison") as poison:
        events.send_message(text)
        assert taken(poison) == text
    assert not [one for one in listening.notes("queue") if "unreadable" in one["body"]]


def test_base64_is_the_default_and_anything_else_is_poison_at_once(
    launch: Callable[..., Any], queues: str, tmp_path: Path
) -> None:
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


def test_a_host_that_ends_releases_no_message(launch: Callable[..., Any], queues: str) -> None:
    """A message in processing reappears when its lock ends. Messages that end within the grace period are done."""
    with queue(queues, "killed") as killed, queue(queues, "ended") as ended:
        first, second = (launch(QUEUES=queues, QUEUE=name).ready() for name in ("killed", "ended"))
        killed.send_message("SLEEP 60")
        ended.send_message("SLEEP 60")
        ended.send_message("SLEEP 3")
        noted(first, "SLEEP 60")
        until(lambda: len(second.notes("queue")) == 2)
        first.end(signal.SIGKILL)
        assert second.end() == 0
        assert second.notes("awake") == ["SLEEP 3"]
        for left in (killed, ended):
            assert left.get_queue_properties().approximate_message_count == 1
            message = again(left)
            assert message.dequeue_count == 2
            # A receive hides a message for 30 seconds, so this is at least the time between the two receives.
            waited = message.next_visible_on - timedelta(seconds=30) - message.inserted_on
            assert waited >= timedelta(seconds=listeners.LEASE - 1), "the message was released"


SETTINGS = Queues("none", 3, timedelta(0), 16, 16, timedelta(seconds=0.1))
LOCK = 2
NUMBERS = itertools.count()


def again(client: QueueClient) -> Any:
    """Wait for a message, delete it and return it."""
    message = until(lambda: next(iter(client.receive_messages(max_messages=1)), None))
    client.delete_message(message)
    return message


def depth(client: QueueClient) -> int:
    """Return the number of messages in a queue, including invisible ones."""
    return client.get_queue_properties().approximate_message_count or 0


@dataclass
class Bench:
    """A separate queue, its poison queue, and a listener whose function records the messages."""

    connection: str
    name: str
    settings: Queues = SETTINGS
    seen: list[func.QueueMessage] = field(default_factory=list)
    act: Callable[[], Awaitable[None]] | None = None

    def __post_init__(self) -> None:
        self.queue, self.poison = queue(self.connection, self.name), queue(self.connection, f"{self.name}-poison")
        trigger = {"name": "message", "queueName": self.name, "connection": "QUEUES"}
        inputs = {"message": "queueTrigger"}
        self.function = Function("f", "queueTrigger", trigger, self.call, inputs, False, None, True, "")  # noqa: FBT003
        self.worker = Worker([self.function], str, None)

    async def call(self, message: func.QueueMessage) -> None:
        self.seen.append(message)
        if self.act:
            await self.act()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[QueueListener]:
        """Run a listener; cancel it at the end without waiting for its messages."""
        listener = QueueListener(self.function, self.worker, self.settings, {"QUEUES": self.connection})
        running = asyncio.create_task(listener.run())
        try:
            yield listener
        finally:
            running.cancel()
            await listener.stop(0)

    def deliver(self, *texts: str) -> None:
        """Send messages and listen until the queue is empty."""

        async def run() -> None:
            async with self.listening():
                await eventually(lambda: depth(self.queue) == 0)

        for text in texts:
            self.queue.send_message(text)
        asyncio.run(run())

    @property
    def bodies(self) -> list[bytes]:
        return [message.get_body() for message in self.seen]

    @property
    def poisoned(self) -> list[tuple[str, int | None]]:
        """Return the messages in the poison queue with their dequeue counts."""
        return [(message.content, message.dequeue_count) for message in self.poison.peek_messages(max_messages=32)]


@pytest.fixture
def bench(queues: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A bench on queues that no other test uses."""
    monkeypatch.setattr(listeners, "LEASE", LOCK)
    made = Bench(queues, f"bench-{next(NUMBERS)}")
    yield made
    made.queue.close()
    made.poison.close()


STRING = "AccountName={0};AccountKey=a2V5;QueueEndpoint=http://127.0.0.1:1/{0};"


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        ({"QUEUES": STRING.format("own"), "AzureWebJobsStorage": STRING.format("state")}, "http://127.0.0.1:1/own"),
        ({"QUEUES": STRING.format("own"), "AzureWebJobsQUEUES": STRING.format("first")}, "http://127.0.0.1:1/first"),
        ({"QUEUES__queueServiceUri": "https://own.queue.example/"}, "https://own.queue.example/"),
        ({"QUEUES__accountName": "own"}, "https://own.queue.core.windows.net/"),
        ({"QUEUES__accountName": "own", "QUEUES__queueServiceUri": "https://x.example"}, "https://own.queue.core.windows.net/"),
        ({"QUEUES": STRING.format("own"), "AzureWebJobsQUEUES__accountName": "first"}, "https://first.queue.core.windows.net/"),
    ],
)  # fmt: skip
async def test_a_trigger_is_at_the_account_of_its_own_connection(
    bench: Bench, settings: dict[str, str], address: str
) -> None:
    """Two settings for one connection have the precedence of the real host."""
    listener = QueueListener(bench.function, bench.worker, bench.settings, settings)
    assert listener._service.url.rstrip("/") == address.rstrip("/")
    await listener.stop(0)


@pytest.mark.parametrize(
    "settings",
    [
        {"AzureWebJobsStorage": STRING.format("state")},
        {"QUEUES__blobServiceUri": "https://own.blob.example"},
        {"QUEUES__queueServiceUri": "http://own.queue.example"},
    ],
    ids=str,
)
def test_a_connection_without_an_address_disables_its_function(bench: Bench, settings: dict[str, str]) -> None:
    """The host's own connection is not used instead."""
    with pytest.raises(ConfigError, match="QUEUES"):
        QueueListener(bench.function, bench.worker, bench.settings, settings)


async def eventually(found: Callable[[], Any]) -> Any:
    """Call `until` beside the work of the event loop."""
    return await asyncio.to_thread(until, found)


def coded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


MARK = "\ufeff"
ANY = ["a\tb", "a\r\nb", "é😀<&>", "{bad", "5", "null", "[1]"]
LARGEST = "x" * 65_536
RUNS_PLAIN = ["{}", "text", coded("{}"), "test", "abcd1234", "e30", "e3\n0=", "", " ", MARK + "{}", LARGEST, *ANY]


@pytest.mark.parametrize("text", RUNS_PLAIN, ids=lambda text: ascii(text[:9]))
def test_without_an_encoding_any_text_arrives_unchanged(bench: Bench, text: str) -> None:
    """Any text up to 65,536 bytes."""
    bench.deliver(text)
    assert (bench.bodies, bench.poisoned) == ([text.encode()], [])


RUNS_CODED = [
    *((coded(text), text) for text in ("{}", MARK + "{}", "\x01", "\ufffe", "x" * 49_152, *ANY)),
    ("aGVs\nbG8=", "hello"),
    ("aGVsbG8h", "hello!"),
    ("", ""),
    (" ", ""),
]


@pytest.mark.parametrize(("text", "body"), RUNS_CODED, ids=lambda text: ascii(text[:9]))
def test_base64_is_decoded(bench: Bench, text: str, body: str) -> None:
    """Line breaks in it are ignored, and an empty text is an empty body."""
    bench.settings = replace(SETTINGS, encoding="base64")
    bench.deliver(text)
    assert (bench.bodies, bench.poisoned) == ([body.encode()], [])


@pytest.mark.parametrize("text", ["{}", "plain text", "e30", MARK + coded("{}")])
def test_text_that_is_not_base64_is_poison_at_once(bench: Bench, text: str, caplog: pytest.LogCaptureFixture) -> None:
    bench.settings = replace(SETTINGS, encoding="base64")
    bench.deliver(text)
    assert (bench.bodies, bench.poisoned) == ([], [(text, 0)])
    assert caplog.text.count("has reached MaxDequeueCount") == 1


@pytest.mark.parametrize("text", ["test", "abcd1234"])
def test_accidental_base64_that_is_not_text_uses_all_attempts(
    bench: Bench, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The function is not called, and the poison queue gets the original text."""
    bench.settings = replace(SETTINGS, encoding="base64")
    bench.deliver(text)
    assert (bench.bodies, bench.poisoned) == ([], [(text, 0)])
    assert caplog.text.count("Exception binding parameter") == 3


def test_one_byte_too_many_is_refused_by_the_queue(bench: Bench) -> None:
    with pytest.raises(HttpResponseError, match="RequestBodyTooLarge"):
        bench.queue.send_message(LARGEST + "x")


@pytest.mark.parametrize("encoding", ["none", "base64"])
def test_a_failed_message_is_poison_in_its_original_form(bench: Bench, encoding: str) -> None:
    bench.settings = replace(SETTINGS, encoding=encoding)
    bench.act = fail
    text = coded('{"a": "é"}')
    bench.deliver(text)
    assert [message.dequeue_count for message in bench.seen] == [1, 2, 3]
    assert bench.poisoned == [(text, 0)]


async def fail() -> None:
    raise ValueError("a failure on request")


def test_a_message_that_was_received_too_often_is_not_processed(bench: Bench) -> None:
    """Such messages result from a host that dies at each attempt."""
    bench.queue.send_message("worn")
    for _ in range(3):
        until(lambda: list(bench.queue.receive_messages(visibility_timeout=1)))
    bench.deliver()
    assert (bench.bodies, bench.poisoned) == ([], [("worn", 0)])


@pytest.mark.parametrize("bad", ["\x01", "\ufffe"])
def test_a_text_beyond_xml_loses_its_whole_batch(bench: Bench, bad: str, caplog: pytest.LogCaptureFixture) -> None:
    """No message of the batch runs or is poison; all are invisible until the lock ends. Later ones run."""

    async def run() -> None:
        async with bench.listening():
            await eventually(lambda: "cannot be read" in caplog.text)
            bench.queue.send_message("later")
            await eventually(lambda: bench.bodies == [b"later"] and depth(bench.queue) == 3)

    for text in ("one", "two", bad):
        bench.queue.send_message(text)
    asyncio.run(run())
    assert bench.poisoned == []
    assert [(one.content, one.dequeue_count) for one in (again(bench.queue), again(bench.queue))] == [
        ("one", 2),
        ("two", 2),
    ]


def test_a_message_in_processing_at_the_end_is_not_released(bench: Bench) -> None:
    """It reappears when its lock ends. Messages that end within the grace period are done."""

    async def run() -> None:
        async with bench.listening() as listener:
            await eventually(lambda: len(bench.seen) == 2)
            quick.set()
            await listener.stop(0.5)

    async def act() -> None:
        await (quick if bench.seen[-1].get_body() == b"quick" else asyncio.Event()).wait()

    quick = asyncio.Event()
    bench.act = act
    bench.queue.send_message("quick")
    bench.queue.send_message("long")
    asyncio.run(run())
    assert depth(bench.queue) == 1
    assert not list(bench.queue.receive_messages())
    found = again(bench.queue)
    assert (found.content, found.dequeue_count) == ("long", 2)


def test_a_lock_is_renewed_at_its_half(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also by an abandoned listener, until the process ends."""

    async def run() -> None:
        async with bench.listening() as listener:
            await eventually(lambda: bench.seen)
            await eventually(lambda: pauses.count(LOCK / 2) >= 4)
            listener.abandon()
            bench.worker.die()
            bench.worker.load([bench.function])
            before = len(pauses)
            await eventually(lambda: pauses[before:].count(LOCK / 2) >= 4)
            assert not list(bench.queue.receive_messages())
        assert len(bench.seen) == 1

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        await slept(seconds)

    pauses: list[float] = []
    slept = asyncio.sleep
    monkeypatch.setattr(asyncio, "sleep", sleep)
    bench.act = asyncio.Event().wait  # type: ignore[assignment]  # its result is not used
    bench.queue.send_message("long")
    asyncio.run(run())
    assert again(bench.queue).dequeue_count == 2


def test_thirty_two_run_at_once(bench: Bench) -> None:
    """A batch of 16, and another when at most 16 run."""

    async def run() -> None:
        async with bench.listening():
            await eventually(lambda: len(bench.seen) == 32)
            await eventually(lambda: len(bench.queue.peek_messages(max_messages=32)) == 8)
            go.set()
            await eventually(lambda: depth(bench.queue) == 0)

    async def act() -> None:
        running.append(running[-1] + 1)
        await go.wait()
        running.append(running[-1] - 1)

    running, go = [0], asyncio.Event()
    bench.act = act
    for n in range(40):
        bench.queue.send_message(str(n))
    asyncio.run(run())
    assert (max(running), len(bench.seen)) == (32, 40)


def test_a_trigger_on_a_poison_queue_releases_nothing(queues: str, bench: Bench) -> None:
    """A poison queue has no poison queue: a failed message stays invisible until its lock ends, each time."""

    async def run() -> None:
        async with poison.listening() as listener:
            await eventually(lambda: poison.seen)
            await eventually(lambda: not listener._running)  # nothing else shows the failure
            assert not list(poison.queue.receive_messages())
            await eventually(lambda: len(poison.seen) == 4)
        assert [message.dequeue_count for message in poison.seen] == [1, 2, 3, 4]

    poison = Bench(queues, bench.poison.queue_name)
    poison.act = fail
    poison.queue.send_message("bad")
    asyncio.run(run())
    assert (depth(poison.queue), depth(poison.poison)) == (1, 0)


def merged(bench: Bench, **properties: Any) -> func.QueueMessage:
    """Return what the function sees of a message with these properties."""
    bench.deliver(json.dumps(properties))
    assert len(bench.seen) == 1
    return bench.seen[0]


@pytest.mark.parametrize("key", ["id", "Id", "ID"])
@pytest.mark.parametrize("value", ["EVENT-ID", 5, {"a": 1}])
def test_an_id_of_any_case_is_the_messages_id(bench: Bench, key: str, value: Any) -> None:
    """The SDK converts numbers and objects to text."""
    assert merged(bench, **{key: value}).id == str(value)


@pytest.mark.parametrize("value", ["receipt", 5, {"a": 1}])
def test_a_pop_receipt_is_the_messages(bench: Bench, value: Any) -> None:
    """The host keeps the real receipt elsewhere, so the message is deleted."""
    assert merged(bench, PopReceipt=value).pop_receipt == str(value)


@pytest.mark.parametrize("value", [7, "7", -1, 10**12])
def test_a_dequeue_count_is_the_messages(bench: Bench, value: Any) -> None:
    assert merged(bench, DequeueCount=value).dequeue_count == int(value)


@pytest.mark.parametrize("value", [None, [1]])
def test_null_and_lists_replace_nothing(bench: Bench, value: Any) -> None:
    keys = ("Id", "PopReceipt", "DequeueCount", "InsertionTime", "ExpirationTime", "NextVisibleTime")
    seen = merged(bench, **dict.fromkeys(keys, value))
    assert len(seen.id or "") == 36
    assert (seen.dequeue_count, seen.expiration_time - seen.insertion_time) == (1, timedelta(days=7))  # type: ignore[operator]
    assert timedelta(0) < seen.time_next_visible - seen.insertion_time < timedelta(seconds=60)  # type: ignore[operator]
    assert seen.pop_receipt


def test_only_the_top_of_an_object_counts(bench: Bench) -> None:
    """Nested keys and the names that the host itself uses have no effect."""
    harmless = ("queueTrigger", "sys", "data", "rand-guid", "datetime", "$type", "msg", "context", "")
    seen = merged(bench, nested={"id": "x", "DequeueCount": "x"}, **dict.fromkeys(harmless, "x"))
    assert (len(seen.id or ""), seen.dequeue_count) == (36, 1)


TIMES = ("InsertionTime", "expirationTime", "NEXTVISIBLETIME")
MOMENTS: tuple[Any, ...] = (
    "2020-01-01T00:00:00Z",
    "2020-01-01T00:00:00",
    "2020-01-01T00:00:00.1234567+00:00",
    "2020-01-01",
    "x",
    5,
    {},
)


@pytest.mark.parametrize(
    "properties",
    [{key: value} for key in TIMES for value in MOMENTS] + [{"DequeueCount": value} for value in ("x", 1.5, {"a": 1})],
    ids=str,
)
def test_a_property_that_cannot_be_converted_uses_all_attempts(
    bench: Bench, properties: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """This includes valid times. The function is not called."""
    text = json.dumps(properties)
    bench.deliver(text)
    assert (bench.bodies, bench.poisoned) == ([], [(text, 0)])
    assert caplog.text.count("'f' failed: ValueError") == 3
