"""The purge: what ended long ago goes, in slices, and what is still owed something stays."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from activities.transfers.finish import run_close
from activities.transfers.start import run_start
from adapters.translation import INSTANCES_FIND, INSTANCES_PURGE, LETTERS_READ, error_for_answer
from operations.problems import NotFound
from operations.transfers.accept import accept
from operations.transfers.look import transfer as look
from operations.upkeep.purge import AT_ONCE, MOST, SECONDS, purge
from operations.upkeep.sweep import sweep
from operations.upkeep.timer_run import MAX_FAILURES, PAGE
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


def ended(
    world: World, name: str, state: State = State.VERIFIED, ago: timedelta = OLD, status: str = "Completed"
) -> Transfer:
    """Let a transfer be there that ended so long ago."""
    transfer = world.put(name)
    run = Run(transfer, NOW - ago, state=state, step=None, ending=Ending(state))
    world.put_instance(transfer, status, Run(transfer, NOW - ago), progress(run))
    world.instances.created[transfer.id] = NOW - ago
    world.instances.kept[transfer.id] = replace(world.instances.kept[transfer.id], updated_at=NOW - ago)
    return transfer


async def opened(world: World, transfer: Transfer) -> None:
    """Let its dead letter be open."""
    ending = Ending(State.DEAD_LETTERED, reason=Reason.THROTTLED)
    await world.dead_letters.write(letters.of_run(Run(transfer, NOW - OLD, ending=ending), NOW - OLD, "0.1.0"))


def said(caplog: pytest.LogCaptureFixture, action: str) -> list[dict[str, object]]:
    """The log lines of an action."""
    lines = [json.loads(record.getMessage()) for record in caplog.records if record.name == "blob_data_sharing"]
    return [line for line in lines if line["action"] == action]


async def test_what_ended_long_ago_goes_and_is_counted(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """One by one; what ended since stays."""
    caplog.set_level("INFO", "blob_data_sharing")
    gone = [ended(world, f"{number}", state) for number, state in enumerate((State.VERIFIED, State.SUPERSEDED))]
    kept = ended(world, "kept", ago=timedelta(days=29))
    assert await purge(world.ports, world.instances) == 2
    assert list(world.instances.kept) == [kept.id]
    assert {line["count"] for line in said(caplog, "purge.done")} == {2}
    assert [subject for name, subject in world.requests if name == "instances.purge"] == sorted(
        each.id for each in gone
    )


async def test_a_quiet_hub_costs_its_lists_and_no_line(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Every ten minutes."""
    caplog.set_level("INFO", "blob_data_sharing")
    assert await purge(world.ports, world.instances) == 0
    assert world.request_names == ["reports.read", "instances.page"] * 4
    assert caplog.records == []


async def test_one_that_was_replayed_since_stays(world: World) -> None:
    """Created long ago, and finished yesterday."""
    transfer = ended(world, "a")
    world.instances.kept[transfer.id] = replace(world.instances.kept[transfer.id], updated_at=NOW - timedelta(days=1))
    assert await purge(world.ports, world.instances) == 0


@pytest.mark.parametrize("status", ["Running", "Pending", "Suspended", "Failed", "Terminated"])
async def test_what_runs_or_broke_stays(world: World, status: str) -> None:
    """A broken one is started again from its input."""
    ended(world, "a", status=status)
    assert await purge(world.ports, world.instances) == 0
    assert len(world.instances.kept) == 1


async def test_one_whose_dead_letter_is_open_stays_until_it_is_resolved(world: World) -> None:
    """A replay needs to know its attempts."""
    transfer = ended(world, "a", State.DEAD_LETTERED)
    await opened(world, transfer)
    assert await purge(world.ports, world.instances) == 0
    await world.dead_letters.resolve(transfer.id, 1, "verified", NOW)
    assert await purge(world.ports, world.instances) == 1


async def test_one_whose_dead_letter_is_yet_to_be_written_stays(world: World) -> None:
    """The sweep writes it from the history; the app may have been stopped for a month."""
    transfer = ended(world, "a", State.DEAD_LETTERED)
    await world.dead_letters.write_ended(Ended(transfer.id, 0, Ending(State.DEAD_LETTERED, Reason.THROTTLED)))
    assert await purge(world.ports, world.instances) == 0
    await sweep(world.ports, world.instances)
    assert world.instances.kept[transfer.id].status == "Pending"


async def test_one_whose_letter_was_put_away_by_hand_goes(world: World) -> None:
    """With its record of the end: nothing is owed any more."""
    ended(world, "a", State.DEAD_LETTERED)
    assert await purge(world.ports, world.instances) == 1


async def test_many_that_stay_keep_no_other_waiting(world: World) -> None:
    """Whatever the order."""
    for number in range(3 * PAGE):
        await opened(world, ended(world, f"{number}", State.DEAD_LETTERED))
    gone = {ended(world, f"gone {number}").id for number in range(20)}
    assert await purge(world.ports, world.instances) == 20
    assert not gone & set(world.instances.kept)
    assert len(world.instances.kept) == 3 * PAGE


