"""The `start` step, the only one that changes what readers see: read target and source, decide, act.

If the result of an act is unknown, it looks again.
"""

import asyncio
from dataclasses import dataclass, field, replace

from activities.transfers.common import NOT_ALLOWED, current_route, failure_outcome, waiting_outcome
from activities.transfers.confirm import UNCLEARED, confirm
from activities.transfers.copy_request import CopyRequests
from activities.transfers.refusals import Refusals
from activities.transfers.staging import Staging
from ports.blobs import Commit, Copy
from ports.services import Ports
from rules.errors import CANNOT_VERIFY_SOURCE, NO_BLOCKS, Failure, LookAgain, Reason, Rejected, Retryable, StorageError
from rules.routes.model import Engine
from rules.transfers import blocks
from rules.transfers.decisions import (
    Act,
    SourceBlob,
    TargetBlob,
    copied_version,
    decide,
    is_filtered,
    is_given_up,
    is_in_progress,
    is_in_the_way,
)
from rules.transfers.model import Lane, Outcome, Run, Verdict
from rules.transfers.policies import MAX_COPY_ATTEMPTS, MAX_LOOKS, STAGING_TIME


async def run_start(ports: Ports, run: Run) -> Outcome:
    """Copy the version, or return why not. Safe to repeat, concurrently or late: every write is conditional.

    A new small blob costs one HEAD of the source, one concurrent read of the record of the end, and one copy.
    """
    route = current_route(ports, run)
    if route is None:
        return NOT_ALLOWED
    start = _Start(ports, run, CopyRequests(ports, route, run, run.refused), run.size)
    try:
        return await start.execute()
    except Failure as failure:
        return replace(failure_outcome(failure, start.requests.refused), size=start.size)


@dataclass(frozen=True, slots=True)
class _Look:
    """What was read of both sides, and when (monotonic seconds). A `blind` look did not read the target."""

    source: SourceBlob | None
    target: TargetBlob | None
    began_at: float
    blind: bool


