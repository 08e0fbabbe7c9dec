"""A large blob that lanes stage at the same time, in virtual time on the real SDK's replay."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import pairwise
from math import ceil, floor
from typing import Any

import pytest

from devhost.host import clock
from devhost.host.actions import Decision, Timer
from devhost.host.episode import Result
from devhost.host.events import Event
from rules import codec
from rules.routes.model import Engine
from rules.transfers import blocks, policies
from rules.transfers.blocks import MAX_FLOW, Flow, Plan, Sizes
from rules.transfers.model import Lane, Outcome, Run, Step, Verdict
from rules.transfers.policies import MAX_COPY_ATTEMPTS, STAGING_TIME
from tests.unit.orchestrators.harness import AGAIN, DONE, LOST, SETTLE, SUPERSEDED, THROTTLED, Answer, Harness
from tests.unit.samples import NAME, NOW, RUN, TRANSFER

TIB = 1024**4
PACE = 30_000_000  # bytes a second of one request
MOST_ROWS = 60
Answers = dict[str, Answer | list[Answer]]


@dataclass
class Blob:
    """A blob of `size` bytes, and how its activities answer. Each request in flight copies `PACE` bytes a second.

    `trouble` holds the answers that the next activities of a lane, named by its end, give instead of staging anything.
    """

    size: int
    trouble: dict[int, list[Answer]] = field(default_factory=dict)
    starts: list[Answer] = field(default_factory=list)
    passed: dict[int, Lane] = field(default_factory=dict)
    requests: int = 0

    @property
    def plan(self) -> Plan:
        return blocks.plan(TRANSFER, self.size, Sizes())

    @property
    def seconds_of_a_block(self) -> float:
        return self.plan.block_size / PACE

    def answer(self, step: str, run: Run) -> Answer:
        """Answer as the activity of this step does."""
        match step:
            case Step.START:
                return self.starts.pop(0) if self.starts else self._start()
            case Step.STAGE:
                (lane,) = run.lanes
                trouble = self.trouble.get(lane.end)
                return _with_lane(trouble.pop(0), lane) if trouble else self._stage(lane)
            case Step.RECORD:
                return SETTLE
            case _:
                return DONE

    def duration(self, step: str, run: Run) -> float:
        """How many seconds the activity takes."""
        if step != Step.STAGE:
            return 1.0
        (lane,) = run.lanes
        if self.trouble.get(lane.end):
            return 10.0
        return ceil(self._count(lane) / MAX_FLOW) * self.seconds_of_a_block

    def _start(self) -> Outcome:
        if not self.passed:
            self.passed = {lane.end: lane for lane in blocks.lanes(self.plan, {}, Flow(MAX_FLOW))}
        left = tuple(self.passed.values())
        if all(lane.done for lane in left):
            return Outcome(Verdict.VERIFIED, engine=Engine.BLOCKS, size=self.size)
        return Outcome(Verdict.STAGING, engine=Engine.BLOCKS, size=self.size, lanes=left)

    def _count(self, lane: Lane) -> int:
        """The blocks of one activity: 32 at a time, and none begins after `STAGING_TIME`."""
        rounds = floor(STAGING_TIME / self.seconds_of_a_block) + 1
        return min(lane.end - lane.next, MAX_FLOW * rounds)

    def _stage(self, lane: Lane) -> Outcome:
        assert lane.next == self.passed[lane.end].next, "it begins where its last activity ended"
        size, count = self.plan.block_size, self._count(lane)
        following = lane.next + count
        staged = min(self.size, following * size) - lane.next * size
        self.requests += count
        self.passed[lane.end] = Lane(following, lane.end, lane.staged + staged, MAX_FLOW)
        return Outcome(Verdict.STAGING, lanes=(self.passed[lane.end],))


def _with_lane(answer: Answer, lane: Lane) -> Answer:
    """The answer with its lane, as an activity gives it that stages nothing."""
    if isinstance(answer, Outcome) and answer.verdict is Verdict.RETRYABLE:
        return replace(answer, lanes=(replace(lane, due=None, failures=0),))
    return answer


@dataclass
class Timed(Harness):
    """A harness whose activities take time: whatever ends first is delivered first."""

    blob: Blob = field(default_factory=lambda: Blob(0))
    spans: list[tuple[str, Run, datetime, datetime]] = field(default_factory=list)
    payloads: list[int] = field(default_factory=list)
    _begun: dict[int, tuple[Decision, datetime]] = field(default_factory=dict)

    def next_answer(self) -> Event:
        decision = min(self.open_decisions, key=self._end_of)
        self.open_decisions.remove(decision)
        if isinstance(decision, Timer):
            return self._fire(decision)
        self.now = max(self.now, self._end_of(decision))
        self.payloads.append(len(decision.data.encode()))
        answer = self._run_activity(decision)
        step, run = self.calls[-1]
        self.spans.append((step, run, self._begun[id(decision)][1], self.now))
        self.payloads.append(len(json.dumps(answer.get("Result") or "").encode()))
        return answer

    def _conclude(self, result: Result, inbound: int) -> Harness:
        found = super()._conclude(result, inbound)
        for decision in self.open_decisions:
            self._begun.setdefault(id(decision), (decision, self.now))  # kept, so that its id stays its own
        return found

    def _end_of(self, decision: Decision) -> datetime:
        if isinstance(decision, Timer):
            return clock.parse(decision.fire_at)
        run = codec.decode(Run, decision.data)
        step = decision.name.removeprefix("transfer_")
        return self._begun[id(decision)][1] + timedelta(seconds=self.blob.duration(step, run))

    def spans_of(self, end: int) -> list[tuple[datetime, datetime]]:
        """When the activities of a lane began and ended."""
        return [(begun, ended) for step, run, begun, ended in self.spans if step == "stage" and run.lanes[0].end == end]


MakeTimed = Callable[..., Timed]


@pytest.fixture
def make_timed(monkeypatch: pytest.MonkeyPatch) -> MakeTimed:
    """Make a harness of a blob."""
    made: list[Timed] = []

    def make(blob: Blob, run: Run = RUN) -> Timed:
        made.append(Timed(run, blob.answer, NOW, blob=blob))
        return made[-1]

    monkeypatch.setattr(clock, "now", lambda: made[-1].now if made else NOW)
    return make


def assert_bounds(harness: Timed) -> None:
    assert max(harness.history_rows) < MOST_ROWS
    assert max(harness.payloads) < 4_096
    assert all(len(json.dumps(json.dumps(given))) < 4_096 for given in harness.inputs)
    for status in [*harness.statuses, harness.output]:
        assert len(json.dumps(status)) < 4_096
        assert NAME not in json.dumps(status)
    assert harness.open_decisions == []  # an open timer would keep the instance running


def ends(harness: Timed) -> list[int]:
    """The lanes, named by their ends, whose activities were called, in order."""
    return [run.lanes[0].end for step, run in harness.calls if step == "stage"]


@pytest.mark.parametrize(("size", "lanes"), [(50 * 1024**3, 1), (TIB, 2), (4 * TIB, 4)])
def test_lanes_stage_at_the_same_time_and_start_commits(make_timed: MakeTimed, size: int, lanes: int) -> None:
    blob = Blob(size)
    harness = make_timed(blob)
    harness.run()
    assert (harness.output["state"], harness.output["engine"]) == ("verified", "blocks")
    assert harness.steps == ["start", *["stage"] * (len(harness.calls) - 2), "start"]
    assert len(set(ends(harness))) == lanes
    assert blob.requests == blob.plan.count
    alone = blob.plan.count / MAX_FLOW * blob.seconds_of_a_block
    assert (harness.now - NOW).total_seconds() < 1.2 * alone / lanes + 60
    assert_bounds(harness)


def test_every_activity_gets_its_own_lane_only(make_timed: MakeTimed) -> None:
    harness = make_timed(Blob(4 * TIB))
    harness.run()
    for step, run in harness.calls:
        assert len(run.lanes) == (1 if step == "stage" else 0)


def test_the_status_shows_the_bytes_after_every_activity(make_timed: MakeTimed) -> None:
    harness = make_timed(Blob(TIB))
    harness.run()
    shown = [status["copied"] for status in harness.statuses]
    assert shown == sorted(shown)
    assert len(set(shown)) >= harness.steps.count("stage")
    assert shown[-1] == TIB
    assert {status["state"] for status in harness.statuses[1:-1]} <= {"accepted", "copying"}


def test_all_lanes_begin_each_round_at_the_same_time(make_timed: MakeTimed) -> None:
    """The extension would not schedule the next activity of one lane before that of another has ended."""
    harness = make_timed(Blob(4 * TIB))
    harness.run()
    begun = [tuple(span[0] for span in harness.spans_of(end)) for end in set(ends(harness))]
    assert len(set(begun)) == 1
    gaps = [right[0] - left[1] for left, right in pairwise(harness.spans_of(ends(harness)[0]))]
    assert set(gaps) == {timedelta()}


def test_a_slow_lane_delays_the_others_by_its_own_activity_at_most(make_timed: MakeTimed) -> None:
    blob = Blob(TIB)
    plain, slow = blob.duration, blocks.lanes(blob.plan, {}, Flow(MAX_FLOW))[0].end
    blob.duration = lambda step, run: plain(step, run) * (3 if run.lanes and run.lanes[0].end == slow else 1)  # type: ignore[method-assign]
    harness = make_timed(blob)
    harness.run()
    assert (harness.now - NOW).total_seconds() < 3.2 * blob.plan.count / 2 / MAX_FLOW * blob.seconds_of_a_block + 60
    assert_bounds(harness)


class TestTrouble:
    @pytest.mark.parametrize("answer", [THROTTLED, LOST], ids=["retryable", "lost"])
    @pytest.mark.parametrize("size", [50 * 1024**3, TIB, 4 * TIB])
    def test_a_lane_that_fails_waits_alone(self, make_timed: MakeTimed, size: int, answer: Answer) -> None:
        """The others go on without a pause."""
        blob = Blob(size)
        failing, *others = (lane.end for lane in blocks.lanes(blob.plan, {}, Flow(MAX_FLOW)))
        blob.trouble[failing] = [answer] * 7
        harness = make_timed(blob)
        harness.run()
        assert harness.output["state"] == "verified"
        assert blob.requests == blob.plan.count
        waits = [(right[0] - left[1]).total_seconds() for left, right in pairwise(harness.spans_of(failing)[:8])]
        for count, wait in enumerate(waits, 1):
            assert wait >= policies.backoff(count, f"{TRANSFER.id} {failing}") - 1
        for end in others:
            assert {right[0] - left[1] for left, right in pairwise(harness.spans_of(end))} == {timedelta()}
        assert_bounds(harness)

    def test_if_all_lanes_wait_the_run_waits_for_the_first_and_shows_until_when(self, make_timed: MakeTimed) -> None:
        blob = Blob(TIB)
        lanes = blocks.lanes(blob.plan, {}, Flow(MAX_FLOW))
        for lane in lanes:
            blob.trouble[lane.end] = [THROTTLED]
        harness = make_timed(blob)
        while not harness.custom_status.get("next_check_at"):
            harness.step()
        assert [type(decision) for decision in harness.open_decisions] == [Timer]
        harness.run()
        assert harness.pauses[0] <= min(policies.backoff(1, f"{TRANSFER.id} {lane.end}") for lane in lanes)
        assert harness.output["state"] == "verified"
        assert_bounds(harness)

    @pytest.mark.parametrize(("answer", "reason"), [(THROTTLED, "throttled"), (LOST, "internal")])
    def test_a_lane_that_fails_eight_times_ends_the_run(
        self, make_timed: MakeTimed, answer: Answer, reason: str
    ) -> None:
        blob = Blob(TIB)
        failing = blocks.lanes(blob.plan, {}, Flow(MAX_FLOW))[0].end
        blob.trouble[failing] = [answer] * 99
        harness = make_timed(blob)
        harness.run()
        assert (harness.output["state"], harness.output["reason"]) == ("dead_lettered", reason)
        assert ends(harness).count(failing) == MAX_COPY_ATTEMPTS
        assert harness.steps[-3:] == ["record", "clean", "close"]
        assert_bounds(harness)

    def test_eight_waits_in_all_lanes_keep_the_history_short(self, make_timed: MakeTimed) -> None:
        blob = Blob(4 * TIB)
        for number, lane in enumerate(blocks.lanes(blob.plan, {}, Flow(MAX_FLOW))):
            seven: list[Answer] = [THROTTLED, LOST, THROTTLED, LOST, THROTTLED, LOST, THROTTLED]
            blob.trouble[lane.end] = seven[: 6 + number % 2]
        harness = make_timed(blob)
        harness.run()
        assert harness.output["state"] == "verified"
        assert_bounds(harness)

    def test_a_block_that_start_must_decide_about_ends_the_lanes(self, make_timed: MakeTimed) -> None:
        """All activities have ended before `start` begins, because its result is what counts then."""
        blob = Blob(4 * TIB)
        blob.trouble[blocks.lanes(blob.plan, {}, Flow(MAX_FLOW))[2].end] = [AGAIN]
        harness = make_timed(blob)
        while harness.steps.count("start") < 1:
            harness.step()
        blob.starts = [SUPERSEDED]
        harness.run()
        assert harness.steps == ["start", *["stage"] * 4, "start", "record", "clean"]
        assert harness.output["state"] == "superseded"
        assert_bounds(harness)

    def test_blocks_that_another_writer_dropped_are_staged_again(self, make_timed: MakeTimed) -> None:
        blob = Blob(TIB)
        harness = make_timed(blob)
        while not blob.passed or not all(lane.done for lane in blob.passed.values()):
            harness.step()
        blob.passed = {}
        harness.run()
        assert harness.output["state"] == "verified"
        assert blob.requests == 2 * blob.plan.count
        assert harness.calls[-1][1].copy_attempts == 2

    def test_blocks_that_are_always_dropped_are_staged_eight_times(self, make_timed: MakeTimed) -> None:
        blob = Blob(50 * 1024**3)
        harness = make_timed(blob)
        while harness.running:
            harness.step()
            if blob.passed and all(lane.done for lane in blob.passed.values()):
                blob.passed = {}
        assert (harness.output["state"], harness.output["reason"]) == ("dead_lettered", "target_conflict")
        assert blob.requests == MAX_COPY_ATTEMPTS * blob.plan.count
        assert_bounds(harness)

    def test_at_the_deadline_it_is_dead_lettered(self, make_timed: MakeTimed) -> None:
        harness = make_timed(Blob(4 * TIB), replace(RUN, deadline=timedelta(minutes=10)))
        harness.run()
        assert (harness.output["state"], harness.output["reason"]) == ("dead_lettered", "deadline_exceeded")
        assert harness.now - NOW < timedelta(minutes=15)


class TestCancel:
    @pytest.mark.parametrize("size", [50 * 1024**3, TIB, 4 * TIB])
    @pytest.mark.parametrize("moment", range(1, 30, 4))
    def test_while_lanes_stage_no_activity_acts_after_the_end(
        self, make_timed: MakeTimed, size: int, moment: int
    ) -> None:
        harness = make_timed(Blob(size))
        for _ in range(moment):
            if harness.running:
                harness.step()
        before = harness.custom_status.get("state")
        harness.cancel()
        harness.run()
        assert harness.output["state"] == ("cancelled" if before in {"accepted", "copying"} else "verified")
        if harness.output["state"] == "cancelled":
            recorded = harness.steps.index("record")
            assert harness.steps[recorded:] == ["record", "clean"]
        assert_bounds(harness)

    def test_running_activities_are_awaited_and_no_further_one_begins(self, make_timed: MakeTimed) -> None:
        harness = make_timed(Blob(4 * TIB))
        while "stage" not in harness.steps:
            harness.step()
        begun = harness.steps.count("stage") + len(harness.open_decisions)
        harness.cancel()
        assert harness.custom_status["cancelling"] is True
        harness.run()
        assert harness.steps.count("stage") == begun
        assert harness.output["state"] == "cancelled"

    def test_while_a_lane_waits_its_timer_is_cancelled(self, make_timed: MakeTimed) -> None:
        blob = Blob(50 * 1024**3)
        blob.trouble[blob.plan.count] = [THROTTLED] * 3
        harness = make_timed(blob)
        harness.step().step().step()
        assert [type(decision) for decision in harness.open_decisions] == [Timer]
        harness.cancel()
        assert len(harness.inputs) == 2  # the cancelled timer stayed in the old execution
        assert harness.run().output["state"] == "cancelled"
        assert harness.steps == ["start", "stage", "record", "clean"]

    def test_several_cancels_keep_the_history_short(self, make_timed: MakeTimed) -> None:
        for moment in range(2, 12):
            harness = make_timed(Blob(4 * TIB))
            for _ in range(moment):
                harness.step()
            harness.cancel(3).run()
            assert harness.output["state"] == "cancelled"
            assert max(harness.history_rows) <= MOST_ROWS

    def test_a_cancel_survives_continue_as_new(self, make_timed: MakeTimed) -> None:
        """It arrives with the last answer of an execution."""
        harness = make_timed(Blob(4 * TIB))
        while harness.steps.count("stage") < 7:  # of eight that fit into the first execution
            harness.step()
        harness.deliver(harness.cancel_event(), harness.next_answer())
        assert harness.run().output["state"] == "cancelled"


def facts(harness: Timed) -> dict[str, Any]:
    return {
        "history rows at most": max(harness.history_rows),
        "payload bytes at most": max([*harness.payloads, *(len(json.dumps(json.dumps(i))) for i in harness.inputs)]),
        "executions": len(harness.inputs),
        "activities": len(harness.calls),
        "hours": round((harness.now - NOW).total_seconds() / 3600, 1),
    }


@pytest.mark.parametrize("tebibytes", [1, 190])
def test_history_and_payload_stay_bounded_to_190_tib(
    make_timed: MakeTimed, capsys: pytest.CaptureFixture[str], tebibytes: int
) -> None:
    """32 requests in flight, each of 30 MB/s."""
    blob = Blob(tebibytes * TIB)
    harness = make_timed(blob)
    harness.run(limit=10_000)
    with capsys.disabled():
        shown = ", ".join(f"{value:,} {name}" for name, value in facts(harness).items())
        sys.stdout.write(f"\n  {tebibytes} TiB by blocks: {shown}\n")
    assert (harness.output["state"], harness.output["copied"]) == ("verified", tebibytes * TIB)
    assert blob.requests == blob.plan.count
    assert max(harness.history_rows) < MOST_ROWS
    assert facts(harness)["payload bytes at most"] < 4_096
    assert len(harness.calls) < 2_500
    assert_bounds(harness)


def test_a_very_large_blob_with_a_busy_service_stays_bounded(make_timed: MakeTimed) -> None:
    blob = Blob(20 * TIB)
    for lane in blocks.lanes(blob.plan, {}, Flow(MAX_FLOW)):
        blob.trouble[lane.end] = [THROTTLED] * 7
    harness = make_timed(blob)
    harness.run(limit=10_000)
    assert harness.output["state"] == "verified"
    assert_bounds(harness)
