"""The `act` phase: after crashes and storage failures each line has a result, and none is acted on twice."""

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


def fail_for(world: World, request: Request, subject: str, times: int = 1_000) -> None:
    """Fail this kind of request for one subject."""
    errors = [BUSY] * times

    def fault(*call: Any) -> Exception | None:
        return errors.pop() if call == (request, subject) and errors else None

    world.faults.append(fault)


def count_results(job: Job) -> int:
    """The number of lines that have a result."""
    tally = job.tally
    return tally.started + tally.running + tally.skipped + tally.refused + tally.failed


class TestOneBatch:
    async def test_it_handles_five_seconds_worth_and_the_next_batch_continues_after_it(self, world: World) -> None:
        transfers = put_missing(world, 45)
        job = await run_until(world, RECONCILE, Phase.ACT)
        places = []
        while job.phase:
            job = await run_next_batch(world, job)
            places.append((job.page, job.line, job.pause))
        assert places == [(0, 20, 5), (0, 40, 5), (1, 0, 0)]
        assert results_by_id(world, job) == {transfer.id: "started" for transfer in transfers}
        assert [len(world.reports.pages[results_page(job.id, number)]) for number in range(3)] == [20, 20, 5]
        assert (job.state, job.tally.started, job.tally.found) == (JobState.DONE, 45, 45)

    async def test_a_batch_may_span_pages_and_handles_each_line_once(self, world: World) -> None:
        lines = [{"id": str(number), "name": None} for number in range(6)]
        for page, part in enumerate((lines[:2], lines[2:4], lines[4:])):
            await world.reports.write(found_page(RECONCILE.id, page), part)
        job = replace(RECONCILE, phase=Phase.ACT, pages=3, rate=1)
        handled: list[str] = []

        async def handle(line: dict[str, Any]) -> LineResult:
            handled.append(line["id"])
            return LineResult(Result.STARTED)

        first = await act(world.ports, job, handle)
        assert (first.page, first.line) == (2, 1)
        second = await act(world.ports, replace(job, page=2, line=1, batches=1), handle)
        assert (second.page, second.line, handled) == (3, 0, list("012345"))

    async def test_pages_of_matches_are_skipped_up_to_a_limit_per_batch(self, world: World) -> None:
        """They have no lines to act on. A batch without lines writes no page and has no pause."""
        for number in range(MAX_PAGES + 1):
            await world.reports.write(found_page(RECONCILE.id, number), [{"class": "match"}] * 3)
        job = replace(RECONCILE, phase=Phase.ACT, pages=MAX_PAGES + 1)
        first = await run_batch(world, job)
        assert first == Batch(page=MAX_PAGES)
        # One of the reads is of its page of results, which is absent.
        assert world.request_names.count("reports.read") == 1 + MAX_PAGES
        ended = await run_next_batch(world, job_lifecycle.advance(job, first, NOW))
        assert (ended.state, ended.batches, ended.pause) == (JobState.DONE, 0, 0)


class TestCrashes:
    """A batch that is repeated because its first run was lost."""

    async def test_before_its_page_was_written_it_reports_started_transfers_as_running(self, world: World) -> None:
        transfers = put_missing(world, 5)
        job = await run_until(world, RECONCILE, Phase.ACT)
        world.refuse(REPORTS_WRITE, RuntimeError("killed"), times=1)
        with pytest.raises(RuntimeError):
            await run_batch(world, job)
        job = await run_to_end(world, job)
        assert results_by_id(world, job) == {transfer.id: "running" for transfer in transfers}
        assert (job.tally.started, job.tally.running) == (0, 5)
        assert set(count_starts(world).values()) == {1}

    async def test_after_its_page_was_written_it_returns_the_same_and_starts_nothing(self, world: World) -> None:
        """Even if the transfers have ended in the meantime."""
        transfers = put_missing(world, 5)
        job = await run_until(world, RECONCILE, Phase.ACT)
        first = await run_batch(world, job)
        await finish_transfers(world)
        again = await run_batch(world, job)
        assert again == replace(first, before=5)
        assert first.tally == Tally(started=5)
        assert [job_lifecycle.advance(replace(job, pages=9), one, NOW).pause for one in (first, again)] == [2, 0]
        assert world.request_names.count("reports.write") == 2  # one page of what was found, one of results
        assert count_starts(world) == Counter(transfer.id for transfer in transfers)

    async def test_a_transfer_that_ended_verified_in_the_meantime_is_not_copied_again(self, world: World) -> None:
        """The repeated batch starts another attempt, which looks at the target first."""
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

    async def test_killed_at_any_request_every_line_has_a_result_and_every_blob_is_copied_once(
        self, world: World
    ) -> None:
        transfers = put_missing(world, 12)
        job, killed = await run_until(world, RECONCILE, Phase.ACT), 0
        before = len(world.requests)
        await run_batch(world, job)
        length = len(world.requests) - before
        for moment in range(1, length):
            requests_left = [None] * moment

            def kill(_request: Request, _subject: str, requests_left: list[None] = requests_left) -> Exception | None:
                if requests_left:
                    requests_left.pop()
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
        assert set(results_by_id(world, ended)) == {transfer.id for transfer in transfers}
        assert count_results(ended) == ended.tally.found == 12
        copies = Counter(subject for name, subject in world.requests if name == "target.copy")
        assert set(copies.values()) == {1}
        assert len(copies) == 12


