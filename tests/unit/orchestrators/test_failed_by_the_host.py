"""The host fails an orchestration at any of its waits: it is resumed, and ends as it would have ended."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from activities.transfers import ACTIVITIES
from activities.transfers.start import run_start
from operations.upkeep.resume import resume
from rules import codec
from rules.orchestrations.instance import Instance
from rules.transfers import lifecycle
from rules.transfers.model import Ending, Kind, Outcome, Run, Step, Successor, Transfer
from rules.transfers.policies import MAX_RESUMES
from rules.transfers.states import State
from tests.unit.orchestrators.conftest import Staged
from tests.unit.orchestrators.stage import Answer, Stage
from tests.unit.samples import NOW, ROUTE
from tests.unit.world import CONTENT, World

DIED = "python exited with code 137"
# Where a wait is: before the activity or timer, or after the activity has acted and before its answer is known.
MOMENTS = ["before", "after"]


async def acted(world: World, step: str, run: Run) -> Outcome:
    """The real step."""
    return await ACTIVITIES[Step(step)](world.ports, run)


@dataclass
class Host:
    """The real orchestrator and the real steps on a world in memory; `fails` names the waits at which the host fails it."""

    world: World
    staged: Staged
    transfer: Transfer
    fails: dict[int, str] = field(default_factory=dict)
    waits: int = 0

    def play(self, run: Run | None = None) -> Stage:
        """Go on to the end, resumed as often as it takes."""
        stage = self._stage(run or Run(self.transfer, self.world.clock))
        while stage.running:
            assert self.waits < 200, "it never ends"
            moment = self.fails.get(self.waits, "")
            self.waits += 1
            if moment == "after" and stage.open:
                self._act(stage)
            stage = self._resumed(stage) if moment else stage.next()
            self.world.clock = max(self.world.clock, stage.now)
        return stage

    def _stage(self, run: Run) -> Stage:
        stage = self.staged(run)
        stage.activities, stage.now = self._answers(stage), self.world.clock
        return stage

    def _answers(self, stage: Stage) -> Callable[[str, Run], Answer]:
        def answer(step: str, run: Run) -> Outcome:
            self.world.clock = max(self.world.clock, stage.now)
            if step == Step.CHECK and (item := self.world.at(run.transfer.target_blob)) and item.pending:
                self.world.storage.finish(run.transfer.target_blob)
            return asyncio.run(acted(self.world, step, run))

        return answer

    def _act(self, stage: Stage) -> None:
        """Let what is open happen, and its answer be lost with the execution."""
        stage.answered()

    def _resumed(self, stage: Stage) -> Stage:
        """What the extension keeps of it is its last input and its status; the timer starts it again after its pause."""
        world, identity = self.world, self.transfer.id
        kept = codec.decode(Run, stage.inputs[-1]) if stage.inputs else stage.run
        world.clock = max(world.clock, stage.now)
        world.instances.kept[identity] = Instance(identity, "Failed", kept, stage.custom, DIED, world.clock)
        world.pass_time(600 * 1.25)
        assert asyncio.run(resume(world.ports, world.instances)) == 1
        again = world.instances.kept[identity].run
        assert again is not None
        assert (again.attempt, again.resumes, again.first) == (kept.attempt, kept.resumes + 1, False)
        return self._stage(again)


def hosted(staged: Staged, kind: Kind) -> Host:
    """A transfer that is about to begin: of a block blob, which is copied at once, or of a page blob, which is waited for."""
    route = replace(ROUTE, deadline=timedelta(hours=12))
    world = World((route,))
    return Host(world, staged, world.put(kind=kind, route=route))


def waits_of(make: Callable[[], Host], run: Callable[[Host], Run | None] = lambda _: None) -> int:
    """How many waits there are where nothing fails."""
    host = make()
    host.play(run(host))
    return host.waits


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("kind", [Kind.BLOCK, Kind.PAGE])
def test_failed_at_any_wait_it_ends_verified_with_at_most_one_more_copy(
    staged: Staged, kind: Kind, moment: str
) -> None:
    """A small blob's one activity; a large blob's activities and timers, one after the other."""

    def make() -> Host:
        return hosted(staged, kind)

    count = waits_of(make)
    assert count >= (4 if kind is Kind.PAGE else 2)
    for wait in range(count):
        host = make()
        host.fails = {wait: moment}
        stage = host.play()
        assert (stage.output["state"], stage.output["resumes"]) == ("verified", 1)
        item = host.world.at(host.transfer.target_blob)
        assert item is not None
        assert (item.content, item.pending) == (CONTENT, False)
        assert kind is Kind.BLOCK or item.copy is None  # an async copy's properties show its source's URL
        assert host.world.acts.count("target.copy") <= 2
        assert (host.world.dead_letters.open, host.world.dead_letters.ends) == ({}, {})


@pytest.mark.parametrize("moment", MOMENTS)
def test_failed_as_often_as_it_may_be_resumed_it_ends_verified(staged: Staged, moment: str) -> None:
    """Five times in a row; the copy that is under way is found, not begun again."""
    host = hosted(staged, Kind.PAGE)
    host.fails = {2 * number + 1: moment for number in range(MAX_RESUMES)}
    stage = host.play()
    assert (stage.output["state"], stage.output["resumes"]) == ("verified", MAX_RESUMES)
    assert host.world.acts.count("target.copy") == 1


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("state", [State.CANCELLED, State.DEAD_LETTERED, State.SUPERSEDED])
def test_failed_on_the_way_to_its_end_it_comes_to_that_end(staged: Staged, state: State, moment: str) -> None:
    """In record, settle, clean or close, however often: nothing half-made stays, and a dead letter is written once."""

    def make() -> Host:
        host = hosted(staged, Kind.PAGE)
        asyncio.run(run_start(host.world.ports, Run(host.transfer, NOW)))  # half-made
        return host

    def ending(host: Host) -> Run:
        run = replace(Run(host.transfer, host.world.clock), first=False, resumes=MAX_RESUMES + 2, state=State.COPYING)
        if state is State.SUPERSEDED:
            newer = host.world.put(content=b"newer", route=host.world.routes[0])
            end = Ending(state, successor=Successor(newer.etag))
            return replace(run, step=Step.RECORD, ending=end)
        run = replace(run, cancelling=state is State.CANCELLED)
        return lifecycle.abandon(run, "it was decided")

    count = waits_of(make, ending)
    assert count >= 4
    for wait in range(count):
        host = make()
        host.fails = {wait: moment}
        stage = host.play(ending(host))
        assert stage.output["state"] == state
        assert host.world.at(host.transfer.target_blob) is None
        letters = host.world.dead_letters
        assert list(letters.open) == ([host.transfer.id] if state is State.DEAD_LETTERED else [])
        assert all(len(letter.attempts) == 1 for letter in letters.open.values())
        assert {ended.ending.state for ended in letters.ends.values()} == ({state} - {State.SUPERSEDED})
        assert host.world.acts.count("target.copy") == 1
