"""The possible steps of a state: the app's requests, the service, the owner, people, and one fault."""

from collections.abc import Iterator

from rules.events.decide import Found
from rules.events.lookups import Cause, Lookup
from rules.events.write import created_event
from tests.protocol import checker
from tests.protocol.cloud import NAME, WRITES, Lost, Unseen, version
from tests.protocol.machine import Call, Machine
from tests.protocol.orchestration import BASE, CANCEL
from tests.protocol.state import Orchestration, Owner, State, Step, Task, in_order, unborn, without

# Requests that `settle` does not outlast: a staged block changes nothing that a step reads.
TIMELESS = ("instances", "target.stage")
# A timer has one run at a time; after a crash of the host a second run may overlap the first.
MAX_CONCURRENT_RUNS = 2
# Requests that read the version to which they are pinned.
PINNED = ("target.copy", "target.stage")


class Model(Machine):
    """One scenario's steps from each of its states."""

    def steps(self, state: State) -> Iterator[Step]:
        """Yield the steps without a fault, then the faults."""
        if (alone := self._private_step(state)) is not None:
            yield alone
        else:
            yield from self._request_steps(state)
            yield from self._timer_steps(state)
            yield from self._service_steps(state)
            yield from self._script_steps(state)
            yield from self._delivery_steps(state)
            yield from self._wake_steps(state)
        if state.faults:
            for step in self._fault_steps(state._replace(faults=state.faults - 1)):
                yield step._replace(optional=True, fault=True)
        if state.failures:
            for step in self._host_failure_steps(state._replace(failures=state.failures - 1)):
                yield step._replace(optional=True, fault=True)

    def _private_step(self, state: State) -> Step | None:
        """Return a request to a record that only its task uses.

        Its order relative to other steps makes no difference, so it is the only step taken (apart from its faults).
        """
        owners = [task.owner.transfer if task.owner else None for task in state.tasks]
        for task in state.tasks if self._records_are_private else ():
            if task.asleep or task.owner is None or owners.count(task.owner.transfer) > 1:
                continue
            for call in self._replay(task).calls:
                if call.name.startswith(("dead_letters.", "events.")):
                    return Step(self._label_step(self._label(task, call)), self._serve_request(state, task, call))
        return None

    def _request_steps(self, state: State) -> Iterator[Step]:
        for task in state.tasks:
            if not task.asleep:
                for call in self._replay(task).calls:
                    yield Step(self._label_step(self._label(task, call)), self._serve_request(state, task, call))

    def _timer_steps(self, state: State) -> Iterator[Step]:
        for index, instance in enumerate(state.instances):
            if instance is None or instance.status != "Running":
                continue
            timer = self.progress(instance).timer
            if timer is None:
                continue
            who = self._whose(index, instance.generation)
            if timer.pause == self.scenario.times.settle:
                if not self._is_request_alive(state, instance.mark):
                    clock = state.clock._replace(fired=max(state.clock.fired, instance.mark))
                    yield Step(
                        self._label_step(f"{self.name(index)} settled"),
                        self._deliver_event(state._replace(clock=clock), index, timer.number),
                    )
            elif self._may_fire(state, instance):
                yield Step(self._label_step(f"{who} pause"), self._deliver_event(state, index, timer.number))

    def _is_request_alive(self, state: State, mark: int) -> bool:
        """Whether a request in flight must end before the `settle` timer `mark` fires."""
        calls = (call for task in state.tasks if not task.asleep for call in self._replay(task).calls)
        return any(call.basis < mark and not call.name.startswith(TIMELESS) for call in calls)

    def _may_fire(self, state: State, instance: Orchestration) -> bool:
        """Whether a pause may end: a look that would find the same as the last one is skipped."""
        is_slow = self.scenario.slow and self.cloud.view(state.world).status == "pending"
        return is_slow or instance.mark < 0 or instance.late or instance.mark != self._target_view(state.world)

    def _service_steps(self, state: State) -> Iterator[Step]:
        view = self.cloud.view(state.world)
        if view.status == "pending":
            yield Step(
                self._label_step("copy ends"), self._change_world(state, self.cloud.end_copy(state.world, well=True))
            )
            if view.receipt != view.source:
                after = self.cloud.end_copy(state.world, well=True, read=view.receipt)
                yield Step(self._label_step("copy ends once read"), self._change_world(state, after))

    def _script_steps(self, state: State) -> Iterator[Step]:
        for number, line in enumerate(self.scenario.script):
            if state.script[number]:
                # Of equal lines only the first is taken: their order makes no difference.
                if line in self.scenario.script[:number] and state.script[self.scenario.script.index(line)]:
                    continue
                script = (*state.script[:number], 0, *state.script[number + 1 :])
                rest = state._replace(script=script)
                for read in self._with_source_reads(rest) if line in {"overwrite", "remove", "return"} else (rest,):
                    after = self._apply_event(read, *self._label_step(line).split(" "))
                    if after is not None:
                        yield Step(line + " once read" * (read is not rest), after, optional=True)

    def _with_source_reads(self, state: State) -> Iterator[State]:
        """Yield the states before a change of the source: each copy in flight may have read its pinned version, or not."""
        yield state
        current = self.cloud.view(state.world).source
        for task in state.tasks:
            if not task.asleep and not task.read and self._pinned_version(task) == current != 0:
                tasks = in_order((*without(state.tasks, task), task._replace(read=current)))
                yield from self._with_source_reads(state._replace(tasks=tasks))

    def _pinned_version(self, task: Task) -> int:
        """Return the version that a task's copy in flight is pinned to."""
        requests = [(call.name, self._requests.values[call.request].args) for call in self._replay(task).calls]
        pins = [args[0].etag if name == "target.copy" else args[2] for name, args in requests if name in PINNED]
        return version(pins[0]) if pins else 0

    def _apply_event(self, state: State, event: str, who: str = "") -> State | None:  # noqa: C901, PLR0911, PLR0912
        index = next((i for i in range(len(self.transfers)) if self.name(i) == who), 0)
        instance = state.instances[index]
        running = instance is not None and instance.status == "Running"
        view = self.cloud.view(state.world)
        match event:
            case "overwrite":
                newer = max(view.source, state.ghost.written) + 1
                state = self._change_world(state, self.cloud.overwrite(state.world, newer))
                return self._raise_events(state, newer)
            case "remove" if view.source:
                return self._change_world(state, self.cloud.overwrite(state.world, 0))
            case "return" if view.source != 1:
                state = self._change_world(state, self.cloud.overwrite(state.world, 1))
                return self._add_lookup(state, Found(Lookup(Cause.RENAMED), NAME, self.routes))
            case "fail" if view.status == "pending":
                return self._change_world(state, self.cloud.end_copy(state.world, well=False))
            case "touch" if view.exists and view.status != "pending":
                return self._change_world(state, self.cloud.touch(state.world), outsider=True)
            case "collect" if self.cloud.has_staged(state.world):
                return self._change_world(state, self.cloud.collect(state.world), outsider=True)
            # Rule 19: a verified copy that an outsider deletes is not written again.
            case "vanish" if view.complete < view.source and (view.exists or self.cloud.has_staged(state.world)):
                return self._change_world(state, self.cloud.vanish(state.world), outsider=True)
            case "lake" if view.complete < view.source and view.status != "pending":
                return self._change_world(state, self.cloud.make_by_lake(state.world), outsider=True)
            case "cancel" if running:
                return self._deliver_event(state, index, CANCEL)
            case "cancel" if self._is_broken(instance):
                return self._run_operation(state, "cancel", self.transfers[index].id, index)
            case "deadline" if running and instance is not None and not instance.late and self._has_deadline(instance):
                return self._replace_instance(state, index, instance._replace(late=True))
            case "replay" if self.final(instance) in {"dead_lettered", "cancelled"} or self._is_broken(instance):
                return self._run_operation(state, "restart", self.transfers[index], index)
            case "discard" if self.cloud.dead_letter(state.world, self.transfers[index].id) is not None:
                return self._run_operation(state, "discard", self.transfers[index].id, index)
            case "lose" if self.cloud.dead_letter(state.world, self.transfers[index].id) is not None:
                return state._replace(world=self.cloud.lose(state.world, self.transfers[index].id))
            # The retention lasts days: everything in flight has ended by then.
            case "forget" if not state.tasks and self.cloud.resolved(state.world, self.transfers[index].id) is not None:
                return state._replace(world=self.cloud.forget(state.world, self.transfers[index].id))
            case "terminate" if running and instance is not None:
                return self._break_instance(state, index, "Terminated", "terminated by a person")
            case "sweep":
                return self._run_operation(state, "sweep", None, index)
            case "redeliver" if self.version(index) <= state.ghost.written:
                body = self._message(index)
                return self._run_operation(state, "accept", body, index)
        return None

    def _has_deadline(self, instance: Orchestration) -> bool:
        """Whether its deadline has started."""
        return bool(self.progress(instance).custom.get("first_look_at"))

    def _delivery_steps(self, state: State) -> Iterator[Step]:
        for position, index in enumerate(state.messages):
            rest = state.messages[:position] + state.messages[position + 1 :]
            label = self._label_step(f"event {self.name(index)}")
            yield Step(label, self._run_operation(state._replace(messages=rest), "accept", self._message(index), index))

        yield from self._lookup_steps(state)
        for index, instance in enumerate(state.instances):
            if self._is_broken(instance) and self._count_runs(state, "resume") < MAX_CONCURRENT_RUNS:
                label = self._label_step(f"{self.name(index)} resume")
                yield Step(label, self._run_operation(state, "resume", self.transfers[index].id, index))
            elif self._is_lost(state, index, instance) and self._count_runs(state, "lost") < MAX_CONCURRENT_RUNS:
                label = self._label_step(f"{self.name(index)} lost")
                yield Step(label, self._run_operation(state, "lost", self.transfers[index].id, index))
        can_sweep = self.scenario.failures or ("lose 1" in self.scenario.script and not state.tasks)
        if can_sweep and self._is_sweep_due(state):
            yield Step(self._label_step("sweep"), self._run_operation(state, "sweep", None, 0))

    def _lookup_steps(self, state: State) -> Iterator[Step]:
        """Yield the lookups, except those that change nothing because the transfer runs."""
        for message in state.lookups:
            number, mark = message
            if mark and self._is_request_alive(state, mark):
                continue
            clock = state.clock._replace(fired=max(state.clock.fired, mark))
            rest = state._replace(clock=clock, lookups=tuple(each for each in state.lookups if each != message))
            index = max(self.cloud.view(state.world).source - 1, 0)
            after = self._run_operation(rest, "accept", self._lookups.values[number], index)
            if after != state:
                yield Step(self._label_step("lookup" + " settled" * (mark > 0)), after)

    def _is_sweep_due(self, state: State) -> bool:
        """Whether the sweep has work: a late activity of a failed execution may have written a dead letter."""
        return any(
            (self.cloud.dead_letter(state.world, self.transfers[index].id) is not None)
            != (self.final(instance) == "dead_lettered" and not checker.is_discarded(state, index))
            for index, instance in enumerate(state.instances)
            if self.final(instance) is not None
        )

    def _is_broken(self, instance: Orchestration | None) -> bool:
        return instance is not None and instance.status in {"Failed", "Terminated"}

    def _count_runs(self, state: State, name: str) -> int:
        """Count the runs of an operation in flight."""
        return sum(self._bodies.values[task.body].name == name for task in state.tasks)

    def _is_lost(self, state: State, index: int, instance: Orchestration | None) -> bool:
        """Whether it waits for an activity that no task runs."""
        running = instance is not None and instance.status == "Running"
        activity = self.progress(instance).activity if running and instance else None
        if activity is None or instance is None:
            return False
        owner = Owner(index, instance.generation, instance.execution, activity.number)
        return owner not in [task.owner for task in state.tasks]

    def _message(self, index: int) -> bytes:
        transfer = self.transfers[index]
        return created_event(transfer, transfer.etag, BASE)

    def _wake_steps(self, state: State) -> Iterator[Step]:
        for task in state.tasks:
            if task.asleep:
                label = self._label_step(f"{self._who(task)} {'wakes' if task.held else 'begins'}")
                awake = task._replace(asleep=False, held=(), slept=True)
                if not task.held:
                    after = self._replace_task(state, task, awake._replace(born=state.clock))
                else:
                    after = self._deliver_answer(state, task, awake, *task.held)
                yield Step(label, after, optional=task.owner is None or not self._is_awaited(state, task.owner))

    # --- faults

    def _fault_steps(self, state: State) -> Iterator[Step]:
        for task in state.tasks:
            if task.asleep:
                continue
            if task.owner and not task.answers and not task.slept:
                yield Step(
                    self._label_step(f"{self._who(task)} twice"),
                    state._replace(tasks=in_order((*state.tasks, unborn(task)))),
                )
            for call in self._replay(task).calls:
                yield from self._request_fault_steps(state, task, call)

    def _request_fault_steps(self, state: State, task: Task, call: Call) -> Iterator[Step]:
        label, method = self._label(task, call), call.name.partition(".")[2]
        if not call.name.startswith("instances"):
            yield Step(
                self._label_step(f"{label} unsent"), self._serve_request(state, task, call, Lost(happened=False))
            )
            # Only as the last fault: a source that is unseen twice counts as deleted.
            if call.name == "source.head" and self.cloud.view(state.world).source and not state.faults:
                yield Step(self._label_step(f"{label} unseen"), self._serve_request(state, task, call, Unseen()))
            if method in WRITES:
                yield Step(
                    self._label_step(f"{label} unanswered"), self._serve_request(state, task, call, Lost(happened=True))
                )
        if task.owner:
            yield Step(self._label_step(f"{label} crash before"), self._crash(state, task))
            happened, answer = self._apply(state, task, call)
            if method in WRITES:
                yield Step(self._label_step(f"{label} crash after"), self._crash(happened, task))
            asleep = task._replace(asleep=True, held=(call.number, answer))
            tasks = in_order((*without(happened.tasks, task), asleep, unborn(task)))
            yield Step(self._label_step(f"{label} asleep after"), happened._replace(tasks=tasks))

    def _host_failure_steps(self, state: State) -> Iterator[Step]:
        """Yield host failures: an orchestration fails, an activity is dropped, or a running one is repeated as lost."""
        for index, instance in enumerate(state.instances):
            if instance is None or instance.status != "Running":
                continue
            who = self._whose(index, instance.generation)
            yield Step(
                self._label_step(f"{who} failed"), self._break_instance(state, index, "Failed", "the worker died")
            )
            if self.progress(instance).activity is not None:
                repeated = self._run_operation(state, "lost", self.transfers[index].id, index)
                yield Step(self._label_step(f"{who} taken for lost"), repeated)
        for task in state.tasks:
            if (
                task.owner
                and not task.answers
                and not task.slept
                and not task.asleep
                and self._is_awaited(state, task.owner)
            ):
                dropped = state._replace(tasks=without(state.tasks, task))
                yield Step(self._label_step(f"{self._who(task)} dropped"), dropped)

    def _crash(self, state: State, task: Task) -> State:
        state = state._replace(tasks=without(state.tasks, task))
        owner = task.owner
        if owner and self._is_awaited(state, owner):
            return self._deliver_event(state, owner.transfer, owner.number, failed=True)
        return state
