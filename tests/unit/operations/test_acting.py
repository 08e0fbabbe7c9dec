"""Acting on a report's lines: at every crash point and whatever storage says, each line is told, and none is done twice."""

import asyncio
import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from activities import BODIES as STEPS
from activities import turns
from adapters.translation import (
    INSTANCES_FIND,
    INSTANCES_START,
    REPORTS_READ,
    REPORTS_WRITE,
    Request,
    answered,
)
from operations.acting import AT_ONCE, MAX_PAGES, PATIENCE, Acted, act
from rules import course, jobs
from rules.jobs import PAGE, Job, JobState, Phase, Result, Tally, Turn, Work
from rules.models import Transfer
from rules.policies import MAX_FAULTS
from rules.ports import Instance
from rules.status import progress
from tests.unit.operations.world import World
from tests.unit.rules.samples import NOW

RECONCILE = Job("reconcile-" + "a" * 24, Work.RECONCILE, NOW, route="default", rate=4)
BUSY = answered(INSTANCES_FIND, 503, "ServerBusy")


class Yielding(World):
    """A world whose requests take a moment, in which others go on."""

    async def _hook(self, request: Request, subject: str) -> Exception | None:
        await asyncio.sleep(0)
        return await super()._hook(request, subject)


async def turn(world: World, job: Job) -> Turn:
    """The job's next turn, as its activity does it."""
    assert job.phase
    return await turns.taken(turns.BODIES[job.phase], world.ports, world.instances, job)


async def step(world: World, job: Job) -> Job:
    """The job after its next turn, as its orchestration goes on."""
    return jobs.advance(job, await turn(world, job), world.clock)


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
            run = course.advance(run, await STEPS[run.step](world.ports, run), world.clock)
        assert run is not None
        ended = Instance(instance.id, "Completed", instance.run, progress(run), progress(run), world.clock)
        world.instances.kept[instance.id] = ended


def told(world: World, job: Job) -> dict[str, str]:
    """What the job's report says came of each line, by id; none is told twice."""
    pages = [world.reports.pages[jobs.results(job.id, number)] for number in range(job.turns)]
    lines = [(line["id"], line["result"]) for page in pages for line in page]
    assert len(lines) == len(dict(lines))
    return dict(lines)


def missing(world: World, count: int) -> list[Transfer]:
    """Blobs of the source that the target has not."""
    return [world.put(f"in/{number:04}") for number in range(count)]


def starts(world: World) -> Counter[str]:
    """How often each transfer was asked to start."""
    return Counter(subject for name, subject in world.requests if name == INSTANCES_START.name)


def fails_for(world: World, request: Request, subject: str, times: int = 1_000) -> None:
    """Let storage refuse this kind of request for one subject."""
    left = [BUSY] * times

    def trouble(asked: Request, about: str) -> Exception | None:
        return left.pop() if (asked, about) == (request, subject) and left else None

    world.troubles.append(trouble)


def accounted(job: Job) -> int:
    """How many lines the job says that something came of."""
    tally = job.tally
    return tally.started + tally.running + tally.left + tally.refused + tally.failed


class TestTurns:
    """How far one turn goes."""

    async def test_it_starts_five_seconds_worth_and_goes_on_at_the_next_line(self, world: World) -> None:
        """Each line has its turn, in order, and its own line of what came of it."""
        made = missing(world, 45)
        job = await until(world, RECONCILE, Phase.ACT)
        places = []
        while job.phase:
            job = await step(world, job)
            places.append((job.page, job.line, job.pause))
        assert places == [(0, 20, 5), (0, 40, 5), (1, 0, 0)]
        assert told(world, job) == {transfer.id: "started" for transfer in made}
        assert [len(world.reports.pages[jobs.results(job.id, number)]) for number in range(3)] == [20, 20, 5]
        assert (job.state, job.tally.started, job.tally.found) == (JobState.DONE, 45, 45)

    async def test_a_turn_that_ends_with_a_page_goes_on_with_the_next_page(self, world: World) -> None:
        """No line is left out, and none done twice."""
        lines = [{"id": str(number), "name": None} for number in range(6)]
        for page, part in enumerate((lines[:2], lines[2:4], lines[4:])):
            await world.reports.write(jobs.found(RECONCILE.id, page), part)
        job = replace(RECONCILE, phase=Phase.ACT, pages=3, rate=1)
        seen: list[str] = []

        async def handle(line: dict[str, Any]) -> Acted:
            seen.append(line["id"])
            return Acted(Result.STARTED)

        first = await act(world.ports, job, handle)
        assert (first.page, first.line) == (2, 1)
        second = await act(world.ports, replace(job, page=2, line=1, turns=1), handle)
        assert (second.page, second.line, seen) == (3, 0, list("012345"))

    async def test_pages_of_matches_are_passed_over_a_bounded_number_a_turn(self, world: World) -> None:
        """They have no line to act on; such a turn writes no page and needs no pause."""
        for number in range(MAX_PAGES + 1):
            await world.reports.write(jobs.found(RECONCILE.id, number), [{"class": "match"}] * 3)
        job = replace(RECONCILE, phase=Phase.ACT, pages=MAX_PAGES + 1)
        first = await turn(world, job)
        assert first == Turn(page=MAX_PAGES)
        assert world.asked.count("reports.read") == MAX_PAGES
        ended = await step(world, jobs.advance(job, first, NOW))
        assert (ended.state, ended.turns, ended.pause) == (JobState.DONE, 0, 0)


