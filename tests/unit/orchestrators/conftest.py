from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from importlib import import_module
from typing import Any

import pytest

from devhost.host import clock
from rules.jobs.model import Job
from rules.transfers.model import Run
from tests.unit.orchestrators.harness import DONE, Activities, Answer, Harness
from tests.unit.samples import NOW, RUN

MakeHarness = Callable[..., Harness]
# The SDK parses each time of the history in each replay, and spends half of the replay on it. The texts repeat.
HISTORY_EVENT = import_module("azure.durable_functions.models.history.HistoryEvent")
PARSE_ONCE = lru_cache(maxsize=10_000)(HISTORY_EVENT.dt_parse)


@pytest.fixture(autouse=True)
def parse_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HISTORY_EVENT, "dt_parse", PARSE_ONCE)


@pytest.fixture
def make_harness(monkeypatch: pytest.MonkeyPatch) -> MakeHarness:
    """Make a harness of a run or job, and the answers of its activities: in order, with the last one repeated."""
    harnesses: list[Harness] = []
    responses: dict[str, str] = {}

    def now() -> datetime:
        return harnesses[-1].now if harnesses else NOW

    def make(run_or_job: Run | Job = RUN, *, early: float = 0.0, **answers: Answer | list[Answer]) -> Harness:
        harnesses.append(Harness(run_or_job, script(answers), NOW, early, responses=responses))
        return harnesses[-1]

    monkeypatch.setattr(clock, "now", now)
    return make


def script(answers: dict[str, Any]) -> Activities:
    """Activities that give these answers by step; `DONE` for other steps."""
    remaining = {step: list(given) if isinstance(given, list) else [given] for step, given in answers.items()}

    def answer(step: str, _request: Run | Job) -> Answer:
        left = remaining.get(step, [DONE])
        found: Answer = left.pop(0) if len(left) > 1 else left[0]
        return found

    return answer
