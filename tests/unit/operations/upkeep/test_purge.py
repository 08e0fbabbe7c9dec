"""The purge: deletes old histories, and keeps those that are still needed."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from activities.transfers.finish import run_close
from activities.transfers.start import run_start
from adapters.translation import DEAD_LETTERS_READ, INSTANCES_FIND, INSTANCES_PURGE, error_for_answer
from operations.problems import NotFound
from operations.transfers.accept import accept
from operations.transfers.query import get as get_transfer
from operations.upkeep.purge import CONCURRENCY, SECONDS, purge
from operations.upkeep.sweep import sweep
from operations.upkeep.timer_run import MAX_FAILURES, PAGE_SIZE
from rules.dead_letters import letters
from rules.errors import Reason, Retryable
from rules.jobs.model import Job, JobKind
from rules.orchestrations.instance import Instance
from rules.transfers.model import Ended, Ending, Run, Transfer, Verdict
from rules.transfers.states import State
from rules.transfers.status import progress
from tests.unit.samples import NOW
from tests.unit.world import World

OLD = timedelta(days=31)
REFUSED = Retryable(Reason.INTERNAL, "instances.purge", "no")


def put_ended(
    world: World, name: str, state: State = State.VERIFIED, ago: timedelta = OLD, status: str = "Completed"
) -> Transfer:
    """Let a transfer have ended so long ago."""
    transfer = world.put(name)
    run = Run(transfer, NOW - ago, state=state, step=None, ending=Ending(state))
    world.put_instance(transfer, status, Run(transfer, NOW - ago), progress(run))
    world.instances.created[transfer.id] = NOW - ago
    world.instances.kept[transfer.id] = replace(world.instances.kept[transfer.id], updated_at=NOW - ago)
    return transfer


async def open_letter(world: World, transfer: Transfer) -> None:
    """Write its open dead letter."""
    ending = Ending(State.DEAD_LETTERED, reason=Reason.THROTTLED)
    await world.dead_letters.write(letters.of_run(Run(transfer, NOW - OLD, ending=ending), NOW - OLD, "0.1.0"))


def logged(caplog: pytest.LogCaptureFixture, action: str) -> list[dict[str, object]]:
    """The log lines of an action."""
    lines = [json.loads(record.getMessage()) for record in caplog.records if record.name == "blob_data_sharing"]
    return [line for line in lines if line["action"] == action]


async def test_deletes_and_counts_old_histories_one_by_one(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "blob_data_sharing")
    gone = [put_ended(world, f"{number}", state) for number, state in enumerate((State.VERIFIED, State.SUPERSEDED))]
    kept = put_ended(world, "kept", ago=timedelta(days=29))
    assert await purge(world.ports, world.instances) == 2
    assert list(world.instances.kept) == [kept.id]
    assert {line["count"] for line in logged(caplog, "purge.done")} == {2}
    assert [subject for name, subject in world.requests if name == "instances.purge"] == sorted(
        each.id for each in gone
    )


async def test_an_idle_run_costs_its_lists_and_logs_nothing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "blob_data_sharing")
    assert await purge(world.ports, world.instances) == 0
    assert world.request_names == ["reports.read", "instances.page"] * 4
    assert caplog.records == []


async def test_a_transfer_that_was_replayed_recently_stays(world: World) -> None:
    transfer = put_ended(world, "a")
    world.instances.kept[transfer.id] = replace(world.instances.kept[transfer.id], updated_at=NOW - timedelta(days=1))
    assert await purge(world.ports, world.instances) == 0


@pytest.mark.parametrize("status", ["Running", "Pending", "Suspended", "Failed", "Terminated"])
async def test_running_and_broken_transfers_stay(world: World, status: str) -> None:
    put_ended(world, "a", status=status)
    assert await purge(world.ports, world.instances) == 0
    assert len(world.instances.kept) == 1


async def test_a_transfer_with_an_open_dead_letter_stays_until_it_is_resolved(world: World) -> None:
    transfer = put_ended(world, "a", State.DEAD_LETTERED)
    await open_letter(world, transfer)
    assert await purge(world.ports, world.instances) == 0
    await world.dead_letters.resolve(transfer.id, 1, "verified", NOW)
    assert await purge(world.ports, world.instances) == 1


async def test_a_transfer_whose_dead_letter_is_missing_stays(world: World) -> None:
    """The sweep writes it from the history. The app may have been stopped for a month."""
    transfer = put_ended(world, "a", State.DEAD_LETTERED)
    await world.dead_letters.write_ended(Ended(transfer.id, 0, Ending(State.DEAD_LETTERED, Reason.THROTTLED)))
    assert await purge(world.ports, world.instances) == 0
    await sweep(world.ports, world.instances)
    assert world.instances.kept[transfer.id].status == "Pending"


async def test_a_transfer_whose_dead_letter_and_record_were_deleted_by_hand_is_deleted(world: World) -> None:
    put_ended(world, "a", State.DEAD_LETTERED)
    assert await purge(world.ports, world.instances) == 1


async def test_histories_that_stay_do_not_block_others(world: World) -> None:
    for number in range(3 * PAGE_SIZE):
        await open_letter(world, put_ended(world, f"{number}", State.DEAD_LETTERED))
    gone = {put_ended(world, f"gone {number}").id for number in range(20)}
    assert await purge(world.ports, world.instances) == 20
    assert not gone & set(world.instances.kept)
    assert len(world.instances.kept) == 3 * PAGE_SIZE


@pytest.mark.parametrize("work", list(JobKind))
@pytest.mark.parametrize("status", ["Completed", "Failed", "Terminated"])
async def test_jobs_are_deleted_in_any_final_status(world: World, work: JobKind, status: str) -> None:
    job = Job(f"{work}-{'0' * 24}", work, NOW - OLD)
    world.instances.kept[job.id] = Instance(job.id, status, None, {}, None, NOW - OLD, job)
    assert await purge(world.ports, world.instances) == 1
    assert world.instances.kept == {}


@pytest.mark.parametrize("status", ["Running", "Completed"])
async def test_a_transfer_that_is_replayed_after_the_list_stays(world: World, status: str) -> None:
    transfer = put_ended(world, "a")
    world.before_next(INSTANCES_FIND, lambda: world.instances.become(transfer.id, status, {"state": "verified"}))
    assert await purge(world.ports, world.instances) == 0
    assert "instances.purge" not in world.request_names


async def test_overlapping_runs_are_harmless(world: World) -> None:
    put_ended(world, "a")
    world.before_next(INSTANCES_PURGE, world.instances.kept.clear)
    assert await purge(world.ports, world.instances) == 1
    assert await purge(world.ports, world.instances) == 0


class TestBounds:
    async def test_a_run_deletes_a_limited_number_and_the_next_one_continues(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("operations.upkeep.purge.MAX_DONE", 500)
        for number in range(750):
            transfer = put_ended(world, f"{number}")
            if number % 10 == 0:
                await open_letter(world, transfer)
        assert await purge(world.ports, world.instances) == 500
        rest = [await purge(world.ports, world.instances) for _ in range(2)]
        assert sum(rest) == 750 - 75 - 500
        assert len(world.instances.kept) == 75

    async def test_a_run_stops_after_its_time_limit(self, world: World) -> None:
        for number in range(3 * PAGE_SIZE):
            put_ended(world, f"{number}")
        forget = world.instances.purge

        async def slowly(identity: str) -> None:
            world.pass_time(SECONDS / 10)
            await forget(identity)

        world.instances.purge = slowly  # type: ignore[method-assign]
        assert await purge(world.ports, world.instances) == 2 * CONCURRENCY

    async def test_one_failure_does_not_stop_the_others(self, world: World) -> None:
        for number in range(20):
            put_ended(world, f"{number}")
        world.refuse(INSTANCES_PURGE, REFUSED, times=3)
        with pytest.raises(Retryable):
            await purge(world.ports, world.instances)
        assert len(world.instances.kept) == 3
        assert await purge(world.ports, world.instances) == 3

    async def test_the_run_stops_after_ten_failures_and_the_next_one_continues_behind_them(self, world: World) -> None:
        for number in range(2 * PAGE_SIZE):
            put_ended(world, f"{number}")
        world.refuse(DEAD_LETTERS_READ, error_for_answer(DEAD_LETTERS_READ, 503, "ServerBusy"), times=MAX_FAILURES)
        with pytest.raises(Retryable):
            await purge(world.ports, world.instances)
        assert world.request_names.count("dead_letters.read") == MAX_FAILURES
        assert await purge(world.ports, world.instances) == PAGE_SIZE
        assert await purge(world.ports, world.instances) == PAGE_SIZE


class TestAfterwards:
    async def test_a_purged_transfer_is_not_found_with_a_fix(self, world: World) -> None:
        transfer = put_ended(world, "a")
        await purge(world.ports, world.instances)
        with pytest.raises(NotFound) as problem:
            await get_transfer(world.ports, world.instances, transfer.id)
        assert all(word in problem.value.fix for word in ("30 days", "route", "name", "source_etag", "transfer_id"))

    async def test_a_late_duplicate_of_a_verified_transfer_changes_nothing(self, world: World) -> None:
        """Its first request requires that no target exists. The request is refused, and one look finds the receipt."""
        transfer = put_ended(world, "in/a")
        world.put_copy(transfer)
        there = world.at(transfer.target_blob)
        await purge(world.ports, world.instances)
        await accept(world.ports, world.instances, world.event(transfer))
        world.requests.clear()
        run = world.instances.kept[transfer.id].run
        assert run is not None
        assert (await run_start(world.ports, run)).verdict is Verdict.VERIFIED
        assert [name for name in world.request_names if name.startswith("target.")] == ["target.copy", "target.head"]
        assert world.at(transfer.target_blob) == there

    async def test_a_late_duplicate_of_a_cancelled_transfer_ends_cancelled_by_the_record_of_the_end(
        self, world: World
    ) -> None:
        transfer = put_ended(world, "in/a", State.CANCELLED)
        await world.dead_letters.write_ended(Ended(transfer.id, 0, Ending(State.CANCELLED)))
        await purge(world.ports, world.instances)
        await accept(world.ports, world.instances, world.event(transfer))
        run = world.instances.kept[transfer.id].run
        assert run is not None
        outcome = await run_start(world.ports, run)
        assert (outcome.verdict, outcome.ending) == (Verdict.ENDED, Ending(State.CANCELLED))
        await run_close(world.ports, replace(run, ending=outcome.ending, state=State.CANCELLED))
        assert await world.dead_letters.read_ended(transfer.id) == Ended(transfer.id, 0, Ending(State.CANCELLED))
        assert world.target_writes == []
