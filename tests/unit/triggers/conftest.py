"""The world that these tests happen in."""

import pytest

from tests.unit.operations.world import World
from tests.unit.triggers.api import Api


@pytest.fixture
def world() -> World:
    """A world with one route and nothing in it."""
    return World()


@pytest.fixture
def api(world: World) -> Api:
    """The API of that world."""
    return Api(world)
