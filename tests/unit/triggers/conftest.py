"""The API of the world that these tests happen in."""

import pytest

from tests.unit.triggers.api import Api
from tests.unit.world import World


@pytest.fixture
def api(world: World) -> Api:
    """The API of that world."""
    return Api(world)
