"""Scheduled reconciles."""

from dataclasses import replace
from datetime import timedelta

from operations.jobs.schedule import reconcile_due
from rules.jobs.model import Job, JobKind
from rules.jobs.report import results_page
from tests.unit.samples import NOW, ROUTE
from tests.unit.world import World

HOURLY = replace(ROUTE, reconcile=timedelta(hours=1))


async def run_timer(world: World) -> list[str]:
    return await reconcile_due(world.ports, world.instances)


async def test_a_route_without_a_schedule_costs_no_request() -> None:
    world = World()
    assert await run_timer(world) == []
    assert world.requests == []


async def test_one_reconcile_is_started_per_interval() -> None:
    world = World(routes=(HOURLY,))
    [first] = await run_timer(world)
    job = world.instances.kept[first].job
    assert job == Job(first, JobKind.RECONCILE, NOW, route=ROUTE.name)
    world.instances.become(first, "Completed")
    assert await run_timer(world) == []
    world.pass_time(3_600)
    [second] = await run_timer(world)
    assert second != first


async def test_no_reconcile_is_started_while_the_previous_one_runs() -> None:
    """It is skipped, not delayed."""
    world = World(routes=(HOURLY,))
    [first] = await run_timer(world)
    world.pass_time(3_600)
    assert await run_timer(world) == []
    world.instances.become(first, "Completed")
    assert len(await run_timer(world)) == 1


async def test_a_dry_run_a_folder_or_another_route_does_not_block_a_reconcile() -> None:
    world = World(routes=(HOURLY,))
    await world.instances.start(Job("reconcile-" + "a" * 24, JobKind.RECONCILE, NOW, route=ROUTE.name, dry_run=True))
    await world.instances.start(Job("reconcile-" + "b" * 24, JobKind.RECONCILE, NOW, route="other"))
    await world.instances.start(Job("reconcile-" + "c" * 24, JobKind.RECONCILE, NOW, route=ROUTE.name, prefix="in/a/"))
    assert len(await run_timer(world)) == 1


async def test_a_reconcile_that_has_acted_is_not_repeated_after_the_task_hub_is_lost() -> None:
    """The new job would read the old results as its own. A reconcile that has not acted is repeated."""
    world = World(routes=(HOURLY,))
    [first] = await run_timer(world)
    world.instances.kept.clear()
    assert await run_timer(world) == [first]
    world.instances.kept.clear()
    await world.reports.write(results_page(first, 0), [{"id": "x", "name": None, "result": "started", "detail": ""}])
    assert await run_timer(world) == []
    world.pass_time(3_600)
    assert len(await run_timer(world)) == 1


async def test_intervals_count_per_route_and_length() -> None:
    ids = set()
    for reconcile in (timedelta(hours=1), timedelta(hours=2)):
        for name in ("one", "two"):
            world = World(routes=(replace(ROUTE, name=name, reconcile=reconcile),))
            ids |= set(await run_timer(world))
    assert len(ids) == 4