@pytest.mark.parametrize("work", list(JobKind))
@pytest.mark.parametrize("status", ["Completed", "Failed", "Terminated"])
async def test_a_job_goes_whatever_its_end(world: World, work: JobKind, status: str) -> None:
    """Nobody owes it anything."""
    job = Job(f"{work}-{'0' * 24}", work, NOW - OLD)
    world.instances.kept[job.id] = Instance(job.id, status, None, {}, None, NOW - OLD, job)
    assert await purge(world.ports, world.instances) == 1
    assert world.instances.kept == {}


@pytest.mark.parametrize("status", ["Running", "Completed"])
async def test_one_that_a_replay_took_up_meanwhile_stays(world: World, status: str) -> None:
    """The page may be old."""
    transfer = ended(world, "a")
    world.before_next(INSTANCES_FIND, lambda: world.instances.become(transfer.id, status, {"state": "verified"}))
    assert await purge(world.ports, world.instances) == 0
    assert "instances.purge" not in world.request_names


async def test_run_twice_it_purges_one_once(world: World) -> None:
    """Two rounds may overlap: gone already is fine."""
    ended(world, "a")
    world.before_next(INSTANCES_PURGE, world.instances.kept.clear)
    assert await purge(world.ports, world.instances) == 1
    assert await purge(world.ports, world.instances) == 0


class TestBounds:
    """A slice a round."""

    async def test_at_most_a_thousand_a_round_and_the_next_goes_on(self, world: World) -> None:
        """Also where some stay."""
        for number in range(MOST + 250):
            transfer = ended(world, f"{number}")
            if number % 10 == 0:
                await opened(world, transfer)
        total = MOST + 250 - (MOST + 250) // 10
        assert await purge(world.ports, world.instances) == MOST
        rest = [await purge(world.ports, world.instances) for _ in range(2)]
        assert sum(rest) == total - MOST
        assert len(world.instances.kept) == (MOST + 250) // 10

    async def test_a_round_that_takes_too_long_is_over(self, world: World) -> None:
        """By the monotonic clock; what is under way is done."""
        for number in range(3 * PAGE):
            ended(world, f"{number}")
        forget = world.instances.purge

        async def slowly(identity: str) -> None:
            world.pass_time(SECONDS / 10)
            await forget(identity)

        world.instances.purge = slowly  # type: ignore[method-assign]
        assert await purge(world.ports, world.instances) == 2 * AT_ONCE

    async def test_one_that_cannot_be_purged_keeps_no_other_waiting(self, world: World) -> None:
        """The host shows the round as failed."""
        for number in range(20):
            ended(world, f"{number}")
        world.refuse(INSTANCES_PURGE, REFUSED, times=3)
        with pytest.raises(Retryable):
            await purge(world.ports, world.instances)
        assert len(world.instances.kept) == 3
        assert await purge(world.ports, world.instances) == 3

    async def test_where_everything_fails_it_stops_soon(self, world: World) -> None:
        """The next round goes on behind: a page that always fails holds up no other."""
        for number in range(2 * PAGE):
            ended(world, f"{number}")
        world.refuse(LETTERS_READ, error_for_answer(LETTERS_READ, 503, "ServerBusy"), times=MAX_FAILURES)
        with pytest.raises(Retryable):
            await purge(world.ports, world.instances)
        assert world.request_names.count("letters.read") == MAX_FAILURES
        assert await purge(world.ports, world.instances) == PAGE
        assert await purge(world.ports, world.instances) == PAGE


class TestAfterwards:
    """What a purged id answers, and what a late duplicate of its event does."""

    async def test_it_is_404_with_where_to_find_more(self, world: World) -> None:
        """By route and name, or from the target blob itself."""
        transfer = ended(world, "a")
        await purge(world.ports, world.instances)
        with pytest.raises(NotFound) as problem:
            await look(world.ports, world.instances, transfer.id)
        assert all(word in problem.value.fix for word in ("30 days", "route", "name", "source_etag", "transfer_id"))

    async def test_a_late_duplicate_of_a_verified_one_changes_nothing(self, world: World) -> None:
        """As any new version's, its first request wants no target to be there: it is refused, and one look finds the receipt."""
        transfer = ended(world, "in/a")
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

    async def test_a_late_duplicate_of_a_cancelled_one_is_stopped_by_the_record_of_its_end(self, world: World) -> None:
        """It ends cancelled again, and the record stays."""
        transfer = ended(world, "in/a", State.CANCELLED)
        await world.dead_letters.write_ended(Ended(transfer.id, 0, Ending(State.CANCELLED)))
        await purge(world.ports, world.instances)
        await accept(world.ports, world.instances, world.event(transfer))
        run = world.instances.kept[transfer.id].run
        assert run is not None
        outcome = await run_start(world.ports, run)
        assert (outcome.verdict, outcome.ending) == (Verdict.ENDED, Ending(State.CANCELLED))
        await run_close(world.ports, replace(run, ending=outcome.ending, state=State.CANCELLED))
        assert await world.dead_letters.ended(transfer.id) == Ended(transfer.id, 0, Ending(State.CANCELLED))
        assert world.target_writes == []
