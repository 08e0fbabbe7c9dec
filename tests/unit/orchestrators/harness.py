"""Runs an orchestrator on the real SDK's replay and the local host's episodes, with a clock that the test controls.

Every episode replays the whole history, as the host does, and twice: both replays must return the same. Harnesses of one test
share the responses, because many of them begin alike.
"""

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import azure.durable_functions as df

from devhost.host import clock, episode, events
from devhost.host.actions import Activity, Decision, Timer
from devhost.host.events import Event
from orchestrators.job import job
from orchestrators.transfer import transfer
from rules import codec
from rules.errors import Reason
from rules.fixed_names import CANCEL, JOB, PHASES, STEPS, TRANSFER
from rules.jobs.model import Batch, Job
from rules.routes.model import Engine
from rules.transfers.model import Ending, Outcome, Run, Successor, Verdict
from rules.transfers.states import State
from tests.unit.samples import NEWER

# By the type of their input.
ORCHESTRATIONS: dict[type[Any], tuple[str, df.Orchestrator]] = {
    Run: (TRANSFER, df.Orchestrator.create(transfer)),
    Job: (JOB, df.Orchestrator.create(job)),
}
# The step or phase of an activity.
STEP_OF: dict[str, str] = {name: step for step, name in [*STEPS.items(), *PHASES.items()]}

DONE = Outcome(Verdict.DONE)
VERIFIED = Outcome(Verdict.VERIFIED, engine=Engine.SYNC, size=1_000)
WAITING = Outcome(Verdict.WAITING, engine=Engine.ASYNC, size=1_000_000)
AGAIN = Outcome(Verdict.AGAIN)
THROTTLED = Outcome(Verdict.RETRYABLE, reason=Reason.THROTTLED, detail="503 ServerBusy")
FORBIDDEN = Outcome(Verdict.PERMANENT, reason=Reason.TARGET_UNWRITABLE, detail="no container")
SUPERSEDED = Outcome(Verdict.SUPERSEDED, ending=Ending(State.SUPERSEDED, successor=Successor(NEWER)), size=1000)
SETTLE = Outcome(Verdict.DONE, pause=90)
LOST = RuntimeError("python exited with code 137")

Answer = Outcome | Batch | Exception
Activities = Callable[[str, Any], Answer]


