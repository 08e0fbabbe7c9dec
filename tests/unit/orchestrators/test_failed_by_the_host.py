"""The host fails an orchestration at any of its waits. It is resumed, and ends as it would have ended."""

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
from tests.unit.orchestrators.conftest import MakeHarness
from tests.unit.orchestrators.harness import Answer, Harness
from tests.unit.samples import NOW, ROUTE
from tests.unit.world import CONTENT, World

WORKER_EXITED = "python exited with code 137"
# The host fails the execution before the activity or timer, or after the activity has acted but before its answer is recorded.
MOMENTS = ["before", "after"]


async def run_step(world: World, step: str, run: Run) -> Outcome:
    return await ACTIVITIES[Step(step)](world.ports, run)


@dataclass
class Host:
    """The real orchestrator and the real steps in an in-memory world. `failures` maps the number of a wait to a moment."""

    world: World
    make_harness: MakeHarness
    transfer: Transfer
    failures: dict[int, str] = field(default_factory=dict)
    waits: int = 0

    def run(self, run: Run | None = None) -> Harness:
        """Run to the end, and resume after every failure."""
        harness = self._harness(run or Run(self.transfer, self.world.clock))
        while harness.running:
            assert self.waits < 200, "the orchestration does not end"
            moment = self.failures.get(self.waits, "")
            self.waits += 1
            if moment == "after" and harness.open_decisions:
                harness.next_answer()  # it has its effect, and its answer is lost
            harness = self._resume(harness) if moment else harness.step()
            self.world.clock = max(self.world.clock, harness.now)
        return harness

    def _harness(self, run: Run) -> Harness:
        harness = self.make_harness(run)
        harness.activities, harness.now = self._activities(harness), self.world.clock
        return harness

    def _activities(self, harness: Harness) -> Callable[[str, Run], Answer]:
        def activity(step: str, run: Run) -> Outcome:
            self.world.clock = max(self.world.clock, harness.now)
            if step == Step.CHECK and (item := self.world.at(run.transfer.target_blob)) and item.pending:
                self.world.storage.finish(run.transfer.target_blob)
            return asyncio.run(run_step(self.world, step, run))

        return activity

    def _resume(self, harness: Harness) -> Harness:
        """The extension keeps the last input and the status. The timer of the app starts it again after its pause."""
        world, identity = self.world, self.transfer.id
        last_input = codec.decode(Run, harness.inputs[-1]) if harness.inputs else harness.run_or_job
        world.clock = max(world.clock, harness.now)
        world.instances.kept[identity] = Instance(
            identity, "Failed", last_input, harness.custom_status, WORKER_EXITED, world.clock
        )
        world.pass_time(600 * 1.25)
        assert asyncio.run(resume(world.ports, world.instances)) == 1
        resumed = world.instances.kept[identity].run
        assert resumed is not None
        assert (resumed.attempt, resumed.resumes, resumed.first) == (last_input.attempt, last_input.resumes + 1, False)
        return self._harness(resumed)


def make_host(make_harness: MakeHarness, kind: Kind) -> Host:
    """The host of a new transfer: a block blob is copied by one request, a page blob by a background copy."""
    route = replace(ROUTE, deadline=timedelta(hours=12))
    world = World((route,))
    return Host(world, make_harness, world.put(kind=kind, route=route))


def count_waits(make: Callable[[], Host], run: Callable[[Host], Run | None] = lambda _: None) -> int:
    """The number of waits without a failure."""
    host = make()
    host.run(run(host))
    return host.waits


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("kind", [Kind.BLOCK, Kind.PAGE])
def test_after_a_failure_at_any_wait_it_ends_verified_with_at_most_one_more_copy(
    make_harness: MakeHarness, kind: Kind, moment: str
) -> None:
    def make() -> Host:
        return make_host(make_harness, kind)

    count = count_waits(make)
    assert count >= (4 if kind is Kind.PAGE else 2)
    for wait in range(count):
        host = make()
        host.failures = {wait: moment}
        harness = host.run()
        assert (harness.output["state"], harness.output["resumes"]) == ("verified", 1)
        item = host.world.at(host.transfer.target_blob)
        assert item is not None
        assert (item.content, item.pending) == (CONTENT, False)
        assert kind is Kind.BLOCK or item.copy is None  # the copy's properties show its source's URL
        assert host.world.target_writes.count("target.copy") <= 2
        assert (host.world.dead_letters.open, host.world.dead_letters.ends) == ({}, {})


@pytest.mark.parametrize("moment", MOMENTS)
def test_after_as_many_failures_as_resumes_are_allowed_it_ends_verified(make_harness: MakeHarness, moment: str) -> None:
    host = make_host(make_harness, Kind.PAGE)
    host.failures = {2 * number + 1: moment for number in range(MAX_RESUMES)}
    harness = host.run()
    assert (harness.output["state"], harness.output["resumes"]) == ("verified", MAX_RESUMES)
    assert host.world.target_writes.count("target.copy") == 1


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("state", [State.CANCELLED, State.DEAD_LETTERED, State.SUPERSEDED])
def test_after_a_failure_while_it_ends_it_reaches_the_same_end(
    make_harness: MakeHarness, state: State, moment: str
) -> None:
    """Nothing incomplete is left at the target, and a dead letter is written once."""

    def make() -> Host:
        host = make_host(make_harness, Kind.PAGE)
        asyncio.run(run_start(host.world.ports, Run(host.transfer, NOW)))  # leaves a pending copy
        return host

    def ending(host: Host) -> Run:
        run = replace(Run(host.transfer, host.world.clock), first=False, resumes=MAX_RESUMES + 2, state=State.COPYING)
        if state is State.SUPERSEDED:
            newer = host.world.put(content=b"newer", route=host.world.routes[0])
            end = Ending(state, successor=Successor(newer.etag))
            return replace(run, step=Step.RECORD, ending=end)
        run = replace(run, cancelling=state is State.CANCELLED)
        return lifecycle.abandon(run, "resumed too often")

    count = count_waits(make, ending)
    assert count >= 4
    for wait in range(count):
        host = make()
        host.failures = {wait: moment}
        harness = host.run(ending(host))
        assert harness.output["state"] == state
        assert host.world.at(host.transfer.target_blob) is None
        dead_letters = host.world.dead_letters
        assert list(dead_letters.open) == ([host.transfer.id] if state is State.DEAD_LETTERED else [])
        assert all(len(letter.attempts) == 1 for letter in dead_letters.open.values())
        assert {ended.ending.state for ended in dead_letters.ends.values()} == ({state} - {State.SUPERSEDED})
        assert host.world.target_writes.count("target.copy") == 1
