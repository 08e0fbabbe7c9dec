"""A cancel at every moment: the real operation asks, the real orchestrator is replayed, and the host moves when it is told to.

Rule 11: never lost, never a lie. What was answered 202 ends `cancelled`, or as what was true before: `verified`,
`superseded`. What nobody took notice of is 503, and asking again works.
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
from tests.unit.orchestrators.conftest import Staged
from tests.unit.orchestrators.stage import (
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
    Stage,
)
from tests.unit.samples import NEWER, RUN

Walk = dict[str, Answer | list[Answer]]

WALKS: dict[str, tuple[State, Walk]] = {
    "small": (State.VERIFIED, {"start": VERIFIED}),
    "polled into another execution": (State.VERIFIED, {"start": [WAITING, VERIFIED], "check": [*[WAITING] * 5, AGAIN]}),
    "lost": (State.VERIFIED, {"start": [LOST, THROTTLED, WAITING, VERIFIED], "check": [LOST, AGAIN]}),
    "overwritten": (
        State.SUPERSEDED,
        {"start": [WAITING, SUPERSEDED], "check": AGAIN, "record": [LOST, SETTLE]},
    ),
    "whole after all": (
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
# How raised events reach the orchestrator (before what the host brings next, after it, or in an episode of their own and then
# twice, as the host repeats what it was not certain to have handed over), and how many steps later a second person asks.
SCHEDULES = [("before", None), ("before", 0), ("after", None), ("after", 1), ("alone", 1)]
TRUE_BEFORE = {State.VERIFIED, State.SUPERSEDED}


class Turn:
    """A pause: whoever waits gives way once."""

    def __await__(self) -> Generator[None]:
        yield


@dataclass
class Hub:
    """The port `Instances`, for the one instance on the stage."""

    stage: Stage
    order: str = "alone"
    begun: bool = False
    raised: int = 0

    async def find(self, identity: str) -> Instance:
        """The instance as the extension shows it."""
        stage = self.stage
        run = codec.decode(Run, stage.inputs[-1]) if stage.inputs else stage.run
        return Instance(identity, stage.status, run, stage.custom, stage.output, stage.now)

    async def cancel(self, _identity: str) -> None:
        """The event waits until the host moves; where an execution continues as new by then, it is lost."""
        self.raised += self.stage.running

    def move(self) -> None:
        """The host's next step."""
        stage = self.stage
        if not stage.running:
            return
        events = [stage.raised() for _ in range(self.raised * (2 if self.order == "alone" else 1))]
        self.raised = 0
        if not self.begun:
            self.begun = True
            stage.begin(*events)
        elif not events:
            stage.next()
        elif self.order == "before":
            stage.batch(*events, stage.answered())
        elif self.order == "after":
            stage.batch(stage.answered(), *events)
        else:
            stage.batch(*events)


@dataclass
class Person:
    """Somebody who asks for a cancel, and what they were answered."""

    hub: Hub
    said: str = ""
    shown: dict[str, Any] = field(default_factory=dict)
    in_vain: int = 0
    _asking: Coroutine[Any, Any, dict[str, Any]] | None = None

    @property
    def answered(self) -> bool:
        """Whether they know; a 503 is to be asked again."""
        return self.said in {"accepted", "conflict"}

    def ask(self) -> "Person":
        """Go on asking until the next pause, or the answer."""
        if self.answered:
            return self
        identity = self.hub.stage.run.transfer.id
        self._asking = self._asking or cancel(self.hub, identity, lambda _: Turn())  # type: ignore[arg-type]  # no other method is called
        self.said = "asking"
        try:
            self._asking.send(None)
        except StopIteration as answered:
            self.said, self.shown = "accepted", answered.value
        except Conflict as error:
            self.said, self.shown = "conflict", error.facts
        except Unavailable as error:
            self.said, self.shown, self._asking = "unavailable", {"retry_after": error.retry_after}, None
            self.in_vain += 1
        return self

    def close(self) -> None:
        """Who still asks goes away: the connection is gone."""
        if self._asking is not None:
            self._asking.close()

    def was_told_the_truth(self, end: State, without: State) -> None:
        """Held against how it ended, and how it would have ended without them."""
        match self.said:
            case "accepted":
                assert self.shown["cancelling"] or self.shown["state"] == State.CANCELLED
                assert end is State.CANCELLED or (end is without and end in TRUE_BEFORE)
            case "conflict" if self.shown["state"] in FINAL:
                assert end == self.shown["state"]
            case "conflict":  # it is ending already, and says as what
                assert end is without
            case said:
                raise AssertionError(f"{said!r} is no answer")


