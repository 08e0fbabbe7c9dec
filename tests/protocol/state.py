"""A state of everything as a value, and what is explored."""

from dataclasses import dataclass
from typing import NamedTuple

from rules.routes.model import EnginePreference
from rules.transfers.model import Kind
from rules.transfers.policies import Times
from tests.protocol.checker import Ghost
from tests.protocol.recall import Moment

TIMES = Times(window=1000.0)  # `settle` is then a pause that no backoff and no poll has


class Orchestration(NamedTuple):
    """One instance: what it was started with and told; `mark` is what its open timer was started upon."""

    run: int
    history: int
    generation: int = 0
    execution: int = 0
    late: bool = False
    mark: int = 0
    status: str = "Running"
    said: str = ""
    """What the host shows of it when it was failed or terminated."""


class Owner(NamedTuple):
    """Who waits for an activity: task `number` of an execution of a transfer's instance."""

    transfer: int
    generation: int
    execution: int
    number: int


class Task(NamedTuple):
    """An activity or operation in flight. One that sleeps has an answer that it has not seen, or has not begun."""

    body: int
    born: Moment
    owner: Owner | None = None
    answers: tuple[tuple[int, int, Moment], ...] = ()
    asleep: bool = False
    held: tuple[int, int] | tuple[()] = ()
    slept: bool = False
    read: int = 0
    """The version that its copy's request had read when the source changed: being pinned does not stop it any more."""


class State(NamedTuple):
    """Everything, as numbers of what the model knows."""

    world: int
    instances: tuple[Orchestration | None, ...]
    tasks: tuple[Task, ...]
    messages: tuple[int, ...]
    script: tuple[int, ...]
    faults: int
    failures: int
    clock: Moment
    ghost: Ghost


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is explored: two versions of one name, unless more are said, and what may happen to them in any order.

    `script` names what happens, each as often as it is listed: `overwrite`, `remove`, `cancel 1`, `replay 1`, `deadline 1`,
    `fail` (the service gives up a copy), `touch`, `terminate 1`, `sweep`, `redeliver 1`, `discard 1`,
    `lose 1` (an outsider deletes an open letter), `forget 1` (a resolved letter's retention ends). `faults` is how many things may go wrong
    besides; `failures` is how often the host may fail an orchestration, drop an activity, or take one that runs for lost.
    """

    engine: EnginePreference = EnginePreference.SYNC
    versions: int = 2
    script: tuple[str, ...] = ("overwrite",)
    faults: int = 0
    failures: int = 0
    routes: tuple[str, ...] = ("route",)
    lost: frozenset[int] = frozenset()
    kinds: tuple[Kind, ...] = ()
    """The blob types of the versions; those that are not listed are block blobs."""
    fine: bool = False
    times: Times = TIMES
    exact: bool = False
    """Whether no states are taken for one another and no orders for equal: slow, for scripts and a small check."""


class Step(NamedTuple):
    """Something that may happen, and what is then."""

    label: str
    state: State
    optional: bool = False
    """Whether it may as well never happen."""
    fault: bool = False


def unborn(task: Task) -> Task:
    """A second run of a task, which has not begun."""
    return Task(task.body, Moment(), task.owner, asleep=True)


def without(tasks: tuple[Task, ...], task: Task) -> tuple[Task, ...]:
    """The tasks but for one."""
    position = tasks.index(task)
    return tasks[:position] + tasks[position + 1 :]


def in_order(tasks: tuple[Task, ...]) -> tuple[Task, ...]:
    """The tasks in one order, whichever came first: states that are alike are equal."""
    return tuple(sorted(tasks, key=hash))
