"""How things happen: one step of an activity, an operation, an orchestration, and what it does to everything else.

The real activities, operations and orchestrator take the steps; what each of them does in one situation is found once and
remembered.
"""

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from activities.transfers import ACTIVITIES
from operations.dead_letters.discard import discard
from operations.problems import Problem
from operations.transfers.accept import accept
from operations.transfers.cancel import ask_to_cancel
from operations.transfers.restart import restart
from operations.upkeep.resume import take_up
from operations.upkeep.sweep import sweep
from operations.upkeep.watchdog import give_back
from rules import events
from rules.orchestrations.instance import Instance
from rules.routes.model import EnginePreference, Place, Route
from rules.transfers import identity
from rules.transfers.model import Run
from tests.protocol import checker
from tests.protocol.checker import Ghost
from tests.protocol.cloud import NAME, Cloud, Trouble, View, etag
from tests.protocol.orchestration import BASE, CANCEL, LATER, Event, Progress, replay
from tests.protocol.recall import Body, Moment, Request, frozen, recall
from tests.protocol.state import Orchestration, Owner, Scenario, State, Task, in_order, without


def _portless(operation: Any) -> Any:
    def operate(_ports: Any, instances: Any, argument: Any) -> Any:
        return operation(instances, argument)

    return operate


# Longer than any pause before a resume, shorter than any deadline.
AFTER_A_PAUSE = timedelta(minutes=20)
OPERATIONS = {
    "accept": accept,
    "cancel": _portless(ask_to_cancel),
    "discard": discard,
    "lost": give_back,
    "restart": restart,
    "resume": take_up,
    "sweep": sweep,
}


