"""What can be read of a transfer, while it runs and afterwards."""

import json
from dataclasses import replace

import pytest
from hypothesis import given

from rules import identity, status
from rules.errors import Reason
from rules.models import Engine, Outcome, Run, Successor, Verdict
from rules.transitions import State
from tests.unit.rules.samples import ETAG, NAME, NEWER, NOW, RUN, SOURCE_HOST, TARGET_HOST, TRANSFER, after, quick, runs

COPYING = replace(
    RUN, state=State.COPYING, engine=Engine.ASYNC, size=1_000, copied=250, tries=1, updated_at=after(seconds=8)
)
FIELDS = [
    "id",
    "route",
    "source",
    "target",
    "accepted_at",
    "state",
    "engine",
    "copied",
    "total",
    "attempt",
    "tries",
    "cancelling",
    "ending",
    "reason",
    "detail",
    "successor",
    "updated_at",
    "next_check_at",
    "hint",
]


def test_the_live_detail_of_a_copy() -> None:
    """How far it is, and when the next look is."""
    assert status.progress(COPYING, after(seconds=20)) == {
        "state": "copying",
        "engine": "async",
        "copied": 250,
        "total": 1_000,
        "attempt": 0,
        "tries": 1,
        "cancelling": False,
        "ending": None,
        "reason": None,
        "detail": "",
        "successor": None,
        "updated_at": "2026-11-24T19:02:52.120Z",
        "next_check_at": "2026-11-24T19:03:04.120Z",
    }


def test_a_verified_transfer_is_copied_whole() -> None:
    """With the note of what was left out."""
    ending = Outcome(Verdict.ENDED, state=State.VERIFIED)
    shown = status.progress(replace(COPYING, state=State.VERIFIED, ending=ending, note="without tags"))
    assert (shown["copied"], shown["total"], shown["detail"]) == (1_000, 1_000, "without tags")


def test_what_the_last_try_failed_by_is_shown_until_the_end_is_known() -> None:
    """And then why it ended."""
    ending = Outcome(Verdict.ENDED, state=State.DEAD_LETTERED, reason=Reason.COPY_FAILED, detail="gave up")
    run = replace(COPYING, reason=Reason.THROTTLED, detail="busy", ending=ending)
    assert (status.progress(run)["reason"], status.progress(run)["detail"]) == ("throttled", "busy")
    ended = status.progress(replace(run, state=State.DEAD_LETTERED))
    assert (ended["reason"], ended["detail"]) == ("copy_failed", "gave up")


@pytest.mark.parametrize(
    ("successor", "shown"),
    [
        (Successor(NEWER), {"id": identity.sibling(TRANSFER, NEWER).id, "etag": NEWER}),
        (Successor(None), {"id": None, "etag": None}),
        (None, None),
    ],
)
def test_a_superseded_version_shows_its_successor(successor: Successor | None, shown: object) -> None:
    """Or that the blob was deleted."""
    ending = Outcome(Verdict.ENDED, state=State.SUPERSEDED, successor=successor)
    assert status.progress(replace(RUN, state=State.SUPERSEDED, ending=ending))["successor"] == shown
    assert status.progress(replace(RUN, ending=ending))["successor"] is None


def test_a_transfer_as_the_api_answers_it() -> None:
    """Its identity from the input, the rest from the status."""
    shown = status.view(TRANSFER.id, COPYING, status.progress(COPYING), broken=False)
    assert list(shown) == FIELDS
    assert shown["source"] == {"url": f"{SOURCE_HOST}/source/{NAME}", "name": NAME, "etag": ETAG, "size": 1_000}
    assert shown["target"] == {"url": f"{TARGET_HOST}/target/out/2026/report.csv"}
    assert (shown["state"], shown["accepted_at"], shown["hint"]) == ("copying", "2026-11-24T19:02:44.120Z", None)


def test_a_transfer_that_has_not_begun_is_accepted() -> None:
    """Its attempt and time are in the input already."""
    shown = status.view(TRANSFER.id, replace(RUN, attempt=3), {}, broken=False)
    assert (shown["state"], shown["attempt"], shown["updated_at"]) == ("accepted", 3, "2026-11-24T19:02:44.120Z")


def test_an_orchestration_that_broke_is_shown_as_what_the_sweep_makes_of_it() -> None:
    """With the hint that a dead letter has."""
    shown = status.view(TRANSFER.id, COPYING, status.progress(COPYING, NOW), broken=True)
    assert (shown["state"], shown["reason"], shown["hint"]) == ("dead_lettered", "internal", Reason.INTERNAL.hint)
    assert shown["next_check_at"] is None


def test_one_that_broke_while_it_was_cancelled_is_shown_as_cancelled() -> None:
    """Somebody was answered 202: in the status or in the input, it was noticed."""
    for run, live in ((COPYING, replace(COPYING, cancelling=True)), (replace(COPYING, cancelling=True), COPYING)):
        shown = status.view(TRANSFER.id, run, status.progress(live, NOW), broken=True)
        assert (shown["state"], shown["reason"], shown["next_check_at"]) == ("cancelled", None, None)


def test_one_that_broke_on_its_way_to_an_end_is_shown_as_that_end() -> None:
    """The sweep takes it there."""
    ending = Outcome(Verdict.ENDED, state=State.DEAD_LETTERED, reason=Reason.THROTTLED, detail="busy")
    shown = status.view(TRANSFER.id, replace(COPYING, ending=ending), status.progress(COPYING, NOW), broken=True)
    assert (shown["state"], shown["reason"], shown["detail"]) == ("dead_lettered", "throttled", "busy")


def test_an_input_that_cannot_be_read_is_still_a_transfer() -> None:
    """Listed by its id; keys that nobody knows are left out."""
    shown = status.view("x", None, {"state": "copying", "reason": "weather", "newer": 1}, broken=False)
    assert list(shown) == FIELDS
    assert (shown["id"], shown["route"], shown["reason"], shown["hint"]) == ("x", None, "weather", None)


@quick
@given(runs())
def test_a_status_is_json_and_never_holds_the_name(run: Run) -> None:
    """The name is in the input alone, once."""
    found = replace(run, transfer=replace(TRANSFER, name="in/very-secret-name"))
    assert "very-secret-name" not in json.dumps(status.progress(found, NOW))
    assert list(status.view("x", run, status.progress(run), broken=False)) == FIELDS
