"""Small blobs that are copied by blocks."""

from dataclasses import replace

import pytest

from rules.transfers.blocks import Sizes
from tests.unit.world import World

SIZES = Sizes(unit=1)


@pytest.fixture
def small_blocks(world: World) -> World:
    """A world whose blocks have 32 bytes, and 100 from 1,600 bytes on. Blobs over 256 bytes are copied by blocks."""
    world.ports = replace(world.ports, sizes=SIZES)
    return world
