"""The values of routes and transfers."""

from dataclasses import FrozenInstanceError, fields, replace
from datetime import timedelta

import pytest

from rules.routes.model import Blob, Engine, EnginePreference, Place
from rules.transfers.model import Kind, Lane, Run, Step
from rules.transfers.states import State
from tests.unit.samples import NAME, NOW, ROUTE, RUN, SOURCE_HOST, TARGET_HOST, TRANSFER


def test_a_blob_has_one_canonical_url() -> None:
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
def test_the_account_of_a_place(endpoint: str, account: str) -> None:
    assert Place(endpoint, "container").account == account


def test_a_blob_of_a_place_has_its_prefix() -> None:
    place = Place(SOURCE_HOST, "source", "in put/")
    assert place.url == f"{SOURCE_HOST}/source/in%20put/"
    assert place.blob("a") == Blob(SOURCE_HOST, "source", "in put/a")


def test_the_target_prefix_replaces_the_source_prefix() -> None:
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
def test_a_route_carries_names_with_its_prefix_and_suffix(
    account: str, container: str, name: str, *, carried: bool
) -> None:
    assert replace(ROUTE, suffix=".csv").carries(account, container, name) is carried


def test_prefix_and_suffix_of_a_name_do_not_overlap() -> None:
    """Otherwise the target's name would lose the suffix."""
    greedy = replace(ROUTE, source=Place(SOURCE_HOST, "source", "x.cs"), suffix=".csv")
    assert not greedy.carries("sharingsource", "source", "x.csv")


def test_a_new_run_begins_with_start() -> None:
    assert (RUN.step, RUN.state, RUN.attempt, RUN.first) == (Step.START, State.ACCEPTED, 0, True)
    assert (RUN.accepted_at, RUN.deadline, RUN.has_open_dead_letter) == (NOW, None, False)


def test_values_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        RUN.attempt = 1  # type: ignore[misc]
    assert replace(RUN, deadline=timedelta(hours=1)) != RUN


def test_stored_names_never_change() -> None:
    """The next release reads the runs in flight, so fields may be added but not renamed."""
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
        "lanes",
        "refused",
        "slow_copy",
        "ending",
        "reason",
        "detail",
        "note",
        "notify",
        "verified_at",
        "target_etag",
        "all_polls",
        "retries",
        "event_at",
        "schema",
    ]
    assert [field.name for field in fields(Lane)] == ["next", "end", "staged", "flow", "failures", "due"]
    assert list(Engine) == ["sync", "async", "blocks"]
    assert list(EnginePreference) == ["auto", "sync", "async", "blocks"]
    assert list(Kind) == ["BlockBlob", "AppendBlob", "PageBlob"]
    assert list(Step) == ["start", "stage", "check", "record", "clean", "close", "notify"]