@dataclass
class Harness:
    """One instance of an orchestration. Timers fire `early` seconds before they are due."""

    run_or_job: Any
    activities: Activities
    now: datetime
    early: float = 0.0
    status: str = "Pending"
    output: Any = None
    custom_status: dict[str, Any] = field(default_factory=dict)
    calls: list[tuple[str, Any]] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    inputs: list[Any] = field(default_factory=list)
    actions: list[dict[str, Any]] = field(default_factory=list)
    history_rows: list[int] = field(default_factory=list)
    statuses: list[dict[str, Any]] = field(default_factory=list)
    open_decisions: list[Decision] = field(default_factory=list)
    responses: dict[str, str] = field(default_factory=dict)
    _history: list[Event] = field(default_factory=list)

    @property
    def steps(self) -> list[str]:
        """The steps or phases whose activities were called, in order."""
        return [name for name, _ in self.calls]

    @property
    def running(self) -> bool:
        """Whether the instance has not ended."""
        return self.status in {"Pending", "Running"}

    def run(self, limit: int = 2_000) -> "Harness":
        """Run to the end."""
        while self.running:
            assert limit, "the instance does not end"
            limit -= 1
            self.step()
        return self

    def step(self) -> "Harness":
        """Start the instance, or deliver the result of the oldest open activity or timer."""
        if not self._history:
            return self.start()
        assert self.open_decisions, "the instance is stuck: nothing is open, and it has not ended"
        return self.deliver(self.next_answer())

    def start(self, *inbound: Event, **fields: Any) -> "Harness":
        """Start the instance as the SDK's client does (JSON in JSON), with early events and additional input fields."""
        return self._start(json.dumps(json.dumps(codec.encode(self.run_or_job) | fields)), inbound, continued=False)

    def cancel(self, times: int = 1) -> "Harness":
        """Raise the cancel event, each time in a new episode. An instance that has ended ignores it."""
        for _ in range(times if self.running else 0):
            self.deliver(self.cancel_event())
        return self

    def cancel_event(self) -> Event:
        """A cancel event, to be delivered."""
        return events.event_raised(self._stamp(), CANCEL, json.dumps("null"))

    def next_answer(self) -> Event:
        """The result of the oldest open activity or timer, to be delivered."""
        decision = self.open_decisions.pop(0)
        return self._fire(decision) if isinstance(decision, Timer) else self._run_activity(decision)

    def deliver(self, *inbound: Event) -> "Harness":
        """Run one episode with these events."""
        result = episode.run(self._history, list(inbound), self._orchestrate, continued=False)
        return self._conclude(result, len(inbound))

    def _start(self, text: str, inbound: tuple[Event, ...] = (), *, continued: bool) -> "Harness":
        self.inputs.append(json.loads(json.loads(text)))
        self._history, self.open_decisions, self.actions = [], [], []
        identity = self.run_or_job.id if isinstance(self.run_or_job, Job) else self.run_or_job.transfer.id
        started = events.execution_started(self._stamp(), self._name, identity, "execution", data=text)
        new = [started, *inbound]
        return self._conclude(episode.run([], new, self._orchestrate, continued=continued), len(new))

    def _conclude(self, result: episode.Result, inbound: int) -> "Harness":
        self.status = result.status
        self._history += result.new
        self.open_decisions += result.decisions
        if not self.running or result.continued:
            # The last episode of an execution: its start, the inbound events, the end, its completion.
            self.history_rows.append(len(self._history) + (inbound + 3 if result.continued else 0))
        if result.continued:
            return self._start(str(result.continued["Input"]), continued=True)
        self.output = None if result.output is None else json.loads(result.output)
        return self

    def _orchestrate(self, name: str, trigger: str) -> str:
        assert name == self._name
        if trigger not in self.responses:
            self.responses[trigger] = self._replay(trigger)
            assert self.responses[trigger] == self._replay(trigger), "a second replay returned something else"
        response = self.responses[trigger]
        state = json.loads(response)
        assert _prefix(state["actions"][0], len(self.actions)) == _prefix(self.actions, len(self.actions))
        self.actions, self.custom_status = state["actions"][0], state["customStatus"]
        self.statuses.append(self.custom_status)
        return response

    @property
    def _name(self) -> str:
        return ORCHESTRATIONS[type(self.run_or_job)][0]

    def _replay(self, trigger: str) -> str:
        with warnings.catch_warnings():
            # The SDK warns that a second cancel has no wait left, and that inputs are plain JSON.
            warnings.filterwarnings("ignore", "Potential duplicate Task completion for TaskId: cancel")
            warnings.filterwarnings("ignore", "azure.functions df_loads was called without expected_type")
            response: str = ORCHESTRATIONS[type(self.run_or_job)][1](SimpleNamespace(body=trigger))
            return response

    def _run_activity(self, decision: Decision) -> Event:
        assert isinstance(decision, Activity)
        request = codec.decode(type(self.run_or_job), decision.data)
        step = STEP_OF[decision.name]
        self.calls.append((step, request))
        answer = self.activities(step, request)
        if isinstance(answer, Exception):
            reason = f"Activity function '{decision.name}' failed: {type(answer).__name__}: {answer}"
            return events.task_failed(self._stamp(), decision.number, reason, "")
        return events.task_completed(self._stamp(), decision.number, json.dumps(codec.encode(answer)))

    def _fire(self, decision: Timer) -> Event:
        due = clock.parse(decision.fire_at)
        self.pauses.append((due - self.now).total_seconds())
        created, self.now = self._stamp(), due - timedelta(seconds=self.early)
        return events.timer_fired(created, decision.number, decision.fire_at)

    def _stamp(self) -> str:
        return clock.stamp(self.now)


def _prefix(actions: list[dict[str, Any]], count: int) -> str:
    """The first actions. Only a timer's `isCanceled` may change between episodes, so it is ignored."""
    return json.dumps(actions[:count]).replace('"isCanceled": true', '"isCanceled": false')
