"""Earlier, simpler rules, each of which a trace has broken. With one of them in place, tests must fail."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from activities.transfers import ACTIVITIES, start
from activities.transfers.finish import run_clean
from ports.blobs import CopySource
from ports.services import Ports
from rules.dead_letters import letters
from rules.dead_letters.letters import DeadLetter
from rules.events import lookups
from rules.orchestrations import recovery
from rules.orchestrations.instance import Instance
from rules.routes.model import Blob
from rules.transfers import blocks, decisions
from rules.transfers.decisions import CopyStatus, SourceBlob, TargetBlob
from rules.transfers.model import Ended, Outcome, Run, Step, Transfer, Verdict
from rules.transfers.states import State
from tests.fakes import MemoryDeadLetters, MemoryTarget
from tests.protocol import coroutines
from tests.protocol import model as model_

Simpler = Callable[[pytest.MonkeyPatch], None]


def incomplete_is_not_success(patch: pytest.MonkeyPatch) -> None:
    """A target blob of this transfer without the status `success` is incomplete."""

    def is_incomplete(target: TargetBlob, transfer: Transfer, _size: int | None) -> bool:
        return target.transfer_id == transfer.id and target.copy_status is not CopyStatus.SUCCESS

    patch.setattr(decisions, "is_incomplete", is_incomplete)


def one_look_finds_a_deletion(patch: pytest.MonkeyPatch) -> None:
    """A source that one look does not find is deleted."""
    rule = decisions.decide
    patch.setattr(start, "decide", lambda run, *found, **options: rule(replace(run, gone=True), *found, **options))


def another_type_is_removed_immediately(patch: pytest.MonkeyPatch) -> None:
    """A target of another blob type is removed by the look that finds it."""
    rule = decisions.decide
    patch.setattr(start, "decide", lambda run, *found, **options: rule(replace(run, settled=True), *found, **options))


def only_own_copies_are_waited_for(patch: pytest.MonkeyPatch) -> None:
    """A pending copy of the version that another transfer started is aborted."""
    mine = ""

    def remembering(body: Any) -> Any:
        async def remember(ports: Ports, run: Run) -> Outcome:
            nonlocal mine
            mine = run.transfer.id
            outcome: Outcome = await body(ports, run)
            return outcome

        return remember

    def is_in_progress(target: TargetBlob | None, etag: str) -> bool:
        return decisions.is_in_progress(target, etag) and target is not None and target.transfer_id == mine

    for step in (Step.START, Step.CHECK):
        patch.setitem(ACTIVITIES, step, remembering(ACTIVITIES[step]))
    patch.setattr(start, "is_in_progress", is_in_progress)
    patch.setattr("activities.transfers.check.is_in_progress", is_in_progress)


def stale_copies_are_not_cleaned(patch: pytest.MonkeyPatch) -> None:
    """A transfer does not touch the target after its source has changed."""

    async def clean(ports: Ports, run: Run) -> Outcome:
        source = await ports.source.head(run.transfer.source_blob)
        if source is None or source.etag != run.transfer.etag:
            return Outcome(Verdict.DONE)
        return await run_clean(ports, run)

    patch.setitem(ACTIVITIES, Step.CLEAN, clean)


def every_copy_is_aborted(patch: pytest.MonkeyPatch) -> None:
    """A cleaning aborts every pending copy that it finds."""
    rule = decisions.choose_cleaning

    def clean(run: Run, target: TargetBlob | None, **_: bool) -> decisions.Cleaning:
        return rule(run, target, aborted=False)

    patch.setattr("activities.transfers.finish.choose_cleaning", clean)


def settle_is_too_short(patch: pytest.MonkeyPatch) -> None:
    """The pause before the cleaning ends while late requests are in flight."""
    patch.setattr(model_.Model, "_is_request_alive", lambda *_: False)


def no_window(patch: pytest.MonkeyPatch) -> None:
    """An act may be based on a read of any age."""
    patch.setattr(coroutines.Reading, "__sub__", lambda *_: 0.0)


def ended_is_not_read(patch: pytest.MonkeyPatch) -> None:
    """The record of the end is ignored."""
    rule = decisions.decide

    def decide(run: Run, source: SourceBlob | None, target: TargetBlob | None, _: Ended | None, **options: bool) -> Any:
        return rule(run, source, target, None, **options)

    patch.setattr(start, "decide", decide)


def last_write_of_a_dead_letter_wins(patch: pytest.MonkeyPatch) -> None:
    def merge(_: DeadLetter | None, new: DeadLetter) -> DeadLetter:
        return new

    patch.setattr(letters, "merge", merge)


def receipt_ignores_size(patch: pytest.MonkeyPatch) -> None:
    """A receipt needs only the `source_etag`, and a copy status that is `success` or absent."""

    def holds_version(target: TargetBlob, etag: str, _size: int | None) -> bool:
        return target.source_etag == etag and target.copy_status in {None, CopyStatus.SUCCESS}

    patch.setattr(decisions, "holds_version", holds_version)


def receipt_is_metadata(patch: pytest.MonkeyPatch) -> None:
    """A receipt needs only the `source_etag`."""

    def holds_version(target: TargetBlob, etag: str, _size: int | None) -> bool:
        return target.source_etag == etag

    patch.setattr(decisions, "holds_version", holds_version)
    patch.setattr(start, "is_in_progress", lambda *_: False)


def replaced_without_condition(patch: pytest.MonkeyPatch) -> None:
    """An existing target is overwritten without If-Match."""
    refuse = MemoryTarget._refuse

    def unless_replacing(self: MemoryTarget, request: Any, there: Any, if_match: str | None, *code: str) -> None:
        refuse(self, request, there, if_match if if_match is None or there is None else there.etag, *code)

    patch.setattr(MemoryTarget, "_refuse", unless_replacing)


def created_without_condition(patch: pytest.MonkeyPatch) -> None:
    """A first copy has no If-None-Match: *."""
    refuse = MemoryTarget._refuse

    def unless_creating(self: MemoryTarget, request: Any, there: Any, if_match: str | None, *code: str) -> None:
        if if_match is not None:
            refuse(self, request, there, if_match, *code)

    patch.setattr(MemoryTarget, "_refuse", unless_creating)


def superseded_cleans_only_what_is_visible(patch: pytest.MonkeyPatch) -> None:
    """A superseded transfer cleans only if an incomplete target exists already."""

    async def may_be_incomplete(ports: Ports, run: Run) -> bool:
        target = await ports.target.head(run.transfer.target_blob)
        return target is not None and decisions.is_incomplete(target, run.transfer, run.size)

    patch.setattr("activities.transfers.finish._may_be_incomplete", may_be_incomplete)


def resumes_do_not_rank(patch: pytest.MonkeyPatch) -> None:
    """The records of a failed execution and of the resumed one have the same rank."""
    patch.setattr(Ended, "rank", property(lambda ended: (ended.attempt, 0)))


def dead_letters_are_not_swept(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(model_.Model, "_is_sweep_due", lambda *_: False)


def discarded_dead_letters_are_missing(patch: pytest.MonkeyPatch) -> None:
    """The sweep does not know that a missing dead letter was discarded."""

    async def needs_dead_letter(ports: Ports, _instance: Instance, ended: Ended) -> bool:
        return await ports.dead_letters.read(ended.id) is None

    patch.setattr("operations.upkeep.sweep.needs_dead_letter", needs_dead_letter)
    patch.setattr(
        "operations.upkeep.sweep._may_need_dead_letter", lambda ended: ended.ending.state is State.DEAD_LETTERED
    )


def discard_is_marked_first(patch: pytest.MonkeyPatch) -> None:
    """The record of the end is marked as discarded first, even without an open dead letter."""
    resolve = MemoryDeadLetters.resolve

    async def marked(self: MemoryDeadLetters, identity: str, attempt: int, how: str, now: datetime) -> bool:
        if how == letters.DISCARDED and identity in self.ends:
            self.ends[identity] = replace(self.ends[identity], discarded=True)
        return await resolve(self, identity, attempt, how, now)

    patch.setattr(MemoryDeadLetters, "resolve", marked)


def blocks_have_no_version(patch: pytest.MonkeyPatch) -> None:
    """The id of a block is its position."""
    patch.setattr(blocks, "plan", lambda _, size, sizes: blocks.Plan("0" * 43, size, sizes.block_size(size)))


def blocks_are_not_pinned(patch: pytest.MonkeyPatch) -> None:
    """A block is read from any version of the source."""
    stage = MemoryTarget.stage

    async def stage_any(self: MemoryTarget, target: Blob, source: CopySource, _: str, block: blocks.Block) -> None:
        item = self._world.blobs.get(self._world.signed[source.url][0])
        await stage(self, target, source, item.etag if item else "", block)

    patch.setattr(MemoryTarget, "stage", stage_any)


def every_pending_copy_is_given_up(patch: pytest.MonkeyPatch) -> None:
    """After one copy that was too slow, a transfer aborts every pending copy of its version."""
    patch.setattr(start, "is_given_up", lambda run, _: bool(run.slow_copy))


def an_abort_is_never_repeated(patch: pytest.MonkeyPatch) -> None:
    """An abort without an answer counts as done."""
    rule = decisions.choose_cleaning
    aborted: list[bool] = []

    async def clean(ports: Ports, run: Run) -> Outcome:
        aborted.clear()
        return await run_clean(ports, run)

    def once(run: Run, target: TargetBlob | None, **_: bool) -> decisions.Cleaning:
        cleaning = rule(run, target, aborted=bool(aborted))
        aborted.extend([True] * (cleaning is decisions.Cleaning.ABORT))
        return cleaning

    patch.setitem(ACTIVITIES, Step.CLEAN, clean)
    patch.setattr("activities.transfers.finish.choose_cleaning", once)


def a_match_is_final(patch: pytest.MonkeyPatch) -> None:
    """A lookup that finds the version at the target is the last one."""
    patch.setattr(lookups, "after_match", lambda _lookup, _times: None)


def a_running_transfer_is_enough(patch: pytest.MonkeyPatch) -> None:
    """A lookup that finds the version's transfer running is the last one."""
    patch.setattr(lookups, "after_running", lambda _lookup, _times: None)


def a_verified_transfer_has_a_deadline(patch: pytest.MonkeyPatch) -> None:
    """A transfer whose recipient is not notified yet is resumed from its start, unless its deadline has passed."""
    patch.setattr(recovery, "merge_verified", lambda run, _custom: run)
