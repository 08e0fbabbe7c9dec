"""Two routes that mirror each other, in one app or in two: every order of their requests and of the owners' writes.

Each side is the other's source. The real activities take the steps, and `rules/transfers/lifecycle.py` chooses the next one; a pause
may end at any time. Every write of any writer raises one event.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from activities.transfers import ACTIVITIES
from rules.events.decide import decide_on
from rules.routes.model import Blob, EnginePreference, Place, Route
from rules.transfers import identity, lifecycle
from rules.transfers.model import Run, Transfer
from tests.fakes import Item
from tests.protocol.checker import Violation
from tests.protocol.cloud import NAME, Cloud, Fakes
from tests.protocol.coroutines import Body, Moment, Replayed, Request, Setup, replay_body
from tests.protocol.machine import Interner
from tests.protocol.orchestration import BASE
from tests.protocol.state import TIMES

A, B = (Place(f"https://{name}.blob.core.windows.net", "shared") for name in ("aaa", "bbb"))
ROUTES = (Route("there", A, B, engine=EnginePreference.SYNC), Route("back", B, A, engine=EnginePreference.SYNC))
BLOBS: dict[str, Blob] = {"A": A.blob(NAME), "B": B.blob(NAME)}
NOW = Moment()


@dataclass(frozen=True, slots=True)
class Exploration:
    """The result of an exploration: distinct states, final states, and the pairs of contents in them."""

    states: int
    ends: int
    contents: frozenset[tuple[bytes | None, bytes | None]]


class Task(NamedTuple):
    """A step of a transfer in flight: the number of its run, and its answers so far."""

    run: int
    answers: tuple[tuple[int, int], ...] = ()
    read: int = -1
    """The source when the copy was requested: the service may have read it before a change."""


class State(NamedTuple):
    """The state of everything, as numbers of interned values."""

    world: int
    script: tuple[str, ...]
    messages: frozenset[str] = frozenset()
    known: frozenset[str] = frozenset()
    tasks: tuple[Task, ...] = ()
    copies: int = 0


class TwoWay:
    """The model. In `script`, `upload A` writes a blob; `edit A` and `same size A` change one and keep its metadata."""

    def __init__(self, *script: str) -> None:
        self.cloud = Cloud(ROUTES[0])
        self._script = script
        self._values = Interner()
        self._transfers: dict[str, Transfer] = {}
        self._replays: dict[Task, Replayed] = {}

    def explore(self, most: int) -> Exploration:
        """Explore every order.

        Raises:
            Violation: there are more than `most` copies, or a step raises an error.
        """
        start = State(self.cloud.empty, self._script)
        stack, seen, ends, contents = [start], {start}, 0, set()
        while stack:
            next_states = list(self._steps(state := stack.pop()))
            for after in next_states:
                if after.copies > most:
                    raise Violation(f"{after.copies} copies of {len(self._script)} writes")
                if after not in seen:
                    seen.add(after)
                    stack.append(after)
            if not next_states:
                ends += 1
                contents.add(self._contents(state))
        return Exploration(len(seen), ends, frozenset(contents))

    def _contents(self, state: State) -> tuple[bytes | None, bytes | None]:
        blobs = self.cloud.blobs(state.world)
        here, there = (blobs.get(blob) for blob in BLOBS.values())
        return here and here.content, there and there.content  # type: ignore[return-value]

    def _steps(self, state: State) -> Iterator[State]:
        for number, line in enumerate(state.script):
            what, _, end = line.rpartition(" ")
            rest = state._replace(script=state.script[:number] + state.script[number + 1 :])
            if line not in state.script[:number] and (what == "upload" or self._exists(state, end)):
                yield self._change_world(rest, self._write(state.world, what, end, len(rest.script)))
        for identity_ in state.messages:
            run = Run(self._transfers[identity_], BASE)
            rest = state._replace(messages=state.messages - {identity_}, known=state.known | {identity_})
            yield self._add(rest, Task(self._values.number(run)))
        for task in set(state.tasks):
            yield from self._answer_steps(state, task)

    def _exists(self, state: State, end: str) -> bool:
        return BLOBS[end] in self.cloud.blobs(state.world)

    def _write(self, world: int, what: str, end: str, left: int) -> int:
        def write(fakes: Fakes) -> None:
            blob = BLOBS[end]
            kept = fakes.storage.blobs[blob].metadata if what != "upload" else {}
            size = len(fakes.storage.blobs[blob].content) if what == "same size" else 8 + left
            digest = {"content_md5": f"{what} {end} {left}"}
            fakes.storage.put(blob, Item(f"{left}{end}".encode().ljust(size, b"."), metadata=kept, headers=digest))

        return self.cloud.change(world, f"{what} {end} {left}", write)

    def _change_world(self, state: State, world: int) -> State:
        """Replace the world and raise the event of each new version."""
        before, (world, bodies) = self.cloud.blobs(state.world), self.cloud.messages(world)
        after = self.cloud.blobs(world)
        found = {transfer for body in bodies for transfer in decide_on(body, ROUTES).transfers}
        for route, blob in zip(ROUTES, BLOBS.values(), strict=True):
            item = after.get(blob)
            if item is not None and (blob not in before or before[blob].etag != item.etag):
                found.add(identity.transfer(route, NAME, item.etag))
        self._transfers |= {transfer.id: transfer for transfer in found}
        new = frozenset(transfer.id for transfer in found) - state.known
        return state._replace(world=world, messages=state.messages | new)

    def _answer_steps(self, state: State, task: Task) -> Iterator[State]:
        """Yield the states after an answer to each pending request."""
        for waiting in self._replayed(task).waiting:
            worlds = [self.cloud.serve(state.world, waiting.request)]
            if waiting.request.method == "copy" and self._values.values[task.read] is not None:
                worlds.append(self._serve_as_read(state.world, waiting.request, task.read))
            for world, answer in worlds:
                copied = waiting.request.method == "copy" and isinstance(answer, str)
                after = self._change_world(state._replace(copies=state.copies + copied), world)
                yield self._deliver(after, task, (waiting.number, self._values.number(answer)))

    def _serve_as_read(self, world: int, request: Request, read: int) -> tuple[int, Any]:
        """Serve a copy whose source was read before it changed."""
        source = _other(request.args[0].target)
        now = self.cloud.blobs(world).get(source)
        before = self.cloud.change(
            world, f"read {read}", lambda fakes: _replace_blob(fakes, source, self._values.values[read])
        )
        after, answer = self.cloud.serve(before, request)
        return self.cloud.change(
            after, f"back {self._values.number(now)}", lambda fakes: _replace_blob(fakes, source, now)
        ), answer

    def _deliver(self, state: State, task: Task, answer: tuple[int, int]) -> State:
        tasks = list(state.tasks)
        tasks.remove(task)
        state = state._replace(tasks=tuple(tasks))
        task = task._replace(answers=(*task.answers, answer))
        found = self._replayed(task)
        for waiting in found.waiting:
            if waiting.request.method == "sign_read":  # signing sends no request, so it is answered immediately
                world, signed = self.cloud.serve(state.world, waiting.request)
                return self._deliver(
                    self._add(state._replace(world=world), task), task, (waiting.number, self._values.number(signed))
                )
        if not found.done:
            for waiting in found.waiting:
                if waiting.request.method == "copy":
                    read = self.cloud.blobs(state.world).get(_other(waiting.request.args[0].target))
                    task = task._replace(read=self._values.number(read))
            return self._add(state, task)
        if found.raised:
            raise Violation(repr(found.raised))
        run = lifecycle.advance(self._values.values[task.run], found.result, BASE)
        return self._add(state, Task(self._values.number(replace(run, note="")))) if run.step else state

    def _add(self, state: State, task: Task) -> State:
        return state._replace(tasks=tuple(sorted((*state.tasks, task))))

    def _replayed(self, task: Task) -> Replayed:
        if task not in self._replays:
            self._replays[task] = self._replay(task)
        return self._replays[task]

    def _replay(self, task: Task) -> Replayed:
        run: Run = self._values.values[task.run]
        assert run.step is not None
        body = Body(run.step.value, ACTIVITIES[run.step], run, BASE)
        answers = tuple((number, self._values.values[answer], NOW) for number, answer in task.answers)
        return replay_body(body, Setup(ROUTES, TIMES), NOW, answers)


def _other(blob: Blob) -> Blob:
    return next(other for other in BLOBS.values() if other != blob)


def _replace_blob(fakes: Fakes, blob: Blob, item: Item | None) -> None:
    fakes.storage.blobs.pop(blob, None)
    if item is not None:
        fakes.storage.blobs[blob] = item
