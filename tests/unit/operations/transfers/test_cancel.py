"""Cancelling a transfer: the cancel is repeated until the transfer confirms it."""

from dataclasses import replace

import pytest

from adapters.translation import INSTANCES_CANCEL, INSTANCES_START, error_for_answer
from operations.problems import Conflict, NotFound, Unavailable
from operations.transfers.cancel import PAUSES, cancel
from rules.errors import Reason, Retryable
from rules.transfers import lifecycle
from rules.transfers.model import Ending, Run, Step, Transfer
from rules.transfers.states import State
from tests.unit.world import World


class FakePause:
    """A pause that takes no time. During the pause with the number `at`, the orchestration gets another status."""

    def __init__(self, world: World, transfer: Transfer, **noticed: object) -> None:
        self.world, self.transfer = world, transfer
        self.at = noticed.get("at", 1)
        self.status, self.output = str(noticed.get("status", "Running")), noticed.get("output")
        self.slept: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)
        if len(self.slept) == self.at:
            run = Run(self.transfer, self.world.clock, cancelling=self.status == "Running")
            self.world.put_instance(self.transfer, self.status, run, self.output)


async def test_a_confirmed_cancel_returns_the_transfer(world: World) -> None:
    transfer = world.put()
    world.put_instance(transfer, "Running")
    pause = FakePause(world, transfer)
    shown = await cancel(world.instances, transfer.id, pause)
    assert (shown["id"], shown["cancelling"]) == (transfer.id, True)
    assert world.instances.cancels == [transfer.id]


async def test_a_lost_event_is_raised_again(world: World) -> None:
    """The host drops events that arrive while an orchestration continues as new."""
    transfer = world.put()
    world.put_instance(transfer, "Running")
    shown = await cancel(world.instances, transfer.id, FakePause(world, transfer, at=3))
    assert shown["cancelling"] is True
    assert world.instances.cancels == [transfer.id] * 3


async def test_a_second_cancel_raises_no_event(world: World) -> None:
    transfer = world.put()
    world.put_instance(transfer, "Running", Run(transfer, world.clock, cancelling=True))
    assert (await cancel(world.instances, transfer.id, FakePause(world, transfer)))["cancelling"] is True
    assert world.instances.cancels == []


async def test_an_unconfirmed_cancel_is_unavailable_after_30_seconds(world: World) -> None:
    transfer = world.put()
    world.put_instance(transfer, "Running")
    pause = FakePause(world, transfer, at=0)
    with pytest.raises(Unavailable) as caught:
        await cancel(world.instances, transfer.id, pause)
    assert caught.value.retry_after == 30
    assert tuple(pause.slept) == PAUSES
    assert 28 <= sum(PAUSES) <= 32


@pytest.mark.parametrize("state", ["verified", "superseded", "dead_lettered", "cancelled"])
async def test_cancelling_an_ended_transfer_is_a_conflict_with_its_state(world: World, state: str) -> None:
    transfer = world.put()
    world.put_instance(transfer, "Completed", output={"state": state})
    with pytest.raises(Conflict) as caught:
        await cancel(world.instances, transfer.id, FakePause(world, transfer))
    assert caught.value.facts == {"state": state}
    assert world.instances.cancels == []


async def test_a_transfer_that_the_host_fails_during_the_cancel_ends_cancelled(world: World) -> None:
    transfer = world.put()
    world.put_instance(transfer, "Running")

    async def fails(_seconds: float) -> None:
        if world.instances.kept[transfer.id].running:
            world.instances.become(transfer.id, "Failed", "python exited with code 137")

    shown = await cancel(world.instances, transfer.id, fails)
    assert (shown["ending"], world.instances.cancels) == ("cancelled", [transfer.id])
    assert world.request_names.count("instances.start") == 1


async def test_a_transfer_that_is_resumed_during_the_cancel_receives_the_event(world: World) -> None:
    transfer = world.put()
    world.put_instance(transfer, "Failed", output="python exited with code 137")
    world.before_next(INSTANCES_START, lambda: world.instances.become(transfer.id, "Running"))
    shown = await cancel(world.instances, transfer.id, FakePause(world, transfer, at=2))
    assert (shown["cancelling"], world.instances.cancels) == (True, [transfer.id])


