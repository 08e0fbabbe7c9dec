"""Discarding: a letter is put away for good, beside replays, sweeps, late writes and late events."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from adapters.translation import INSTANCES_FIND, LETTERS_WRITE
from operations.dead_letters.discard import discard
from operations.dead_letters.replay import Resolved, replay
from operations.problems import Conflict, NotFound
from operations.transfers.accept import accept, refuse
from operations.transfers.look import transfer as look
from operations.transfers.restart import StillRunning
from operations.transfers.share import share
from operations.upkeep.purge import purge
from operations.upkeep.resume import resume
from operations.upkeep.sweep import sweep
from rules.codec import stamp
from rules.dead_letters import letters
from rules.errors import Reason
from rules.events import RejectedEvent
from rules.jobs.model import Job, JobKind, JobState, Phase, Tally
from rules.jobs.report import results_page
from rules.orchestrations.instance import Instance
from rules.orchestrations.liveness import RETENTION
from rules.transfers.model import Ended, Ending, Run, Transfer
from rules.transfers.states import State
from tests.unit.job_runs import (
    MILLISECOND,
    OTHER_ROUTE,
    finish_transfers,
    put_dead_letter,
    results_by_id,
    run_next_batch,
    run_to_end,
    run_until,
)
from tests.unit.samples import NAME, NOW, ROUTE
from tests.unit.world import World

DISCARD = Job("discard-" + "a" * 24, JobKind.DISCARD, NOW)
REPLAY = Job("replay-" + "a" * 24, JobKind.REPLAY, NOW)
UNKNOWN = "37a8eec1-000000000000000000000000"


async def put_away(world: World, transfer: Transfer) -> None:
    """Discard a transfer's letter."""
    await discard(world.ports, world.instances, transfer.id)


async def fail_again(world: World, transfer: Transfer, attempt: int = 1) -> None:
    """Let the next attempt of a transfer be a dead letter."""
    run = Run(transfer, NOW, attempt=attempt)
    await world.dead_letters.write_ended(Ended(transfer.id, attempt, Ending(State.DEAD_LETTERED, Reason.COPY_FAILED)))
    await world.dead_letters.write(letters.of_run(run, world.clock, "0.1.0"))


