"""Acting on a report's lines: at every crash point and whatever storage says, each line is told, and none is done twice."""

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from activities.jobs.act import CONCURRENCY, MAX_PAGES, act
from activities.jobs.batch import MAX_FAILED_TRIES
from activities.jobs.lines import LineResult
from adapters.translation import (
    INSTANCES_FIND,
    INSTANCES_START,
    REPORTS_READ,
    REPORTS_WRITE,
    Request,
    error_for_answer,
)
from rules.jobs import lifecycle as job_lifecycle
from rules.jobs.model import Batch, Job, JobState, Phase, Result, Tally
from rules.jobs.report import PAGE, found_page, results_page
from rules.transfers.policies import MAX_FAILURES
from tests.unit.job_runs import (
    RECONCILE,
    count_starts,
    finish_transfers,
    put_missing,
    results_by_id,
    run_batch,
    run_next_batch,
    run_to_end,
    run_until,
)
from tests.unit.samples import NOW
from tests.unit.world import World

BUSY = error_for_answer(INSTANCES_FIND, 503, "ServerBusy")


def fails_for(world: World, request: Request, subject: str, times: int = 1_000) -> None:
    """Let storage refuse this kind of request for one subject."""
    left = [BUSY] * times

    def trouble(asked: Request, about: str) -> Exception | None:
        return left.pop() if (asked, about) == (request, subject) and left else None

    world.faults.append(trouble)


def accounted(job: Job) -> int:
    """How many lines the job says that something came of."""
    tally = job.tally
    return tally.started + tally.running + tally.skipped + tally.refused + tally.failed


class TestTurns:
    """How far one batch goes."""

    async def test_it_starts_five_seconds_worth_and_goes_on_at_the_next_line(self, world: World) -> None:
        """Each line has its turn, in order, and its own line of what came of it."""
        made = put_missing(world, 45)
        job = await run_until(world, RECONCILE, Phase.ACT)
        places = []
        while job.phase:
            job = await run_next_batch(world, job)
            places.append((job.page, job.line, job.pause))
        assert places == [(0, 20, 5), (0, 40, 5), (1, 0, 0)]
        assert results_by_id(world, job) == {transfer.id: "started" for transfer in made}
        assert [len(world.reports.pages[results_page(job.id, number)]) for number in range(3)] == [20, 20, 5]
        assert (job.state, job.tally.started, job.tally.found) == (JobState.DONE, 45, 45)

    async def test_a_batch_that_ends_with_a_page_goes_on_with_the_next_page(self, world: World) -> None:
        """No line is left out, and none done twice."""
        lines = [{"id": str(number), "name": None} for number in range(6)]
        for page, part in enumerate((lines[:2], lines[2:4], lines[4:])):
            await world.reports.write(found_page(RECONCILE.id, page), part)
        job = replace(RECONCILE, phase=Phase.ACT, pages=3, rate=1)
        seen: list[str] = []

        async def handle(line: dict[str, Any]) -> LineResult:
            seen.append(line["id"])
            return LineResult(Result.STARTED)

        first = await act(world.ports, job, handle)
        assert (first.page, first.line) == (2, 1)
        second = await act(world.ports, replace(job, page=2, line=1, batches=1), handle)
        assert (second.page, second.line, seen) == (3, 0, list("012345"))

    async def test_pages_of_matches_are_passed_over_a_bounded_number_a_batch(self, world: World) -> None:
        """They have no line to act on; such a batch writes no page and needs no pause."""
        for number in range(MAX_PAGES + 1):
            await world.reports.write(found_page(RECONCILE.id, number), [{"class": "match"}] * 3)
        job = replace(RECONCILE, phase=Phase.ACT, pages=MAX_PAGES + 1)
        first = await run_batch(world, job)
        assert first == Batch(page=MAX_PAGES)
        assert world.request_names.count("reports.read") == 1 + MAX_PAGES  # its page of results, which is not there
        ended = await run_next_batch(world, job_lifecycle.advance(job, first, NOW))
        assert (ended.state, ended.batches, ended.pause) == (JobState.DONE, 0, 0)


