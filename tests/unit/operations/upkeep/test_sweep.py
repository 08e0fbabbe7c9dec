"""The sweep: letters agree with what they are about."""

import pytest

from adapters.translation import INSTANCES_FIND
from operations.transfers.accept import accept
from operations.upkeep.sweep import sweep
from rules.dead_letters import letters
from rules.errors import Reason
from rules.transfers.model import Ended, Ending, Run, Step, Transfer
from rules.transfers.states import State
from rules.transfers.status import progress
from tests.unit.job_runs import finish_transfers
from tests.unit.samples import NAME, NOW
from tests.unit.world import World


def ended(transfer: Transfer, state: State, attempt: int = 0) -> Run:
    """A run at its end."""
    reason = Reason.THROTTLED if state is State.DEAD_LETTERED else None
    ending = Ending(state, reason=reason, detail="503" if reason else "")
    return Run(transfer, NOW, attempt=attempt, state=state, step=None, ending=ending)


def completed(world: World, transfer: Transfer, state: State, attempt: int = 0) -> Run:
    """Let an orchestration have ended so. Its input is what it began with."""
    world.put_instance(
        transfer, "Completed", Run(transfer, NOW, attempt=attempt), progress(ended(transfer, state, attempt))
    )
    return ended(transfer, state, attempt)


def taken_up(world: World, transfer: Transfer) -> Run:
    """The run that the sweep has started."""
    instance = world.instances.kept[transfer.id]
    assert instance.status == "Pending"
    assert instance.run is not None
    return instance.run


