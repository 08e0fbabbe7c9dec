"""A look at what a route or a store needs, the same in memory and in storage."""

from dataclasses import replace

import pytest

from rules.errors import Retryable
from tests.contract.worlds import World


async def test_what_is_there(world: World) -> None:
    """No error."""
    await world.probe.container(world.source_place)
    await world.probe.container(replace(world.target_place, prefix="any/"))
    await world.probe.letters()


async def test_what_is_not(world: World) -> None:
    """As a read says it."""
    with pytest.raises(Retryable) as failure:
        await world.probe.container(replace(world.source_place, container="missing"))
    assert failure.value.code == "ContainerNotFound"
