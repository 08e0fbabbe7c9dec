"""The `start` step, the only one that copies: read target and source, decide, act. Look again if the result is unknown."""

import asyncio
from dataclasses import dataclass, field, replace

from activities.transfers.common import NOT_ALLOWED, current_route, failure_outcome, waiting_outcome
from activities.transfers.confirm import UNCLEARED, confirm
from activities.transfers.copy_request import CopyRequests
from activities.transfers.refusals import Refusals
from ports.blobs import Copy
from ports.services import Ports
from rules.errors import CANNOT_VERIFY_SOURCE, Failure, LookAgain, Reason, Rejected
from rules.transfers.decisions import Act, SourceBlob, TargetBlob, copied_version, decide, is_in_progress
from rules.transfers.model import Outcome, Run, Verdict
from rules.transfers.policies import MAX_COPY_ATTEMPTS, MAX_LOOKS


async def run_start(ports: Ports, run: Run) -> Outcome:
    """Copy the version, or return why not. Safe to repeat, concurrently or late: every write is conditional.

    A new small blob costs one HEAD of the source, one concurrent read of the record of the end, and one copy.
    """
    route = current_route(ports, run)
    if route is None:
        return NOT_ALLOWED
    start = _Start(ports, run, CopyRequests(ports, route, run), run.size)
    try:
        return await start.execute()
    except Failure as failure:
        return replace(failure_outcome(failure), size=start.size)


@dataclass(frozen=True, slots=True)
class _Look:
    """What was read of both sides, and when (monotonic seconds). A `blind` look did not read the target."""

    source: SourceBlob | None
    target: TargetBlob | None
    began_at: float
    blind: bool


@dataclass
class _Start:
    """One execution of the step, and what its looks have found. `is_complete`: the last look found a complete target."""

    ports: Ports
    run: Run
    requests: CopyRequests
    size: int | None
    refusals: Refusals = field(default_factory=Refusals)
    is_complete: bool = False

    async def execute(self) -> Outcome:
        """Look and act up to `MAX_LOOKS` times or until the time limit; then return that the state is unclear."""
        # A new blob needs no look at the target, because its copy has If-None-Match: *. But if the transfer was accepted before
        # this process started, an earlier process may have copied it: a look then avoids a second copy.
        blind = self.run.first and self.run.accepted_at >= self.ports.started_at
        end = self.ports.monotonic() + self.ports.times.activity
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
        if target is not None and is_in_progress(target, transfer.etag):
            return waiting_outcome(target)
        source, ended = await asyncio.gather(
            self.ports.source.head(transfer.source_blob), self.ports.dead_letters.read_ended(transfer.id)
        )
        if source is not None and source.etag == transfer.etag:
            self.size = source.size  # `clean` needs it, even if this run fails
        may_be_echo = blind and source is not None and copied_version(transfer, source) is not None
        if may_be_echo:
            target = await self.ports.target.head(transfer.target_blob)
        decision = decide(replace(self.run, size=self.size), source, target, ended)
        if isinstance(decision, Outcome):
            return replace(decision, pause=self._pause_after(decision.verdict))
        if may_be_echo:
            return None  # the target was read after the source, but an act needs the opposite order
        return await self._act(decision, _Look(source, target, began_at, blind))

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
            self._keep(error, look)

    async def _copy(self, source: SourceBlob, look: _Look) -> Outcome | None:
        if self.run.copy_attempts >= MAX_COPY_ATTEMPTS:
            detail = f"copied {MAX_COPY_ATTEMPTS} times, but another writer always replaced it"
            return Outcome(Verdict.RETRYABLE, reason=Reason.TARGET_CONFLICT, detail=detail, size=source.size)
        copy = await self.requests.build(source, look.target, self.refusals.last)
        if isinstance(copy, Outcome):
            return copy
        return await self._send(copy, source.size, look) if self._is_fresh(look) else None

    async def _send(self, copy: Copy, size: int, look: _Look) -> Outcome | None:
        try:
            done = await self.ports.target.copy(copy)
        except (Failure, Rejected) as refusal:
            if self.requests.leave_out_tags(copy, refusal):
                return None
            if not isinstance(refusal, Rejected):
                raise
            self._keep(refusal, look)
            return None
        except LookAgain as error:
            self._keep(error, look)
            if error.code == CANNOT_VERIFY_SOURCE:
                self.requests.leave_out_engine(copy.engine)
            return None
        verdict = Verdict.VERIFIED if done else Verdict.WAITING
        return Outcome(verdict, engine=copy.engine, size=size, note=self.requests.note, began=not done)

    def _is_fresh(self, look: _Look) -> bool:
        """Whether the look is recent enough to act on."""
        return self.ports.monotonic() - look.began_at <= self.ports.times.window

    def _keep(self, error: LookAgain, look: _Look) -> None:
        self.refusals.add(error, look.target, blind=look.blind)

    def _unclear(self) -> Outcome:
        """After the last look: a complete target is verified, even if its copy's properties may not be cleared."""
        if self.is_complete:
            return Outcome(Verdict.VERIFIED, size=self.size, note=f"{UNCLEARED}: {self.refusals.last}")
        detail = f"the state of the target is still unclear; last answer: {self.refusals.last}"
        return Outcome(Verdict.RETRYABLE, reason=Reason.TARGET_CONFLICT, detail=detail, size=self.size)
