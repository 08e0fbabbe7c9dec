"""Runs jobs batch by batch in the in-memory world, as their orchestration does."""

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
OTHER_ROUTE = replace(ROUTE, name="other", target=replace(ROUTE.target, prefix="other/"))
MILLISECOND = timedelta(milliseconds=1)


class YieldingWorld(World):
    """A world whose requests yield to the event loop, so that other tasks run in between."""

    async def _hook(self, request: Request, subject: str) -> Exception | None:
        await asyncio.sleep(0)
        return await super()._hook(request, subject)


async def run_batch(world: World, job: Job) -> Batch:
    """Run the job's next batch in its activity."""
    assert job.phase
    return await jobs.run(jobs.ACTIVITIES[job.phase], world.ports, world.instances, job)


async def run_next_batch(world: World, job: Job) -> Job:
    """Run the job's next batch and return the job as its orchestration continues."""
    return job_lifecycle.advance(job, await run_batch(world, job), world.clock)


async def run_until(world: World, job: Job, *phases: Phase | None) -> Job:
    """Run the job until it is in one of these phases; None is its end."""
    limit = 1_000
    while job.phase not in phases:
        assert limit, "the job does not end"
        limit -= 1
        job = await run_next_batch(world, job)
    return job


async def run_to_end(world: World, job: Job = RECONCILE) -> Job:
    return await run_until(world, job, None)


async def finish_transfers(world: World) -> None:
    """Run the real steps of every running transfer to its end."""
    for instance in [instance for instance in world.instances.kept.values() if instance.running and instance.run]:
        run = instance.run
        while run is not None and run.step:
            run = transfer_lifecycle.advance(run, await STEPS[run.step](world.ports, run), world.clock)
        assert run is not None
        ended = Instance(instance.id, "Completed", instance.run, progress(run), progress(run), world.clock)
        world.instances.kept[instance.id] = ended


def results_by_id(world: World, job: Job) -> dict[str, str]:
    """The result of each line of the job's report, by id; fails if an id has two results."""
    pages = [world.reports.pages[results_page(job.id, number)] for number in range(job.batches)]
    lines = [(line["id"], line["result"]) for page in pages for line in page]
    assert len(lines) == len(dict(lines))
    return dict(lines)


def put_missing(world: World, count: int) -> list[Transfer]:
    """Write blobs at the source that the target does not have."""
    return [world.put(f"in/{number:04}") for number in range(count)]


def count_starts(world: World) -> Counter[str]:
    """The number of start requests of each transfer."""
    return Counter(subject for name, subject in world.requests if name == INSTANCES_START.name)


async def put_dead_letter(
    world: World, name: str, reason: Reason = Reason.THROTTLED, now: datetime = NOW, size: int | None = 10, **item: Any
) -> Transfer:
    """Add a transfer that has ended with an open dead letter."""
    transfer = world.put(name, **item)
    ending = Ending(State.DEAD_LETTERED, reason=reason)
    run = Run(transfer, NOW, state=State.DEAD_LETTERED, step=None, size=size, ending=ending)
    world.put_instance(transfer, "Completed", run)
    await world.dead_letters.write_ended(Ended(transfer.id, 0, Ending(State.DEAD_LETTERED, reason)))
    await world.dead_letters.write(letters.of_run(run, now, "0.1.0"))
    return transfer


def put_at_target(world: World, name: str, source_etag: str | None = None, content: bytes = CONTENT) -> None:
    """Write a blob at the target that the app did not copy."""
    metadata = {RECEIPT_SOURCE_ETAG: source_etag} if source_etag else {}
    world.storage.put(Blob(TARGET_HOST, "target", name), Item(content, metadata=metadata))