class TestOne:
    """A person discards one."""

    async def test_it_is_resolved_and_stays_readable_and_its_transfer_stays_dead_lettered(self, world: World) -> None:
        """The transfer shows what became of its letter; the letter keeps why it failed."""
        transfer = await put_dead_letter(world, NAME)
        shown = await look(world.ports, world.instances, transfer.id)
        assert shown["letter"] == {"state": "open", "resolved_at": None, "resolved_as": None}
        kept = await discard(world.ports, world.instances, transfer.id)
        assert kept == await world.dead_letters.read(transfer.id)
        assert (kept.resolved_as, kept.resolved_at, kept.reason) == ("discarded", NOW, Reason.THROTTLED)
        assert world.dead_letters.open == {}
        shown = await look(world.ports, world.instances, transfer.id)
        assert shown["state"] == "dead_lettered"
        assert shown["letter"] == {"state": "resolved", "resolved_at": stamp(NOW), "resolved_as": "discarded"}
        assert "instances.start" not in world.request_names

    async def test_a_messages(self, world: World) -> None:
        """It has no transfer."""
        identity = await refuse(world.ports, b"hello", RejectedEvent(Reason.MALFORMED, "no JSON"))
        assert (await discard(world.ports, world.instances, identity)).resolved_as == "discarded"
        assert world.dead_letters.open == {}

    async def test_one_of_a_transfer_that_cannot_be_read(self, world: World) -> None:
        """It cannot be replayed; it is not written again by the next round of resume."""
        world.instances.kept[UNKNOWN] = Instance(UNKNOWN, "Failed", None, {}, "the worker exited", NOW)
        await resume(world.ports, world.instances)
        await discard(world.ports, world.instances, UNKNOWN)
        await resume(world.ports, world.instances)
        assert world.dead_letters.open == {}

    async def test_an_unknown_one_is_not_found(self, world: World) -> None:
        """With where to find some."""
        with pytest.raises(NotFound):
            await discard(world.ports, world.instances, UNKNOWN)

    async def test_a_second_time_it_is_a_conflict_that_says_how_it_was_resolved(self, world: World) -> None:
        """Nothing is written."""
        transfer = await put_dead_letter(world, NAME)
        await put_away(world, transfer)
        writes = world.request_names.count(LETTERS_WRITE.name)
        with pytest.raises(Resolved, match="was discarded") as caught:
            await put_away(world, transfer)
        assert caught.value.facts == {"resolved_as": "discarded"}
        assert world.request_names.count(LETTERS_WRITE.name) == writes

    async def test_one_that_a_replay_resolved_is_a_conflict(self, world: World) -> None:
        """With its state."""
        transfer = await put_dead_letter(world, NAME)
        await world.dead_letters.resolve(transfer.id, 0, "verified", NOW)
        with pytest.raises(Resolved, match="already resolved") as caught:
            await put_away(world, transfer)
        assert caught.value.facts == {"resolved_as": "verified"}

    @pytest.mark.parametrize("status", ["Pending", "Running", "Suspended", "Failed", "Terminated"])
    async def test_one_that_is_being_replayed_is_a_conflict_with_a_time_to_come_back(
        self, world: World, status: str
    ) -> None:
        """Also while what the host failed waits to be resumed."""
        transfer = await put_dead_letter(world, NAME)
        world.put_instance(transfer, status, Run(transfer, NOW, attempt=1, has_open_dead_letter=True))
        with pytest.raises(StillRunning) as caught:
            await put_away(world, transfer)
        assert caught.value.retry_after == 30
        assert transfer.id in world.dead_letters.open

    async def test_afterwards_it_cannot_be_replayed_and_the_answer_says_what_can_be_done(self, world: World) -> None:
        """Sharing the blob is a decision of its own: the next attempt."""
        transfer = await put_dead_letter(world, NAME)
        await put_away(world, transfer)
        with pytest.raises(Resolved, match="was discarded") as caught:
            await replay(world.ports, world.instances, transfer.id)
        assert "POST /api/transfers" in caught.value.fix
        assert "instances.start" not in world.request_names
        await share(world.ports, world.instances, ROUTE.name, NAME)
        run = world.instances.kept[transfer.id].run
        assert run is not None
        assert (run.attempt, run.has_open_dead_letter) == (1, False)
        await finish_transfers(world)
        assert world.at(transfer.target_blob) is not None

    async def test_a_later_failure_opens_it_again(self, world: World) -> None:
        """That one was not discarded."""
        transfer = await put_dead_letter(world, NAME)
        await put_away(world, transfer)
        await fail_again(world, transfer)
        opened = world.dead_letters.open[transfer.id]
        assert (sorted(opened.attempts), opened.resolved_as) == ([0, 1], None)
        ended = await world.dead_letters.ended(transfer.id)
        assert ended is not None
        assert not ended.discarded


