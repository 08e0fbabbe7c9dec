"""Dead letters: their JSON, their listing, which write wins, and that nothing secret is in them (rules 5 and 9, I8)."""

import base64
import json
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules import events, identity, letters
from rules.errors import Reason
from rules.letters import (
    Attempt,
    Letter,
    is_redacted,
    merged,
    record,
    resolved,
    text_without_secrets,
    without_secrets,
)
from rules.models import Outcome, Run, Verdict
from rules.policies import metadata_fits
from rules.transitions import State
from tests.unit.rules.samples import (
    ETAG,
    NAME,
    NOW,
    RUN,
    SOURCE_HOST,
    TARGET_HOST,
    TRANSFER,
    after,
    moments,
    quick,
    transfers,
)

THROTTLED = Outcome(Verdict.ENDED, state=State.DEAD_LETTERED, reason=Reason.THROTTLED, detail="busy")
FAILED = replace(RUN, size=1_000, tries=8, ending=THROTTLED)
REFUSED = events.Refused(Reason.MALFORMED, "no event")


def attempt(started: datetime = NOW, failed: datetime | None = None, detail: str = "busy") -> Attempt:
    """One attempt that failed."""
    return Attempt(started, failed or started, Reason.THROTTLED, detail, 8)


def letter(**attempts: datetime) -> Letter:
    """A letter with these attempts, `a0` for number 0, by when they began."""
    numbered = {int(number[1:]): attempt(started) for number, started in attempts.items()}
    return Letter(TRANSFER.id, numbered, "1.0", route="default")


