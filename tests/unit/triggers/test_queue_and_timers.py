"""The queue trigger and the timers: each calls one operation, and raises failures of storage."""

import asyncio
from typing import Never

import azure.functions as func
import pytest

from adapters.translation import DEAD_LETTERS_LIST, EVENTS_POISON, INSTANCES_FIND, INSTANCES_PAGE, error_for_answer
from rules.errors import Reason, Retryable
from rules.transfers.model import Ended, Ending, Run, Step
from rules.transfers.states import State
from tests.unit.samples import NOW
from tests.unit.triggers.api import Api
from tests.unit.world import World
from triggers import queue


class TestQueue:
    async def test_the_body_is_accepted(self, world: World, api: Api) -> None:
        """Only the body: the host merges properties of a message into its metadata, so an id may be forged."""
        transfer = world.put()
        message = func.QueueMessage(id="forged", body=world.event(transfer))
        assert await api.run("accept", message=message) is None
        assert list(world.instances.kept) == [transfer.id]

    async def test_a_malformed_message_is_consumed_as_a_dead_letter(self, world: World, api: Api) -> None:
        await api.run("accept", message=func.QueueMessage(body=b"\xff"))
        assert len(world.dead_letters.open) == 1

    async def test_a_failure_of_storage_raises_so_that_the_queue_keeps_the_message(
        self, world: World, api: Api
    ) -> None:
        world.refuse(INSTANCES_FIND, error_for_answer(INSTANCES_FIND, 503, "ServerBusy"))
        with pytest.raises(Retryable):
            await api.run("accept", message=func.QueueMessage(body=world.event(world.put())))

    async def test_a_call_that_hangs_times_out_so_that_the_queue_keeps_the_message(
        self, world: World, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Before a stopping host cuts it off: the message would then be hidden for ten minutes."""

        async def hang(_identity: str) -> Never:
            await asyncio.Future[Never]()
            raise AssertionError

        assert queue.TIMEOUT_SECONDS <= 9
        monkeypatch.setattr(queue, "TIMEOUT_SECONDS", 0.01)
        monkeypatch.setattr(world.instances, "find", hang)
        with pytest.raises(TimeoutError):
            await api.run("accept", message=func.QueueMessage(body=world.event(world.put())))
        assert world.dead_letters.open == {}


class TestTimers:
    async def test_drain_accepts_poison_messages(self, world: World, api: Api) -> None:
        transfer = world.put()
        world.events.put_poison(world.event(transfer))
        assert await api.run("drain", timer=None) is None
        assert list(world.instances.kept) == [transfer.id]

    async def test_resume_restarts_a_failed_transfer(self, world: World, api: Api) -> None:
        transfer = world.put()
        world.put_instance(transfer, "Failed", Run(transfer, NOW))
        world.pass_time(30)
        assert await api.run("resume", timer=None) is None
        run = world.instances.kept[transfer.id].run
        assert run is not None
        assert (run.step, run.resumes) == (Step.START, 1)

    async def test_sweep_restarts_a_transfer_without_its_dead_letter(self, world: World, api: Api) -> None:
        transfer = world.put()
        world.put_instance(transfer, "Completed", Run(transfer, NOW), {"state": "dead_lettered"})
        await world.dead_letters.write_ended(Ended(transfer.id, 0, Ending(State.DEAD_LETTERED, Reason.THROTTLED)))
        assert await api.run("sweep", timer=None) is None
        run = world.instances.kept[transfer.id].run
        assert run is not None
        assert run.step is Step.CLOSE

    async def test_watchdog_ends_a_stuck_transfer(self, world: World, api: Api) -> None:
        transfer = world.put()
        world.put_instance(transfer, "Running", Run(transfer, NOW))
        world.pass_time(25 * 3_600)
        assert await api.run("watchdog", timer=None) is None
        assert world.instances.kept[transfer.id].status == "Terminated"

    async def test_purge_deletes_an_old_history(self, world: World, api: Api) -> None:
        transfer = world.put()
        world.put_instance(transfer, "Completed", Run(transfer, NOW), {"state": "verified"})
        world.pass_time(31 * 86_400)
        assert await api.run("purge", timer=None) is None
        assert world.instances.kept == {}

    @pytest.mark.parametrize(
        ("name", "request_"),
        [
            ("drain", EVENTS_POISON),
            ("resume", INSTANCES_PAGE),
            ("sweep", DEAD_LETTERS_LIST),
            ("watchdog", INSTANCES_PAGE),
            ("purge", INSTANCES_PAGE),
        ],
    )
    async def test_a_failure_of_storage_raises(self, world: World, api: Api, name: str, request_: object) -> None:
        world.refuse(request_, error_for_answer(EVENTS_POISON, 503, "ServerBusy"))  # type: ignore[arg-type]
        with pytest.raises(Retryable):
            await api.run(name, timer=None)
