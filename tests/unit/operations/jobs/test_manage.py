"""Starting, reading and cancelling jobs, and reading their reports."""

import json
import logging
from dataclasses import replace
from typing import Any

import pytest

from adapters.translation import INSTANCES_CANCEL, INSTANCES_START, REPORTS_READ, error_for_answer
from operations.jobs import manage
from operations.log import LOGGER
from operations.problems import Conflict, Invalid, NotFound, Unavailable
from operations.transfers.cancel import PAUSES
from rules.errors import Retryable
from rules.figures.view import Price
from rules.jobs.lifecycle import advance, cancel, handle_failure
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


def put_instance(world: World, job: Job, status: str = "Running", now: Job | None = None, output: Any = None) -> None:
    """Create the job's orchestration. `job` is its input, `now` is what its status shows."""
    shown = json.loads(json.dumps(progress(now or job)))
    ended = shown if status == "Completed" else output
    world.instances.kept[job.id] = Instance(job.id, status, None, shown, ended, world.clock, job)


async def read_all_pages(world: World, job: Job) -> list[list[dict[str, Any]]]:
    """The pages of the job's report, read to the end."""
    pages, more = list[list[dict[str, Any]]](), True
    while more:
        lines, more = await manage.read_report(world.ports, world.instances, job.id, len(pages))
        pages.append(lines)
    return pages


class TestStart:
    async def test_starts_the_job_and_logs_it(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.INFO, LOGGER.name):
            assert await manage.start(world.ports, world.instances, RECONCILE) == RECONCILE.id
        assert world.instances.kept[RECONCILE.id].job == RECONCILE
        [line] = [json.loads(record.getMessage()) for record in caplog.records if record.name == LOGGER.name]
        assert (line["action"], line["id"], line["route"]) == ("job.requested", RECONCILE.id, "default")

    @pytest.mark.parametrize("name", [None, "unknown"])
    async def test_a_reconcile_of_an_unknown_route_is_not_found(self, world: World, name: str | None) -> None:
        with pytest.raises(NotFound) as caught:
            await manage.start(world.ports, world.instances, replace(RECONCILE, route=name))
        assert caught.value.fix == "Use one of: default."
        assert world.requests == []

    @pytest.mark.parametrize("prefix", ["", "in/", "in/day=1/", "in/day"])
    async def test_a_reconcile_may_be_limited_to_a_prefix(self, world: World, prefix: str) -> None:
        assert await manage.start(world.ports, world.instances, replace(RECONCILE, prefix=prefix)) == RECONCILE.id

    @pytest.mark.parametrize("prefix", ["i", "inbox/", "/in/"])
    async def test_a_prefix_outside_the_route_is_invalid(self, world: World, prefix: str) -> None:
        with pytest.raises(Invalid) as caught:
            await manage.start(world.ports, world.instances, replace(RECONCILE, prefix=prefix))
        assert "'in/'" in caught.value.fix
        assert world.requests == []

    async def test_a_replay_may_name_a_route_that_no_longer_exists(self, world: World) -> None:
        """Its dead letters are refused one by one."""
        job = Job(manage.new_id(JobKind.REPLAY), JobKind.REPLAY, NOW, route="gone")
        assert await manage.start(world.ports, world.instances, job) == job.id

    async def test_a_failed_start_raises(self, world: World) -> None:
        world.refuse(INSTANCES_START, error_for_answer(INSTANCES_START, 503, "ServerBusy"))
        with pytest.raises(Retryable):
            await manage.start(world.ports, world.instances, RECONCILE)

    def test_ids_are_unique_and_valid(self) -> None:
        for work in JobKind:
            ids = {manage.new_id(work) for _ in range(100)}
            assert len(ids) == 100
            assert all(JOB_ID_PATTERN.fullmatch(identity) and identity.startswith(work) for identity in ids)


