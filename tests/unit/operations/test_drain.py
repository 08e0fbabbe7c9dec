"""Nothing rots in a queue: what the trigger could not take is accepted here, or becomes a dead letter."""

import pytest

from adapters.translation import EVENTS_CONSUMED, INSTANCES_START, answered, unanswered
from operations.drain import drain
from rules.errors import Retryable
from tests.unit.operations.world import World


async def test_poison_is_accepted_as_the_trigger_would_have(world: World) -> None:
    """A message that no trigger can read may be a good event all the same."""
    transfer = world.put()
    world.events.give_up(world.event(transfer))
    world.events.give_up(b"hello")
    assert await drain(world.ports, world.instances) == 2
    assert list(world.instances.kept) == [transfer.id]
    assert len(world.letters.open) == 1
    assert world.events.poisoned == {}


async def test_an_empty_queue_is_one_request(world: World) -> None:
    """Every minute."""
    assert await drain(world.ports, world.instances) == 0
    assert world.asked == ["events.poison"]


async def test_a_message_is_deleted_only_after_it_was_accepted(world: World) -> None:
    """Storage fails: it shows again, and the next round takes it."""
    world.events.give_up(world.event(world.put()))
    world.refuse(INSTANCES_START, answered(INSTANCES_START, 503, "ServerBusy"), times=1)
    with pytest.raises(Retryable):
        await drain(world.ports, world.instances)
    assert len(world.events.poisoned) == 1
    world.pass_time(600)
    assert await drain(world.ports, world.instances) == 1
    assert len(world.instances.kept) == 1


async def test_a_delete_that_failed_makes_a_duplicate_and_nothing_more(world: World) -> None:
    """Twice is once."""
    world.events.give_up(world.event(world.put()))
    world.refuse(EVENTS_CONSUMED, unanswered(EVENTS_CONSUMED), times=1)
    with pytest.raises(Retryable):
        await drain(world.ports, world.instances)
    world.pass_time(600)
    await drain(world.ports, world.instances)
    assert world.asked.count("instances.start") == 1
    assert world.events.poisoned == {}
