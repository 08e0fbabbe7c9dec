"""Looking up the version of a renamed or announced blob, and what is started."""

from dataclasses import replace
from datetime import timedelta

import pytest

from adapters.translation import INSTANCES_START, SOURCE_HEAD, error_for_answer
from operations.transfers.accept import Accepted, accept
from rules.dead_letters import letters
from rules.errors import Permanent, Reason, Retryable
from rules.events.lookups import EMPTY_FOR
from rules.transfers import identity
from rules.transfers.decisions import CopyStatus
from rules.transfers.model import Ending, Run, Successor, Transfer
from rules.transfers.states import State
from rules.transfers.status import progress
from tests.fakes.world import CopyState
from tests.unit.rules.events.test_lookups import renamed, tier_changed
from tests.unit.samples import NAME, NOW, ROUTE, body, event
from tests.unit.world import World

FILE, FOLDER = body(renamed()), body(renamed("in/day=1", "DirectoryRenamed"))
ANNOUNCED = body(event(api="CreateFile"))
HEAD, FIND = "source.head", "instances.find"


async def deliver(world: World, message: bytes) -> Accepted:
    world.requests.clear()
    return await accept(world.ports, world.instances, message)


async def deliver_next(world: World) -> Accepted:
    """Deliver the only message of the queue once it is visible."""
    [(identity, message)] = world.events.queue.items()
    world.clock = max(world.clock, message.visible_at)
    del world.events.queue[identity]
    return await deliver(world, message.body)


def put_ended(world: World, transfer: Transfer, state: State, attempt: int = 0) -> None:
    run = Run(
        transfer, NOW, attempt=attempt, state=state, step=None, ending=Ending(state, successor=Successor("0xNEW"))
    )
    world.put_instance(transfer, "Completed", run, progress(run))


def attempt_of(world: World, transfer: Transfer) -> int:
    run = world.instances.kept[transfer.id].run
    assert run is not None
    return run.attempt


class TestRenamedFile:
    async def test_is_shared_with_one_head_and_one_start(self, world: World) -> None:
        transfer = world.put()
        assert await deliver(world, FILE) == Accepted(started=(transfer.id,))
        assert world.request_names == [HEAD, FIND, "instances.start"]
        assert world.events.queue == {}

    async def test_that_is_gone_starts_nothing(self, world: World) -> None:
        assert await deliver(world, FILE) == Accepted()
        assert world.request_names == [HEAD]

    async def test_of_a_size_that_a_filter_excludes_starts_nothing(self) -> None:
        world = World((replace(ROUTE, max_size=9),))
        world.put()
        assert (await deliver(world, FILE)).started == ()
        assert world.events.queue == {}
        world.put(content=b"123456789")
        assert len((await deliver(world, FILE)).started) == 1

    async def test_to_which_a_copy_is_pending_is_shared_whatever_size_it_shows(self) -> None:
        """It is empty until the copy ends; `start` filters it then."""
        world = World((replace(ROUTE, min_size=1),))
        transfer = world.put(content=b"", copy=CopyState("1", CopyStatus.PENDING, 7))
        assert await deliver(world, FILE) == Accepted(started=(transfer.id,))

    async def test_whose_transfer_runs_is_looked_up_again(self, world: World) -> None:
        """The transfer may be ending as superseded, because the file was away."""
        transfer = world.put()
        await deliver(world, FILE)
        assert await deliver(world, FILE) == Accepted()
        put_ended(world, transfer, State.SUPERSEDED)
        assert await deliver_next(world) == Accepted(started=(transfer.id,))
        assert attempt_of(world, transfer) == 1

    @pytest.mark.parametrize("status", ["Pending", "Running", "Failed"])
    async def test_whose_transfer_is_under_way_costs_ever_fewer_requests(self, world: World, status: str) -> None:
        transfer = world.put()
        world.put_instance(transfer, status)
        await deliver(world, FILE)
        began, lookups = world.clock, 0
        while world.clock - began < timedelta(hours=2):
            await deliver_next(world)
            lookups += 1
        assert lookups <= 17
        assert len(world.events.queue) == 1

    async def test_that_the_target_holds_is_looked_up_once_more_after_settle(self, world: World) -> None:
        transfer = world.put()
        world.put_copy(transfer)
        put_ended(world, transfer, State.VERIFIED)
        assert await deliver(world, FILE) == Accepted()
        [message] = world.events.queue.values()
        assert message.visible_at - world.clock == timedelta(seconds=world.ports.times.settle)
        assert await deliver_next(world) == Accepted(duplicates=(transfer.id,))
        assert world.request_names == [HEAD, FIND, "target.head"]
        assert world.events.queue == {}

    @pytest.mark.parametrize("state", [State.VERIFIED, State.SUPERSEDED])
    async def test_that_the_target_does_not_hold_starts_again(self, world: World, state: State) -> None:
        """It was renamed away and back, and another file of that name was shared in between."""
        transfer = world.put()
        file = world.storage.blobs[transfer.source_blob]
        world.put_copy(world.put(content=b"the other"), b"the other")
        world.storage.blobs[transfer.source_blob] = file
        put_ended(world, transfer, state)
        assert await deliver(world, FILE) == Accepted(started=(transfer.id,))
        run = world.instances.kept[transfer.id].run
        assert run is not None
        assert (run.attempt, run.first) == (1, False)

    @pytest.mark.parametrize("state", [State.CANCELLED, State.DEAD_LETTERED])
    async def test_that_was_cancelled_or_dead_lettered_does_not_start(self, world: World, state: State) -> None:
        transfer = world.put()
        put_ended(world, transfer, state)
        assert await deliver(world, FILE) == Accepted(duplicates=(transfer.id,))
        assert world.events.queue == {}

    async def test_that_another_message_starts_first_is_looked_up_again(self, world: World) -> None:
        transfer = world.put()
        put_ended(world, transfer, State.VERIFIED)
        world.before_next(
            INSTANCES_START, lambda: world.put_instance(transfer, "Running", Run(transfer, NOW, attempt=1))
        )
        assert await deliver(world, FILE) == Accepted()
        assert len(world.events.queue) == 1

    async def test_stays_on_the_queue_while_the_source_does_not_answer(self, world: World) -> None:
        world.put()
        world.refuse(SOURCE_HEAD, error_for_answer(SOURCE_HEAD, 503, "ServerBusy"))
        with pytest.raises(Retryable):
            await deliver(world, FILE)

    async def test_that_cannot_be_read_is_a_dead_letter(self, world: World) -> None:
        world.put()
        world.refuse(SOURCE_HEAD, Permanent(Reason.UNSUPPORTED_BLOB, "source.head", "unreadable"), times=1)
        accepted = await deliver(world, FILE)
        assert accepted.dead_letter is not None
        letter = await world.dead_letters.read(accepted.dead_letter)
        assert letter is not None
        assert letter.reason is Reason.UNSUPPORTED_BLOB


