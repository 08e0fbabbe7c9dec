"""The `start` step of the engine `blocks` on the in-memory fakes: its requests and its outcomes (rule 20)."""

from dataclasses import replace
from datetime import timedelta

import pytest

from activities.transfers.start import run_start
from adapters.translation import (
    SOURCE_HEAD,
    TARGET_COMMIT,
    TARGET_HEAD,
    TARGET_STAGE,
    TARGET_STAGED,
    Request,
    error_for_answer,
    error_for_no_answer,
)
from rules.errors import CANNOT_VERIFY_SOURCE, Reason
from rules.routes.model import Engine, EnginePreference
from rules.transfers import blocks, identity, lifecycle
from rules.transfers.decisions import RECEIPT_SOURCE_ETAG, RECEIPT_TRANSFER_ID
from rules.transfers.model import (
    FIRST_FLOW,
    Ended,
    Ending,
    Kind,
    Lane,
    Outcome,
    Run,
    Step,
    Successor,
    Transfer,
    Verdict,
)
from rules.transfers.policies import MAX_COPY_ATTEMPTS, STAGING_TIME
from rules.transfers.states import State
from tests.fakes import Item
from tests.unit.activities.transfers.conftest import SIZES
from tests.unit.samples import NAME, NOW, ROUTE
from tests.unit.world import World, with_engine

CONTENT = bytes(number % 251 for number in range(300))
BLOCKS = 10  # of 32 bytes, the last of 12
LARGE = bytes(number % 251 for number in range(2_050))
LARGE_BLOCKS = 21  # of 100 bytes, the last of 50
LOOK = ["target.head", "source.head", "dead_letters.read"]
BLIND_LOOK = ["source.head", "dead_letters.read"]
VERIFIED = Outcome(Verdict.VERIFIED, engine=Engine.BLOCKS, size=len(CONTENT))


async def start(world: World, transfer: Transfer, **run: object) -> Outcome:
    return await run_start(world.ports, replace(Run(transfer, NOW), **run))  # type: ignore[arg-type]


def plan_of(transfer: Transfer, content: bytes = CONTENT) -> blocks.Plan:
    return blocks.plan(transfer, len(content), SIZES)


def stage_as_outsider(world: World, transfer: Transfer, *indexes: int, content: bytes = CONTENT) -> None:
    """Stage these blocks, as an activity that was killed has."""
    for block in map(plan_of(transfer, content).block, indexes):
        world.storage.stage(transfer.target_blob, block.id, content[block.offset : block.offset + block.size])


def overwrite_target(world: World, transfer: Transfer) -> None:
    world.storage.put(transfer.target_blob, Item(b"theirs"))


def content_at_target(world: World, transfer: Transfer) -> bytes | None:
    item = world.at(transfer.target_blob)
    return item.content if item else None


def copy_at_target(world: World, transfer: Transfer) -> str:
    """Return the id of the copy at the target."""
    item = world.at(transfer.target_blob)
    assert item is not None
    assert item.copy is not None
    return item.copy.id


def world_with(engine: EnginePreference, **fields: object) -> World:
    world = World((with_engine(engine, **fields),))
    world.ports = replace(world.ports, sizes=SIZES)
    return world


