"""Dead letters: their content, and which write wins (rule 9)."""

import base64
import json
from dataclasses import replace
from datetime import datetime
from itertools import pairwise

import pytest

from rules.dead_letters import letters, records
from rules.dead_letters.letters import Attempt, DeadLetter, merge, resolve
from rules.errors import Reason
from rules.events.parse import RejectedEvent
from rules.transfers import identity
from rules.transfers.model import Ended, Ending
from rules.transfers.states import State
from tests.unit.samples import (
    ETAG,
    NAME,
    NOW,
    RUN,
    SOURCE_HOST,
    TARGET_HOST,
    TRANSFER,
    after,
)

THROTTLED = Ending(State.DEAD_LETTERED, reason=Reason.THROTTLED, detail="busy")
FAILED = replace(RUN, size=1_000, copy_attempts=8, ending=THROTTLED)
REFUSED = RejectedEvent(Reason.MALFORMED, "no event")


def attempt(started: datetime = NOW, failed: datetime | None = None, detail: str = "busy") -> Attempt:
    return Attempt(started, failed or started, Reason.THROTTLED, detail, 8)


def letter(**attempts: datetime) -> DeadLetter:
    """A dead letter with these attempts: `a0` is the start of number 0."""
    numbered = {int(number[1:]): attempt(started) for number, started in attempts.items()}
    return DeadLetter(TRANSFER.id, numbered, "1.0", route="default")


def test_the_dead_letter_of_a_run() -> None:
    assert records.record(letters.of_run(FAILED, after(hours=1), "1.2.3")) == {
        "schema": 1,
        "id": TRANSFER.id,
        "state": "open",
        "reason": "throttled",
        "detail": "busy",
        "hint": Reason.THROTTLED.hint,
        "transfer": {
            "route": "default",
            "source": {"url": f"{SOURCE_HOST}/source/{NAME}", "name": NAME, "etag": ETAG, "size": 1_000},
            "target": {"url": f"{TARGET_HOST}/target/out/2026/report.csv"},
        },
        "message": None,
        "attempts": {
            "0": {
                "started_at": "2026-11-24T19:02:44.120Z",
                "failed_at": "2026-11-24T20:02:44.120Z",
                "reason": "throttled",
                "detail": "busy",
                "tries": 8,
            }
        },
        "replays": 0,
        "first_failed_at": "2026-11-24T20:02:44.120Z",
        "last_failed_at": "2026-11-24T20:02:44.120Z",
        "resolved_at": None,
        "resolved_as": None,
        "app_version": "1.2.3",
    }


@pytest.mark.parametrize("ending", [None, Ending(State.DEAD_LETTERED)])
def test_a_run_without_a_reason_is_internal(ending: Ending | None) -> None:
    found = letters.of_run(replace(RUN, ending=ending), NOW, "1")
    assert (found.reason, found.detail) == (Reason.INTERNAL, Reason.INTERNAL.hint)


def test_the_detail_includes_the_note_of_the_run() -> None:
    assert (
        letters.of_run(replace(FAILED, note="something may be left"), NOW, "1").detail == "busy; something may be left"
    )
    assert len(letters.of_run(replace(FAILED, note="x" * 9_999), NOW, "1").detail) == letters.MAX_DETAIL


def test_the_dead_letter_of_a_message_keeps_its_body_under_its_hash() -> None:
    found = letters.of_message(b"hello", REFUSED, NOW, "1")
    assert found == letters.of_message(b"hello", REFUSED, NOW, "1")
    assert found.id == identity.message_id(b"hello")
    assert base64.b64decode(found.message or "") == b"hello"
    assert (found.reason, found.detail, found.route) == (Reason.MALFORMED, "no event", None)
    assert records.record(found)["transfer"] is None


def test_the_dead_letter_of_an_unreadable_input_has_only_id_and_reason() -> None:
    found = letters.of_unreadable(TRANSFER.id, "the orchestration was Failed: x", NOW, "1.2.3")
    assert (found.id, found.reason, found.last_attempt) == (TRANSFER.id, Reason.INTERNAL, 0)
    assert found.detail.startswith("the orchestration was Failed: x; this version of the app cannot read its input")
    assert len(letters.of_unreadable(TRANSFER.id, "x" * 9_999, NOW, "1").detail) == letters.MAX_DETAIL
    shown = records.record(found)
    assert (shown["state"], shown["transfer"], shown["message"], shown["replays"]) == ("open", None, None, 0)
    assert records.read(json.loads(json.dumps(shown))) == found
    assert records.list_item(found.id, records.metadata(found)) == {
        "id": TRANSFER.id,
        "reason": "internal",
        "hint": Reason.INTERNAL.hint,
        "route": None,
        "name": None,
        "etag": None,
        "size": None,
        "first_failed_at": "2026-11-24T19:02:44.120Z",
        "last_failed_at": "2026-11-24T19:02:44.120Z",
    }