class TestGet:
    async def test_a_running_job_is_shown_by_its_status(self, world: World) -> None:
        put_instance(world, RECONCILE, now=ACTING)
        shown = await manage.get(world.instances, RECONCILE.id)
        assert (shown["state"], shown["phase"], shown["pages"], shown["counts"]["found"]) == ("running", "act", 3, 9)

    async def test_a_pending_job_is_shown_by_its_input(self, world: World) -> None:
        await world.instances.start(RECONCILE)
        assert (await manage.get(world.instances, RECONCILE.id))["state"] == "running"

    @pytest.mark.parametrize(
        ("ended", "state"),
        [
            (DONE, "done"),
            (cancel(ACTING, NOW), "cancelled"),
            (handle_failure(replace(ACTING, failures=9), "503", NOW), "failed"),
        ],
    )
    async def test_an_ended_job_is_shown_by_its_output(self, world: World, ended: Job, state: str) -> None:
        put_instance(world, RECONCILE, "Completed", ended)
        world.instances.kept[RECONCILE.id] = replace(world.instances.kept[RECONCILE.id], custom=progress(ACTING))
        shown = await manage.get(world.instances, RECONCILE.id)
        assert (shown["state"], shown["phase"]) == (state, None)

    @pytest.mark.parametrize("status", ["Failed", "Terminated"])
    async def test_a_broken_job_is_shown_as_running_with_its_counts_and_no_secret(
        self, world: World, status: str
    ) -> None:
        put_instance(world, RECONCILE, status, ACTING, output="Orchestrator function 'job' failed ?sig=c2VjcmV0")
        shown = await manage.get(world.instances, RECONCILE.id)
        assert (shown["state"], shown["counts"]["found"], shown["pages"]) == ("running", 9, 3)
        assert shown["detail"].startswith(f"the orchestration was {status}: Orchestrator function 'job' failed")
        assert "c2VjcmV0" not in str(shown)

    async def test_an_id_without_a_readable_job_is_not_found(self, world: World) -> None:
        transfer = world.put()
        world.put_instance(transfer, "Running", Run(transfer, NOW))
        world.instances.kept[RECONCILE.id] = Instance(RECONCILE.id, "Running", None, {}, None, NOW)
        for identity in (manage.new_id(JobKind.REPLAY), transfer.id, RECONCILE.id):
            with pytest.raises(NotFound):
                await manage.get(world.instances, identity)
            with pytest.raises(NotFound):
                await manage.read_report(world.ports, world.instances, identity, 0)
            with pytest.raises(NotFound):
                await manage.cancel(world.instances, identity)

    async def test_a_list_has_the_jobs_of_one_kind_in_pages(self, world: World) -> None:
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
                shown = await manage.list_jobs(world.instances, work, 3, continuation)
                listed += [item["id"] for item in shown["items"]]
                continuation, first = shown["continuation"], False
            assert sorted(listed) == sorted(made[work])