class TestNewBlob:
    async def test_its_blocks_are_staged_and_committed_after_another_look(self, small_blocks: World) -> None:
        world = small_blocks
        transfer = world.put(content=CONTENT)
        assert await start(world, transfer) == VERIFIED
        assert world.request_names == [
            *BLIND_LOOK,
            "target.staged",
            *["target.stage"] * BLOCKS,
            *LOOK,
            "target.commit",
        ]
        assert content_at_target(world, transfer) == CONTENT
        assert world.storage.staged == {}

    async def test_a_blob_up_to_the_limit_of_sync_needs_one_copy(self, small_blocks: World) -> None:
        transfer = small_blocks.put(content=CONTENT[:256])
        assert (await start(small_blocks, transfer)).engine is Engine.SYNC
        assert small_blocks.target_writes == ["target.copy"]

    async def test_within_one_account_it_is_copied_by_async(self) -> None:
        same_account = replace(ROUTE, target=replace(ROUTE.target, endpoint=ROUTE.source.endpoint))
        world = World((same_account,))
        world.ports = replace(world.ports, sizes=SIZES)
        outcome = await start(world, world.put(content=CONTENT, route=same_account))
        assert (outcome.verdict, outcome.engine) == (Verdict.WAITING, Engine.ASYNC)

    async def test_an_empty_blob_commits_an_empty_list(self) -> None:
        world = world_with(EnginePreference.BLOCKS)
        transfer = world.put(content=b"")
        assert await start(world, transfer) == replace(VERIFIED, size=0)
        assert world.request_names == [*BLIND_LOOK, "target.staged", *LOOK, "target.commit"]
        assert content_at_target(world, transfer) == b""

    async def test_headers_metadata_tags_and_tier_arrive(self) -> None:
        world = world_with(EnginePreference.AUTO, tier="Cool")
        headers = {"content_type": "text/csv", "content_language": "de", "content_md5": "abc"}
        transfer = world.put(content=CONTENT, headers=headers, metadata={"Owner": "finance"}, tags={"team": "a"})
        outcome = await start(world, transfer)
        assert (outcome.verdict, outcome.note) == (Verdict.VERIFIED, "")
        item = world.storage.blobs[transfer.target_blob]
        assert (item.headers, item.tags, item.tier, item.kind) == (headers, {"team": "a"}, "Cool", Kind.BLOCK)
        assert item.metadata == {
            "Owner": "finance",
            RECEIPT_SOURCE_ETAG: transfer.etag,
            RECEIPT_TRANSFER_ID: transfer.id,
        }

    async def test_the_tier_of_the_source_arrives(self) -> None:
        world = world_with(EnginePreference.AUTO, tier="same")
        transfer = world.put(content=CONTENT, tier="Cold")
        await start(world, transfer)
        assert world.storage.blobs[transfer.target_blob].tier == "Cold"

    @pytest.mark.parametrize("kind", [Kind.APPEND, Kind.PAGE])
    async def test_a_blob_of_another_type_becomes_a_block_blob_with_a_note(self, kind: Kind) -> None:
        """Also with the tier, which only block blobs have."""
        world = world_with(EnginePreference.BLOCKS, tier="Cool")
        transfer = world.put(content=CONTENT, kind=kind)
        assert await start(world, transfer) == replace(
            VERIFIED, note=f"the target is a block blob, the source a {kind}"
        )
        item = world.storage.blobs[transfer.target_blob]
        assert (item.kind, item.tier, item.content) == (Kind.BLOCK, "Cool", CONTENT)

    async def test_metadata_that_leaves_no_space_for_the_receipt_is_unsupported(self, small_blocks: World) -> None:
        outcome = await start(small_blocks, small_blocks.put(content=CONTENT, metadata={"notes": "x" * 8_150}))
        assert (outcome.verdict, outcome.reason) == (Verdict.PERMANENT, Reason.UNSUPPORTED_BLOB)
        assert "target.commit" not in small_blocks.request_names

    async def test_content_headers_that_are_not_ascii_are_copied_by_async(self, small_blocks: World) -> None:
        """The SDK cannot set them byte for byte; a copy by the service keeps them."""
        transfer = small_blocks.put(content=CONTENT, headers={"content_disposition": 'filename="\u00fcbersicht.csv"'})
        outcome = await start(small_blocks, transfer)
        assert (outcome.verdict, outcome.engine, outcome.refused) == (Verdict.WAITING, Engine.ASYNC, ())
        assert small_blocks.target_writes == ["target.copy"]

    async def test_the_sas_expires_after_30_minutes(self, small_blocks: World) -> None:
        await start(small_blocks, small_blocks.put(content=CONTENT))
        assert [until for _, until in small_blocks.storage.signed.values()] == [NOW + timedelta(minutes=30)]


