"""The sweep: makes dead letters agree with their transfers."""

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


def ended_run(transfer: Transfer, state: State, attempt: int = 0) -> Run:
    reason = Reason.THROTTLED if state is State.DEAD_LETTERED else None
    ending = Ending(state, reason=reason, detail="503" if reason else "")
    return Run(transfer, NOW, attempt=attempt, state=state, step=None, ending=ending)


def put_completed(world: World, transfer: Transfer, state: State, attempt: int = 0) -> Run:
    """Let an orchestration have completed. Its input is that of its start."""
    world.put_instance(
        transfer, "Completed", Run(transfer, NOW, attempt=attempt), progress(ended_run(transfer, state, attempt))
    )
    return ended_run(transfer, state, attempt)


def restarted_run(world: World, transfer: Transfer) -> Run:
    """The run that the sweep has started."""
    instance = world.instances.kept[transfer.id]
    assert instance.status == "Pending"
    assert instance.run is not None
    return instance.run


class TestSweep:
    async def open_letter(self, world: World, transfer: Transfer, attempt: int = 0) -> None:
        """Write an open dead letter of this attempt."""
        await world.dead_letters.write(letters.of_run(ended_run(transfer, State.DEAD_LETTERED, attempt), NOW, "0.1.0"))

    @pytest.mark.parametrize("state", [State.VERIFIED, State.SUPERSEDED, State.CANCELLED])
    async def test_an_open_dead_letter_is_resolved_if_its_transfer_is_not_dead_lettered(
        self, world: World, state: State
    ) -> None:
        transfer = world.put()
        await self.open_letter(world, transfer)
        put_completed(world, transfer, state, attempt=1)
        await sweep(world.ports, world.instances)
        assert world.dead_letters.open == {}
        assert world.dead_letters.resolved[transfer.id].resolved_as == state

    async def test_an_open_dead_letter_of_a_dead_lettered_transfer_stays_and_costs_no_request(
        self, world: World
    ) -> None:
        transfer = world.put()
        await self.open_letter(world, transfer)
        put_completed(world, transfer, State.DEAD_LETTERED)
        await world.dead_letters.write_ended(Ended(transfer.id, 0, Ending(State.DEAD_LETTERED, Reason.THROTTLED)))
        await sweep(world.ports, world.instances)
        assert transfer.id in world.dead_letters.open
        assert "instances.find" not in world.request_names

    async def test_a_dead_letter_whose_replay_runs_stays(self, world: World) -> None:
        transfer = world.put()
        await self.open_letter(world, transfer)
        world.put_instance(transfer, "Running", Run(transfer, NOW, attempt=1, has_open_dead_letter=True))
        await sweep(world.ports, world.instances)
        assert transfer.id in world.dead_letters.open

    async def test_a_dead_letter_without_a_history_stays(self, world: World) -> None:
        transfer = world.put()
        await self.open_letter(world, transfer)
        await sweep(world.ports, world.instances)
        assert transfer.id in world.dead_letters.open

    async def test_a_dead_letter_of_a_message_stays(self, world: World) -> None:
        await accept(world.ports, world.instances, b"hello")
        await sweep(world.ports, world.instances)
        assert len(world.dead_letters.open) == 1

    async def test_a_missing_dead_letter_is_written_by_a_restart_at_close(self, world: World) -> None:
        transfer = world.put()
        put_completed(world, transfer, State.DEAD_LETTERED, attempt=1)
        await world.dead_letters.write_ended(
            Ended(transfer.id, 1, Ending(State.DEAD_LETTERED, Reason.THROTTLED, "503"))
        )
        await sweep(world.ports, world.instances)
        run = restarted_run(world, transfer)
        assert (run.step, run.attempt) == (Step.CLOSE, 1)
        assert run.ending is not None
        assert (run.ending.state, run.ending.reason) == (State.DEAD_LETTERED, Reason.THROTTLED)

    async def test_a_missing_dead_letter_has_the_reason_and_detail_of_the_recorded_end(self, world: World) -> None:
        transfer = world.put()
        put_completed(world, transfer, State.DEAD_LETTERED, attempt=1)
        await world.dead_letters.write_ended(
            Ended(transfer.id, 1, Ending(State.DEAD_LETTERED, Reason.COPY_FAILED, "500: why"))
        )
        await sweep(world.ports, world.instances)
        await finish_transfers(world)
        written = world.dead_letters.open[transfer.id]
        assert (written.last_attempt, written.reason, written.detail) == (1, Reason.COPY_FAILED, "500: why")

    async def test_a_record_that_was_deleted_after_the_list_writes_no_dead_letter(self, world: World) -> None:
        transfer = world.put()
        put_completed(world, transfer, State.DEAD_LETTERED)
        await world.dead_letters.write_ended(Ended(transfer.id, 0, Ending(State.DEAD_LETTERED, Reason.THROTTLED)))
        world.before_next(INSTANCES_FIND, world.dead_letters.ends.clear)
        await sweep(world.ports, world.instances)
        assert "instances.start" not in world.request_names

    async def test_a_resolved_dead_letter_of_an_earlier_attempt_does_not_count(self, world: World) -> None:
        transfer = world.put()
        await self.open_letter(world, transfer)
        await world.dead_letters.resolve(transfer.id, 1, "verified", NOW)
        put_completed(world, transfer, State.DEAD_LETTERED, attempt=2)
        await world.dead_letters.write_ended(Ended(transfer.id, 2, Ending(State.DEAD_LETTERED, Reason.THROTTLED)))
        await sweep(world.ports, world.instances)
        assert restarted_run(world, transfer).attempt == 2

    async def test_a_resolved_dead_letter_of_this_attempt_counts(self, world: World) -> None:
        transfer = world.put()
        await self.open_letter(world, transfer)
        await world.dead_letters.resolve(transfer.id, 0, "verified", NOW)
        put_completed(world, transfer, State.DEAD_LETTERED)
        await world.dead_letters.write_ended(Ended(transfer.id, 0, Ending(State.DEAD_LETTERED)))
        await sweep(world.ports, world.instances)
        assert "instances.start" not in world.request_names

    async def test_a_running_transfer_gets_no_dead_letter(self, world: World) -> None:
        transfer = world.put()
        world.put_instance(transfer, "Running", Run(transfer, NOW, attempt=1))
        await world.dead_letters.write_ended(Ended(transfer.id, 0, Ending(State.DEAD_LETTERED)))
        await sweep(world.ports, world.instances)
        assert "instances.start" not in world.request_names

    async def test_a_record_of_an_earlier_attempt_writes_no_dead_letter(self, world: World) -> None:
        transfer = world.put()
        put_completed(world, transfer, State.CANCELLED, attempt=1)
        await world.dead_letters.write_ended(Ended(transfer.id, 1, Ending(State.CANCELLED)))
        await sweep(world.ports, world.instances)
        assert "instances.start" not in world.request_names

    async def test_a_record_of_a_verified_transfer_writes_no_dead_letter(self, world: World) -> None:
        transfer = world.put()
        put_completed(world, transfer, State.VERIFIED, attempt=1)
        await world.dead_letters.write_ended(Ended(transfer.id, 0, Ending(State.DEAD_LETTERED, Reason.THROTTLED)))
        await sweep(world.ports, world.instances)
        assert "instances.start" not in world.request_names

    async def test_an_idle_run_costs_two_requests(self, world: World) -> None:
        await sweep(world.ports, world.instances)
        assert world.request_names == ["dead_letters.list", "dead_letters.list"]

    async def test_reads_all_pages_of_dead_letters(self, world: World) -> None:
        transfers = [world.put(f"{NAME}{number}") for number in range(230)]
        for transfer in transfers:
            await self.open_letter(world, transfer)
            put_completed(world, transfer, State.VERIFIED, attempt=1)
        await sweep(world.ports, world.instances)
        assert world.dead_letters.open == {}

    async def test_a_second_run_does_nothing(self, world: World) -> None:
        transfer = world.put()
        put_completed(world, transfer, State.DEAD_LETTERED)
        await world.dead_letters.write_ended(Ended(transfer.id, 0, Ending(State.DEAD_LETTERED, Reason.THROTTLED)))
        await sweep(world.ports, world.instances)
        await sweep(world.ports, world.instances)
        assert world.request_names.count("instances.start") == 1