class TestFailures:
    async def test_after_one_line_failed_only_that_line_is_repeated(self, world: World) -> None:
        transfers = put_missing(world, 20)
        fail_for(world, INSTANCES_START, transfers[10].id, times=1)
        job = await run_until(world, RECONCILE, Phase.ACT)
        first = await run_next_batch(world, job)
        assert (first.failures, first.batches, first.page, first.tally.started) == (0, 0, 0, 0)
        assert first.pause >= 5
        await finish_transfers(world)
        ended = await run_to_end(world, first)
        assert results_by_id(world, ended) == {transfer.id: "started" for transfer in transfers}
        assert (ended.tally.started, ended.tally.failed) == (20, 0)
        assert count_starts(world) == Counter({transfer.id: 1 + (transfer is transfers[10]) for transfer in transfers})

    async def test_a_line_that_keeps_failing_is_the_only_one_reported_as_failed(self, world: World) -> None:
        transfers = put_missing(world, 25)
        fail_for(world, INSTANCES_FIND, transfers[3].id)
        ended = await run_to_end(world)
        assert (ended.state, ended.tally.started, ended.tally.failed) == (JobState.DONE, 24, 1)
        [line] = [line for line in world.reports.pages[results_page(ended.id, 0)] if line["result"] == "failed"]
        assert (line["id"], line["name"]) == (transfers[3].id, transfers[3].name)
        assert "503 ServerBusy" in line["detail"]
        assert set(count_starts(world).values()) == {1}

    async def test_after_a_failure_no_further_line_starts(self, world: World) -> None:
        """Busy storage gets no further requests until the backoff has passed."""
        put_missing(world, 20)
        job = await run_until(world, RECONCILE, Phase.ACT)
        world.refuse(INSTANCES_FIND, BUSY)
        before = world.request_names.count("instances.find")
        failed = await run_batch(world, job)
        assert (failed.failure, failed.permanent) == (str(BUSY), False)
        assert world.request_names.count("instances.find") - before <= CONCURRENCY

    async def test_if_every_line_keeps_failing_the_job_ends_and_the_next_one_can_do_them(self, world: World) -> None:
        transfers = put_missing(world, 45)
        job = await run_until(world, RECONCILE, Phase.ACT)
        world.refuse(INSTANCES_START, BUSY)
        ended = await run_to_end(world, job)
        assert (ended.state, ended.tally.failed, count_results(ended)) == (JobState.DONE, 45, 45)
        assert results_by_id(world, ended) == {transfer.id: "failed" for transfer in transfers}
        world.faults.clear()
        again = await run_to_end(world, replace(RECONCILE, id="reconcile-" + "b" * 24))
        assert again.tally.started == 45

    async def test_occasional_failures_are_never_reported(self, world: World) -> None:
        """A batch that made progress does not count as a failure."""
        transfers = put_missing(world, 20)
        for number, transfer in enumerate(transfers):
            fail_for(world, INSTANCES_START, transfer.id, times=1 + number % 2)
        job, faults = await run_until(world, RECONCILE, Phase.ACT), [0]
        while job.phase:
            job = await run_next_batch(world, job)
            faults.append(job.failures)
        assert results_by_id(world, job) == {transfer.id: "started" for transfer in transfers}
        assert max(faults) < MAX_FAILED_TRIES

    async def test_the_first_failure_of_a_line_is_not_reported(self, world: World) -> None:
        """Failures of earlier batches for other causes do not count against it."""
        [transfer] = put_missing(world, 1)
        fail_for(world, INSTANCES_START, transfer.id, times=1)
        job = replace(await run_until(world, RECONCILE, Phase.ACT), failures=MAX_FAILED_TRIES)
        job = await run_next_batch(world, job)
        assert (job.phase, job.failures) == (Phase.ACT, MAX_FAILED_TRIES + 1)
        assert (await run_to_end(world, job)).tally == Tally(found=1, bytes=10, missing=1, started=1)

    async def test_lines_that_were_not_tried_are_not_on_the_page(self, world: World) -> None:
        transfers = put_missing(world, 20)
        fail_for(world, INSTANCES_FIND, transfers[0].id)
        job = await run_until(world, RECONCILE, Phase.ACT)
        failed = await run_batch(world, job)
        page = world.reports.pages[results_page(job.id, 0)]
        assert [line["id"] for line in page] == [transfer.id for transfer in transfers[: len(page)]]
        assert 1 <= len(page) <= 2 * CONCURRENCY
        assert failed.moved
        ended = await run_to_end(world, job)
        assert (ended.tally.started, ended.tally.failed) == (19, 1)
        assert set(count_starts(world).values()) == {1}

    async def test_a_page_that_another_host_wrote_first_is_kept(self, world: World) -> None:
        """Both hosts then continue after its end."""
        transfers = put_missing(world, 20)
        job = await run_until(world, RECONCILE, Phase.ACT)
        page = [{"id": transfers[0].id, "name": transfers[0].name, "result": "started", "detail": ""}]
        world.before_next(REPORTS_WRITE, lambda: world.reports.pages.update({results_page(job.id, 0): page}))
        job = await run_next_batch(world, job)
        assert (job.failures, job.batches) == (1, 0)
        job = await run_next_batch(world, job)
        assert (job.failures, job.batches, job.line) == (0, 1, 1)
        assert results_by_id(world, await run_to_end(world, job)) == {
            transfer.id: result for transfer, result in zip(transfers, ["started", *["running"] * 19], strict=True)
        }

    @pytest.mark.parametrize("request_", [REPORTS_READ, REPORTS_WRITE])
    async def test_an_unavailable_report_ends_the_job_as_failed(self, world: World, request_: Request) -> None:
        put_missing(world, 5)
        job = await run_until(world, RECONCILE, Phase.ACT)
        world.refuse(request_, error_for_answer(request_, 503, "ServerBusy"))
        ended = await run_to_end(world, job)
        assert (ended.state, ended.failures, count_results(ended)) == (JobState.FAILED, MAX_FAILURES, 0)
        assert "503 ServerBusy" in ended.detail

    @pytest.mark.parametrize("page", [0, 1])
    async def test_a_deleted_page_ends_the_job_as_failed(self, world: World, page: int) -> None:
        """Its lines were not acted on, so the job must not end as done."""
        put_missing(world, PAGE + 1)
        job = await run_until(world, replace(RECONCILE, rate=100), Phase.ACT)
        del world.reports.pages[found_page(job.id, page)]
        ended = await run_to_end(world, job)
        assert (ended.state, ended.tally.started) == (JobState.FAILED, 0)
        assert f"page {page} of the report was deleted" in ended.detail

    @pytest.mark.parametrize("seed", range(12))
    async def test_with_random_failures_no_line_is_lost_or_started_twice(self, seed: int) -> None:
        """A tenth of all requests fail, and some batches are lost."""
        rng, world = random.Random(seed), World()  # noqa: S311  # seeded, so that a failure can be reproduced
        transfers = put_missing(world, 30)
        job = await run_until(world, RECONCILE, Phase.ACT)
        world.faults.append(lambda _request, _subject: BUSY if rng.random() < 0.1 else None)
        while job.phase:
            if rng.random() < 0.2:
                await run_batch(world, job)
            job = await run_next_batch(world, job)
        assert job.state is JobState.DONE
        assert set(results_by_id(world, job)) == {transfer.id for transfer in transfers}
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
    async def test_a_slow_batch_ends_in_time_and_the_next_one_continues(self, world: World) -> None:
        """The host would stop it, and all other functions of its worker."""
        transfers = put_missing(world, 40)
        job = await run_until(world, replace(RECONCILE, rate=8), Phase.ACT)
        world.faults.append(lambda request, _subject: world.pass_time(30) if request == INSTANCES_START else None)
        batches = 0
        while job.phase:
            began = world.clock
            job, batches = await run_next_batch(world, job), batches + 1
            assert (job.failures, job.detail, job.tally.failed) == (0, "", 0)
            assert (world.clock - began).total_seconds() <= 180 + CONCURRENCY * 30
        assert batches > 1
        assert results_by_id(world, job) == {transfer.id: "started" for transfer in transfers}
        assert set(count_starts(world).values()) == {1}

    @pytest.mark.parametrize("seconds", [1, 3, 300])
    async def test_slow_lines_are_all_started_and_none_fails(self, world: World, seconds: int) -> None:
        transfers = put_missing(world, 400)
        job = await run_until(world, replace(RECONCILE, rate=100), Phase.ACT)
        world.faults.append(lambda request, _subject: world.pass_time(seconds) if request == INSTANCES_START else None)
        while job.phase:
            job = await run_next_batch(world, job)
            assert job.failures == 0
        assert (job.state, job.tally.started, job.tally.failed) == (JobState.DONE, 400, 0)
        assert results_by_id(world, job) == {transfer.id: "started" for transfer in transfers}
        assert set(count_starts(world).values()) == {1}


