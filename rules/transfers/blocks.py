"""The plan of a copy by blocks: the size and id of each block, the lanes that stage them, and how many are in flight."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise, takewhile
from math import ceil

from rules.transfers.model import Lane, Transfer

MIB = 1024 * 1024
# The service's limits: blocks of one blob, and bytes of one Put Block From URL.
MAX_BLOCKS = 50_000
MAX_BLOCK = 4_000 * MIB
# Requests in flight at most in one activity. The connection pool limits the process to four times as many.
MAX_FLOW = 32
ID_LENGTH, INDEX_DIGITS = 48, 5


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes that decide how a blob is copied. All are multiples of `unit`, so that tests can use small blobs."""

    unit: int = MIB

    @property
    def sync_limit(self) -> int:
        """The service's limit of Copy Blob From URL in bytes."""
        return 256 * self.unit

    @property
    def one_activity(self) -> int:
        """Up to this many bytes, the activity that commits a blob also stages all of its blocks."""
        return 2_048 * self.unit

    def block_size(self, size: int) -> int:
        """Return the size in bytes of all blocks but the last.

        | size of the blob | block | blocks |
        | --- | --- | --- |
        | up to 512 MiB | 32 MiB | 1 to 16 |
        | up to 1.6 GiB | a 16th, in whole MiB | 16 |
        | up to 976 GiB | 100 MiB | 16 to 10,000 |
        | up to 12.2 TiB | 256 MiB | 3,907 to 50,000 |
        | up to 190 TiB | a 50,000th, in whole MiB | up to 50,000 |

        A block is what a crash repeats, so small blobs have small ones. Larger blocks need fewer requests, and keep
        the list of blocks, which each activity reads, short.
        """
        usual = min(100, max(32, ceil(size / 16 / self.unit)))
        for units, blocks in ((usual, 10_000), (256, MAX_BLOCKS)):
            if ceil(size / (units * self.unit)) <= blocks:
                return units * self.unit
        return ceil(size / MAX_BLOCKS / self.unit) * self.unit


@dataclass(frozen=True, slots=True)
class Block:
    """A range of a source in bytes, and the id under which it is staged at the target."""

    id: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Plan:
    """The blocks of one version at one target. `version` identifies both and the size of a block."""

    version: str
    size: int
    block_size: int

    @property
    def count(self) -> int:
        """The number of blocks; 0 for an empty blob, because the service refuses an empty block."""
        return ceil(self.size / self.block_size)

    def block(self, index: int) -> Block:
        """Return a block by its position.

        Its id, 48 characters, follows from the source's URL and ETag, the target's URL, the block size and the
        position. So equal ids mean equal bytes: two attempts or two routes share blocks, and blocks of another version
        cannot be committed. All ids have one length because the service refuses another length at the same name.
        """
        offset = index * self.block_size
        return Block(f"{self.version}{index:0{INDEX_DIGITS}}", offset, min(self.block_size, self.size - offset))

    def blocks(self, lane: Lane) -> list[Block]:
        """Return the blocks of a lane that it has not passed."""
        return [self.block(index) for index in range(lane.next, lane.end)]

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of all blocks in order, as the commit lists them."""
        return tuple(self.block(index).id for index in range(self.count))


def plan(transfer: Transfer, size: int, sizes: Sizes) -> Plan:
    """Return the plan for a version of `size` bytes."""
    block_size = sizes.block_size(size)
    key = f"{transfer.source_blob.url}\n{transfer.etag}\n{transfer.target_blob.url}\n{block_size}"
    return Plan(sha256(key.encode()).hexdigest()[: ID_LENGTH - INDEX_DIGITS], size, block_size)


def lanes(plan: Plan, staged: Mapping[str, int], flow: "Flow") -> tuple[Lane, ...]:
    """Divide the blocks of a plan into lanes of equal length, which stage at the same time.

    | blocks | lanes |
    | --- | --- |
    | up to 1,000 | 1 |
    | up to 10,000 | 2 |
    | more | 4 |

    A lane has up to 32 requests in flight, and a process has connections for four lanes. More lanes spread a very large
    blob over the instances of the app.
    """
    count = 1 if plan.count <= 1_000 else 2 if plan.count <= 10_000 else 4  # noqa: PLR2004  # see the table
    ends = [plan.count * number // count for number in range(count + 1)]
    return tuple(pass_staged(plan, Lane(begin, end), staged, flow) for begin, end in pairwise(ends))


def pass_staged(plan: Plan, lane: Lane, staged: Mapping[str, int], flow: "Flow") -> Lane:
    """Return a lane after the blocks at its beginning that are staged in their full size."""
    passed = list(takewhile(lambda block: staged.get(block.id) == block.size, plan.blocks(lane)))
    bytes_passed = sum(block.size for block in passed)
    return Lane(lane.next + len(passed), lane.end, lane.staged + bytes_passed, flow.limit)


def missing(blocks: Iterable[Block], staged: Mapping[str, int]) -> list[Block]:
    """Return the blocks that are not staged in their full size."""
    return [block for block in blocks if staged.get(block.id) != block.size]


@dataclass(frozen=True, slots=True)
class Flow:
    """How many stage requests may be in flight: one more after a round of successes, half as many after a refusal.

    A round is as many answers as requests were in flight. So one burst of refusals halves the number once.
    """

    limit: int
    answers: int = 0
    halved: bool = False

    @property
    def is_lowest(self) -> bool:
        """Whether only one request was in flight for a whole round."""
        return self.limit == 1 and not self.halved

    def succeeded(self) -> "Flow":
        """Return the flow after a staged block."""
        if self.answers + 1 < self.limit:
            return Flow(self.limit, self.answers + 1, self.halved)
        return Flow(self.limit if self.halved else min(MAX_FLOW, self.limit + 1))

    def refused(self) -> "Flow":
        """Return the flow after an answer that the service or the source is busy."""
        if self.halved:
            return self.succeeded()
        limit = max(1, self.limit // 2)
        # Below zero, so that the round also takes in the answers to the other requests that are still in flight.
        return Flow(limit, limit - self.limit + 1, halved=True)
