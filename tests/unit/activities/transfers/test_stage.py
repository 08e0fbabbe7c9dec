"""The `stage` step on the in-memory fakes: one activity of one lane (rule 20)."""

import asyncio
from dataclasses import dataclass, field, replace

import pytest

from activities.transfers.stage import run_stage
from adapters.translation import DEAD_LETTERS_READ, TARGET_STAGE, TARGET_STAGED, Request, error_for_answer
from ports.blobs import CopySource
from rules.errors import CANNOT_VERIFY_SOURCE, Reason
from rules.routes.model import Blob, Engine
from rules.transfers import blocks
from rules.transfers.blocks import MAX_FLOW, Block
from rules.transfers.model import FIRST_FLOW, Ended, Ending, Kind, Lane, Outcome, Run, Step, Transfer, Verdict
from rules.transfers.policies import STAGING_TIME
from rules.transfers.states import State
from tests.fakes import Item
from tests.unit.activities.transfers.conftest import SIZES
from tests.unit.samples import NOW, ROUTE
from tests.unit.world import World

CONTENT = bytes(number % 251 for number in range(6_350))
COUNT = 64  # blocks of 100 bytes, the last of 50
WHOLE = Lane(0, COUNT)
SERVER_BUSY = error_for_answer(TARGET_STAGE, 503, "ServerBusy")


async def stage(world: World, transfer: Transfer, lane: Lane = WHOLE, **changes: object) -> Outcome:
    run = Run(transfer, NOW, step=Step.STAGE, engine=Engine.BLOCKS, size=len(CONTENT), lanes=(lane,))
    return await run_stage(world.ports, replace(run, **changes))  # type: ignore[arg-type]


def staged_indexes(world: World, transfer: Transfer) -> list[int]:
    return sorted(int(block[-5:]) for block in world.storage.staged.get(transfer.target_blob, {}))


def stages(world: World) -> int:
    """How many stage requests were sent."""
    return world.request_names.count("target.stage")


def refuse_from(world: World, number: int, error: Exception = SERVER_BUSY) -> None:
    """Answer every stage request from this one on with an error."""
    world.faults.append(lambda request, _: error if request == TARGET_STAGE and stages(world) >= number else None)


def slow_blocks(world: World, seconds: float) -> None:
    """Let each stage request take this long on the clock."""
    world.faults.append(lambda request, _: world.pass_time(seconds) if request == TARGET_STAGE else None)


@dataclass
class Wire:
    """Makes the requests of a world's target take several turns of the event loop, and counts those in flight.

    From request number `hang_from` on, they never end.
    """

    world: World
    hang_from: int = 10**9
    in_flight: int = 0
    most: int = 0
    sent: int = 0
    hanging: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._stage = self.world.target.stage
        self.world.target.stage = self.stage  # type: ignore[method-assign]

    async def stage(self, target: Blob, source: CopySource, etag: str, block: Block) -> None:
        self.in_flight, self.sent = self.in_flight + 1, self.sent + 1
        self.most = max(self.most, self.in_flight)
        try:
            if self.sent >= self.hang_from:
                self.hanging.set()
                await asyncio.Event().wait()
            for _ in range(3):
                await asyncio.sleep(0)
            await self._stage(target, source, etag, block)
        finally:
            self.in_flight -= 1