@dataclass
class _Start:
    """One execution of the step, and what its looks have found.

    `is_complete`: the last look found a complete target. `is_staged`: every block of the version was staged when last listed.
    `refuses_blocks`: the ETag of a target that takes no blocks.
    """

    ports: Ports
    run: Run
    requests: CopyRequests
    size: int | None
    refusals: Refusals = field(default_factory=Refusals)
    is_complete: bool = False
    is_staged: bool = False
    refuses_blocks: str | None = None
    stage_until: float = 0.0

    async def execute(self) -> Outcome:
        """Look and act up to `MAX_LOOKS` times or until the time limit; then return that the state is unclear."""
        # A new blob needs no look at the target, because its copy has If-None-Match: *. But if the transfer was accepted before
        # this process started, an earlier process may have copied it: a look then avoids a second copy.
        blind = self.run.first and self.run.accepted_at >= self.ports.started_at
        began_at = self.ports.monotonic()
        self.stage_until, end = began_at + STAGING_TIME, began_at + self.ports.times.activity
        for _ in range(MAX_LOOKS):
            outcome = await self._look_and_act(blind=blind)
            if outcome is not None:
                return outcome
            blind = False
            if self.ports.monotonic() > end:
                break
        return self._unclear()

    async def _look_and_act(self, *, blind: bool) -> Outcome | None:
        """Read the target first and the source second, then act (rule 2). None: look again."""
        began_at, self.is_complete = self.ports.monotonic(), False
        transfer = self.run.transfer
        target = None if blind else await self.ports.target.head(transfer.target_blob)
        if target is not None and is_in_progress(target, transfer.etag) and not is_given_up(self.run, target):
            return waiting_outcome(self.ports, self.requests.route, self.run, target)
        source, ended = await asyncio.gather(
            self.ports.source.head(transfer.source_blob), self.ports.dead_letters.read_ended(transfer.id)
        )
        if source is not None and source.etag == transfer.etag:
            self.size = source.size  # `clean` needs it, even if this run fails
        may_be_echo = blind and source is not None and copied_version(transfer, source) is not None
        if may_be_echo:
            target = await self.ports.target.head(transfer.target_blob)
        in_the_way = source is not None and is_in_the_way(target, self.requests.kind(source), self.refuses_blocks)
        run, filtered = replace(self.run, size=self.size), self._is_filtered(source)
        decision = decide(run, source, target, ended, in_the_way=in_the_way, filtered=filtered)
        if isinstance(decision, Outcome):
            return replace(decision, pause=self._pause_after(decision.verdict), refused=self.requests.refused)
        if may_be_echo:
            return None  # the target was read after the source, but an act needs the opposite order
        return await self._act(decision, _Look(source, target, began_at, blind))

    def _is_filtered(self, source: SourceBlob | None) -> bool:
        """Whether the filters exclude the source although it was accepted: they are newer, or the event told no size."""
        return source is not None and is_filtered(self.requests.route, self.run.transfer.name, source)

    def _pause_after(self, verdict: Verdict) -> int:
        """Seconds before the next look."""
        times = self.ports.times
        return {Verdict.GONE: times.recheck, Verdict.OCCUPIED: times.settle}.get(verdict, 0)

    async def _act(self, act: Act, look: _Look) -> Outcome | None:
        self.refusals.raise_if_final(look.target)
        match act, look.source, look.target:
            case Act.CONFIRM, SourceBlob() as source, TargetBlob() as target:
                return await self._confirm(target, source.size)
            case Act.ABORT | Act.REMOVE, _, TargetBlob() as target:
                await self._abort_or_delete(act, target, look)
                return None
            case _, SourceBlob() as source, _:
                return await self._copy(source, look)
        return None

    async def _confirm(self, target: TargetBlob, size: int) -> Outcome | None:
        self.is_complete = True
        try:
            return await confirm(self.ports, self.run, target, size)
        except LookAgain as error:
            self.refusals.last = error
            return None

    async def _abort_or_delete(self, act: Act, target: TargetBlob, look: _Look) -> None:
        if not self._is_fresh(look):
            return
        blob = self.run.transfer.target_blob
        try:
            if act is Act.ABORT:
                await self.ports.target.abort(blob, target.copy_id or "")
            else:
                await self.ports.target.delete(blob, target.etag)
        except LookAgain as error:
            self.refusals.add(error, look.target, blind=look.blind)

    async def _copy(self, source: SourceBlob, look: _Look) -> Outcome | None:
        engine = self.requests.engine(source)
        # What the last lanes have staged may still be committed; `lifecycle` begins no more of them.
        if self.run.copy_attempts >= MAX_COPY_ATTEMPTS and engine is not Engine.BLOCKS:
            detail = f"copied {MAX_COPY_ATTEMPTS} times, but another writer always replaced it"
            return Outcome(Verdict.RETRYABLE, reason=Reason.TARGET_CONFLICT, detail=detail, size=source.size)
        if isinstance(engine, Reason):
            return self.requests.without_engine(engine, source, self.refusals.last)
        if (unsupported := self.requests.unsupported(source)) is not None:
            return unsupported
        if engine is Engine.BLOCKS and not self.is_staged:
            return await self._stage(source, look)
        request = await self.requests.build(engine, source, look.target)
        return await self._send(engine, request, source, look) if self._is_fresh(look) else None

    async def _stage(self, source: SourceBlob, look: _Look) -> Outcome | None:
        """Stage the blocks, then look again to commit them. Of a large blob stage only the first, and leave the others to lanes.

        So a refusal is found before the lanes begin.
        """
        plan, sizes = self.requests.plan(source), self.ports.sizes
        url = await self.requests.sign(Engine.BLOCKS)
        staging = Staging(self.ports, self.run.transfer, url, plan, self.stage_until)
        lane = await staging.stage(Lane(0, plan.count), None if source.size <= sizes.one_activity else 1)
        self.is_staged = lane.done
        match staging.refusal:
            case Retryable() as busy if not lane.next:
                raise busy
            case None | Retryable() if not lane.done:
                lanes = blocks.lanes(plan, staging.staged, staging.flow)
                return self._progress(Verdict.STAGING, source, lanes)
            case None:
                return self._progress(Verdict.AGAIN, source) if self._is_late() else None
            case refusal:
                self._handle_refusal(Engine.BLOCKS, refusal, source, look)
                return None

    def _progress(self, verdict: Verdict, source: SourceBlob, lanes: tuple[Lane, ...] = ()) -> Outcome:
        refused = self.requests.refused
        return Outcome(verdict, engine=Engine.BLOCKS, size=source.size, lanes=lanes, refused=refused)

    def _is_late(self) -> bool:
        """Whether the time to stage is over: the commit belongs to another activity then."""
        return self.ports.monotonic() > self.stage_until

    async def _send(self, engine: Engine, request: Copy | Commit, source: SourceBlob, look: _Look) -> Outcome | None:
        try:
            etag = await self._request(request)
        except (Failure, Rejected) as refusal:
            if self.requests.leave_out_tags(request, refusal):
                return None
            if not isinstance(refusal, Rejected):
                raise
            self._handle_refusal(engine, refusal, source, look)
            return None
        except LookAgain as error:
            self._handle_refusal(engine, error, source, look)
            return None
        return Outcome(
            Verdict.WAITING if etag is None else Verdict.VERIFIED,
            engine=engine,
            size=source.size,
            note=self.requests.note_for(engine, source),
            began=etag is None,
            refused=self.requests.refused,
            target_etag=etag or "",
        )

    async def _request(self, request: Copy | Commit) -> str | None:
        """Return the ETag of the copied version; None if the service copies it in the background."""
        if isinstance(request, Copy):
            return await self.ports.target.copy(request)
        return await self.ports.target.commit(request)

    def _handle_refusal(self, engine: Engine, error: StorageError, source: SourceBlob, look: _Look) -> None:
        """Keep the answer for the next look, and exclude the engine if another one may succeed.

        Raises:
            Failure: looking again does not help.
        """
        if not isinstance(error, LookAgain):
            raise error
        is_refused = engine is Engine.BLOCKS and isinstance(error, Rejected) and self.requests.has_other_engine(source)
        self.is_staged, self.refusals.last = False, error
        if engine is Engine.BLOCKS and error.code in NO_BLOCKS:
            self.refuses_blocks = look.target.etag if look.target else None
        elif error.code == CANNOT_VERIFY_SOURCE or is_refused:
            self.requests.leave_out_engine(engine)
        else:
            self.refusals.add(error, look.target, blind=look.blind)
            self._leave_out_if_unseen(engine, source)

    def _leave_out_if_unseen(self, engine: Engine, source: SourceBlob) -> None:
        """If the service refuses to create a blob that a look does not find, only a commit of blocks can create it."""
        unseen = self.refusals.unseen_target()
        if unseen is None:
            return
        if engine is Engine.BLOCKS or not self.requests.has_other_engine(source):
            raise unseen
        self.requests.leave_out_engine(engine)

    def _is_fresh(self, look: _Look) -> bool:
        """Whether the look is recent enough to act on."""
        return self.ports.monotonic() - look.began_at <= self.ports.times.window

    def _unclear(self) -> Outcome:
        """After the last look: a complete target is verified, even if its copy's properties may not be cleared."""
        if self.is_complete:
            return Outcome(Verdict.VERIFIED, size=self.size, note=f"{UNCLEARED}: {self.refusals.last}")
        detail = f"the state of the target is still unclear; last answer: {self.refusals.last}"
        refused = self.requests.refused
        return Outcome(Verdict.RETRYABLE, reason=Reason.TARGET_CONFLICT, detail=detail, size=self.size, refused=refused)
