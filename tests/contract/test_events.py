"""The queue blob-events and its poison twin, the same in memory and in storage."""

from datetime import UTC, datetime, timedelta

import pytest

from adapters.events import StoredEvents
from ports.events import Events, Poison
from tests.contract.worlds import InStorage, World
from tests.fakes import MemoryEvents, MemoryStorage

BODIES = [b'{"a": 1}', '{"name": "ü <&> 🎈"}'.encode(), b"e30=", b'[{"quoted": "\\""}]', b"  blanks  "]


@pytest.fixture(autouse=True)
async def _empty(world: World) -> None:
    await world.waiting()
    async for message in world.events.receive_poison():
        await world.events.delete_poison(message)
    async for found in world.events.list_undelivered():
        await world.events.delete_undelivered(found)


async def test_events_come_out_in_order_as_they_went_in(world: World) -> None:
    """Raw text, nothing encoded."""
    for body in BODIES:
        await world.events.put(body)
    assert await world.events.depth() == len(BODIES)
    assert await world.waiting() == BODIES


async def test_a_delayed_event_waits_unseen(world: World) -> None:
    """It counts, and is not there yet."""
    await world.events.put(b"{}", 60)
    assert await world.waiting() == []
    assert await world.events.depth() >= 1


async def test_poison_is_seen_once_until_it_is_consumed(world: World) -> None:
    """Each message is hidden from others while somebody works on it, in more pages than one."""
    bodies = [f"{number}".encode() for number in range(33)] + BODIES
    for body in bodies:
        await world.poison(body)
    seen = [message async for message in world.events.receive_poison()]
    assert sorted(message.body for message in seen) == sorted(bodies)
    assert [message async for message in world.events.receive_poison()] == []
    for message in seen:
        await world.events.delete_poison(message)


async def test_the_age_of_a_queue_is_its_oldest_events(world: World) -> None:
    """Of those that are visible; nothing is hidden from others by looking."""
    assert await world.events.oldest_message() is None
    await world.events.put(b"put off", 60)
    assert await world.events.oldest_message() is None
    await world.events.put(b"first")
    first = await world.events.oldest_message()
    assert first is not None
    assert abs(datetime.now(UTC) - first) < timedelta(minutes=1)
    await world.events.put(b"second")
    assert await world.events.oldest_message() == first
    assert await world.waiting() == [b"first", b"second"]
    assert await world.events.oldest_message() is None


GIVEN_UP = {"a/2026/11/1.json": b'[{"id": "1"}, {"id": "2"}]', "a/2026/11/2.json": b"", "b/\xfc 100%.json": b"\xff\x00"}


async def test_what_event_grid_gave_up_is_listed_read_and_deleted(world: World) -> None:
    """By name, each with its size and every byte; then it is gone."""
    for name, body in reversed(GIVEN_UP.items()):
        await world.give_up(name, body)
    found = [each async for each in world.events.list_undelivered()]
    assert [(each.name, each.size) for each in found] == [(name, len(body)) for name, body in GIVEN_UP.items()]
    assert [await world.events.read_undelivered(each) for each in found] == list(GIVEN_UP.values())
    for each in found:
        await world.events.delete_undelivered(each)
    assert [each async for each in world.events.list_undelivered()] == []


async def test_what_was_written_again_is_neither_read_nor_deleted(world: World) -> None:
    """It is not what was listed: the next list shows it."""
    await world.give_up("a.json", b"[1]")
    listed = await anext(aiter(world.events.list_undelivered()))
    await world.give_up("a.json", b"[2]")
    assert await world.events.read_undelivered(listed) is None
    await world.events.delete_undelivered(listed)
    [again] = [each async for each in world.events.list_undelivered()]
    assert await world.events.read_undelivered(again) == b"[2]"


async def test_what_somebody_else_took_is_fine(world: World) -> None:
    """Gone already."""
    await world.give_up("a.json", b"[1]")
    listed = await anext(aiter(world.events.list_undelivered()))
    await world.events.delete_undelivered(listed)
    assert await world.events.read_undelivered(listed) is None
    await world.events.delete_undelivered(listed)


async def test_a_list_of_what_was_given_up_goes_on_beyond_a_page(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while it is taken: what has to stay keeps no other waiting."""
    monkeypatch.setattr("adapters.events.UNDELIVERED_PAGE", 2)
    names = [f"{number}.json" for number in range(5)]
    for name in names:
        await world.give_up(name, b"[]")
    seen = []
    async for found in world.events.list_undelivered():
        seen.append(found.name)
        if found.name != "0.json":
            await world.events.delete_undelivered(found)
    assert seen == names
    assert [each.name async for each in world.events.list_undelivered()] == ["0.json"]


async def test_a_poison_queue_that_is_missing_is_an_empty_one(world: World) -> None:
    """The host creates it with its first message; and where nobody asked Event Grid to keep anything, there is nothing."""
    if isinstance(world, InStorage):
        elsewhere: Events = StoredEvents(
            world.clients, world.stack.queue_url("sharingsource"), world.stack.blob_url("sharingsource")
        )
    else:
        elsewhere = MemoryEvents(MemoryStorage())
    assert [message async for message in elsewhere.receive_poison()] == []
    assert [found async for found in elsewhere.list_undelivered()] == []


async def test_consumed_twice_is_fine(world: World) -> None:
    """Gone already."""
    await world.poison(b"{}")
    message = await anext(aiter(world.events.receive_poison()))
    await world.events.delete_poison(message)
    await world.events.delete_poison(message)


async def test_a_receipt_that_is_no_more_valid_is_fine(storage: InStorage) -> None:
    """Somebody else has it by now."""
    await storage.poison(b"{}")
    message = await anext(aiter(storage.events.receive_poison()))
    await storage.events.delete_poison(Poison(message.body, message.id, "AgAAAAMAAAAAAAAAlmsnewmS2wE="))
    await storage.events.delete_poison(message)


async def test_an_event_never_expires(storage: InStorage) -> None:
    """Time to live -1: the service shows the last moment that it knows."""
    await storage.events.put(b"{}")
    queue = storage.clients.queue(storage.stack.queue_url("sharingevents"), "blob-events")
    messages = await queue.peek_messages(32)
    assert messages[-1].expires_on is not None
    assert messages[-1].expires_on.year == 9999