class TestAnnouncedFile:
    async def test_that_another_event_has_shared_costs_one_head(self, world: World) -> None:
        transfer = world.put()
        assert await deliver(world, ANNOUNCED) == Accepted()
        assert world.request_names == ["events.put"]
        world.put_instance(transfer, "Completed")
        assert await deliver_next(world) == Accepted(duplicates=(transfer.id,))
        assert world.request_names == [HEAD, FIND]
        assert world.events.queue == {}

    async def test_that_is_renamed_away_costs_one_head(self, world: World) -> None:
        await deliver(world, ANNOUNCED)
        assert await deliver_next(world) == Accepted()
        assert world.request_names == [HEAD]
        assert world.events.queue == {}

    async def test_that_is_flushed_but_never_closed_is_shared_once_it_rests(self, world: World) -> None:
        await deliver(world, ANNOUNCED)
        for content in (b"1", b"12"):
            last = world.put(content=content)
            assert await deliver_next(world) == Accepted()
        assert await deliver_next(world) == Accepted(started=(last.id,))
        assert world.clock - NOW < timedelta(hours=1)

    async def test_that_stays_empty_is_not_shared_before_a_day_has_passed(self, world: World) -> None:
        transfer = world.put(content=b"")
        await deliver(world, ANNOUNCED)
        deliveries = 0
        while not (accepted := await deliver_next(world)).started:
            deliveries += 1
            assert world.clock - NOW < EMPTY_FOR
        assert accepted == Accepted(started=(transfer.id,))
        assert deliveries <= 30


class TestRenamedDirectory:
    async def test_starts_one_reconcile_however_often_it_is_delivered(self, world: World) -> None:
        [job_id] = (await deliver(world, FOLDER)).started
        for status in ("Running", "Completed"):
            world.instances.become(job_id, status)
            assert await deliver(world, FOLDER) == Accepted(duplicates=(job_id,))
        job = world.instances.kept[job_id].job
        assert job is not None
        assert (job.route, job.prefix) == (ROUTE.name, "in/day=1/")

    async def test_a_start_that_fails_keeps_the_message(self, world: World) -> None:
        world.refuse(INSTANCES_START, error_for_answer(INSTANCES_START, 503, "ServerBusy"))
        with pytest.raises(Retryable):
            await deliver(world, FOLDER)


