"""Dead letters as JSON and as metadata, now and as every release before wrote them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules import codec, events
from rules.dead_letters import letters, records
from rules.dead_letters.letters import Attempt, DeadLetter, resolve
from rules.dead_letters.records import record
from rules.errors import Reason
from rules.jobs.model import Job
from rules.transfers.model import Ended, Ending, Run
from rules.transfers.policies import metadata_fits
from rules.transfers.states import State
from tests.unit.samples import NOW, RUN, moments, quick, transfers

THROTTLED = Ending(State.DEAD_LETTERED, reason=Reason.THROTTLED, detail="busy")
FAILED = replace(RUN, size=1_000, copy_attempts=8, ending=THROTTLED)
REFUSED = events.RejectedEvent(Reason.MALFORMED, "no event")


def all_letters() -> st.SearchStrategy[DeadLetter]:
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
    return opened | st.builds(resolve, opened, moments(), st.sampled_from(State))


@quick
@given(all_letters())
def test_a_letter_survives_the_way_there_and_back(found: DeadLetter) -> None:
    """As JSON."""
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
    "a reason of its own": {**GOOD, "attempts": {"0": {**GOOD["attempts"]["0"], "reason": "weather"}}},
    "a time that is none": {**GOOD, "resolved_at": "yesterday"},
}


@pytest.mark.parametrize("case", BAD_RECORDS)
def test_what_is_no_record_raises_one_of_three(case: str) -> None:
    """The edge catches those."""
    with pytest.raises((KeyError, TypeError, ValueError)):
        records.read(BAD_RECORDS[case])


@quick
@given(all_letters())
def test_a_list_needs_no_read_per_letter(found: DeadLetter) -> None:
    """Its fields are metadata: ASCII, within the service's 8 KB, and read back as they were."""
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
    """Also one that no route would carry."""
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
def test_listing_is_total(metadata: dict[str, str]) -> None:
    """A record whose metadata was lost or changed is still listed."""
    assert records.list_item("id", metadata)["id"] == "id"


def test_a_long_name_is_listed_cut_and_shows_it() -> None:
    """Between two characters, never inside one; the record has it whole."""
    long = records.metadata(replace(letters.of_run(FAILED, NOW, "1"), name="é" * 1_000))
    shown = records.list_item("x", long)["name"]
    assert shown == "é" * (len(shown) - 1) + "…"
    assert len(long["name"]) <= records.MAX_LISTED_NAME


FROZEN = Path(__file__).parent / "frozen"
"""One file for each thing that is stored and each schema that it ever had, as a release wrote it. Never edited: only added to."""


def frozen(name: str) -> Any:
    """A frozen example."""
    return json.loads((FROZEN / f"{name}.json").read_text())


@pytest.mark.parametrize("name", [path.stem for path in sorted(FROZEN.glob("letter-*"))])
def test_every_letter_that_a_release_ever_wrote_is_read(name: str) -> None:
    """And answered with all that it held, but for the hint, which is today's; what came later may stand beside it."""
    shown, written = json.loads(json.dumps(record(records.read(frozen(name))))), frozen(name)
    del written["hint"]
    assert {key: shown[key] for key in written} == written


def test_every_schema_of_a_letter_has_its_frozen_example() -> None:
    """A new schema comes with a new file; the old ones stay."""
    schemas = {frozen(path.stem)["schema"] for path in FROZEN.glob("letter-*")}
    assert schemas == set(range(1, letters.SCHEMA + 1))


def test_the_records_of_ends_and_the_inputs_that_a_release_wrote_are_read() -> None:
    """An orchestration that began under an older release goes on under this one; its input may hold less, never otherwise."""
    for kind, name in ((Ended, "ended-1"), (Run, "run-1"), (Job, "job-1")):
        assert json.loads(json.dumps(codec.encode(codec.decode(kind, frozen(name))))) == frozen(name)
    assert {path.stem.partition("-")[0] for path in FROZEN.iterdir()} == {"letter", "ended", "run", "job"}


@pytest.mark.parametrize("name", ["in/a.txt", "in/caf\u00e9/\U0001f600", "in/" + "\u00e9" * 300])
def test_a_listed_letter_is_found_by_its_name(name: str) -> None:
    """Whole, or by the part that the list shows; then only the letter can tell."""
    letter = replace(letters.of_run(FAILED, NOW, "1"), name=name)
    item = records.list_item(letter.id, records.metadata(letter))
    assert records.is_listed_as(item, name)
    assert not records.is_listed_as(item, "in/another.txt")
    assert records.is_truncated(name) is (item["name"] != name)
