"""Discarding dead letters, also at the same time as replays, sweeps, late writes and late events."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from adapters.translation import DEAD_LETTERS_WRITE, INSTANCES_FIND
from operations.dead_letters.discard import discard
from operations.dead_letters.replay import Resolved, replay
from operations.problems import Conflict, NotFound
from operations.transfers.accept import accept, refuse
from operations.transfers.query import get as get_transfer
from operations.transfers.share import share
from operations.transfers.start import StillRunning
from operations.upkeep.purge import purge
from operations.upkeep.resume import resume
from operations.upkeep.sweep import sweep
from rules.codec import stamp
from rules.dead_letters import letters
from rules.errors import Reason
from rules.events.parse import RejectedEvent
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


async def discard_letter(world: World, transfer: Transfer) -> None:
    await discard(world.ports, world.instances, transfer.id)


async def dead_letter_again(world: World, transfer: Transfer, attempt: int = 1) -> None:
    """Dead-letter the next attempt of a transfer."""
    run = Run(transfer, NOW, attempt=attempt)
    await world.dead_letters.write_ended(Ended(transfer.id, attempt, Ending(State.DEAD_LETTERED, Reason.COPY_FAILED)))
    await world.dead_letters.write(letters.of_run(run, world.clock, "0.1.0"))


class TestDiscard:
    async def test_resolves_the_dead_letter_and_keeps_it_readable_while_the_transfer_stays_dead_lettered(
        self, world: World
    ) -> None:
        transfer = await put_dead_letter(world, NAME)
        shown = await get_transfer(world.ports, world.instances, transfer.id)
        assert shown["letter"] == {"state": "open", "resolved_at": None, "resolved_as": None}
        kept = await discard(world.ports, world.instances, transfer.id)
        assert kept == await world.dead_letters.read(transfer.id)
        assert (kept.resolved_as, kept.resolved_at, kept.reason) == ("discarded", NOW, Reason.THROTTLED)
        assert world.dead_letters.open == {}
        shown = await get_transfer(world.ports, world.instances, transfer.id)
        assert shown["state"] == "dead_lettered"
        assert shown["letter"] == {"state": "resolved", "resolved_at": stamp(NOW), "resolved_as": "discarded"}
        assert "instances.start" not in world.request_names

    async def test_a_dead_letter_of_a_message_can_be_discarded(self, world: World) -> None:
        identity = await refuse(world.ports, b"hello", RejectedEvent(Reason.MALFORMED, "no JSON"))
        assert (await discard(world.ports, world.instances, identity)).resolved_as == "discarded"
        assert world.dead_letters.open == {}

    async def test_resume_does_not_rewrite_a_discarded_dead_letter_of_an_unreadable_transfer(
        self, world: World
    ) -> None:
        world.instances.kept[UNKNOWN] = Instance(UNKNOWN, "Failed", None, {}, "the worker exited", NOW)
        await resume(world.ports, world.instances)
        await discard(world.ports, world.instances, UNKNOWN)
        await resume(world.ports, world.instances)
        assert world.dead_letters.open == {}

    async def test_an_unknown_dead_letter_is_not_found(self, world: World) -> None:
        with pytest.raises(NotFound):
            await discard(world.ports, world.instances, UNKNOWN)

    async def test_a_second_discard_is_a_conflict_and_writes_nothing(self, world: World) -> None:
        transfer = await put_dead_letter(world, NAME)
        await discard_letter(world, transfer)
        writes = world.request_names.count(DEAD_LETTERS_WRITE.name)
        with pytest.raises(Resolved, match="was discarded") as caught:
            await discard_letter(world, transfer)
        assert caught.value.facts == {"resolved_as": "discarded"}
        assert world.request_names.count(DEAD_LETTERS_WRITE.name) == writes

    async def test_a_dead_letter_that_a_replay_resolved_is_a_conflict(self, world: World) -> None:
        transfer = await put_dead_letter(world, NAME)
        await world.dead_letters.resolve(transfer.id, 0, "verified", NOW)
        with pytest.raises(Resolved, match="already resolved") as caught:
            await discard_letter(world, transfer)
        assert caught.value.facts == {"resolved_as": "verified"}

    @pytest.mark.parametrize("status", ["Pending", "Running", "Suspended", "Failed", "Terminated"])
    async def test_a_dead_letter_that_is_being_replayed_is_a_conflict_with_retry_after(
        self, world: World, status: str
    ) -> None:
        transfer = await put_dead_letter(world, NAME)
        world.put_instance(transfer, status, Run(transfer, NOW, attempt=1, has_open_dead_letter=True))
        with pytest.raises(StillRunning) as caught:
            await discard_letter(world, transfer)
        assert caught.value.retry_after == 30
        assert transfer.id in world.dead_letters.open

    async def test_a_discarded_dead_letter_cannot_be_replayed_but_its_blob_can_be_shared(self, world: World) -> None:
        transfer = await put_dead_letter(world, NAME)
        await discard_letter(world, transfer)
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

    async def test_a_later_failure_reopens_the_dead_letter(self, world: World) -> None:
        transfer = await put_dead_letter(world, NAME)
        await discard_letter(world, transfer)
        await dead_letter_again(world, transfer)
        opened = world.dead_letters.open[transfer.id]
        assert (sorted(opened.attempts), opened.resolved_as) == ([0, 1], None)
        ended = await world.dead_letters.read_ended(transfer.id)
        assert ended is not None
        assert not ended.discarded


class TestRaces:
    async def test_a_failure_of_a_concurrent_replay_reopens_the_dead_letter(self, world: World) -> None:
        transfer = await put_dead_letter(world, NAME)
        run = Run(transfer, NOW, attempt=1, has_open_dead_letter=True)
        world.before_next(DEAD_LETTERS_WRITE, partial(world.put_instance, transfer, "Running", run))
        await discard_letter(world, transfer)
        await dead_letter_again(world, transfer)
        assert world.dead_letters.open[transfer.id].last_attempt == 1

    @pytest.mark.parametrize("how", ["verified", "superseded", "cancelled"])
    async def test_a_replay_that_ends_first_wins(self, world: World, how: str) -> None:
        transfer = await put_dead_letter(world, NAME)
        open_ = world.dead_letters.open

        def resolve() -> None:
            world.dead_letters.resolved[transfer.id] = letters.resolve(open_.pop(transfer.id), NOW, how)

        world.before_next(INSTANCES_FIND, resolve)
        with pytest.raises(Resolved) as caught:
            await discard_letter(world, transfer)
        assert caught.value.facts == {"resolved_as": how}
        ended = await world.dead_letters.read_ended(transfer.id)
        assert ended is not None
        assert not ended.discarded

    async def test_a_newer_failure_is_not_discarded(self, world: World) -> None:
        transfer = await put_dead_letter(world, NAME)
        later = letters.merge(
            world.dead_letters.open[transfer.id], letters.of_run(Run(transfer, NOW, attempt=1), NOW, "1")
        )
        assert later is not None
        world.before_next(INSTANCES_FIND, partial(world.dead_letters.open.__setitem__, transfer.id, later))
        with pytest.raises(Conflict, match="failed again"):
            await discard_letter(world, transfer)
        assert world.dead_letters.open[transfer.id].last_attempt == 1

    async def test_a_dead_letter_that_disappears_during_the_discard_is_written_again(self, world: World) -> None:
        transfer = await put_dead_letter(world, NAME)
        world.before_next(INSTANCES_FIND, world.dead_letters.open.clear)
        with pytest.raises(Conflict):
            await discard_letter(world, transfer)
        await sweep(world.ports, world.instances)
        await finish_transfers(world)
        assert transfer.id in world.dead_letters.open

    async def test_two_concurrent_discards_both_succeed(self, world: World) -> None:
        transfer = await put_dead_letter(world, NAME)
        discarded = letters.resolve(world.dead_letters.open[transfer.id], NOW, "discarded")

        def first() -> None:
            del world.dead_letters.open[transfer.id]
            world.dead_letters.resolved[transfer.id] = discarded

        world.before_next(DEAD_LETTERS_WRITE, first)
        assert await discard(world.ports, world.instances, transfer.id) == discarded

    async def test_the_sweep_neither_rewrites_nor_reads_a_discarded_dead_letter(self, world: World) -> None:
        made = [await put_dead_letter(world, f"in/{number}") for number in range(3)]
        for transfer in made:
            await discard_letter(world, transfer)
        world.requests.clear()
        await sweep(world.ports, world.instances)
        assert world.request_names == ["dead_letters.list", "dead_letters.list"]

    async def test_the_sweep_does_not_rewrite_it_after_the_container_deleted_it(self, world: World) -> None:
        transfer = await put_dead_letter(world, NAME)
        await discard_letter(world, transfer)
        world.dead_letters.resolved.clear()
        await sweep(world.ports, world.instances)
        await finish_transfers(world)
        assert world.dead_letters.open == {}
        world.pass_time(RETENTION.total_seconds() + 1)
        assert await purge(world.ports, world.instances) == 1

    async def test_a_sweep_that_began_before_the_discard_does_not_rewrite_it(self, world: World) -> None:
        transfer = await put_dead_letter(world, NAME)
        lost = world.dead_letters.open.pop(transfer.id)
        await sweep(world.ports, world.instances)
        late = world.instances.kept[transfer.id]
        await world.dead_letters.write(lost)
        world.put_instance(transfer, "Completed", output={"state": "dead_lettered"})
        await discard_letter(world, transfer)
        world.instances.kept[transfer.id] = late
        await finish_transfers(world)
        assert world.dead_letters.open == {}

    async def test_a_late_duplicate_of_the_event_copies_nothing_and_reopens_nothing(self, world: World) -> None:
        """Before the purge of its history it starts nothing; afterwards it ends as the record of the end says."""
        transfer = await put_dead_letter(world, NAME)
        await discard_letter(world, transfer)
        assert (await accept(world.ports, world.instances, world.event(transfer))).started == ()
        world.pass_time(RETENTION.total_seconds() + 1)
        assert await purge(world.ports, world.instances) == 1
        assert (await accept(world.ports, world.instances, world.event(transfer))).started == (transfer.id,)
        await finish_transfers(world)
        assert (await get_transfer(world.ports, world.instances, transfer.id))["letter"]["resolved_as"] == "discarded"
        assert world.dead_letters.open == {}
        assert world.at(transfer.target_blob) is None

    async def test_a_second_delivery_of_a_message_does_not_reopen_its_dead_letter(self, world: World) -> None:
        refused = RejectedEvent(Reason.MALFORMED, "no JSON")
        identity = await refuse(world.ports, b"hello", refused)
        await discard(world.ports, world.instances, identity)
        world.pass_time(60)
        await refuse(world.ports, b"hello", refused)
        assert world.dead_letters.open == {}
        with pytest.raises(Resolved, match="was discarded"):
            await replay(world.ports, world.instances, identity)

    async def test_an_unreadable_transfer_that_breaks_again_is_a_new_failure(self, world: World) -> None:
        world.instances.kept[UNKNOWN] = Instance(UNKNOWN, "Failed", None, {}, "the worker exited", NOW)
        await resume(world.ports, world.instances)
        await discard(world.ports, world.instances, UNKNOWN)
        world.pass_time(60)
        world.instances.kept[UNKNOWN] = replace(world.instances.kept[UNKNOWN], updated_at=world.clock)
        await resume(world.ports, world.instances)
        assert sorted(world.dead_letters.open[UNKNOWN].attempts) == [0, 1]


class TestBulkDiscard:
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
    async def test_filters_select_the_dead_letters_to_discard(self, wanted: dict[str, Any], names: set[str]) -> None:
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

    async def test_the_result_of_each_line_is_discarded_running_or_refused(self, world: World) -> None:
        """A dead letter that failed again after the survey stays open."""
        well, running, again = [await put_dead_letter(world, f"in/{number}") for number in range(3)]
        resolved, before, gone = [await put_dead_letter(world, f"in/{number}") for number in range(3, 6)]
        message = await refuse(world.ports, b"hello", RejectedEvent(Reason.MALFORMED, "no JSON"))
        job = await run_until(world, DISCARD, Phase.ACT)
        world.put_instance(running, "Running", Run(running, NOW, attempt=1))
        world.pass_time(60)
        await dead_letter_again(world, again)
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

    async def test_a_repeated_batch_reports_its_own_discards_as_discarded(self, world: World) -> None:
        made = [await put_dead_letter(world, f"in/{number}") for number in range(5)]
        job = await run_until(world, DISCARD, Phase.ACT)
        await run_next_batch(world, job)
        world.reports.pages.pop(results_page(job.id, 0))  # as if the batch had been lost before it wrote them
        ended = await run_to_end(world, job)
        assert results_by_id(world, ended) == {transfer.id: "discarded" for transfer in made}

    async def test_the_rate_limit_holds(self, world: World) -> None:
        for number in range(25):
            await put_dead_letter(world, f"in/{number:02}")
        job = await run_until(world, replace(DISCARD, rate=2), Phase.ACT)
        job = await run_next_batch(world, job)
        assert (job.tally.discarded, job.pause) == (10, 5)

    async def test_a_bulk_replay_refuses_a_discarded_dead_letter(self, world: World) -> None:
        transfer = await put_dead_letter(world, NAME)
        job = await run_until(world, REPLAY, Phase.ACT)
        await discard_letter(world, transfer)
        assert results_by_id(world, await run_to_end(world, job)) == {transfer.id: "refused"}

    async def test_with_a_concurrent_bulk_replay_each_dead_letter_is_either_replayed_or_discarded(
        self, world: World
    ) -> None:
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


async def test_a_reconcile_skips_a_discarded_dead_letter_and_names_the_fix(world: World) -> None:
    transfer = await put_dead_letter(world, NAME)
    await discard_letter(world, transfer)
    job = await run_to_end(world)
    assert results_by_id(world, job) == {transfer.id: "skipped"}
    [line] = world.reports.pages[results_page(job.id, 0)]
    assert line["detail"] == "dead_lettered, dead letter discarded: share it with POST /api/transfers"