class TestCrashes:
    """A turn that ran, and runs again because nobody heard of it."""

    async def test_having_written_nothing_it_finds_what_it_started_running(self, world: World) -> None:
        """Nothing is started as a second attempt while the first one runs."""
        made = missing(world, 5)
        job = await until(world, RECONCILE, Phase.ACT)
        world.refuse(REPORTS_WRITE, RuntimeError("killed"), times=1)
        with pytest.raises(RuntimeError):
            await turn(world, job)
        job = await done(world, job)
        assert told(world, job) == {transfer.id: "running" for transfer in made}
        assert (job.tally.started, job.tally.running) == (0, 5)
        assert set(starts(world).values()) == {1}

    async def test_having_written_its_page_it_tells_the_same_and_starts_nothing(self, world: World) -> None:
        """Also what has ended well meanwhile: its page says that it is done."""
        made = missing(world, 5)
        job = await until(world, RECONCILE, Phase.ACT)
        first = await turn(world, job)
        await carry(world)
        assert await turn(world, job) == first
        assert first.tally == Tally(started=5)
        assert starts(world) == Counter(transfer.id for transfer in made)

    async def test_what_ended_well_meanwhile_is_looked_at_and_copied_no_second_time(self, world: World) -> None:
        """The first run of the turn started it and was lost: its next attempt looks first, and confirms."""
        [transfer] = missing(world, 1)
        job = await until(world, RECONCILE, Phase.ACT)
        world.refuse(REPORTS_WRITE, RuntimeError("killed"), times=1)
        with pytest.raises(RuntimeError):
            await turn(world, job)
        await carry(world)
        assert (await done(world, job)).tally.started == 1
        run = world.instances.kept[transfer.id].run
        assert run is not None
        assert (run.attempt, run.first) == (1, False)
        await carry(world)
        assert world.instances.kept[transfer.id].output["state"] == "verified"
        assert world.asked.count("target.copy") == 1
        assert not world.letters.open
        assert not world.letters.ends

    async def test_killed_at_any_request_every_line_is_told_and_every_blob_copied_once(self, world: World) -> None:
        """Wherever it dies, and whatever has ended by then."""
        made = missing(world, 12)
        job, killed = await until(world, RECONCILE, Phase.ACT), 0
        before = len(world.requests)
        await turn(world, job)
        length = len(world.requests) - before
        for moment in range(1, length):
            left = [None] * moment

            def kill(_asked: Request, _about: str, left: list[None] = left) -> Exception | None:
                if left:
                    left.pop()
                    return None
                return RuntimeError("killed")

            world.troubles[:] = [kill]
            try:
                await turn(world, job)
            except RuntimeError:
                killed += 1
            world.troubles.clear()
            if moment % 7 == 0:
                await carry(world)
        ended = await done(world, job)
        await carry(world)
        assert killed
        assert set(told(world, ended)) == {transfer.id for transfer in made}
        assert accounted(ended) == ended.tally.found == 12
        copies = Counter(subject for name, subject in world.requests if name == "target.copy")
        assert set(copies.values()) == {1}
        assert len(copies) == 12


