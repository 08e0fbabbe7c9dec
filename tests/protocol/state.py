"""The state of the whole model as a value, and the scenarios to explore."""

from dataclasses import dataclass
from typing import NamedTuple

from ports.services import SIZES
from rules.routes.model import EnginePreference
from rules.transfers.blocks import Sizes
from rules.transfers.model import Kind
from rules.transfers.policies import Times
from tests.protocol.checker import Ghost
from tests.protocol.coroutines import Moment

TIMES = Times(window=1000.0)  # makes the `settle` pause differ from every backoff and poll


class Orchestration(NamedTuple):
    """An orchestration instance: its run and history; `mark` is the target's state or the timer number when its timer started."""

    run: int
    history: int
    generation: int = 0
    execution: int = 0
    late: bool = False
    mark: int = 0
    status: str = "Running"
    host_output: str = ""
    """The output of a failed or terminated instance."""


class Owner(NamedTuple):
    """The caller of an activity: task `number` of an execution of a transfer's instance."""

    transfer: int
    generation: int
    execution: int
    number: int


class Task(NamedTuple):
    """An activity or operation in flight. A task that is asleep is delayed: it has not seen `held`, its answer, or has not begun."""

    body: int
    born: Moment
    owner: Owner | None = None
    answers: tuple[tuple[int, int, Moment], ...] = ()
    asleep: bool = False
    held: tuple[int, int] | tuple[()] = ()
    slept: bool = False
    read: int = 0
    """The version that its copy had read before the source changed: the pin has been checked already."""


class State(NamedTuple):
    """The state of everything, as numbers of interned values."""

    world: int
    instances: tuple[Orchestration | None, ...]
    tasks: tuple[Task, ...]
    messages: tuple[int, ...]
    """The transfers whose events are on the queue."""
    lookups: tuple[tuple[int, int], ...]
    """The messages that lead to a lookup, each with the number of its `settle` timer, or 0."""
    script: tuple[int, ...]
    faults: int
    failures: int
    clock: Moment
    ghost: Ghost


@dataclass(frozen=True, slots=True)
class TwoBlocks(Sizes):
    """Every version is large and has two blocks, staged by `start` or, with `in_lanes`, by lanes."""

    in_lanes: bool = False

    @property
    def sync_limit(self) -> int:
        return 0

    @property
    def one_activity(self) -> int:
        return 0 if self.in_lanes else 1_000

    def block_size(self, _size: int) -> int:
        return 5


@dataclass(frozen=True, slots=True)
class Scenario:
    """Events around the versions of one blob, explored in every order.

    Each line of `script` happens as often as it is listed: `overwrite`, `remove`, `cancel 1`, `replay 1`, `deadline 1`, `fail` (a copy
    fails in the service), `touch`, `terminate 1`, `sweep`, `redeliver 1`, `discard 1`, `lose 1` (an outsider deletes an open dead
    letter), `return` (version 1 is renamed back), `forget 1` (the retention of a resolved dead letter ends), `collect` (the service drops the staged blocks), `vanish` (an
    outsider deletes an older version at the target), `lake` (an outsider replaces it through the Data Lake API). `faults` limits the faults of requests and activities;
    `failures` limits how often the host fails an orchestration, drops an activity, or repeats a running one as lost.
    """

    engine: EnginePreference = EnginePreference.SYNC
    versions: int = 2
    script: tuple[str, ...] = ("overwrite",)
    faults: int = 0
    failures: int = 0
    routes: tuple[str, ...] = ("route",)
    lost: frozenset[int] = frozenset()
    """The versions whose events are lost."""
    kinds: tuple[Kind, ...] = ()
    """The blob types of the versions; the default is block blobs."""
    interleaved: bool = False
    """Whether the requests of operations interleave with others."""
    times: Times = TIMES
    sizes: Sizes = SIZES
    same_account: bool = False
    slow: bool = False
    """Whether every pending copy is too slow for its deadline, so that blocks replace it at the next look."""
    notify: bool = False
    """Whether the routes have a recipient."""
    unreduced: bool = False
    """Whether to skip the reduction of equivalent states and orders: slow, for traces and a small check."""


class Step(NamedTuple):
    """A possible step, and the state after it."""

    label: str
    state: State
    optional: bool = False
    """Whether it may never happen."""
    fault: bool = False


def unborn(task: Task) -> Task:
    """Return a second run of a task, which has not begun."""
    return Task(task.body, Moment(), task.owner, asleep=True)


def without(tasks: tuple[Task, ...], task: Task) -> tuple[Task, ...]:
    """Return the tasks except one."""
    position = tasks.index(task)
    return tasks[:position] + tasks[position + 1 :]


def in_order(tasks: tuple[Task, ...]) -> tuple[Task, ...]:
    """Return the tasks in a canonical order, so that equivalent states are equal."""
    return tuple(sorted(tasks, key=hash))
