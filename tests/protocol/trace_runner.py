"""Runs one path through a scenario: the steps of a trace, in order."""

from tests.protocol import checker
from tests.protocol.explorer import TOO_LONG
from tests.protocol.model import Model
from tests.protocol.state import Scenario, Step


class TraceRunner:
    """One path, step by step. `lenient` skips steps that are not possible, as with a simpler rule in place."""

    def __init__(self, scenario: Scenario, *, lenient: bool = False) -> None:
        self.model = Model(scenario)
        self.state = self.model.start()
        self.path: list[str] = []
        self._lenient = lenient

    def take(self, *labels: str) -> None:
        """Take the steps with these labels; of several with one label, the first."""
        for label in labels:
            if not self.take_if_possible(label) and not self._lenient:
                raise AssertionError(
                    f"{label!r} is not one of {sorted({step.label for step in self._steps()})} after {self.path}"
                )

    def run(self, prefix: str) -> None:
        """Take every possible step whose label starts so, except faults and wakes of delayed tasks."""
        while step := next((step for step in self._steps() if self._is_normal(step, prefix)), None):
            self._take(step)

    def _is_normal(self, step: Step, prefix: str) -> bool:
        return step.label.startswith(prefix) and not step.fault and not step.label.endswith((" wakes", " begins"))

    def take_if_possible(self, label: str) -> bool:
        """Take the step with this label if it is possible; return whether it was."""
        step = next((step for step in self._steps() if step.label == label), None)
        if step is not None:
            self._take(step)
        return step is not None

    def finish(self) -> list[str | None]:
        """Take all steps that are not optional, check the final state, and return the transfers' final states."""
        while step := next((step for step in self._steps() if not step.optional), None):
            self._take(step)
        checker.check_final_state(self.model, self.state)
        return [self.model.final(instance) for instance in self.state.instances]

    def complete_version(self) -> int:
        """Return the version that is complete at the target."""
        return self.model.cloud.view(self.state.world).complete

    def _steps(self) -> list[Step]:
        return list(self.model.steps(self.state))

    def _take(self, step: Step) -> None:
        self.path.append(step.label)
        self.state = step.state
        assert len(self.path) < TOO_LONG, self.path
