"""Cancelling is never lost, and never a lie."""

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


class Patience:
    """A pause that takes no time, and what happens meanwhile at the given ones."""

    def __init__(self, world: World, transfer: Transfer, **noticed: object) -> None:
        self.world, self.transfer = world, transfer
        self.at = noticed.get("at", 1)
        self.status, self.output = str(noticed.get("status", "Running")), noticed.get("output")
        self.slept: list[float] = []

    async def __call__(self, seconds: float) -> None:
        """Sleep not at all."""
        self.slept.append(seconds)
        if len(self.slept) == self.at:
            run = Run(self.transfer, self.world.clock, cancelling=self.status == "Running")
            self.world.put_instance(self.transfer, self.status, run, self.output)


async def test_a_cancel_that_is_noticed_answers_with_the_transfer(world: World) -> None:
    """Raised once, looked at once more."""
    transfer = world.put()
    world.put_instance(transfer, "Running")
    patience = Patience(world, transfer)
    shown = await cancel(world.instances, transfer.id, patience)
    assert (shown["id"], shown["cancelling"]) == (transfer.id, True)
    assert world.instances.cancels == [transfer.id]


async def test_a_lost_event_is_raised_again(world: World) -> None:
    """The host drops what comes where an execution continues as new."""
    transfer = world.put()
    world.put_instance(transfer, "Running")
    shown = await cancel(world.instances, transfer.id, Patience(world, transfer, at=3))
    assert shown["cancelling"] is True
    assert world.instances.cancels == [transfer.id] * 3


async def test_one_that_is_cancelling_already_is_not_asked_again(world: World) -> None:
    """A second DELETE is the same answer."""
    transfer = world.put()
    world.put_instance(transfer, "Running", Run(transfer, world.clock, cancelling=True))
    assert (await cancel(world.instances, transfer.id, Patience(world, transfer)))["cancelling"] is True
    assert world.instances.cancels == []


async def test_nobody_taking_notice_is_said_after_half_a_minute(world: World) -> None:
    """503, and asking again is safe."""
    transfer = world.put()
    world.put_instance(transfer, "Running")
    patience = Patience(world, transfer, at=0)
    with pytest.raises(Unavailable) as caught:
        await cancel(world.instances, transfer.id, patience)
    assert caught.value.retry_after == 30
    assert tuple(patience.slept) == PAUSES
    assert 28 <= sum(PAUSES) <= 32


@pytest.mark.parametrize("state", ["verified", "superseded", "dead_lettered", "cancelled"])
async def test_one_that_ended_is_a_conflict_with_its_state(world: World, state: str) -> None:
    """Nothing is raised."""
    transfer = world.put()
    world.put_instance(transfer, "Completed", output={"state": state})
    with pytest.raises(Conflict) as caught:
        await cancel(world.instances, transfer.id, Patience(world, transfer))
    assert caught.value.facts == {"state": state}
    assert world.instances.cancels == []


async def test_one_that_the_host_fails_meanwhile_is_cancelled_all_the_same(world: World) -> None:
    """The first event is lost with it; then it is started again at its end."""
    transfer = world.put()
    world.put_instance(transfer, "Running")

    async def fails(_seconds: float) -> None:
        if world.instances.kept[transfer.id].running:
            world.instances.become(transfer.id, "Failed", "python exited with code 137")

    shown = await cancel(world.instances, transfer.id, fails)
    assert (shown["ending"], world.instances.cancels) == ("cancelled", [transfer.id])
    assert world.request_names.count("instances.start") == 1


async def test_one_that_is_resumed_meanwhile_hears_the_event(world: World) -> None:
    """The start at its end comes too late: it runs again, and is asked."""
    transfer = world.put()
    world.put_instance(transfer, "Failed", output="python exited with code 137")
    world.before_next(INSTANCES_START, lambda: world.instances.become(transfer.id, "Running"))
    shown = await cancel(world.instances, transfer.id, Patience(world, transfer, at=2))
    assert (shown["cancelling"], world.instances.cancels) == (True, [transfer.id])


async def test_one_that_was_terminated_is_ending_as_dead_lettered(world: World) -> None:
    """Its letter is on its way: that was decided before the cancel."""
    transfer = world.put()
    world.put_instance(transfer, "Terminated", output="a person ended it")
    with pytest.raises(Conflict, match="is ending as dead_lettered") as caught:
        await cancel(world.instances, transfer.id, Patience(world, transfer))
    assert (caught.value.facts, caught.value.retry_after) == ({"state": "accepted"}, 30)
    assert world.request_names == ["instances.find"]


async def test_one_that_is_verified_before_the_cancel_reaches_it_is_a_conflict(world: World) -> None:
    """Too late, and said so."""
    transfer = world.put()
    world.put_instance(transfer, "Running")
    patience = Patience(world, transfer, status="Completed", output={"state": "verified"})
    with pytest.raises(Conflict) as caught:
        await cancel(world.instances, transfer.id, patience)
    assert caught.value.facts == {"state": "verified"}


async def test_one_that_is_cancelled_before_anybody_looks_is_no_conflict(world: World) -> None:
    """What was asked for has happened: a small transfer may reach its end between two looks."""
    transfer = world.put()
    world.put_instance(transfer, "Running")
    patience = Patience(world, transfer, status="Completed", output={"state": "cancelled"})
    shown = await cancel(world.instances, transfer.id, patience)
    assert shown["state"] == "cancelled"


async def test_one_that_has_no_status_yet_is_asked(world: World) -> None:
    """Pending is running."""
    transfer = world.put()
    world.put_instance(transfer, "Pending")
    world.instances.kept[transfer.id] = replace(world.instances.kept[transfer.id], custom={})
    await cancel(world.instances, transfer.id, Patience(world, transfer))
    assert world.instances.cancels == [transfer.id]


async def test_an_unknown_one_is_not_found(world: World) -> None:
    """Nothing is raised."""
    with pytest.raises(NotFound):
        await cancel(world.instances, "37a8eec1-000000000000000000000000")
    assert world.request_names == ["instances.find"]


async def test_an_extension_that_does_not_answer_is_told(world: World) -> None:
    """The API makes it a 503."""
    transfer = world.put()
    world.put_instance(transfer, "Running")
    world.refuse(INSTANCES_CANCEL, error_for_answer(INSTANCES_CANCEL, 503, "ServerBusy"))
    with pytest.raises(Retryable):
        await cancel(world.instances, transfer.id, Patience(world, transfer))


async def test_one_that_is_ending_otherwise_is_too_late(world: World) -> None:
    """Nothing is raised into its history; the answer says how it is ending."""
    transfer = world.put()
    failed = lifecycle.give_up(Run(transfer, world.clock), Reason.COPY_FAILED, "gave up")
    world.put_instance(transfer, "Running", failed)
    with pytest.raises(Conflict, match="is ending as dead_lettered") as caught:
        await cancel(world.instances, transfer.id, Patience(world, transfer))
    assert caught.value.retry_after == 30
    assert world.instances.cancels == []


async def test_one_that_is_ending_as_cancelled_is_noticed(world: World) -> None:
    """A late duplicate of a cancelled transfer found the record of its end: nobody need raise an event for half a minute."""
    transfer = world.put()
    ending = Ending(State.CANCELLED)
    world.put_instance(transfer, "Running", replace(Run(transfer, world.clock), ending=ending, step=Step.CLEAN))
    shown = await cancel(world.instances, transfer.id, Patience(world, transfer))
    assert shown["ending"] == "cancelled"
    assert world.instances.cancels == []
