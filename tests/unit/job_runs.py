"""Jobs, done batch by batch in a world in memory as their orchestration does them."""

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from activities import jobs
from activities.transfers import ACTIVITIES as STEPS
from adapters.translation import INSTANCES_START, Request
from rules.dead_letters import letters
from rules.errors import Reason
from rules.jobs import lifecycle as job_lifecycle
from rules.jobs.model import Batch, Job, JobKind, Phase
from rules.jobs.report import results_page
from rules.orchestrations.instance import Instance
from rules.routes.model import Blob
from rules.transfers import lifecycle as transfer_lifecycle
from rules.transfers.decisions import RECEIPT_SOURCE_ETAG
from rules.transfers.model import Ended, Ending, Run, Transfer
from rules.transfers.states import State
from rules.transfers.status import progress
from tests.fakes import Item
from tests.unit.samples import NOW, ROUTE, TARGET_HOST
from tests.unit.world import CONTENT, World

RECONCILE = Job("reconcile-" + "a" * 24, JobKind.RECONCILE, NOW, route="default", rate=4)


OTHER = replace(ROUTE, name="other", target=replace(ROUTE.target, prefix="other/"))


MOMENT = timedelta(milliseconds=1)


class Yielding(World):
    """A world whose requests take a moment, in which others go on."""

    async def _hook(self, request: Request, subject: str) -> Exception | None:
        await asyncio.sleep(0)
        return await super()._hook(request, subject)


async def batch(world: World, job: Job) -> Batch:
    """The job's next batch, as its activity does it."""
    assert job.phase
    return await jobs.run(jobs.ACTIVITIES[job.phase], world.ports, world.instances, job)


async def step(world: World, job: Job) -> Job:
    """The job after its next batch, as its orchestration goes on."""
    return job_lifecycle.advance(job, await batch(world, job), world.clock)


async def until(world: World, job: Job, *phases: Phase | None) -> Job:
    """The job once it comes to one of these phases; None is its end."""
    left = 1_000
    while job.phase not in phases:
        assert left, "it never ends"
        left -= 1
        job = await step(world, job)
    return job


async def done(world: World, job: Job = RECONCILE) -> Job:
    """The job at its end."""
    return await until(world, job, None)


async def carry(world: World) -> None:
    """Let every transfer that runs come to its end, by the real steps."""
    for instance in [instance for instance in world.instances.kept.values() if instance.running and instance.run]:
        run = instance.run
        while run is not None and run.step:
            run = transfer_lifecycle.advance(run, await STEPS[run.step](world.ports, run), world.clock)
        assert run is not None
        ended = Instance(instance.id, "Completed", instance.run, progress(run), progress(run), world.clock)
        world.instances.kept[instance.id] = ended


def told(world: World, job: Job) -> dict[str, str]:
    """What the job's report says came of each line, by id; none is told twice."""
    pages = [world.reports.pages[results_page(job.id, number)] for number in range(job.batches)]
    lines = [(line["id"], line["result"]) for page in pages for line in page]
    assert len(lines) == len(dict(lines))
    return dict(lines)


def missing(world: World, count: int) -> list[Transfer]:
    """Blobs of the source that the target has not."""
    return [world.put(f"in/{number:04}") for number in range(count)]


def starts(world: World) -> Counter[str]:
    """How often each transfer was asked to start."""
    return Counter(subject for name, subject in world.requests if name == INSTANCES_START.name)


async def dead(
    world: World, name: str, reason: Reason = Reason.THROTTLED, now: datetime = NOW, size: int | None = 10, **of: Any
) -> Transfer:
    """A transfer that ended as an open dead letter."""
    transfer = world.put(name, **of)
    ending = Ending(State.DEAD_LETTERED, reason=reason)
    run = Run(transfer, NOW, state=State.DEAD_LETTERED, step=None, size=size, ending=ending)
    world.stands(transfer, "Completed", run)
    await world.dead_letters.write_ended(Ended(transfer.id, 0, Ending(State.DEAD_LETTERED, reason)))
    await world.dead_letters.write(letters.of_run(run, now, "0.1.0"))
    return transfer


def put_at_target(world: World, name: str, source_etag: str | None = None, content: bytes = CONTENT) -> None:
    """A blob of somebody else's at the target."""
    metadata = {RECEIPT_SOURCE_ETAG: source_etag} if source_etag else {}
    world.storage.put(Blob(TARGET_HOST, "target", name), Item(content, metadata=metadata))
