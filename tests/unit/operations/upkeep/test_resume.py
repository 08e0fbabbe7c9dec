"""The resume timer: restarts orchestrations that the host failed, and ends other broken ones."""

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from activities.jobs.lines import start_line
from activities.transfers import ACTIVITIES as STEPS
from adapters.translation import (
    DEAD_LETTERS_WRITE,
    INSTANCES_FIND,
    INSTANCES_PAGE,
    INSTANCES_START,
    REPORTS_READ,
    Request,
    error_for_answer,
)
from operations.dead_letters.replay import replay
from operations.jobs import manage as asking
from operations.problems import Conflict
from operations.transfers.accept import accept
from operations.transfers.cancel import cancel
from operations.transfers.query import list_transfers
from operations.transfers.share import share
from operations.transfers.start import StillRunning
from operations.upkeep.resume import CONCURRENCY, MAX_DONE, SECONDS, resume, resume_one
from operations.upkeep.sweep import sweep
from operations.upkeep.timer_run import PAGE_SIZE
from rules.dead_letters import letters
from rules.errors import Reason, Retryable
from rules.jobs import lifecycle as job_lifecycle
from rules.jobs.model import Job, JobKind, JobState, Phase, Result, Tally
from rules.jobs.status import progress as job_progress
from rules.orchestrations import recovery
from rules.orchestrations.instance import Instance
from rules.transfers import lifecycle as transfer_lifecycle
from rules.transfers.identity import trace_id
from rules.transfers.model import Ended, Ending, Run, Step, Transfer
from rules.transfers.policies import MAX_RESUMES, resume_pause
from rules.transfers.states import State
from rules.transfers.status import progress
from tests.unit.job_runs import YieldingWorld
from tests.unit.samples import NAME, NOW
from tests.unit.world import World

DIED = "Orchestrator function 'transfer' failed: python exited with code 137"
BUSY = error_for_answer(INSTANCES_FIND, 503, "ServerBusy")
# A run that has seen its copy, and was resumed once.
COPYING: dict[str, Any] = {
    "step": Step.CHECK,
    "state": State.COPYING,
    "first": False,
    "attempt": 2,
    "resumes": 1,
    "activity_failures": 3,
}
ACTING = Job("reconcile-" + "a" * 24, JobKind.RECONCILE, NOW, route="default", phase=Phase.ACT, pages=2, batches=1)


def pass_longest_pause(world: World) -> None:
    world.pass_time(600 * 1.25)


def put_failed(world: World, name: str = NAME, output: str = DIED, **fields: Any) -> Transfer:
    """A transfer whose orchestration the host has just failed."""
    transfer = world.put(name)
    world.put_instance(transfer, "Failed", replace(Run(transfer, world.clock), **fields), output)
    return transfer


def restarted_run(world: World, transfer: Transfer) -> Run:
    """The run with which it was restarted."""
    instance = world.instances.kept[transfer.id]
    assert instance.status == "Pending"
    assert instance.run is not None
    return instance.run


def restarted_ending(world: World, transfer: Transfer) -> Ending:
    """The ending with which it was restarted. Nothing is copied."""
    run = restarted_run(world, transfer)
    assert (run.step, run.first, world.target_writes) == (Step.RECORD, False, [])
    assert run.ending is not None
    return run.ending


def count_starts(world: World) -> Counter[str]:
    """How often each orchestration was started."""
    return Counter(subject for name, subject in world.requests if name == INSTANCES_START.name)


def logged(caplog: pytest.LogCaptureFixture, action: str) -> list[dict[str, object]]:
    """The log lines of an action, with their levels."""
    lines = [
        {**json.loads(record.getMessage()), "level": record.levelname}
        for record in caplog.records
        if record.name == "blob_data_sharing"
    ]
    return [line for line in lines if line["action"] == action]