class TestReport:
    async def test_the_pages_of_a_report_have_every_line_once(self, world: World) -> None:
        made = put_missing(world, 1_030)
        job = await run_until(world, replace(RECONCILE, rate=100), None)
        put_instance(world, RECONCILE, "Completed", job)
        pages = await read_all_pages(world, job)
        assert [len(page) for page in pages] == [500, 500, 30, 500, 500, 30]
        everything = [line for page in pages for line in page]
        assert sorted(line["id"] for line in everything if "class" in line) == sorted(item.id for item in made)
        assert sorted(line["id"] for line in everything if "result" in line) == sorted(item.id for item in made)

    async def test_pages_keep_their_numbers_while_the_job_runs(self, world: World) -> None:
        put_missing(world, 1_030)
        job, seen, number = replace(RECONCILE, rate=100), list[list[dict[str, Any]]](), 0
        while job.phase:
            put_instance(world, RECONCILE, now=job)
            lines, more = await manage.read_report(world.ports, world.instances, job.id, number)
            if lines:
                seen.append(lines)
                number += 1
            assert more is (number < job.pages + job.batches if lines else False)
            job = await run_next_batch(world, job)
        put_instance(world, RECONCILE, "Completed", job)
        pages = await read_all_pages(world, job)
        assert seen == pages[: len(seen)]
        assert len(seen) >= 3

    async def test_a_page_that_does_not_exist_is_empty_and_read_nowhere(self, world: World) -> None:
        await world.instances.start(RECONCILE)
        assert await manage.read_report(world.ports, world.instances, RECONCILE.id, 0) == ([], False)
        put_instance(world, RECONCILE, "Completed", ACTING)
        assert await manage.read_report(world.ports, world.instances, RECONCILE.id, 10**9) == ([], False)
        assert "reports.read" not in world.request_names

    async def test_a_deleted_page_is_empty_and_the_next_page_follows(self, world: World) -> None:
        await world.reports.write(found_page(RECONCILE.id, 1), [{"name": "kept"}])
        await world.reports.write(results_page(RECONCILE.id, 0), [{"id": "kept"}])
        put_instance(world, RECONCILE, "Completed", ACTING)
        assert await read_all_pages(world, RECONCILE) == [[], [{"name": "kept"}], [{"id": "kept"}]]

    async def test_the_page_of_an_unfinished_batch_is_not_shown(self, world: World) -> None:
        """The batch may be repeated, and write another page."""
        await world.reports.write(found_page(RECONCILE.id, 0), [{"name": "of a batch that was lost"}])
        put_instance(world, RECONCILE)
        assert await manage.read_report(world.ports, world.instances, RECONCILE.id, 0) == ([], False)

    async def test_a_failure_of_storage_raises(self, world: World) -> None:
        put_instance(world, RECONCILE, "Completed", ACTING)
        world.refuse(REPORTS_READ, error_for_answer(REPORTS_READ, 503, "ServerBusy"))
        with pytest.raises(Retryable):
            await manage.read_report(world.ports, world.instances, RECONCILE.id, 0)


class FakePause:
    """A pause that takes no time. After the pause with the number `at`, the job becomes another."""

    def __init__(self, world: World, becomes: Job | None = None, status: str = "Running", at: int = 1) -> None:
        self.world, self.becomes, self.status, self.at = world, becomes, status, at
        self.slept: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)
        if self.becomes and len(self.slept) == self.at:
            put_instance(self.world, RECONCILE, self.status, self.becomes)


