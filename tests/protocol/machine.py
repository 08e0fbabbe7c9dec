"""The model's mechanics: one step of an activity, operation or orchestration, and its effect on the whole state.

The real activities, operations and orchestrator take the steps. Each situation is computed once and cached.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from activities.transfers import ACTIVITIES
from operations.dead_letters.discard import discard
from operations.problems import Problem
from operations.transfers.accept import accept
from operations.transfers.cancel import request_cancel
from operations.transfers.start import restart
from operations.upkeep.resume import resume_one
from operations.upkeep.sweep import sweep
from operations.upkeep.watchdog import end_lost
from rules.events.decide import Found, decide_on
from rules.events.write import lookup_event
from rules.orchestrations.instance import Instance
from rules.routes.model import Place, Recipient, Route
from rules.transfers import identity
from rules.transfers.model import Run
from tests.protocol import checker
from tests.protocol.checker import Ghost
from tests.protocol.cloud import NAME, Cloud, RequestFault, View, etag
from tests.protocol.coroutines import Body, Moment, Request, Setup, frozen, replay_body
from tests.protocol.orchestration import BASE, CANCEL, LATER, Event, Progress, replay
from tests.protocol.state import Orchestration, Owner, Scenario, State, Task, in_order, without


def _portless(operation: Any) -> Any:
    def operate(_ports: Any, instances: Any, argument: Any) -> Any:
        return operation(instances, argument)

    return operate


# Longer than any pause before a resume, shorter than any deadline.
AFTER_A_PAUSE = timedelta(minutes=20)
OPERATIONS = {
    "accept": accept,
    "cancel": _portless(request_cancel),
    "discard": discard,
    "lost": _portless(end_lost),
    "restart": restart,
    "resume": resume_one,
    "sweep": sweep,
}


class Interner:
    """Values by number; equal values have one number."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._numbers: dict[Any, int] = {}

    def number(self, value: Any) -> int:
        """Return the number of a value."""
        number = self._numbers.setdefault(frozen(value), len(self.values))
        if number == len(self.values):
            self.values.append(value)
        return number


class Call(NamedTuple):
    """A pending request, by number."""

    number: int
    request: int
    basis: int
    name: str


class _Replay(NamedTuple):
    """The pending requests of a task, or that it is done with the number of its outcome or its exception."""

    calls: tuple[Call, ...]
    done: bool
    outcome: int
    raised: Exception | None
    task: tuple[Moment, tuple[tuple[int, int, Moment], ...]]
    """The first task with the same position: its answers stand for all."""


