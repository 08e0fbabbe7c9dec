"""Where a coroutine of the app is, found by running it again with the answers that it has had.

The real bodies of the activities (and operations) ask their ports; a gate keeps what they ask. Given the same answers a body
asks the same things, so its whole state is the list of its answers: small, comparable, and found once for each list.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import datetime
from typing import Any, NamedTuple, Self, cast

from ports.services import Ports
from rules.routes.model import Route
from rules.transfers.policies import Times
from tests.protocol.loop import Loop


class Moment(NamedTuple):
    """What a clock can know for sure: how many `settle` timers were ever started, and the last one that fired.

    Between two moments more than `settle` has passed for certain if a timer fired that was started after the first.
    """

    started: int = 0
    fired: int = 0


class Reading(float):
    """A moment as `ports.monotonic` shows it: a difference of two is 0, or long past every window."""

    moment: Moment

    def __new__(cls, moment: Moment) -> Self:
        """Make a number of it."""
        reading = super().__new__(cls, 0.0)
        reading.moment = moment
        return reading

    def __sub__(self, earlier: object) -> float:
        """Count the seconds that must have passed."""
        assert isinstance(earlier, Reading)
        return 1e9 if self.moment.fired > earlier.moment.started else 0.0


@dataclass(frozen=True, slots=True)
class Request:
    """One request to a port."""

    port: str
    method: str
    args: tuple[Any, ...] = ()
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """Port and method."""
        return f"{self.port}.{self.method}"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request that waits for its answer: the `number`-th of its task, based on what was known at `basis`."""

    number: int
    request: Request
    basis: int


@dataclass(frozen=True, slots=True)
class Recalled:
    """What a task waits for; or that it is done, with its result or what it raised.

    Two that wait at the same `place` go on alike, whatever led there: same instructions, same local variables.
    """

    waiting: tuple[Waiting, ...] = ()
    place: Any = None
    done: bool = False
    result: Any = None
    raised: Exception | None = None


Answer = tuple[int, Any, Moment]
"""The number of the request; its answer (an exception is raised); and when the answer came."""


@dataclass
class _Gate:
    """One run of a coroutine: what it asked, and its clock."""

    moment: Moment
    loop: Loop = field(default_factory=Loop)
    asked: list[tuple[Waiting, Any]] = field(default_factory=list)
    readings: list[Moment] = field(default_factory=list)
    answered: int = 0
    rounds: list[int] = field(default_factory=list)
    """For each request how many answers there were when it was made: of those made at once, the same."""

    def monotonic(self) -> float:
        self.readings.append(self.moment)
        return Reading(self.moment)

    def ask(self, request: Request) -> Any:
        # A copy is sent within the window of what it is based on: the reading before the one that `start` compares it with.
        basis = self.readings[-2] if request.method == "copy" else self.moment
        future = self.loop.create_future()
        self.asked.append((Waiting(len(self.asked), request, basis.started), future))
        self.rounds.append(self.answered)
        return future


class _Port:
    """A port of which every method is a request that waits at the gate."""

    def __init__(self, name: str, gate: _Gate) -> None:
        self._name, self._gate = name, gate

    def __getattr__(self, method: str) -> Callable[..., Any]:
        async def ask(*args: Any, **options: Any) -> Any:
            return await self._gate.ask(Request(self._name, method, args, tuple(options.items())))

        return ask

    async def list_ended(self) -> AsyncIterator[Any]:
        """A list that is read in pages is one request here."""
        for ended in await self._gate.ask(Request(self._name, "list_ended")):
            yield ended


@dataclass(frozen=True, slots=True)
class Body:
    """Something of the app that asks its ports: an activity or an operation."""

    name: str
    function: Callable[..., Awaitable[Any]]
    argument: Any
    now: datetime
    instances: bool = False


def recall(body: Body, routes: tuple[Route, ...], times: Times, born: Moment, answers: tuple[Answer, ...]) -> Recalled:
    """Run `body` from its beginning with these answers, in this order."""
    gate = _Gate(born)
    coroutine = cast("Any", body.function(*_arguments(body, routes, times, gate)))
    task = gate.loop.create_task(coroutine)
    gate.loop.settle()
    for number, answer, moment in answers:
        gate.moment = moment
        future = gate.asked[number][1]
        gate.answered += 1
        if isinstance(answer, Exception):
            # A fresh one: a traceback would keep the whole run alive.
            future.set_exception(_again(answer))
        else:
            future.set_result(answer)
        gate.loop.settle()
    if not task.done():
        waiting = tuple(waiting for waiting, future in gate.asked if not future.done())
        return Recalled(waiting, _place(coroutine, waiting, gate, answers))
    if (error := task.exception()) is not None:
        return Recalled(done=True, raised=cast("Exception", error))
    return Recalled(done=True, result=task.result())


def _arguments(body: Body, routes: tuple[Route, ...], times: Times, gate: _Gate) -> tuple[Any, ...]:
    ports = Ports(
        routes=routes,
        **{name: cast("Any", _Port(name, gate)) for name in ("source", "target", "dead_letters", "events", "reports")},
        now=lambda: body.now,
        monotonic=gate.monotonic,
        times=times,
        app_version="test",
    )
    return (ports, _Port("instances", gate), body.argument) if body.instances else (ports, body.argument)


def _place(coroutine: Any, waiting: tuple[Waiting, ...], gate: _Gate, answers: tuple[Answer, ...]) -> Any:
    """Where a coroutine is: the frames that wait, and what is known already of requests that were made at once."""
    frames = []
    while hasattr(coroutine, "cr_frame"):
        frame, coroutine = coroutine.cr_frame, coroutine.cr_await
        frames.append((frame.f_code, frame.f_lasti, frozen(_values(frame.f_locals))))
    rounds = {gate.rounds[ask.number] for ask in waiting}
    known = [(number, frozen(answer)) for number, answer, _ in answers if gate.rounds[number] in rounds]
    first = min([ask.number for ask in waiting] + [number for number, _ in known])
    known = sorted((number - first, answer) for number, answer in known)
    asks = [(ask.number - first, frozen(ask.request), ask.basis) for ask in waiting]
    return (*frames, *known, *asks)


# How often it was looked, and words for people: a look is followed by the same, however many there were.
WORDS = frozenset({"_", "last", "note"})


def _values(names: dict[str, Any]) -> dict[str, Any]:
    return {name: _value(value) for name, value in names.items() if name not in WORDS}


def _value(local: Any) -> Any:
    """What counts of a local variable: of a reading its moment, of the ports nothing."""
    if isinstance(local, Reading):
        return ("reading", local.moment.started)
    if isinstance(local, Ports | _Port):
        return "ports"
    if is_dataclass(local) and not isinstance(local, type):
        return _values({each.name: getattr(local, each.name) for each in fields(local)})
    return local


def frozen(value: Any) -> Any:
    """Any value as something hashable that is equal for equal values."""
    if is_dataclass(value) and not isinstance(value, type):
        return (type(value).__name__, *(frozen(getattr(value, each.name)) for each in fields(value)))
    if isinstance(value, dict):
        return frozenset((frozen(key), frozen(item)) for key, item in value.items())
    if isinstance(value, list | tuple):
        return tuple(frozen(item) for item in value)
    if isinstance(value, Exception):
        return (type(value).__name__, str(value), getattr(value, "code", ""))
    return value


def _again(error: Exception) -> Exception:
    twin = error.__class__.__new__(error.__class__)
    twin.args, twin.__dict__ = error.args, dict(error.__dict__)
    return twin