class TestCancel:
    CANCELLING = replace(ACTING, cancelling=True)
    CANCELLED = cancel(ACTING, NOW)

    async def test_a_cancel_during_a_batch_is_answered_immediately(self, world: World) -> None:
        put_instance(world, RECONCILE, now=ACTING)
        shown = await manage.cancel(world.instances, RECONCILE.id, FakePause(world, self.CANCELLING))
        assert (shown["state"], shown["cancelling"]) == ("running", True)
        assert world.instances.cancels == [RECONCILE.id]

    async def test_a_cancel_during_a_pause_finds_the_job_cancelled(self, world: World) -> None:
        put_instance(world, RECONCILE, now=ACTING)
        shown = await manage.cancel(world.instances, RECONCILE.id, FakePause(world, self.CANCELLED, "Completed"))
        assert shown["state"] == "cancelled"

    async def test_a_pending_job_can_be_cancelled(self, world: World) -> None:
        await world.instances.start(RECONCILE)
        await manage.cancel(world.instances, RECONCILE.id, FakePause(world, self.CANCELLED, "Completed"))
        assert world.instances.cancels == [RECONCILE.id]

    async def test_a_lost_cancel_event_is_raised_again(self, world: World) -> None:
        put_instance(world, RECONCILE, now=ACTING)
        shown = await manage.cancel(world.instances, RECONCILE.id, FakePause(world, self.CANCELLING, at=3))
        assert shown["cancelling"] is True
        assert world.instances.cancels == [RECONCILE.id] * 3

    async def test_a_second_cancel_raises_no_event_and_has_the_same_answer(self, world: World) -> None:
        put_instance(world, RECONCILE, now=self.CANCELLING)
        assert (await manage.cancel(world.instances, RECONCILE.id, FakePause(world)))["cancelling"] is True
        assert world.instances.cancels == []

    @pytest.mark.parametrize("ended", [DONE, CANCELLED, handle_failure(replace(ACTING, failures=9), "503", NOW)])
    async def test_cancelling_an_ended_job_is_a_conflict_with_its_state(self, world: World, ended: Job) -> None:
        put_instance(world, RECONCILE, "Completed", ended)
        with pytest.raises(Conflict) as caught:
            await manage.cancel(world.instances, RECONCILE.id, FakePause(world))
        assert caught.value.facts == {"state": ended.state}
        assert world.instances.cancels == []

    async def test_a_job_that_is_done_before_the_cancel_arrives_is_a_conflict(self, world: World) -> None:
        put_instance(world, RECONCILE, now=ACTING)
        with pytest.raises(Conflict) as caught:
            await manage.cancel(world.instances, RECONCILE.id, FakePause(world, DONE, "Completed"))
        assert caught.value.facts == {"state": "done"}

    @pytest.mark.parametrize("status", ["Failed", "Terminated"])
    async def test_a_broken_job_ends_cancelled_with_its_counts(self, world: World, status: str) -> None:
        put_instance(world, RECONCILE, status, ACTING, output="broke")
        shown = await manage.cancel(world.instances, RECONCILE.id, FakePause(world))
        assert (shown["state"], shown["counts"]["found"], shown["pages"]) == ("cancelled", 9, 3)
        assert world.instances.cancels == []
        started = world.instances.kept[RECONCILE.id].job
        assert started is not None
        assert (started.state, started.phase) == (JobState.CANCELLED, None)

    async def test_an_unconfirmed_cancel_is_unavailable_after_30_seconds(self, world: World) -> None:
        put_instance(world, RECONCILE, now=ACTING)
        pause = FakePause(world)
        with pytest.raises(Unavailable):
            await manage.cancel(world.instances, RECONCILE.id, pause)
        assert tuple(pause.slept) == PAUSES

    async def test_a_failure_of_the_extension_raises(self, world: World) -> None:
        put_instance(world, RECONCILE, now=ACTING)
        world.refuse(INSTANCES_CANCEL, error_for_answer(INSTANCES_CANCEL, 503, "ServerBusy"))
        with pytest.raises(Retryable):
            await manage.cancel(world.instances, RECONCILE.id, FakePause(world))

    async def test_transfers_started_before_the_cancel_continue(self, world: World) -> None:
        put_missing(world, 45)
        job = await run_next_batch(world, await run_until(world, RECONCILE, Phase.ACT))
        ended = cancel(job, NOW)
        assert (ended.state, ended.tally.started, ended.tally.found) == (JobState.CANCELLED, 20, 45)
        assert sum(instance.running for instance in world.instances.kept.values()) == 20
        again = await run_until(world, replace(RECONCILE, id="reconcile-" + "b" * 24), None)
        assert (again.tally.running, again.tally.started) == (20, 25)

    def test_a_batch_that_ends_after_the_cancel_is_counted(self) -> None:
        ended = advance(self.CANCELLING, Batch(Tally(started=5), wrote=True, page=1), NOW)
        assert (ended.state, ended.tally.started, ended.batches) == (JobState.CANCELLED, 5, 2)


async def test_a_dry_run_of_a_reconcile_shows_what_it_would_cost(world: World) -> None:
    for number, dry_run in enumerate((True, False)):
        identity = f"reconcile-{number:024}"
        await world.instances.start(Job(identity, JobKind.RECONCILE, NOW, route="default", dry_run=dry_run))
        tally = Tally(found=1, bytes=2**31)
        job = Job(identity, JobKind.RECONCILE, NOW, route="default", dry_run=dry_run, tally=tally)
        world.instances.become(identity, "Running", custom=progress(job))
        shown = await manage.get(world.instances, identity, Price(0.5, "EUR"))
        estimate = {"price_per_gib": 0.5, "currency": "EUR", "estimate": 1.0}
        assert shown["egress"] == (estimate if dry_run else None)
        assert (await manage.get(world.instances, identity))["egress"] is None