class TestResume:
    """The service's list of staged blocks is the only state."""

    @pytest.mark.parametrize("staged", [(0,), (0, 1, 2), (3, 7), range(9), range(BLOCKS)], ids=str)
    async def test_only_missing_blocks_are_staged(self, small_blocks: World, staged: tuple[int, ...]) -> None:
        transfer = small_blocks.put(content=CONTENT)
        stage_as_outsider(small_blocks, transfer, *staged)
        assert await start(small_blocks, transfer, first=False) == VERIFIED
        assert small_blocks.request_names.count("target.stage") == BLOCKS - len(staged)
        assert content_at_target(small_blocks, transfer) == CONTENT

    async def test_blocks_of_the_wrong_size_are_staged_again(self, small_blocks: World) -> None:
        transfer = small_blocks.put(content=CONTENT)
        stage_as_outsider(small_blocks, transfer, *range(BLOCKS))
        for index in (0, 9):
            small_blocks.storage.stage(transfer.target_blob, plan_of(transfer).block(index).id, b"short")
        assert await start(small_blocks, transfer) == VERIFIED
        assert small_blocks.request_names.count("target.stage") == 2
        assert content_at_target(small_blocks, transfer) == CONTENT

    async def test_blocks_of_another_version_are_not_committed(self, small_blocks: World) -> None:
        old = small_blocks.put(content=CONTENT)
        stage_as_outsider(small_blocks, old, *range(BLOCKS))
        new = small_blocks.put(content=CONTENT[::-1])
        assert await start(small_blocks, new) == VERIFIED
        assert small_blocks.request_names.count("target.stage") == BLOCKS
        assert content_at_target(small_blocks, new) == CONTENT[::-1]

    async def test_a_renamed_route_shares_the_staged_blocks(self, small_blocks: World) -> None:
        transfer = small_blocks.put(content=CONTENT)
        stage_as_outsider(small_blocks, transfer, *range(8))
        renamed = replace(ROUTE, name="renamed")
        small_blocks.ports = replace(small_blocks.ports, routes=(renamed,))
        assert await start(small_blocks, identity.transfer(renamed, NAME, transfer.etag)) == VERIFIED
        assert small_blocks.request_names.count("target.stage") == 2

    async def test_blocks_dropped_before_the_commit_are_staged_again(self, small_blocks: World) -> None:
        transfer = small_blocks.put(content=CONTENT)
        small_blocks.before_next(TARGET_COMMIT, lambda: small_blocks.storage.staged.pop(transfer.target_blob))
        assert await start(small_blocks, transfer) == VERIFIED
        stages = ["target.staged", *["target.stage"] * BLOCKS]
        assert small_blocks.request_names == [
            *[*BLIND_LOOK, *stages, *LOOK, "target.commit"],
            *[*LOOK, *stages, *LOOK, "target.commit"],
        ]

    async def test_one_block_dropped_before_the_commit_is_staged_again(self, small_blocks: World) -> None:
        transfer = small_blocks.put(content=CONTENT)
        lost = plan_of(transfer).block(4).id
        small_blocks.before_next(TARGET_COMMIT, lambda: small_blocks.storage.staged[transfer.target_blob].pop(lost))
        assert await start(small_blocks, transfer) == VERIFIED
        assert small_blocks.request_names.count("target.stage") == BLOCKS + 1

    async def test_a_commit_with_a_lost_answer_is_found(self, small_blocks: World) -> None:
        transfer = small_blocks.put(content=CONTENT)
        small_blocks.lose_answer(TARGET_COMMIT)
        assert (await start(small_blocks, transfer)).verdict is Verdict.VERIFIED
        assert small_blocks.target_writes == [*["target.stage"] * BLOCKS, "target.commit"]

    async def test_a_commit_without_effect_is_repeated_and_stages_nothing(self, small_blocks: World) -> None:
        transfer = small_blocks.put(content=CONTENT)
        small_blocks.refuse(TARGET_COMMIT, error_for_no_answer(TARGET_COMMIT), times=1)
        assert await start(small_blocks, transfer) == VERIFIED
        assert small_blocks.target_writes == [*["target.stage"] * BLOCKS, "target.commit", "target.commit"]


