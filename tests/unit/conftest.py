"""The world that these tests happen in."""

import pytest

from tests.unit.world import World


@pytest.fixture
def world() -> World:
    """A world with one route and nothing in it."""
    return World()
