"""A host on a stage: the real orchestrators, the real SDK's replay, and the stand-in's own episodes, under a clock of its own.

Every episode calls the orchestrator with its whole history, as the host does, and twice: a replay says the same.
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

# By what each is given.
ORCHESTRATIONS: dict[type[Any], tuple[str, df.Orchestrator]] = {
    Run: (TRANSFER, df.Orchestrator.create(transfer)),
    Job: (JOB, df.Orchestrator.create(job)),
}
# What an activity does, by its name.
DONE_BY: dict[str, str] = {name: what for what, name in [*STEPS.items(), *PHASES.items()]}
DONE = Outcome(Verdict.DONE)

Answer = Outcome | Batch | Exception
Activities = Callable[[str, Any], Answer]


@dataclass
class Stage:
    """One instance, of a run or a job. `play` goes on to its end; `batch` and `next` go on by one."""

    run: Any
    activities: Activities
    now: datetime
    early: float = 0.0
    status: str = "Pending"
    output: Any = None
    custom: dict[str, Any] = field(default_factory=dict)
    calls: list[tuple[str, Any]] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    inputs: list[Any] = field(default_factory=list)
    actions: list[dict[str, Any]] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    shown: list[dict[str, Any]] = field(default_factory=list)
    open: list[Decision] = field(default_factory=list)
    _history: list[Event] = field(default_factory=list)

    @property
    def steps(self) -> list[str]:
        """The steps or turns whose activities were called, in order."""
        return [name for name, _ in self.calls]

    @property
    def running(self) -> bool:
        """Whether it goes on."""
        return self.status in {"Pending", "Running"}

    def play(self, most: int = 2_000) -> "Stage":
        """Go on to the end."""
        while self.running:
            assert most, "it never ends"
            most -= 1
            self.next()
        return self

    def next(self) -> "Stage":
        """Answer what has been open for longest, or start."""
        if not self._history:
            return self.begin()
        assert self.open, "the instance is stuck: nothing is open, and it has not ended"
        decision = self.open.pop(0)
        answer = self._fired(decision) if isinstance(decision, Timer) else self._called(decision)
        return self.batch(answer)

    def cancel(self, times: int = 1) -> "Stage":
        """Raise the cancel event, each in an episode of its own; an instance that ended takes no notice."""
        for _ in range(times if self.running else 0):
            self.batch(self.raised())
        return self

    def raised(self) -> Event:
        """A cancel event."""
        return events.event_raised(self._stamp(), CANCEL, json.dumps("null"))

    def answered(self) -> Event:
        """What the oldest open activity or timer says, for an episode that brings several things at once."""
        decision = self.open.pop(0)
        return self._fired(decision) if isinstance(decision, Timer) else self._called(decision)

    def batch(self, *inbound: Event) -> "Stage":
        """One episode that brings these events."""
        result = episode.run(self._history, list(inbound), self._call, continued=False)
        return self._conclude(result, len(inbound))

    def begin(self, *inbound: Event, **more: Any) -> "Stage":
        """Start it as the SDK's client does (JSON in JSON), with events that came meanwhile and fields that nobody knows."""
        return self._begin(json.dumps(json.dumps(codec.encode(self.run) | more)), inbound, continued=False)

    def _begin(self, text: str, inbound: tuple[Event, ...] = (), *, continued: bool) -> "Stage":
        self.inputs.append(json.loads(json.loads(text)))
        self._history, self.open, self.actions = [], [], []
        identity = self.run.id if isinstance(self.run, Job) else self.run.transfer.id
        started = events.execution_started(self._stamp(), self._name, identity, "execution", data=text)
        new = [started, *inbound]
        return self._conclude(episode.run([], new, self._call, continued=continued), len(new))

    def _conclude(self, result: episode.Result, inbound: int) -> "Stage":
        self.status = result.status
        self._history += result.new
        self.open += result.decisions
        if not self.running or result.continued:
            # The last episode of an execution: its start, what came in, the end, its completion.
            self.rows.append(len(self._history) + (inbound + 3 if result.continued else 0))
        if result.continued:
            return self._begin(str(result.continued["Input"]), continued=True)
        self.output = None if result.output is None else json.loads(result.output)
        return self

    def _call(self, name: str, trigger: str) -> str:
        assert name == self._name
        said = self._asked(trigger)
        assert said == self._asked(trigger), "a replay said something else"
        state = json.loads(said)
        assert _kept(state["actions"][0], len(self.actions)) == _kept(self.actions, len(self.actions))
        self.actions, self.custom = state["actions"][0], state["customStatus"]
        self.shown.append(self.custom)
        return said

    @property
    def _name(self) -> str:
        return ORCHESTRATIONS[type(self.run)][0]

    def _asked(self, trigger: str) -> str:
        with warnings.catch_warnings():
            # A second cancel has no wait left, and inputs are plain JSON: the SDK warns of both.
            warnings.filterwarnings("ignore", "Potential duplicate Task completion for TaskId: cancel")
            warnings.filterwarnings("ignore", "azure.functions df_loads was called without expected_type")
            said: str = ORCHESTRATIONS[type(self.run)][1](SimpleNamespace(body=trigger))
            return said

    def _called(self, decision: Decision) -> Event:
        assert isinstance(decision, Activity)
        asked = codec.decode(type(self.run), decision.data)
        step = DONE_BY[decision.name]
        self.calls.append((step, asked))
        answer = self.activities(step, asked)
        if isinstance(answer, Exception):
            reason = f"Activity function '{decision.name}' failed: {type(answer).__name__}: {answer}"
            return events.task_failed(self._stamp(), decision.number, reason, "")
        return events.task_completed(self._stamp(), decision.number, json.dumps(codec.encode(answer)))

    def _fired(self, decision: Timer) -> Event:
        due = clock.parse(decision.fire_at)
        self.pauses.append((due - self.now).total_seconds())
        created, self.now = self._stamp(), due - timedelta(seconds=self.early)
        return events.timer_fired(created, decision.number, decision.fire_at)

    def _stamp(self) -> str:
        return clock.stamp(self.now)


def _kept(actions: list[dict[str, Any]], count: int) -> str:
    """The first actions, but for a timer's `isCanceled`, which alone may change."""
    return json.dumps(actions[:count]).replace('"isCanceled": true', '"isCanceled": false')


VERIFIED = Outcome(Verdict.VERIFIED, engine=Engine.SYNC, size=1_000)


WAITING = Outcome(Verdict.WAITING, engine=Engine.ASYNC, size=1_000_000)


AGAIN = Outcome(Verdict.AGAIN)


THROTTLED = Outcome(Verdict.RETRYABLE, reason=Reason.THROTTLED, detail="503 ServerBusy")


FORBIDDEN = Outcome(Verdict.PERMANENT, reason=Reason.TARGET_UNWRITABLE, detail="no container")


SUPERSEDED = Outcome(Verdict.SUPERSEDED, ending=Ending(State.SUPERSEDED, successor=Successor(NEWER)), size=1000)


SETTLE = Outcome(Verdict.DONE, pause=90)


DONE = Outcome(Verdict.DONE)


LOST = RuntimeError("python exited with code 137")