class TestAtomic:
    """The old target is readable and unchanged until the commit."""

    @pytest.mark.parametrize("moment", range(BLOCKS))
    async def test_a_source_overwritten_while_staging_is_superseded_and_the_target_is_intact(
        self, small_blocks: World, moment: int
    ) -> None:
        transfer = small_blocks.put(content=CONTENT)
        old = small_blocks.put_copy(replace(transfer, etag="0xOLD"), b"older")
        newer: list[Transfer] = []

        def overwrite(request: Request, _subject: str) -> None:
            if request == TARGET_STAGE and small_blocks.request_names.count("target.stage") == moment + 1:
                newer.append(small_blocks.put(content=b"newer"))

        small_blocks.faults.append(overwrite)
        outcome = await start(small_blocks, transfer)
        assert outcome.ending == Ending(State.SUPERSEDED, successor=Successor(newer[0].etag))
        item = small_blocks.storage.blobs[transfer.target_blob]
        assert (item.content, item.etag) == (b"older", old)
        assert "target.commit" not in small_blocks.request_names

    @pytest.mark.parametrize("request_", [TARGET_HEAD, SOURCE_HEAD])
    async def test_a_source_overwritten_after_staging_is_superseded(
        self, small_blocks: World, request_: Request
    ) -> None:
        """The last look before the commit finds it."""
        transfer = small_blocks.put(content=CONTENT)
        small_blocks.before_next(
            TARGET_STAGED, lambda: small_blocks.before_next(request_, lambda: small_blocks.put(content=b"newer"))
        )
        assert (await start(small_blocks, transfer)).verdict is Verdict.SUPERSEDED
        assert content_at_target(small_blocks, transfer) is None

    async def test_a_source_overwritten_during_the_commit_never_mixes_versions(self, small_blocks: World) -> None:
        transfer = small_blocks.put(content=CONTENT)
        small_blocks.before_next(TARGET_COMMIT, lambda: small_blocks.put(content=b"newer"))
        assert await start(small_blocks, transfer) == VERIFIED
        assert content_at_target(small_blocks, transfer) == CONTENT

    @pytest.mark.parametrize("existing", [False, True])
    async def test_a_target_written_before_the_commit_is_looked_at_and_overwritten(
        self, small_blocks: World, *, existing: bool
    ) -> None:
        """The write has dropped the staged blocks."""
        transfer = small_blocks.put(content=CONTENT)
        if existing:
            small_blocks.put_copy(replace(transfer, etag="0xOLD"), b"older")
        small_blocks.before_next(TARGET_COMMIT, lambda: overwrite_target(small_blocks, transfer))
        assert await start(small_blocks, transfer) == VERIFIED
        assert small_blocks.target_writes == [*["target.stage"] * BLOCKS, "target.commit"] * 2
        assert small_blocks.request_names[-4:] == [*LOOK, "target.commit"]
        assert content_at_target(small_blocks, transfer) == CONTENT

    async def test_a_target_deleted_before_the_commit_is_created(self, small_blocks: World) -> None:
        transfer = small_blocks.put(content=CONTENT)
        small_blocks.put_copy(replace(transfer, etag="0xOLD"), b"older")
        small_blocks.before_next(TARGET_COMMIT, lambda: small_blocks.storage.remove(transfer.target_blob))
        assert await start(small_blocks, transfer) == VERIFIED
        assert content_at_target(small_blocks, transfer) == CONTENT

    async def test_a_version_committed_by_another_transfer_meanwhile_is_confirmed(self, small_blocks: World) -> None:
        transfer = small_blocks.put(content=CONTENT)
        other = replace(transfer, id="00000000-000000000000000000000000")
        small_blocks.before_next(TARGET_STAGED, lambda: small_blocks.put_copy(other, CONTENT))
        assert (await start(small_blocks, transfer)).verdict is Verdict.VERIFIED
        assert "target.commit" not in small_blocks.request_names

    async def test_a_commit_needs_a_recent_look(self, small_blocks: World) -> None:
        transfer = small_blocks.put(content=CONTENT)
        slow = [0, 16]  # the seconds that each look at the source takes
        small_blocks.faults.append(
            lambda request, _: small_blocks.pass_time(slow.pop(0)) if request == SOURCE_HEAD and slow else None
        )
        assert await start(small_blocks, transfer) == VERIFIED
        assert small_blocks.request_names.count("source.head") == 3
        assert small_blocks.target_writes == [*["target.stage"] * BLOCKS, "target.commit"]

    async def test_an_end_recorded_while_staging_prevents_the_commit(self, small_blocks: World) -> None:
        transfer = small_blocks.put(content=CONTENT)
        ended = Ended(transfer.id, 0, Ending(State.CANCELLED))
        small_blocks.before_next(TARGET_STAGE, lambda: small_blocks.dead_letters.ends.update({transfer.id: ended}))
        assert (await start(small_blocks, transfer)).ending == Ending(State.CANCELLED)
        assert "target.commit" not in small_blocks.request_names


