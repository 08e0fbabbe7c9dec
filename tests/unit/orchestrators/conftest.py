"""The stage that an orchestrator test plays on."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from devhost.host import clock
from rules.jobs.model import Job
from rules.transfers.model import Run
from tests.unit.orchestrators.stage import DONE, Activities, Answer, Stage
from tests.unit.samples import NOW, RUN

Staged = Callable[..., Stage]


@pytest.fixture
def staged(monkeypatch: pytest.MonkeyPatch) -> Staged:
    """Make a stage from a run, or a job, and the answers of its activities: in order, the last one again and again."""
    stages: list[Stage] = []

    def now() -> datetime:
        return stages[-1].now if stages else NOW

    def stage(run: Run | Job = RUN, *, early: float = 0.0, **answers: Answer | list[Answer]) -> Stage:
        stages.append(Stage(run, script(answers), NOW, early))
        return stages[-1]

    monkeypatch.setattr(clock, "now", now)
    return stage


def script(answers: dict[str, Any]) -> Activities:
    """Activities that answer so; one that the test says nothing of is done."""
    lists = {step: list(given) if isinstance(given, list) else [given] for step, given in answers.items()}

    def answer(step: str, _run: Run | Job) -> Answer:
        left = lists.get(step, [DONE])
        found: Answer = left.pop(0) if len(left) > 1 else left[0]
        return found

    return answer
