"""Conversion of the values of the rules to JSON and back."""

import json
from bisect import bisect_left
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules import codec
from rules.codec import decode, encode, parse_time, stamp
from rules.errors import Reason
from rules.events.decide import transfer_for
from rules.events.parse import RejectedEvent
from rules.routes import config, names
from rules.routes.model import Engine, Place, Route
from rules.transfers import lifecycle, status
from rules.transfers.model import Ending, Lane, Outcome, Run, Step, Successor, Transfer, Verdict
from rules.transfers.states import State
from tests.unit.samples import ETAG, NOW, RUN, TRANSFER, moments, outcomes, quick, runs, some_lanes


def test_a_run_as_json() -> None:
    assert encode(replace(RUN, deadline=timedelta(minutes=5), engine=Engine.SYNC)) == {
        "transfer": {
            "id": TRANSFER.id,
            "route": "default",
            "source": {
                "endpoint": "https://sharingsource.blob.core.windows.net",
                "container": "source",
                "prefix": "in/",
            },
            "target": {
                "endpoint": "https://sharingtarget.blob.core.windows.net",
                "container": "target",
                "prefix": "out/",
            },
            "name": "in/2026/report.csv",
            "etag": ETAG,
        },
        "accepted_at": "2026-11-24T19:02:44.120Z",
        "deadline": 300.0,
        "engine": "sync",
    }


@quick
@given(runs())
def test_a_run_is_unchanged_after_encoding_and_decoding(run: Run) -> None:
    """Also from text of text, since the durable SDK encodes some inputs twice."""
    encoded = encode(run)
    assert decode(Run, encoded) == run
    assert decode(Run, json.loads(json.dumps(encoded))) == run
    assert decode(Run, json.dumps(encoded)) == run


@quick
@given(outcomes(), some_lanes())
def test_an_outcome_is_unchanged_after_encoding_and_decoding(outcome: Outcome, lanes: tuple[Lane, ...]) -> None:
    whole = replace(outcome, lanes=lanes)
    assert decode(Outcome, json.dumps(encode(whole))) == whole


def test_lanes_and_refused_engines_as_json() -> None:
    """Without their defaults, so that the input of each activity stays short."""
    run = replace(RUN, lanes=(Lane(0, 7), Lane(9, 14, 200, 32, 2, NOW)), refused=(Engine.SYNC,))
    encoded = encode(run)
    assert encoded["lanes"] == [
        {"next": 0, "end": 7},
        {"next": 9, "end": 14, "staged": 200, "flow": 32, "failures": 2, "due": "2026-11-24T19:02:44.120Z"},
    ]
    assert encoded["refused"] == ["sync"]
    assert decode(Run, encoded) == run
    assert decode(Run, {**encode(RUN), "lanes": [], "refused": []}) == RUN


def test_fields_of_a_newer_release_are_ignored() -> None:
    encoded = encode(RUN)
    encoded["transfer"]["newer"] = {"a": 1}
    assert decode(Run, {**encoded, "newer": [1]}) == RUN


RUNS: list[tuple[str, Any, type[Exception]]] = [
    ("nothing", None, TypeError),
    ("a list", [], TypeError),
    ("a number", 7, TypeError),
    ("no JSON", "{", ValueError),
    ("the text of a list", "[]", TypeError),
    ("100,000 deep", "[" * 100_000, ValueError),
    ("an empty object", {}, TypeError),
    ("no transfer", {"transfer": None}, TypeError),
    ("a transfer that is empty", {"transfer": {}}, TypeError),
    ("no time", {"accepted_at": None}, TypeError),
    ("a time that is a number", {"accepted_at": 7}, TypeError),
    ("an invalid time", {"accepted_at": "yesterday"}, ValueError),
    ("a time without a zone", {"accepted_at": "2026-11-24T19:02:44"}, ValueError),
    ("a number that is text", {"attempt": "1"}, TypeError),
    ("a number that is a boolean", {"attempt": True}, TypeError),
    ("a number that is a fraction", {"attempt": 1.0}, TypeError),
    ("a boolean that is a number", {"first": 1}, TypeError),
    ("a text that is a number", {"detail": 1}, TypeError),
    ("a text that is a list", {"note": []}, TypeError),
    ("an unknown step", {"step": "rest"}, ValueError),
    ("a state that is a number", {"state": 1}, ValueError),
    ("a state that is missing", {"state": None}, ValueError),
    ("a duration that is text", {"deadline": "PT1H"}, TypeError),
    ("a duration without end", {"deadline": float("inf")}, ValueError),
    ("a duration that is not a number", {"deadline": float("nan")}, ValueError),
    ("an ending that is a number", {"ending": 7}, TypeError),
    ("lanes that are missing", {"lanes": None}, TypeError),
    ("lanes that are a number", {"lanes": 7}, TypeError),
    ("lanes that are an object", {"lanes": {"next": 0, "end": 7}}, TypeError),
    ("lanes that are text", {"lanes": "[]"}, TypeError),
    ("a lane that is a number", {"lanes": [7]}, TypeError),
    ("a lane that is no JSON", {"lanes": ["{"]}, ValueError),
    ("a lane without an end", {"lanes": [{"next": 0}]}, TypeError),
    ("a lane that begins with text", {"lanes": [{"next": "0", "end": 7}]}, TypeError),
    ("a lane that is due at an invalid time", {"lanes": [{"next": 0, "end": 7, "due": "soon"}]}, ValueError),
    ("a refused engine that is text", {"refused": "sync"}, TypeError),
    ("an unknown refused engine", {"refused": ["sync", "fast"]}, ValueError),
    ("a refused engine that is missing", {"refused": [None]}, ValueError),
]


