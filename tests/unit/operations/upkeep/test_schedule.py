"""The schedule timer: what follows the pause of a route."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from adapters.translation import DEAD_LETTERS_WRITE, INSTANCES_START, error_for_answer, error_for_no_answer
from operations.transfers.accept import accept
from operations.upkeep.schedule import schedule
from rules.errors import Retryable
from rules.jobs.model import Job, JobKind
from rules.routes.model import Pause, Place, Route
from tests.unit.samples import NOW, ROUTE
from tests.unit.world import World

PAUSED = replace(ROUTE, paused=True)
SECOND = Route("second", ROUTE.source, Place("https://third.blob.core.windows.net", "target", "out/"))


def configure(world: World, *routes: Route) -> None:
    """Start the app with other settings."""
    world.ports = replace(world.ports, routes=routes)


async def run_timer(world: World) -> list[str]:
    return await schedule(world.ports, world.instances)


async def paused_once() -> World:
    """A world whose route was paused until now."""
    world = World((PAUSED,))
    assert await run_timer(world) == []
    world.pass_time(86_400)
    configure(world, ROUTE)
    return world


async def test_without_pause_and_schedule_a_run_costs_one_request(world: World) -> None:
    assert await run_timer(world) == []
    assert world.request_names == ["dead_letters.list"]


async def test_a_pause_is_recorded_once() -> None:
    world = World((PAUSED, SECOND))
    for _ in range(3):
        assert await run_timer(world) == []
        world.pass_time(300)
    assert world.dead_letters.pauses == {ROUTE.name: Pause(ROUTE.name, NOW)}


async def test_no_scheduled_reconcile_starts_while_the_route_is_paused() -> None:
    hourly = timedelta(hours=1)
    world = World((replace(PAUSED, reconcile=hourly), replace(SECOND, reconcile=hourly)))
    [identity] = await run_timer(world)
    assert (world.instances.kept[identity].job or Job("", JobKind.REPLAY, NOW)).route == "second"


async def test_after_the_pause_one_reconcile_starts() -> None:
    world = await paused_once()
    [identity] = await run_timer(world)
    job = Job(identity, JobKind.RECONCILE, world.clock, route=ROUTE.name)
    assert world.instances.kept[identity].job == job
    assert world.dead_letters.pauses == {}
    world.instances.become(identity, "Completed")
    assert await run_timer(world) == []


async def test_an_ignored_event_is_enough(world: World) -> None:
    """The pause may be shorter than the interval of the timer."""
    configure(world, PAUSED)
    await accept(world.ports, world.instances, world.event(world.put()))
    configure(world, ROUTE)
    assert len(await run_timer(world)) == 1


async def test_two_pauses_are_two_reconciles() -> None:
    world = await paused_once()
    [first] = await run_timer(world)
    configure(world, PAUSED)
    await run_timer(world)
    configure(world, ROUTE)
    [second] = await run_timer(world)
    assert first != second


async def test_concurrent_runs_start_one_reconcile() -> None:
    world = await paused_once()
    await asyncio.gather(*(run_timer(world) for _ in range(4)))
    assert len(world.instances.kept) == 1
    assert world.dead_letters.pauses == {}


@pytest.mark.parametrize("applied", [True, False])
async def test_a_failed_start_is_repeated_once(applied: bool) -> None:  # noqa: FBT001  # a parameter of the test
    """Whether the start took effect or not, one reconcile is started."""
    world = await paused_once()
    if applied:
        world.lose_answer(INSTANCES_START)
    else:
        world.refuse(INSTANCES_START, error_for_no_answer(INSTANCES_START), times=1)
    with pytest.raises(Retryable):
        await run_timer(world)
    assert (len(world.instances.kept), len(world.dead_letters.pauses)) == (int(applied), 1)
    assert len(await run_timer(world)) == int(not applied)
    assert (len(world.instances.kept), len(world.dead_letters.pauses)) == (1, 0)


async def test_a_record_that_could_not_be_deleted_starts_nothing_more() -> None:
    world = await paused_once()
    world.before_next(INSTANCES_START, lambda: world.refuse(DEAD_LETTERS_WRITE, busy(), times=1))
    with pytest.raises(Retryable):
        await run_timer(world)
    assert len(world.dead_letters.pauses) == 1
    assert await run_timer(world) == []
    assert (len(world.instances.kept), len(world.dead_letters.pauses)) == (1, 0)


def busy() -> Retryable:
    error = error_for_answer(DEAD_LETTERS_WRITE, 503, "ServerBusy")
    assert isinstance(error, Retryable)
    return error


async def test_an_event_that_an_old_instance_ignores_meanwhile_leads_to_another_reconcile() -> None:
    """The first reconcile may have passed its name."""
    world = await paused_once()
    message, old = world.event(world.put()), replace(world.ports, routes=(PAUSED,))
    world.before_next(
        INSTANCES_START, lambda: tasks.append(asyncio.ensure_future(accept(old, world.instances, message)))
    )
    world.before_next(INSTANCES_START, lambda: world.pass_time(1))
    tasks: list[asyncio.Future[object]] = []
    [first] = await run_timer(world)
    await asyncio.gather(*tasks)
    assert len(world.dead_letters.pauses) == 1
    [second] = await run_timer(world)
    assert first != second
    assert world.dead_letters.pauses == {}


async def test_a_route_that_is_paused_again_after_a_crash_keeps_a_record() -> None:
    """The record of the first pause has led to a reconcile, which is over: the second pause needs its own."""
    world = await paused_once()
    world.before_next(INSTANCES_START, lambda: world.refuse(DEAD_LETTERS_WRITE, busy(), times=1))
    with pytest.raises(Retryable):
        await run_timer(world)
    world.pass_time(10)
    configure(world, PAUSED)
    await accept(world.ports, world.instances, world.event(world.put()))
    configure(world, ROUTE)
    assert len(await run_timer(world)) == 1
    assert len(world.instances.kept) == 2


async def test_a_route_that_was_removed_leaves_nothing() -> None:
    world = await paused_once()
    configure(world, SECOND)
    assert await run_timer(world) == []
    assert (world.dead_letters.pauses, world.instances.kept) == ({}, {})


async def test_a_failure_does_not_stop_the_scheduled_reconciles() -> None:
    world = await paused_once()
    configure(world, ROUTE, replace(SECOND, reconcile=timedelta(hours=1)))
    world.refuse(DEAD_LETTERS_WRITE, busy(), times=1)
    with pytest.raises(Retryable):
        await run_timer(world)
    assert [instance.job.route for instance in world.instances.kept.values() if instance.job] == ["second"]
