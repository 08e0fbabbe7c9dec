"""The queue blob-events, its poison queue and the undelivered events, in memory and in storage."""

from datetime import UTC, datetime, timedelta

import pytest

from adapters.events import StoredEvents
from ports.events import Events
from ports.messages import Received
from tests.contract.worlds import InStorage, World
from tests.fakes import MemoryEvents, MemoryStorage

BODIES = [b'{"a": 1}', '{"name": "ü <&> 🎈"}'.encode(), b"e30=", b'[{"quoted": "\\""}]', b"  blanks  "]


@pytest.fixture(autouse=True)
async def _empty(world: World) -> None:
    await world.take_events()
    async for message in world.events.receive_poison():
        await world.events.delete_poison(message)
    async for found in world.events.list_undelivered():
        await world.events.delete_undelivered(found)


async def test_events_come_out_in_order_as_they_went_in(world: World) -> None:
    for body in BODIES:
        await world.events.put(body)
    assert await world.events.depth() == len(BODIES)
    assert await world.take_events() == BODIES


async def test_a_delayed_event_is_invisible_and_counts(world: World) -> None:
    await world.events.put(b"{}", 60)
    assert await world.take_events() == []
    assert await world.events.depth() >= 1


async def test_a_poison_message_is_hidden_from_other_readers(world: World) -> None:
    bodies = [f"{number}".encode() for number in range(33)] + BODIES
    for body in bodies:
        await world.poison(body)
    seen = [message async for message in world.events.receive_poison()]
    assert sorted(message.body for message in seen) == sorted(bodies)
    assert [message async for message in world.events.receive_poison()] == []
    for message in seen:
        await world.events.delete_poison(message)


async def test_the_oldest_visible_event_is_found_without_hiding_it(world: World) -> None:
    assert await world.events.oldest_message() is None
    await world.events.put(b"put off", 60)
    assert await world.events.oldest_message() is None
    await world.events.put(b"first")
    first = await world.events.oldest_message()
    assert first is not None
    assert abs(datetime.now(UTC) - first) < timedelta(minutes=1)
    await world.events.put(b"second")
    assert await world.events.oldest_message() == first
    assert await world.take_events() == [b"first", b"second"]
    assert await world.events.oldest_message() is None


GIVEN_UP = {"a/2026/11/1.json": b'[{"id": "1"}, {"id": "2"}]', "a/2026/11/2.json": b"", "b/\xfc 100%.json": b"\xff\x00"}


async def test_undelivered_events_are_listed_read_and_deleted(world: World) -> None:
    for name, body in reversed(GIVEN_UP.items()):
        await world.add_undelivered(name, body)
    found = [each async for each in world.events.list_undelivered()]
    assert [(each.name, each.size) for each in found] == [(name, len(body)) for name, body in GIVEN_UP.items()]
    assert [await world.events.read_undelivered(each) for each in found] == list(GIVEN_UP.values())
    for each in found:
        await world.events.delete_undelivered(each)
    assert [each async for each in world.events.list_undelivered()] == []


async def test_an_overwritten_blob_is_neither_read_nor_deleted(world: World) -> None:
    await world.add_undelivered("a.json", b"[1]")
    listed = await anext(aiter(world.events.list_undelivered()))
    await world.add_undelivered("a.json", b"[2]")
    assert await world.events.read_undelivered(listed) is None
    await world.events.delete_undelivered(listed)
    [again] = [each async for each in world.events.list_undelivered()]
    assert await world.events.read_undelivered(again) == b"[2]"


async def test_a_deleted_blob_is_no_error(world: World) -> None:
    await world.add_undelivered("a.json", b"[1]")
    listed = await anext(aiter(world.events.list_undelivered()))
    await world.events.delete_undelivered(listed)
    assert await world.events.read_undelivered(listed) is None
    await world.events.delete_undelivered(listed)


async def test_the_list_of_undelivered_events_has_pages(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while blobs are deleted: one that stays does not block the others."""
    monkeypatch.setattr("adapters.events.UNDELIVERED_PAGE", 2)
    names = [f"{number}.json" for number in range(5)]
    for name in names:
        await world.add_undelivered(name, b"[]")
    seen = []
    async for found in world.events.list_undelivered():
        seen.append(found.name)
        if found.name != "0.json":
            await world.events.delete_undelivered(found)
    assert seen == names
    assert [each.name async for each in world.events.list_undelivered()] == ["0.json"]


async def test_a_missing_queue_or_container_is_empty(world: World) -> None:
    """The host creates the queue with its first message; without a dead-letter destination there is no container."""
    if isinstance(world, InStorage):
        elsewhere: Events = StoredEvents(
            world.clients, world.stack.queue_url("sharingsource"), world.stack.blob_url("sharingsource")
        )
    else:
        elsewhere = MemoryEvents(MemoryStorage())
    assert [message async for message in elsewhere.receive_poison()] == []
    assert [found async for found in elsewhere.list_undelivered()] == []


async def test_a_second_deletion_is_no_error(world: World) -> None:
    await world.poison(b"{}")
    message = await anext(aiter(world.events.receive_poison()))
    await world.events.delete_poison(message)
    await world.events.delete_poison(message)


async def test_an_expired_receipt_is_no_error(storage: InStorage) -> None:
    await storage.poison(b"{}")
    message = await anext(aiter(storage.events.receive_poison()))
    await storage.events.delete_poison(Received(message.body, message.id, "AgAAAAMAAAAAAAAAlmsnewmS2wE="))
    await storage.events.delete_poison(message)


async def test_an_event_never_expires(storage: InStorage) -> None:
    """A time to live of -1: the service shows the latest time that it knows."""
    await storage.events.put(b"{}")
    queue = storage.clients.queue(storage.stack.queue_url("sharingevents"), "blob-events")
    messages = await queue.peek_messages(32)
    assert messages[-1].expires_on is not None
    assert messages[-1].expires_on.year == 9999
