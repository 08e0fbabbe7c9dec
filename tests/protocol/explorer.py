"""Exploration of every order of everything that may happen, depth first, each state once."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from unittest import mock

from rules.transfers.policies import Times
from tests.protocol import checker
from tests.protocol.checker import Violation
from tests.protocol.model import Model
from tests.protocol.state import Scenario, State, Step

# Far longer than any path that ends.
TOO_LONG = 250


@dataclass(slots=True)
class Exploration:
    """The size of an exploration: distinct states, steps between them, final states, and the longest path."""

    states: int = 0
    steps: int = 0
    ends: int = 0
    deepest: int = 0

    def __add__(self, other: "Exploration") -> "Exploration":
        """Add up two explorations."""
        return Exploration(
            self.states + other.states,
            self.steps + other.steps,
            self.ends + other.ends,
            max(self.deepest, other.deepest),
        )


class BrokenPromise(AssertionError):
    """A broken guarantee, and the steps that led to it."""

    def __init__(self, violation: Violation, path: list[str]) -> None:
        super().__init__("\n".join([str(violation), *path]))
        self.path = path


def explore(scenario: Scenario) -> Exploration:
    """Explore every order of a scenario.

    Raises:
        BrokenPromise: a check fails, or a path may be endless.
    """
    patience = mock.patch.object(Times, "patience", timedelta()) if scenario.slow else nullcontext()
    with patience, _rare_garbage_collection():
        return _explore(Model(scenario))


@contextmanager
def _rare_garbage_collection() -> Iterator[None]:
    """Almost everything that an exploration makes is kept, so the collector would search it in vain."""
    before = gc.get_threshold()
    gc.set_threshold(100_000, 50, 1_000)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _explore(model: Model) -> Exploration:
    result = Exploration(states=1)
    start = model.start()
    # The current path: labels by the hash of their state. A step back to one of these states is an endless loop.
    seen, path = {hash(start)}, {hash(start): ""}
    stack: list[Iterator[Step]] = [_steps(model, start, result)]
    while stack:
        try:
            step = next(stack[-1], None)
        except Violation as violation:
            raise BrokenPromise(violation, [*path.values(), model.current_step][1:]) from violation
        if step is None:
            stack.pop()
            path.popitem()
            continue
        result.steps += 1
        key = hash(step.state)
        if key in path or len(path) > TOO_LONG:
            raise BrokenPromise(Violation("the path may be endless"), [*path.values(), step.label][1:])
        if key not in seen:
            seen.add(key)
            path[key] = step.label
            stack.append(_steps(model, step.state, result))
            result.states, result.deepest = len(seen), max(result.deepest, len(path))
    return result


def _steps(model: Model, state: State, result: Exploration) -> Iterator[Step]:
    """Yield the steps from a state. A state is final if it has only optional steps."""
    is_final = True
    for step in model.steps(state):
        is_final = is_final and step.optional
        yield step
    if is_final:
        result.ends += 1
        checker.check_final_state(model, state)
