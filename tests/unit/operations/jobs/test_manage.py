"""Asking for a job, looking at it, reading its report, cancelling it: on an instance as the extension shows it."""

import json
import logging
from dataclasses import replace
from typing import Any

import pytest

from adapters.translation import INSTANCES_CANCEL, INSTANCES_START, REPORTS_READ, error_for_answer
from operations.jobs import manage
from operations.log import LOGGER
from operations.problems import Conflict, NotFound, Unavailable
from operations.transfers.cancel import PAUSES
from rules.errors import Retryable
from rules.jobs.lifecycle import advance, cancelled, faulted
from rules.jobs.model import Batch, Job, JobKind, JobState, Phase, Tally
from rules.jobs.report import found_page, results_page
from rules.jobs.status import progress
from rules.orchestrations.instance import Instance
from rules.transfers.identity import JOB_ID_PATTERN
from rules.transfers.model import Run
from tests.unit.job_runs import RECONCILE, put_missing, run_next_batch, run_until
from tests.unit.samples import NOW
from tests.unit.world import World

ACTING = replace(RECONCILE, phase=Phase.ACT, pages=2, batches=1, tally=Tally(found=9))
DONE = replace(RECONCILE, phase=None, state=JobState.DONE)


def stands(world: World, job: Job, status: str = "Running", now: Job | None = None, output: Any = None) -> None:
    """Let the job's orchestration exist: `job` is its input, `now` what its status shows."""
    shown = json.loads(json.dumps(progress(now or job)))
    ended = shown if status == "Completed" else output
    world.instances.kept[job.id] = Instance(job.id, status, None, shown, ended, world.clock, job)


async def followed(world: World, job: Job) -> list[list[dict[str, Any]]]:
    """The pages of the job's report, as a reader follows them to the end."""
    pages, more = list[list[dict[str, Any]]](), True
    while more:
        lines, more = await manage.report(world.ports, world.instances, job.id, len(pages))
        pages.append(lines)
    return pages


