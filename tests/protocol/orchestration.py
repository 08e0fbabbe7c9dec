"""The real orchestrator, replayed from a history by a small stand-in for the durable context."""

from collections.abc import Generator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from orchestrators.transfer import transfer
from rules import codec
from rules.transfers.model import Outcome, Run

BASE = datetime(2026, 1, 1, tzinfo=UTC)
LATER = timedelta(days=7)  # past every deadline


@dataclass(frozen=True, slots=True)
class Event:
    """An event of a history: task `number` is done (with `outcome`) or `failed`; number -1 is a cancel."""

    number: int
    outcome: Outcome | None = None
    failed: bool = False
    late: bool = False


CANCEL = -1


@dataclass(eq=False, slots=True)
class Task:
    """A task that the orchestrator waits for."""

    number: int
    step: str = ""
    run: Run | None = None
    pause: float = 0
    dropped: bool = False

    def cancel(self) -> None:
        self.dropped = True


@dataclass(eq=False, slots=True)
class First:
    """The first of several tasks to be done."""

    tasks: list[Task]


class ActivityFailed(Exception):
    """An activity raised an error."""


@dataclass(slots=True)
class Context:
    """The part of `DurableOrchestrationContext` that the orchestrator uses."""

    run: Run
    current_utc_datetime: datetime = BASE
    tasks: list[Task] = field(default_factory=list)
    cancel: Task = field(default_factory=lambda: Task(CANCEL))
    custom: dict[str, Any] = field(default_factory=dict)
    continued: Run | None = None

    def get_input(self) -> Any:
        return codec.encode(self.run)

    def wait_for_external_event(self, _name: str) -> Task:
        """Return the task of the cancel event, the only external event."""
        return self.cancel

    def call_activity(self, name: str, request: Any) -> Task:
        return self._task(step=name, run=codec.decode(Run, request))

    def create_timer(self, due: datetime) -> Task:
        return self._task(pause=(due - self.current_utc_datetime).total_seconds())

    def task_any(self, tasks: list[Task]) -> First:
        return First(tasks)

    def continue_as_new(self, request: Any) -> None:
        self.continued = codec.decode(Run, request)

    def set_custom_status(self, custom: dict[str, Any]) -> None:
        self.custom = custom

    def _task(self, **fields: Any) -> Task:
        self.tasks.append(Task(len(self.tasks), **fields))
        return self.tasks[-1]


@dataclass(frozen=True, slots=True)
class Progress:
    """The state of an orchestration: the activity or timer that it waits for, or its next input, or its output.

    Two orchestrations with the same `position` continue alike, apart from their counters.
    """

    custom: dict[str, Any]
    activity: Task | None = None
    timer: Task | None = None
    continued: Run | None = None
    output: dict[str, Any] | None = None
    position: Any = None

    @property
    def state(self) -> str:
        """The transfer state that it shows."""
        return str((self.output or self.custom)["state"])


def replay(run: Run, history: tuple[Event, ...]) -> Progress:
    """Run the orchestrator from its start through a history."""
    context = Context(run)
    generator = transfer(context)
    waiting: Any = next(generator)
    events: dict[int, Event] = {}
    for event in history:
        events.setdefault(event.number, event)
        # Time passes only while a timer runs: a step must not depend on it.
        now = BASE + LATER if event.late else BASE
        pause = 0 if event.number == CANCEL else context.tasks[event.number].pause
        context.current_utc_datetime = now + timedelta(seconds=pause)
        while (answer := _first_event(waiting, events)) is not None:
            try:
                waiting = _resume(generator, waiting, answer)
            except StopIteration as end:
                return Progress(context.custom, continued=context.continued, output=end.value)
    position = _position(generator, cancelled=CANCEL in events)
    open_tasks = [task for task in context.tasks if task.number not in events and not task.dropped]
    return Progress(
        context.custom,
        activity=next((task for task in open_tasks if task.run), None),
        timer=next((task for task in open_tasks if not task.run), None),
        position=(*position, *(task.number for task in open_tasks if task.run)),
    )


# Counters and texts of a run, and what only the figures show. They change no decision before a limit is reached.
COUNTERS = (
    "polls",
    "copied",
    "copying_at",
    "progressed_at",
    "updated_at",
    "verified_at",
    "note",
    "reason",
    "detail",
    "target_etag",
    "all_polls",
    "retries",
    "event_at",
)


def _position(generator: Any, *, cancelled: bool) -> tuple[Any, ...]:
    frames = []
    while generator is not None:
        frame, generator = generator.gi_frame, generator.gi_yieldfrom
        run = frame.f_locals["run"]
        plain = replace(run, **{name: Run.__dataclass_fields__[name].default for name in COUNTERS})
        frames.append((frame.f_code, frame.f_lasti, plain))
    return (*frames, cancelled)


def _first_event(waiting: Task | First, events: dict[int, Event]) -> Event | None:
    """Return the event that ends the wait: of several the earliest."""
    numbers = [task.number for task in (waiting.tasks if isinstance(waiting, First) else [waiting])]
    return next((event for number, event in events.items() if number in numbers), None)


def _resume(generator: Generator[Any, Any, Any], waiting: Task | First, event: Event) -> Any:
    if isinstance(waiting, First):
        return generator.send(next(task for task in waiting.tasks if task.number == event.number))
    if event.failed:
        return generator.throw(ActivityFailed("the host was stopped"))
    return generator.send(codec.encode(event.outcome) if event.outcome else None)
