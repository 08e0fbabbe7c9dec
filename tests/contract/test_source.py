"""Source blobs, in memory and in storage."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from adapters.translation import SOURCE_HEAD
from rules.errors import Reason, Retryable
from rules.routes.model import Blob
from rules.transfers.decisions import SourceBlob
from rules.transfers.model import Kind
from tests.contract.helpers import NAMES
from tests.contract.worlds import InStorage, World


async def test_a_head_has_all_properties(world: World) -> None:
    etag = await world.put(world.source_blob(), b"12345", metadata={"Key": "Value"}, tags={"a": "1", "b": "2"})
    seen = await world.source.head(world.source_blob())
    assert seen is not None
    assert (seen.etag, seen.size, seen.kind, seen.metadata) == (etag, 5, Kind.BLOCK, {"Key": "Value"})
    assert (seen.copy_status, seen.archived, seen.tag_count) == (None, False, 2)
    assert '"' not in seen.etag


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("size", [0, 512])
async def test_a_head_has_type_and_size(world: World, kind: Kind, size: int) -> None:
    await world.put(world.source_blob(), bytes(size), kind=kind)
    seen = await world.source.head(world.source_blob())
    assert seen is not None
    assert (seen.kind, seen.size) == (kind, size)


async def test_an_overwrite_is_another_version(world: World) -> None:
    first = await world.put(world.source_blob())
    assert await world.put(world.source_blob()) != first


async def test_only_a_missing_blob_is_none(world: World) -> None:
    """Only BlobNotFound is a deletion (rule 12)."""
    assert await world.source.head(world.source_blob("missing")) is None
    with pytest.raises(Retryable) as failure:
        await world.source.head(Blob(world.source_place.endpoint, "missing", "blob"))
    assert (failure.value.reason, failure.value.code) == (Reason.SOURCE_UNREADABLE, "ContainerNotFound")


async def test_an_archived_blob_is_recognized(world: World) -> None:
    await world.put(world.source_blob(), tier="Archive")
    seen = await world.source.head(world.source_blob())
    assert seen is not None
    assert seen.archived


@pytest.mark.parametrize("tier", ["Hot", "Cool", "Cold"])
async def test_a_tier_is_seen_if_it_was_set(world: World, tier: str) -> None:
    """By a HEAD and in a list."""
    await world.put(world.source_blob("set"), tier=tier)
    await world.put(world.source_blob("unset"))
    heads = [await world.source.head(world.source_blob(name)) for name in ("set", "unset")]
    assert [seen and seen.tier for seen in heads] == [tier, None]
    page, _ = await world.source.page(replace(world.source_place, prefix=f"{world.test}/"), 10, None)
    assert [seen.tier for _, seen in page if isinstance(seen, SourceBlob)] == [tier, None]


@pytest.mark.parametrize("kind", [Kind.APPEND, Kind.PAGE])
async def test_page_and_append_blobs_have_no_tier(world: World, kind: Kind) -> None:
    await world.put(world.source_blob(), bytes(512), kind=kind)
    seen = await world.source.head(world.source_blob())
    assert seen is not None
    assert seen.tier is None


async def test_tags_are_read_of_one_version(world: World) -> None:
    etag = await world.put(world.source_blob(), tags={"a key": "a value"})
    assert await world.source.tags(world.source_blob(), etag) == {"a key": "a value"}
    await world.remove(world.source_blob())
    assert await world.source.tags(world.source_blob(), etag) is None


@pytest.mark.parametrize("name", NAMES)
async def test_names_are_kept_byte_for_byte(world: World, name: str) -> None:
    etag = await world.put(world.source_blob(name))
    seen = await world.source.head(world.source_blob(name))
    assert seen is not None
    assert seen.etag == etag


async def test_the_repr_of_a_signed_read_hides_its_signature(world: World) -> None:
    until = datetime.now(UTC) + timedelta(minutes=30)
    signed = await world.source.sign_read(world.source_blob(), until)
    assert signed.url.startswith(world.source_blob().url + "?")
    assert "sig" not in repr(signed)


async def test_a_read_without_an_answer_is_retryable(world: World) -> None:
    async with world.unanswered(SOURCE_HEAD, world.source_blob(), applied=False):
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
async def test_tags_that_are_missing_or_denied_are_none(storage: InStorage, status: int, code: str) -> None:
    """An account with a hierarchical namespace has no tags. The blob is copied without them."""
    etag = await storage.put(storage.source_blob(), tags={"a key": "a value"})
    fault = {"operation": "GetTags", "blob": storage.test}
    storage.stack.control.add_fault(fault, {"status": status, "code": code}, 1)
    assert await storage.source.tags(storage.source_blob(), etag) is None
