"""The reconcile that a route asks for by itself."""

from dataclasses import replace
from datetime import timedelta

from operations.jobs.schedule import reconcile_due
from rules.jobs.model import Job, JobKind
from rules.jobs.report import results_page
from tests.unit.samples import NOW, ROUTE
from tests.unit.world import World

HOURLY = replace(ROUTE, reconcile=timedelta(hours=1))


async def due(world: World) -> list[str]:
    """Let the timer come."""
    return await reconcile_due(world.ports, world.instances)


async def test_a_route_that_does_not_ask_for_it_is_left_alone() -> None:
    """It is off by default, and then costs nothing."""
    world = World()
    assert await due(world) == []
    assert world.requests == []


async def test_one_is_started_for_each_interval_however_often_the_timer_comes() -> None:
    """Also where the one before has ended long ago."""
    world = World(routes=(HOURLY,))
    [first] = await due(world)
    job = world.instances.kept[first].job
    assert job == Job(first, JobKind.RECONCILE, NOW, route=ROUTE.name)
    world.instances.become(first, "Completed")
    assert await due(world) == []
    world.pass_time(3_600)
    [second] = await due(world)
    assert second != first


async def test_none_is_started_while_the_one_before_still_runs() -> None:
    """It is left out, not put off: the next interval has its own."""
    world = World(routes=(HOURLY,))
    [first] = await due(world)
    world.pass_time(3_600)
    assert await due(world) == []
    world.instances.become(first, "Completed")
    assert len(await due(world)) == 1


async def test_a_dry_run_that_a_person_asked_for_does_not_stand_in_its_way() -> None:
    """Nor does another route's."""
    world = World(routes=(HOURLY,))
    await world.instances.start(Job("reconcile-" + "a" * 24, JobKind.RECONCILE, NOW, route=ROUTE.name, dry_run=True))
    await world.instances.start(Job("reconcile-" + "b" * 24, JobKind.RECONCILE, NOW, route="other"))
    assert len(await due(world)) == 1


async def test_one_that_has_acted_is_not_started_again_when_the_task_hub_is_lost() -> None:
    """Its pages of results would say that the new one's lines are done. One that had not acted is started again."""
    world = World(routes=(HOURLY,))
    [first] = await due(world)
    world.instances.kept.clear()
    assert await due(world) == [first]
    world.instances.kept.clear()
    await world.reports.write(results_page(first, 0), [{"id": "x", "name": None, "result": "started", "detail": ""}])
    assert await due(world) == []
    world.pass_time(3_600)
    assert len(await due(world)) == 1


async def test_a_changed_interval_counts_afresh() -> None:
    """And each route counts for itself."""
    ids = set()
    for reconcile in (timedelta(hours=1), timedelta(hours=2)):
        for name in ("one", "two"):
            world = World(routes=(replace(ROUTE, name=name, reconcile=reconcile),))
            ids |= set(await due(world))
    assert len(ids) == 4