class TestRaces:
    """What else happens at the same moment."""

    async def test_a_replay_that_begins_at_the_same_moment_runs_and_a_failure_of_it_is_seen(self, world: World) -> None:
        """Both had looked. The letter is discarded; the attempt that was not discarded opens it again."""
        transfer = await put_dead_letter(world, NAME)
        run = Run(transfer, NOW, attempt=1, has_open_dead_letter=True)
        world.before_next(LETTERS_WRITE, partial(world.put_instance, transfer, "Running", run))
        await put_away(world, transfer)
        await fail_again(world, transfer)
        assert world.dead_letters.open[transfer.id].last == 1

    @pytest.mark.parametrize("how", ["verified", "superseded", "cancelled"])
    async def test_a_replay_that_ends_first_wins(self, world: World, how: str) -> None:
        """The answer is what is kept, and not what was asked for."""
        transfer = await put_dead_letter(world, NAME)
        open_ = world.dead_letters.open

        def resolve() -> None:
            world.dead_letters.resolved[transfer.id] = letters.resolved(open_.pop(transfer.id), NOW, how)

        world.before_next(INSTANCES_FIND, resolve)
        with pytest.raises(Resolved) as caught:
            await put_away(world, transfer)
        assert caught.value.facts == {"resolved_as": how}
        ended = await world.dead_letters.ended(transfer.id)
        assert ended is not None
        assert not ended.discarded

    async def test_a_failure_that_comes_first_is_not_discarded(self, world: World) -> None:
        """A person has not seen it."""
        transfer = await put_dead_letter(world, NAME)
        later = letters.merged(
            world.dead_letters.open[transfer.id], letters.of_run(Run(transfer, NOW, attempt=1), NOW, "1")
        )
        assert later is not None
        world.before_next(INSTANCES_FIND, partial(world.dead_letters.open.__setitem__, transfer.id, later))
        with pytest.raises(Conflict, match="failed again"):
            await put_away(world, transfer)
        assert world.dead_letters.open[transfer.id].last == 1

    async def test_a_letter_that_is_lost_at_the_same_moment_is_written_again(self, world: World) -> None:
        """It was not discarded, and the answer does not say so."""
        transfer = await put_dead_letter(world, NAME)
        world.before_next(INSTANCES_FIND, world.dead_letters.open.clear)
        with pytest.raises(Conflict):
            await put_away(world, transfer)
        await sweep(world.ports, world.instances)
        await finish_transfers(world)
        assert transfer.id in world.dead_letters.open

    async def test_two_at_once_both_say_discarded(self, world: World) -> None:
        """It is."""
        transfer = await put_dead_letter(world, NAME)
        discarded = letters.resolved(world.dead_letters.open[transfer.id], NOW, "discarded")

        def first() -> None:
            del world.dead_letters.open[transfer.id]
            world.dead_letters.resolved[transfer.id] = discarded

        world.before_next(LETTERS_WRITE, first)
        assert await discard(world.ports, world.instances, transfer.id) == discarded

    async def test_the_sweep_does_not_write_it_again_and_asks_nothing_about_it(self, world: World) -> None:
        """Every five minutes, for as long as the record of its end is kept."""
        made = [await put_dead_letter(world, f"in/{number}") for number in range(3)]
        for transfer in made:
            await put_away(world, transfer)
        world.requests.clear()
        await sweep(world.ports, world.instances)
        assert world.request_names == ["letters.list", "letters.list"]

    async def test_nor_once_its_retention_has_ended(self, world: World) -> None:
        """The container's rule has deleted it; the history is still there."""
        transfer = await put_dead_letter(world, NAME)
        await put_away(world, transfer)
        world.dead_letters.resolved.clear()
        await sweep(world.ports, world.instances)
        await finish_transfers(world)
        assert world.dead_letters.open == {}
        world.pass_time(RETENTION.total_seconds() + 1)
        assert await purge(world.ports, world.instances) == 1

    async def test_nor_a_sweep_that_had_begun_before(self, world: World) -> None:
        """It found the letter missing, and its run of `close` is late."""
        transfer = await put_dead_letter(world, NAME)
        lost = world.dead_letters.open.pop(transfer.id)
        await sweep(world.ports, world.instances)
        late = world.instances.kept[transfer.id]
        await world.dead_letters.write(lost)
        world.put_instance(transfer, "Completed", output={"state": "dead_lettered"})
        await put_away(world, transfer)
        world.instances.kept[transfer.id] = late
        await finish_transfers(world)
        assert world.dead_letters.open == {}

    async def test_a_late_duplicate_of_its_event_starts_nothing_and_opens_nothing(self, world: World) -> None:
        """While its history is kept, and after the purge, when the duplicate ends as the record says."""
        transfer = await put_dead_letter(world, NAME)
        await put_away(world, transfer)
        assert (await accept(world.ports, world.instances, world.event(transfer))).started == ()
        world.pass_time(RETENTION.total_seconds() + 1)
        assert await purge(world.ports, world.instances) == 1
        assert (await accept(world.ports, world.instances, world.event(transfer))).started == (transfer.id,)
        await finish_transfers(world)
        assert (await look(world.ports, world.instances, transfer.id))["letter"]["resolved_as"] == "discarded"
        assert world.dead_letters.open == {}
        assert world.at(transfer.target_blob) is None

    async def test_nor_does_the_same_message(self, world: World) -> None:
        """A queue may deliver it twice, and a reconcile meets the same name every time."""
        refused = RejectedEvent(Reason.MALFORMED, "no JSON")
        identity = await refuse(world.ports, b"hello", refused)
        await discard(world.ports, world.instances, identity)
        world.pass_time(60)
        await refuse(world.ports, b"hello", refused)
        assert world.dead_letters.open == {}
        with pytest.raises(Resolved, match="was discarded"):
            await replay(world.ports, world.instances, identity)

    async def test_what_cannot_be_read_and_breaks_again_is_a_new_failure(self, world: World) -> None:
        """It was shared again meanwhile."""
        world.instances.kept[UNKNOWN] = Instance(UNKNOWN, "Failed", None, {}, "the worker exited", NOW)
        await resume(world.ports, world.instances)
        await discard(world.ports, world.instances, UNKNOWN)
        world.pass_time(60)
        world.instances.kept[UNKNOWN] = replace(world.instances.kept[UNKNOWN], updated_at=world.clock)
        await resume(world.ports, world.instances)
        assert sorted(world.dead_letters.open[UNKNOWN].attempts) == [0, 1]