class TestRefusal:
    @pytest.mark.parametrize("status", [401, 403, 404, 409, 416])
    async def test_a_source_that_blocks_cannot_read_is_copied_by_async(self, small_blocks: World, status: int) -> None:
        transfer = small_blocks.put(content=CONTENT)
        small_blocks.refuse(TARGET_STAGE, error_for_answer(TARGET_STAGE, status, CANNOT_VERIFY_SOURCE))
        outcome = await start(small_blocks, transfer)
        assert (outcome.verdict, outcome.engine, outcome.refused) == (
            Verdict.WAITING,
            Engine.ASYNC,
            (Engine.BLOCKS,),
        )
        assert small_blocks.request_names.count("target.stage") <= FIRST_FLOW
        assert "target.commit" not in small_blocks.request_names

    async def test_staged_blocks_with_ids_of_another_length_are_not_replaced_but_copied_over_by_async(
        self, small_blocks: World
    ) -> None:
        """Another client has an unfinished upload, whose blocks only a whole write of the blob removes."""
        transfer = small_blocks.put(content=CONTENT)
        small_blocks.storage.stage(transfer.target_blob, "short", b"theirs")
        outcome = await start(small_blocks, transfer)
        assert (outcome.verdict, outcome.engine, outcome.refused) == (
            Verdict.WAITING,
            Engine.ASYNC,
            (Engine.BLOCKS,),
        )

    async def test_staged_blocks_with_ids_of_another_length_are_permanent_if_blocks_are_forced(self) -> None:
        world = world_with(EnginePreference.BLOCKS)
        transfer = world.put(content=CONTENT)
        world.storage.stage(transfer.target_blob, "short", b"theirs")
        outcome = await start(world, transfer)
        assert (outcome.verdict, outcome.reason) == (Verdict.PERMANENT, Reason.TARGET_CONFLICT)
        assert "400 InvalidBlobOrBlock" in outcome.detail
        assert world.storage.staged[transfer.target_blob] == {"short": b"theirs"}

    @pytest.mark.parametrize(
        ("status", "code", "reason"),
        [
            (409, "BlockCountExceedsLimit", Reason.TARGET_CONFLICT),
            (409, "FeatureNotYetSupportedForHierarchicalNamespaceAccounts", Reason.UNSUPPORTED_BLOB),
            (400, "SomethingNew", Reason.UNSUPPORTED_BLOB),
        ],
    )
    @pytest.mark.parametrize("request_", [TARGET_STAGE, TARGET_COMMIT])
    async def test_a_refusal_of_blocks_is_followed_by_async_or_permanent_if_they_are_forced(
        self, small_blocks: World, request_: Request, status: int, code: str, reason: Reason
    ) -> None:
        forced = world_with(EnginePreference.BLOCKS)
        for world in (small_blocks, forced):
            world.refuse(request_, error_for_answer(request_, status, code))
        outcome = await start(small_blocks, small_blocks.put(content=CONTENT))
        assert (outcome.verdict, outcome.engine) == (Verdict.WAITING, Engine.ASYNC)
        outcome = await start(forced, forced.put(content=CONTENT))
        assert (outcome.verdict, outcome.reason) == (Verdict.PERMANENT, reason)
        assert f"{status} {code}" in outcome.detail

    @pytest.mark.parametrize("first", [True, False])
    async def test_a_file_made_by_the_data_lake_api_is_removed_after_settle(
        self, small_blocks: World, *, first: bool
    ) -> None:
        """It accepts no blocks until it is deleted."""
        world = small_blocks
        transfer = world.put(content=CONTENT)
        world.storage.put(transfer.target_blob, Item(b"theirs", made_by_lake=True))
        outcome = await start(world, transfer, first=first)
        assert (outcome.verdict, outcome.reason, outcome.pause) == (
            Verdict.OCCUPIED,
            Reason.TARGET_CONFLICT,
            world.ports.times.settle,
        )
        assert content_at_target(world, transfer) == b"theirs"
        run = lifecycle.advance(Run(transfer, NOW, first=first), outcome, NOW)
        world.requests.clear()
        assert await run_start(world.ports, run) == VERIFIED
        writes = [name for name in world.target_writes if name != "target.stage"]
        assert writes == ["target.delete", "target.commit"]
        assert content_at_target(world, transfer) == CONTENT
        assert not world.storage.blobs[transfer.target_blob].made_by_lake

    async def test_a_file_written_anew_before_its_removal_is_not_removed(self, small_blocks: World) -> None:
        transfer = small_blocks.put(content=CONTENT)
        small_blocks.storage.put(transfer.target_blob, Item(b"theirs", made_by_lake=True))
        run = lifecycle.advance(Run(transfer, NOW), await start(small_blocks, transfer), NOW)
        small_blocks.storage.remove(transfer.target_blob)
        overwrite_target(small_blocks, transfer)
        small_blocks.requests.clear()
        assert await run_start(small_blocks.ports, run) == VERIFIED
        assert "target.delete" not in small_blocks.request_names

    async def test_a_target_of_another_type_is_removed_after_settle(self, small_blocks: World) -> None:
        world = small_blocks
        transfer = world.put(content=CONTENT)
        world.storage.put(transfer.target_blob, Item(b"theirs", kind=Kind.APPEND))
        outcome = await start(world, transfer, first=False)
        assert outcome.verdict is Verdict.OCCUPIED
        assert "target.stage" not in world.request_names
        assert await start(world, transfer, first=False, settled=True) == VERIFIED

    async def test_refused_tags_are_left_out_and_nothing_is_staged_again(self, small_blocks: World) -> None:
        small_blocks.target.may_write_tags = False
        transfer = small_blocks.put(content=CONTENT, tags={"team": "a"})
        outcome = await start(small_blocks, transfer)
        assert outcome.verdict is Verdict.VERIFIED
        assert outcome.note.startswith("index tags were not copied: the target's account refused them")
        assert small_blocks.target_writes == [*["target.stage"] * BLOCKS, "target.commit", "target.commit"]
        assert small_blocks.storage.blobs[transfer.target_blob].tags == {}

    async def test_a_lease_is_retryable(self, small_blocks: World) -> None:
        transfer = small_blocks.put(content=CONTENT)
        overwrite_target(small_blocks, transfer)
        small_blocks.storage.lease(transfer.target_blob)
        outcome = await start(small_blocks, transfer, first=False)
        assert (outcome.verdict, outcome.reason) == (Verdict.RETRYABLE, Reason.TARGET_CONFLICT)
        assert content_at_target(small_blocks, transfer) == b"theirs"

    async def test_a_missing_container_is_permanent(self, small_blocks: World) -> None:
        transfer = small_blocks.put(content=CONTENT)
        small_blocks.storage.containers.remove((ROUTE.target.endpoint, ROUTE.target.container))
        outcome = await start(small_blocks, transfer)
        assert (outcome.verdict, outcome.reason) == (Verdict.PERMANENT, Reason.TARGET_UNWRITABLE)

    async def test_a_busy_service_is_retryable_with_the_same_engine(self, small_blocks: World) -> None:
        transfer = small_blocks.put(content=CONTENT)
        small_blocks.refuse(TARGET_STAGE, error_for_answer(TARGET_STAGE, 503, "ServerBusy"))
        outcome = await start(small_blocks, transfer)
        assert (outcome.verdict, outcome.reason, outcome.refused) == (Verdict.RETRYABLE, Reason.THROTTLED, ())
        assert outcome.size == len(CONTENT)
        assert set(small_blocks.target_writes) == {"target.stage"}

    async def test_what_a_busy_service_has_staged_is_kept_and_a_lane_stages_the_rest(self, small_blocks: World) -> None:
        transfer = small_blocks.put(content=CONTENT)

        def busy_after_four(request: Request, _subject: str) -> Exception | None:
            is_busy = request == TARGET_STAGE and small_blocks.request_names.count("target.stage") > 4
            return error_for_answer(TARGET_STAGE, 503, "ServerBusy") if is_busy else None

        small_blocks.faults.append(busy_after_four)
        outcome = await start(small_blocks, transfer)
        assert outcome == Outcome(
            Verdict.STAGING,
            engine=Engine.BLOCKS,
            size=len(CONTENT),
            lanes=(Lane(4, BLOCKS, staged=4 * 32, flow=1),),
        )


