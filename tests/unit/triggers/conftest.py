"""The fixture of the API that the tests of the triggers call."""

import pytest

from tests.unit.triggers.api import Api
from tests.unit.world import World


@pytest.fixture
def api(world: World) -> Api:
    return Api(world)
