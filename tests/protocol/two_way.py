"""Two routes that mirror each other, by one app or by two: every order of their requests and of what the owners do.

Each end is the other's source. The real activities take the steps, and `rules/course.py` says what follows; a pause may be over
at any time. An end is shared by events alone, one for each write, whoever made it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from activities.transfers import ACTIVITIES
from rules import events
from rules.routes.model import Blob, EnginePreference, Place, Route
from rules.transfers import identity, lifecycle
from rules.transfers.model import Run, Transfer
from tests.fakes import Item
from tests.protocol.checker import Violation
from tests.protocol.cloud import NAME, Cloud, Twin
from tests.protocol.machine import Known
from tests.protocol.orchestration import BASE
from tests.protocol.recall import Body, Moment, Recalled, Request, recall
from tests.protocol.state import TIMES

A, B = (Place(f"https://{name}.blob.core.windows.net", "shared") for name in ("aaa", "bbb"))
ROUTES = (Route("there", A, B, engine=EnginePreference.SYNC), Route("back", B, A, engine=EnginePreference.SYNC))
ENDS: dict[str, Blob] = {"A": A.blob(NAME), "B": B.blob(NAME)}
NOW = Moment()


@dataclass(frozen=True, slots=True)
class Found:
    """What an exploration met: distinct states, ends, and the pairs of contents at the ends."""

    states: int
    ends: int
    contents: frozenset[tuple[bytes | None, bytes | None]]


class Task(NamedTuple):
    """A step of a transfer in flight: its run, by number, and the answers that it has had."""

    run: int
    answers: tuple[tuple[int, int], ...] = ()
    read: int = -1
    """The source as it was when its copy was asked for: the service may have read it before it changed."""


class State(NamedTuple):
    """Everything, as numbers of what is known."""

    world: int
    script: tuple[str, ...]
    messages: frozenset[str] = frozenset()
    known: frozenset[str] = frozenset()
    tasks: tuple[Task, ...] = ()
    copies: int = 0


class TwoWay:
    """The steps from each state. `script`: `upload A` writes a blob, `edit A` changes one and keeps its metadata, `same size A` too."""

    def __init__(self, *script: str) -> None:
        self.cloud = Cloud(ROUTES[0])
        self._script = script
        self._known = Known()
        self._transfers: dict[str, Transfer] = {}
        self._recalls: dict[Task, Recalled] = {}

    def explore(self, most: int) -> Found:
        """Explore every order.

        Raises:
            Violation: there are more than `most` copies, or a transfer does not end.
        """
        start = State(self.cloud.empty, self._script)
        stack, seen, ends, contents = [start], {start}, 0, set()
        while stack:
            following = list(self._steps(state := stack.pop()))
            for after in following:
                if after.copies > most:
                    raise Violation(f"{after.copies} copies of {len(self._script)} writes")
                if after not in seen:
                    seen.add(after)
                    stack.append(after)
            if not following:
                ends += 1
                contents.add(self._contents(state))
        return Found(len(seen), ends, frozenset(contents))

    def _contents(self, state: State) -> tuple[bytes | None, bytes | None]:
        blobs = self.cloud.blobs(state.world)
        here, there = (blobs.get(blob) for blob in ENDS.values())
        return here and here.content, there and there.content  # type: ignore[return-value]

    def _steps(self, state: State) -> Iterator[State]:
        for number, line in enumerate(state.script):
            what, _, end = line.rpartition(" ")
            rest = state._replace(script=state.script[:number] + state.script[number + 1 :])
            if line not in state.script[:number] and (what == "upload" or self._there(state, end)):
                yield self._changed(rest, self._written(state.world, what, end, len(rest.script)))
        for identity_ in state.messages:
            run = Run(self._transfers[identity_], BASE)
            rest = state._replace(messages=state.messages - {identity_}, known=state.known | {identity_})
            yield self._with(rest, Task(self._known.number(run)))
        for task in set(state.tasks):
            yield from self._answers(state, task)

    def _there(self, state: State, end: str) -> bool:
        return ENDS[end] in self.cloud.blobs(state.world)

    def _written(self, world: int, what: str, end: str, left: int) -> int:
        def write(twin: Twin) -> None:
            blob = ENDS[end]
            kept = twin.storage.blobs[blob].metadata if what != "upload" else {}
            size = len(twin.storage.blobs[blob].content) if what == "same size" else 8 + left
            digest = {"content_md5": f"{what} {end} {left}"}
            twin.storage.put(blob, Item(f"{left}{end}".encode().ljust(size, b"."), metadata=kept, headers=digest))

        return self.cloud.change(world, f"{what} {end} {left}", write)

    def _changed(self, state: State, world: int) -> State:
        """Another world: each new version raises its event."""
        before, (world, bodies) = self.cloud.blobs(state.world), self.cloud.messages(world)
        after = self.cloud.blobs(world)
        found = {transfer for body in bodies for transfer in events.decide_on(body, ROUTES).transfers}
        for route, blob in zip(ROUTES, ENDS.values(), strict=True):
            item = after.get(blob)
            if item is not None and (blob not in before or before[blob].etag != item.etag):
                found.add(identity.transfer(route, NAME, item.etag))
        self._transfers |= {transfer.id: transfer for transfer in found}
        new = frozenset(transfer.id for transfer in found) - state.known
        return state._replace(world=world, messages=state.messages | new)

    def _answers(self, state: State, task: Task) -> Iterator[State]:
        """Each request that a task waits for may be served now."""
        for waiting in self._recalled(task).waiting:
            worlds = [self.cloud.serve(state.world, waiting.request)]
            if waiting.request.method == "copy" and self._known.values[task.read] is not None:
                worlds.append(self._as_read(state.world, waiting.request, task.read))
            for world, answer in worlds:
                copied = waiting.request.method == "copy" and answer is True
                after = self._changed(state._replace(copies=state.copies + copied), world)
                yield self._on(after, task, (waiting.number, self._known.number(answer)))

    def _as_read(self, world: int, request: Request, read: int) -> tuple[int, Any]:
        """The copy, had the service read the source before it changed."""
        source = _other(request.args[0].target)
        now = self.cloud.blobs(world).get(source)
        before = self.cloud.change(world, f"read {read}", lambda twin: _set(twin, source, self._known.values[read]))
        after, answer = self.cloud.serve(before, request)
        return self.cloud.change(after, f"back {self._known.number(now)}", lambda twin: _set(twin, source, now)), answer

    def _on(self, state: State, task: Task, answer: tuple[int, int]) -> State:
        tasks = list(state.tasks)
        tasks.remove(task)
        state = state._replace(tasks=tuple(tasks))
        task = task._replace(answers=(*task.answers, answer))
        found = self._recalled(task)
        for waiting in found.waiting:
            if waiting.request.method == "sign_read":  # a signature is no request
                world, signed = self.cloud.serve(state.world, waiting.request)
                return self._on(
                    self._with(state._replace(world=world), task), task, (waiting.number, self._known.number(signed))
                )
        if not found.done:
            for waiting in found.waiting:
                if waiting.request.method == "copy":
                    read = self.cloud.blobs(state.world).get(_other(waiting.request.args[0].target))
                    task = task._replace(read=self._known.number(read))
            return self._with(state, task)
        if found.raised:
            raise Violation(repr(found.raised))
        run = lifecycle.advance(self._known.values[task.run], found.result, BASE)
        return self._with(state, Task(self._known.number(replace(run, note="")))) if run.step else state

    def _with(self, state: State, task: Task) -> State:
        return state._replace(tasks=tuple(sorted((*state.tasks, task))))

    def _recalled(self, task: Task) -> Recalled:
        if task not in self._recalls:
            self._recalls[task] = self._recall(task)
        return self._recalls[task]

    def _recall(self, task: Task) -> Recalled:
        run: Run = self._known.values[task.run]
        assert run.step is not None
        body = Body(run.step.value, ACTIVITIES[run.step], run, BASE)
        answers = tuple((number, self._known.values[answer], NOW) for number, answer in task.answers)
        return recall(body, ROUTES, TIMES, NOW, answers)


def _other(blob: Blob) -> Blob:
    return next(other for other in ENDS.values() if other != blob)


def _set(twin: Twin, blob: Blob, item: Item | None) -> None:
    twin.storage.blobs.pop(blob, None)
    if item is not None:
        twin.storage.blobs[blob] = item