def played(hub: Hub, *people: Person) -> State:
    """On to the end, with everybody asking until they are answered, and again after a 503; how it ended."""
    while hub.stage.running or not all(person.answered for person in people):
        for person in people:
            person.ask()
        hub.move()
    return State(hub.stage.output["state"])


def at(hub: Hub | Stage, moment: int, order: str = "alone") -> Hub:
    """So many steps of the host later."""
    hub = Hub(hub, order) if isinstance(hub, Stage) else hub
    for _ in range(moment):
        hub.move()
    return hub


def moments(staged: Staged, walk: str) -> range:
    """How many steps of the host a walk has."""
    hub, count = Hub(staged(**WALKS[walk][1])), 0
    while hub.stage.running:
        hub.move()
        count += 1
    return range(count + 1)


@pytest.mark.parametrize(("order", "later"), SCHEDULES)
@pytest.mark.parametrize("walk", WALKS)
def test_at_every_moment_of_every_walk_one_or_two_people_are_told_the_truth(
    staged: Staged, walk: str, order: str, later: int | None
) -> None:
    """Before the first wait, during an activity, where an execution continues as new, while it ends, after the end."""
    without, answers = WALKS[walk]
    for moment in moments(staged, walk):
        hub = at(staged(**answers), moment, order)
        people = [Person(hub).ask()]
        if later is not None:
            at(hub, later)
            people.append(Person(hub))
        end = played(hub, *people)
        for person in people:
            person.was_told_the_truth(end, without)
            assert not person.in_vain, "an event that was lost is raised again, within the same half minute"
        assert not hub.stage.open, "what is left open keeps the instance running"


@pytest.mark.parametrize("walk", WALKS)
def test_a_host_that_is_away_is_503_and_asking_again_works(staged: Staged, walk: str) -> None:
    """All of the half minute passes and nothing moves; then the host is back, with nine events waiting."""
    without, answers = WALKS[walk]
    for moment in moments(staged, walk):
        hub = at(staged(**answers), moment, "before")
        person = Person(hub).ask()
        while person.said == "asking":
            person.ask()
        assert person.said == "conflict" or (hub.stage.running and person.shown == {"retry_after": 30})
        end = played(hub, person)
        person.was_told_the_truth(end, without)


@pytest.mark.parametrize("moment", range(12))
def test_one_who_goes_away_unanswered_may_have_been_heard(staged: Staged, moment: int) -> None:
    """Their connection broke: asked again, the answer is the same, and nobody is told what is not so."""
    without, answers = WALKS["refused"]
    hub = at(staged(**answers), moment, "after")
    gone = Person(hub).ask()
    gone.close()
    hub.move()
    again = Person(hub)
    end = played(hub, again)
    again.was_told_the_truth(end, without)
    assert (end is State.CANCELLED) == (again.said == "accepted")


@pytest.mark.parametrize("moment", range(0, 8, 2))
def test_a_replay_is_cancelled_as_a_first_attempt_is(staged: Staged, moment: int) -> None:
    """Its open letter is resolved at the end, and its history names no other attempt."""
    replayed = replace(RUN, attempt=3, has_open_dead_letter=True, first=False)
    hub = at(staged(replayed, start=THROTTLED, record=SETTLE), moment)
    person = Person(hub)
    assert played(hub, person) is State.CANCELLED
    assert person.said == "accepted"
    assert hub.stage.steps[-1] == "close"
    assert hub.stage.output["attempt"] == 3
    assert {run.attempt for _, run in hub.stage.calls} == {3}


def test_an_overwrite_that_was_true_first_is_said_with_its_successor(staged: Staged) -> None:
    """The cancel was accepted while the activity ran that found it out."""
    hub = at(staged(start=SUPERSEDED, record=SETTLE), 1)
    person = Person(hub)
    assert played(hub, person) is State.SUPERSEDED
    assert person.said == "accepted"
    assert hub.stage.output["successor"]["etag"] == NEWER
