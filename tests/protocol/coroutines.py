"""Replays a coroutine of the app with the answers that its requests have received.

The real activities and operations call their ports; the replay records these requests. With the same answers a coroutine makes
the same requests, so its whole state is the list of its answers: small, comparable, and computed once for each list.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple, Self, cast

from ports.services import SIZES, Ports
from rules.routes.model import Route
from rules.transfers.blocks import Sizes
from rules.transfers.policies import Times
from tests.protocol.loop import Loop


class Moment(NamedTuple):
    """A clock that knows only order: how many `settle` timers were started, and the last one that fired.

    More than `settle` has passed between two moments if a timer that was started after the first has fired.
    """

    started: int = 0
    fired: int = 0


class Reading(float):
    """A moment as `ports.monotonic` returns it: the difference of two is 0, or longer than every window."""

    moment: Moment

    def __new__(cls, moment: Moment) -> Self:
        reading = super().__new__(cls, 0.0)
        reading.moment = moment
        return reading

    def __sub__(self, earlier: object) -> float:
        """Return 0, or a long time if a `settle` timer has fired in between."""
        assert isinstance(earlier, Reading)
        return 1e9 if self.moment.fired > earlier.moment.started else 0.0


@dataclass(frozen=True, slots=True)
class Request:
    """A request to a port."""

    port: str
    method: str
    args: tuple[Any, ...] = ()
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        return f"{self.port}.{self.method}"


@dataclass(frozen=True, slots=True)
class PendingRequest:
    """A request without an answer: the `number`-th of its task, based on the reading at `basis`."""

    number: int
    request: Request
    basis: int


@dataclass(frozen=True, slots=True)
class Replayed:
    """The state of a task: its pending requests, or its result or exception.

    Two tasks with the same `position` continue alike: same instructions, same local variables.
    """

    waiting: tuple[PendingRequest, ...] = ()
    position: Any = None
    done: bool = False
    result: Any = None
    raised: Exception | None = None


Answer = tuple[int, Any, Moment]
"""The number of the request, its answer (an exception is raised), and when the answer arrived."""


@dataclass
class _Replay:
    """One replay of a coroutine: its requests, and its clock."""

    moment: Moment
    loop: Loop = field(default_factory=Loop)
    requests: list[tuple[PendingRequest, Any]] = field(default_factory=list)
    readings: list[Moment] = field(default_factory=list)
    answer_count: int = 0
    answers_before: list[int] = field(default_factory=list)
    """For each request, the number of answers before it: equal for requests made together."""

    def monotonic(self) -> float:
        self.readings.append(self.moment)
        return Reading(self.moment)

    def ask(self, request: Request) -> Any:
        # A copy is based on the reading before the one that `start` compares with it.
        basis = self.readings[-2] if request.method in {"copy", "commit"} else self.moment
        future = self.loop.create_future()
        self.requests.append((PendingRequest(len(self.requests), request, basis.started), future))
        self.answers_before.append(self.answer_count)
        return future


class _Port:
    """A port whose every method is a pending request."""

    def __init__(self, name: str, replay: _Replay) -> None:
        self._name, self._replay = name, replay

    def __getattr__(self, method: str) -> Callable[..., Any]:
        async def ask(*args: Any, **options: Any) -> Any:
            return await self._replay.ask(Request(self._name, method, args, tuple(options.items())))

        return ask

    async def list_ended(self) -> AsyncIterator[Any]:
        """A list that is read in pages is one request here."""
        for ended in await self._replay.ask(Request(self._name, "list_ended")):
            yield ended


@dataclass(frozen=True, slots=True)
class Body:
    """An activity or operation with its argument."""

    name: str
    function: Callable[..., Awaitable[Any]]
    argument: Any
    now: datetime
    instances: bool = False


@dataclass(frozen=True, slots=True)
class Setup:
    """What all ports of a scenario have in common."""

    routes: tuple[Route, ...]
    times: Times
    sizes: Sizes = SIZES


def replay_body(body: Body, setup: Setup, born: Moment, answers: tuple[Answer, ...]) -> Replayed:
    """Run `body` from its start with these answers, in this order."""
    replay = _Replay(born)
    coroutine = cast("Any", body.function(*_arguments(body, setup, replay)))
    task = replay.loop.create_task(coroutine)
    replay.loop.settle()
    for number, answer, moment in answers:
        replay.moment = moment
        future = replay.requests[number][1]
        replay.answer_count += 1
        if isinstance(answer, Exception):
            # A copy: the traceback of the original would keep the whole replay in memory.
            future.set_exception(_copy_error(answer))
        else:
            future.set_result(answer)
        replay.loop.settle()
    if not task.done():
        waiting = tuple(waiting for waiting, future in replay.requests if not future.done())
        return Replayed(waiting, _position(coroutine, waiting, replay, answers))
    if (error := task.exception()) is not None:
        return Replayed(done=True, raised=cast("Exception", error))
    return Replayed(done=True, result=task.result())


def _arguments(body: Body, setup: Setup, replay: _Replay) -> tuple[Any, ...]:
    ports = Ports(
        routes=setup.routes,
        **{
            name: cast("Any", _Port(name, replay))
            for name in (
                "source",
                "target",
                "dead_letters",
                "events",
                "reports",
                "feed",
                "figures",
                "ledger",
                "recipients",
            )
        },
        now=lambda: body.now,
        monotonic=replay.monotonic,
        times=setup.times,
        sizes=setup.sizes,
        app_version="test",
    )
    return (ports, _Port("instances", replay), body.argument) if body.instances else (ports, body.argument)


def _position(coroutine: Any, waiting: tuple[PendingRequest, ...], replay: _Replay, answers: tuple[Answer, ...]) -> Any:
    """Return the position of a coroutine: its frames, and the known answers to requests made together."""
    frames = []
    while hasattr(coroutine, "cr_frame"):
        frame, coroutine = coroutine.cr_frame, coroutine.cr_await
        frames.append((frame.f_code, frame.f_lasti, _locals(frame.f_locals)))
    groups = {replay.answers_before[request.number] for request in waiting}
    known = [(number, frozen(answer)) for number, answer, _ in answers if replay.answers_before[number] in groups]
    first = min([request.number for request in waiting] + [number for number, _ in known])
    known = sorted((number - first, answer) for number, answer in known)
    pending = [(request.number - first, frozen(request.request), request.basis) for request in waiting]
    return (*frames, *known, *pending)


# Loop counters and texts: they do not change the steps that follow.
IGNORED_LOCALS = frozenset({"_", "last", "note"})
# Their plain objects are compared by their attributes; by identity no two positions would be equal.
APP_PACKAGES = ("activities.", "operations.")
# Most values have one of these types. Looking it up first makes the exploration much faster.
PLAIN = frozenset({str, int, float, bool, bytes, type(None), datetime})


def _locals(names: dict[str, Any]) -> frozenset[Any]:
    return frozenset([(name, _local(value)) for name, value in names.items() if name not in IGNORED_LOCALS])


def _local(value: Any) -> Any:
    """Return what counts of a local variable: a reading's moment, an object's fields, nothing of the ports."""
    kind: Any = type(value)
    if kind in PLAIN:
        return value
    if kind is Reading:
        return ("reading", value.moment.started)
    # The requests in flight tell how far a group of tasks is.
    if kind is Ports or kind is _Port or kind.__module__.startswith(("asyncio", "_asyncio")):
        return "ignored"
    if (names := _field_names(kind)) is not None:
        return (kind.__name__, *[_local(getattr(value, name)) for name in names if name not in IGNORED_LOCALS])
    if kind.__module__.startswith(APP_PACKAGES):
        return _locals(vars(value))
    return frozen(value)


@cache
def _field_names(kind: Any) -> tuple[str, ...] | None:
    """Return the fields of a dataclass, or None for another type."""
    return tuple(each.name for each in fields(kind)) if is_dataclass(kind) else None


def frozen(value: Any) -> Any:
    """Return a value as a hashable one; equal values stay equal."""
    kind: Any = type(value)
    if kind in PLAIN:
        return value
    if (names := _field_names(kind)) is not None:
        return (kind.__name__, *[frozen(getattr(value, name)) for name in names])
    if isinstance(value, dict):
        return frozenset([(frozen(key), frozen(item)) for key, item in value.items()])
    if isinstance(value, list | tuple):
        return tuple([frozen(item) for item in value])
    if isinstance(value, Exception):
        return (kind.__name__, str(value), getattr(value, "code", ""))
    return value


def _copy_error(error: Exception) -> Exception:
    copy = error.__class__.__new__(error.__class__)
    copy.args, copy.__dict__ = error.args, dict(error.__dict__)
    return copy