class TestLetters:
    """Letters agree with their transfers, both ways."""

    async def opened(self, world: World, transfer: Transfer, attempt: int = 0) -> None:
        """An open letter of this attempt."""
        await world.dead_letters.write(letters.of_run(ended(transfer, State.DEAD_LETTERED, attempt), NOW, "0.1.0"))

    @pytest.mark.parametrize("state", [State.VERIFIED, State.SUPERSEDED, State.CANCELLED])
    async def test_an_open_one_whose_transfer_is_not_dead_lettered_is_resolved(
        self, world: World, state: State
    ) -> None:
        """A late write had opened it again."""
        transfer = world.put()
        await self.opened(world, transfer)
        completed(world, transfer, state, attempt=1)
        await sweep(world.ports, world.instances)
        assert world.dead_letters.open == {}
        assert world.dead_letters.resolved[transfer.id].resolved_as == state

    async def test_an_open_one_of_a_dead_lettered_transfer_stays(self, world: World) -> None:
        """It agrees, and costs no look at the instance."""
        transfer = world.put()
        await self.opened(world, transfer)
        completed(world, transfer, State.DEAD_LETTERED)
        await world.dead_letters.write_ended(Ended(transfer.id, 0, Ending(State.DEAD_LETTERED, Reason.THROTTLED)))
        await sweep(world.ports, world.instances)
        assert transfer.id in world.dead_letters.open
        assert "instances.find" not in world.request_names

    async def test_one_whose_replay_runs_is_left_alone(self, world: World) -> None:
        """Its end will resolve it."""
        transfer = world.put()
        await self.opened(world, transfer)
        world.put_instance(transfer, "Running", Run(transfer, NOW, attempt=1, has_open_dead_letter=True))
        await sweep(world.ports, world.instances)
        assert transfer.id in world.dead_letters.open

    async def test_one_whose_history_is_gone_stays(self, world: World) -> None:
        """Nobody knows better."""
        transfer = world.put()
        await self.opened(world, transfer)
        await sweep(world.ports, world.instances)
        assert transfer.id in world.dead_letters.open

    async def test_one_of_a_message_stays(self, world: World) -> None:
        """There is no transfer."""
        await accept(world.ports, world.instances, b"hello")
        await sweep(world.ports, world.instances)
        assert len(world.dead_letters.open) == 1

    async def test_a_dead_lettered_transfer_without_a_letter_gets_it(self, world: World) -> None:
        """Started at `close`, which writes it, with the attempt and the reason that were recorded."""
        transfer = world.put()
        completed(world, transfer, State.DEAD_LETTERED, attempt=1)
        await world.dead_letters.write_ended(
            Ended(transfer.id, 1, Ending(State.DEAD_LETTERED, Reason.THROTTLED, "503"))
        )
        await sweep(world.ports, world.instances)
        run = taken_up(world, transfer)
        assert (run.step, run.attempt) == (Step.CLOSE, 1)
        assert run.ending is not None
        assert (run.ending.state, run.ending.reason) == (State.DEAD_LETTERED, Reason.THROTTLED)

    async def test_its_letter_has_the_reason_and_the_detail_of_its_end(self, world: World) -> None:
        """The list of ends shows no detail: the record itself does."""
        transfer = world.put()
        completed(world, transfer, State.DEAD_LETTERED, attempt=1)
        await world.dead_letters.write_ended(
            Ended(transfer.id, 1, Ending(State.DEAD_LETTERED, Reason.COPY_FAILED, "500: why"))
        )
        await sweep(world.ports, world.instances)
        await finish_transfers(world)
        written = world.dead_letters.open[transfer.id]
        assert (written.last, written.reason, written.detail) == (1, Reason.COPY_FAILED, "500: why")

    async def test_one_whose_record_was_dropped_since_it_was_listed_is_left_alone(self, world: World) -> None:
        """It was replayed and verified meanwhile."""
        transfer = world.put()
        completed(world, transfer, State.DEAD_LETTERED)
        await world.dead_letters.write_ended(Ended(transfer.id, 0, Ending(State.DEAD_LETTERED, Reason.THROTTLED)))
        world.before_next(INSTANCES_FIND, world.dead_letters.ends.clear)
        await sweep(world.ports, world.instances)
        assert "instances.start" not in world.request_names

    async def test_a_resolved_letter_of_an_attempt_before_is_not_its_letter(self, world: World) -> None:
        """It was verified once, shared again, and failed: nobody would see it."""
        transfer = world.put()
        await self.opened(world, transfer)
        await world.dead_letters.resolve(transfer.id, 1, "verified", NOW)
        completed(world, transfer, State.DEAD_LETTERED, attempt=2)
        await world.dead_letters.write_ended(Ended(transfer.id, 2, Ending(State.DEAD_LETTERED, Reason.THROTTLED)))
        await sweep(world.ports, world.instances)
        assert taken_up(world, transfer).attempt == 2

    async def test_a_resolved_letter_of_this_attempt_is_enough(self, world: World) -> None:
        """Its record of an end came late."""
        transfer = world.put()
        await self.opened(world, transfer)
        await world.dead_letters.resolve(transfer.id, 0, "verified", NOW)
        completed(world, transfer, State.DEAD_LETTERED)
        await world.dead_letters.write_ended(Ended(transfer.id, 0, Ending(State.DEAD_LETTERED)))
        await sweep(world.ports, world.instances)
        assert "instances.start" not in world.request_names

    async def test_one_whose_letter_a_replay_is_about_to_resolve_is_left_alone(self, world: World) -> None:
        """It runs."""
        transfer = world.put()
        world.put_instance(transfer, "Running", Run(transfer, NOW, attempt=1))
        await world.dead_letters.write_ended(Ended(transfer.id, 0, Ending(State.DEAD_LETTERED)))
        await sweep(world.ports, world.instances)
        assert "instances.start" not in world.request_names

    async def test_a_record_of_an_end_that_a_later_attempt_left_behind_writes_no_letter(self, world: World) -> None:
        """The transfer was replayed and cancelled: its own record is the newer one."""
        transfer = world.put()
        completed(world, transfer, State.CANCELLED, attempt=1)
        await world.dead_letters.write_ended(Ended(transfer.id, 1, Ending(State.CANCELLED)))
        await sweep(world.ports, world.instances)
        assert "instances.start" not in world.request_names

    async def test_a_record_of_an_end_whose_transfer_is_verified_writes_no_letter(self, world: World) -> None:
        """Verified after its end was recorded, and the record not yet dropped: the instance knows."""
        transfer = world.put()
        completed(world, transfer, State.VERIFIED, attempt=1)
        await world.dead_letters.write_ended(Ended(transfer.id, 0, Ending(State.DEAD_LETTERED, Reason.THROTTLED)))
        await sweep(world.ports, world.instances)
        assert "instances.start" not in world.request_names

    async def test_a_quiet_hub_costs_two_requests(self, world: World) -> None:
        """Every five minutes."""
        await sweep(world.ports, world.instances)
        assert world.request_names == ["letters.list", "letters.list"]

    async def test_letters_over_several_pages(self, world: World) -> None:
        """All are compared."""
        transfers = [world.put(f"{NAME}{number}") for number in range(230)]
        for transfer in transfers:
            await self.opened(world, transfer)
            completed(world, transfer, State.VERIFIED, attempt=1)
        await sweep(world.ports, world.instances)
        assert world.dead_letters.open == {}

    async def test_run_twice_it_does_nothing_the_second_time(self, world: World) -> None:
        """Two sweeps may overlap."""
        transfer = world.put()
        completed(world, transfer, State.DEAD_LETTERED)
        await world.dead_letters.write_ended(Ended(transfer.id, 0, Ending(State.DEAD_LETTERED, Reason.THROTTLED)))
        await sweep(world.ports, world.instances)
        await sweep(world.ports, world.instances)
        assert world.request_names.count("instances.start") == 1
