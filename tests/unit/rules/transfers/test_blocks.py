"""The plan of a copy by blocks: sizes, ids, lanes and flow."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.routes.model import Place
from rules.transfers import blocks, identity
from rules.transfers.blocks import MAX_BLOCK, MAX_BLOCKS, MAX_FLOW, MIB, Block, Flow, Plan, Sizes
from rules.transfers.model import FIRST_FLOW, Lane, Transfer
from tests.unit.samples import ETAG, NAME, NEWER, ROUTE, SOURCE_HOST, TARGET_HOST, TRANSFER, quick

SIZES = Sizes()
GIB, TIB = 1024 * MIB, 1024**2 * MIB
LARGEST = 190 * TIB

BORDERS: list[tuple[int, int, int]] = [
    # size, block in MiB, blocks
    (0, 32, 0),
    (1, 32, 1),
    (32 * MIB, 32, 1),
    (32 * MIB + 1, 32, 2),
    (512 * MIB, 32, 16),
    (512 * MIB + 1, 33, 16),
    (513 * MIB, 33, 16),
    (1_584 * MIB, 99, 16),
    (1_600 * MIB, 100, 16),
    (1_600 * MIB + 1, 100, 17),
    (2 * GIB, 100, 21),
    (976 * GIB, 100, 9_995),
    (1_000_000 * MIB, 100, 10_000),
    (1_000_000 * MIB + 1, 256, 3_907),
    (977 * GIB, 256, 3_908),
    (TIB, 256, 4_096),
    (int(12.2 * TIB), 256, 49_972),
    (12_800_000 * MIB, 256, 50_000),
    (12_800_000 * MIB + 1, 257, 49_806),
    (12_850_000 * MIB, 257, 50_000),
    (12_850_000 * MIB + 1, 258, 49_807),
    (100 * TIB, 2_098, 49_980),
    (LARGEST, 3_985, 49_995),
]


def whole(size: int, transfer: Transfer = TRANSFER, sizes: Sizes = SIZES) -> Plan:
    return blocks.plan(transfer, size, sizes)


def staged(plan: Plan, *indexes: int) -> dict[str, int]:
    """The list of staged blocks if these are staged in full."""
    return {block.id: block.size for block in map(plan.block, indexes)}


@pytest.mark.parametrize(("size", "mebibytes", "count"), BORDERS)
def test_the_size_and_number_of_blocks(size: int, mebibytes: int, count: int) -> None:
    """The table of `Sizes.block_size` and its borders."""
    plan = whole(size)
    assert (plan.block_size, plan.count) == (mebibytes * MIB, count)


@pytest.mark.parametrize(("size", "mebibytes", "count"), BORDERS)
def test_all_sizes_are_multiples_of_the_unit(size: int, mebibytes: int, count: int) -> None:
    small = Sizes(unit=1)
    assert (small.sync_limit * MIB, small.one_activity * MIB) == (SIZES.sync_limit, SIZES.one_activity)
    if size % MIB == 0:
        assert (small.block_size(size // MIB), whole(size // MIB, sizes=small).count) == (mebibytes, count)


def test_the_limits_are_those_of_the_service_and_of_one_activity() -> None:
    assert (SIZES.sync_limit, SIZES.one_activity) == (256 * MIB, 2 * GIB)
    assert (MAX_BLOCKS, MAX_BLOCK) == (50_000, 4_000 * MIB)
    assert (FIRST_FLOW, MAX_FLOW) == (8, 32)


def sizes() -> st.SearchStrategy[int]:
    """Sizes to 190 TiB, often next to a border."""
    near = st.builds(lambda row, by: max(0, min(LARGEST, row[0] + by)), st.sampled_from(BORDERS), st.integers(-3, 3))
    return near | st.integers(0, 4 * GIB) | st.integers(0, LARGEST)


@quick
@given(sizes(), st.data())
def test_blocks_cover_the_blob_without_gap_or_overlap_within_the_limits(size: int, data: st.DataObject) -> None:
    plan = whole(size)
    assert plan.count <= MAX_BLOCKS
    assert 32 * MIB <= plan.block_size <= MAX_BLOCK
    assert plan.block_size % MIB == 0
    if not plan.count:
        assert size == 0
        return
    first, last = plan.block(0), plan.block(plan.count - 1)
    assert first.offset == 0
    assert 0 < last.size <= plan.block_size
    assert last.offset + last.size == size
    if plan.count > 1:
        index = data.draw(st.integers(0, plan.count - 2))
        block, following = plan.block(index), plan.block(index + 1)
        assert (block.size, block.offset + block.size) == (plan.block_size, following.offset)


@pytest.mark.parametrize("size", [2 * GIB + 7, LARGEST])
def test_every_block_of_a_whole_plan(size: int) -> None:
    plan = whole(size)
    every = plan.blocks(Lane(0, plan.count))
    assert every[0].offset == 0
    assert all(left.offset + left.size == right.offset for left, right in pairwise(every))
    assert sum(block.size for block in every) == size
    assert plan.ids == tuple(block.id for block in every)
    assert len(set(plan.ids)) == plan.count
    assert {len(identity) for identity in plan.ids} == {48}


def test_an_empty_blob_has_no_blocks() -> None:
    plan = whole(0)
    assert (plan.count, plan.ids, plan.blocks(Lane(0, 0))) == (0, (), [])


@quick
@given(sizes(), st.integers(0, MAX_BLOCKS - 1))
def test_every_id_has_48_characters_that_need_no_escape(size: int, index: int) -> None:
    """The service refuses ids of two lengths at one name."""
    identity = whole(size).block(index).id
    assert len(identity) == 48
    assert identity.isascii()
    assert identity.isalnum()


SOURCE_ELSEWHERE = replace(ROUTE, source=Place(SOURCE_HOST, "other", "in/"))
TARGET_ELSEWHERE = replace(ROUTE, target=Place(TARGET_HOST, "target", "elsewhere/"))


@pytest.mark.parametrize(
    ("other", "size"),
    [
        (identity.transfer(ROUTE, NAME, NEWER), 2 * GIB),
        (identity.transfer(ROUTE, NAME + "x", ETAG), 2 * GIB),
        (identity.transfer(SOURCE_ELSEWHERE, NAME, ETAG), 2 * GIB),
        (identity.transfer(TARGET_ELSEWHERE, NAME, ETAG), 2 * GIB),
        (TRANSFER, TIB),
    ],
    ids=["etag", "name", "source", "target", "block size"],
)
def test_ids_of_other_bytes_differ(other: Transfer, size: int) -> None:
    assert not set(whole(2 * GIB).ids) & set(whole(size, other).ids)


def test_two_routes_and_two_attempts_share_the_ids_of_one_version() -> None:
    """Equal ids mean equal bytes, so what one has staged the other need not stage."""
    renamed = identity.transfer(replace(ROUTE, name="renamed"), NAME, ETAG)
    assert renamed.id != TRANSFER.id
    assert whole(2 * GIB, renamed).ids == whole(2 * GIB).ids


@pytest.mark.parametrize(
    ("count", "number"), [(0, 1), (1, 1), (1_000, 1), (1_001, 2), (10_000, 2), (10_001, 4), (50_000, 4)]
)
def test_the_lanes_divide_the_blocks(count: int, number: int) -> None:
    """The table of `lanes`."""
    plan = Plan("v" * 43, count * 10, 10)
    found = blocks.lanes(plan, {}, Flow(5))
    assert len(found) == number
    assert [lane.next for lane in found] == [0, *(lane.end for lane in found[:-1])]
    assert found[-1].end == count
    lengths = {lane.end - lane.next for lane in found}
    assert max(lengths) - min(lengths) <= 1
    assert {(lane.staged, lane.flow, lane.failures, lane.due) for lane in found} == {(0, 5, 0, None)}


def test_lanes_begin_after_what_is_staged() -> None:
    plan = Plan("v" * 43, 20_000, 10)  # two lanes of 1,000 blocks
    found = blocks.lanes(plan, staged(plan, 0, 1, 3, *range(1_000, 2_000)), Flow(8))
    assert found == (Lane(2, 1_000, staged=20), Lane(2_000, 2_000, staged=10_000))
    assert [lane.done for lane in found] == [False, True]


PLAN = Plan("v" * 43, 95, 10)  # ten blocks, the last of 5 bytes


@pytest.mark.parametrize(
    ("lane", "indexes", "following"),
    [
        (Lane(0, 10), [], Lane(0, 10)),
        (Lane(0, 10), [1, 2], Lane(0, 10)),
        (Lane(0, 10), [0, 1, 3], Lane(2, 10, staged=20)),
        (Lane(2, 10, staged=20), [0, 1, 2], Lane(3, 10, staged=30)),
        (Lane(2, 4, staged=20), range(10), Lane(4, 4, staged=40)),
        (Lane(0, 10), range(10), Lane(10, 10, staged=95)),
        (Lane(4, 4, staged=7), range(10), Lane(4, 4, staged=7)),
    ],
)
def test_a_lane_passes_the_staged_blocks_at_its_beginning(lane: Lane, indexes: list[int], following: Lane) -> None:
    assert blocks.pass_staged(PLAN, lane, staged(PLAN, *indexes), Flow(lane.flow)) == following


def test_a_passed_lane_carries_the_flow_and_forgets_its_failures() -> None:
    assert blocks.pass_staged(PLAN, Lane(0, 10, failures=3), staged(PLAN, 0), Flow(17)) == Lane(1, 10, 10, 17)


def test_a_block_of_the_wrong_size_is_missing() -> None:
    listed = staged(PLAN, *range(10)) | {PLAN.block(1).id: 9, PLAN.block(9).id: 10}
    assert blocks.missing(PLAN.blocks(Lane(0, 10)), listed) == [PLAN.block(1), PLAN.block(9)]
    assert blocks.pass_staged(PLAN, Lane(0, 10), listed, Flow(8)).next == 1


def test_staged_blocks_of_another_version_do_not_count() -> None:
    other = replace(PLAN, version="w" * 43)
    assert blocks.missing(PLAN.blocks(Lane(0, 10)), staged(other, *range(10))) == PLAN.blocks(Lane(0, 10))
    assert blocks.missing([Block("a", 0, 1)], {"a": 1}) == []


def after_successes(flow: Flow, count: int) -> Flow:
    for _ in range(count):
        flow = flow.succeeded()
    return flow


def after_refusals(flow: Flow, count: int) -> Flow:
    for _ in range(count):
        flow = flow.refused()
    return flow


@pytest.mark.parametrize("limit", range(1, MAX_FLOW))
def test_a_round_of_successes_adds_one(limit: int) -> None:
    assert after_successes(Flow(limit), limit - 1).limit == limit
    assert after_successes(Flow(limit), limit) == Flow(limit + 1)


def test_the_flow_grows_to_32() -> None:
    assert after_successes(Flow(MAX_FLOW), 10 * MAX_FLOW).limit == MAX_FLOW


@pytest.mark.parametrize("limit", range(2, MAX_FLOW + 1))
def test_a_burst_of_refusals_halves_once(limit: int) -> None:
    """Every request in flight is refused, then the next round succeeds."""
    assert Flow(limit).refused().limit == limit // 2
    assert after_refusals(Flow(limit), limit).limit == limit // 2


@pytest.mark.parametrize("limit", [2, 3, 8, 31, 32])
def test_a_second_burst_halves_again(limit: int) -> None:
    following = after_refusals(Flow(limit), limit)
    assert after_refusals(following, following.limit).limit == max(1, limit // 4)


def test_a_round_with_a_refusal_adds_nothing() -> None:
    flow = Flow(8).refused()
    assert after_successes(flow, 7).limit == 4
    assert after_successes(flow, 7 + 4).limit == 5


@pytest.mark.parametrize("limit", [1, 2, 3, 8, 32])
def test_refused_again_and_again_it_is_lowest_after_few_requests(limit: int) -> None:
    """Then even one request at a time is refused, so the lane waits."""
    flow, refusals = Flow(limit), 0
    while not flow.is_lowest:
        flow, refusals = flow.refused(), refusals + 1
    assert flow.limit == 1
    assert refusals <= 2 * limit


def test_it_is_lowest_only_after_a_whole_round_with_one_request() -> None:
    assert Flow(1).is_lowest
    assert not Flow(2).is_lowest
    assert not Flow(2).refused().is_lowest  # the other request of that round is still in flight
    assert after_refusals(Flow(2), 2).is_lowest


def test_it_recovers_from_one_to_32() -> None:
    assert after_successes(Flow(1), sum(range(1, MAX_FLOW))) == Flow(MAX_FLOW)


@quick
@given(first=st.integers(1, MAX_FLOW), answers=st.lists(st.booleans(), max_size=300))
def test_the_flow_is_always_between_1_and_32(*, first: int, answers: list[bool]) -> None:
    flow = Flow(first)
    for succeeded in answers:
        following = flow.succeeded() if succeeded else flow.refused()
        assert 1 <= following.limit <= MAX_FLOW
        assert following.limit in {flow.limit, flow.limit + 1, max(1, flow.limit // 2)}
        flow = following
