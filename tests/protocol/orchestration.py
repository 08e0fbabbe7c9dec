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
    """What an orchestration was told: that task `number` is done (with `outcome`) or `failed`; of a cancel, number -1."""

    number: int
    outcome: Outcome | None = None
    failed: bool = False
    late: bool = False


CANCEL = -1


@dataclass(eq=False, slots=True)
class Task:
    """Something that the orchestrator waits for."""

    number: int
    step: str = ""
    run: Run | None = None
    pause: float = 0
    dropped: bool = False

    def cancel(self) -> None:
        """Give up a timer."""
        self.dropped = True


@dataclass(eq=False, slots=True)
class First:
    """Whichever of several comes first."""

    tasks: list[Task]


class ActivityFailed(Exception):
    """An activity raised."""


@dataclass(slots=True)
class Context:
    """What the orchestrator uses of `DurableOrchestrationContext`."""

    run: Run
    current_utc_datetime: datetime = BASE
    tasks: list[Task] = field(default_factory=list)
    cancel: Task = field(default_factory=lambda: Task(CANCEL))
    custom: dict[str, Any] = field(default_factory=dict)
    continued: Run | None = None

    def get_input(self) -> Any:
        """The input, as JSON."""
        return codec.encode(self.run)

    def wait_for_external_event(self, _name: str) -> Task:
        """The one event that there is."""
        return self.cancel

    def call_activity(self, name: str, request: Any) -> Task:
        """Schedule an activity."""
        return self._task(step=name, run=codec.decode(Run, request))

    def create_timer(self, due: datetime) -> Task:
        """Start a timer."""
        return self._task(pause=(due - self.current_utc_datetime).total_seconds())

    def task_any(self, tasks: list[Task]) -> First:
        """Wait for the first of several."""
        return First(tasks)

    def continue_as_new(self, request: Any) -> None:
        """Go on as a new execution."""
        self.continued = codec.decode(Run, request)

    def set_custom_status(self, custom: dict[str, Any]) -> None:
        """Show how far it is."""
        self.custom = custom

    def _task(self, **what: Any) -> Task:
        self.tasks.append(Task(len(self.tasks), **what))
        return self.tasks[-1]


@dataclass(frozen=True, slots=True)
class Progress:
    """Where an orchestration is: the activity or the timer that it waits for, or how it went on or ended.

    Two that wait at the same `place` go on alike, but for what they have counted.
    """

    custom: dict[str, Any]
    activity: Task | None = None
    timer: Task | None = None
    continued: Run | None = None
    output: dict[str, Any] | None = None
    place: Any = None

    @property
    def state(self) -> str:
        """The state that it shows."""
        return str((self.output or self.custom)["state"])


def replay(run: Run, history: tuple[Event, ...]) -> Progress:
    """Run the orchestrator from its beginning through everything that it was told."""
    context = Context(run)
    generator = transfer(context)
    waiting: Any = next(generator)
    told: dict[int, Event] = {}
    for event in history:
        told.setdefault(event.number, event)
        context.current_utc_datetime = BASE + LATER if event.late else BASE
        while (answer := _answer(waiting, told)) is not None:
            try:
                waiting = _give(generator, waiting, answer)
            except StopIteration as end:
                return Progress(context.custom, continued=context.continued, output=end.value)
    place = _place(generator, cancelled=CANCEL in told)
    open_ = [task for task in context.tasks if task.number not in told and not task.dropped]
    return Progress(
        context.custom,
        activity=next((task for task in open_ if task.run), None),
        timer=next((task for task in open_ if not task.run), None),
        place=(*place, *(task.number for task in open_ if task.run)),
    )


# What a run counts and says of itself; none of it decides before its limit is reached.
COUNTED = ("polls", "copied", "copying_at", "progressed_at", "updated_at", "note", "reason", "detail")


def _place(generator: Any, *, cancelled: bool) -> tuple[Any, ...]:
    frames = []
    while generator is not None:
        frame, generator = generator.gi_frame, generator.gi_yieldfrom
        run = frame.f_locals["run"]
        plain = replace(run, **{name: Run.__dataclass_fields__[name].default for name in COUNTED})
        frames.append((frame.f_code, frame.f_lasti, plain))
    return (*frames, cancelled)


def _answer(waiting: Task | First, told: dict[int, Event]) -> Event | None:
    """The event that ends the wait; of several the one that came first."""
    numbers = [task.number for task in (waiting.tasks if isinstance(waiting, First) else [waiting])]
    return next((event for number, event in told.items() if number in numbers), None)


def _give(generator: Generator[Any, Any, Any], waiting: Task | First, event: Event) -> Any:
    if isinstance(waiting, First):
        return generator.send(next(task for task in waiting.tasks if task.number == event.number))
    if event.failed:
        return generator.throw(ActivityFailed("the host went away"))
    return generator.send(codec.encode(event.outcome) if event.outcome else None)
