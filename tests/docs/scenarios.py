"""The calls whose answers are compared with the description: each with the status that it must have."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from tests.unit.triggers.api import Answer, Api
from tests.unit.world import World

Scenario: TypeAlias = Callable[[World, Api], Awaitable[Answer]]
SCENARIOS: list[tuple[str, int, Scenario]] = []


def scenario(operation: str, status: int) -> Callable[[Scenario], Scenario]:
    """What follows is answered so."""

    def kept(play: Scenario) -> Scenario:
        SCENARIOS.append((operation, status, play))
        return play

    return kept