class Known:
    """Values by number."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._numbers: dict[Any, int] = {}

    def number(self, value: Any) -> int:
        """The number of a value that is equal to this one."""
        number = self._numbers.setdefault(frozen(value), len(self.values))
        if number == len(self.values):
            self.values.append(value)
        return number


class Ask(NamedTuple):
    """A waiting request, by number."""

    number: int
    request: int
    basis: int
    name: str


class _Recall(NamedTuple):
    """What a task asks; or that it is done, and what of: the number of its outcome, or what it raised."""

    asks: tuple[Ask, ...]
    done: bool
    outcome: int
    raised: Exception | None
    task: tuple[Moment, tuple[tuple[int, int, Moment], ...]]
    """The first task that was met at the same place: its answers stand for all."""


class Machine:
    """One scenario's states, by what led to them."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.routes = tuple(_route(name, scenario.engine) for name in scenario.routes)
        self.cloud = Cloud(self.routes[0], scenario.kinds)
        # A transfer's index is that of its version, counted once per route.
        self.transfers = tuple(
            identity.transfer(route, NAME, etag(number))
            for route in self.routes
            for number in range(1, scenario.versions + 1)
        )
        self._index = {transfer.id: index for index, transfer in enumerate(self.transfers)}
        self._bodies, self._runs, self._histories = Known(), Known(), Known()
        self._requests, self._answers, self._outcomes = Known(), Known(), Known()
        self._recalls: dict[Any, _Recall] = {}
        self._places: dict[Any, tuple[Moment, tuple[tuple[int, int, Moment], ...]]] = {}
        self._waits_at: dict[Any, tuple[int, int]] = {}
        self._sights: dict[int, int] = {}
        self._told: dict[tuple[int, int, int, bool, bool], int] = {}
        self._activities: dict[tuple[int, int, int], int] = {}
        self._progress: dict[tuple[int, int], Progress] = {}
        self._served: dict[tuple[int, int, Trouble, int], tuple[int, int]] = {}
        self._nothing = self._histories.number(())
        self._outcomes.number(None)
        self.doing = ""
        script = " ".join(scenario.script)
        self._bounded = not scenario.faults + scenario.failures and not any(
            word in script for word in ("replay", "fail", "touch")
        )
        # Only a transfer's own activities touch its records, unless an operation runs beside them.
        self._private = (
            not scenario.fine
            and not scenario.exact
            and not scenario.failures
            and not any(word in script for word in ("terminate", "sweep", "discard"))
        )

    # --- what is known of a state

    def version(self, transfer: int) -> int:
        """The version that a transfer carries."""
        return transfer % self.scenario.versions + 1

    def name(self, transfer: int) -> str:
        """The name of a transfer in labels: its version, and its route where there are several."""
        route = self.transfers[transfer].route
        return f"{self.version(transfer)}" + (f"@{route}" if len(self.routes) > 1 else "")

    def start(self) -> State:
        """Version 1 is at the source and its event on the queue."""
        world = self.cloud.overwrite(self.cloud.empty, 1)
        state = State(
            world=world,
            instances=(None,) * len(self.transfers),
            tasks=(),
            messages=(),
            script=tuple(1 for _ in self.scenario.script),
            faults=self.scenario.faults,
            failures=self.scenario.failures,
            clock=Moment(),
            ghost=Ghost(copies=(0,) * len(self.transfers)),
        )
        return self._announced(state, 1)

    def progress(self, instance: Orchestration) -> Progress:
        """Where an instance is."""
        key = (instance.run, instance.history)
        if key not in self._progress:
            self._progress[key] = replay(self._runs.values[instance.run], self._histories.values[instance.history])
        return self._progress[key]

    def final(self, instance: Orchestration | None) -> str | None:
        """The final state of an instance that has ended by itself."""
        if instance is None or instance.status != "Completed":
            return None
        return self.progress(instance).state

    def run(self, instance: Orchestration) -> Run:
        """The input of an instance."""
        run: Run = self._runs.values[instance.run]
        return run

    # --- requests and answers

    def _doing(self, label: str) -> str:
        self.doing = label
        return label

    def _label(self, task: Task, ask: Ask) -> str:
        return f"{self._who(task)} {ask.name}"

    def _who(self, task: Task) -> str:
        body: Body = self._bodies.values[task.body]
        late = " late" if task.slept or task.asleep else ""
        return f"{self._whose(*task.owner[:2]) if task.owner else '-'} {body.name}{late}"

    def _whose(self, transfer: int, generation: int) -> str:
        return self.name(transfer) + (f"#{generation}" if generation else "")

    def _serve(self, state: State, task: Task, ask: Ask, trouble: Trouble = None) -> State:
        state, answer = self._effect(state, task, ask, trouble)
        return self._answered(state, task, task, ask.number, answer)

    def _effect(self, state: State, task: Task, ask: Ask, trouble: Trouble = None) -> tuple[State, int]:
        """The request has its effect; its answer has not come."""
        request: Request = self._requests.values[ask.request]
        if request.port == "instances":
            return self._extension(state, request)
        key = (state.world, ask.request, trouble, task.read)
        if key not in self._served:
            world, answer = self.cloud.serve(state.world, request, trouble, task.read)
            self._served[key] = world, self._answers.number(answer)
        world, answer = self._served[key]
        if world == state.world:
            return state, answer
        begun = None
        if request.method == "resolve":
            state = self._discarded(state, world, request.args[0])
        if request.method == "copy":
            begun = self._index[request.args[0].metadata["transfer_id"]]
        return self._moved(state, world, begun), answer

    def _discarded(self, state: State, world: int, identity: str) -> State:
        """The onlooker remembers that a letter is discarded from now on, if it is."""
        letter = self.cloud.resolved(world, identity)
        if letter is None or letter.resolved_as != "discarded":
            return state
        discards = state.ghost.discards | {(self._index[identity], letter.last)}
        return state._replace(ghost=state.ghost._replace(discards=discards))

    def _moved(self, state: State, world: int, begun: int | None = None, *, outsider: bool = False) -> State:
        """Another world: looked at by the checker, its queue emptied into ours."""
        before, after = self.cloud.view(state.world), self.cloud.view(world)
        ghost = state.ghost
        if begun is not None and self._bounded:
            ghost = ghost.copied(begun)
        ghost = checker.moved(
            ghost, before, after, outsider=outsider, makes_way=self._makes_way(ghost.written, before, after)
        )
        world, bodies = self.cloud.messages(world)
        state = state._replace(world=world, ghost=ghost)
        for body in bodies:
            for transfer in events.decide_on(body, self.routes).transfers:
                state = self._queued(state, self._index[transfer.id])
        return state

    def _makes_way(self, written: int, before: View, after: View) -> bool:
        """Whether a version went because a newer one has another blob type, which cannot overwrite it."""
        newer = range(before.whole + 1, written + 1)
        kind = self.cloud.kind(before.whole)
        return before.whole > 0 and not after.there and any(self.cloud.kind(version) is not kind for version in newer)

    def _announced(self, state: State, written: int) -> State:
        if written in self.scenario.lost:
            return state
        for index in range(len(self.transfers)):
            if self.version(index) == written:
                state = self._queued(state, index)
        return state

    def _queued(self, state: State, index: int) -> State:
        # A second event of what is known, or on the queue, already changes nothing (but see `redeliver`).
        if state.instances[index] is not None or index in state.messages:
            return state
        return state._replace(messages=tuple(sorted((*state.messages, index))))

    def _answered(self, state: State, old: Task, task: Task, number: int, answer: int) -> State:
        """An answer reaches its task, which goes on to its next request or to its end."""
        answers = (*task.answers, (number, answer, state.clock))
        if len(task.answers) and task.answers[-1][2] == state.clock and task.answers[-1][0] > number:
            answers = (*task.answers[:-1], answers[-1], task.answers[-1])
        return self._exchanged(state, old, task._replace(answers=answers, read=0))

    def _exchanged(self, state: State, old: Task, new: Task) -> State:
        """The task as it is now. What costs no request (a signature) is answered at once."""
        found = self._recall(new)
        new = new._replace(born=found.task[0], answers=found.task[1])
        rest = without(state.tasks, old)
        for ask in found.asks:
            if ask.name == "source.sign_read":
                interim = state._replace(tasks=(*rest, new))
                after, answer = self._effect(interim, new, ask)
                return self._answered(after, new, new, ask.number, answer)
        if not found.done:
            return state._replace(tasks=in_order((*rest, new._replace(slept=False))))
        return self._finished(state._replace(tasks=rest), new, found)

    def _finished(self, state: State, task: Task, found: _Recall) -> State:
        owner = task.owner
        body: Body = self._bodies.values[task.body]
        if body.instances:
            if found.raised is not None and not isinstance(found.raised, Problem):
                raise checker.Violation(f"{body.name} raised {found.raised!r}")
            return state
        if owner is None or not self._waits(state, owner):
            return state
        if found.raised is not None:
            raise checker.Violation(f"{body.name} raised {found.raised!r}")
        return self._tell(state, owner.transfer, owner.number, found.outcome, slept=task.slept)

    def _waits(self, state: State, owner: Owner) -> bool:
        instance = state.instances[owner.transfer]
        if instance is None or instance.status != "Running":
            return False
        if (instance.generation, instance.execution) != (owner.generation, owner.execution):
            return False
        activity = self.progress(instance).activity
        return activity is not None and activity.number == owner.number

    def _tell(
        self, state: State, index: int, number: int, outcome: int = 0, *, failed: bool = False, slept: bool = False
    ) -> State:
        """An orchestration is told something and goes on: to an activity, a timer, another execution, or its end."""
        instance = state.instances[index]
        assert instance is not None
        key = (instance.history, number, outcome, failed, instance.late)
        if key not in self._told:
            event = Event(number, self._outcomes.values[outcome], failed, instance.late)
            self._told[key] = self._histories.number((*self._histories.values[instance.history], event))
        instance = self._like(instance._replace(history=self._told[key]))
        return self._gone_on(state, index, instance, slept=slept)

    def _like(self, instance: Orchestration) -> Orchestration:
        """The first instance that was met at the same place: its history stands for all."""
        place = self.progress(instance).place
        if place is None or self.scenario.exact:
            return instance
        run, history = self._waits_at.setdefault(place, (instance.run, instance.history))
        return instance._replace(run=run, history=history)

    def _gone_on(self, state: State, index: int, instance: Orchestration, *, slept: bool = False) -> State:
        progress = self.progress(instance)
        if progress.continued is not None:
            following = instance._replace(
                run=self._runs.number(progress.continued), history=self._nothing, execution=instance.execution + 1
            )
            return self._gone_on(state, index, following)
        if progress.output is not None:
            state = checker.ended(self, state, index, progress.output)
            return self._with(state, index, self._completed(instance, progress.output))
        if progress.timer is not None:
            return self._paused(state, index, instance, progress.timer.pause, slept=slept)
        before = state.instances[index]
        state = self._with(state, index, instance._replace(mark=0))
        assert progress.activity is not None
        owner = Owner(index, instance.generation, instance.execution, progress.activity.number)
        if before is not None and before[2:4] == instance[2:4] and self._waited(before) == owner.number:
            return state  # only a cancel was seen: the activity goes on
        task = Task(self._activity(instance, progress.activity.run), state.clock, owner)
        found = self._recall(task)
        if found.done:  # an activity that asks nothing has ended as soon as it begins
            return self._finished(state, task, found)
        return state._replace(tasks=in_order((*state.tasks, task)))

    def _activity(self, instance: Orchestration, run: Run | None) -> int:
        """The activity that an instance waits for. Its clock shows later times in later attempts, and at their end."""
        key = (instance.run, instance.history, instance.generation)
        if key not in self._activities:
            assert run is not None
            assert run.step is not None
            now = BASE + timedelta(seconds=10 * instance.generation + 5 * (run.step == "close"))
            self._activities[key] = self._bodies.number(Body(run.step.value, ACTIVITIES[run.step], run, now))
        return self._activities[key]

    def _completed(self, instance: Orchestration, output: dict[str, Any]) -> Orchestration:
        """An instance that has ended, without what is of no more account."""
        output = {key: output[key] for key in ("state", "successor", "cancelling")}
        end = self._histories.number((frozen(output),))
        self._progress[instance.run, end] = Progress(output, output=output)
        return instance._replace(history=end, execution=0, late=False, mark=0, status="Completed")

    def _waited(self, instance: Orchestration) -> int | None:
        activity = self.progress(instance).activity
        return activity.number if activity else None

    def _sight(self, world: int) -> int:
        if world not in self._sights:
            self._sights[world] = self._answers.number(self.cloud.view(world)[1:])
        return self._sights[world]

    def _paused(self, state: State, index: int, instance: Orchestration, pause: float, *, slept: bool) -> State:
        if pause == self.scenario.times.settle:
            clock = state.clock._replace(started=state.clock.started + 1)
            return self._with(state._replace(clock=clock), index, instance._replace(mark=clock.started))
        history = self._histories.values[instance.history]
        outcome = history[-1].outcome if history else None
        polls = outcome is not None and outcome.verdict == "waiting" and not slept
        return self._with(state, index, instance._replace(mark=self._sight(state.world) if polls else -1))

    def _with(self, state: State, index: int, instance: Orchestration) -> State:
        instances = (*state.instances[:index], instance, *state.instances[index + 1 :])
        return state._replace(instances=instances)

    # --- operations and the extension

    def _operate(self, state: State, name: str, argument: Any, index: int) -> State:
        """An operation, whole; where the scenario is `fine`, its requests mix with everybody's."""
        instance = state.instances[index]
        generation = 0 if instance is None else instance.generation + 1
        function: Any = OPERATIONS[name] if argument is not None else _argumentless(OPERATIONS[name])
        now = BASE + timedelta(seconds=10 * generation)
        if name == "resume" and instance is not None:
            now = self._ended_at(instance) + AFTER_A_PAUSE
        body = self._bodies.number(Body(f"{name}", function, argument, now, instances=True))
        task = Task(body, state.clock, None)
        state = self._exchanged(state._replace(tasks=(*state.tasks, task)), task, task)
        while not self.scenario.fine:
            task = next((t for t in state.tasks if t.owner is None), task)
            if task not in state.tasks:
                break
            state = self._serve(state, task, self._recall(task).asks[0])
        return state

    def _extension(self, state: State, request: Request) -> tuple[State, int]:
        """The Durable extension's answer."""
        match request.method:
            case "find":
                index = self._index[request.args[0]]
                return state, self._answers.number(self._instance(state, index))
            case "page":
                wanted = dict(request.options)["standing"]
                found = [i for i, o in enumerate(state.instances) if o is not None and o.status in wanted]
                return state, self._answers.number(([self._instance(state, index) for index in found], None))
            case "cancel":
                index = self._index[request.args[0]]
                return self._cancelled(state, index), self._answers.number(None)
            case "terminate":
                index = self._index[request.args[0]]
                return self._broken(state, index, "Terminated", request.args[1]), self._answers.number(None)
            case "start":
                run: Run = request.args[0]
                index = self._index[run.transfer.id]
                there = state.instances[index]
                if there is not None and there.status == "Running":
                    return state, self._answers.number(False)  # noqa: FBT003
                generation = 0 if there is None else there.generation + 1
                instance = Orchestration(self._runs.number(run), self._nothing, generation)
                return self._gone_on(state, index, instance), self._answers.number(True)  # noqa: FBT003
        raise AssertionError(request)

    def _instance(self, state: State, index: int) -> Instance | None:
        instance = state.instances[index]
        if instance is None:
            return None
        progress, at = self.progress(instance), self._ended_at(instance)
        output = progress.output or instance.said or None
        return Instance(self.transfers[index].id, instance.status, self.run(instance), progress.custom, output, at)

    def _ended_at(self, instance: Orchestration) -> datetime:
        return BASE + LATER if instance.late else BASE

    def _broken(self, state: State, index: int, status: str, said: str) -> State:
        """The host ends an orchestration without a word of its own. What it had in flight goes on, and nobody waits for it."""
        instance = state.instances[index]
        if instance is None or instance.status != "Running":
            return state
        return self._with(state, index, instance._replace(status=status, said=said, mark=0))

    def _cancelled(self, state: State, index: int) -> State:
        instance = state.instances[index]
        running = instance is not None and instance.status == "Running"
        return self._tell(state, index, CANCEL) if running else state

    def _recall(self, task: Task) -> _Recall:
        key = (task.body, task.born, task.answers)
        if (known := self._recalls.get(key)) is None:
            answers = tuple((number, self._answers.values[answer], moment) for number, answer, moment in task.answers)
            found = recall(self._bodies.values[task.body], self.routes, self.scenario.times, task.born, answers)
            asks = tuple(
                Ask(waiting.number, self._requests.number(waiting.request), waiting.basis, waiting.request.name)
                for waiting in found.waiting
            )
            like = self._places.setdefault((task.body, found.place), (task.born, task.answers)) if asks else key[1:]
            known = _Recall(asks, found.done, self._outcomes.number(found.result), found.raised, like)
            self._recalls[key] = known
        return known


def _route(name: str, engine: EnginePreference) -> Route:
    source = Place("https://sharingsource.blob.core.windows.net", "source")
    target = Place("https://sharingtarget.blob.core.windows.net", "target")
    return Route(name, source, target, engine=engine)


def _argumentless(operation: Any) -> Any:
    def operate(ports: Any, instances: Any, _argument: None) -> Any:
        return operation(ports, instances)

    return operate