class TestCrashes:
    """A batch that ran, and runs again because nobody heard of it."""

    async def test_having_written_nothing_it_finds_what_it_started_running(self, world: World) -> None:
        """Nothing is started as a second attempt while the first one runs."""
        made = put_missing(world, 5)
        job = await run_until(world, RECONCILE, Phase.ACT)
        world.refuse(REPORTS_WRITE, RuntimeError("killed"), times=1)
        with pytest.raises(RuntimeError):
            await run_batch(world, job)
        job = await run_to_end(world, job)
        assert results_by_id(world, job) == {transfer.id: "running" for transfer in made}
        assert (job.tally.started, job.tally.running) == (0, 5)
        assert set(count_starts(world).values()) == {1}

    async def test_having_written_its_page_it_tells_the_same_and_starts_nothing(self, world: World) -> None:
        """Also what has ended well meanwhile: its page says that it is done."""
        made = put_missing(world, 5)
        job = await run_until(world, RECONCILE, Phase.ACT)
        first = await run_batch(world, job)
        await finish_transfers(world)
        again = await run_batch(world, job)
        assert again == replace(first, before=5)
        assert first.tally == Tally(started=5)
        assert [job_lifecycle.advance(replace(job, pages=9), one, NOW).pause for one in (first, again)] == [2, 0]
        assert world.request_names.count("reports.write") == 2  # what was found, and what came of it
        assert count_starts(world) == Counter(transfer.id for transfer in made)

    async def test_what_ended_well_meanwhile_is_looked_at_and_copied_no_second_time(self, world: World) -> None:
        """The first run of the batch started it and was lost: its next attempt looks first, and confirms."""
        [transfer] = put_missing(world, 1)
        job = await run_until(world, RECONCILE, Phase.ACT)
        world.refuse(REPORTS_WRITE, RuntimeError("killed"), times=1)
        with pytest.raises(RuntimeError):
            await run_batch(world, job)
        await finish_transfers(world)
        assert (await run_to_end(world, job)).tally.started == 1
        run = world.instances.kept[transfer.id].run
        assert run is not None
        assert (run.attempt, run.first) == (1, False)
        await finish_transfers(world)
        assert world.instances.kept[transfer.id].output["state"] == "verified"
        assert world.request_names.count("target.copy") == 1
        assert not world.dead_letters.open
        assert not world.dead_letters.ends

    async def test_killed_at_any_request_every_line_is_told_and_every_blob_copied_once(self, world: World) -> None:
        """Wherever it dies, and whatever has ended by then."""
        made = put_missing(world, 12)
        job, killed = await run_until(world, RECONCILE, Phase.ACT), 0
        before = len(world.requests)
        await run_batch(world, job)
        length = len(world.requests) - before
        for moment in range(1, length):
            left = [None] * moment

            def kill(_asked: Request, _about: str, left: list[None] = left) -> Exception | None:
                if left:
                    left.pop()
                    return None
                return RuntimeError("killed")

            world.faults[:] = [kill]
            try:
                await run_batch(world, job)
            except RuntimeError:
                killed += 1
            world.faults.clear()
            if moment % 7 == 0:
                await finish_transfers(world)
        ended = await run_to_end(world, job)
        await finish_transfers(world)
        assert killed
        assert set(results_by_id(world, ended)) == {transfer.id for transfer in made}
        assert accounted(ended) == ended.tally.found == 12
        copies = Counter(subject for name, subject in world.requests if name == "target.copy")
        assert set(copies.values()) == {1}
        assert len(copies) == 12