def test_the_letter_of_a_run() -> None:
    """All that a person needs to understand it, and a replay to do it again."""
    assert record(letters.of_run(FAILED, after(hours=1), "1.2.3")) == {
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


@pytest.mark.parametrize("ending", [None, Outcome(Verdict.ENDED, state=State.DEAD_LETTERED)])
def test_a_run_without_a_reason_is_internal(ending: Outcome | None) -> None:
    """And its detail says what to do."""
    found = letters.of_run(replace(RUN, ending=ending), NOW, "1")
    assert (found.reason, found.detail) == (Reason.INTERNAL, Reason.INTERNAL.hint)


def test_a_note_stands_in_the_letter_beside_what_failed() -> None:
    """What was given up on the way, such as a target that could not be cleaned, is for the operator as well."""
    assert (
        letters.of_run(replace(FAILED, note="something may be left"), NOW, "1").detail == "busy; something may be left"
    )
    assert len(letters.of_run(replace(FAILED, note="x" * 9_999), NOW, "1").detail) == letters.MAX_DETAIL


def test_the_letter_of_a_message_keeps_its_body() -> None:
    """In base64, under the hash of what was received: the same message is the same letter."""
    found = letters.of_message(b"hello", REFUSED, NOW, "1")
    assert found == letters.of_message(b"hello", REFUSED, NOW, "1")
    assert found.id == identity.message_id(b"hello")
    assert base64.b64decode(found.message or "") == b"hello"
    assert (found.reason, found.detail, found.route) == (Reason.MALFORMED, "no event", None)
    assert record(found)["transfer"] is None


def all_letters() -> st.SearchStrategy[Letter]:
    """Letters of runs and of messages, open and resolved, with several attempts."""
    attempts = st.builds(
        Attempt, moments(), moments(), st.sampled_from(Reason), st.text(max_size=50), st.integers(0, 9)
    )
    numbered = st.dictionaries(st.integers(0, 99), attempts, min_size=1, max_size=5)
    of_runs = st.builds(
        lambda transfer, size: letters.of_run(Run(transfer, NOW, size=size), NOW, "1"),
        transfers(),
        st.none() | st.integers(0, 2**50),
    )
    of_messages = st.binary(max_size=50).map(lambda body: letters.of_message(body, REFUSED, NOW, "1"))
    opened = st.builds(lambda one, found: replace(one, attempts=found), of_runs | of_messages, numbered)
    return opened | st.builds(resolved, opened, moments(), st.sampled_from(State))


@quick
@given(all_letters())
def test_a_letter_survives_the_way_there_and_back(found: Letter) -> None:
    """As JSON."""
    assert letters.read(json.loads(json.dumps(record(found)))) == found


GOOD = json.loads(json.dumps(record(letters.of_run(FAILED, NOW, "1"))))
BAD_RECORDS: dict[str, Any] = {
    "nothing": None,
    "a list": [],
    "a text": "x",
    "an empty object": {},
    "a transfer that is text": {**GOOD, "transfer": "x"},
    "a transfer without ends": {**GOOD, "transfer": {"route": "x"}},
    "a source that is text": {**GOOD, "transfer": {**GOOD["transfer"], "source": "x"}},
    "attempts that are a list": {**GOOD, "attempts": [1]},
    "an attempt without a number": {**GOOD, "attempts": {"x": GOOD["attempts"]["0"]}},
    "an attempt that is empty": {**GOOD, "attempts": {"0": {}}},
    "a reason of its own": {**GOOD, "attempts": {"0": {**GOOD["attempts"]["0"], "reason": "weather"}}},
    "a time that is none": {**GOOD, "resolved_at": "yesterday"},
}


@pytest.mark.parametrize("case", BAD_RECORDS)
def test_what_is_no_record_raises_one_of_three(case: str) -> None:
    """The edge catches those."""
    with pytest.raises((KeyError, TypeError, ValueError)):
        letters.read(BAD_RECORDS[case])


def test_a_resolved_letter_says_when_and_how() -> None:
    """It is kept for audit."""
    shown = record(resolved(letter(a0=NOW, a1=after(hours=1)), after(hours=2), State.VERIFIED))
    assert (shown["state"], shown["resolved_at"], shown["resolved_as"]) == (
        "resolved",
        "2026-11-24T21:02:44.120Z",
        "verified",
    )
    assert shown["replays"] == 1


OPEN = letter(a0=NOW, a2=after(hours=2))
RESOLVED = resolved(OPEN, after(hours=4), State.VERIFIED)
MERGES: list[tuple[str, Letter | None, Letter, list[int] | None]] = [
    ("none", None, letter(a0=NOW), [0]),
    ("has this attempt", OPEN, letter(a2=after(hours=2)), None),
    ("has this attempt, open, though it began anew", OPEN, letter(a2=after(hours=9)), None),
    ("has a later one", OPEN, letter(a1=after(hours=1)), None),
    ("has this attempt, and is resolved", RESOLVED, letter(a2=after(hours=2)), None),
    ("has a later one, and is resolved", RESOLVED, letter(a1=after(hours=1)), None),
    ("resolved before the new attempt began", RESOLVED, letter(a0=after(hours=5)), [0, 2, 3]),
    ("resolved at the very moment", RESOLVED, letter(a2=after(hours=4)), [0, 2, 3]),
    ("has earlier attempts", OPEN, letter(a3=after(hours=3)), [0, 2, 3]),
    ("has earlier attempts, and is resolved", RESOLVED, letter(a3=after(hours=5)), [0, 2, 3]),
]


@pytest.mark.parametrize(("old", "new", "attempts"), [row[1:] for row in MERGES], ids=[row[0] for row in MERGES])
def test_which_write_wins(old: Letter | None, new: Letter, attempts: list[int] | None) -> None:
    """The table of `merged`: a late or second write changes nothing (`letter_written_late`), a new failure is open."""
    written = merged(old, new)
    assert (written and sorted(written.attempts)) == attempts
    if written:
        assert written.resolved_at is None
        assert written.attempts[written.last] == new.attempts[new.last]


def test_a_size_that_was_known_is_not_forgotten() -> None:
    """An attempt that got nowhere knows none."""
    old = replace(letter(a0=NOW), size=7)
    assert getattr(merged(old, letter(a1=NOW)), "size", None) == 7
    assert getattr(merged(old, replace(letter(a1=NOW), size=0)), "size", None) == 0


def test_the_first_attempt_and_the_newest_are_kept() -> None:
    """A letter that is replayed for ever does not grow for ever."""
    written = merged(letter(**{f"a{number}": NOW for number in range(100)}), letter(a100=NOW))
    assert written
    assert sorted(written.attempts) == [0, *range(52, 101)]
    assert len(written.attempts) == letters.MAX_ATTEMPTS


@quick
@given(all_letters())
def test_a_list_needs_no_read_per_letter(found: Letter) -> None:
    """Its fields are metadata: ASCII, within the service's 8 KB, and read back as they were."""
    metadata = letters.metadata(found)
    assert all(text.isascii() and "\n" not in text for pair in metadata.items() for text in pair)
    assert metadata_fits(metadata)
    shown, listed = record(found), letters.listed(found.id, metadata)
    for key in ("id", "reason", "hint", "first_failed_at", "last_failed_at"):
        assert listed[key] == shown[key]
    assert (listed["route"], listed["name"], listed["etag"], listed["size"]) == (
        found.route,
        found.name,
        found.etag,
        found.size,
    )


def test_the_longest_name_fits_into_metadata() -> None:
    """Also one that no route would carry."""
    found = replace(letters.of_run(FAILED, NOW, "1"), name="\u20ac" * 1_024)
    assert metadata_fits(letters.metadata(found))
    assert metadata_fits(letters.metadata(replace(found, name=None, etag=None)))


@quick
@given(
    st.dictionaries(
        st.sampled_from(["reason", "size", "name", "route", "etag", "last_failed_at"]),
        st.text(max_size=20) | st.sampled_from(["9" * 5_000, "\u0663", "\u00b2", "%", "%ff", "throttled"]),
    )
)
def test_listing_is_total(metadata: dict[str, str]) -> None:
    """A record whose metadata was lost or changed is still listed."""
    assert letters.listed("id", metadata)["id"] == "id"


SECRET = "dG9wc2VjcmV0Kw"
SAS = f"https://a.blob.core.windows.net/c/b?sv=2024-11-04&sig={SECRET}%3D&se=2026"
ENCODED = SAS.replace("%", "%25").replace("=", "%3D").replace("&", "%26").replace("?", "%3F")
SPELLINGS = {
    "a url": SAS,
    "first in the query": f"https://a/b?sig={SECRET}",
    "in capitals": SAS.replace("sig=", "SIG="),
    "encoded": ENCODED,
    "encoded twice": ENCODED.replace("%", "%25"),
    "encoded twice, first in the query": f"b%253Fsig%253D{SECRET}",
    "encoded in lower case": ENCODED.lower().replace(SECRET.lower(), SECRET),
    "escaped in JSON": json.dumps({"url": SAS}).replace("&", "\\u0026").replace("=", "\\u003d"),
    "escaped twice": json.dumps(json.dumps({"url": SAS}).replace("&", "\\u0026").replace("=", "\\u003D")),
    "a plus that is escaped": f"sig=abc\\u002B{SECRET}",
    "a slash that is escaped": f"sig=abc\\/{SECRET}",
    "a plus that is escaped twice": f"sig=abc\\\\u002b{SECRET}",
    "a function key": f"https://app.azurewebsites.net/api/transfers?code={SECRET}==",
    "in an exception": f"ResourceNotFound <{SAS}> at line 1",
    "beside an e with an accent": f"\u00e9?sig={SECRET}\u00e9",
    "several": f"{SAS} {SAS}",
    "alone": f"sig={SECRET}",
}


@pytest.mark.parametrize("code", [str.encode, lambda text: base64.b64encode(text.encode())], ids=["plain", "base64"])
@pytest.mark.parametrize("case", SPELLINGS)
def test_no_secret_survives_in_a_message(case: str, code: Any) -> None:
    """I8: in any spelling, and inside base64."""
    kept = base64.b64decode(letters.of_message(code(SPELLINGS[case]), REFUSED, NOW, "1").message or "")
    assert SECRET.encode() not in kept
    assert SECRET.encode() not in events.plain(kept)
    assert b"REMOVED" in kept


@pytest.mark.parametrize("case", SPELLINGS)
def test_no_secret_survives_in_a_text(case: str) -> None:
    """Such as an exception's."""
    assert SECRET not in text_without_secrets(SPELLINGS[case])


@pytest.mark.parametrize(
    "harmless",
    [
        "signature=x",
        "design=x",
        "barcode=x",
        "country_code=DE/a.csv",
        "decode=x",
        "ErrorCode=BlobNotFound",
        "sig",
        "the code is 7",
        "caf\u00e9",
    ],
)
def test_what_is_no_secret_stays(harmless: str) -> None:
    """A message is replayed as it was kept."""
    assert text_without_secrets(harmless) == harmless
    assert without_secrets(harmless.encode()) == harmless.encode()
    encoded = base64.b64encode(harmless.encode())
    assert without_secrets(encoded) == encoded


def test_json_is_still_json_without_its_secrets() -> None:
    """What follows the value stays: the quote, the next parameter."""
    assert without_secrets(json.dumps({"url": SAS, "a": 1}).encode()) == (
        b'{"url": "https://a.blob.core.windows.net/c/b?sv=2024-11-04&sig=REMOVED&se=2026", "a": 1}'
    )


@quick
@given(st.text(st.characters(), max_size=100))
def test_removing_secrets_is_total_and_once_is_enough(text: str) -> None:
    """Also for lone surrogates."""
    once = text_without_secrets(text)
    assert text_without_secrets(once) == once
    assert without_secrets(once.encode()) is not None


def test_a_message_that_lost_something_is_known() -> None:
    """It is not what it was, so it is not accepted again; a name such as `zipcode=1/a` loses nothing."""
    assert is_redacted(without_secrets(b'{"url": "https://a/b?sv=1&sig=abc"}'))
    assert is_redacted(without_secrets(b'{"subject": "/blobs/code=DE/a.csv"}'))
    assert not is_redacted(without_secrets(b'{"subject": "/blobs/zipcode=1/a.csv"}'))


def test_a_long_name_is_listed_cut_and_shows_it() -> None:
    """Between two characters, never inside one; the record has it whole."""
    long = letters.metadata(replace(letter(a0=NOW), name="é" * 1_000))
    shown = letters.listed("x", long)["name"]
    assert shown == "é" * (len(shown) - 1) + "…"
    assert len(long["name"]) <= letters.MAX_LISTED_NAME
