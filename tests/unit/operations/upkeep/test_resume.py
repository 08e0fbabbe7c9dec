"""Resuming: what the host failed is started again from its input, and what else broke is taken to its end."""

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
    INSTANCES_FIND,
    INSTANCES_PAGE,
    INSTANCES_START,
    LETTERS_WRITE,
    REPORTS_READ,
    Request,
    error_for_answer,
)
from operations.dead_letters.replay import replay
from operations.jobs import manage as asking
from operations.problems import Conflict
from operations.transfers.accept import accept
from operations.transfers.cancel import cancel
from operations.transfers.look import transfers
from operations.transfers.restart import StillRunning
from operations.transfers.share import share
from operations.upkeep.resume import AT_ONCE, MOST, SECONDS, resume, take_up
from operations.upkeep.sweep import sweep
from operations.upkeep.timer_run import PAGE
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
# A run that a copy was seen of, resumed once before.
COPYING: dict[str, Any] = {
    "step": Step.CHECK,
    "state": State.COPYING,
    "first": False,
    "attempt": 2,
    "resumes": 1,
    "activity_failures": 3,
}
ACTING = Job("reconcile-" + "a" * 24, JobKind.RECONCILE, NOW, route="default", phase=Phase.ACT, pages=2, batches=1)


def waited(world: World) -> None:
    """Let the longest pause pass."""
    world.pass_time(600 * 1.25)


def failed(world: World, name: str = NAME, output: str = DIED, **fields: Any) -> Transfer:
    """A transfer whose orchestration the host has just failed."""
    transfer = world.put(name)
    world.put_instance(transfer, "Failed", replace(Run(transfer, world.clock), **fields), output)
    return transfer


def started(world: World, transfer: Transfer) -> Run:
    """The run that it was started again with."""
    instance = world.instances.kept[transfer.id]
    assert instance.status == "Pending"
    assert instance.run is not None
    return instance.run


def ending(world: World, transfer: Transfer) -> Ending:
    """The end that it was started again at; nothing is copied."""
    run = started(world, transfer)
    assert (run.step, run.first, world.target_writes) == (Step.RECORD, False, [])
    assert run.ending is not None
    return run.ending


def starts(world: World) -> Counter[str]:
    """How often each was asked to start."""
    return Counter(subject for name, subject in world.requests if name == INSTANCES_START.name)


def said(caplog: pytest.LogCaptureFixture, action: str) -> list[dict[str, object]]:
    """The log lines of an action, with their level."""
    lines = [
        {**json.loads(record.getMessage()), "level": record.levelname}
        for record in caplog.records
        if record.name == "blob_data_sharing"
    ]
    return [line for line in lines if line["action"] == action]


def a_job(world: World, status: str, now: Job | None = None, output: str = DIED, **fields: Any) -> Job:
    """Let a job be there whose status shows `now`."""
    job = replace(ACTING, **fields)
    shown = json.loads(json.dumps(job_progress(now or job)))
    world.instances.kept[job.id] = Instance(job.id, status, None, shown, output, world.clock, job)
    return job


def job_started(world: World) -> Job:
    """The job that was started again."""
    instance = world.instances.kept[ACTING.id]
    assert (instance.status, instance.job is None) == ("Pending", False)
    assert instance.job is not None
    return instance.job


async def unhurried(_seconds: float) -> None:
    """A pause that takes no time."""