class TestTime:
    async def test_no_block_begins_after_100_seconds_and_a_lane_stages_the_rest(self, small_blocks: World) -> None:
        transfer = small_blocks.put(content=CONTENT)
        small_blocks.faults.append(
            lambda request, _: small_blocks.pass_time(STAGING_TIME + 1) if request == TARGET_STAGE else None
        )
        outcome = await start(small_blocks, transfer)
        assert outcome.verdict is Verdict.STAGING
        assert small_blocks.request_names.count("target.stage") == FIRST_FLOW  # all that began at once
        (lane,) = outcome.lanes
        assert (lane.next, lane.end, lane.staged) == (8, BLOCKS, 8 * 32)

    async def test_if_staging_took_long_another_activity_commits(self, small_blocks: World) -> None:
        """An activity ends before the host's limit."""
        transfer = small_blocks.put(content=CONTENT)
        small_blocks.before_next(TARGET_STAGE, lambda: small_blocks.pass_time(STAGING_TIME - 1))
        small_blocks.faults.append(lambda request, _: small_blocks.pass_time(1) if request == TARGET_STAGE else None)
        stage_as_outsider(small_blocks, transfer, *range(5))
        outcome = await start(small_blocks, transfer)
        assert outcome == Outcome(Verdict.AGAIN, engine=Engine.BLOCKS, size=len(CONTENT))
        small_blocks.requests.clear()
        assert await start(small_blocks, transfer, first=False) == VERIFIED
        assert small_blocks.request_names == [*LOOK, "target.staged", *LOOK, "target.commit"]


