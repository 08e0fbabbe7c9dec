"""Staging the blocks of a version: as many requests in flight as the services take (rule 20)."""

import asyncio
from dataclasses import dataclass, field

from ports.blobs import CopySource
from ports.services import Ports
from rules.errors import Failure, LookAgain, Retryable, StorageError
from rules.transfers.blocks import Block, Flow, Plan, missing, pass_staged
from rules.transfers.model import FIRST_FLOW, Lane, Transfer


@dataclass
class Staging:
    """Stages blocks of one version, and begins none after `until` (monotonic seconds).

    `refusal` is the answer that ended it early: a Retryable if the services are busy even with one request in flight.
    """

    ports: Ports
    transfer: Transfer
    source: CopySource
    plan: Plan
    until: float
    staged: dict[str, int] = field(default_factory=dict)
    refusal: StorageError | None = None
    flow: Flow = field(default_factory=lambda: Flow(FIRST_FLOW))
    todo: list[Block] = field(default_factory=list)
    in_flight: int = 0

    async def stage(self, lane: Lane, most: int | None = None) -> Lane:
        """Stage the missing blocks of a lane, the first `most` of them; return the lane after it.

        The service's list of staged blocks is the only state, so what an earlier activity has staged is not staged again,
        even if that activity was killed.

        Raises:
            Failure: the service does not list the staged blocks.
        """
        self.staged = dict(await self.ports.target.staged(self.transfer.target_blob))
        self.flow = Flow(lane.flow)
        self.todo = missing(self.plan.blocks(lane), self.staged)[:most]
        async with asyncio.TaskGroup() as group:
            self._begin(group)
        return pass_staged(self.plan, lane, self.staged, self.flow)

    def _begin(self, group: asyncio.TaskGroup) -> None:
        while self.todo and self.refusal is None and self.in_flight < self.flow.limit and self._has_time():
            self.in_flight += 1
            group.create_task(self._stage_block(self.todo.pop(0), group))

    def _has_time(self) -> bool:
        return self.ports.monotonic() <= self.until

    async def _stage_block(self, block: Block, group: asyncio.TaskGroup) -> None:
        try:
            await self.ports.target.stage(self.transfer.target_blob, self.source, self.transfer.etag, block)
            self.staged[block.id] = block.size
            self.flow = self.flow.succeeded()
        except Retryable as error:
            self._slow_down(block, error)
        except (Failure, LookAgain) as error:
            self.refusal = self.refusal or error
        self.in_flight -= 1
        self._begin(group)

    def _slow_down(self, block: Block, error: Retryable) -> None:
        if self.flow.is_lowest:
            self.refusal = self.refusal or error
        self.flow = self.flow.refused()
        self.todo.insert(0, block)