class TestResumed:
    """What the host failed goes on."""

    async def test_it_goes_on_at_the_step_of_its_input(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        """Under the same id, in the same attempt; it looks before it acts."""
        caplog.set_level("INFO", "blob_data_sharing")
        transfer = failed(world, **COPYING)
        waited(world)
        assert await resume(world.ports, world.instances) == 1
        run = started(world, transfer)
        assert (run.step, run.state, run.attempt) == (Step.CHECK, State.COPYING, 2)
        assert (run.first, run.resumes, run.activity_failures, run.ending) == (False, 2, 0, None)
        assert said(caplog, "resume.resumed") == [
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
        assert [line["count"] for line in said(caplog, "resume.done")] == [1]

    async def test_one_that_had_never_begun_looks_first_all_the_same(self, world: World) -> None:
        """The failed execution may have copied."""
        transfer = failed(world)
        waited(world)
        await resume(world.ports, world.instances)
        run = started(world, transfer)
        assert (run.step, run.first, run.attempt, run.resumes) == (Step.START, False, 0, 1)

    @pytest.mark.parametrize("resumes", range(MAX_RESUMES))
    async def test_not_before_its_pause(self, world: World, resumes: int) -> None:
        """A host that crashes again and again is given more time each time."""
        transfer = failed(world, resumes=resumes)
        pause = resume_pause(resumes, transfer.id)
        world.pass_time(pause - 0.001)
        assert await resume(world.ports, world.instances) == 0
        assert {"instances.find", "instances.start"}.isdisjoint(world.request_names)
        world.pass_time(0.001)
        assert await resume(world.ports, world.instances) == 1
        assert started(world, transfer).resumes == resumes + 1

    @pytest.mark.parametrize(
        "gone", [{"resumes": MAX_RESUMES}, {"deadline": timedelta(seconds=3), "first_look_at": NOW}]
    )
    async def test_after_five_or_at_its_deadline_it_ends(
        self, world: World, gone: dict[str, Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        """At once, as a dead letter that says what the host said."""
        transfer = failed(world, **gone)
        assert await resume(world.ports, world.instances) == 1
        end = ending(world, transfer)
        assert (end.state, end.reason) == (State.DEAD_LETTERED, Reason.INTERNAL)
        assert end.detail == f"the orchestration was Failed: {DIED}"
        assert [(line["id"], line["level"]) for line in said(caplog, "resume.ended")] == [(transfer.id, "WARNING")]
        assert said(caplog, "resume.resumed") == []

    async def test_the_end_becomes_a_dead_letter_with_the_text(self, world: World) -> None:
        """By the real steps."""
        transfer = failed(world, resumes=MAX_RESUMES)
        await resume(world.ports, world.instances)
        run = started(world, transfer)
        while run.step:
            run = transfer_lifecycle.advance(run, await STEPS[run.step](world.ports, run), world.clock)
        letter = world.dead_letters.open[transfer.id]
        assert (letter.reason, DIED in letter.detail, letter.last) == (Reason.INTERNAL, True, 0)
        assert world.target_writes == []

    async def test_one_whose_end_is_decided_goes_on_to_it_however_often(self, world: World) -> None:
        """Cancelled stays cancelled, at the step where it was."""
        transfer = world.put()
        run = replace(
            transfer_lifecycle.cancelled(Run(transfer, NOW)), step=Step.CLEAN, activity_failures=9, resumes=40
        )
        world.put_instance(transfer, "Failed", run, DIED)
        world.pass_time(30 * 86_400)
        assert await resume(world.ports, world.instances) == 1
        again = started(world, transfer)
        assert (again.step, again.activity_failures, again.resumes) == (Step.CLEAN, 0, 41)
        assert again.ending is not None
        assert again.ending.state is State.CANCELLED

    async def test_one_that_the_watchdog_gave_back_goes_on_at_once(self, world: World) -> None:
        """However often, and at any time: nothing says that it would fail."""
        transfer = world.put()
        world.put_instance(transfer, "Terminated", replace(Run(transfer, NOW), resumes=MAX_RESUMES + 1), recovery.LOST)
        assert await resume(world.ports, world.instances) == 1
        run = started(world, transfer)
        assert (run.step, run.ending, run.resumes) == (Step.START, None, MAX_RESUMES + 2)

    async def test_a_secret_in_what_the_host_said_is_kept_nowhere(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        """An exception's text may hold anything."""
        output = "GET https://x/y?sig=c2VjcmV0&se=1 failed"
        going, over = failed(world, "in/a", output), failed(world, "in/b", output, resumes=MAX_RESUMES)
        waited(world)
        await resume(world.ports, world.instances)
        assert "failed" in started(world, going).detail
        assert "failed" in ending(world, over).detail
        assert "c2VjcmV0" not in repr(world.instances.kept) + caplog.text


class TestEnded:
    """What else broke is taken to its end, and copies nothing."""

    async def test_what_a_person_terminated_ends(self, world: World) -> None:
        """At once: record, clean, close, with the reason that was given."""
        transfer = world.put()
        world.put_instance(transfer, "Terminated", Run(transfer, NOW, attempt=2), output="a person ended it")
        assert await resume(world.ports, world.instances) == 1
        end = ending(world, transfer)
        assert (end.state, end.reason) == (State.DEAD_LETTERED, Reason.INTERNAL)
        assert end.detail == "the orchestration was Terminated: a person ended it"
        assert started(world, transfer).attempt == 2

    async def test_what_was_ending_already_goes_on_to_the_same_end(self, world: World) -> None:
        """Cancelled stays cancelled."""
        transfer = world.put()
        world.put_instance(
            transfer,
            "Terminated",
            replace(transfer_lifecycle.cancelled(Run(transfer, NOW)), activity_failures=9, step=Step.CLOSE),
        )
        await resume(world.ports, world.instances)
        assert ending(world, transfer).state is State.CANCELLED
        assert started(world, transfer).activity_failures == 0

    @pytest.mark.parametrize("noticed", ["in its input", "in its status"])
    @pytest.mark.parametrize(
        ("status", "output"), [("Failed", DIED), ("Terminated", "a person"), ("Terminated", recovery.LOST)]
    )
    async def test_what_a_person_was_cancelling_ends_cancelled(
        self, world: World, status: str, output: str, noticed: str
    ) -> None:
        """The input is older than the status, and the person was answered 202."""
        transfer = world.put()
        run = Run(transfer, NOW)
        cancelling = replace(run, cancelling=True)
        world.put_instance(transfer, status, cancelling if noticed == "in its input" else run, output)
        custom = progress(cancelling)
        world.instances.kept[transfer.id] = replace(world.instances.kept[transfer.id], custom=custom)
        waited(world)
        await resume(world.ports, world.instances)
        assert ending(world, transfer).state is State.CANCELLED


class TestUnreadable:
    """An input that this version of the app cannot read."""

    def stands(self, world: World, name: str = "in/a") -> Transfer:
        """Let there be one."""
        transfer = world.put(name)
        world.instances.kept[transfer.id] = Instance(transfer.id, "Failed", None, {}, DIED, world.clock)
        return transfer

    async def test_it_gets_one_dead_letter_and_hinders_no_other(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Written and reported once, however many rounds there are."""
        transfer, other = self.stands(world), failed(world, "in/b")
        waited(world)
        assert await resume(world.ports, world.instances) == 1
        assert started(world, other).step is Step.START
        for _ in range(3):
            world.pass_time(30)
            assert await resume(world.ports, world.instances) == 0
        assert list(world.dead_letters.open) == [transfer.id]
        letter = world.dead_letters.open[transfer.id]
        assert (letter.reason, letter.route, letter.last) == (Reason.INTERNAL, None, 0)
        assert DIED in letter.detail
        assert world.request_names.count(LETTERS_WRITE.name) == 1
        assert [(line["id"], line["level"]) for line in said(caplog, "resume.unreadable")] == [(transfer.id, "WARNING")]

    async def test_a_letter_that_was_resolved_before_is_not_its_letter(self, world: World) -> None:
        """It was verified once, shared again, and broke: without a new letter nobody would know."""
        transfer = world.put("in/a")
        end = Ending(State.DEAD_LETTERED, reason=Reason.THROTTLED)
        await world.dead_letters.write(letters.of_run(Run(transfer, NOW, ending=end), NOW, "0.1.0"))
        await world.dead_letters.resolve(transfer.id, 1, "verified", NOW)
        world.pass_time(60)
        world.instances.kept[transfer.id] = Instance(transfer.id, "Failed", None, {}, DIED, world.clock)
        await resume(world.ports, world.instances)
        assert world.dead_letters.open[transfer.id].last == 1
        world.pass_time(60)
        await world.dead_letters.resolve(transfer.id, 1, "accepted", world.clock)
        await resume(world.ports, world.instances)
        assert world.dead_letters.open == {}

    async def test_a_job_is_only_reported(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        """It may be asked for again."""
        world.instances.kept[ACTING.id] = Instance(ACTING.id, "Failed", None, {}, DIED, NOW)
        assert await resume(world.ports, world.instances) == 0
        assert [line["id"] for line in said(caplog, "resume.unreadable")] == [ACTING.id]
        assert world.dead_letters.open == {}


class TestLeftAlone:
    """What is not broken, or not any more."""

    @pytest.mark.parametrize("status", ["Running", "Completed"])
    async def test_one_that_a_replay_took_up_meanwhile(self, world: World, status: str) -> None:
        """The list may be old, and a start replaces what has ended in silence."""
        transfer = failed(world)
        waited(world)
        replayed = partial(world.instances.become, transfer.id, status, {"state": "verified"})
        world.before_next(INSTANCES_FIND, replayed)
        assert await resume(world.ports, world.instances) == 0
        assert world.instances.kept[transfer.id].status == status
        assert not starts(world)

    async def test_one_that_was_resumed_meanwhile_and_failed_again(self, world: World) -> None:
        """It waits for its own pause."""
        transfer = failed(world)
        waited(world)
        again = partial(world.put_instance, transfer, "Failed", Run(transfer, NOW, resumes=1), DIED)
        world.before_next(INSTANCES_FIND, again)
        assert await resume(world.ports, world.instances) == 0
        assert not starts(world)

    async def test_one_that_another_round_starts_first(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        """It is started once, and reported by who did it."""
        transfer = failed(world)
        waited(world)
        first = partial(world.instances.become, transfer.id, "Pending")
        world.before_next(INSTANCES_START, first)
        assert await take_up(world.ports, world.instances, transfer.id) is False
        assert said(caplog, "resume.resumed") == []

    async def test_one_whose_history_was_purged_meanwhile(self, world: World) -> None:
        """Nothing is known of it any more."""
        failed(world)
        waited(world)
        world.before_next(INSTANCES_FIND, world.instances.kept.clear)
        assert await resume(world.ports, world.instances) == 0
        assert world.instances.kept == {}

    @pytest.mark.parametrize("status", ["Pending", "Running", "Suspended", "Completed"])
    async def test_what_is_not_broken(self, world: World, status: str) -> None:
        """A round in a hub without broken ones is four lists, and where each goes on."""
        world.put_instance(world.put(), status, output={"state": "verified"} if status == "Completed" else None)
        waited(world)
        await resume(world.ports, world.instances)
        assert world.request_names == [REPORTS_READ.name, INSTANCES_PAGE.name] * 4

    async def test_one_that_storage_fails_keeps_no_other_waiting(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The round fails in the end, so that the host shows it; the next one starts the rest."""
        made = [failed(world, name) for name in "abc"]
        waited(world)
        world.refuse(INSTANCES_FIND, BUSY, times=1)
        with pytest.raises(Retryable):
            await resume(world.ports, world.instances)
        assert sorted(world.instances.kept[each.id].status for each in made) == ["Failed", "Pending", "Pending"]
        assert [line["timer"] for line in said(caplog, "timer.failed")] == ["resume"]
        assert await resume(world.ports, world.instances) == 1
        assert set(starts(world).values()) == {1}

    async def test_a_list_that_fails_keeps_no_other_list_waiting(self, world: World) -> None:
        """Jobs are listed apart from transfers."""
        transfer = failed(world)
        waited(world)
        world.refuse(INSTANCES_PAGE, BUSY, times=1)
        with pytest.raises(Retryable):
            await resume(world.ports, world.instances)
        assert started(world, transfer)


class TestJobs:
    """A job goes on, too."""

    AT = replace(ACTING, pages=4, batches=3, tally=Tally(found=9, started=5))

    async def test_one_that_the_host_failed_is_resumed_at_its_turn(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        """At the turn of its input, which is safe to repeat; what its status counts is counted again by then."""
        a_job(world, "Failed", self.AT, failures=2)
        waited(world)
        assert await resume(world.ports, world.instances) == 1
        expected = job_lifecycle.resumed(replace(ACTING, failures=2), f"the orchestration was Failed: {DIED}")
        assert job_started(world) == expected
        assert (expected.resumes, expected.phase, expected.batches) == (1, Phase.ACT, 1)
        [line] = said(caplog, "resume.resumed")
        assert (line["id"], line["route"], line["resumes"]) == (ACTING.id, "default", 1)

    async def test_not_before_its_pause(self, world: World) -> None:
        """As a transfer."""
        a_job(world, "Failed")
        assert await resume(world.ports, world.instances) == 0
        assert not starts(world)

    @pytest.mark.parametrize(("status", "output"), [("Failed", DIED), ("Terminated", recovery.LOST)])
    async def test_a_cancelled_one_ends_cancelled_with_its_counts(self, world: World, status: str, output: str) -> None:
        """What was done until then is what its status shows."""
        a_job(world, status, replace(self.AT, cancelling=True), output)
        waited(world)
        await resume(world.ports, world.instances)
        job = job_started(world)
        assert (job.state, job.phase) == (JobState.CANCELLED, None)
        assert (job.tally, job.pages, job.batches) == (self.AT.tally, 4, 3)

    @pytest.mark.parametrize(("status", "resumes"), [("Terminated", 0), ("Failed", MAX_RESUMES)])
    async def test_one_that_does_not_go_on_completes_as_failed_with_its_counts(
        self, world: World, status: str, resumes: int
    ) -> None:
        """Terminated by hand, or failed too often: until it is started again it is shown running, with what happened."""
        a_job(world, status, self.AT, "ended by hand", resumes=resumes)
        shown = await asking.look(world.instances, ACTING.id)
        assert (shown["state"], shown["pages"]) == ("running", 7)
        assert shown["detail"] == f"the orchestration was {status}: ended by hand"
        await resume(world.ports, world.instances)
        job = job_started(world)
        assert (job.state, job.phase, job.detail) == (JobState.FAILED, None, shown["detail"])
        assert (job.tally, job.pages, job.batches) == (self.AT.tally, 4, 3)


@dataclass
class Crowded(YieldingWorld):
    """A world that counts how many requests are under way at once."""

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
    """A worker that dies fails all that it ran."""

    async def test_five_thousand_at_once(self) -> None:
        """Each is started once, in rounds with an end, at about two requests each; what is not due costs none of its own."""
        world = Crowded()
        made = [failed(world, f"in/{number}") for number in range(5_000)]
        waited(world)
        waiting = [failed(world, f"in/later/{number}") for number in range(500)]
        rounds = list[int]()
        while done := await resume(world.ports, world.instances):
            rounds.append(done)
            assert len(rounds) < 20
        assert sum(rounds) == len(made)
        assert max(rounds) <= MOST
        assert rounds[0] >= MOST - AT_ONCE
        assert starts(world) == Counter(transfer.id for transfer in made)
        assert {world.instances.kept[each.id].status for each in waiting} == {"Failed"}
        assert world.counted["instances.find"] == len(made)
        hub = sum(count for name, count in world.counted.items() if name.startswith("instances."))
        print(f"{len(made)} resumed in {len(rounds)} rounds: {hub / len(made):.3f} hub requests each")  # noqa: T201  # pytest -s shows it
        assert hub / len(made) <= 2.2
        assert world.most == AT_ONCE

    async def test_a_round_that_is_over_goes_on_where_it_was(self, world: World) -> None:
        """Those that wait at the front of the list keep none behind them waiting."""
        made = sorted((failed(world, f"in/{number}") for number in range(4 * PAGE)), key=lambda transfer: transfer.id)
        due, kept, page = made[2 * PAGE : 3 * PAGE], world.instances.kept, world.instances.page
        waited(world)
        for transfer in {*made} - {*due}:
            kept[transfer.id] = replace(kept[transfer.id], updated_at=world.clock + timedelta(hours=1))

        async def slowly(**query: Any) -> Any:
            world.pass_time(0 if query["prefix"] else SECONDS / 2)
            return await page(**query)

        world.instances.page = slowly  # type: ignore[method-assign]
        assert [await resume(world.ports, world.instances) for _ in range(2)] == [0, PAGE]
        assert starts(world) == Counter(transfer.id for transfer in due)


class TestMeanwhile:
    """What else may happen to a broken one, until it is started again."""

    async def test_a_cancel_ends_it_cancelled(self, world: World) -> None:
        """No event would be heard, so it is started again at its end; the answer is certain."""
        transfer = failed(world, **COPYING)
        shown = await cancel(world.instances, transfer.id, unhurried)
        assert (shown["state"], shown["ending"], shown["cancelling"]) == ("copying", "cancelled", True)
        assert ending(world, transfer).state is State.CANCELLED
        assert world.instances.cancels == []
        assert await resume(world.ports, world.instances) == 0

    async def test_a_cancel_that_it_had_noticed_is_answered_so(self, world: World) -> None:
        """The resume ends it."""
        transfer = failed(world, cancelling=True)
        assert (await cancel(world.instances, transfer.id, unhurried))["cancelling"] is True
        assert not starts(world)

    async def test_a_cancel_of_one_that_is_ending_otherwise_is_too_late(self, world: World) -> None:
        """Its dead letter is on its way; also of one whose input cannot be read."""
        transfer, unreadable = failed(world, resumes=MAX_RESUMES), world.put("in/x")
        world.instances.kept[unreadable.id] = Instance(unreadable.id, "Failed", None, {}, DIED, NOW)
        for identity in (transfer.id, unreadable.id):
            with pytest.raises(Conflict, match="is ending as dead_lettered"):
                await cancel(world.instances, identity, unhurried)
        assert not starts(world)

    async def test_a_cancel_of_a_broken_job_ends_it_cancelled_with_its_counts(self, world: World) -> None:
        """At once."""
        a_job(world, "Failed", TestJobs.AT)
        shown = await asking.cancel(world.instances, ACTING.id, unhurried)
        assert (shown["state"], shown["counts"]["started"], shown["pages"]) == ("cancelled", 5, 7)
        assert job_started(world).state is JobState.CANCELLED

    async def test_to_share_it_now_is_its_own_id(self, world: World) -> None:
        """It goes on by itself."""
        transfer = failed(world)
        assert await share(world.ports, world.instances, "default", NAME) == transfer.id
        assert not starts(world)

    @pytest.mark.parametrize("taken_up", [False, True])
    async def test_to_share_one_that_is_ending_is_a_conflict(self, world: World, *, taken_up: bool) -> None:
        """A 202 would promise what only the next attempt can do; also once it was started again and has not begun."""
        failed(world, resumes=MAX_RESUMES)
        if taken_up:
            await resume(world.ports, world.instances)
        with pytest.raises(StillRunning):
            await share(world.ports, world.instances, "default", NAME)

    async def test_to_replay_it_is_a_conflict(self, world: World) -> None:
        """Its letter is of an attempt before; this attempt goes on."""
        transfer = world.put()
        end = Ending(State.DEAD_LETTERED, reason=Reason.THROTTLED)
        await world.dead_letters.write(letters.of_run(Run(transfer, NOW, ending=end), NOW, "0.1.0"))
        world.put_instance(transfer, "Failed", Run(transfer, NOW, attempt=1, has_open_dead_letter=True), DIED)
        with pytest.raises(StillRunning) as caught:
            await replay(world.ports, world.instances, transfer.id)
        assert caught.value.retry_after == 30
        assert not starts(world)
        assert transfer.id in world.dead_letters.open

    async def test_a_reconcile_finds_it_running(self, world: World) -> None:
        """Also where the record of an end of an attempt before is still there."""
        transfer = failed(world, attempt=1)
        await world.dead_letters.write_ended(Ended(transfer.id, 0, Ending(State.DEAD_LETTERED)))
        line = {"class": "missing", "name": NAME, "etag": transfer.etag, "id": transfer.id}
        acted = await start_line(world.ports, world.instances, ACTING, line)
        assert acted.result is Result.RUNNING
        assert not starts(world)

    async def test_a_second_event_starts_nothing(self, world: World) -> None:
        """It is known."""
        transfer = failed(world)
        accepted = await accept(world.ports, world.instances, world.event(transfer))
        assert (accepted.started, accepted.duplicates) == ((), (transfer.id,))
        assert not starts(world)

    async def test_the_sweep_leaves_it_to_the_resume(self, world: World) -> None:
        """Also where its end is recorded and its letter is still to be written, or one of an attempt before is open."""
        recorded, lettered = failed(world, "in/a"), failed(world, "in/b", attempt=1, has_open_dead_letter=True)
        end = Ending(State.DEAD_LETTERED, reason=Reason.THROTTLED)
        await world.dead_letters.write_ended(Ended(recorded.id, 0, Ending(State.DEAD_LETTERED, Reason.THROTTLED)))
        await world.dead_letters.write(letters.of_run(Run(lettered, NOW, ending=end), NOW, "0.1.0"))
        await sweep(world.ports, world.instances)
        assert not starts(world)
        assert list(world.dead_letters.open) == [lettered.id]

    async def test_it_is_listed_as_under_way_and_never_as_dead_lettered(self, world: World) -> None:
        """What is shown as dead-lettered has its letter."""
        going, copying = failed(world, "in/a"), failed(world, "in/b", **COPYING)
        over, unreadable, dead = failed(world, "in/c", resumes=MAX_RESUMES), world.put("in/d"), world.put("in/e")
        kept = world.instances.kept
        kept[copying.id] = replace(kept[copying.id], custom=progress(Run(copying, NOW, state=State.COPYING)))
        kept[unreadable.id] = Instance(unreadable.id, "Failed", None, {}, DIED, NOW)
        world.put_instance(dead, "Completed", output={"state": "dead_lettered"})

        async def listed(state: str) -> set[str]:
            page = await transfers(world.instances, route=None, state=state, limit=100, continuation=None)
            return {item["id"] for item in page["items"]}

        assert await listed("accepted") == {going.id, over.id, unreadable.id}
        assert await listed("copying") == {copying.id}
        assert await listed("dead_lettered") == {dead.id}