class TestFailures:
    """Storage that fails."""

    async def test_for_one_line_once_the_others_are_not_done_again(self, world: World) -> None:
        """The tally is of all, the batch after a backoff does what is left."""
        made = put_missing(world, 20)
        fails_for(world, INSTANCES_START, made[10].id, times=1)
        job = await run_until(world, RECONCILE, Phase.ACT)
        first = await run_next_batch(world, job)
        assert (first.failures, first.batches, first.page, first.tally.started) == (0, 0, 0, 0)
        assert first.pause >= 5
        await finish_transfers(world)
        ended = await run_to_end(world, first)
        assert results_by_id(world, ended) == {transfer.id: "started" for transfer in made}
        assert (ended.tally.started, ended.tally.failed) == (20, 0)
        assert count_starts(world) == Counter({transfer.id: 1 + (transfer is made[10]) for transfer in made})

    async def test_for_one_line_for_good_it_alone_is_told_as_failed(self, world: World) -> None:
        """After three more batches; with what storage said."""
        made = put_missing(world, 25)
        fails_for(world, INSTANCES_FIND, made[3].id)
        ended = await run_to_end(world)
        assert (ended.state, ended.tally.started, ended.tally.failed) == (JobState.DONE, 24, 1)
        [line] = [line for line in world.reports.pages[results_page(ended.id, 0)] if line["result"] == "failed"]
        assert (line["id"], line["name"]) == (made[3].id, made[3].name)
        assert "503 ServerBusy" in line["detail"]
        assert set(count_starts(world).values()) == {1}

    async def test_one_that_fails_keeps_the_rest_of_its_batch_from_being_asked(self, world: World) -> None:
        """Storage that is busy is left alone; the lines have their turn after the backoff."""
        put_missing(world, 20)
        job = await run_until(world, RECONCILE, Phase.ACT)
        world.refuse(INSTANCES_FIND, BUSY)
        before = world.request_names.count("instances.find")
        failed = await run_batch(world, job)
        assert (failed.failure, failed.permanent) == (str(BUSY), False)
        assert world.request_names.count("instances.find") - before <= CONCURRENCY

    async def test_for_all_for_good_each_line_is_told_as_failed(self, world: World) -> None:
        """It ends, and says of every line that it failed; the next job does them."""
        made = put_missing(world, 45)
        job = await run_until(world, RECONCILE, Phase.ACT)
        world.refuse(INSTANCES_START, BUSY)
        ended = await run_to_end(world, job)
        assert (ended.state, ended.tally.failed, accounted(ended)) == (JobState.DONE, 45, 45)
        assert results_by_id(world, ended) == {transfer.id: "failed" for transfer in made}
        world.faults.clear()
        again = await run_to_end(world, replace(RECONCILE, id="reconcile-" + "b" * 24))
        assert again.tally.started == 45

    async def test_a_line_that_fails_now_and_then_is_never_reported_as_failed(self, world: World) -> None:
        """A batch in which another line got done is no fault, however many of them there are."""
        made = put_missing(world, 20)
        for number, transfer in enumerate(made):
            fails_for(world, INSTANCES_START, transfer.id, times=1 + number % 2)
        job, faults = await run_until(world, RECONCILE, Phase.ACT), [0]
        while job.phase:
            job = await run_next_batch(world, job)
            faults.append(job.failures)
        assert results_by_id(world, job) == {transfer.id: "started" for transfer in made}
        assert max(faults) < MAX_FAILED_TRIES

    async def test_a_line_is_reported_as_failed_only_where_it_failed_before(self, world: World) -> None:
        """Batches that were lost before are no reason: the first try of a line has another one after it."""
        [transfer] = put_missing(world, 1)
        fails_for(world, INSTANCES_START, transfer.id, times=1)
        job = replace(await run_until(world, RECONCILE, Phase.ACT), failures=MAX_FAILED_TRIES)
        job = await run_next_batch(world, job)
        assert (job.phase, job.failures) == (Phase.ACT, MAX_FAILED_TRIES + 1)
        assert (await run_to_end(world, job)).tally == Tally(found=1, bytes=10, missing=1, started=1)

    async def test_what_was_not_tried_is_not_on_the_page(self, world: World) -> None:
        """The batch ends after the last line that it tried; those after it have their own turn."""
        made = put_missing(world, 20)
        fails_for(world, INSTANCES_FIND, made[0].id)
        job = await run_until(world, RECONCILE, Phase.ACT)
        failed = await run_batch(world, job)
        page = world.reports.pages[results_page(job.id, 0)]
        assert [line["id"] for line in page] == [transfer.id for transfer in made[: len(page)]]
        assert 1 <= len(page) <= 2 * CONCURRENCY
        assert failed.moved
        ended = await run_to_end(world, job)
        assert (ended.tally.started, ended.tally.failed) == (19, 1)
        assert set(count_starts(world).values()) == {1}

    async def test_a_page_that_came_meanwhile_stays(self, world: World) -> None:
        """Two hosts do one batch, one of them slowly: the page that was there first counts, and both go on from its end."""
        made = put_missing(world, 20)
        job = await run_until(world, RECONCILE, Phase.ACT)
        page = [{"id": made[0].id, "name": made[0].name, "result": "started", "detail": ""}]
        world.before_next(REPORTS_WRITE, lambda: world.reports.pages.update({results_page(job.id, 0): page}))
        job = await run_next_batch(world, job)
        assert (job.failures, job.batches) == (1, 0)
        job = await run_next_batch(world, job)
        assert (job.failures, job.batches, job.line) == (0, 1, 1)
        assert results_by_id(world, await run_to_end(world, job)) == {
            transfer.id: told_ for transfer, told_ in zip(made, ["started", *["running"] * 19], strict=True)
        }

    @pytest.mark.parametrize("request_", [REPORTS_READ, REPORTS_WRITE])
    async def test_a_report_that_cannot_be_had_ends_the_job_as_failed(self, world: World, request_: Request) -> None:
        """After ten batches; never as done."""
        put_missing(world, 5)
        job = await run_until(world, RECONCILE, Phase.ACT)
        world.refuse(request_, error_for_answer(request_, 503, "ServerBusy"))
        ended = await run_to_end(world, job)
        assert (ended.state, ended.failures, accounted(ended)) == (JobState.FAILED, MAX_FAILURES, 0)
        assert "503 ServerBusy" in ended.detail

    @pytest.mark.parametrize("page", [0, 1])
    async def test_a_report_that_was_deleted_meanwhile_ends_the_job_as_failed(self, world: World, page: int) -> None:
        """Its container deletes what is old: what nobody can read was not acted on, and is not called done."""
        put_missing(world, PAGE + 1)
        job = await run_until(world, replace(RECONCILE, rate=100), Phase.ACT)
        del world.reports.pages[found_page(job.id, page)]
        ended = await run_to_end(world, job)
        assert (ended.state, ended.tally.started) == (JobState.FAILED, 0)
        assert f"page {page} of the report was deleted" in ended.detail

    @pytest.mark.parametrize("seed", range(20))
    async def test_whatever_fails_and_whenever_no_line_is_lost_or_started_twice(self, seed: int) -> None:
        """A tenth of all requests, and batches that are lost: what is told adds up to what was found."""
        dice, world = random.Random(seed), World()  # noqa: S311  # a seed makes it the same again
        made = put_missing(world, 30)
        job = await run_until(world, RECONCILE, Phase.ACT)
        world.faults.append(lambda _asked, _about: BUSY if dice.random() < 0.1 else None)
        while job.phase:
            if dice.random() < 0.2:
                await run_batch(world, job)
            job = await run_next_batch(world, job)
        assert job.state is JobState.DONE
        assert set(results_by_id(world, job)) == {transfer.id for transfer in made}
        assert Counter(results_by_id(world, job).values()) == Counter(
            {name: getattr(job.tally, name) for name in Result if getattr(job.tally, name)}
        )
        runs = [instance.run for instance in world.instances.kept.values()]
        assert {run.attempt for run in runs if run} == {0}
        world.faults.clear()
        await finish_transfers(world)
        failed = sum(result == "failed" for result in results_by_id(world, job).values())
        assert world.request_names.count("target.copy") >= 30 - failed