@pytest.mark.parametrize("message", [FILE, FOLDER, ANNOUNCED])
async def test_without_a_route_no_request_is_sent(message: bytes) -> None:
    world = World(routes=())
    assert await deliver(world, message) == Accepted()
    assert world.request_names == []


REHYDRATED = body(tier_changed())
READ = "dead_letters.read"


class TestRehydratedBlob:
    """Rule 21: a dead letter `source_archived` is replayed once the blob is online."""

    async def put_letter(self, world: World, transfer: Transfer, reason: Reason = Reason.SOURCE_ARCHIVED) -> None:
        """Let the transfer have ended as a dead letter."""
        ending = Ending(State.DEAD_LETTERED, reason=reason, detail="x")
        run = Run(transfer, NOW, state=State.DEAD_LETTERED, step=None, ending=ending)
        world.put_instance(transfer, "Completed", run, progress(run))
        await world.dead_letters.write(letters.of_run(run, NOW, "1"))

    async def test_with_its_dead_letter_is_shared(self, world: World) -> None:
        transfer = world.put(tier="Hot")
        await self.put_letter(world, transfer)
        assert await deliver(world, REHYDRATED) == Accepted(started=(transfer.id,))
        run = world.instances.kept[transfer.id].run
        assert run is not None
        assert (run.attempt, run.has_open_dead_letter) == (1, True)
        assert world.events.queue == {}

    async def test_is_shared_on_each_route_with_a_dead_letter(self) -> None:
        second = replace(ROUTE, name="second", target=replace(ROUTE.target, prefix="second/"))
        third = replace(ROUTE, name="third", target=replace(ROUTE.target, prefix="third/"))
        world = World((ROUTE, second, third))
        etag = world.put().etag
        transfers = [identity.transfer(route, NAME, etag) for route in (ROUTE, second)]
        for transfer in transfers:
            await self.put_letter(world, transfer)
        assert (await deliver(world, REHYDRATED)).started == tuple(transfer.id for transfer in transfers)

    async def test_that_is_archived_again_starts_nothing(self, world: World) -> None:
        await self.put_letter(world, world.put(tier="Archive"))
        assert await deliver(world, REHYDRATED) == Accepted()
        assert world.request_names == [HEAD]

    @pytest.mark.parametrize("reason", sorted(set(Reason) - {Reason.SOURCE_ARCHIVED}))
    async def test_with_a_dead_letter_of_another_reason_starts_nothing(self, world: World, reason: Reason) -> None:
        await self.put_letter(world, world.put(), reason)
        assert (await deliver(world, REHYDRATED)).started == ()
        assert world.events.queue == {}

    async def test_without_a_dead_letter_starts_nothing(self, world: World) -> None:
        world.put()
        assert (await deliver(world, REHYDRATED)).started == ()
        assert world.request_names == [HEAD, FIND, READ]

    @pytest.mark.parametrize("how", ["verified", "discarded"])
    async def test_whose_dead_letter_is_resolved_starts_nothing(self, world: World, how: str) -> None:
        transfer = world.put()
        await self.put_letter(world, transfer)
        await world.dead_letters.resolve(transfer.id, 0, how, NOW)
        assert (await deliver(world, REHYDRATED)).started == ()

    async def test_of_another_version_starts_nothing(self, world: World) -> None:
        """The newer version has its own event."""
        await self.put_letter(world, world.put())
        world.put(content=b"newer")
        assert (await deliver(world, REHYDRATED)).started == ()

    async def test_whose_transfer_runs_is_looked_up_again(self, world: World) -> None:
        """The transfer has seen the blob while it was archived, and has not written its dead letter yet."""
        transfer = world.put()
        world.put_instance(transfer, "Running")
        assert await deliver(world, REHYDRATED) == Accepted()
        await self.put_letter(world, transfer)
        assert await deliver_next(world) == Accepted(started=(transfer.id,))
        assert world.events.queue == {}

    async def test_two_concurrent_events_start_one_attempt(self, world: World) -> None:
        transfer = world.put()
        await self.put_letter(world, transfer)
        again = Run(transfer, NOW, attempt=1)
        world.before_next(INSTANCES_START, lambda: world.put_instance(transfer, "Running", again))
        assert (await deliver(world, REHYDRATED)).started == ()
        assert attempt_of(world, transfer) == 1

    async def test_of_a_size_that_a_filter_excludes_starts_nothing(self) -> None:
        world = World((replace(ROUTE, max_size=9),))
        await self.put_letter(world, world.put())
        assert (await deliver(world, REHYDRATED)).started == ()