async def test_cancelling_a_terminated_transfer_is_a_conflict(world: World) -> None:
    """Its dead letter was decided before the cancel."""
    transfer = world.put()
    world.put_instance(transfer, "Terminated", output="a person ended it")
    with pytest.raises(Conflict, match="is ending as dead_lettered") as caught:
        await cancel(world.instances, transfer.id, FakePause(world, transfer))
    assert (caught.value.facts, caught.value.retry_after) == ({"state": "accepted"}, 30)
    assert world.request_names == ["instances.find"]


async def test_a_transfer_verified_before_the_cancel_arrives_is_a_conflict(world: World) -> None:
    transfer = world.put()
    world.put_instance(transfer, "Running")
    pause = FakePause(world, transfer, status="Completed", output={"state": "verified"})
    with pytest.raises(Conflict) as caught:
        await cancel(world.instances, transfer.id, pause)
    assert caught.value.facts == {"state": "verified"}


async def test_a_transfer_cancelled_between_two_looks_is_confirmed(world: World) -> None:
    transfer = world.put()
    world.put_instance(transfer, "Running")
    pause = FakePause(world, transfer, status="Completed", output={"state": "cancelled"})
    shown = await cancel(world.instances, transfer.id, pause)
    assert shown["state"] == "cancelled"


async def test_a_pending_transfer_can_be_cancelled(world: World) -> None:
    transfer = world.put()
    world.put_instance(transfer, "Pending")
    world.instances.kept[transfer.id] = replace(world.instances.kept[transfer.id], custom={})
    await cancel(world.instances, transfer.id, FakePause(world, transfer))
    assert world.instances.cancels == [transfer.id]


async def test_an_unknown_transfer_is_not_found(world: World) -> None:
    with pytest.raises(NotFound):
        await cancel(world.instances, "37a8eec1-000000000000000000000000")
    assert world.request_names == ["instances.find"]


async def test_a_failure_of_the_extension_raises(world: World) -> None:
    transfer = world.put()
    world.put_instance(transfer, "Running")
    world.refuse(INSTANCES_CANCEL, error_for_answer(INSTANCES_CANCEL, 503, "ServerBusy"))
    with pytest.raises(Retryable):
        await cancel(world.instances, transfer.id, FakePause(world, transfer))


async def test_a_transfer_with_another_decided_end_is_a_conflict_and_gets_no_event(world: World) -> None:
    transfer = world.put()
    failed = lifecycle.give_up(Run(transfer, world.clock), Reason.COPY_FAILED, "gave up")
    world.put_instance(transfer, "Running", failed)
    with pytest.raises(Conflict, match="is ending as dead_lettered") as caught:
        await cancel(world.instances, transfer.id, FakePause(world, transfer))
    assert caught.value.retry_after == 30
    assert world.instances.cancels == []


async def test_a_transfer_that_is_ending_as_cancelled_is_confirmed_without_an_event(world: World) -> None:
    """A late duplicate of a cancelled transfer ends so."""
    transfer = world.put()
    ending = Ending(State.CANCELLED)
    world.put_instance(transfer, "Running", replace(Run(transfer, world.clock), ending=ending, step=Step.CLEAN))
    shown = await cancel(world.instances, transfer.id, FakePause(world, transfer))
    assert shown["ending"] == "cancelled"
    assert world.instances.cancels == []


async def test_a_verified_transfer_that_notifies_its_recipient_cannot_be_cancelled(world: World) -> None:
    transfer = world.put()
    run = Run(transfer, world.clock, step=Step.NOTIFY, state=State.VERIFIED, ending=lifecycle.VERIFIED)
    world.put_instance(transfer, "Running", run)
    with pytest.raises(Conflict, match="is already verified"):
        await cancel(world.instances, transfer.id, FakePause(world, transfer))
    assert world.instances.cancels == []