def put_job(world: World, status: str, now: Job | None = None, output: str = DIED, **fields: Any) -> Job:
    """Create a job whose status shows `now`."""
    job = replace(ACTING, **fields)
    shown = json.loads(json.dumps(job_progress(now or job)))
    world.instances.kept[job.id] = Instance(job.id, status, None, shown, output, world.clock, job)
    return job


def restarted_job(world: World) -> Job:
    instance = world.instances.kept[ACTING.id]
    assert (instance.status, instance.job is None) == ("Pending", False)
    assert instance.job is not None
    return instance.job


async def no_pause(_seconds: float) -> None: ...


class TestResumed:
    async def test_continues_at_the_step_of_its_input_in_the_same_attempt(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO", "blob_data_sharing")
        transfer = put_failed(world, **COPYING)
        pass_longest_pause(world)
        assert await resume(world.ports, world.instances) == 1
        run = restarted_run(world, transfer)
        assert (run.step, run.state, run.attempt) == (Step.CHECK, State.COPYING, 2)
        assert (run.first, run.resumes, run.activity_failures, run.ending) == (False, 2, 0, None)
        assert logged(caplog, "resume.resumed") == [
            {
                "action": "resume.resumed",
                "text": f"the orchestration was Failed: {DIED}",
                "id": transfer.id,
                "route": "default",
                "name": NAME,
                "resumes": 2,
                "trace_id": trace_id(transfer.id),
                "level": "WARNING",
            }
        ]
        assert [line["count"] for line in logged(caplog, "resume.done")] == [1]

    async def test_a_transfer_that_had_not_begun_looks_before_it_copies(self, world: World) -> None:
        transfer = put_failed(world)
        pass_longest_pause(world)
        await resume(world.ports, world.instances)
        run = restarted_run(world, transfer)
        assert (run.step, run.first, run.attempt, run.resumes) == (Step.START, False, 0, 1)

    @pytest.mark.parametrize("resumes", range(MAX_RESUMES))
    async def test_waits_for_its_growing_pause(self, world: World, resumes: int) -> None:
        transfer = put_failed(world, resumes=resumes)
        pause = resume_pause(resumes, transfer.id)
        world.pass_time(pause - 0.001)
        assert await resume(world.ports, world.instances) == 0
        assert {"instances.find", "instances.start"}.isdisjoint(world.request_names)
        world.pass_time(0.001)
        assert await resume(world.ports, world.instances) == 1
        assert restarted_run(world, transfer).resumes == resumes + 1

    @pytest.mark.parametrize(
        "gone", [{"resumes": MAX_RESUMES}, {"deadline": timedelta(seconds=3), "first_look_at": NOW}]
    )
    async def test_ends_after_five_resumes_or_at_its_deadline(
        self, world: World, gone: dict[str, Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        transfer = put_failed(world, **gone)
        assert await resume(world.ports, world.instances) == 1
        end = restarted_ending(world, transfer)
        assert (end.state, end.reason) == (State.DEAD_LETTERED, Reason.INTERNAL)
        assert end.detail == f"the orchestration was Failed: {DIED}"
        assert [(line["id"], line["level"]) for line in logged(caplog, "resume.ended")] == [(transfer.id, "WARNING")]
        assert logged(caplog, "resume.resumed") == []

    async def test_the_dead_letter_has_the_text_of_the_host(self, world: World) -> None:
        transfer = put_failed(world, resumes=MAX_RESUMES)
        await resume(world.ports, world.instances)
        run = restarted_run(world, transfer)
        while run.step:
            run = transfer_lifecycle.advance(run, await STEPS[run.step](world.ports, run), world.clock)
        letter = world.dead_letters.open[transfer.id]
        assert (letter.reason, DIED in letter.detail, letter.last_attempt) == (Reason.INTERNAL, True, 0)
        assert world.target_writes == []

    async def test_a_transfer_with_a_decided_end_is_resumed_without_limit(self, world: World) -> None:
        transfer = world.put()
        run = replace(transfer_lifecycle.cancel(Run(transfer, NOW)), step=Step.CLEAN, activity_failures=9, resumes=40)
        world.put_instance(transfer, "Failed", run, DIED)
        world.pass_time(30 * 86_400)
        assert await resume(world.ports, world.instances) == 1
        again = restarted_run(world, transfer)
        assert (again.step, again.activity_failures, again.resumes) == (Step.CLEAN, 0, 41)
        assert again.ending is not None
        assert again.ending.state is State.CANCELLED

    async def test_a_lost_transfer_that_the_watchdog_ended_is_resumed_immediately_and_without_limit(
        self, world: World
    ) -> None:
        transfer = world.put()
        world.put_instance(
            transfer, "Terminated", replace(Run(transfer, NOW), resumes=MAX_RESUMES + 1), recovery.LOST_ACTIVITY
        )
        assert await resume(world.ports, world.instances) == 1
        run = restarted_run(world, transfer)
        assert (run.step, run.ending, run.resumes) == (Step.START, None, MAX_RESUMES + 2)

    async def test_a_secret_in_the_text_of_the_host_is_stored_nowhere(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        output = "GET https://x/y?sig=c2VjcmV0&se=1 failed"
        going, over = put_failed(world, "in/a", output), put_failed(world, "in/b", output, resumes=MAX_RESUMES)
        pass_longest_pause(world)
        await resume(world.ports, world.instances)
        assert "failed" in restarted_run(world, going).detail
        assert "failed" in restarted_ending(world, over).detail
        assert "c2VjcmV0" not in repr(world.instances.kept) + caplog.text


class TestEnded:
    async def test_a_terminated_transfer_ends_immediately_with_the_given_reason(self, world: World) -> None:
        transfer = world.put()
        world.put_instance(transfer, "Terminated", Run(transfer, NOW, attempt=2), output="a person ended it")
        assert await resume(world.ports, world.instances) == 1
        end = restarted_ending(world, transfer)
        assert (end.state, end.reason) == (State.DEAD_LETTERED, Reason.INTERNAL)
        assert end.detail == "the orchestration was Terminated: a person ended it"
        assert restarted_run(world, transfer).attempt == 2

    async def test_a_terminated_transfer_keeps_its_decided_end(self, world: World) -> None:
        transfer = world.put()
        world.put_instance(
            transfer,
            "Terminated",
            replace(transfer_lifecycle.cancel(Run(transfer, NOW)), activity_failures=9, step=Step.CLOSE),
        )
        await resume(world.ports, world.instances)
        assert restarted_ending(world, transfer).state is State.CANCELLED
        assert restarted_run(world, transfer).activity_failures == 0

    @pytest.mark.parametrize("noticed", ["in its input", "in its status"])
    @pytest.mark.parametrize(
        ("status", "output"), [("Failed", DIED), ("Terminated", "a person"), ("Terminated", recovery.LOST_ACTIVITY)]
    )
    async def test_a_transfer_that_was_being_cancelled_ends_cancelled(
        self, world: World, status: str, output: str, noticed: str
    ) -> None:
        """The input is older than the status, and the client was answered 202."""
        transfer = world.put()
        run = Run(transfer, NOW)
        cancelling = replace(run, cancelling=True)
        world.put_instance(transfer, status, cancelling if noticed == "in its input" else run, output)
        custom = progress(cancelling)
        world.instances.kept[transfer.id] = replace(world.instances.kept[transfer.id], custom=custom)
        pass_longest_pause(world)
        await resume(world.ports, world.instances)
        assert restarted_ending(world, transfer).state is State.CANCELLED


class TestUnreadable:
    def put_unreadable(self, world: World, name: str = "in/a") -> Transfer:
        transfer = world.put(name)
        world.instances.kept[transfer.id] = Instance(transfer.id, "Failed", None, {}, DIED, world.clock)
        return transfer

    async def test_an_unreadable_transfer_gets_one_dead_letter_and_does_not_block_others(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        transfer, other = self.put_unreadable(world), put_failed(world, "in/b")
        pass_longest_pause(world)
        assert await resume(world.ports, world.instances) == 1
        assert restarted_run(world, other).step is Step.START
        for _ in range(3):
            world.pass_time(30)
            assert await resume(world.ports, world.instances) == 0
        assert list(world.dead_letters.open) == [transfer.id]
        letter = world.dead_letters.open[transfer.id]
        assert (letter.reason, letter.route, letter.last_attempt) == (Reason.INTERNAL, None, 0)
        assert DIED in letter.detail
        assert world.request_names.count(DEAD_LETTERS_WRITE.name) == 1
        assert [(line["id"], line["level"]) for line in logged(caplog, "resume.unreadable")] == [
            (transfer.id, "WARNING")
        ]

    async def test_a_dead_letter_that_was_resolved_earlier_is_reopened(self, world: World) -> None:
        transfer = world.put("in/a")
        end = Ending(State.DEAD_LETTERED, reason=Reason.THROTTLED)
        await world.dead_letters.write(letters.of_run(Run(transfer, NOW, ending=end), NOW, "0.1.0"))
        await world.dead_letters.resolve(transfer.id, 1, "verified", NOW)
        world.pass_time(60)
        world.instances.kept[transfer.id] = Instance(transfer.id, "Failed", None, {}, DIED, world.clock)
        await resume(world.ports, world.instances)
        assert world.dead_letters.open[transfer.id].last_attempt == 1
        world.pass_time(60)
        await world.dead_letters.resolve(transfer.id, 1, "accepted", world.clock)
        await resume(world.ports, world.instances)
        assert world.dead_letters.open == {}

    async def test_an_unreadable_job_is_only_logged(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        world.instances.kept[ACTING.id] = Instance(ACTING.id, "Failed", None, {}, DIED, NOW)
        assert await resume(world.ports, world.instances) == 0
        assert [line["id"] for line in logged(caplog, "resume.unreadable")] == [ACTING.id]
        assert world.dead_letters.open == {}


class TestLeftAlone:
    @pytest.mark.parametrize("status", ["Running", "Completed"])
    async def test_a_transfer_that_was_replayed_after_the_list(self, world: World, status: str) -> None:
        """The list may be old, and a start silently replaces an ended instance."""
        transfer = put_failed(world)
        pass_longest_pause(world)
        replayed = partial(world.instances.become, transfer.id, status, {"state": "verified"})
        world.before_next(INSTANCES_FIND, replayed)
        assert await resume(world.ports, world.instances) == 0
        assert world.instances.kept[transfer.id].status == status
        assert not count_starts(world)

    async def test_a_transfer_that_was_resumed_and_failed_again_after_the_list(self, world: World) -> None:
        transfer = put_failed(world)
        pass_longest_pause(world)
        again = partial(world.put_instance, transfer, "Failed", Run(transfer, NOW, resumes=1), DIED)
        world.before_next(INSTANCES_FIND, again)
        assert await resume(world.ports, world.instances) == 0
        assert not count_starts(world)

    async def test_a_transfer_that_another_run_restarts_first(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        transfer = put_failed(world)
        pass_longest_pause(world)
        first = partial(world.instances.become, transfer.id, "Pending")
        world.before_next(INSTANCES_START, first)
        assert await resume_one(world.ports, world.instances, transfer.id) is False
        assert logged(caplog, "resume.resumed") == []

    async def test_a_transfer_that_was_purged_after_the_list(self, world: World) -> None:
        put_failed(world)
        pass_longest_pause(world)
        world.before_next(INSTANCES_FIND, world.instances.kept.clear)
        assert await resume(world.ports, world.instances) == 0
        assert world.instances.kept == {}

    @pytest.mark.parametrize("status", ["Pending", "Running", "Suspended", "Completed"])
    async def test_a_hub_without_broken_orchestrations_costs_its_lists(self, world: World, status: str) -> None:
        world.put_instance(world.put(), status, output={"state": "verified"} if status == "Completed" else None)
        pass_longest_pause(world)
        await resume(world.ports, world.instances)
        assert world.request_names == [REPORTS_READ.name, INSTANCES_PAGE.name] * 4

    async def test_one_failure_does_not_stop_the_others(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        made = [put_failed(world, name) for name in "abc"]
        pass_longest_pause(world)
        world.refuse(INSTANCES_FIND, BUSY, times=1)
        with pytest.raises(Retryable):
            await resume(world.ports, world.instances)
        assert sorted(world.instances.kept[each.id].status for each in made) == ["Failed", "Pending", "Pending"]
        assert [line["timer"] for line in logged(caplog, "timer.failed")] == ["resume"]
        assert await resume(world.ports, world.instances) == 1
        assert set(count_starts(world).values()) == {1}

    async def test_one_failed_list_does_not_stop_the_other_lists(self, world: World) -> None:
        transfer = put_failed(world)
        pass_longest_pause(world)
        world.refuse(INSTANCES_PAGE, BUSY, times=1)
        with pytest.raises(Retryable):
            await resume(world.ports, world.instances)
        assert restarted_run(world, transfer)


class TestJobs:
    AT = replace(ACTING, pages=4, batches=3, tally=Tally(found=9, started=5))

    async def test_a_failed_job_is_resumed_at_the_batch_of_its_input(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The batch is safe to repeat."""
        put_job(world, "Failed", self.AT, failures=2)
        pass_longest_pause(world)
        assert await resume(world.ports, world.instances) == 1
        expected = job_lifecycle.resume(replace(ACTING, failures=2), f"the orchestration was Failed: {DIED}")
        assert restarted_job(world) == expected
        assert (expected.resumes, expected.phase, expected.batches) == (1, Phase.ACT, 1)
        [line] = logged(caplog, "resume.resumed")
        assert (line["id"], line["route"], line["resumes"]) == (ACTING.id, "default", 1)

    async def test_waits_for_its_growing_pause(self, world: World) -> None:
        put_job(world, "Failed")
        assert await resume(world.ports, world.instances) == 0
        assert not count_starts(world)

    @pytest.mark.parametrize(("status", "output"), [("Failed", DIED), ("Terminated", recovery.LOST_ACTIVITY)])
    async def test_a_cancelled_job_ends_cancelled_with_its_counts(self, world: World, status: str, output: str) -> None:
        put_job(world, status, replace(self.AT, cancelling=True), output)
        pass_longest_pause(world)
        await resume(world.ports, world.instances)
        job = restarted_job(world)
        assert (job.state, job.phase) == (JobState.CANCELLED, None)
        assert (job.tally, job.pages, job.batches) == (self.AT.tally, 4, 3)

    @pytest.mark.parametrize(("status", "resumes"), [("Terminated", 0), ("Failed", MAX_RESUMES)])
    async def test_a_job_that_is_not_resumed_ends_failed_with_its_counts(
        self, world: World, status: str, resumes: int
    ) -> None:
        """Until it is restarted, it is shown as running with the failure."""
        put_job(world, status, self.AT, "ended by hand", resumes=resumes)
        shown = await asking.get(world.instances, ACTING.id)
        assert (shown["state"], shown["pages"]) == ("running", 7)
        assert shown["detail"] == f"the orchestration was {status}: ended by hand"
        await resume(world.ports, world.instances)
        job = restarted_job(world)
        assert (job.state, job.phase, job.detail) == (JobState.FAILED, None, shown["detail"])
        assert (job.tally, job.pages, job.batches) == (self.AT.tally, 4, 3)


@dataclass
class CountingWorld(YieldingWorld):
    """A world that counts concurrent requests."""

    under_way: int = 0
    most: int = 0
    counted: Counter[str] = field(default_factory=Counter)

    async def _hook(self, request: Request, subject: str) -> Exception | None:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        self.counted[request.name] += 1
        try:
            return await super()._hook(request, subject)
        finally:
            self.under_way -= 1


class TestMany:
    async def test_five_thousand_are_restarted_once_each_at_about_two_requests(self) -> None:
        world = CountingWorld()
        made = [put_failed(world, f"in/{number}") for number in range(5_000)]
        pass_longest_pause(world)
        waiting = [put_failed(world, f"in/later/{number}") for number in range(500)]
        runs = list[int]()
        while done := await resume(world.ports, world.instances):
            runs.append(done)
            assert len(runs) < 20
        assert sum(runs) == len(made)
        assert max(runs) <= MAX_DONE
        assert runs[0] >= MAX_DONE - CONCURRENCY
        assert count_starts(world) == Counter(transfer.id for transfer in made)
        assert {world.instances.kept[each.id].status for each in waiting} == {"Failed"}
        assert world.counted["instances.find"] == len(made)
        hub = sum(count for name, count in world.counted.items() if name.startswith("instances."))
        print(f"{len(made)} resumed in {len(runs)} runs: {hub / len(made):.3f} hub requests each")  # noqa: T201  # pytest -s shows it
        assert hub / len(made) <= 2.2
        assert world.most == CONCURRENCY

    async def test_the_next_run_continues_where_this_one_stopped(self, world: World) -> None:
        made = sorted(
            (put_failed(world, f"in/{number}") for number in range(4 * PAGE_SIZE)), key=lambda transfer: transfer.id
        )
        due, kept, page = made[2 * PAGE_SIZE : 3 * PAGE_SIZE], world.instances.kept, world.instances.page
        pass_longest_pause(world)
        for transfer in {*made} - {*due}:
            kept[transfer.id] = replace(kept[transfer.id], updated_at=world.clock + timedelta(hours=1))

        async def slowly(**query: Any) -> Any:
            world.pass_time(0 if query["prefix"] else SECONDS / 2)
            return await page(**query)

        world.instances.page = slowly  # type: ignore[method-assign]
        assert [await resume(world.ports, world.instances) for _ in range(2)] == [0, PAGE_SIZE]
        assert count_starts(world) == Counter(transfer.id for transfer in due)


class TestRequestsForABrokenTransfer:
    async def test_a_cancel_ends_it_cancelled(self, world: World) -> None:
        """A broken orchestration receives no events, so it is restarted at its end."""
        transfer = put_failed(world, **COPYING)
        shown = await cancel(world.instances, transfer.id, no_pause)
        assert (shown["state"], shown["ending"], shown["cancelling"]) == ("copying", "cancelled", True)
        assert restarted_ending(world, transfer).state is State.CANCELLED
        assert world.instances.cancels == []
        assert await resume(world.ports, world.instances) == 0

    async def test_a_cancel_that_it_had_noticed_is_confirmed(self, world: World) -> None:
        transfer = put_failed(world, cancelling=True)
        assert (await cancel(world.instances, transfer.id, no_pause))["cancelling"] is True
        assert not count_starts(world)

    async def test_a_cancel_is_a_conflict_if_another_end_is_decided_or_its_input_is_unreadable(
        self, world: World
    ) -> None:
        transfer, unreadable = put_failed(world, resumes=MAX_RESUMES), world.put("in/x")
        world.instances.kept[unreadable.id] = Instance(unreadable.id, "Failed", None, {}, DIED, NOW)
        for identity in (transfer.id, unreadable.id):
            with pytest.raises(Conflict, match="is ending as dead_lettered"):
                await cancel(world.instances, identity, no_pause)
        assert not count_starts(world)

    async def test_a_cancel_of_a_broken_job_ends_it_cancelled_with_its_counts(self, world: World) -> None:
        put_job(world, "Failed", TestJobs.AT)
        shown = await asking.cancel(world.instances, ACTING.id, no_pause)
        assert (shown["state"], shown["counts"]["started"], shown["pages"]) == ("cancelled", 5, 7)
        assert restarted_job(world).state is JobState.CANCELLED

    async def test_sharing_its_blob_returns_its_id(self, world: World) -> None:
        transfer = put_failed(world)
        assert await share(world.ports, world.instances, "default", NAME) == transfer.id
        assert not count_starts(world)

    @pytest.mark.parametrize("taken_up", [False, True])
    async def test_sharing_its_blob_is_a_conflict_while_it_is_ending(self, world: World, *, taken_up: bool) -> None:
        put_failed(world, resumes=MAX_RESUMES)
        if taken_up:
            await resume(world.ports, world.instances)
        with pytest.raises(StillRunning):
            await share(world.ports, world.instances, "default", NAME)

    async def test_replaying_it_is_a_conflict(self, world: World) -> None:
        transfer = world.put()
        end = Ending(State.DEAD_LETTERED, reason=Reason.THROTTLED)
        await world.dead_letters.write(letters.of_run(Run(transfer, NOW, ending=end), NOW, "0.1.0"))
        world.put_instance(transfer, "Failed", Run(transfer, NOW, attempt=1, has_open_dead_letter=True), DIED)
        with pytest.raises(StillRunning) as caught:
            await replay(world.ports, world.instances, transfer.id)
        assert caught.value.retry_after == 30
        assert not count_starts(world)
        assert transfer.id in world.dead_letters.open

    async def test_a_reconcile_reports_it_as_running(self, world: World) -> None:
        transfer = put_failed(world, attempt=1)
        await world.dead_letters.write_ended(Ended(transfer.id, 0, Ending(State.DEAD_LETTERED)))
        line = {"class": "missing", "name": NAME, "etag": transfer.etag, "id": transfer.id}
        acted = await start_line(world.ports, world.instances, ACTING, line)
        assert acted.result is Result.RUNNING
        assert not count_starts(world)

    async def test_a_second_event_starts_nothing(self, world: World) -> None:
        transfer = put_failed(world)
        accepted = await accept(world.ports, world.instances, world.event(transfer))
        assert (accepted.started, accepted.duplicates) == ((), (transfer.id,))
        assert not count_starts(world)

    async def test_the_sweep_ignores_it(self, world: World) -> None:
        recorded, lettered = put_failed(world, "in/a"), put_failed(world, "in/b", attempt=1, has_open_dead_letter=True)
        end = Ending(State.DEAD_LETTERED, reason=Reason.THROTTLED)
        await world.dead_letters.write_ended(Ended(recorded.id, 0, Ending(State.DEAD_LETTERED, Reason.THROTTLED)))
        await world.dead_letters.write(letters.of_run(Run(lettered, NOW, ending=end), NOW, "0.1.0"))
        await sweep(world.ports, world.instances)
        assert not count_starts(world)
        assert list(world.dead_letters.open) == [lettered.id]

    async def test_it_is_listed_as_under_way_and_never_as_dead_lettered(self, world: World) -> None:
        going, copying = put_failed(world, "in/a"), put_failed(world, "in/b", **COPYING)
        over, unreadable, dead = put_failed(world, "in/c", resumes=MAX_RESUMES), world.put("in/d"), world.put("in/e")
        kept = world.instances.kept
        kept[copying.id] = replace(kept[copying.id], custom=progress(Run(copying, NOW, state=State.COPYING)))
        kept[unreadable.id] = Instance(unreadable.id, "Failed", None, {}, DIED, NOW)
        world.put_instance(dead, "Completed", output={"state": "dead_lettered"})

        async def listed(state: str) -> set[str]:
            page = await list_transfers(world.instances, route=None, state=state, limit=100, continuation=None)
            return {item["id"] for item in page["items"]}

        assert await listed("accepted") == {going.id, over.id, unreadable.id}
        assert await listed("copying") == {copying.id}
        assert await listed("dead_lettered") == {dead.id}
