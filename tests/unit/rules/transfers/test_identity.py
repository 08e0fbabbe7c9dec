"""Rule 4: ids of transfers, jobs and messages."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.routes.model import Place, Route
from rules.transfers import identity
from tests.unit.samples import ETAG, NAME, NEWER, ROUTE, TRANSFER, carried_names, quick

# Never change these: a release that computes other ids copies everything again and orphans every dead letter.
GOLDEN = {
    NAME: "37a8eec1-69dbf36083ff9fc45dab5d50",
    "in/a b%+.txt": "37a8eec1-0ee3797ee76293a0a6d0c5cd",
    "in/caf\u00e9/\U0001f600": "37a8eec1-12c27e9d4700dc7b661bec10",
}


@pytest.mark.parametrize("name", GOLDEN, ids=ascii)
def test_transfer_ids_never_change(name: str) -> None:
    assert identity.transfer(ROUTE, name, ETAG).id == GOLDEN[name]


def test_message_ids_never_change() -> None:
    assert identity.message_id(b"not json") == "message-7ccfa1fbf3940e6f0c0375d8"


def test_an_id_is_made_of_two_hashes() -> None:
    """8 hex digits of the route's hash, a dash, 24 of source URL, ETag and target URL joined by newlines."""
    source, target = TRANSFER.source_blob.url, TRANSFER.target_blob.url
    assert identity.transfer_id("default", source, ETAG, target) == TRANSFER.id
    assert identity.TRANSFER_ID_PATTERN.fullmatch(TRANSFER.id)
    assert identity.MESSAGE_ID_PATTERN.fullmatch(identity.message_id(b""))


def test_a_copy_is_recognised_by_its_id_whatever_its_route() -> None:
    """Two apps that mirror each other recognise each other's receipts."""
    source, target = TRANSFER.source_blob.url, TRANSFER.target_blob.url
    for route in ("default", "another"):
        assert identity.is_copy(identity.transfer_id(route, source, ETAG, target), source, ETAG, target)
    assert not identity.is_copy(TRANSFER.id, source, NEWER, target)
    assert not identity.is_copy(TRANSFER.id, target, ETAG, source)
    assert not identity.is_copy("", source, ETAG, target)
    assert not identity.is_copy(TRANSFER.id + "0", source, ETAG, target)


def test_the_ids_of_a_route_share_a_prefix() -> None:
    assert TRANSFER.id.startswith(identity.route_prefix("default"))
    assert not TRANSFER.id.startswith(identity.route_prefix("another"))


CHANGES = {
    "route": replace(ROUTE, name="another"),
    "source account": replace(ROUTE, source=replace(ROUTE.source, endpoint="https://other.blob.core.windows.net")),
    "source container": replace(ROUTE, source=replace(ROUTE.source, container="other")),
    "target account": replace(ROUTE, target=replace(ROUTE.target, endpoint="https://other.blob.core.windows.net")),
    "target container": replace(ROUTE, target=replace(ROUTE.target, container="other")),
    "target prefix": replace(ROUTE, target=replace(ROUTE.target, prefix="other/")),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_source_or_target_is_another_transfer(change: str) -> None:
    assert identity.transfer(CHANGES[change], NAME, ETAG).id != TRANSFER.id


def test_another_version_or_name_is_another_transfer() -> None:
    ids = {TRANSFER.id, identity.transfer(ROUTE, NAME, NEWER).id, identity.transfer(ROUTE, NAME + "x", ETAG).id}
    assert len(ids) == 3


def test_engine_deadline_suffix_and_tier_do_not_change_the_id() -> None:
    assert identity.transfer(replace(ROUTE, suffix=".csv", tier="Cool"), NAME, ETAG) == TRANSFER


@quick
@given(carried_names(60), carried_names(60), st.from_regex(r"[0-9A-Fx]{1,20}", fullmatch=True))
def test_ids_are_deterministic_and_differ_with_the_name(one: str, other: str, etag: str) -> None:
    route = Route(
        "any", Place("https://one.blob.core.windows.net", "c"), Place("https://two.blob.core.windows.net", "c")
    )
    first = identity.transfer(route, one, etag)
    assert identity.transfer(route, one, f'"{etag}"') == first
    assert identity.sibling(first, etag) == first
    assert identity.TRANSFER_ID_PATTERN.fullmatch(first.id)
    assert (identity.transfer(route, other, etag).id == first.id) == (one == other)


def test_a_sibling_is_another_version_of_the_same_blob_and_route() -> None:
    assert identity.sibling(TRANSFER, f'"{NEWER}"') == identity.transfer(ROUTE, NAME, NEWER)


@pytest.mark.parametrize(
    ("etag", "bare_etag"),
    [('"0x1"', "0x1"), ("0x1", "0x1"), ('"', '"'), ('""', ""), ('"0x1', '"0x1'), ("", ""), ('""0x1""', '"0x1"')],
)
def test_one_pair_of_quotes_is_removed_from_an_etag(etag: str, bare_etag: str) -> None:
    assert identity.bare_etag(etag) == bare_etag


@pytest.mark.parametrize(
    ("of", "trace"),
    [
        ("37a8eec1-69dbf36083ff9fc45dab5d50", "37a8eec169dbf36083ff9fc45dab5d50"),
        ("reconcile-69dbf36083ff9fc45dab5d50", "0000000069dbf36083ff9fc45dab5d50"),
        ("replay-69dbf36083ff9fc45dab5d50", "0000000069dbf36083ff9fc45dab5d50"),
        ("message-69dbf36083ff9fc45dab5d50", ""),
        ("37a8eec1-69dbf36083ff9fc45dab5d50\n", ""),
        ("", ""),
    ],
)
def test_the_trace_id_follows_from_the_id(of: str, trace: str) -> None:
    assert identity.trace_id(of) == trace
