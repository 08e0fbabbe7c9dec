"""The watchdog: reports silent orchestrations, ends lost ones to resume them, and ends stuck ones."""

import json
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from adapters.continuation import encode_token
from adapters.translation import (
    INSTANCES_FIND,
    INSTANCES_OLDEST,
    INSTANCES_PAGE,
    INSTANCES_TERMINATE,
    REPORTS_READ,
    error_for_answer,
)
from operations.upkeep.resume import resume
from operations.upkeep.timer_run import PAGE_SIZE
from operations.upkeep.watchdog import BEHIND, CONCURRENCY, MAX_DONE, SECONDS, watch
from rules.errors import Reason, Retryable
from rules.jobs.model import Job, JobKind, JobState, Phase
from rules.orchestrations import recovery
from rules.orchestrations.instance import Instance
from rules.orchestrations.liveness import LOST_AFTER
from rules.transfers.identity import trace_id
from rules.transfers.model import Run, Transfer
from rules.transfers.states import State
from rules.transfers.status import progress
from tests.unit.job_runs import YieldingWorld
from tests.unit.samples import NOW
from tests.unit.world import World

SECOND, MINUTE, HOUR, DAY = (
    timedelta(seconds=1),
    timedelta(minutes=1),
    timedelta(hours=1),
    timedelta(days=1),
)
BUSY = error_for_answer(INSTANCES_PAGE, 503, "ServerBusy")


def put_silent(
    world: World,
    name: str,
    silent: timedelta,
    status: str = "Running",
    accepted: timedelta = 9 * DAY,
    *,
    resumes: int = 0,
) -> Transfer:
    """Create a transfer that last changed so long ago."""
    transfer = world.put(name)
    world.put_instance(transfer, status, Run(transfer, NOW - accepted, resumes=resumes))
    kept = world.instances.kept
    kept[transfer.id] = replace(kept[transfer.id], updated_at=NOW - silent)
    return transfer


def put_silent_job(world: World, work: JobKind, silent: timedelta, status: str = "Running") -> str:
    """Create a job that last changed so long ago."""
    job = Job(f"{work}-{'0' * 24}", work, NOW - 9 * DAY)
    world.instances.kept[job.id] = Instance(job.id, status, None, {}, None, NOW - silent, job)
    return job.id


def logged(caplog: pytest.LogCaptureFixture, action: str) -> list[dict[str, object]]:
    """The log lines of an action."""
    lines = [json.loads(record.getMessage()) for record in caplog.records if record.name == "blob_data_sharing"]
    return [line for line in lines if line["action"] == action]


async def test_a_lively_hub_costs_its_lists_and_logs_nothing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    put_silent(world, "a", LOST_AFTER)
    assert await watch(world.ports, world.instances) == 0
    assert world.request_names == ["reports.read", "instances.page"] * 4
    assert caplog.records == []


async def test_recently_started_orchestrations_are_not_listed(world: World) -> None:
    transfer = put_silent(world, "a", 2 * HOUR)
    world.instances.created[transfer.id] = NOW - LOST_AFTER + SECOND
    assert await watch(world.ports, world.instances) == 0
    assert "instances.find" not in world.request_names