class TestLarge:
    async def test_one_block_is_staged_and_lanes_stage_the_others(self, small_blocks: World) -> None:
        """So a refusal is found before the lanes begin."""
        transfer = small_blocks.put(content=LARGE)
        outcome = await start(small_blocks, transfer)
        assert outcome == Outcome(
            Verdict.STAGING, engine=Engine.BLOCKS, size=len(LARGE), lanes=(Lane(1, LARGE_BLOCKS, staged=100),)
        )
        assert small_blocks.request_names == [*BLIND_LOOK, "target.staged", "target.stage"]

    async def test_once_all_are_staged_it_commits(self, small_blocks: World) -> None:
        transfer = small_blocks.put(content=LARGE)
        stage_as_outsider(small_blocks, transfer, *range(LARGE_BLOCKS), content=LARGE)
        assert await start(small_blocks, transfer, first=False) == replace(VERIFIED, size=len(LARGE))
        assert small_blocks.request_names == [*LOOK, "target.staged", *LOOK, "target.commit"]
        assert content_at_target(small_blocks, transfer) == LARGE

    async def test_blocks_dropped_meanwhile_begin_lanes_again(self, small_blocks: World) -> None:
        transfer = small_blocks.put(content=LARGE)
        stage_as_outsider(small_blocks, transfer, *range(2, LARGE_BLOCKS), content=LARGE)
        outcome = await start(small_blocks, transfer, first=False)
        assert outcome.verdict is Verdict.STAGING
        assert outcome.lanes == (Lane(1, LARGE_BLOCKS, staged=100),)
        assert await start(small_blocks, transfer, first=False) == replace(VERIFIED, size=len(LARGE))

    @pytest.mark.parametrize(("count", "lanes"), [(1_000, 1), (1_001, 2), (10_001, 4)])
    async def test_the_number_of_lanes_follows_from_the_size(self, small_blocks: World, count: int, lanes: int) -> None:
        size = count * 100 if count <= 10_000 else count * 256
        outcome = await start(small_blocks, small_blocks.put(content=bytes(size)))
        assert len(outcome.lanes) == lanes
        assert outcome.lanes[-1].end == count

    async def test_a_refusal_costs_one_request(self, small_blocks: World) -> None:
        transfer = small_blocks.put(content=LARGE)
        small_blocks.storage.stage(transfer.target_blob, "short", b"theirs")
        assert (await start(small_blocks, transfer)).engine is Engine.ASYNC
        assert small_blocks.target_writes == ["target.stage", "target.copy"]

    async def test_a_busy_service_is_retryable(self, small_blocks: World) -> None:
        transfer = small_blocks.put(content=LARGE)
        small_blocks.refuse(TARGET_STAGE, error_for_answer(TARGET_STAGE, 503, "ServerBusy"))
        outcome = await start(small_blocks, transfer)
        assert (outcome.verdict, outcome.reason) == (Verdict.RETRYABLE, Reason.THROTTLED)