class TestAsking:
    """A job is asked for."""

    async def test_it_is_started_as_asked_and_logged(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        """One line, with what it is for."""
        with caplog.at_level(logging.INFO, LOGGER.name):
            assert await manage.start(world.ports, world.instances, RECONCILE) == RECONCILE.id
        assert world.instances.kept[RECONCILE.id].job == RECONCILE
        [line] = [json.loads(record.getMessage()) for record in caplog.records if record.name == LOGGER.name]
        assert (line["action"], line["id"], line["route"]) == ("job.requested", RECONCILE.id, "default")

    @pytest.mark.parametrize("name", [None, "nobody"])
    async def test_a_reconcile_needs_a_route_of_today(self, world: World, name: str | None) -> None:
        """There is nothing to compare; the fix names those that are."""
        with pytest.raises(NotFound) as caught:
            await manage.start(world.ports, world.instances, replace(RECONCILE, route=name))
        assert caught.value.fix == "Use one of: default."
        assert world.requests == []

    async def test_a_replay_may_mean_a_route_that_is_gone(self, world: World) -> None:
        """Its letters are refused one by one, each with why."""
        job = Job(manage.new_id(JobKind.REPLAY), JobKind.REPLAY, NOW, route="gone")
        assert await manage.start(world.ports, world.instances, job) == job.id

    async def test_a_start_that_fails_is_told(self, world: World) -> None:
        """The API makes it a 503."""
        world.refuse(INSTANCES_START, error_for_answer(INSTANCES_START, 503, "ServerBusy"))
        with pytest.raises(Retryable):
            await manage.start(world.ports, world.instances, RECONCILE)

    def test_every_id_is_new_and_of_its_kind(self) -> None:
        """And one that the edge lets in."""
        for work in JobKind:
            ids = {manage.new_id(work) for _ in range(100)}
            assert len(ids) == 100
            assert all(JOB_ID_PATTERN.fullmatch(identity) and identity.startswith(work) for identity in ids)


class TestLooking:
    """One job, and lists of them."""

    async def test_while_it_runs_its_status_counts(self, world: World) -> None:
        """Its input is of the beginning."""
        stands(world, RECONCILE, now=ACTING)
        shown = await manage.look(world.instances, RECONCILE.id)
        assert (shown["state"], shown["phase"], shown["pages"], shown["counts"]["found"]) == ("running", "act", 3, 9)

    async def test_before_the_first_batch_it_is_as_asked_for(self, world: World) -> None:
        """Pending is running."""
        await world.instances.start(RECONCILE)
        assert (await manage.look(world.instances, RECONCILE.id))["state"] == "running"

    @pytest.mark.parametrize(
        ("ended", "state"),
        [
            (DONE, "done"),
            (cancelled(ACTING, NOW), "cancelled"),
            (faulted(replace(ACTING, failures=9), "503", NOW), "failed"),
        ],
    )
    async def test_at_its_end_its_output_counts(self, world: World, ended: Job, state: str) -> None:
        """The last status may be of before."""
        stands(world, RECONCILE, "Completed", ended)
        world.instances.kept[RECONCILE.id] = replace(world.instances.kept[RECONCILE.id], custom=progress(ACTING))
        shown = await manage.look(world.instances, RECONCILE.id)
        assert (shown["state"], shown["phase"]) == (state, None)

    @pytest.mark.parametrize("status", ["Failed", "Terminated"])
    async def test_one_that_broke_runs_and_keeps_its_counts(self, world: World, status: str) -> None:
        """It is started again by itself; until then the detail is what the extension said, without a secret."""
        stands(world, RECONCILE, status, ACTING, output="Orchestrator function 'job' failed ?sig=c2VjcmV0")
        shown = await manage.look(world.instances, RECONCILE.id)
        assert (shown["state"], shown["counts"]["found"], shown["pages"]) == ("running", 9, 3)
        assert shown["detail"].startswith(f"the orchestration was {status}: Orchestrator function 'job' failed")
        assert "c2VjcmV0" not in str(shown)

    async def test_what_is_no_job_is_not_found(self, world: World) -> None:
        """Unknown, a transfer's, or one whose input nobody can read."""
        transfer = world.put()
        world.put_instance(transfer, "Running", Run(transfer, NOW))
        world.instances.kept[RECONCILE.id] = Instance(RECONCILE.id, "Running", None, {}, None, NOW)
        for identity in (manage.new_id(JobKind.REPLAY), transfer.id, RECONCILE.id):
            with pytest.raises(NotFound):
                await manage.look(world.instances, identity)
            with pytest.raises(NotFound):
                await manage.report(world.ports, world.instances, identity, 0)
            with pytest.raises(NotFound):
                await manage.cancel(world.instances, identity)

    async def test_a_list_holds_the_jobs_of_one_kind_page_by_page(self, world: World) -> None:
        """Neither transfers, nor the other kind, nor what cannot be read."""
        world.put_instance(world.put(), "Running")
        made = {work: set[str]() for work in JobKind}
        for work in JobKind:
            for _ in range(7):
                job = Job(manage.new_id(work), work, NOW, route="default")
                made[work].add(await manage.start(world.ports, world.instances, job))
        broken = manage.new_id(JobKind.REPLAY)
        world.instances.kept[broken] = Instance(broken, "Running", None, {}, None, NOW)
        for work in JobKind:
            listed, continuation, first = list[str](), None, True
            while first or continuation:
                shown = await manage.page(world.instances, work, 3, continuation)
                listed += [item["id"] for item in shown["items"]]
                continuation, first = shown["continuation"], False
            assert sorted(listed) == sorted(made[work])


class TestReport:
    """The report's pages, first what was found, then what came of it."""

    async def test_followed_to_its_end_it_has_every_line_once(self, world: World) -> None:
        """Whether it runs or has ended."""
        made = put_missing(world, 1_030)
        job = await run_until(world, replace(RECONCILE, rate=100), None)
        stands(world, RECONCILE, "Completed", job)
        pages = await followed(world, job)
        assert [len(page) for page in pages] == [500, 500, 30, 500, 500, 30]
        everything = [line for page in pages for line in page]
        assert sorted(line["id"] for line in everything if "class" in line) == sorted(item.id for item in made)
        assert sorted(line["id"] for line in everything if "result" in line) == sorted(item.id for item in made)

    async def test_while_it_runs_a_page_keeps_its_number(self, world: World) -> None:
        """Who waits and goes on misses nothing: pages are only added, results once all is found."""
        put_missing(world, 1_030)
        job, seen, number = replace(RECONCILE, rate=100), list[list[dict[str, Any]]](), 0
        while job.phase:
            stands(world, RECONCILE, now=job)
            lines, more = await manage.report(world.ports, world.instances, job.id, number)
            if lines:
                seen.append(lines)
                number += 1
            assert more is (number < job.pages + job.batches if lines else False)
            job = await run_next_batch(world, job)
        stands(world, RECONCILE, "Completed", job)
        pages = await followed(world, job)
        assert seen == pages[: len(seen)]
        assert len(seen) >= 3

    async def test_before_there_is_a_page_it_is_empty_and_at_its_end(self, world: World) -> None:
        """No page is read for it; nor is one beyond the last."""
        await world.instances.start(RECONCILE)
        assert await manage.report(world.ports, world.instances, RECONCILE.id, 0) == ([], False)
        stands(world, RECONCILE, "Completed", ACTING)
        assert await manage.report(world.ports, world.instances, RECONCILE.id, 10**9) == ([], False)
        assert "reports.read" not in world.request_names

    async def test_a_page_that_was_deleted_is_empty_and_the_next_one_follows(self, world: World) -> None:
        """The container deletes what is old."""
        await world.reports.write(found_page(RECONCILE.id, 1), [{"name": "kept"}])
        await world.reports.write(results_page(RECONCILE.id, 0), [{"id": "kept"}])
        stands(world, RECONCILE, "Completed", ACTING)
        assert await followed(world, RECONCILE) == [[], [{"name": "kept"}], [{"id": "kept"}]]

    async def test_of_a_batch_that_has_not_ended_nothing_is_shown(self, world: World) -> None:
        """It may be done again, and its page be another."""
        await world.reports.write(found_page(RECONCILE.id, 0), [{"name": "of a batch that was lost"}])
        stands(world, RECONCILE)
        assert await manage.report(world.ports, world.instances, RECONCILE.id, 0) == ([], False)

    async def test_storage_that_fails_is_told(self, world: World) -> None:
        """Not an empty page."""
        stands(world, RECONCILE, "Completed", ACTING)
        world.refuse(REPORTS_READ, error_for_answer(REPORTS_READ, 503, "ServerBusy"))
        with pytest.raises(Retryable):
            await manage.report(world.ports, world.instances, RECONCILE.id, 0)


class Patience:
    """A pause that takes no time; at the given one the job becomes another."""

    def __init__(self, world: World, becomes: Job | None = None, status: str = "Running", at: int = 1) -> None:
        self.world, self.becomes, self.status, self.at = world, becomes, status, at
        self.slept: list[float] = []

    async def __call__(self, seconds: float) -> None:
        """Sleep not at all."""
        self.slept.append(seconds)
        if self.becomes and len(self.slept) == self.at:
            stands(self.world, RECONCILE, self.status, self.becomes)


class TestCancel:
    """Never lost, never a lie."""

    CANCELLING = replace(ACTING, cancelling=True)
    CANCELLED = cancelled(ACTING, NOW)

    async def test_during_a_batch_it_is_noticed_and_answered_at_once(self, world: World) -> None:
        """What the batch started goes on; the job ends with it."""
        stands(world, RECONCILE, now=ACTING)
        shown = await manage.cancel(world.instances, RECONCILE.id, Patience(world, self.CANCELLING))
        assert (shown["state"], shown["cancelling"]) == ("running", True)
        assert world.instances.cancels == [RECONCILE.id]

    async def test_in_a_pause_it_has_ended_by_the_next_look(self, world: World) -> None:
        """What was asked for has happened."""
        stands(world, RECONCILE, now=ACTING)
        shown = await manage.cancel(world.instances, RECONCILE.id, Patience(world, self.CANCELLED, "Completed"))
        assert shown["state"] == "cancelled"

    async def test_before_the_first_batch_it_is_asked(self, world: World) -> None:
        """Pending is running."""
        await world.instances.start(RECONCILE)
        await manage.cancel(world.instances, RECONCILE.id, Patience(world, self.CANCELLED, "Completed"))
        assert world.instances.cancels == [RECONCILE.id]

    async def test_lost_where_it_continues_as_new_it_is_raised_again(self, world: World) -> None:
        """The host drops what it has not handed out."""
        stands(world, RECONCILE, now=ACTING)
        shown = await manage.cancel(world.instances, RECONCILE.id, Patience(world, self.CANCELLING, at=3))
        assert shown["cancelling"] is True
        assert world.instances.cancels == [RECONCILE.id] * 3

    async def test_a_second_one_is_the_same_answer(self, world: World) -> None:
        """Without another event."""
        stands(world, RECONCILE, now=self.CANCELLING)
        assert (await manage.cancel(world.instances, RECONCILE.id, Patience(world)))["cancelling"] is True
        assert world.instances.cancels == []

    @pytest.mark.parametrize("ended", [DONE, CANCELLED, faulted(replace(ACTING, failures=9), "503", NOW)])
    async def test_after_the_end_it_is_a_conflict_with_the_state(self, world: World, ended: Job) -> None:
        """Nothing is raised."""
        stands(world, RECONCILE, "Completed", ended)
        with pytest.raises(Conflict) as caught:
            await manage.cancel(world.instances, RECONCILE.id, Patience(world))
        assert caught.value.facts == {"state": ended.state}
        assert world.instances.cancels == []

    async def test_done_before_the_cancel_could_reach_it_is_said(self, world: World) -> None:
        """It is no cancelled job."""
        stands(world, RECONCILE, now=ACTING)
        with pytest.raises(Conflict) as caught:
            await manage.cancel(world.instances, RECONCILE.id, Patience(world, DONE, "Completed"))
        assert caught.value.facts == {"state": "done"}

    @pytest.mark.parametrize("status", ["Failed", "Terminated"])
    async def test_one_that_broke_ends_cancelled(self, world: World, status: str) -> None:
        """It hears no event: it is started again at its end, with the counts that it had."""
        stands(world, RECONCILE, status, ACTING, output="broke")
        shown = await manage.cancel(world.instances, RECONCILE.id, Patience(world))
        assert (shown["state"], shown["counts"]["found"], shown["pages"]) == ("cancelled", 9, 3)
        assert world.instances.cancels == []
        started = world.instances.kept[RECONCILE.id].job
        assert started is not None
        assert (started.state, started.phase) == (JobState.CANCELLED, None)

    async def test_nobody_taking_notice_is_said_after_half_a_minute(self, world: World) -> None:
        """503, and asking again is safe."""
        stands(world, RECONCILE, now=ACTING)
        patience = Patience(world)
        with pytest.raises(Unavailable):
            await manage.cancel(world.instances, RECONCILE.id, patience)
        assert tuple(patience.slept) == PAUSES

    async def test_an_extension_that_does_not_answer_is_told(self, world: World) -> None:
        """The API makes it a 503."""
        stands(world, RECONCILE, now=ACTING)
        world.refuse(INSTANCES_CANCEL, error_for_answer(INSTANCES_CANCEL, 503, "ServerBusy"))
        with pytest.raises(Retryable):
            await manage.cancel(world.instances, RECONCILE.id, Patience(world))

    async def test_what_it_had_started_goes_on(self, world: World) -> None:
        """And is counted; the rest is there for the next job."""
        put_missing(world, 45)
        job = await run_next_batch(world, await run_until(world, RECONCILE, Phase.ACT))
        ended = cancelled(job, NOW)
        assert (ended.state, ended.tally.started, ended.tally.found) == (JobState.CANCELLED, 20, 45)
        assert sum(instance.running for instance in world.instances.kept.values()) == 20
        again = await run_until(world, replace(RECONCILE, id="reconcile-" + "b" * 24), None)
        assert (again.tally.running, again.tally.started) == (20, 25)

    def test_a_batch_that_ends_after_the_cancel_is_counted(self) -> None:
        """It did what it did."""
        ended = advance(self.CANCELLING, Batch(Tally(started=5), wrote=True, page=1), NOW)
        assert (ended.state, ended.tally.started, ended.batches) == (JobState.CANCELLED, 5, 2)
