"""The words of the product as values: where they lead, and that nobody changes them."""

from dataclasses import FrozenInstanceError, fields, replace
from datetime import timedelta

import pytest

from rules.routes.model import Blob, Engine, EnginePreference, Place
from rules.transfers.model import Kind, Run, Step
from rules.transfers.states import State
from tests.unit.samples import NAME, NOW, ROUTE, RUN, SOURCE_HOST, TARGET_HOST, TRANSFER


def test_a_blob_has_one_canonical_url() -> None:
    """Encoded once, without SAS."""
    blob = Blob(SOURCE_HOST, "source", "a b/100%?")
    assert blob.url == f"{SOURCE_HOST}/source/a%20b/100%25%3F"


@pytest.mark.parametrize(
    ("endpoint", "account"),
    [
        ("https://sharing.blob.core.windows.net", "sharing"),
        ("https://sharing.z12.blob.storage.azure.net", "sharing"),
        ("http://127.0.0.1:10000/sharing", "sharing"),
        ("https://[::1]:10000/sharing", "sharing"),
    ],
)
def test_a_place_knows_its_account(endpoint: str, account: str) -> None:
    """The first label of the host, or the emulator's first path segment."""
    assert Place(endpoint, "container").account == account


def test_a_place_goes_on_after_its_prefix() -> None:
    """Whatever follows."""
    place = Place(SOURCE_HOST, "source", "in put/")
    assert place.url == f"{SOURCE_HOST}/source/in%20put/"
    assert place.blob("a") == Blob(SOURCE_HOST, "source", "in put/a")


def test_a_transfer_leads_from_a_version_to_the_targets_prefix() -> None:
    """The target's prefix in place of the source's."""
    assert TRANSFER.source_blob == Blob(SOURCE_HOST, "source", NAME)
    assert TRANSFER.target_blob == Blob(TARGET_HOST, "target", "out/2026/report.csv")


@pytest.mark.parametrize(
    ("account", "container", "name", "carried"),
    [
        ("sharingsource", "source", "in/a.csv", True),
        ("sharingsource", "source", "in/.csv", True),
        ("sharingsource", "source", "in/a.json", False),
        ("sharingsource", "source", "out/a.csv", False),
        ("sharingsource", "other", "in/a.csv", False),
        ("other", "source", "in/a.csv", False),
    ],
)
def test_a_route_carries_what_begins_and_ends_as_it_says(
    account: str, container: str, name: str, *, carried: bool
) -> None:
    """In its source's account and container."""
    assert replace(ROUTE, suffix=".csv").carries(account, container, name) is carried


def test_prefix_and_suffix_do_not_share_letters() -> None:
    """Or the target's name would lose the suffix."""
    greedy = replace(ROUTE, source=Place(SOURCE_HOST, "source", "x.cs"), suffix=".csv")
    assert not greedy.carries("sharingsource", "source", "x.csv")


def test_a_run_begins_at_the_beginning() -> None:
    """What an event starts."""
    assert (RUN.step, RUN.state, RUN.attempt, RUN.first) == (Step.START, State.ACCEPTED, 0, True)
    assert (RUN.accepted_at, RUN.deadline, RUN.has_open_dead_letter) == (NOW, None, False)


def test_values_do_not_change() -> None:
    """A run that goes on is another run."""
    with pytest.raises(FrozenInstanceError):
        RUN.attempt = 1  # type: ignore[misc]
    assert replace(RUN, deadline=timedelta(hours=1)) != RUN


def test_what_is_stored_keeps_its_names() -> None:
    """Runs in flight are read by the next release: fields are added, never renamed."""
    assert [field.name for field in fields(Run)] == [
        "transfer",
        "accepted_at",
        "attempt",
        "has_open_dead_letter",
        "deadline",
        "step",
        "state",
        "first",
        "engine",
        "size",
        "copied",
        "copy_attempts",
        "activity_failures",
        "resumes",
        "polls",
        "copying_at",
        "progressed_at",
        "updated_at",
        "first_look_at",
        "gone",
        "settled",
        "pause",
        "cancelling",
        "recorded",
        "ending",
        "reason",
        "detail",
        "note",
        "schema",
    ]
    assert (list(Engine), list(EnginePreference)) == (["sync", "async"], ["auto", "sync", "async"])
    assert list(Kind) == ["BlockBlob", "AppendBlob", "PageBlob"]
    assert list(Step) == ["start", "check", "record", "clean", "close"]
