"""What may happen next: the app's requests, the service, the owner, people, and one thing that goes wrong."""

from collections.abc import Iterator

from rules import events
from tests.protocol import checker
from tests.protocol.cloud import WRITES, Lost, Unseen, version
from tests.protocol.machine import Ask, Machine
from tests.protocol.orchestration import BASE, CANCEL
from tests.protocol.state import Orchestration, Owner, State, Step, Task, in_order, unborn, without

# A timer runs once at a time; after a crash of the host a second run may be beside the first.
MAX_ROUNDS = 2


class Model(Machine):
    """One scenario's steps from each of its states."""

    def steps(self, state: State) -> Iterator[Step]:
        """Everything that may happen without anything going wrong, then what may go wrong."""
        if (alone := self._alone(state)) is not None:
            yield alone
        else:
            yield from self._requests_of(state)
            yield from self._timers(state)
            yield from self._service(state)
            yield from self._scripted(state)
            yield from self._deliveries(state)
            yield from self._wakings(state)
        if state.faults:
            for step in self._faults(state._replace(faults=state.faults - 1)):
                yield step._replace(optional=True, fault=True)
        if state.failures:
            for step in self._failures(state._replace(failures=state.failures - 1)):
                yield step._replace(optional=True, fault=True)

    def _alone(self, state: State) -> Step | None:
        """A request that nothing else can tell from having happened already: to a record that its task alone uses.

        Every order with it is an order with it first, so it is the only one that is taken (but for what goes wrong with it).
        """
        owners = [task.owner.transfer if task.owner else None for task in state.tasks]
        for task in state.tasks if self._private else ():
            if task.asleep or task.owner is None or owners.count(task.owner.transfer) > 1:
                continue
            for ask in self._recall(task).asks:
                if ask.name.startswith(("dead_letters.", "events.")):
                    return Step(self._doing(self._label(task, ask)), self._serve(state, task, ask))
        return None

    def _requests_of(self, state: State) -> Iterator[Step]:
        for task in state.tasks:
            if not task.asleep:
                for ask in self._recall(task).asks:
                    yield Step(self._doing(self._label(task, ask)), self._serve(state, task, ask))

    def _timers(self, state: State) -> Iterator[Step]:
        for index, instance in enumerate(state.instances):
            if instance is None or instance.status != "Running":
                continue
            timer = self.progress(instance).timer
            if timer is None:
                continue
            who = self._whose(index, instance.generation)
            if timer.pause == self.scenario.times.settle:
                if not self._alive(state, instance.mark):
                    clock = state.clock._replace(fired=max(state.clock.fired, instance.mark))
                    yield Step(
                        self._doing(f"{self.name(index)} settled"),
                        self._tell(state._replace(clock=clock), index, timer.number),
                    )
            elif self._worth(state, instance):
                yield Step(self._doing(f"{who} pause"), self._tell(state, index, timer.number))

    def _alive(self, state: State, mark: int) -> bool:
        """Whether a request to storage is in flight that cannot live as long as the `settle` timer `mark`: it happens first."""
        asks = (ask for task in state.tasks if not task.asleep for ask in self._recall(task).asks)
        return any(ask.basis < mark and not ask.name.startswith("instances") for ask in asks)

    def _worth(self, state: State, instance: Orchestration) -> bool:
        """Whether a pause may be over: a look that would find what the last one found is not looked."""
        return instance.mark < 0 or instance.late or instance.mark != self._sight(state.world)

    def _service(self, state: State) -> Iterator[Step]:
        view = self.cloud.view(state.world)
        if view.status == "pending":
            yield Step(self._doing("copy ends"), self._moved(state, self.cloud.end_copy(state.world, well=True)))
            if view.receipt != view.source:
                after = self.cloud.end_copy(state.world, well=True, read=view.receipt)
                yield Step(self._doing("copy ends once read"), self._moved(state, after))

    def _scripted(self, state: State) -> Iterator[Step]:
        for number, what in enumerate(self.scenario.script):
            if state.script[number]:
                # Of equal lines only the first is taken: their order says nothing.
                if what in self.scenario.script[:number] and state.script[self.scenario.script.index(what)]:
                    continue
                script = (*state.script[:number], 0, *state.script[number + 1 :])
                following = state._replace(script=script)
                for read in self._reading(following) if what in {"overwrite", "remove"} else (following,):
                    after = self._happen(read, *self._doing(what).split(" "))
                    if after is not None:
                        yield Step(what + " once read" * (read is not following), after, optional=True)

    def _reading(self, state: State) -> Iterator[State]:
        """The source is about to change: each copy in flight may have read the version that it is pinned to, or not."""
        yield state
        current = self.cloud.view(state.world).source
        for task in state.tasks:
            if not task.asleep and not task.read and self._pinned(task) == current != 0:
                tasks = in_order((*without(state.tasks, task), task._replace(read=current)))
                yield from self._reading(state._replace(tasks=tasks))

    def _pinned(self, task: Task) -> int:
        """The version that a task's copy in flight is pinned to."""
        pins = [
            self._requests.values[a.request].args[0].etag for a in self._recall(task).asks if a.name == "target.copy"
        ]
        return version(pins[0]) if pins else 0

    def _happen(self, state: State, what: str, who: str = "") -> State | None:  # noqa: C901, PLR0911, PLR0912
        index = next((i for i in range(len(self.transfers)) if self.name(i) == who), 0)
        instance = state.instances[index]
        running = instance is not None and instance.status == "Running"
        view = self.cloud.view(state.world)
        match what:
            case "overwrite":
                following = max(view.source, state.ghost.written) + 1
                state = self._moved(state, self.cloud.overwrite(state.world, following))
                return self._announced(state, following)
            case "remove" if view.source:
                return self._moved(state, self.cloud.overwrite(state.world, 0))
            case "fail" if view.status == "pending":
                return self._moved(state, self.cloud.end_copy(state.world, well=False))
            case "touch" if view.there and view.status != "pending":
                return self._moved(state, self.cloud.touch(state.world), outsider=True)
            case "cancel" if running:
                return self._tell(state, index, CANCEL)
            case "cancel" if self._is_broken(instance):
                return self._operate(state, "cancel", self.transfers[index].id, index)
            case "deadline" if running and instance is not None and not instance.late and self._has_looked(instance):
                return self._with(state, index, instance._replace(late=True))
            case "replay" if self.final(instance) in {"dead_lettered", "cancelled"} or self._is_broken(instance):
                return self._operate(state, "restart", self.transfers[index], index)
            case "discard" if self.cloud.letter(state.world, self.transfers[index].id) is not None:
                return self._operate(state, "discard", self.transfers[index].id, index)
            case "lose" if self.cloud.letter(state.world, self.transfers[index].id) is not None:
                return state._replace(world=self.cloud.lose(state.world, self.transfers[index].id))
            # Retention is of days: whatever is in flight has ended by then.
            case "forget" if not state.tasks and self.cloud.resolved(state.world, self.transfers[index].id) is not None:
                return state._replace(world=self.cloud.forget(state.world, self.transfers[index].id))
            case "terminate" if running and instance is not None:
                return self._broken(state, index, "Terminated", "a person ended it")
            case "sweep":
                return self._operate(state, "sweep", None, index)
            case "redeliver" if self.version(index) <= state.ghost.written:
                body = self._message(index)
                return self._operate(state, "accept", body, index)
        return None

    def _has_looked(self, instance: Orchestration) -> bool:
        """Whether its deadline counts already."""
        return bool(self.progress(instance).custom.get("first_look_at"))

    def _deliveries(self, state: State) -> Iterator[Step]:
        for position, index in enumerate(state.messages):
            rest = state.messages[:position] + state.messages[position + 1 :]
            label = self._doing(f"event {self.name(index)}")
            yield Step(label, self._operate(state._replace(messages=rest), "accept", self._message(index), index))

        for index, instance in enumerate(state.instances):
            if self._is_broken(instance) and self._rounds(state, "resume") < MAX_ROUNDS:
                label = self._doing(f"{self.name(index)} resume")
                yield Step(label, self._operate(state, "resume", self.transfers[index].id, index))
            elif self._is_lost(state, index, instance) and self._rounds(state, "lost") < MAX_ROUNDS:
                label = self._doing(f"{self.name(index)} lost")
                yield Step(label, self._operate(state, "lost", self.transfers[index].id, index))
        heals = self.scenario.failures or ("lose 1" in self.scenario.script and not state.tasks)
        if heals and self._letters_disagree(state):
            yield Step(self._doing("sweep"), self._operate(state, "sweep", None, 0))

    def _letters_disagree(self, state: State) -> bool:
        """Whether the sweep has something to heal: what a failed execution still had in flight may write a letter late."""
        return any(
            (self.cloud.letter(state.world, self.transfers[index].id) is not None)
            != (self.final(instance) == "dead_lettered" and not checker.is_discarded(state, index))
            for index, instance in enumerate(state.instances)
            if self.final(instance) is not None
        )

    def _is_broken(self, instance: Orchestration | None) -> bool:
        return instance is not None and instance.status in {"Failed", "Terminated"}

    def _rounds(self, state: State, name: str) -> int:
        """How many runs of an operation are in flight, where its requests mix with those of others."""
        return sum(self._bodies.values[task.body].name == name for task in state.tasks)

    def _is_lost(self, state: State, index: int, instance: Orchestration | None) -> bool:
        """Whether it waits for an activity that nobody has in hand."""
        running = instance is not None and instance.status == "Running"
        activity = self.progress(instance).activity if running and instance else None
        if activity is None or instance is None:
            return False
        owner = Owner(index, instance.generation, instance.execution, activity.number)
        return owner not in [task.owner for task in state.tasks]

    def _message(self, index: int) -> bytes:
        transfer = self.transfers[index]
        return events.created_event(transfer, transfer.etag, BASE)

    def _wakings(self, state: State) -> Iterator[Step]:
        for task in state.tasks:
            if task.asleep:
                label = self._doing(f"{self._who(task)} wakes")
                awake = task._replace(asleep=False, held=(), slept=True)
                if not task.held:
                    after = self._exchanged(state, task, awake._replace(born=state.clock))
                else:
                    after = self._answered(state, task, awake, *task.held)
                yield Step(label, after, optional=task.owner is None or not self._waits(state, task.owner))

    # --- what may go wrong

    def _faults(self, state: State) -> Iterator[Step]:
        for task in state.tasks:
            if task.asleep:
                continue
            if task.owner and not task.answers and not task.slept:
                yield Step(
                    self._doing(f"{self._who(task)} twice"),
                    state._replace(tasks=in_order((*state.tasks, unborn(task)))),
                )
            for ask in self._recall(task).asks:
                yield from self._faults_of(state, task, ask)

    def _faults_of(self, state: State, task: Task, ask: Ask) -> Iterator[Step]:
        label, method = self._label(task, ask), ask.name.partition(".")[2]
        if not ask.name.startswith("instances"):
            yield Step(self._doing(f"{label} unsent"), self._serve(state, task, ask, Lost(happened=False)))
            # At most once in a run, as the last fault: a source that is not seen twice counts as deleted.
            if ask.name == "source.head" and self.cloud.view(state.world).source and not state.faults:
                yield Step(self._doing(f"{label} unseen"), self._serve(state, task, ask, Unseen()))
            if method in WRITES:
                yield Step(self._doing(f"{label} unanswered"), self._serve(state, task, ask, Lost(happened=True)))
        if task.owner:
            yield Step(self._doing(f"{label} crash before"), self._crashed(state, task))
            happened, answer = self._effect(state, task, ask)
            if method in WRITES:
                yield Step(self._doing(f"{label} crash after"), self._crashed(happened, task))
            asleep = task._replace(asleep=True, held=(ask.number, answer))
            tasks = in_order((*without(happened.tasks, task), asleep, unborn(task)))
            yield Step(self._doing(f"{label} asleep after"), happened._replace(tasks=tasks))

    def _failures(self, state: State) -> Iterator[Step]:
        """What the host may do to an orchestration: fail it, drop its activity, take for lost what only takes its time."""
        for index, instance in enumerate(state.instances):
            if instance is None or instance.status != "Running":
                continue
            who = self._whose(index, instance.generation)
            yield Step(self._doing(f"{who} failed"), self._broken(state, index, "Failed", "the worker died"))
            if self.progress(instance).activity is not None:
                taken = self._operate(state, "lost", self.transfers[index].id, index)
                yield Step(self._doing(f"{who} taken for lost"), taken)
        for task in state.tasks:
            if (
                task.owner
                and not task.answers
                and not task.slept
                and not task.asleep
                and self._waits(state, task.owner)
            ):
                dropped = state._replace(tasks=without(state.tasks, task))
                yield Step(self._doing(f"{self._who(task)} dropped"), dropped)

    def _crashed(self, state: State, task: Task) -> State:
        state = state._replace(tasks=without(state.tasks, task))
        owner = task.owner
        if owner and self._waits(state, owner):
            return self._tell(state, owner.transfer, owner.number, failed=True)
        return state
