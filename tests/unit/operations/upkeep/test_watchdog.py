"""The watchdog: nothing that runs is forgotten, what waits for a lost activity is resumed, and a full hub is no stuck one."""

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
from operations.upkeep.timer_run import PAGE
from operations.upkeep.watchdog import AT_ONCE, BEHIND, MOST, SECONDS, watch
from rules.errors import Reason, Retryable
from rules.jobs.model import Job, JobKind, JobState, Phase
from rules.orchestrations import recovery
from rules.orchestrations.instance import Instance
from rules.orchestrations.liveness import LOST
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


def stands(
    world: World,
    name: str,
    silent: timedelta,
    status: str = "Running",
    accepted: timedelta = 9 * DAY,
    *,
    resumes: int = 0,
) -> Transfer:
    """Let a transfer be there that last changed so long ago."""
    transfer = world.put(name)
    world.put_instance(transfer, status, Run(transfer, NOW - accepted, resumes=resumes))
    kept = world.instances.kept
    kept[transfer.id] = replace(kept[transfer.id], updated_at=NOW - silent)
    return transfer


def a_job(world: World, work: JobKind, silent: timedelta, status: str = "Running") -> str:
    """Let a job be there that last changed so long ago."""
    job = Job(f"{work}-{'0' * 24}", work, NOW - 9 * DAY)
    world.instances.kept[job.id] = Instance(job.id, status, None, {}, None, NOW - silent, job)
    return job.id


def said(caplog: pytest.LogCaptureFixture, action: str) -> list[dict[str, object]]:
    """The log lines of an action."""
    lines = [json.loads(record.getMessage()) for record in caplog.records if record.name == "blob_data_sharing"]
    return [line for line in lines if line["action"] == action]


