"""The messages about transfers."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given

from rules import codec
from rules.errors import Reason
from rules.figures import feed
from rules.figures.feed import Kind, Message
from rules.routes.model import Engine
from rules.transfers import status
from rules.transfers.lifecycle import UNCLEAN
from rules.transfers.model import Ending, Outcome, Run, Step, Successor, Verdict
from rules.transfers.states import State
from tests.unit.samples import NEWER, NOW, RUN, after, outcomes, quick, runs

DONE = Outcome(Verdict.DONE)
VERIFIED = Outcome(Verdict.VERIFIED, engine=Engine.SYNC, size=7, target_etag="0x9")
SUPERSEDED = Outcome(Verdict.SUPERSEDED, ending=Ending(State.SUPERSEDED, successor=Successor(NEWER)))
LATER = replace(RUN, first=False, first_look_at=NOW)


def ending(state: State, step: Step, **fields: Any) -> Run:
    return replace(LATER, step=step, ending=Ending(state, **fields))


@pytest.mark.parametrize(
    ("run", "outcome", "kind"),
    [
        (RUN, VERIFIED, Kind.VERIFIED),
        (replace(RUN, has_open_dead_letter=True), VERIFIED, Kind.VERIFIED),
        (LATER, VERIFIED, Kind.VERIFIED),
        (replace(LATER, step=Step.CHECK), VERIFIED, Kind.VERIFIED),
        (ending(State.CANCELLED, Step.CLEAN), VERIFIED, Kind.VERIFIED),
        (ending(State.VERIFIED, Step.CLOSE), DONE, None),
        (RUN, SUPERSEDED, Kind.OPENED),
        (ending(State.SUPERSEDED, Step.RECORD), DONE, Kind.SUPERSEDED),
        (ending(State.SUPERSEDED, Step.RECORD), replace(DONE, pause=90), None),
        (ending(State.CANCELLED, Step.RECORD), DONE, Kind.CANCELLED),
        (ending(State.CANCELLED, Step.CLEAN), DONE, Kind.CANCELLED),
        (ending(State.DEAD_LETTERED, Step.RECORD), DONE, None),
        (ending(State.DEAD_LETTERED, Step.CLOSE), DONE, Kind.DEAD_LETTERED),
        (ending(State.DEAD_LETTERED, Step.CLOSE), Outcome(Verdict.RETRYABLE, reason=Reason.THROTTLED), None),
        (RUN, Outcome(Verdict.WAITING, began=True), Kind.OPENED),
        (replace(RUN, attempt=1, first=False), Outcome(Verdict.WAITING), Kind.OPENED),
        (LATER, Outcome(Verdict.AGAIN), None),
        (replace(LATER, activity_failures=1), Outcome(Verdict.AGAIN), Kind.OPENED),
        (replace(LATER, step=Step.CHECK), Outcome(Verdict.WAITING), None),
        (replace(LATER, step=Step.STAGE), VERIFIED, None),
    ],
)
def test_one_message_for_each_end_and_one_if_it_takes_longer(run: Run, outcome: Outcome, kind: Kind | None) -> None:
    found = feed.message(run, outcome, NOW)
    assert (found and found.kind) == kind


def test_it_has_what_the_ledger_shows() -> None:
    found = feed.message(replace(RUN, event_at=after(seconds=-3)), VERIFIED, after(seconds=2))
    transfer = RUN.transfer
    assert found == Message(
        Kind.VERIFIED,
        after(seconds=2),
        transfer.id,
        0,
        "default",
        transfer.name,
        transfer.source_blob.url,
        transfer.target_blob.url,
        NOW,
        after(seconds=-3),
        7,
        Engine.SYNC,
        transfer.etag,
        "0x9",
    )
    assert found.latency == 5
    assert codec.decode(Message, json.loads(json.dumps(codec.encode(found)))) == found


def test_the_latency_counts_from_the_acceptance_without_an_event_and_is_never_negative() -> None:
    found = feed.message(RUN, VERIFIED, after(seconds=2))
    assert found is not None
    assert found.latency == 2
    assert replace(found, event_at=after(hours=1)).latency == 0


def test_the_end_of_a_failed_transfer_has_its_reason() -> None:
    found = feed.message(ending(State.DEAD_LETTERED, Step.CLOSE, reason=Reason.THROTTLED), DONE, NOW)
    assert found is not None
    assert found.reason is Reason.THROTTLED


@quick
@given(runs(), outcomes())
def test_it_fits_into_a_message_of_a_queue(run: Run, outcome: Outcome) -> None:
    try:
        found = feed.message(run, outcome, NOW)
    except ValueError:  # an impossible run: the orchestrator fails in the same way
        return
    assert len(json.dumps(codec.encode(found))) < 64 * 1024


def test_the_longest_name_fits_into_a_message_of_a_queue() -> None:
    transfer = replace(RUN.transfer, name="漢" * 1_024, source=replace(RUN.transfer.source, prefix=""))
    found = feed.message(replace(RUN, transfer=transfer), VERIFIED, NOW)
    assert len(json.dumps(codec.encode(found))) < 48 * 1024


def test_an_orchestration_that_has_ended_tells_its_end() -> None:
    ended = replace(
        RUN,
        step=None,
        state=State.VERIFIED,
        ending=Ending(State.VERIFIED),
        engine=Engine.ASYNC,
        size=5,
        target_etag="e",
    )
    found = feed.of_ended(RUN, json.loads(json.dumps(status.progress(ended))), NOW)
    assert found is not None
    assert (found.kind, found.size, found.engine, found.target_etag) == (Kind.VERIFIED, 5, Engine.ASYNC, "e")
    assert feed.of_ended(RUN, status.progress(RUN), NOW) is None
    failed = feed.of_ended(replace(RUN, size=3), {"state": "dead_lettered", "reason": "throttled"}, NOW)
    assert failed is not None
    assert (failed.size, failed.engine, failed.reason, failed.target_etag) == (3, None, Reason.THROTTLED, "")


@pytest.mark.parametrize(
    ("run", "may"),
    [
        (RUN, True),
        (replace(RUN, activity_failures=2), True),
        (replace(RUN, activity_failures=3), False),
        (replace(RUN, cancelling=True), False),
        (replace(RUN, first_look_at=NOW - timedelta(days=9)), False),
        (replace(RUN, first_look_at=NOW - timedelta(days=9), step=Step.CLOSE, note=UNCLEAN), True),
    ],
)
def test_a_step_is_not_repeated_if_that_could_end_the_transfer(run: Run, *, may: bool) -> None:
    assert feed.may_repeat(run, NOW) is may