class Machine:
    """One scenario's states and their transitions."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.routes = tuple(_route(name, scenario) for name in scenario.routes)
        self._setup = Setup(self.routes, scenario.times, scenario.sizes)
        self.cloud = Cloud(self.routes[0], scenario.kinds)
        # A transfer's index is that of its version, counted once per route.
        self.transfers = tuple(
            identity.transfer(route, NAME, etag(number))
            for route in self.routes
            for number in range(1, scenario.versions + 1)
        )
        self._index = {transfer.id: index for index, transfer in enumerate(self.transfers)}
        self._bodies, self._runs, self._histories, self._lookups = Interner(), Interner(), Interner(), Interner()
        self._requests, self._answers, self._outcomes = Interner(), Interner(), Interner()
        self._replays: dict[Any, _Replay] = {}
        self._canonical_tasks: dict[Any, tuple[Moment, tuple[tuple[int, int, Moment], ...]]] = {}
        self._canonical_instances: dict[Any, tuple[int, int]] = {}
        self._target_views: dict[int, int] = {}
        self._extended_histories: dict[tuple[int, int, int, bool, bool], int] = {}
        self._activities: dict[tuple[int, int, int], int] = {}
        self._progress: dict[tuple[int, int], Progress] = {}
        self._served_requests: dict[tuple[int, int, RequestFault, int], tuple[int, int]] = {}
        self._empty_history = self._histories.number(())
        self._outcomes.number(None)
        self.current_step = ""
        script = " ".join(scenario.script)
        repeats = ("replay", "fail", "touch", "collect", "vanish", "lake", "return")
        self._copies_once = not (
            scenario.slow or scenario.faults or scenario.failures or any(word in script for word in repeats)
        )
        # Without these operations only a transfer's own activities access its records.
        self._records_are_private = (
            not scenario.interleaved
            and not scenario.unreduced
            and not scenario.failures
            and not any(word in script for word in ("terminate", "sweep", "discard"))
        )

    # --- queries

    def version(self, transfer: int) -> int:
        """Return the version that a transfer copies."""
        return transfer % self.scenario.versions + 1

    def name(self, transfer: int) -> str:
        """Return a transfer's name in labels: its version, and its route if there are several."""
        route = self.transfers[transfer].route
        return f"{self.version(transfer)}" + (f"@{route}" if len(self.routes) > 1 else "")

    def start(self) -> State:
        """Return the first state: version 1 is at the source and its event on the queue."""
        world = self.cloud.overwrite(self.cloud.empty, 1)
        state = State(
            world=world,
            instances=(None,) * len(self.transfers),
            tasks=(),
            messages=(),
            lookups=(),
            script=tuple(1 for _ in self.scenario.script),
            faults=self.scenario.faults,
            failures=self.scenario.failures,
            clock=Moment(),
            ghost=Ghost(copies=(0,) * len(self.transfers)),
        )
        return self._raise_events(state, 1)

    def progress(self, instance: Orchestration) -> Progress:
        key = (instance.run, instance.history)
        if key not in self._progress:
            self._progress[key] = replay(self._runs.values[instance.run], self._histories.values[instance.history])
        return self._progress[key]

    def final(self, instance: Orchestration | None) -> str | None:
        """Return the final state of a completed instance."""
        if instance is None or instance.status != "Completed":
            return None
        return self.progress(instance).state

    def run(self, instance: Orchestration) -> Run:
        """Return the input of an instance."""
        run: Run = self._runs.values[instance.run]
        return run

    # --- requests and answers

    def _label_step(self, label: str) -> str:
        """Remember the label of the current step, for the path of a violation."""
        self.current_step = label
        return label

    def _label(self, task: Task, call: Call) -> str:
        return f"{self._who(task)} {call.name}"

    def _who(self, task: Task) -> str:
        body: Body = self._bodies.values[task.body]
        late = " late" if task.slept or task.asleep else ""
        return f"{self._whose(*task.owner[:2]) if task.owner else '-'} {body.name}{late}"

    def _whose(self, transfer: int, generation: int) -> str:
        return self.name(transfer) + (f"#{generation}" if generation else "")

    def _serve_request(self, state: State, task: Task, call: Call, fault: RequestFault = None) -> State:
        state, answer = self._apply(state, task, call, fault)
        return self._deliver_answer(state, task, task, call.number, answer)

    def _apply(self, state: State, task: Task, call: Call, fault: RequestFault = None) -> tuple[State, int]:
        """Give the request its effect; return its answer without delivering it."""
        request: Request = self._requests.values[call.request]
        if request.port == "instances":
            return self._call_extension(state, request)
        key = (state.world, call.request, fault, task.read)
        if key not in self._served_requests:
            world, answer = self.cloud.serve(state.world, request, fault, task.read)
            self._served_requests[key] = world, self._answers.number(answer)
        world, answer = self._served_requests[key]
        if request.port == "recipients":
            world, events = self.cloud.notices(world)
            for event in events:
                state = checker.check_notice(state, self._index[event["id"]], self.version(self._index[event["id"]]))
        if world == state.world:
            return state, answer
        copied_by = None
        if request.method == "resolve":
            state = self._add_discard(state, world, request.args[0])
        if request.method in {"copy", "commit"}:
            copied_by = self._index[request.args[0].metadata["transfer_id"]]
        return self._change_world(state, world, copied_by), answer

    def _add_discard(self, state: State, world: int, identity: str) -> State:
        """Add a discarded dead letter to the history."""
        letter = self.cloud.resolved(world, identity)
        if letter is None or letter.resolved_as != "discarded":
            return state
        discards = state.ghost.discards | {(self._index[identity], letter.last_attempt)}
        return state._replace(ghost=state.ghost._replace(discards=discards))

    def _change_world(self, state: State, world: int, copied_by: int | None = None, *, outsider: bool = False) -> State:
        """Replace the world: check the change, and move its new messages to the model's queue."""
        before, after = self.cloud.view(state.world), self.cloud.view(world)
        ghost = state.ghost
        if copied_by is not None and self._copies_once:
            ghost = ghost.copied(copied_by)
        ghost = checker.check_change(
            ghost, before, after, outsider=outsider, makes_way=self._is_removed_for_newer(ghost.written, before, after)
        )
        world, bodies = self.cloud.messages(world)
        state = state._replace(world=world, ghost=ghost)
        for body in bodies:
            decision = decide_on(body, self.routes)
            for transfer in decision.transfers:
                state = self._enqueue(state, self._index[transfer.id])
            if decision.found:
                state = self._add_lookup(state, decision.found)
        return state

    def _add_lookup(self, state: State, found: Found) -> State:
        """Add a lookup to the queue. Its count only changes its pause, which is any time here, or `settle`."""
        body = lookup_event(self.routes[0], NAME, replace(found.lookup, count=0), BASE)
        clock = state.clock
        if found.lookup.settled:
            clock = clock._replace(started=clock.started + 1)
        message = (self._lookups.number(body), clock.started if found.lookup.settled else 0)
        return state._replace(clock=clock, lookups=tuple(sorted({*state.lookups, message})))

    def _is_removed_for_newer(self, written: int, before: View, after: View) -> bool:
        """Whether a version was removed because a newer one has another blob type and cannot overwrite it."""
        newer = range(before.complete + 1, written + 1)
        kind = self.cloud.kind(before.complete)
        return (
            before.complete > 0 and not after.exists and any(self.cloud.kind(version) is not kind for version in newer)
        )

    def _raise_events(self, state: State, written: int) -> State:
        if written in self.scenario.lost:
            return state
        for index in range(len(self.transfers)):
            if self.version(index) == written:
                state = self._enqueue(state, index)
        return state

    def _enqueue(self, state: State, index: int) -> State:
        # An event of a known transfer, or of one on the queue, changes nothing (but see `redeliver`).
        if state.instances[index] is not None or index in state.messages:
            return state
        return state._replace(messages=tuple(sorted((*state.messages, index))))

    def _deliver_answer(self, state: State, old: Task, task: Task, number: int, answer: int) -> State:
        """Deliver an answer to its task, which continues to its next request or its end."""
        answers = (*task.answers, (number, answer, state.clock))
        if len(task.answers) and task.answers[-1][2] == state.clock and task.answers[-1][0] > number:
            answers = (*task.answers[:-1], answers[-1], task.answers[-1])
        return self._replace_task(state, old, task._replace(answers=answers, read=0))

    def _replace_task(self, state: State, old: Task, new: Task) -> State:
        """Replace a task by its new state. A signature costs no request, so it is answered immediately."""
        found = self._replay(new)
        new = new._replace(born=found.task[0], answers=found.task[1])
        found = self._replay(new)  # the numbers of its calls may be others
        rest = without(state.tasks, old)
        for call in found.calls:
            if call.name == "source.sign_read":
                interim = state._replace(tasks=(*rest, new))
                after, answer = self._apply(interim, new, call)
                return self._deliver_answer(after, new, new, call.number, answer)
        if not found.done:
            return state._replace(tasks=in_order((*rest, new._replace(slept=False))))
        return self._finish_task(state._replace(tasks=rest), new, found)

    def _finish_task(self, state: State, task: Task, found: _Replay) -> State:
        owner = task.owner
        body: Body = self._bodies.values[task.body]
        if body.instances:
            if found.raised is not None and not isinstance(found.raised, Problem):
                raise checker.Violation(f"{body.name} raised {found.raised!r}")
            return state
        if owner is None or not self._is_awaited(state, owner):
            return state
        if found.raised is not None:
            raise checker.Violation(f"{body.name} raised {found.raised!r}")
        return self._deliver_event(state, owner.transfer, owner.number, found.outcome, slept=task.slept)

    def _is_awaited(self, state: State, owner: Owner) -> bool:
        instance = state.instances[owner.transfer]
        if instance is None or instance.status != "Running":
            return False
        if (instance.generation, instance.execution) != (owner.generation, owner.execution):
            return False
        activity = self.progress(instance).activity
        return activity is not None and activity.number == owner.number

    def _deliver_event(
        self, state: State, index: int, number: int, outcome: int = 0, *, failed: bool = False, slept: bool = False
    ) -> State:
        """Deliver an event to an orchestration, which continues to an activity, a timer, another execution, or its end."""
        instance = state.instances[index]
        assert instance is not None
        key = (instance.history, number, outcome, failed, instance.late)
        if key not in self._extended_histories:
            event = Event(number, self._outcomes.values[outcome], failed, instance.late)
            self._extended_histories[key] = self._histories.number((*self._histories.values[instance.history], event))
        instance = self._canonical(instance._replace(history=self._extended_histories[key]))
        return self._advance(state, index, instance, slept=slept)

    def _canonical(self, instance: Orchestration) -> Orchestration:
        """Return the first instance with the same position: its history stands for all."""
        position = self.progress(instance).position
        if position is None or self.scenario.unreduced:
            return instance
        run, history = self._canonical_instances.setdefault(position, (instance.run, instance.history))
        return instance._replace(run=run, history=history)

    def _advance(self, state: State, index: int, instance: Orchestration, *, slept: bool = False) -> State:
        progress = self.progress(instance)
        if progress.continued is not None:
            next_instance = instance._replace(
                run=self._runs.number(progress.continued), history=self._empty_history, execution=instance.execution + 1
            )
            return self._advance(state, index, next_instance)
        if progress.output is not None:
            state = checker.check_end(self, state, index, progress.output)
            return self._replace_instance(state, index, self._as_completed(instance, progress.output))
        if progress.custom.get("state") == "verified":
            verified = state.ghost.verified | {(index, progress.custom["attempt"])}
            state = state._replace(ghost=state.ghost._replace(verified=verified))
        if progress.timer is not None:
            return self._start_timer(state, index, instance, progress.timer.pause, slept=slept)
        before = state.instances[index]
        state = self._replace_instance(state, index, instance._replace(mark=0))
        assert progress.activity is not None
        owner = Owner(index, instance.generation, instance.execution, progress.activity.number)
        if before is not None and before[2:4] == instance[2:4] and self._awaited_activity(before) == owner.number:
            return state  # the event was only a cancel: the activity continues
        task = Task(self._activity(instance, progress.activity.run), state.clock, owner)
        found = self._replay(task)
        if found.done:  # an activity without requests ends immediately
            return self._finish_task(state, task, found)
        return state._replace(tasks=in_order((*state.tasks, task)))

    def _activity(self, instance: Orchestration, run: Run | None) -> int:
        """Return the activity that an instance waits for. Its clock shows later times in later attempts, and in `close`."""
        key = (instance.run, instance.history, instance.generation)
        if key not in self._activities:
            assert run is not None
            assert run.step is not None
            now = BASE + timedelta(seconds=10 * instance.generation + 5 * (run.step == "close"))
            self._activities[key] = self._bodies.number(Body(run.step.value, ACTIVITIES[run.step], run, now))
        return self._activities[key]

    def _as_completed(self, instance: Orchestration, output: dict[str, Any]) -> Orchestration:
        """Return a completed instance without the details that no later step reads."""
        output = {key: output[key] for key in ("state", "successor", "cancelling")}
        end = self._histories.number((frozen(output),))
        self._progress[instance.run, end] = Progress(output, output=output)
        return instance._replace(history=end, execution=0, late=False, mark=0, status="Completed")

    def _awaited_activity(self, instance: Orchestration) -> int | None:
        activity = self.progress(instance).activity
        return activity.number if activity else None

    def _target_view(self, world: int) -> int:
        if world not in self._target_views:
            self._target_views[world] = self._answers.number(self.cloud.view(world)[1:])
        return self._target_views[world]

    def _start_timer(self, state: State, index: int, instance: Orchestration, pause: float, *, slept: bool) -> State:
        if pause == self.scenario.times.settle:
            clock = state.clock._replace(started=state.clock.started + 1)
            return self._replace_instance(state._replace(clock=clock), index, instance._replace(mark=clock.started))
        history = self._histories.values[instance.history]
        outcome = history[-1].outcome if history else None
        polls = outcome is not None and outcome.verdict == "waiting" and not slept
        return self._replace_instance(
            state, index, instance._replace(mark=self._target_view(state.world) if polls else -1)
        )

    def _replace_instance(self, state: State, index: int, instance: Orchestration) -> State:
        instances = (*state.instances[:index], instance, *state.instances[index + 1 :])
        return state._replace(instances=instances)

    # --- operations and the extension

    def _run_operation(self, state: State, name: str, argument: Any, index: int) -> State:
        """Run an operation to its end; with `interleaved`, only start it."""
        instance = state.instances[index]
        generation = 0 if instance is None else instance.generation + 1
        function: Any = OPERATIONS[name] if argument is not None else _argumentless(OPERATIONS[name])
        now = BASE + timedelta(seconds=10 * generation)
        if name == "resume" and instance is not None:
            now = self._ended_at(instance) + AFTER_A_PAUSE
        body = self._bodies.number(Body(f"{name}", function, argument, now, instances=True))
        task = Task(body, state.clock, None)
        state = self._replace_task(state._replace(tasks=(*state.tasks, task)), task, task)
        while not self.scenario.interleaved:
            task = next((t for t in state.tasks if t.owner is None), task)
            if task not in state.tasks:
                break
            state = self._serve_request(state, task, self._replay(task).calls[0])
        return state

    def _call_extension(self, state: State, request: Request) -> tuple[State, int]:
        """Return the Durable extension's answer."""
        match request.method:
            case "find":
                index = self._index[request.args[0]]
                return state, self._answers.number(self._visible_instance(state, index))
            case "page":
                statuses = dict(request.options)["statuses"]
                found = [i for i, o in enumerate(state.instances) if o is not None and o.status in statuses]
                return state, self._answers.number(([self._visible_instance(state, index) for index in found], None))
            case "cancel":
                index = self._index[request.args[0]]
                return self._cancel(state, index), self._answers.number(None)
            case "terminate":
                index = self._index[request.args[0]]
                return self._break_instance(state, index, "Terminated", request.args[1]), self._answers.number(None)
            case "start":
                run: Run = request.args[0]
                index = self._index[run.transfer.id]
                existing = state.instances[index]
                if existing is not None and existing.status == "Running":
                    return state, self._answers.number(False)  # noqa: FBT003
                generation = 0 if existing is None else existing.generation + 1
                instance = Orchestration(self._runs.number(run), self._empty_history, generation)
                return self._advance(state, index, instance), self._answers.number(True)  # noqa: FBT003
        raise AssertionError(request)

    def _visible_instance(self, state: State, index: int) -> Instance | None:
        instance = state.instances[index]
        if instance is None:
            return None
        progress, at = self.progress(instance), self._ended_at(instance)
        output = progress.output or instance.host_output or None
        return Instance(self.transfers[index].id, instance.status, self.run(instance), progress.custom, output, at)

    def _ended_at(self, instance: Orchestration) -> datetime:
        return BASE + LATER if instance.late else BASE

    def _break_instance(self, state: State, index: int, status: str, output: str) -> State:
        """Let the host end an orchestration. Its activity in flight continues, but its result is not used."""
        instance = state.instances[index]
        if instance is None or instance.status != "Running":
            return state
        return self._replace_instance(state, index, instance._replace(status=status, host_output=output, mark=0))

    def _cancel(self, state: State, index: int) -> State:
        instance = state.instances[index]
        running = instance is not None and instance.status == "Running"
        return self._deliver_event(state, index, CANCEL) if running else state

    def _replay(self, task: Task) -> _Replay:
        key = (task.body, task.born, task.answers)
        if (known := self._replays.get(key)) is None:
            answers = tuple((number, self._answers.values[answer], moment) for number, answer, moment in task.answers)
            found = replay_body(self._bodies.values[task.body], self._setup, task.born, answers)
            calls = tuple(
                Call(waiting.number, self._requests.number(waiting.request), waiting.basis, waiting.request.name)
                for waiting in found.waiting
            )
            like = (
                self._canonical_tasks.setdefault((task.body, found.position), (task.born, task.answers))
                if calls
                else key[1:]
            )
            known = _Replay(calls, found.done, self._outcomes.number(found.result), found.raised, like)
            self._replays[key] = known
        return known


def _route(name: str, scenario: Scenario) -> Route:
    account = "sharingsource" if scenario.same_account else "sharingtarget"
    source = Place("https://sharingsource.blob.core.windows.net", "source")
    target = Place(f"https://{account}.blob.core.windows.net", "target")
    recipient = Recipient("https://partner.queue.core.windows.net", "shared") if scenario.notify else None
    return Route(name, source, target, engine=scenario.engine, notify=recipient)


def _argumentless(operation: Any) -> Any:
    def operate(ports: Any, instances: Any, _argument: None) -> Any:
        return operation(ports, instances)

    return operate