async def test_a_lively_hub_costs_its_lists_and_no_line(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Every ten minutes: four lists, and where each goes on."""
    stands(world, "a", LOST)
    assert await watch(world.ports, world.instances) == 0
    assert world.request_names == ["reports.read", "instances.page"] * 4
    assert caplog.records == []


async def test_what_was_begun_a_moment_ago_is_not_even_listed(world: World) -> None:
    """Those are most, and all in order."""
    transfer = stands(world, "a", 2 * HOUR)
    world.instances.created[transfer.id] = NOW - LOST + SECOND
    assert await watch(world.ports, world.instances) == 0
    assert "instances.find" not in world.request_names


async def test_a_full_hub_is_told_of_in_one_line_and_nothing_is_ended(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Each waits its turn: how many, and the oldest."""
    for number in range(3 * PAGE):
        stands(world, f"{number}", 2 * HOUR, "Pending", accepted=2 * HOUR)
    oldest = stands(world, "oldest", 23 * HOUR, "Pending", accepted=23 * HOUR)
    assert await watch(world.ports, world.instances) == 0
    [line] = said(caplog, "watchdog.silent")
    assert (line["count"], line["oldest_seconds"]) == (3 * PAGE + 1, 23 * 3_600)
    assert (line["oldest_id"], line["oldest_name"]) == (oldest.id, oldest.name)
    assert {"instances.terminate", "instances.find", "instances.oldest"}.isdisjoint(world.request_names)
    assert world.request_names.count("instances.page") == 3 + 4


@pytest.mark.parametrize("status", ["Pending", "Running", "ContinuedAsNew"])
async def test_a_stuck_one_is_taken_to_its_dead_letter_by_the_next_resume(
    world: World, status: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Ended, never forgotten: the letter says how long nothing happened."""
    transfer, lively = stands(world, "a", 30 * HOUR, status), stands(world, "b", LOST)
    assert await watch(world.ports, world.instances) == 1
    assert said(caplog, "watchdog.stuck") == [
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


async def test_one_that_still_has_time_is_left_alone(world: World) -> None:
    """A deadline of six days is a promise to wait for them: one that waits its turn is not ended."""
    transfer = world.put()
    world.put_instance(transfer, "Pending", Run(transfer, NOW - 3 * DAY, deadline=6 * DAY))
    world.instances.kept[transfer.id] = replace(world.instances.kept[transfer.id], updated_at=NOW - 3 * DAY)
    assert await watch(world.ports, world.instances) == 0


async def test_a_suspended_one_is_left_to_who_suspended_it(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """It is not even told of."""
    stands(world, "a", 9 * DAY, "Suspended")
    assert await watch(world.ports, world.instances) == 0
    assert caplog.records == []


@pytest.mark.parametrize("work", list(JobKind))
async def test_a_stuck_job_is_ended_too(world: World, work: JobKind) -> None:
    """It completes as failed: what it started goes on, and it may be asked for again."""
    job = a_job(world, work, 25 * HOUR)
    assert await watch(world.ports, world.instances) == 1
    assert world.instances.kept[job].status == "Terminated"
    await resume(world.ports, world.instances)
    ended = world.instances.kept[job].job
    assert ended is not None
    assert (ended.state, ended.phase) == (JobState.FAILED, None)


async def test_one_that_moved_meanwhile_is_left_alone(world: World) -> None:
    """The page may be old."""
    transfer = stands(world, "a", 2 * DAY)
    world.before_next(INSTANCES_FIND, lambda: world.instances.become(transfer.id, "Running"))
    assert await watch(world.ports, world.instances) == 0
    assert world.instances.kept[transfer.id].status == "Running"


async def test_run_twice_it_ends_one_once(world: World) -> None:
    """Two rounds may overlap."""
    stands(world, "a", 2 * DAY)
    assert [await watch(world.ports, world.instances) for _ in range(2)] == [1, 0]
    assert world.request_names.count("instances.terminate") == 1


async def test_one_that_cannot_be_ended_keeps_no_other_waiting(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """The host is told once the others are done; the next round tries again."""
    for name in "abc":
        stands(world, name, 2 * DAY)
    world.refuse(INSTANCES_TERMINATE, Retryable(Reason.INTERNAL, "instances.terminate", "no"), times=1)
    with pytest.raises(Retryable):
        await watch(world.ports, world.instances)
    assert sorted(instance.status for instance in world.instances.kept.values()) == [
        "Running",
        "Terminated",
        "Terminated",
    ]
    assert [line["timer"] for line in said(caplog, "timer.failed")] == ["watchdog"]
    assert await watch(world.ports, world.instances) == 1


class TestLost:
    """What waits for the answer of an activity that the host has dropped."""

    async def test_it_is_given_back_and_resumed_by_the_next_round(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Terminated, so that it can be started again; it goes on where it was."""
        transfer, lively = stands(world, "a", LOST + SECOND), stands(world, "b", LOST)
        assert await watch(world.ports, world.instances) == 1
        kept = world.instances.kept[transfer.id]
        assert (kept.status, kept.output) == ("Terminated", recovery.LOST)
        assert said(caplog, "watchdog.lost") == [
            {
                "action": "watchdog.lost",
                "text": recovery.LOST,
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

    async def test_one_that_is_to_move_at_a_time_to_come_is_not_lost(self, world: World) -> None:
        """Its timer is a sign of life, until fifteen minutes after it."""
        transfer = stands(world, "a", 25 * MINUTE)
        run, kept = world.instances.kept[transfer.id].run, world.instances.kept
        assert run is not None
        kept[transfer.id] = replace(kept[transfer.id], custom=progress(run, NOW - LOST))
        assert await watch(world.ports, world.instances) == 0
        world.pass_time(1)
        assert await watch(world.ports, world.instances) == 1

    @pytest.mark.parametrize("resumes", range(6))
    async def test_the_wait_doubles_with_each_resume(self, world: World, resumes: int) -> None:
        """Where it is slow for another reason, it is given more time."""
        stands(world, "a", LOST * 2**resumes, resumes=resumes, accepted=HOUR)
        assert await watch(world.ports, world.instances) == 0
        world.pass_time(1)
        assert await watch(world.ports, world.instances) == 1

    async def test_a_job_is_given_back_too(self, world: World) -> None:
        """It goes on at its turn."""
        job = a_job(world, JobKind.REPLAY, LOST + SECOND)
        assert await watch(world.ports, world.instances) == 1
        await resume(world.ports, world.instances)
        resumed = world.instances.kept[job].job
        assert resumed is not None
        assert (resumed.state, resumed.phase, resumed.resumes) == (JobState.RUNNING, Phase.SURVEY, 1)

    @pytest.mark.parametrize("status", ["Pending", "Suspended", "ContinuedAsNew"])
    async def test_one_that_is_not_running_is_not_lost(self, world: World, status: str) -> None:
        """It waits its turn, or for a person: no activity of it is under way."""
        stands(world, "a", 2 * HOUR, status)
        assert await watch(world.ports, world.instances) == 0
        assert {"instances.oldest", "instances.find"}.isdisjoint(world.request_names)

    async def test_one_whose_input_cannot_be_read_is_not_given_back(self, world: World) -> None:
        """It could not be resumed."""
        transfer = stands(world, "a", 2 * HOUR)
        world.instances.kept[transfer.id] = replace(world.instances.kept[transfer.id], run=None)
        assert await watch(world.ports, world.instances) == 0

    async def test_nothing_is_lost_while_the_hub_is_behind(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The answers may wait among the other messages. It is reported once a round; what is stuck is ended all the same."""
        for number in range(2 * PAGE):
            stands(world, f"{number}", LOST + SECOND)
        stuck = stands(world, "stuck", 30 * HOUR)
        world.instances.oldest = NOW - BEHIND - SECOND
        assert await watch(world.ports, world.instances) == 1
        assert world.instances.kept[stuck.id].status == "Terminated"
        assert [line["oldest_seconds"] for line in said(caplog, "watchdog.behind")] == [301]
        assert world.request_names.count("instances.oldest") == 1

    @pytest.mark.parametrize("oldest", [None, NOW - BEHIND])
    async def test_a_hub_that_keeps_up_is_looked_at_once_a_round(
        self, world: World, oldest: datetime | None, caplog: pytest.LogCaptureFixture
    ) -> None:
        """However many pages and lists have lost ones."""
        world.instances.oldest = oldest
        for number in range(2 * PAGE):
            stands(world, f"{number}", LOST + SECOND)
        a_job(world, JobKind.REPLAY, LOST + SECOND)
        assert await watch(world.ports, world.instances) == 2 * PAGE + 1
        assert world.request_names.count("instances.oldest") == 1
        assert said(caplog, "watchdog.behind") == []

    async def test_a_hub_that_cannot_be_looked_at_counts_as_behind(self, world: World) -> None:
        """The round fails in the end, but what is stuck is ended, and the next round looks again."""
        lost, stuck = stands(world, "a", LOST + SECOND), stands(world, "b", 30 * HOUR)
        world.refuse(INSTANCES_OLDEST, error_for_answer(INSTANCES_OLDEST, 403, "AuthorizationFailure"), times=1)
        with pytest.raises(Retryable):
            await watch(world.ports, world.instances)
        assert world.instances.kept[lost.id].status == "Running"
        assert world.instances.kept[stuck.id].status == "Terminated"
        assert await watch(world.ports, world.instances) == 1
        assert world.instances.kept[lost.id].status == "Terminated"

    async def test_one_that_moved_meanwhile_is_not_given_back(self, world: World) -> None:
        """The answer came while the page was looked at."""
        transfer = stands(world, "a", LOST + SECOND)
        world.before_next(INSTANCES_FIND, lambda: world.instances.become(transfer.id, "Running"))
        assert await watch(world.ports, world.instances) == 0
        assert world.instances.kept[transfer.id].status == "Running"


class TestBounds:
    """A round has an end, and the next one goes on from there."""

    def slow(self, world: World, seconds: float) -> None:
        """Let each page take so long."""
        page = world.instances.page

        async def slowly(**query: object) -> object:
            world.pass_time(seconds)
            return await page(**query)  # type: ignore[arg-type]

        world.instances.page = slowly  # type: ignore[method-assign,assignment]

    async def test_a_round_that_takes_too_long_is_over_and_the_next_goes_on(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        """However many there are, each is looked at some time: none is kept waiting by those before it."""
        for number in range(4 * PAGE):
            stands(world, f"{number}", 2 * HOUR, "Pending")
        self.slow(world, SECONDS / 5)
        for _ in range(3):
            await watch(world.ports, world.instances)
        counts = [line["count"] for line in said(caplog, "watchdog.silent")]
        assert counts == [2 * PAGE, 2 * PAGE, 2 * PAGE]
        assert world.request_names.count("instances.page") == 3 * (3 + 2)

    async def test_a_round_ends_no_more_than_so_many(self) -> None:
        """Also where several are under way at once; the next round does the rest."""
        world = YieldingWorld()
        for number in range(MOST + PAGE):
            stands(world, f"{number}", LOST + SECOND)
        assert [await watch(world.ports, world.instances) for _ in range(3)] == [MOST, PAGE, 0]
        assert MOST % AT_ONCE == 0

    @pytest.mark.parametrize("kept", ["garbage", encode_token("", "é"), encode_token("other", "x"), 7])
    async def test_a_place_that_is_no_longer_understood_is_the_beginning(self, world: World, kept: object) -> None:
        """Another release may have kept it."""
        stands(world, "a", 2 * DAY)
        world.reports.pages["timers/watchdog-continuation.jsonl"] = [{"continuation": kept}]
        assert await watch(world.ports, world.instances) == 1
        assert world.reports.pages["timers/watchdog-continuation.jsonl"] == [{"continuation": None}]

    async def test_a_place_that_cannot_be_read_is_the_beginning(self, world: World) -> None:
        """The reports' container may be missing."""
        stands(world, "a", 2 * DAY)
        world.refuse(REPORTS_READ, error_for_answer(REPORTS_READ, 404, "ContainerNotFound"))
        assert await watch(world.ports, world.instances) == 1

    async def test_a_list_that_fails_from_there_is_begun_again(self, world: World) -> None:
        """The service may not know the place any more."""
        stands(world, "a", 2 * DAY)
        world.reports.pages["timers/watchdog-replay-continuation.jsonl"] = [
            {"continuation": encode_token("replay-", "x")}
        ]
        world.refuse(INSTANCES_PAGE, BUSY, times=1)
        assert await watch(world.ports, world.instances) == 1

    async def test_a_list_that_fails_is_the_hosts_to_show(self, world: World) -> None:
        """The other lists are looked at all the same."""
        stands(world, "a", 2 * DAY)
        world.refuse(INSTANCES_PAGE, BUSY, times=1)
        with pytest.raises(Retryable):
            await watch(world.ports, world.instances)
        assert "instances.terminate" in world.request_names
