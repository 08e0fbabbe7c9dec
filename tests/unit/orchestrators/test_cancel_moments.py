"""A cancel at every moment: the real operation requests it, and the real orchestrator is replayed against a simulated host.

Rule 11: a cancel is never lost and never reported falsely. A request that was answered 202 ends `cancelled`, or as what was true
before: `verified` or `superseded`. If the orchestration did not notice it, the answer is 503, and repeating the request works.
"""

from collections.abc import Coroutine, Generator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from operations.problems import Conflict, Unavailable
from operations.transfers.cancel import cancel
from rules import codec
from rules.orchestrations.instance import Instance
from rules.transfers.model import Outcome, Run, Verdict
from rules.transfers.states import FINAL, State
from tests.unit.orchestrators.conftest import MakeHarness
from tests.unit.orchestrators.harness import (
    AGAIN,
    DONE,
    FORBIDDEN,
    LOST,
    SETTLE,
    SUPERSEDED,
    THROTTLED,
    VERIFIED,
    WAITING,
    Answer,
    Harness,
)
from tests.unit.samples import NEWER, RUN

Answers = dict[str, Answer | list[Answer]]

SCENARIOS: dict[str, tuple[State, Answers]] = {
    "small": (State.VERIFIED, {"start": VERIFIED}),
    "polled into another execution": (State.VERIFIED, {"start": [WAITING, VERIFIED], "check": [*[WAITING] * 5, AGAIN]}),
    "lost activities": (State.VERIFIED, {"start": [LOST, THROTTLED, WAITING, VERIFIED], "check": [LOST, AGAIN]}),
    "overwritten": (
        State.SUPERSEDED,
        {"start": [WAITING, SUPERSEDED], "check": AGAIN, "record": [LOST, SETTLE]},
    ),
    "complete after all": (
        State.VERIFIED,
        {"start": [THROTTLED, FORBIDDEN], "record": SETTLE, "clean": Outcome(Verdict.VERIFIED, size=7)},
    ),
    "refused": (
        State.DEAD_LETTERED,
        {
            "start": [*[THROTTLED] * 4, FORBIDDEN],
            "record": [LOST, SETTLE],
            "clean": [LOST, DONE],
            "close": [LOST, DONE],
        },
    ),
}
# When raised events reach the orchestrator: before the next event of the host, after it, or in an episode of their own (twice each,
# because the host repeats what it may not have delivered); and after how many host steps a second caller sends a request.
SCHEDULES = [("before", None), ("before", 0), ("after", None), ("after", 1), ("alone", 1)]
TRUE_BEFORE = {State.VERIFIED, State.SUPERSEDED}


class OneYield:
    """A pause that gives control back once."""

    def __await__(self) -> Generator[None]:
        yield


@dataclass
class Host:
    """The host of the harness's instance, and its port `Instances`."""

    harness: Harness
    order: str = "alone"
    started: bool = False
    pending_cancels: int = 0

    async def find(self, identity: str) -> Instance:
        """The instance as the extension shows it."""
        harness = self.harness
        run = codec.decode(Run, harness.inputs[-1]) if harness.inputs else harness.run_or_job
        return Instance(identity, harness.status, run, harness.custom_status, harness.output, harness.now)

    async def cancel(self, _identity: str) -> None:
        """The event is delivered with the next step. If the execution then continues as new, it is lost."""
        self.pending_cancels += self.harness.running

    def step(self) -> None:
        """Run the host's next episode."""
        harness = self.harness
        if not harness.running:
            return
        events = [harness.cancel_event() for _ in range(self.pending_cancels * (2 if self.order == "alone" else 1))]
        self.pending_cancels = 0
        if not self.started:
            self.started = True
            harness.start(*events)
        elif not events:
            harness.step()
        elif self.order == "before":
            harness.deliver(*events, harness.next_answer())
        elif self.order == "after":
            harness.deliver(harness.next_answer(), *events)
        else:
            harness.deliver(*events)