class TestFailures:
    """Storage that fails."""

    async def test_for_one_line_once_the_others_are_not_done_again(self, world: World) -> None:
        """The tally is of all, the turn after a backoff does what is left."""
        made = missing(world, 20)
        fails_for(world, INSTANCES_START, made[10].id, times=1)
        job = await until(world, RECONCILE, Phase.ACT)
        first = await step(world, job)
        assert (first.faults, first.turns, first.page, first.tally.started) == (1, 0, 0, 0)
        assert first.pause >= 2
        await carry(world)
        ended = await done(world, first)
        assert told(world, ended) == {transfer.id: "started" for transfer in made}
        assert (ended.tally.started, ended.tally.failed) == (20, 0)
        assert starts(world) == Counter({transfer.id: 1 + (transfer is made[10]) for transfer in made})

    async def test_for_one_line_for_good_it_alone_is_told_as_failed(self, world: World) -> None:
        """After three more turns; with what storage said."""
        made = missing(world, 25)
        fails_for(world, INSTANCES_FIND, made[3].id)
        ended = await done(world)
        assert (ended.state, ended.tally.started, ended.tally.failed) == (JobState.DONE, 24, 1)
        [line] = [line for line in world.reports.pages[jobs.results(ended.id, 0)] if line["result"] == "failed"]
        assert (line["id"], line["name"]) == (made[3].id, made[3].name)
        assert "503 ServerBusy" in line["detail"]
        assert set(starts(world).values()) == {1}

    async def test_one_that_fails_keeps_the_rest_of_its_turn_from_being_asked(self, world: World) -> None:
        """Storage that is busy is left alone; the lines have their turn after the backoff."""
        missing(world, 20)
        job = await until(world, RECONCILE, Phase.ACT)
        world.refuse(INSTANCES_FIND, BUSY)
        before = world.asked.count("instances.find")
        failed = await turn(world, job)
        assert (failed.failure, failed.permanent) == (str(BUSY), False)
        assert world.asked.count("instances.find") - before <= AT_ONCE

    async def test_for_all_for_good_each_line_is_told_as_failed(self, world: World) -> None:
        """It ends, and says of every line that it failed; the next job does them."""
        made = missing(world, 45)
        job = await until(world, RECONCILE, Phase.ACT)
        world.refuse(INSTANCES_START, BUSY)
        ended = await done(world, job)
        assert (ended.state, ended.tally.failed, accounted(ended)) == (JobState.DONE, 45, 45)
        assert told(world, ended) == {transfer.id: "failed" for transfer in made}
        world.troubles.clear()
        again = await done(world, replace(RECONCILE, id="reconcile-" + "b" * 24))
        assert again.tally.started == 45

    async def test_a_turn_ends_in_time_however_slow_storage_is(self, world: World) -> None:
        """The host would end it, and every other function of its worker; what was not tried has its turn."""
        made = missing(world, 20)
        job = await until(world, RECONCILE, Phase.ACT)
        world.troubles.append(lambda asked, _about: world.pass_time(30) if asked == INSTANCES_START else None)
        began = world.clock
        failed = await turn(world, job)
        assert "not tried" in failed.failure
        assert (world.clock - began).total_seconds() <= 180 + AT_ONCE * 30
        ended = await done(world, job)
        assert (ended.tally.started, ended.tally.failed) == (20, 0)
        assert set(starts(world)) == {transfer.id for transfer in made}
        assert set(starts(world).values()) == {1}

    @pytest.mark.parametrize("request_", [REPORTS_READ, REPORTS_WRITE])
    async def test_a_report_that_cannot_be_had_ends_the_job_as_failed(self, world: World, request_: Request) -> None:
        """After ten turns; never as done."""
        missing(world, 5)
        job = await until(world, RECONCILE, Phase.ACT)
        world.refuse(request_, answered(request_, 503, "ServerBusy"))
        ended = await done(world, job)
        assert (ended.state, ended.faults, accounted(ended)) == (JobState.FAILED, MAX_FAULTS, 0)
        assert "503 ServerBusy" in ended.detail

    @pytest.mark.parametrize("page", [0, 1])
    async def test_a_report_that_was_deleted_meanwhile_ends_the_job_as_failed(self, world: World, page: int) -> None:
        """Its container deletes what is old: what nobody can read was not acted on, and is not called done."""
        missing(world, PAGE + 1)
        job = await until(world, replace(RECONCILE, rate=100), Phase.ACT)
        del world.reports.pages[jobs.found(job.id, page)]
        ended = await done(world, job)
        assert (ended.state, ended.tally.started) == (JobState.FAILED, 0 if page == 0 else PAGE)
        assert f"page {page} of the report is gone" in ended.detail

    @pytest.mark.parametrize("seed", range(20))
    async def test_whatever_fails_and_whenever_no_line_is_lost_or_started_twice(self, seed: int) -> None:
        """A tenth of all requests, and turns that are lost: what is told adds up to what was found."""
        dice, world = random.Random(seed), World()  # noqa: S311  # a seed makes it the same again
        made = missing(world, 30)
        job = await until(world, RECONCILE, Phase.ACT)
        world.troubles.append(lambda _asked, _about: BUSY if dice.random() < 0.1 else None)
        while job.phase:
            if dice.random() < 0.2:
                await turn(world, job)
            job = await step(world, job)
        assert job.state is JobState.DONE
        assert set(told(world, job)) == {transfer.id for transfer in made}
        assert Counter(told(world, job).values()) == Counter(
            {name: getattr(job.tally, name) for name in Result if getattr(job.tally, name)}
        )
        runs = [instance.run for instance in world.instances.kept.values()]
        assert {run.attempt for run in runs if run} == {0}
        world.troubles.clear()
        await carry(world)
        failed = sum(result == "failed" for result in told(world, job).values())
        assert world.asked.count("target.copy") >= 30 - failed


async def test_a_failure_is_patience_long_and_then_the_lines(world: World) -> None:
    """The table of turns: three are done again, the fourth tells."""
    missing(world, 1)
    job = await until(world, RECONCILE, Phase.ACT)
    world.refuse(INSTANCES_FIND, BUSY)
    for faults in range(PATIENCE):
        assert job.faults == faults
        job = await step(world, job)
        assert job.phase is Phase.ACT
    assert (await step(world, job)).state is JobState.DONE


async def test_what_a_run_raises_beyond_storage_is_not_swallowed(world: World) -> None:
    """An error that nobody foresaw is infrastructure: the activity fails, and the orchestration backs off."""
    missing(world, 1)
    job = await until(world, RECONCILE, Phase.ACT)
    world.refuse(INSTANCES_FIND, ValueError("unforeseen"))
    with pytest.raises(ValueError, match="unforeseen"):
        await turn(world, job)
