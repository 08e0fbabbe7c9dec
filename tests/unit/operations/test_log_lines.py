"""Log lines about a transfer have its blob's name, and lines that need attention are warnings."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from operations.dead_letters.discard import discard
from operations.log import LOGGER
from operations.transfers.accept import accept
from operations.transfers.cancel import cancel
from operations.transfers.start import restart
from operations.upkeep.drain import drain
from operations.upkeep.sweep import sweep
from rules.dead_letters import letters
from rules.errors import Reason
from rules.transfers.model import Ended, Ending, Run, Transfer
from rules.transfers.states import State
from rules.transfers.status import progress
from tests.unit.samples import NAME, NOW
from tests.unit.world import World


def put_ended(world: World, transfer: Transfer, state: State) -> Run:
    """Let a transfer have ended in this state."""
    ending = Ending(state, reason=Reason.THROTTLED, detail="503")
    run = Run(transfer, NOW, state=state, step=None, ending=ending)
    world.put_instance(transfer, "Completed", run, progress(run))
    return run


async def duplicate_event(world: World, transfer: Transfer) -> None:
    world.put_instance(transfer, "Running")
    await accept(world.ports, world.instances, world.event(transfer))


async def restart_transfer(world: World, transfer: Transfer) -> None:
    await restart(world.ports, world.instances, transfer)


async def cancel_transfer(world: World, transfer: Transfer) -> None:
    world.put_instance(transfer, "Running", Run(transfer, NOW, cancelling=True))
    await cancel(world.instances, transfer.id)


async def discard_letter(world: World, transfer: Transfer) -> None:
    await world.dead_letters.write(letters.of_run(put_ended(world, transfer, State.DEAD_LETTERED), NOW, "1"))
    await discard(world.ports, world.instances, transfer.id)


async def sweep_resolved_letter(world: World, transfer: Transfer) -> None:
    await world.dead_letters.write(letters.of_run(put_ended(world, transfer, State.DEAD_LETTERED), NOW, "1"))
    put_ended(world, transfer, State.VERIFIED)
    await sweep(world.ports, world.instances)


async def sweep_missing_letter(world: World, transfer: Transfer) -> None:
    put_ended(world, transfer, State.DEAD_LETTERED)
    await world.dead_letters.write_ended(Ended(transfer.id, 0, Ending(State.DEAD_LETTERED, Reason.THROTTLED, "503")))
    await sweep(world.ports, world.instances)


async def accept_malformed_message(world: World, _transfer: Transfer) -> None:
    await accept(world.ports, world.instances, b"hello")


async def drain_poison_message(world: World, transfer: Transfer) -> None:
    world.events.put_poison(world.event(transfer))
    await drain(world.ports, world.instances)


async def drain_undelivered_event(world: World, transfer: Transfer) -> None:
    world.events.undelivered["a.json"] = world.event(transfer)
    await drain(world.ports, world.instances)


@pytest.mark.parametrize(
    ("happens", "action", "expected"),
    [
        (duplicate_event, "transfer.duplicate", ("INFO", NAME)),
        (restart_transfer, "transfer.restarted", ("INFO", NAME)),
        (cancel_transfer, "transfer.cancel_noticed", ("INFO", NAME)),
        (discard_letter, "letter.discarded", ("INFO", NAME)),
        (sweep_resolved_letter, "sweep.resolved", ("INFO", NAME)),
        (sweep_missing_letter, "sweep.missing_letter", ("WARNING", NAME)),
        (accept_malformed_message, "message.dead_lettered", ("WARNING", None)),
        (drain_poison_message, "poison.drained", ("WARNING", None)),
        (drain_undelivered_event, "undelivered.drained", ("WARNING", None)),
    ],
)
async def test_a_line_has_its_level_and_the_name_of_its_blob(
    world: World,
    caplog: pytest.LogCaptureFixture,
    happens: Callable[[World, Transfer], Awaitable[None]],
    action: str,
    expected: tuple[str, str | None],
) -> None:
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