class TestLane:
    async def test_it_stages_the_blocks_of_its_lane_in_order(self, small_blocks: World) -> None:
        transfer = small_blocks.put(content=CONTENT)
        outcome = await stage(small_blocks, transfer, Lane(4, 9, staged=400))
        assert outcome == Outcome(Verdict.STAGING, lanes=(Lane(9, 9, staged=900),))
        assert small_blocks.request_names == ["dead_letters.read", "target.staged", *["target.stage"] * 5]
        assert staged_indexes(small_blocks, transfer) == [4, 5, 6, 7, 8]
        assert small_blocks.at(transfer.target_blob) is None

    async def test_the_staged_blocks_are_the_bytes_of_the_source(self, small_blocks: World) -> None:
        transfer = small_blocks.put(content=CONTENT)
        await stage(small_blocks, transfer)
        staged = small_blocks.storage.staged[transfer.target_blob]
        plan = blocks.plan(transfer, len(CONTENT), SIZES)
        assert b"".join(staged[block] for block in plan.ids) == CONTENT

    async def test_what_is_staged_is_not_staged_again(self, small_blocks: World) -> None:
        transfer = small_blocks.put(content=CONTENT)
        await stage(small_blocks, transfer, Lane(0, 10))
        await stage(small_blocks, transfer, Lane(20, 30))
        small_blocks.requests.clear()
        outcome = await stage(small_blocks, transfer)
        assert stages(small_blocks) == COUNT - 20
        assert outcome.lanes[0].done
        assert outcome.lanes[0].staged == len(CONTENT)

    async def test_a_repeated_activity_stages_nothing(self, small_blocks: World) -> None:
        transfer = small_blocks.put(content=CONTENT)
        await stage(small_blocks, transfer)
        small_blocks.requests.clear()
        assert (await stage(small_blocks, transfer)).lanes[0].done
        assert small_blocks.request_names == ["dead_letters.read", "target.staged"]

    async def test_two_lanes_at_once_stage_every_block_once(self, small_blocks: World) -> None:
        transfer = small_blocks.put(content=CONTENT)
        wire = Wire(small_blocks)
        outcomes = await asyncio.gather(
            stage(small_blocks, transfer, Lane(0, 32)), stage(small_blocks, transfer, Lane(32, COUNT))
        )
        assert [outcome.lanes[0].done for outcome in outcomes] == [True, True]
        assert wire.sent == COUNT

    async def test_the_target_keeps_its_content(self, small_blocks: World) -> None:
        transfer = small_blocks.put(content=CONTENT)
        etag = small_blocks.put_copy(replace(transfer, etag="0xOLD"), b"older")
        await stage(small_blocks, transfer)
        item = small_blocks.storage.blobs[transfer.target_blob]
        assert (item.content, item.etag) == (b"older", etag)


class TestAllowed:
    async def test_an_ended_attempt_stages_nothing_and_start_decides(self, small_blocks: World) -> None:
        transfer = small_blocks.put(content=CONTENT)
        await small_blocks.dead_letters.write_ended(Ended(transfer.id, 1, Ending(State.CANCELLED)))
        small_blocks.requests.clear()
        for attempt in (0, 1):
            assert await stage(small_blocks, transfer, attempt=attempt) == Outcome(Verdict.AGAIN)
        assert set(small_blocks.request_names) == {"dead_letters.read"}
        assert (await stage(small_blocks, transfer, attempt=2)).lanes[0].done

    async def test_without_a_current_route_it_is_not_allowed_and_sends_no_request(self, small_blocks: World) -> None:
        transfer = small_blocks.put(content=CONTENT)
        for tampered in (replace(transfer, route="another"), replace(transfer, name="secrets/key")):
            outcome = await stage(small_blocks, tampered)
            assert (outcome.verdict, outcome.reason) == (Verdict.PERMANENT, Reason.NOT_ALLOWED)
        assert small_blocks.requests == []

    async def test_the_route_of_the_run_is_looked_up_each_time(self, small_blocks: World) -> None:
        transfer = small_blocks.put(content=CONTENT)
        changed = replace(ROUTE, target=replace(ROUTE.target, prefix="new/"))
        small_blocks.ports = replace(small_blocks.ports, routes=(changed,))
        assert (await stage(small_blocks, transfer)).reason is Reason.NOT_ALLOWED