class TestTries:
    """Another writer may drop the staged blocks again and again."""

    async def test_what_the_eighth_lanes_have_staged_is_committed(self, small_blocks: World) -> None:
        transfer = small_blocks.put(content=LARGE)
        run = Run(transfer, NOW, first=False, copy_attempts=MAX_COPY_ATTEMPTS - 1)
        run = lifecycle.advance(run, await run_start(small_blocks.ports, run), NOW)
        assert run.step is Step.STAGE
        stage_as_outsider(small_blocks, transfer, *range(LARGE_BLOCKS), content=LARGE)
        staged = Outcome(Verdict.STAGING, lanes=(Lane(LARGE_BLOCKS, LARGE_BLOCKS, len(LARGE)),))
        run = lifecycle.advance(run, staged, NOW)
        outcome = await run_start(small_blocks.ports, run)
        assert outcome == replace(VERIFIED, size=len(LARGE))

    async def test_the_ninth_lanes_are_not_begun(self, small_blocks: World) -> None:
        transfer = small_blocks.put(content=LARGE)
        run = Run(transfer, NOW, first=False, copy_attempts=MAX_COPY_ATTEMPTS)
        run = lifecycle.advance(run, await run_start(small_blocks.ports, run), NOW)
        assert run.step is Step.RECORD
        assert run.ending is not None
        assert (run.ending.state, run.ending.reason) == (State.DEAD_LETTERED, Reason.TARGET_CONFLICT)

    async def test_a_target_that_is_always_overwritten_is_retryable(self, small_blocks: World) -> None:
        transfer = small_blocks.put(content=CONTENT)
        small_blocks.faults.append(
            lambda request, _: overwrite_target(small_blocks, transfer) if request == TARGET_COMMIT else None
        )
        outcome = await start(small_blocks, transfer)
        assert (outcome.verdict, outcome.reason) == (Verdict.RETRYABLE, Reason.TARGET_CONFLICT)
        assert content_at_target(small_blocks, transfer) == b"theirs"


class TestHandover:
    """A stalled `async` copy is aborted and replaced by blocks."""

    async def test_our_pending_copy_is_aborted_and_the_version_copied_by_blocks(self, small_blocks: World) -> None:
        world = small_blocks
        transfer = world.put(content=CONTENT, kind=Kind.PAGE)
        assert (await start(world, transfer)).verdict is Verdict.WAITING
        world.requests.clear()
        outcome = await start(
            world, transfer, first=False, refused=(Engine.ASYNC,), slow_copy=copy_at_target(world, transfer)
        )
        # The aborted copy is a page blob, which a commit of blocks cannot overwrite.
        assert outcome.verdict is Verdict.OCCUPIED
        assert outcome.refused == (Engine.ASYNC,)
        assert world.target_writes == ["target.abort"]
        outcome = await start(world, transfer, first=False, refused=(Engine.ASYNC,), settled=True)
        assert (outcome.verdict, outcome.engine, outcome.refused) == (
            Verdict.VERIFIED,
            Engine.BLOCKS,
            (Engine.ASYNC,),
        )
        assert content_at_target(world, transfer) == CONTENT

    async def test_an_aborted_block_blob_is_overwritten_at_once(self, small_blocks: World) -> None:
        world = small_blocks
        transfer = world.put(content=CONTENT)
        world.refuse(TARGET_STAGE, error_for_answer(TARGET_STAGE, 403, CANNOT_VERIFY_SOURCE), times=FIRST_FLOW)
        assert (await start(world, transfer)).verdict is Verdict.WAITING
        world.requests.clear()
        slow = copy_at_target(world, transfer)
        outcome = await start(world, transfer, first=False, refused=(Engine.ASYNC,), slow_copy=slow)
        assert (outcome.verdict, outcome.engine) == (Verdict.VERIFIED, Engine.BLOCKS)
        assert world.target_writes == ["target.abort", *["target.stage"] * BLOCKS, "target.commit"]

    async def test_another_pending_copy_is_not_aborted(self, small_blocks: World) -> None:
        """A resumed orchestration may have started it."""
        world = small_blocks
        transfer = world.put(content=CONTENT, kind=Kind.PAGE)
        await start(world, transfer)
        world.requests.clear()
        outcome = await start(world, transfer, first=False, refused=(Engine.ASYNC,), slow_copy="another")
        assert (outcome.verdict, outcome.patience) == (Verdict.WAITING, world.ports.times.patience)
        assert world.target_writes == []

    async def test_if_blocks_are_refused_too_the_reason_says_so(self, small_blocks: World) -> None:
        transfer = small_blocks.put(content=CONTENT)
        small_blocks.refuse(TARGET_STAGE, error_for_answer(TARGET_STAGE, 403, CANNOT_VERIFY_SOURCE))
        outcome = await start(small_blocks, transfer, first=False, refused=(Engine.ASYNC,))
        assert (outcome.verdict, outcome.reason) == (Verdict.RETRYABLE, Reason.SOURCE_UNREADABLE)
        assert "async, blocks" in outcome.detail
