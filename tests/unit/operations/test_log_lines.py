"""What the lines of the log say: each about a transfer names its blob, and what a person should see is a warning."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from operations.dead_letters.discard import discard
from operations.log import LOGGER
from operations.transfers.accept import accept
from operations.transfers.cancel import cancel
from operations.transfers.restart import restart
from operations.upkeep.drain import drain
from operations.upkeep.sweep import sweep
from rules.dead_letters import letters
from rules.errors import Reason
from rules.transfers.model import Ended, Ending, Run, Transfer
from rules.transfers.states import State
from rules.transfers.status import progress
from tests.unit.samples import NAME, NOW
from tests.unit.world import World


def ended(world: World, transfer: Transfer, state: State) -> Run:
    """Let a transfer have ended so."""
    ending = Ending(state, reason=Reason.THROTTLED, detail="503")
    run = Run(transfer, NOW, state=state, step=None, ending=ending)
    world.put_instance(transfer, "Completed", run, progress(run))
    return run


async def duplicate(world: World, transfer: Transfer) -> None:
    """An event comes twice."""
    world.put_instance(transfer, "Running")
    await accept(world.ports, world.instances, world.event(transfer))


async def again(world: World, transfer: Transfer) -> None:
    """A person asks for it again."""
    await restart(world.ports, world.instances, transfer)


async def cancelled(world: World, transfer: Transfer) -> None:
    """A person cancels it, and it has noticed."""
    world.put_instance(transfer, "Running", Run(transfer, NOW, cancelling=True))
    await cancel(world.instances, transfer.id)


async def discarded(world: World, transfer: Transfer) -> None:
    """A person discards its letter."""
    await world.dead_letters.write(letters.of_run(ended(world, transfer, State.DEAD_LETTERED), NOW, "1"))
    await discard(world.ports, world.instances, transfer.id)


async def settled(world: World, transfer: Transfer) -> None:
    """Its letter is no longer true."""
    await world.dead_letters.write(letters.of_run(ended(world, transfer, State.DEAD_LETTERED), NOW, "1"))
    ended(world, transfer, State.VERIFIED)
    await sweep(world.ports, world.instances)


async def unwritten(world: World, transfer: Transfer) -> None:
    """Its letter is missing."""
    ended(world, transfer, State.DEAD_LETTERED)
    await world.dead_letters.write_ended(Ended(transfer.id, 0, Ending(State.DEAD_LETTERED, Reason.THROTTLED, "503")))
    await sweep(world.ports, world.instances)


async def unreadable(world: World, _transfer: Transfer) -> None:
    """A message is no event."""
    await accept(world.ports, world.instances, b"hello")


async def poisoned(world: World, transfer: Transfer) -> None:
    """A message could not be taken by the trigger."""
    world.events.give_up(world.event(transfer))
    await drain(world.ports, world.instances)


async def undelivered(world: World, transfer: Transfer) -> None:
    """Event Grid could not deliver an event."""
    world.events.given_up["a.json"] = world.event(transfer)
    await drain(world.ports, world.instances)


@pytest.mark.parametrize(
    ("happens", "action", "expected"),
    [
        (duplicate, "transfer.duplicate", ("INFO", NAME)),
        (again, "transfer.restarted", ("INFO", NAME)),
        (cancelled, "transfer.cancel_noticed", ("INFO", NAME)),
        (discarded, "letter.discarded", ("INFO", NAME)),
        (settled, "sweep.resolved", ("INFO", NAME)),
        (unwritten, "sweep.missing_letter", ("WARNING", NAME)),
        (unreadable, "message.dead_lettered", ("WARNING", None)),
        (poisoned, "poison.drained", ("WARNING", None)),
        (undelivered, "undelivered.drained", ("WARNING", None)),
    ],
)
async def test_a_line_has_its_level_and_the_name_of_its_blob(
    world: World,
    caplog: pytest.LogCaptureFixture,
    happens: Callable[[World, Transfer], Awaitable[None]],
    action: str,
    expected: tuple[str, str | None],
) -> None:
    """Messages have no blob that the app could name."""
    caplog.set_level("INFO", LOGGER.name)
    transfer = world.put()
    await happens(world, transfer)
    lines: list[dict[str, Any]] = [
        {**json.loads(record.getMessage()), "level": record.levelname}
        for record in caplog.records
        if record.name == LOGGER.name
    ]
    [line] = [line for line in lines if line["action"] == action]
    assert (line["level"], line.get("name")) == expected
    assert (line.get("id") == transfer.id) == ("name" in line)