class TestFlow:
    @pytest.mark.parametrize("first", [1, FIRST_FLOW, MAX_FLOW])
    async def test_requests_in_flight_never_exceed_the_flow(self, small_blocks: World, first: int) -> None:
        transfer = small_blocks.put(content=CONTENT)
        wire = Wire(small_blocks)
        (lane,) = (await stage(small_blocks, transfer, replace(WHOLE, flow=first))).lanes
        assert first <= wire.most <= lane.flow <= MAX_FLOW
        assert wire.in_flight == 0

    async def test_the_flow_grows_by_one_each_round_and_travels_in_the_outcome(self, small_blocks: World) -> None:
        transfer = small_blocks.put(content=CONTENT)
        (lane,) = (await stage(small_blocks, transfer, Lane(0, 8 + 9 + 10))).lanes
        assert lane.flow == FIRST_FLOW + 3
        (lane,) = (await stage(small_blocks, transfer, Lane(30, 40, flow=lane.flow))).lanes
        assert lane.flow == FIRST_FLOW + 3

    async def test_a_burst_of_refusals_halves_it_once_and_every_block_is_staged(self, small_blocks: World) -> None:
        transfer = small_blocks.put(content=CONTENT)
        small_blocks.refuse(TARGET_STAGE, SERVER_BUSY, times=8)
        wire = Wire(small_blocks)
        outcome = await stage(small_blocks, transfer, Lane(0, 12))
        assert outcome == Outcome(Verdict.STAGING, lanes=(Lane(12, 12, staged=1_200, flow=6),))
        assert (wire.sent, wire.most) == (20, 8)

    @pytest.mark.parametrize("status", [500, 503])
    @pytest.mark.parametrize("code", ["", CANNOT_VERIFY_SOURCE])
    async def test_at_one_and_still_refused_it_is_throttled_and_keeps_its_progress(
        self, small_blocks: World, status: int, code: str
    ) -> None:
        """The service or the source is busy."""
        transfer = small_blocks.put(content=CONTENT)
        refuse_from(small_blocks, 21, error_for_answer(TARGET_STAGE, status, code))
        wire = Wire(small_blocks)
        outcome = await stage(small_blocks, transfer)
        assert (outcome.verdict, outcome.reason) == (Verdict.RETRYABLE, Reason.THROTTLED)
        assert outcome.lanes == (Lane(20, COUNT, staged=2_000, flow=1),)
        assert str(status) in outcome.detail
        assert wire.sent - 20 <= 2 * 11
        assert wire.in_flight == 0

    async def test_a_missing_answer_counts_as_busy(self, small_blocks: World) -> None:
        """A late block changes nothing, so the request may be repeated."""
        transfer = small_blocks.put(content=CONTENT)
        small_blocks.lose_answer(TARGET_STAGE, times=3)
        outcome = await stage(small_blocks, transfer)
        assert (outcome.verdict, outcome.lanes[0].done) == (Verdict.STAGING, True)
        assert stages(small_blocks) == COUNT + 3

    async def test_it_recovers_in_the_next_activity(self, small_blocks: World) -> None:
        transfer = small_blocks.put(content=CONTENT)
        small_blocks.refuse(TARGET_STAGE, SERVER_BUSY, times=64)
        (lane,) = (await stage(small_blocks, transfer)).lanes
        assert lane.flow == 1
        small_blocks.faults.clear()
        (lane,) = (await stage(small_blocks, transfer, lane)).lanes
        assert lane.done
        assert lane.flow > FIRST_FLOW


class TestTime:
    async def test_no_block_begins_after_100_seconds(self, small_blocks: World) -> None:
        transfer = small_blocks.put(content=CONTENT)
        slow_blocks(small_blocks, 30)
        outcome = await stage(small_blocks, transfer, replace(WHOLE, flow=1))
        begun = stages(small_blocks)
        assert outcome.verdict is Verdict.STAGING
        assert outcome.lanes[0].next == begun
        # The flow grows by one each round, so at most three are in flight by then.
        assert STAGING_TIME / 30 <= begun <= STAGING_TIME / 30 + 3

    async def test_the_time_spent_on_the_list_counts(self, small_blocks: World) -> None:
        transfer = small_blocks.put(content=CONTENT)
        small_blocks.before_next(TARGET_STAGED, lambda: small_blocks.pass_time(STAGING_TIME + 1))
        outcome = await stage(small_blocks, transfer)
        assert outcome == Outcome(Verdict.STAGING, lanes=(WHOLE,))
        assert stages(small_blocks) == 0

    @pytest.mark.parametrize("seconds", [7, 11, 99])
    async def test_one_activity_after_another_stages_the_whole_lane(self, small_blocks: World, seconds: int) -> None:
        transfer = small_blocks.put(content=CONTENT)
        slow_blocks(small_blocks, seconds)
        lane, activities = WHOLE, 0
        while not lane.done:
            before = lane.next
            (lane,) = (await stage(small_blocks, transfer, lane)).lanes
            activities += 1
            assert lane.next > before
        assert stages(small_blocks) == COUNT
        assert lane.staged == len(CONTENT)
        assert activities > 1


class TestDeath:
    @pytest.mark.parametrize("moment", range(1, COUNT + 1, 7))
    @pytest.mark.parametrize("flow", [1, FIRST_FLOW, MAX_FLOW])
    async def test_at_most_the_blocks_in_flight_are_staged_again(
        self, small_blocks: World, moment: int, flow: int
    ) -> None:
        """The worker is killed while requests hang; none of them takes effect."""
        transfer = small_blocks.put(content=CONTENT)
        lane = replace(WHOLE, flow=flow)
        wire = Wire(small_blocks, hang_from=moment)
        activity = asyncio.create_task(stage(small_blocks, transfer, lane))
        await wire.hanging.wait()
        for _ in range(500):  # whatever does not hang ends
            await asyncio.sleep(0)
        in_flight = wire.in_flight
        activity.cancel()
        with pytest.raises(asyncio.CancelledError):
            await activity
        assert len(staged_indexes(small_blocks, transfer)) == wire.sent - in_flight
        wire.hang_from = 10**9
        assert (await stage(small_blocks, transfer, lane)).lanes[0].done
        assert wire.sent - COUNT <= in_flight <= MAX_FLOW

    async def test_a_block_that_took_effect_after_the_death_is_not_staged_again(self, small_blocks: World) -> None:
        transfer = small_blocks.put(content=CONTENT)
        await stage(small_blocks, transfer, Lane(0, 8))  # the late requests of the dead activity
        small_blocks.requests.clear()
        assert (await stage(small_blocks, transfer)).lanes[0].done
        assert stages(small_blocks) == COUNT - 8