def test_a_later_attempt_adds_the_blob_to_the_dead_letter_of_an_unreadable_input() -> None:
    written = merge(
        letters.of_unreadable(TRANSFER.id, "x", NOW, "1"), letters.of_run(replace(FAILED, attempt=1), NOW, "1")
    )
    assert written is not None
    assert (sorted(written.attempts), written.route, written.name) == ([0, 1], "default", NAME)


def test_an_unreadable_input_counts_as_the_attempt_after_the_known_ones() -> None:
    """Otherwise an earlier discard would hide it."""
    before = resolve(letter(a0=NOW, a2=NOW), NOW, letters.DISCARDED)
    assert letters.of_unreadable(TRANSFER.id, "x", NOW, "1", before).last_attempt == 3
    assert letters.of_unreadable(TRANSFER.id, "x", NOW, "1").last_attempt == 0


def test_a_record_of_an_end_ranks_by_attempt_and_then_by_resumes() -> None:
    ranked = [(0, 0), (0, 1), (0, 99), (1, 0), (1, 1), (2, 0)]
    ranks = [Ended(TRANSFER.id, attempt, Ending(State.CANCELLED), resumes=resumes).rank for attempt, resumes in ranked]
    assert all(lower < higher for lower, higher in pairwise(ranks))


def test_a_resolved_dead_letter_shows_when_and_how() -> None:
    shown = records.record(resolve(letter(a0=NOW, a1=after(hours=1)), after(hours=2), State.VERIFIED))
    assert (shown["state"], shown["resolved_at"], shown["resolved_as"]) == (
        "resolved",
        "2026-11-24T21:02:44.120Z",
        "verified",
    )
    assert shown["replays"] == 1


OPEN = letter(a0=NOW, a2=after(hours=2))
RESOLVED = resolve(OPEN, after(hours=4), State.VERIFIED)
DISCARDED = resolve(OPEN, after(hours=4), letters.DISCARDED)
MERGES: list[tuple[str, DeadLetter | None, DeadLetter, list[int] | None]] = [
    ("none", None, letter(a0=NOW), [0]),
    ("has this attempt", OPEN, letter(a2=after(hours=2)), None),
    ("has this attempt, open, though it started again", OPEN, letter(a2=after(hours=9)), None),
    ("has a later one", OPEN, letter(a1=after(hours=1)), None),
    ("has this attempt, and is resolved", RESOLVED, letter(a2=after(hours=2)), None),
    ("has a later one, and is resolved", RESOLVED, letter(a1=after(hours=1)), None),
    ("resolved before the new attempt started", RESOLVED, letter(a0=after(hours=5)), [0, 2, 3]),
    ("resolved at the very moment", RESOLVED, letter(a2=after(hours=4)), [0, 2, 3]),
    ("was discarded, and the new attempt started later", DISCARDED, letter(a2=after(hours=5)), None),
    ("was discarded, and is of a later one", DISCARDED, letter(a0=after(hours=5)), None),
    ("was discarded, and has earlier attempts", DISCARDED, letter(a3=after(hours=5)), [0, 2, 3]),
    ("has earlier attempts", OPEN, letter(a3=after(hours=3)), [0, 2, 3]),
    ("has earlier attempts, and is resolved", RESOLVED, letter(a3=after(hours=5)), [0, 2, 3]),
]


@pytest.mark.parametrize(("old", "new", "attempts"), [row[1:] for row in MERGES], ids=[row[0] for row in MERGES])
def test_which_write_wins(old: DeadLetter | None, new: DeadLetter, attempts: list[int] | None) -> None:
    """The table of `letters.merge`."""
    written = merge(old, new)
    assert (written and sorted(written.attempts)) == attempts
    if written:
        assert written.resolved_at is None
        assert written.attempts[written.last_attempt] == new.attempts[new.last_attempt]


def test_an_attempt_without_a_size_keeps_the_known_size() -> None:
    old = replace(letter(a0=NOW), size=7)
    assert getattr(merge(old, letter(a1=NOW)), "size", None) == 7
    assert getattr(merge(old, replace(letter(a1=NOW), size=0)), "size", None) == 0


def test_the_first_and_the_newest_attempts_are_kept() -> None:
    written = merge(letter(**{f"a{number}": NOW for number in range(100)}), letter(a100=NOW))
    assert written
    assert sorted(written.attempts) == [0, *range(52, 101)]
    assert len(written.attempts) == letters.MAX_ATTEMPTS
