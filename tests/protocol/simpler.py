"""The rules as they were before a trace broke them: with one of them in place, tests must fail."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from activities.transfers import ACTIVITIES, start
from activities.transfers.finish import run_clean
from ports.services import Ports
from rules.dead_letters import letters
from rules.dead_letters.letters import DeadLetter
from rules.orchestrations.instance import Instance
from rules.transfers import decisions
from rules.transfers.decisions import CopyStatus, SourceBlob, TargetBlob
from rules.transfers.model import Ended, Outcome, Run, Step, Transfer, Verdict
from rules.transfers.states import State
from tests.fakes import MemoryDeadLetters, MemoryTarget
from tests.protocol import model as model_
from tests.protocol import recall

Simpler = Callable[[pytest.MonkeyPatch], None]


def half_made_is_not_success(patch: pytest.MonkeyPatch) -> None:
    """What is ours and has no status `success` is half-made."""

    def is_incomplete(target: TargetBlob, transfer: Transfer, _size: int | None) -> bool:
        return target.transfer_id == transfer.id and target.copy_status is not CopyStatus.SUCCESS

    patch.setattr(decisions, "is_incomplete", is_incomplete)


def one_look_finds_a_deletion(patch: pytest.MonkeyPatch) -> None:
    """A source that is not seen once is gone."""
    rule = decisions.decide
    patch.setattr(start, "decide", lambda run, *found: rule(replace(run, gone=True), *found))


def another_type_is_removed_at_once(patch: pytest.MonkeyPatch) -> None:
    """A target of another blob type is removed by the look that finds it."""
    rule = decisions.decide
    patch.setattr(start, "decide", lambda run, *found: rule(replace(run, settled=True), *found))


def only_own_copies_are_waited_for(patch: pytest.MonkeyPatch) -> None:
    """A pending copy of our version that another transfer began is aborted."""
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
    """Whose source shows another version may not touch the target any more."""

    async def clean(ports: Ports, run: Run) -> Outcome:
        source = await ports.source.head(run.transfer.source_blob)
        if source is None or source.etag != run.transfer.etag:
            return Outcome(Verdict.DONE)
        return await run_clean(ports, run)

    patch.setitem(ACTIVITIES, Step.CLEAN, clean)


def every_copy_is_aborted(patch: pytest.MonkeyPatch) -> None:
    """A cleaning aborts whatever is pending, as often as it finds it."""
    rule = decisions.choose_cleaning

    def clean(run: Run, target: TargetBlob | None, **_: bool) -> decisions.Cleaning:
        return rule(run, target, aborted=False)

    patch.setattr("activities.transfers.finish.choose_cleaning", clean)


def settle_is_too_short(patch: pytest.MonkeyPatch) -> None:
    """The pause before the cleaning ends while late requests are alive."""
    patch.setattr(model_.Model, "_alive", lambda *_: False)


def no_window(patch: pytest.MonkeyPatch) -> None:
    """What was read may be acted upon however old it is."""
    patch.setattr(recall.Reading, "__sub__", lambda *_: 0.0)


def ended_is_not_read(patch: pytest.MonkeyPatch) -> None:
    """Nobody asks whether the transfer has ended."""
    rule = decisions.decide

    def decide(run: Run, source: SourceBlob | None, target: TargetBlob | None, _: Ended | None) -> Any:
        return rule(run, source, target, None)

    patch.setattr(start, "decide", decide)


def letters_are_simply_written(patch: pytest.MonkeyPatch) -> None:
    """The last write of a letter wins."""

    def merge(_: DeadLetter | None, new: DeadLetter) -> DeadLetter:
        return new

    patch.setattr(letters, "merge", merge)


def receipt_ignores_size(patch: pytest.MonkeyPatch) -> None:
    """Our `source_etag` and no bad status are a receipt."""

    def is_receipt(target: TargetBlob, etag: str, _size: int | None) -> bool:
        return target.source_etag == etag and target.copy_status in {None, CopyStatus.SUCCESS}

    patch.setattr(decisions, "is_receipt", is_receipt)


def receipt_is_metadata(patch: pytest.MonkeyPatch) -> None:
    """Our `source_etag` is a receipt."""

    def is_receipt(target: TargetBlob, etag: str, _size: int | None) -> bool:
        return target.source_etag == etag

    patch.setattr(decisions, "is_receipt", is_receipt)
    patch.setattr(start, "is_in_progress", lambda *_: False)


def replaced_without_condition(patch: pytest.MonkeyPatch) -> None:
    """What is at the target is overwritten, whatever it has become since it was looked at."""
    refuse = MemoryTarget._refuse

    def unless_replacing(self: MemoryTarget, request: Any, there: Any, if_match: str | None, *code: str) -> None:
        refuse(self, request, there, if_match if if_match is None or there is None else there.etag, *code)

    patch.setattr(MemoryTarget, "_refuse", unless_replacing)


def created_without_condition(patch: pytest.MonkeyPatch) -> None:
    """A first copy needs no If-None-Match: *."""
    refuse = MemoryTarget._refuse

    def unless_creating(self: MemoryTarget, request: Any, there: Any, if_match: str | None, *code: str) -> None:
        if if_match is not None:
            refuse(self, request, there, if_match, *code)

    patch.setattr(MemoryTarget, "_refuse", unless_creating)


def superseded_settles_where_something_is_seen(patch: pytest.MonkeyPatch) -> None:
    """What was superseded cleans only if something half-made is at the target already."""

    async def may_be_half_made(ports: Ports, run: Run) -> bool:
        target = await ports.target.head(run.transfer.target_blob)
        return target is not None and decisions.is_incomplete(target, run.transfer, run.size)

    patch.setattr("activities.transfers.finish._may_be_half_made", may_be_half_made)


def resumes_do_not_rank(patch: pytest.MonkeyPatch) -> None:
    """The records of a failed execution and of the resumed one are the same."""
    patch.setattr(Ended, "rank", property(lambda ended: (ended.attempt, 0)))


def letters_are_not_swept(patch: pytest.MonkeyPatch) -> None:
    """Nothing compares letters with transfers."""
    patch.setattr(model_.Model, "_letters_disagree", lambda *_: False)


def discarded_letters_are_owed(patch: pytest.MonkeyPatch) -> None:
    """Who looks whether a letter is missing does not know that a person discarded it."""

    async def is_owed(ports: Ports, _instance: Instance, ended: Ended) -> bool:
        return await ports.dead_letters.read(ended.id) is None

    patch.setattr("operations.upkeep.sweep.is_owed", is_owed)
    patch.setattr("operations.upkeep.sweep._may_be_owed", lambda ended: ended.ending.state is State.DEAD_LETTERED)


def said_before_it_is_resolved(patch: pytest.MonkeyPatch) -> None:
    """The record of the end says first that its letter is discarded, whether or not there is one."""
    resolve = MemoryDeadLetters.resolve

    async def marked(self: MemoryDeadLetters, identity: str, attempt: int, how: str, now: datetime) -> bool:
        if how == letters.DISCARDED and identity in self.ends:
            self.ends[identity] = replace(self.ends[identity], discarded=True)
        return await resolve(self, identity, attempt, how, now)

    patch.setattr(MemoryDeadLetters, "resolve", marked)


def an_abort_is_never_repeated(patch: pytest.MonkeyPatch) -> None:
    """An abort that was not answered counts as done."""
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
