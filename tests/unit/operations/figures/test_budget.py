"""The daily budget of a route: it counts as paused until midnight UTC, at hardly any cost."""

import json
import logging
from dataclasses import replace
from datetime import timedelta

import pytest

from operations.log import LOGGER
from operations.transfers.accept import accept
from operations.upkeep.figures import collect
from operations.upkeep.schedule import schedule
from rules import codec
from rules.figures.feed import Kind
from rules.orchestrations.instance import Instance
from rules.routes.model import Place
from tests.unit.rules.figures.test_aggregate import message
from tests.unit.samples import NOW, ROUTE, TARGET_HOST
from tests.unit.world import World

LIMITED = replace(ROUTE, daily_bytes=15)
SECOND = replace(ROUTE, name="second", target=Place(TARGET_HOST, "second"))


async def verify(world: World, count: int, kind: Kind = Kind.VERIFIED) -> None:
    """Let the figures count ends of 10 bytes, and forget what the process has read."""
    for number in range(count):
        each = message(number, kind, at=world.clock)
        await world.feed.put(json.dumps(codec.encode(each)).encode())
    await collect(world.ports, world.instances)
    world.pass_time(16)
    world.requests.clear()


def reconciles(world: World) -> list[Instance]:
    return [instance for instance in world.instances.kept.values() if instance.job]


async def test_below_its_budget_a_route_shares() -> None:
    world = World((LIMITED,))
    await verify(world, 1)
    await verify(world, 9, Kind.SUPERSEDED)
    assert (await accept(world.ports, world.instances, world.event(world.put()))).started


async def test_over_its_budget_its_events_are_ignored_and_recorded(caplog: pytest.LogCaptureFixture) -> None:
    world = World((LIMITED, SECOND))
    await verify(world, 2)
    transfer = world.put()
    with caplog.at_level(logging.INFO, LOGGER.name):
        accepted = await accept(world.ports, world.instances, world.event(transfer))
    assert [world.instances.kept[each].run.transfer.route for each in accepted.started] == ["second"]  # type: ignore[union-attr]
    assert list(world.dead_letters.pauses) == ["default"]
    lines = [json.loads(record.getMessage()) for record in caplog.records if record.name == LOGGER.name]
    (ignored,) = [line for line in lines if line["action"] == "message.ignored"]
    assert (ignored["text"].partition(":")[0], ignored["route"]) == ("over_budget", "default")


async def test_events_within_15_seconds_share_one_request_and_a_route_without_budget_costs_none() -> None:
    world = World((LIMITED, SECOND))
    for number in range(20):
        await accept(world.ports, world.instances, world.event(world.put(f"in/{number}")))
    assert world.request_names.count("figures.read") == 1
    unlimited = World()
    await accept(unlimited.ports, unlimited.instances, unlimited.event(unlimited.put()))
    assert "figures.read" not in unlimited.request_names


async def test_after_midnight_it_shares_again_and_is_reconciled_once() -> None:
    world = World((LIMITED,))
    await verify(world, 2)
    await accept(world.ports, world.instances, world.event(world.put()))
    assert await schedule(world.ports, world.instances) == []
    world.clock = NOW.replace(hour=23, minute=59)
    assert await schedule(world.ports, world.instances) == []
    world.pass_time(70)
    assert len(await schedule(world.ports, world.instances)) == 1
    assert await schedule(world.ports, world.instances) == []
    assert len(reconciles(world)) == 1
    assert not world.dead_letters.pauses
    assert (await accept(world.ports, world.instances, world.event(world.put("in/next")))).started


async def test_no_scheduled_reconcile_starts_over_the_budget() -> None:
    world = World((replace(LIMITED, reconcile=timedelta(hours=1)),))
    await verify(world, 2)
    assert await schedule(world.ports, world.instances) == []
    assert reconciles(world) == []
