"""The phases of a job: which function each runs, and how failures are returned."""

from dataclasses import replace

import pytest

from activities import jobs
from adapters.translation import (
    DEAD_LETTERS_LIST,
    SOURCE_LIST,
    TARGET_COPY,
    TARGET_HEAD,
    error_for_answer,
    error_for_no_answer,
)
from ports.orchestrations import Instances
from ports.services import Ports
from rules.errors import LookAgain
from rules.jobs.model import Batch, Job, JobKind, Phase, Tally
from rules.transfers.model import Run
from tests.unit.job_runs import put_at_target, put_dead_letter, put_missing
from tests.unit.samples import NOW
from tests.unit.world import World

RECONCILE = Job("reconcile-" + "a" * 24, JobKind.RECONCILE, NOW, route="default")
REPLAY = Job("replay-" + "a" * 24, JobKind.REPLAY, NOW)


async def run_batch(world: World, job: Job) -> Batch:
    assert job.phase
    return await jobs.run(jobs.ACTIVITIES[job.phase], world.ports, world.instances, job)


def test_every_phase_has_an_activity() -> None:
    """A job in a phase without an activity would run forever."""
    assert list(jobs.ACTIVITIES) == list(Phase)


async def test_each_kind_of_job_surveys_and_acts_on_its_own_items(world: World) -> None:
    dead = await put_dead_letter(world, "in/dead")
    [blob] = put_missing(world, 1)
    put_at_target(world, "out/extra")
    replaying, reconciling = await run_batch(world, REPLAY), await run_batch(world, RECONCILE)
    assert (replaying.tally, reconciling.tally) == (
        Tally(found=1, bytes=10),
        Tally(found=2, bytes=20, missing=2),
    )
    extras = await run_batch(world, replace(RECONCILE, phase=Phase.EXTRAS, pages=1))
    assert extras.tally == Tally(extra=1)
    acting = await run_batch(world, replace(RECONCILE, phase=Phase.ACT, pages=1))
    assert acting.tally == Tally(started=1, skipped=1)
    assert {run.transfer.id for run in runs(world) if run.attempt == 0} == {blob.id, dead.id}
    assert (await run_batch(world, replace(REPLAY, phase=Phase.ACT, pages=1))).tally == Tally(started=1)
    assert [run.transfer.id for run in runs(world) if run.attempt == 1] == [dead.id]


def runs(world: World) -> list[Run]:
    """The inputs of all orchestrations of transfers."""
    return [instance.run for instance in world.instances.kept.values() if instance.run]


@pytest.mark.parametrize(
    ("job", "request_", "status", "code"),
    [
        (RECONCILE, SOURCE_LIST, 503, "ServerBusy"),
        (RECONCILE, SOURCE_LIST, 404, "ContainerNotFound"),
        (RECONCILE, TARGET_HEAD, 503, "ServerBusy"),
        (REPLAY, DEAD_LETTERS_LIST, 500, "InternalError"),
    ],
)
async def test_a_storage_failure_is_returned_as_a_value(
    world: World, job: Job, request_: object, status: int, code: str
) -> None:
    """Durable Functions keeps only the text of an exception, but the job must know whether to go on."""
    put_missing(world, 1)
    world.refuse(request_, error_for_answer(SOURCE_LIST, status, code))  # type: ignore[arg-type]
    batch = await run_batch(world, job)
    assert (batch.permanent, batch.tally, batch.wrote) == (False, Tally(), False)
    assert f"{status} {code}" in batch.failure


async def test_a_failure_that_repeating_cannot_fix_is_permanent(world: World) -> None:
    world.storage.containers.clear()
    batch = await jobs.run(jobs.run_extras, world.ports, world.instances, RECONCILE)
    assert batch.permanent
    assert "ContainerNotFound" in batch.failure


@pytest.mark.parametrize("error", [ValueError("unexpected"), error_for_no_answer(TARGET_COPY)])
async def test_other_errors_are_raised(world: World, error: Exception) -> None:
    """They are infrastructure: the orchestration sees a failed activity and backs off."""

    async def body(_ports: Ports, _instances: Instances, _job: Job) -> Batch:
        raise error

    with pytest.raises((ValueError, LookAgain)):
        await jobs.run(body, world.ports, world.instances, RECONCILE)
