"""The queue blob-events and its poison twin, the same in memory and in storage."""

import pytest

from adapters.events import StoredEvents
from adapters.memory import MemoryEvents, MemoryStorage
from rules.ports import Events, Poison
from tests.contract.worlds import InStorage, World

BODIES = [b'{"a": 1}', '{"name": "ü <&> 🎈"}'.encode(), b"e30=", b'[{"quoted": "\\""}]', b"  blanks  "]


@pytest.fixture(autouse=True)
async def _empty(world: World) -> None:
    await world.waiting()
    async for message in world.events.poison():
        await world.events.consumed(message)


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
    seen = [message async for message in world.events.poison()]
    assert sorted(message.body for message in seen) == sorted(bodies)
    assert [message async for message in world.events.poison()] == []
    for message in seen:
        await world.events.consumed(message)


async def test_a_poison_queue_that_is_missing_is_an_empty_one(world: World) -> None:
    """The host creates it with its first message."""
    if isinstance(world, InStorage):
        elsewhere: Events = StoredEvents(
            world.clients, world.stack.queue_url("sharingsource"), world.stack.blob_url("sharingsource")
        )
    else:
        elsewhere = MemoryEvents(MemoryStorage())
    assert [message async for message in elsewhere.poison()] == []


async def test_consumed_twice_is_fine(world: World) -> None:
    """Gone already."""
    await world.poison(b"{}")
    message = await anext(aiter(world.events.poison()))
    await world.events.consumed(message)
    await world.events.consumed(message)


async def test_a_receipt_that_is_no_more_valid_is_fine(storage: InStorage) -> None:
    """Somebody else has it by now."""
    await storage.poison(b"{}")
    message = await anext(aiter(storage.events.poison()))
    await storage.events.consumed(Poison(message.body, message.id, "AgAAAAMAAAAAAAAAlmsnewmS2wE="))
    await storage.events.consumed(message)


async def test_an_event_never_expires(storage: InStorage) -> None:
    """Time to live -1: the service shows the last moment that it knows."""
    await storage.events.put(b"{}")
    queue = storage.clients.queue(storage.stack.queue_url("sharingstate"), "blob-events")
    messages = await queue.peek_messages(32)
    assert messages[-1].expires_on is not None
    assert messages[-1].expires_on.year == 9999