@pytest.mark.parametrize(("given_run", "error"), [row[1:] for row in RUNS], ids=[row[0] for row in RUNS])
def test_an_invalid_run_raises_a_documented_error(given_run: Any, error: type[Exception]) -> None:
    whole = {**encode(RUN), **given_run} if isinstance(given_run, dict) and given_run else given_run
    with pytest.raises(error):
        decode(Run, whole)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


@quick
@given(st.dictionaries(st.sampled_from(sorted(codec._type_hints(Run))), JSON, max_size=3) | JSON)
def test_decoding_raises_only_documented_errors(garbage: Any) -> None:
    whole = {**encode(RUN), **garbage} if isinstance(garbage, dict) else garbage
    with suppress(KeyError, TypeError, ValueError):
        assert isinstance(decode(Run, whole), Run)


@pytest.mark.parametrize(
    ("given_moment", "text"),
    [
        (NOW, "2026-11-24T19:02:44.120Z"),
        (NOW.astimezone(timezone(timedelta(hours=9))), "2026-11-24T19:02:44.120Z"),
        (NOW.replace(microsecond=999), "2026-11-24T19:02:44.000Z"),
    ],
)
def test_a_time_is_formatted_as_rfc_3339_in_utc_with_milliseconds(given_moment: datetime, text: str) -> None:
    assert stamp(given_moment) == text


def test_a_time_in_lower_case_is_parsed_and_other_types_raise() -> None:
    assert parse_time("2026-11-24t19:02:44.120z") == NOW
    for wrong in (1764011264, None, b"2026-11-24T19:02:44Z"):
        with pytest.raises(TypeError):
            parse_time(wrong)  # type: ignore[arg-type]  # what JSON may hold


@quick
@given(moments())
def test_a_time_is_unchanged_after_formatting_and_parsing(when: datetime) -> None:
    assert parse_time(stamp(when)) == when


def longest(character: str) -> Transfer:
    """The longest transfer that names and prefixes of this character allow."""
    prefix = character * (config.MAX_PREFIX // names.utf16_length(character))
    route = Route(
        "r" * 40,
        Place("https://" + "s" * 24 + ".z12.blob.core.usgovcloudapi.net", "c" * 63),
        Place("https://" + "t" * 24 + ".z12.blob.core.usgovcloudapi.net", "c" * 63, prefix),
    )

    def transfer_of(length: int) -> Transfer | RejectedEvent:
        name = character * length
        own = replace(route, source=replace(route.source, prefix=name[: len(prefix)]))
        return transfer_for(own, name, "e" * 128)

    first_refused = bisect_left(
        range(2_000), x=True, key=lambda length: length > 0 and isinstance(transfer_of(length), RejectedEvent)
    )
    found = transfer_of(first_refused - 1)
    assert isinstance(found, Transfer)
    return found


@pytest.mark.parametrize("character", ["a", '"', "\u00e9", "\u20ac", "\U0001f600"], ids=ascii)
def test_the_longest_run_stays_under_16_kb_and_its_status_under_4_kb(character: str) -> None:
    """Also if the SDK encodes it twice."""
    detail, size = character * 9_999, 2**63
    found = Outcome(Verdict.ENDED, Engine.ASYNC, size, size, Reason.DEADLINE_EXCEEDED, detail, refused=tuple(Engine))
    run = Run(
        longest(character),
        NOW,
        attempt=9_999,
        has_open_dead_letter=True,
        deadline=timedelta(days=6),
        state=State.COPYING,
        copy_attempts=9,
        polls=9_999,
        copying_at=NOW,
        progressed_at=NOW,
        cancelling=True,
        recorded=True,
        lanes=(Lane(49_999, 50_000, 2**63, 32, 8, NOW),) * 4,
    )
    run = lifecycle.advance(
        run,
        replace(
            found,
            ending=Ending(State.CANCELLED, Reason.DEADLINE_EXCEEDED, detail[:300], Successor("e" * 128, growing=True)),
        ),
        NOW,
    )
    run = replace(
        run, first=False, activity_failures=99, pause=750, note="index tags were not copied: the app may not write them"
    )
    assert run.step is Step.RECORD
    assert (len(run.lanes), len(run.refused)) == (4, 3)
    assert run.ending
    assert len(run.ending.detail) == len(run.detail) == lifecycle.MAX_DETAIL
    assert len(json.dumps(json.dumps(encode(run)))) < 16 * 1_024
    assert len(json.dumps(status.progress(run, NOW))) < 4 * 1_024
