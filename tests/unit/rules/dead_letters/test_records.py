"""Dead letters as JSON and as metadata, in the present schema and every earlier one."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules import codec
from rules.dead_letters import letters, records
from rules.dead_letters.letters import Attempt, DeadLetter, resolve
from rules.dead_letters.records import record
from rules.errors import Reason
from rules.events.parse import RejectedEvent
from rules.jobs.model import Job
from rules.transfers.model import Ended, Ending, Run
from rules.transfers.policies import metadata_fits
from rules.transfers.states import State
from tests.unit.samples import NOW, RUN, moments, quick, transfers

THROTTLED = Ending(State.DEAD_LETTERED, reason=Reason.THROTTLED, detail="busy")
FAILED = replace(RUN, size=1_000, copy_attempts=8, ending=THROTTLED)
REFUSED = RejectedEvent(Reason.MALFORMED, "no event")


def all_letters() -> st.SearchStrategy[DeadLetter]:
    """Dead letters of runs and messages, open and resolved, with several attempts."""
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
    return opened | st.builds(resolve, opened, moments(), st.sampled_from(State))


@quick
@given(all_letters())
def test_a_dead_letter_is_unchanged_after_encoding_and_decoding(found: DeadLetter) -> None:
    assert records.read(json.loads(json.dumps(record(found)))) == found


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
    "an unknown reason": {**GOOD, "attempts": {"0": {**GOOD["attempts"]["0"], "reason": "weather"}}},
    "an invalid time": {**GOOD, "resolved_at": "yesterday"},
}


@pytest.mark.parametrize("case", BAD_RECORDS)
def test_an_invalid_record_raises_a_documented_error(case: str) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        records.read(BAD_RECORDS[case])


@quick
@given(all_letters())
def test_the_metadata_holds_every_field_of_a_list_item(found: DeadLetter) -> None:
    """Within the limits of the service: ASCII, and 8 KB."""
    metadata = records.metadata(found)
    assert all(text.isascii() and "\n" not in text for pair in metadata.items() for text in pair)
    assert metadata_fits(metadata)
    shown, listed = record(found), records.list_item(found.id, metadata)
    for key in ("id", "reason", "hint", "first_failed_at", "last_failed_at"):
        assert listed[key] == shown[key]
    assert (listed["route"], listed["name"], listed["etag"], listed["size"]) == (
        found.route,
        found.name,
        found.etag,
        found.size,
    )


def test_the_longest_name_fits_into_metadata() -> None:
    found = replace(letters.of_run(FAILED, NOW, "1"), name="\u20ac" * 1_024)
    assert metadata_fits(records.metadata(found))
    assert metadata_fits(records.metadata(replace(found, name=None, etag=None)))


@quick
@given(
    st.dictionaries(
        st.sampled_from(["reason", "size", "name", "route", "etag", "last_failed_at"]),
        st.text(max_size=20) | st.sampled_from(["9" * 5_000, "\u0663", "\u00b2", "%", "%ff", "throttled"]),
    )
)
def test_a_list_item_never_raises_for_any_metadata(metadata: dict[str, str]) -> None:
    assert records.list_item("id", metadata)["id"] == "id"


def test_a_long_name_is_cut_between_two_characters() -> None:
    long = records.metadata(replace(letters.of_run(FAILED, NOW, "1"), name="é" * 1_000))
    shown = records.list_item("x", long)["name"]
    assert shown == "é" * (len(shown) - 1) + "…"
    assert len(long["name"]) <= records.MAX_LISTED_NAME


FROZEN = Path(__file__).parent / "frozen"
"""One file for each thing that is stored and each schema that it ever had, as a release wrote it. Never edited: only added to."""


def frozen(name: str) -> Any:
    return json.loads((FROZEN / f"{name}.json").read_text())


@pytest.mark.parametrize("name", [path.stem for path in sorted(FROZEN.glob("letter-*"))])
def test_every_dead_letter_of_an_earlier_release_is_read(name: str) -> None:
    """The hint is the present one; new fields may be added."""
    shown, written = json.loads(json.dumps(record(records.read(frozen(name))))), frozen(name)
    del written["hint"]
    assert {key: shown[key] for key in written} == written


def test_every_schema_of_a_dead_letter_has_a_frozen_example() -> None:
    schemas = {frozen(path.stem)["schema"] for path in FROZEN.glob("letter-*")}
    assert schemas == set(range(1, letters.SCHEMA + 1))


def test_records_of_ends_and_inputs_of_an_earlier_release_are_read() -> None:
    """An orchestration that started under an older release continues under this one."""
    for kind, name in ((Ended, "ended-1"), (Run, "run-1"), (Job, "job-1")):
        assert json.loads(json.dumps(codec.encode(codec.decode(kind, frozen(name))))) == frozen(name)
    assert {path.stem.partition("-")[0] for path in FROZEN.iterdir()} == {"letter", "ended", "run", "job"}


@pytest.mark.parametrize("name", ["in/a.txt", "in/caf\u00e9/\U0001f600", "in/" + "\u00e9" * 300])
def test_a_list_item_matches_its_name_even_if_it_is_truncated(name: str) -> None:
    letter = replace(letters.of_run(FAILED, NOW, "1"), name=name)
    item = records.list_item(letter.id, records.metadata(letter))
    assert records.is_listed_as(item, name)
    assert not records.is_listed_as(item, "in/another.txt")
    assert records.is_truncated(name) is (item["name"] != name)