class TestMany:
    """A bulk discard: the same filters, dry run and report as a bulk replay."""

    @pytest.mark.parametrize(
        ("wanted", "names"),
        [
            ({}, {"in/1", "in/2", "in/3"}),
            ({"reason": Reason.THROTTLED}, {"in/1", "in/3"}),
            ({"route": "other"}, {"in/3"}),
            ({"since": NOW + MILLISECOND}, {"in/2"}),
            ({"until": NOW + MILLISECOND}, {"in/1", "in/3"}),
        ],
    )
    async def test_those_that_are_meant_are_discarded_and_no_others(
        self, wanted: dict[str, Any], names: set[str]
    ) -> None:
        """A dry run counts the same, and discards none."""
        world = World(routes=(ROUTE, OTHER_ROUTE))
        made = [
            await put_dead_letter(world, "in/1", Reason.THROTTLED),
            await put_dead_letter(world, "in/2", Reason.TARGET_UNWRITABLE, NOW + 2 * MILLISECOND),
            await put_dead_letter(world, "in/3", Reason.THROTTLED, route=OTHER_ROUTE),
        ]
        meant = {transfer.id for transfer in made if transfer.name in names}
        dry = await run_to_end(world, replace(DISCARD, dry_run=True, **wanted))
        assert (dry.tally, len(world.dead_letters.open)) == (Tally(found=len(meant), bytes=10 * len(meant)), 3)
        job = await run_to_end(world, replace(DISCARD, **wanted))
        assert (job.state, job.tally.discarded) == (JobState.DONE, len(meant))
        assert {letter.resolved_as for letter in world.dead_letters.resolved.values()} == {"discarded"}
        assert (set(world.dead_letters.resolved), set(world.dead_letters.open)) == (
            meant,
            {each.id for each in made} - meant,
        )

    async def test_each_is_discarded_running_or_refused(self, world: World) -> None:
        """RejectedEvent with why; what failed again since the survey was not meant, and stays open."""
        well, running, again = [await put_dead_letter(world, f"in/{number}") for number in range(3)]
        resolved, before, gone = [await put_dead_letter(world, f"in/{number}") for number in range(3, 6)]
        message = await refuse(world.ports, b"hello", RejectedEvent(Reason.MALFORMED, "no JSON"))
        job = await run_until(world, DISCARD, Phase.ACT)
        world.put_instance(running, "Running", Run(running, NOW, attempt=1))
        world.pass_time(60)
        await fail_again(world, again)
        await world.dead_letters.resolve(resolved.id, 0, "verified", NOW)
        await world.dead_letters.resolve(before.id, 0, "discarded", NOW - MILLISECOND)
        del world.dead_letters.open[gone.id]
        job = await run_to_end(world, job)
        assert results_by_id(world, job) == {
            **dict.fromkeys((well.id, message), "discarded"),
            running.id: "running",
            **dict.fromkeys((again.id, resolved.id, before.id, gone.id), "refused"),
        }
        details = {line["id"]: line["detail"] for line in world.reports.pages[results_page(job.id, 0)]}
        assert "failed again" in details[again.id]
        assert "was discarded" in details[before.id]
        assert set(world.dead_letters.open) == {running.id, again.id}
        assert job.tally == Tally(found=7, bytes=60, discarded=2, running=1, refused=4)

    async def test_a_batch_that_was_lost_finds_what_it_discarded(self, world: World) -> None:
        """It is discarded, and not refused."""
        made = [await put_dead_letter(world, f"in/{number}") for number in range(5)]
        job = await run_until(world, DISCARD, Phase.ACT)
        await run_next_batch(world, job)
        world.reports.pages.pop(results_page(job.id, 0))  # as if it had died before it wrote them
        ended = await run_to_end(world, job)
        assert results_by_id(world, ended) == {transfer.id: "discarded" for transfer in made}

    async def test_it_keeps_to_its_rate(self, world: World) -> None:
        """Five seconds' worth a batch, then as long a pause."""
        for number in range(25):
            await put_dead_letter(world, f"in/{number:02}")
        job = await run_until(world, replace(DISCARD, rate=2), Phase.ACT)
        job = await run_next_batch(world, job)
        assert (job.tally.discarded, job.pause) == (10, 5)

    async def test_a_bulk_replay_refuses_what_was_discarded_meanwhile(self, world: World) -> None:
        """It does not say that it was replayed."""
        transfer = await put_dead_letter(world, NAME)
        job = await run_until(world, REPLAY, Phase.ACT)
        await put_away(world, transfer)
        assert results_by_id(world, await run_to_end(world, job)) == {transfer.id: "refused"}

    async def test_beside_a_bulk_replay_each_letter_has_one_fate(self, world: World) -> None:
        """Batch by batch, the one after the other."""
        made = [await put_dead_letter(world, f"in/{number:02}") for number in range(20)]
        discards = await run_until(world, replace(DISCARD, rate=1), Phase.ACT)
        replays = await run_until(world, replace(REPLAY, rate=1), Phase.ACT)
        while discards.phase or replays.phase:
            discards = await run_next_batch(world, discards) if discards.phase else discards
            await finish_transfers(world)
            replays = await run_next_batch(world, replays) if replays.phase else replays
        await finish_transfers(world)
        fates = {letter.id: letter.resolved_as for letter in world.dead_letters.resolved.values()}
        assert set(fates) == {transfer.id for transfer in made}
        copied = {transfer.id for transfer in made if world.at(transfer.target_blob)}
        assert copied == {identity for identity, how in fates.items() if how == "verified"}


async def test_a_reconcile_leaves_what_was_discarded_and_says_what_can_be_done(world: World) -> None:
    """Its letter cannot be replayed any more."""
    transfer = await put_dead_letter(world, NAME)
    await put_away(world, transfer)
    job = await run_to_end(world)
    assert results_by_id(world, job) == {transfer.id: "skipped"}
    [line] = world.reports.pages[results_page(job.id, 0)]
    assert line["detail"] == "dead_lettered, dead letter discarded: share it with POST /api/transfers"
