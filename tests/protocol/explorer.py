"""Every order of everything that may happen, depth first; no state twice."""

from collections.abc import Iterator
from dataclasses import dataclass

from tests.protocol import checker
from tests.protocol.checker import Violation
from tests.protocol.model import Model
from tests.protocol.state import Scenario, State, Step

# No path that ends comes near.
TOO_LONG = 250


@dataclass(slots=True)
class Found:
    """What an exploration met: distinct states, steps between them, ends; the deepest path."""

    states: int = 0
    steps: int = 0
    ends: int = 0
    deepest: int = 0

    def __add__(self, other: "Found") -> "Found":
        """Count both."""
        return Found(
            self.states + other.states,
            self.steps + other.steps,
            self.ends + other.ends,
            max(self.deepest, other.deepest),
        )


class Broken(AssertionError):
    """A promise is broken, and by which steps."""

    def __init__(self, violation: Violation, path: list[str]) -> None:
        super().__init__("\n".join([str(violation), *path]))
        self.path = path


def explore(scenario: Scenario) -> Found:
    """Explore a scenario whole.

    Raises:
        Broken: something that must hold does not.
    """
    model, found = Model(scenario), Found(states=1)
    start = model.start()
    # Of a path the labels, and the states by hash: what comes back to one of them may go round for ever.
    seen, path = {hash(start)}, {hash(start): ""}
    stack: list[Iterator[Step]] = [_steps(model, start, found)]
    while stack:
        try:
            step = next(stack[-1], None)
        except Violation as violation:
            raise Broken(violation, [*path.values(), model.doing][1:]) from violation
        if step is None:
            stack.pop()
            path.popitem()
            continue
        found.steps += 1
        key = hash(step.state)
        if key in path or len(path) > TOO_LONG:
            raise Broken(Violation("it may go on for ever"), [*path.values(), step.label][1:])
        if key not in seen:
            seen.add(key)
            path[key] = step.label
            stack.append(_steps(model, step.state, found))
            found.states, found.deepest = len(seen), max(found.deepest, len(path))
    return found


def _steps(model: Model, state: State, found: Found) -> Iterator[Step]:
    """The steps from a state. Where only sleepers could go on, and nobody waits for them, it is an end."""
    over = True
    for step in model.steps(state):
        over = over and step.optional
        yield step
    if over:
        found.ends += 1
        checker.finished(model, state)