class TestStartDecides:
    async def test_about_a_source_that_has_changed(self, small_blocks: World) -> None:
        transfer = small_blocks.put(content=CONTENT)
        small_blocks.before_next(TARGET_STAGE, lambda: small_blocks.put(content=CONTENT[::-1]))
        outcome = await stage(small_blocks, transfer)
        assert (outcome.verdict, outcome.reason, outcome.lanes) == (Verdict.AGAIN, None, (WHOLE,))
        assert "412" in outcome.detail
        assert staged_indexes(small_blocks, transfer) == []
        assert stages(small_blocks) <= FIRST_FLOW

    async def test_about_a_source_that_changes_midway(self, small_blocks: World) -> None:
        """No block of the newer version is staged under an id of the older one."""
        transfer = small_blocks.put(content=CONTENT)

        def overwrite(request: Request, _subject: str) -> None:
            if request == TARGET_STAGE and stages(small_blocks) == 20:
                small_blocks.put(content=CONTENT[::-1])

        small_blocks.faults.append(overwrite)
        outcome = await stage(small_blocks, transfer)
        assert outcome.verdict is Verdict.AGAIN
        assert staged_indexes(small_blocks, transfer) == list(range(19))
        assert outcome.lanes[0].next == 19

    @pytest.mark.parametrize("status", [401, 403, 404])
    async def test_about_a_source_that_blocks_cannot_read(self, small_blocks: World, status: int) -> None:
        transfer = small_blocks.put(content=CONTENT)
        small_blocks.refuse(TARGET_STAGE, error_for_answer(TARGET_STAGE, status, CANNOT_VERIFY_SOURCE))
        outcome = await stage(small_blocks, transfer)
        assert (outcome.verdict, outcome.lanes) == (Verdict.AGAIN, (WHOLE,))

    @pytest.mark.parametrize(
        ("item", "code"),
        [
            (Item(b"theirs", made_by_lake=True), "BlobOperationNotSupported"),
            (Item(b"theirs", kind=Kind.APPEND), "InvalidBlobType"),
        ],
    )
    async def test_about_a_target_that_takes_no_blocks(self, small_blocks: World, item: Item, code: str) -> None:
        transfer = small_blocks.put(content=CONTENT)
        small_blocks.storage.put(transfer.target_blob, item)
        outcome = await stage(small_blocks, transfer)
        assert outcome.verdict is Verdict.AGAIN
        assert code in outcome.detail
        assert stages(small_blocks) <= FIRST_FLOW

    async def test_about_an_unfinished_upload_of_another_client(self, small_blocks: World) -> None:
        transfer = small_blocks.put(content=CONTENT)
        small_blocks.storage.stage(transfer.target_blob, "short", b"theirs")
        outcome = await stage(small_blocks, transfer)
        assert outcome.verdict is Verdict.AGAIN
        assert "InvalidBlobOrBlock" in outcome.detail


class TestFailure:
    @pytest.mark.parametrize("request_", [DEAD_LETTERS_READ, TARGET_STAGED])
    async def test_a_failed_read_is_retryable_and_keeps_the_lane(self, small_blocks: World, request_: Request) -> None:
        transfer, lane = small_blocks.put(content=CONTENT), Lane(5, COUNT, staged=500, flow=3, failures=2)
        small_blocks.refuse(request_, error_for_answer(request_, 503, "ServerBusy"))
        outcome = await stage(small_blocks, transfer, lane)
        assert (outcome.verdict, outcome.reason, outcome.lanes) == (Verdict.RETRYABLE, Reason.THROTTLED, (lane,))
        assert stages(small_blocks) == 0

    async def test_a_missing_container_is_permanent(self, small_blocks: World) -> None:
        transfer = small_blocks.put(content=CONTENT)
        small_blocks.storage.containers.remove((ROUTE.target.endpoint, ROUTE.target.container))
        outcome = await stage(small_blocks, transfer)
        assert (outcome.verdict, outcome.reason) == (Verdict.PERMANENT, Reason.TARGET_UNWRITABLE)
