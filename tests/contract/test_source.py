"""Where versions are read: the same in memory and in storage."""

from datetime import UTC, datetime, timedelta

import pytest

from adapters.translation import SOURCE_HEAD
from rules.errors import Reason, Retryable
from rules.routes.model import Blob
from rules.transfers.model import Kind
from tests.contract.worlds import InStorage, World

NAMES = [
    "plain.txt",
    "a b",
    " blank at both ends ",
    "50%",
    "%20",
    "%2e%2e/x",
    "a%2Fb",
    "+#?&;=@",
    "ü",
    "u\u0308",
    "🎈/שלום",
    "...dots",
    "...dots . in the middle.txt",
    "a//b",
    "trailing/",
    "~tilde-_.!'()*",
    "x" * 900,
]


async def test_a_blob_is_seen_as_it_is(world: World) -> None:
    """ETag bare_etag, size, kind, metadata as it was written, tags counted."""
    etag = await world.put(world.source_blob(), b"12345", metadata={"Key": "Value"}, tags={"a": "1", "b": "2"})
    seen = await world.source.head(world.source_blob())
    assert seen is not None
    assert (seen.etag, seen.size, seen.kind, seen.metadata) == (etag, 5, Kind.BLOCK, {"Key": "Value"})
    assert (seen.copy_status, seen.archived, seen.tag_count) == (None, False, 2)
    assert '"' not in seen.etag


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("size", [0, 512])
async def test_every_kind_and_the_empty_blob(world: World, kind: Kind, size: int) -> None:
    """A kind is what the service says."""
    await world.put(world.source_blob(), bytes(size), kind=kind)
    seen = await world.source.head(world.source_blob())
    assert seen is not None
    assert (seen.kind, seen.size) == (kind, size)


async def test_an_overwrite_is_another_version(world: World) -> None:
    """Identical bytes, another ETag."""
    first = await world.put(world.source_blob())
    assert await world.put(world.source_blob()) != first


async def test_only_a_missing_blob_is_none(world: World) -> None:
    """Only BlobNotFound is a deletion: a missing container comes back (rule 12)."""
    assert await world.source.head(world.source_blob("missing")) is None
    with pytest.raises(Retryable) as failure:
        await world.source.head(Blob(world.source_place.endpoint, "missing", "blob"))
    assert (failure.value.reason, failure.value.code) == (Reason.SOURCE_UNREADABLE, "ContainerNotFound")


async def test_an_archived_blob_says_so(world: World) -> None:
    """It can be seen and not be copied."""
    await world.put(world.source_blob(), tier="Archive")
    seen = await world.source.head(world.source_blob())
    assert seen is not None
    assert seen.archived


async def test_tags_of_a_version(world: World) -> None:
    """Read with the version's ETag; none of a version that is gone."""
    etag = await world.put(world.source_blob(), tags={"a key": "a value"})
    assert await world.source.tags(world.source_blob(), etag) == {"a key": "a value"}
    await world.remove(world.source_blob())
    assert await world.source.tags(world.source_blob(), etag) is None


@pytest.mark.parametrize("name", NAMES)
async def test_names_survive(world: World, name: str) -> None:
    """Byte for byte."""
    etag = await world.put(world.source_blob(name))
    seen = await world.source.head(world.source_blob(name))
    assert seen is not None
    assert seen.etag == etag


async def test_a_signed_read_is_no_secret_on_show(world: World) -> None:
    """Printed, it shows nothing."""
    until = datetime.now(UTC) + timedelta(minutes=30)
    signed = await world.source.sign_read(world.source_blob(), until)
    assert signed.url.startswith(world.source_blob().url + "?")
    assert "sig" not in repr(signed)


async def test_no_answer_to_a_look_is_for_later(world: World) -> None:
    """A read that goes unanswered has changed nothing."""
    async with world.trouble(SOURCE_HEAD, world.source_blob(), applied=False):
        with pytest.raises(Retryable) as failure:
            await world.source.head(world.source_blob())
    assert failure.value.reason is Reason.THROTTLED


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "InvalidQueryParameterValue"),
        (403, "AuthorizationPermissionMismatch"),
        (409, "FeatureNotYetSupportedForHierarchicalNamespaceAccounts"),
    ],
)
async def test_tags_that_the_account_does_not_have_or_show(storage: InStorage, status: int, code: str) -> None:
    """An account with a hierarchical namespace does not know the query. The blob is copied without them."""
    etag = await storage.put(storage.source_blob(), tags={"a key": "a value"})
    fault = {"operation": "GetTags", "blob": storage.test}
    storage.stack.control.add_fault(fault, {"status": status, "code": code}, 1)
    assert await storage.source.tags(storage.source_blob(), etag) is None
