"""A scripted path through a scenario: the steps of a trace, in its order."""

from tests.protocol import checker
from tests.protocol.explorer import TOO_LONG
from tests.protocol.model import Model
from tests.protocol.state import Scenario, Step


class Play:
    """One path, step by step. With a rule `bent` a step that is not there is passed over: the trace goes on as near as it can."""

    def __init__(self, scenario: Scenario, *, bent: bool = False) -> None:
        self.model = Model(scenario)
        self.state = self.model.start()
        self.path: list[str] = []
        self._bent = bent

    def do(self, *labels: str) -> None:
        """Take the steps of these names; of a name that several bear, the first."""
        for label in labels:
            if not self.may(label) and not self._bent:
                raise AssertionError(
                    f"{label!r} is none of {sorted({step.label for step in self._steps()})} after {self.path}"
                )

    def run(self, who: str) -> None:
        """Take every step whose name begins so, one after the other; nobody wakes, and nothing goes wrong."""
        while step := next((step for step in self._steps() if self._goes_on(step, who)), None):
            self._take(step)

    def _goes_on(self, step: Step, who: str) -> bool:
        return step.label.startswith(who) and not step.fault and not step.label.endswith("wakes")

    def may(self, label: str) -> bool:
        """Take the step of that name, if it is there."""
        step = next((step for step in self._steps() if step.label == label), None)
        if step is not None:
            self._take(step)
        return step is not None

    def finish(self) -> list[str | None]:
        """Let everything end that must; the final states, once everything that must hold was checked."""
        while step := next((step for step in self._steps() if not step.optional), None):
            self._take(step)
        checker.finished(self.model, self.state)
        return [self.model.final(instance) for instance in self.state.instances]

    def whole(self) -> int:
        """The version that is whole at the target."""
        return self.model.cloud.view(self.state.world).whole

    def _steps(self) -> list[Step]:
        return list(self.model.steps(self.state))

    def _take(self, step: Step) -> None:
        self.path.append(step.label)
        self.state = step.state
        assert len(self.path) < TOO_LONG, self.path