@dataclass
class Caller:
    """A client that requests a cancel, and the answer to it."""

    host: Host
    answer: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    unavailable: int = 0
    _request: Coroutine[Any, Any, dict[str, Any]] | None = None

    @property
    def is_answered(self) -> bool:
        """Whether the answer is final; after a 503 the caller repeats the request."""
        return self.answer in {"accepted", "conflict"}

    def proceed(self) -> "Caller":
        """Continue the request up to its next pause or its answer."""
        if self.is_answered:
            return self
        identity = self.host.harness.run_or_job.transfer.id
        self._request = self._request or cancel(self.host, identity, lambda _: OneYield())  # type: ignore[arg-type]  # no other method is called
        self.answer = "pending"
        try:
            self._request.send(None)
        except StopIteration as accepted:
            self.answer, self.facts = "accepted", accepted.value
        except Conflict as error:
            self.answer, self.facts = "conflict", error.facts
        except Unavailable as error:
            self.answer, self.facts, self._request = "unavailable", {"retry_after": error.retry_after}, None
            self.unavailable += 1
        return self

    def disconnect(self) -> None:
        """Drop the connection without waiting for the answer."""
        if self._request is not None:
            self._request.close()

    def assert_answer_was_true(self, end: State, uncancelled_end: State) -> None:
        """Compare the answer with the end of the transfer, and with its end without a cancel."""
        match self.answer:
            case "accepted":
                assert self.facts["cancelling"] or self.facts["state"] == State.CANCELLED
                assert end is State.CANCELLED or (end is uncancelled_end and end in TRUE_BEFORE)
            case "conflict" if self.facts["state"] in FINAL:
                assert end == self.facts["state"]
            case "conflict":  # it is ending already
                assert end is uncancelled_end
            case answer:
                raise AssertionError(f"{answer!r} is not a final answer")


def run_to_end(host: Host, *callers: Caller) -> State:
    """The final state, once the instance has ended and every caller has a final answer."""
    while host.harness.running or not all(caller.is_answered for caller in callers):
        for caller in callers:
            caller.proceed()
        host.step()
    return State(host.harness.output["state"])


def host_after(harness: Harness, steps: int, order: str = "alone") -> Host:
    host = Host(harness, order)
    for _ in range(steps):
        host.step()
    return host


def moments(make_harness: MakeHarness, scenario: str) -> range:
    """How many host steps a scenario takes without a cancel."""
    host, count = Host(make_harness(**SCENARIOS[scenario][1])), 0
    while host.harness.running:
        host.step()
        count += 1
    return range(count + 1)


@pytest.mark.parametrize(("order", "later"), SCHEDULES)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_at_every_moment_one_or_two_callers_get_a_true_answer(
    make_harness: MakeHarness, scenario: str, order: str, later: int | None
) -> None:
    uncancelled_end, answers = SCENARIOS[scenario]
    for moment in moments(make_harness, scenario):
        host = host_after(make_harness(**answers), moment, order)
        callers = [Caller(host).proceed()]
        if later is not None:
            for _ in range(later):
                host.step()
            callers.append(Caller(host))
        end = run_to_end(host, *callers)
        for caller in callers:
            caller.assert_answer_was_true(end, uncancelled_end)
            assert not caller.unavailable, "a lost event is raised again within the same request"
        assert not host.harness.open_decisions, "an open timer or activity keeps the instance running"


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_stopped_host_is_503_and_repeating_the_request_works(make_harness: MakeHarness, scenario: str) -> None:
    """The host steps only after the request has given up; by then nine events are waiting."""
    uncancelled_end, answers = SCENARIOS[scenario]
    for moment in moments(make_harness, scenario):
        host = host_after(make_harness(**answers), moment, "before")
        caller = Caller(host).proceed()
        while caller.answer == "pending":
            caller.proceed()
        assert caller.answer == "conflict" or (host.harness.running and caller.facts == {"retry_after": 30})
        end = run_to_end(host, caller)
        caller.assert_answer_was_true(end, uncancelled_end)


@pytest.mark.parametrize("moment", range(12))
def test_a_repeated_request_after_a_lost_connection_gets_a_true_answer(make_harness: MakeHarness, moment: int) -> None:
    uncancelled_end, answers = SCENARIOS["refused"]
    host = host_after(make_harness(**answers), moment, "after")
    disconnected = Caller(host).proceed()
    disconnected.disconnect()
    host.step()
    second = Caller(host)
    end = run_to_end(host, second)
    second.assert_answer_was_true(end, uncancelled_end)
    assert (end is State.CANCELLED) == (second.answer == "accepted")


@pytest.mark.parametrize("moment", range(0, 8, 2))
def test_a_replay_is_cancelled_like_a_first_attempt(make_harness: MakeHarness, moment: int) -> None:
    replayed = replace(RUN, attempt=3, has_open_dead_letter=True, first=False)
    host = host_after(make_harness(replayed, start=THROTTLED, record=SETTLE), moment)
    caller = Caller(host)
    assert run_to_end(host, caller) is State.CANCELLED
    assert caller.answer == "accepted"
    assert host.harness.steps[-1] == "close"
    assert host.harness.output["attempt"] == 3
    assert {run.attempt for _, run in host.harness.calls} == {3}


def test_superseded_wins_over_a_cancel_that_was_accepted_during_the_same_activity(make_harness: MakeHarness) -> None:
    host = host_after(make_harness(start=SUPERSEDED, record=SETTLE), 1)
    caller = Caller(host)
    assert run_to_end(host, caller) is State.SUPERSEDED
    assert caller.answer == "accepted"
    assert host.harness.output["successor"]["etag"] == NEWER