class TestResumption:
    """A job that is resumed from an older input: the pages of results record what is done."""

    async def run_and_record(self, world: World, inputs: list[Job], job: Job) -> Job:
        """Run a job to its end and record the job before each batch."""
        while job.phase:
            inputs.append(job)
            job = await run_next_batch(world, job)
        return job

    async def test_from_any_earlier_input_it_reports_the_same_and_starts_nothing(self, world: World) -> None:
        """Even if the transfers have ended: the pages of the survey and the ends of the batches stay the same."""
        transfers = put_missing(world, 45)
        for number in range(5):
            world.put_copy(world.put(f"in/match/{number}"))
        inputs: list[Job] = []
        ended = await self.run_and_record(world, inputs, RECONCILE)
        assert [job.phase for job in inputs] == ["survey", "extras", *["act"] * 3]
        await finish_transfers(world)
        pages, before = dict(world.reports.pages), count_starts(world)
        for job in inputs:
            again, pause = list[Job](), job.pause
            assert await self.run_and_record(world, again, job) == replace(ended, updated_at=world.clock)
            assert [job.pause for job in again] == [pause, *[0] * (len(again) - 1)]
        assert world.reports.pages == pages
        assert count_starts(world) == before == Counter(transfer.id for transfer in transfers)

    async def test_batches_that_skipped_pages_of_matches_end_where_they_ended_before(self, world: World) -> None:
        """This includes a batch that found no line to act on and wrote no page."""
        lines: list[dict[str, Any]] = [
            {"id": str(number), "name": None, "class": "missing", "size": 1} for number in range(25)
        ]
        match: list[dict[str, Any]] = [{"class": "match", "size": 1}]
        found = [lines[:15], *[match] * (2 * MAX_PAGES + 5), lines[15:22], match, lines[22:], match]
        for page, part in enumerate(found):
            await world.reports.write(found_page(RECONCILE.id, page), part)
        handled: list[str] = []

        async def handle(line: dict[str, Any]) -> LineResult:
            handled.append(line["id"])
            return LineResult(Result.STARTED)

        async def run_and_record(job: Job, inputs: list[Job]) -> Job:
            while job.phase:
                inputs.append(job)
                job = job_lifecycle.advance(job, await act(world.ports, job, handle), NOW)
            return job

        inputs: list[Job] = []
        first = await run_and_record(replace(RECONCILE, phase=Phase.ACT, pages=len(found)), inputs)
        assert len(inputs) > first.batches == 2
        for job in inputs:
            assert await run_and_record(job, []) == first
        assert handled == [line["id"] for line in lines]

    async def test_only_lines_that_failed_are_repeated(self, world: World) -> None:
        transfers = put_missing(world, 45)
        fail_for(world, INSTANCES_START, transfers[3].id)
        inputs: list[Job] = []
        ended = await self.run_and_record(world, inputs, RECONCILE)
        assert ended.tally.failed == 1
        world.faults.clear()
        again = await run_to_end(world, inputs[2])
        assert results_by_id(world, again) == {transfer.id: "started" for transfer in transfers}
        assert again.batches == ended.batches

    async def test_results_that_do_not_match_the_survey_end_the_job(self, world: World) -> None:
        put_missing(world, 20)
        job = await run_until(world, RECONCILE, Phase.ACT)
        page = [{"id": "another", "name": None, "result": "started", "detail": ""}]
        await world.reports.write(results_page(job.id, 0), page)
        ended = await run_next_batch(world, job)
        assert (ended.state, count_starts(world)) == (JobState.FAILED, Counter())
        assert "does not match" in ended.detail

    @pytest.mark.parametrize("seed", range(12))
    async def test_killed_and_resumed_at_random_each_line_has_one_result_and_is_not_acted_on_again(
        self, seed: int
    ) -> None:
        """1,000 lines; killed at any request; resumed from up to five batches ago; sometimes slow or busy."""
        rng, world = random.Random(seed), World()  # noqa: S311  # seeded, so that a failure can be reproduced
        transfers = [transfer.id for transfer in put_missing(world, 1_000)]
        job = replace(RECONCILE, rate=rng.choice([20, 50, 100]))
        inputs, reported = [job], set[str]()
        requests_left, slow = 0, False

        def fault(request: Request, subject: str) -> Exception | None:
            nonlocal requests_left
            requests_left -= 1
            if request == INSTANCES_START:
                assert subject not in reported
                world.pass_time(rng.choice([0, 1, 4]) if slow else 0)
            if requests_left == 0:
                return RuntimeError("killed")
            return BUSY if request in {INSTANCES_FIND, INSTANCES_START} and rng.random() < 0.002 else None

        world.faults.append(fault)
        while job.phase:
            requests_left, slow = rng.choice([0, 0, rng.randrange(1, 1_000)]), rng.random() < 0.3
            try:
                job = await run_next_batch(world, job)
            except RuntimeError:
                job = job_lifecycle.handle_failure(job, "killed", world.clock)
            requests_left = 0
            reported |= {
                line["id"]
                for name, page in world.reports.pages.items()
                if "results" in name
                for line in page
                if line["result"] != "failed"
            }
            inputs.append(job)
            if job.phase and rng.random() < 0.06:
                inputs = inputs[: -rng.randrange(1, 6)] or inputs[:1]
                job = inputs[-1]
            if rng.random() < 0.02:
                await finish_transfers(world)
        assert job.state is JobState.DONE
        assert list(results_by_id(world, job)) == transfers
        assert (job.tally.found, count_results(job), job.tally.failed) == (1_000, 1_000, 0)
        assert {run.attempt for instance in world.instances.kept.values() if (run := instance.run)} <= {0, 1, 2, 3}


async def test_after_three_failed_batches_the_fourth_reports_the_line(world: World) -> None:
    put_missing(world, 1)
    job = await run_until(world, RECONCILE, Phase.ACT)
    world.refuse(INSTANCES_FIND, BUSY)
    for faults in range(MAX_FAILED_TRIES):
        assert job.failures == faults
        job = await run_next_batch(world, job)
        assert job.phase is Phase.ACT
    assert (await run_next_batch(world, job)).state is JobState.DONE


async def test_an_unexpected_error_fails_only_its_line(world: World) -> None:
    """Its text may contain a secret and is not reported."""
    failing, *others = put_missing(world, 5)
    job = await run_until(world, RECONCILE, Phase.ACT)

    def fault(*call: Any) -> Exception | None:
        return ValueError("unexpected") if call == (INSTANCES_FIND, failing.id) else None

    world.faults.append(fault)
    job = await run_to_end(world, job)
    assert job.state is JobState.DONE
    assert results_by_id(world, job) == {failing.id: "failed"} | dict.fromkeys(
        (other.id for other in others), "started"
    )
    [detail] = [line["detail"] for line in world.reports.pages[results_page(job.id, 0)] if line["id"] == failing.id]
    assert detail == "internal: the app cannot process this line (ValueError)"