class TestSlowness:
    """A batch that is merely slow: no fault, and no reason to report a line that was not tried."""

    async def test_it_ends_in_time_and_the_next_batch_goes_on(self, world: World) -> None:
        """The host would end it, and every other function of its worker."""
        made = put_missing(world, 40)
        job = await run_until(world, replace(RECONCILE, rate=8), Phase.ACT)
        world.faults.append(lambda asked, _about: world.pass_time(30) if asked == INSTANCES_START else None)
        turns_ = 0
        while job.phase:
            began = world.clock
            job, turns_ = await run_next_batch(world, job), turns_ + 1
            assert (job.failures, job.detail, job.tally.failed) == (0, "", 0)
            assert (world.clock - began).total_seconds() <= 180 + CONCURRENCY * 30
        assert turns_ > 1
        assert results_by_id(world, job) == {transfer.id: "started" for transfer in made}
        assert set(count_starts(world).values()) == {1}

    @pytest.mark.parametrize("seconds", [1, 3, 300])
    async def test_four_hundred_lines_at_one_start_a_second_or_slower(self, world: World, seconds: int) -> None:
        """All are started, none fails; however slow it is, every batch gets somewhere."""
        made = put_missing(world, 400)
        job = await run_until(world, replace(RECONCILE, rate=100), Phase.ACT)
        world.faults.append(lambda asked, _about: world.pass_time(seconds) if asked == INSTANCES_START else None)
        while job.phase:
            job = await run_next_batch(world, job)
            assert job.failures == 0
        assert (job.state, job.tally.started, job.tally.failed) == (JobState.DONE, 400, 0)
        assert results_by_id(world, job) == {transfer.id: "started" for transfer in made}
        assert set(count_starts(world).values()) == {1}