async def test_a_full_hub_is_logged_in_one_line_and_nothing_is_ended(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(3 * PAGE_SIZE):
        put_silent(world, f"{number}", 2 * HOUR, "Pending", accepted=2 * HOUR)
    oldest = put_silent(world, "oldest", 23 * HOUR, "Pending", accepted=23 * HOUR)
    assert await watch(world.ports, world.instances) == 0
    [line] = logged(caplog, "watchdog.silent")
    assert (line["count"], line["oldest_seconds"]) == (3 * PAGE_SIZE + 1, 23 * 3_600)
    assert (line["oldest_id"], line["oldest_name"]) == (oldest.id, oldest.name)
    assert {"instances.terminate", "instances.find", "instances.oldest"}.isdisjoint(world.request_names)
    assert world.request_names.count("instances.page") == 3 + 4


@pytest.mark.parametrize("status", ["Pending", "Running", "ContinuedAsNew"])
async def test_a_stuck_transfer_is_ended_and_dead_lettered_by_the_next_resume(
    world: World, status: str, caplog: pytest.LogCaptureFixture
) -> None:
    transfer, lively = put_silent(world, "a", 30 * HOUR, status), put_silent(world, "b", LOST_AFTER)
    assert await watch(world.ports, world.instances) == 1
    assert logged(caplog, "watchdog.stuck") == [
        {
            "action": "watchdog.stuck",
            "text": "no progress for 30 hours; the watchdog ended it",
            "id": transfer.id,
            "name": transfer.name,
            "silent_seconds": 30 * 3_600,
            "trace_id": trace_id(transfer.id),
        }
    ]
    assert world.instances.kept[lively.id].status == "Running"
    await resume(world.ports, world.instances)
    run = world.instances.kept[transfer.id].run
    assert run is not None
    assert run.ending is not None
    assert (run.ending.state, run.ending.reason) == (State.DEAD_LETTERED, Reason.INTERNAL)
    assert "Terminated: no progress for 30 hours" in run.ending.detail
    assert world.target_writes == []


async def test_a_silent_transfer_before_its_deadline_is_not_ended(world: World) -> None:
    transfer = world.put()
    world.put_instance(transfer, "Pending", Run(transfer, NOW - 3 * DAY, deadline=6 * DAY))
    world.instances.kept[transfer.id] = replace(world.instances.kept[transfer.id], updated_at=NOW - 3 * DAY)
    assert await watch(world.ports, world.instances) == 0


async def test_a_suspended_transfer_is_ignored(world: World, caplog: pytest.LogCaptureFixture) -> None:
    put_silent(world, "a", 9 * DAY, "Suspended")
    assert await watch(world.ports, world.instances) == 0
    assert caplog.records == []


@pytest.mark.parametrize("work", list(JobKind))
async def test_a_stuck_job_ends_failed(world: World, work: JobKind) -> None:
    job = put_silent_job(world, work, 25 * HOUR)
    assert await watch(world.ports, world.instances) == 1
    assert world.instances.kept[job].status == "Terminated"
    await resume(world.ports, world.instances)
    ended = world.instances.kept[job].job
    assert ended is not None
    assert (ended.state, ended.phase) == (JobState.FAILED, None)


async def test_a_transfer_that_progressed_after_the_list_is_not_ended(world: World) -> None:
    transfer = put_silent(world, "a", 2 * DAY)
    world.before_next(INSTANCES_FIND, lambda: world.instances.become(transfer.id, "Running"))
    assert await watch(world.ports, world.instances) == 0
    assert world.instances.kept[transfer.id].status == "Running"


async def test_overlapping_runs_end_a_transfer_once(world: World) -> None:
    put_silent(world, "a", 2 * DAY)
    assert [await watch(world.ports, world.instances) for _ in range(2)] == [1, 0]
    assert world.request_names.count("instances.terminate") == 1


async def test_one_failure_does_not_stop_the_others(world: World, caplog: pytest.LogCaptureFixture) -> None:
    for name in "abc":
        put_silent(world, name, 2 * DAY)
    world.refuse(INSTANCES_TERMINATE, Retryable(Reason.INTERNAL, "instances.terminate", "no"), times=1)
    with pytest.raises(Retryable):
        await watch(world.ports, world.instances)
    assert sorted(instance.status for instance in world.instances.kept.values()) == [
        "Running",
        "Terminated",
        "Terminated",
    ]
    assert [line["timer"] for line in logged(caplog, "timer.failed")] == ["watchdog"]
    assert await watch(world.ports, world.instances) == 1


class TestLost:
    async def test_a_lost_transfer_is_ended_and_resumed_where_it_was(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        transfer, lively = put_silent(world, "a", LOST_AFTER + SECOND), put_silent(world, "b", LOST_AFTER)
        assert await watch(world.ports, world.instances) == 1
        kept = world.instances.kept[transfer.id]
        assert (kept.status, kept.output) == ("Terminated", recovery.LOST_ACTIVITY)
        assert logged(caplog, "watchdog.lost") == [
            {
                "action": "watchdog.lost",
                "text": recovery.LOST_ACTIVITY,
                "id": transfer.id,
                "name": transfer.name,
                "trace_id": trace_id(transfer.id),
            }
        ]
        assert {record.levelname for record in caplog.records} == {"WARNING"}
        assert await resume(world.ports, world.instances) == 1
        run = world.instances.kept[transfer.id].run
        assert run is not None
        assert (run.resumes, run.first, run.ending) == (1, False, None)
        assert world.instances.kept[lively.id].status == "Running"
        world.pass_time(10 * 60)
        assert await watch(world.ports, world.instances) == 1
        assert world.instances.kept[lively.id].status == "Terminated"

    async def test_a_transfer_with_a_timer_is_not_lost_until_15_minutes_after_it(self, world: World) -> None:
        transfer = put_silent(world, "a", 25 * MINUTE)
        run, kept = world.instances.kept[transfer.id].run, world.instances.kept
        assert run is not None
        kept[transfer.id] = replace(kept[transfer.id], custom=progress(run, NOW - LOST_AFTER))
        assert await watch(world.ports, world.instances) == 0
        world.pass_time(1)
        assert await watch(world.ports, world.instances) == 1

    @pytest.mark.parametrize("resumes", range(6))
    async def test_the_wait_doubles_with_each_resume(self, world: World, resumes: int) -> None:
        put_silent(world, "a", LOST_AFTER * 2**resumes, resumes=resumes, accepted=HOUR)
        assert await watch(world.ports, world.instances) == 0
        world.pass_time(1)
        assert await watch(world.ports, world.instances) == 1

    async def test_a_lost_job_is_ended_and_resumed(self, world: World) -> None:
        job = put_silent_job(world, JobKind.REPLAY, LOST_AFTER + SECOND)
        assert await watch(world.ports, world.instances) == 1
        await resume(world.ports, world.instances)
        resumed = world.instances.kept[job].job
        assert resumed is not None
        assert (resumed.state, resumed.phase, resumed.resumes) == (JobState.RUNNING, Phase.SURVEY, 1)

    @pytest.mark.parametrize("status", ["Pending", "Suspended", "ContinuedAsNew"])
    async def test_a_pending_or_suspended_transfer_is_not_lost(self, world: World, status: str) -> None:
        put_silent(world, "a", 2 * HOUR, status)
        assert await watch(world.ports, world.instances) == 0
        assert {"instances.oldest", "instances.find"}.isdisjoint(world.request_names)

    async def test_a_transfer_with_an_unreadable_input_is_not_ended(self, world: World) -> None:
        transfer = put_silent(world, "a", 2 * HOUR)
        world.instances.kept[transfer.id] = replace(world.instances.kept[transfer.id], run=None)
        assert await watch(world.ports, world.instances) == 0

    async def test_nothing_counts_as_lost_while_the_hub_is_behind(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The results may wait among the other messages. Stuck transfers are ended nevertheless."""
        for number in range(2 * PAGE_SIZE):
            put_silent(world, f"{number}", LOST_AFTER + SECOND)
        stuck = put_silent(world, "stuck", 30 * HOUR)
        world.instances.oldest = NOW - BEHIND - SECOND
        assert await watch(world.ports, world.instances) == 1
        assert world.instances.kept[stuck.id].status == "Terminated"
        assert [line["oldest_seconds"] for line in logged(caplog, "watchdog.behind")] == [301]
        assert world.request_names.count("instances.oldest") == 1

    @pytest.mark.parametrize("oldest", [None, NOW - BEHIND])
    async def test_the_backlog_is_read_once_per_run(
        self, world: World, oldest: datetime | None, caplog: pytest.LogCaptureFixture
    ) -> None:
        world.instances.oldest = oldest
        for number in range(2 * PAGE_SIZE):
            put_silent(world, f"{number}", LOST_AFTER + SECOND)
        put_silent_job(world, JobKind.REPLAY, LOST_AFTER + SECOND)
        assert await watch(world.ports, world.instances) == 2 * PAGE_SIZE + 1
        assert world.request_names.count("instances.oldest") == 1
        assert logged(caplog, "watchdog.behind") == []

    async def test_a_hub_whose_backlog_cannot_be_read_counts_as_behind(self, world: World) -> None:
        lost, stuck = put_silent(world, "a", LOST_AFTER + SECOND), put_silent(world, "b", 30 * HOUR)
        world.refuse(INSTANCES_OLDEST, error_for_answer(INSTANCES_OLDEST, 403, "AuthorizationFailure"), times=1)
        with pytest.raises(Retryable):
            await watch(world.ports, world.instances)
        assert world.instances.kept[lost.id].status == "Running"
        assert world.instances.kept[stuck.id].status == "Terminated"
        assert await watch(world.ports, world.instances) == 1
        assert world.instances.kept[lost.id].status == "Terminated"

    async def test_a_lost_transfer_that_progressed_after_the_list_is_not_ended(self, world: World) -> None:
        transfer = put_silent(world, "a", LOST_AFTER + SECOND)
        world.before_next(INSTANCES_FIND, lambda: world.instances.become(transfer.id, "Running"))
        assert await watch(world.ports, world.instances) == 0
        assert world.instances.kept[transfer.id].status == "Running"


class TestBounds:
    def slow_lists(self, world: World, seconds: float) -> None:
        """Let each list request take so long."""
        page = world.instances.page

        async def slowly(**query: object) -> object:
            world.pass_time(seconds)
            return await page(**query)  # type: ignore[arg-type]

        world.instances.page = slowly  # type: ignore[method-assign,assignment]

    async def test_a_run_stops_after_its_time_limit_and_the_next_one_continues(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        for number in range(4 * PAGE_SIZE):
            put_silent(world, f"{number}", 2 * HOUR, "Pending")
        self.slow_lists(world, SECONDS / 5)
        for _ in range(3):
            await watch(world.ports, world.instances)
        counts = [line["count"] for line in logged(caplog, "watchdog.silent")]
        assert counts == [2 * PAGE_SIZE, 2 * PAGE_SIZE, 2 * PAGE_SIZE]
        assert world.request_names.count("instances.page") == 3 * (3 + 2)

    async def test_a_run_ends_a_limited_number(self) -> None:
        world = YieldingWorld()
        for number in range(MAX_DONE + PAGE_SIZE):
            put_silent(world, f"{number}", LOST_AFTER + SECOND)
        assert [await watch(world.ports, world.instances) for _ in range(3)] == [MAX_DONE, PAGE_SIZE, 0]
        assert MAX_DONE % CONCURRENCY == 0

    @pytest.mark.parametrize("kept", ["garbage", encode_token("", "é"), encode_token("other", "x"), 7])
    async def test_an_invalid_continuation_starts_the_list_over(self, world: World, kept: object) -> None:
        put_silent(world, "a", 2 * DAY)
        world.reports.pages["timers/watchdog-continuation.jsonl"] = [{"continuation": kept}]
        assert await watch(world.ports, world.instances) == 1
        assert world.reports.pages["timers/watchdog-continuation.jsonl"] == [{"continuation": None}]

    async def test_an_unreadable_continuation_starts_the_list_over(self, world: World) -> None:
        put_silent(world, "a", 2 * DAY)
        world.refuse(REPORTS_READ, error_for_answer(REPORTS_READ, 404, "ContainerNotFound"))
        assert await watch(world.ports, world.instances) == 1

    async def test_a_continuation_that_the_service_rejects_starts_the_list_over(self, world: World) -> None:
        put_silent(world, "a", 2 * DAY)
        world.reports.pages["timers/watchdog-replay-continuation.jsonl"] = [
            {"continuation": encode_token("replay-", "x")}
        ]
        world.refuse(INSTANCES_PAGE, BUSY, times=1)
        assert await watch(world.ports, world.instances) == 1

    async def test_a_failed_list_fails_the_run_after_the_other_lists(self, world: World) -> None:
        put_silent(world, "a", 2 * DAY)
        world.refuse(INSTANCES_PAGE, BUSY, times=1)
        with pytest.raises(Retryable):
            await watch(world.ports, world.instances)
        assert "instances.terminate" in world.request_names