class TestResumption:
    """A job that goes on from an input of a few batches ago: the pages of results say what is done."""

    async def back(self, world: World, inputs: list[Job], job: Job) -> Job:
        """Do a job to its end; the job before each of its turns."""
        while job.phase:
            inputs.append(job)
            job = await run_next_batch(world, job)
        return job

    async def test_from_before_it_acted_it_tells_the_same_and_starts_nothing(self, world: World) -> None:
        """Also where everything has ended: the survey's pages stay as they are, and so does the end of each batch."""
        made = put_missing(world, 45)
        for number in range(5):
            world.put_copy(world.put(f"in/match/{number}"))
        inputs: list[Job] = []
        ended = await self.back(world, inputs, RECONCILE)
        assert [job.phase for job in inputs] == ["survey", "extras", *["act"] * 3]
        await finish_transfers(world)
        pages, before = dict(world.reports.pages), count_starts(world)
        for job in inputs:
            again: list[Job] = []
            assert await self.back(world, again, job) == replace(ended, updated_at=world.clock)
            assert [one.pause for one in again] == [job.pause, *[0] * (len(again) - 1)]
        assert world.reports.pages == pages
        assert count_starts(world) == before == Counter(transfer.id for transfer in made)

    async def test_batches_that_passed_over_pages_of_matches_end_where_they_ended(self, world: World) -> None:
        """Also one that acted on nothing, and so has no page of its own."""
        lines: list[dict[str, Any]] = [
            {"id": str(number), "name": None, "class": "missing", "size": 1} for number in range(25)
        ]
        match: list[dict[str, Any]] = [{"class": "match", "size": 1}]
        found = [lines[:15], *[match] * (2 * MAX_PAGES + 5), lines[15:22], match, lines[22:], match]
        for page, part in enumerate(found):
            await world.reports.write(found_page(RECONCILE.id, page), part)
        seen: list[str] = []

        async def handle(line: dict[str, Any]) -> LineResult:
            seen.append(line["id"])
            return LineResult(Result.STARTED)

        async def ended(job: Job, inputs: list[Job]) -> Job:
            while job.phase:
                inputs.append(job)
                job = job_lifecycle.advance(job, await act(world.ports, job, handle), NOW)
            return job

        inputs: list[Job] = []
        first = await ended(replace(RECONCILE, phase=Phase.ACT, pages=len(found)), inputs)
        assert len(inputs) > first.batches == 2
        for job in inputs:
            assert await ended(job, []) == first
        assert seen == [line["id"] for line in lines]

    async def test_a_line_that_failed_then_is_tried_again_and_no_other(self, world: World) -> None:
        """Its result is replaced; the batch ends where it ended."""
        made = put_missing(world, 45)
        fails_for(world, INSTANCES_START, made[3].id)
        inputs: list[Job] = []
        ended = await self.back(world, inputs, RECONCILE)
        assert ended.tally.failed == 1
        world.faults.clear()
        again = await run_to_end(world, inputs[2])
        assert results_by_id(world, again) == {transfer.id: "started" for transfer in made}
        assert again.batches == ended.batches

    async def test_results_that_do_not_fit_end_the_job(self, world: World) -> None:
        """To go on would leave lines out."""
        put_missing(world, 20)
        job = await run_until(world, RECONCILE, Phase.ACT)
        page = [{"id": "another", "name": None, "result": "started", "detail": ""}]
        await world.reports.write(results_page(job.id, 0), page)
        ended = await run_next_batch(world, job)
        assert (ended.state, count_starts(world)) == (JobState.FAILED, Counter())
        assert "does not match" in ended.detail

    @pytest.mark.parametrize("seed", range(20))
    async def test_killed_and_resumed_at_random_each_line_is_told_once_and_never_acted_on_again(
        self, seed: int
    ) -> None:
        """Two thousand lines; killed at any request; resumed from up to five batches ago; slow at times, busy at times."""
        dice, world = random.Random(seed), World()  # noqa: S311  # a seed makes it the same again
        made = [transfer.id for transfer in put_missing(world, 2_000)]
        job = replace(RECONCILE, rate=dice.choice([20, 50, 100]))
        inputs, reported = [job], set[str]()
        fuse, slow = 0, False

        def trouble(asked: Request, about: str) -> Exception | None:
            nonlocal fuse
            fuse -= 1
            if asked == INSTANCES_START:
                assert about not in reported
                world.pass_time(dice.choice([0, 1, 4]) if slow else 0)
            if fuse == 0:
                return RuntimeError("killed")
            return BUSY if asked in {INSTANCES_FIND, INSTANCES_START} and dice.random() < 0.002 else None

        world.faults.append(trouble)
        while job.phase:
            fuse, slow = dice.choice([0, 0, dice.randrange(1, 1_000)]), dice.random() < 0.3
            try:
                job = await run_next_batch(world, job)
            except RuntimeError:
                job = job_lifecycle.faulted(job, "killed", world.clock)
            fuse = 0
            reported |= {
                line["id"]
                for name, page in world.reports.pages.items()
                if "results" in name
                for line in page
                if line["result"] != "failed"
            }
            inputs.append(job)
            if job.phase and dice.random() < 0.06:
                inputs = inputs[: -dice.randrange(1, 6)] or inputs[:1]
                job = inputs[-1]
            if dice.random() < 0.02:
                await finish_transfers(world)
        assert job.state is JobState.DONE
        assert list(results_by_id(world, job)) == made
        assert (job.tally.found, accounted(job), job.tally.failed) == (2_000, 2_000, 0)
        assert {run.attempt for instance in world.instances.kept.values() if (run := instance.run)} <= {0, 1, 2, 3}


async def test_a_failure_is_patience_long_and_then_the_lines(world: World) -> None:
    """The table of batches: three are done again, the fourth tells."""
    put_missing(world, 1)
    job = await run_until(world, RECONCILE, Phase.ACT)
    world.refuse(INSTANCES_FIND, BUSY)
    for faults in range(MAX_FAILED_TRIES):
        assert job.failures == faults
        job = await run_next_batch(world, job)
        assert job.phase is Phase.ACT
    assert (await run_next_batch(world, job)).state is JobState.DONE


async def test_an_error_that_nobody_foresaw_is_told_of_its_line_alone(world: World) -> None:
    """The others have their turn, and the job its end; what the error says is not told."""
    odd, *others = put_missing(world, 5)
    job = await run_until(world, RECONCILE, Phase.ACT)

    def trouble(asked: Request, about: str) -> Exception | None:
        return ValueError("unforeseen") if (asked, about) == (INSTANCES_FIND, odd.id) else None

    world.faults.append(trouble)
    job = await run_to_end(world, job)
    assert job.state is JobState.DONE
    assert results_by_id(world, job) == {odd.id: "failed"} | dict.fromkeys((other.id for other in others), "started")
    [detail] = [line["detail"] for line in world.reports.pages[results_page(job.id, 0)] if line["id"] == odd.id]
    assert detail == "internal: the app cannot process this line (ValueError)"
