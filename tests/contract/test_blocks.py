"""Staged blocks and their commit at the target, in memory and in storage."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adapters.translation import TARGET_COMMIT, TARGET_STAGE
from ports.blobs import Commit, Copy
from rules.errors import CANNOT_VERIFY_SOURCE, LookAgain, Permanent, Reason, Rejected, Retryable
from rules.routes.model import Blob, Engine
from rules.transfers.blocks import Block
from rules.transfers.decisions import TargetBlob
from rules.transfers.model import Kind
from tests.contract.facts import fact
from tests.contract.helpers import NAMES, everything, request
from tests.contract.worlds import InStorage, World

HEADERS = {
    "content_type": "text/x-test",
    "content_encoding": "gzip",
    "content_language": "en",
    "content_disposition": 'attachment; filename="a"',
    "cache_control": "no-cache",
}
COPIES = pytest.mark.parametrize("engine", [Engine.SYNC, Engine.ASYNC])


def block(number: int, offset: int = 0, size: int = 4) -> Block:
    """Return a block with an id of 48 characters, as the engine makes them."""
    return Block(f"{number:048}", offset, size)


FIRST, SECOND = block(1), block(2, 4)
IDS = (FIRST.id, SECOND.id)


async def staged(world: World, *blocks: Block, name: str = "blob", content: bytes = b"content") -> Copy:
    """Stage blocks of a new source blob. Return the request for its copy, which has the source and its version."""
    copy = await request(world, name=name, content=content)
    for each in blocks or (FIRST, SECOND):
        await stage(world, copy, each)
    return copy


async def stage(world: World, copy: Copy, each: Block = FIRST) -> None:
    """Stage one block."""
    await world.target.stage(copy.target, copy.source, copy.etag, each)


def commit_of(copy: Copy, *blocks: str, **of: Any) -> Commit:
    """Return a commit of blocks, by default of both."""
    return Commit(copy.target, blocks or IDS, copy.metadata, **of)


async def refused(world: World, commit: Commit) -> LookAgain:
    """Return the LookAgain of a refused commit."""
    with pytest.raises(LookAgain) as refusal:
        await world.target.commit(commit)
    return refusal.value


async def unstaged(world: World, copy: Copy, each: Block = FIRST) -> LookAgain:
    """Return the LookAgain of a block that is refused."""
    with pytest.raises(LookAgain) as refusal:
        await stage(world, copy, each)
    return refusal.value


async def there(world: World, blob: Blob) -> TargetBlob:
    """Return the target, which must exist."""
    seen = await world.target.head(blob)
    assert seen is not None
    return seen


class TestStage:
    """Blocks that no reader sees."""

    async def test_lists_the_blocks_and_shows_no_blob(self, world: World) -> None:
        copy = await staged(world)
        assert await world.target.staged(copy.target) == {FIRST.id: 4, SECOND.id: 3}
        assert await world.target.head(copy.target) is None
        assert await everything(world.target, replace(world.target_place, prefix=f"{world.test}/")) == []

    @pytest.mark.parametrize("name", NAMES)
    async def test_keeps_the_name(self, world: World, name: str) -> None:
        copy = await staged(world, name=name)
        await world.target.commit(commit_of(copy))
        assert (await there(world, copy.target)).size == 7

    async def test_without_blocks_the_list_is_empty(self, world: World) -> None:
        assert await world.target.staged(world.target_blob()) == {}
        await world.put(world.target_blob())
        assert await world.target.staged(world.target_blob()) == {}

    async def test_keeps_the_present_content(self, world: World) -> None:
        etag = await world.put(world.target_blob(), b"theirs")
        await staged(world)
        assert (await there(world, world.target_blob())).etag == etag
        assert (await world.see(world.target_blob())).content == b"theirs"

    async def test_may_be_repeated(self, world: World) -> None:
        """The last content of an id counts."""
        copy = await staged(world)
        await stage(world, copy, block(1, offset=3, size=2))
        assert await world.target.staged(copy.target) == {FIRST.id: 2, SECOND.id: 3}
        await world.target.commit(commit_of(copy))
        assert (await world.see(copy.target)).content == b"teent"

    @fact("Blocks", "Put Block From URL: a range beyond the end is cut", "ASP")
    async def test_of_a_range_beyond_the_end_is_shorter(self, world: World) -> None:
        copy = await staged(world, block(1, offset=5, size=1_000))
        assert await world.target.staged(copy.target) == {FIRST.id: 2}

    async def test_lists_the_blocks_of_other_clients(self, world: World) -> None:
        """By their own ids."""
        await world.stage(world.target_blob(), "theirs", b"1")
        assert await world.target.staged(world.target_blob()) == {"theirs": 1}

    async def test_of_an_id_of_another_length_is_rejected(self, world: World) -> None:
        await world.stage(world.target_blob(), "theirs", b"1")
        refusal = await unstaged(world, await request(world))
        assert isinstance(refusal, Rejected)
        assert (refusal.status, refusal.code, refusal.reason) == (400, "InvalidBlobOrBlock", Reason.TARGET_CONFLICT)

    async def test_of_no_bytes_is_refused(self, world: World) -> None:
        copy = await request(world)
        with pytest.raises(Permanent) as failure:
            await stage(world, copy, block(1, size=0))
        assert failure.value.code == "InvalidHeaderValue"

    async def test_of_a_range_after_the_end_is_refused(self, world: World) -> None:
        refusal = await unstaged(world, await request(world), block(1, offset=7))
        assert (refusal.status, refusal.code) == (416, CANNOT_VERIFY_SOURCE)

    @fact("Blocks", "Put Block From URL: If-Match on another version of the source: 412 CannotVerifyCopySource", "CPP")
    async def test_of_another_version_is_refused(self, world: World) -> None:
        copy = await request(world)
        await world.put(world.source_blob(), b"newer")
        refusal = await unstaged(world, copy)
        assert (refusal.status, refusal.code) == (412, CANNOT_VERIFY_SOURCE)
        assert await world.target.staged(copy.target) == {}

    async def test_of_a_source_that_is_gone_is_refused(self, world: World) -> None:
        copy = await request(world)
        await world.remove(world.source_blob())
        refusal = await unstaged(world, copy)
        assert (refusal.status, refusal.code) == (404, CANNOT_VERIFY_SOURCE)

    async def test_with_an_expired_signature_is_refused(self, world: World) -> None:
        copy = await request(world)
        expired = await world.source.sign_read(world.source_blob(), datetime.now(UTC) - timedelta(minutes=1))
        refusal = await unstaged(world, replace(copy, source=expired))
        assert (refusal.status, refusal.code) == (403, CANNOT_VERIFY_SOURCE)

    async def test_of_an_archived_source_is_refused(self, world: World) -> None:
        copy = await request(world)
        copy = replace(copy, etag=await world.put(world.source_blob(), tier="Archive"))
        refusal = await unstaged(world, copy)
        assert (refusal.status, refusal.code) == (409, CANNOT_VERIFY_SOURCE)

    @pytest.mark.parametrize("applied", [True, False])
    async def test_without_an_answer_is_retryable(self, world: World, *, applied: bool) -> None:
        copy = await request(world)
        async with world.unanswered(TARGET_STAGE, copy.target, applied=applied):
            with pytest.raises(Retryable) as failure:
                await stage(world, copy)
        assert failure.value.reason is Reason.THROTTLED
        assert bool(await world.target.staged(copy.target)) is applied


class TestCommit:
    """One request makes the staged blocks the content."""

    async def test_writes_content_metadata_headers_tier_and_tags(self, world: World) -> None:
        copy = await staged(world)
        headers = HEADERS | {"content_md5": "CY9rzUYh03PK3k6DJie09g=="}
        commit = commit_of(copy, headers=headers, tier="Cool", tags={"a key": "a value"})
        await world.target.commit(commit)
        seen = await there(world, copy.target)
        assert (seen.source_etag, seen.transfer_id, seen.size, seen.kind) == (copy.etag, "us", 7, Kind.BLOCK)
        assert (seen.headers, seen.md5) == (headers, headers["content_md5"])
        assert (seen.copy_status, seen.copy_id, seen.shows_sas) == (None, None, False)
        result = await world.see(copy.target)
        assert (result.content, result.metadata) == (b"content", copy.metadata)
        assert (result.tags, result.tier) == ({"a key": "a value"}, "Cool")

    async def test_has_the_headers_of_the_source(self, world: World) -> None:
        await world.put(world.source_blob(), headers=HEADERS)
        source = await world.source.head(world.source_blob())
        assert source is not None
        assert source.headers.items() >= HEADERS.items()
        copy = await staged(world)
        await world.target.commit(commit_of(copy, headers=source.headers))
        assert (await there(world, copy.target)).headers == source.headers

    async def test_has_the_order_of_its_list(self, world: World) -> None:
        copy = await staged(world, SECOND, FIRST)
        await world.target.commit(commit_of(copy, SECOND.id, FIRST.id))
        assert (await world.see(copy.target)).content == b"entcont"

    async def test_without_blocks_makes_an_empty_blob(self, world: World) -> None:
        copy = await request(world, content=b"")
        await world.target.commit(Commit(copy.target, (), copy.metadata))
        seen = await there(world, copy.target)
        assert (seen.size, seen.kind, seen.source_etag) == (0, Kind.BLOCK, copy.etag)

    async def test_replaces_the_version_that_was_seen(self, world: World) -> None:
        """With its metadata, tags and tier."""
        theirs = {"metadata": {"theirs": "1"}, "tags": {"theirs": "1"}, "tier": "Cool"}
        before = await world.put(world.target_blob(), b"old", **theirs)
        copy = await staged(world)
        await world.target.commit(commit_of(copy, if_match=before))
        assert (await there(world, copy.target)).etag != before
        result = await world.see(copy.target)
        assert (result.content, result.metadata, result.tags) == (b"content", copy.metadata, {})
        assert result.tier == "Hot"

    @COPIES
    async def test_removes_the_properties_of_an_earlier_copy(self, world: World, engine: Engine) -> None:
        copy = await request(world, engine)
        await world.target.copy(copy)
        if engine is Engine.ASYNC:
            await world.finish(copy.target)
        before = await there(world, copy.target)
        await stage(world, copy)
        await world.target.commit(commit_of(copy, FIRST.id, if_match=before.etag))
        seen = await there(world, copy.target)
        assert before.copy_id
        assert (seen.copy_status, seen.copy_id, seen.total, seen.size) == (None, None, None, 4)

    async def test_over_an_existing_blob_is_refused(self, world: World) -> None:
        """If-None-Match: *."""
        await world.put(world.target_blob(), b"theirs")
        refusal = await refused(world, commit_of(await staged(world)))
        assert (refusal.status, refusal.code) == (409, "BlobAlreadyExists")
        assert (await world.see(world.target_blob())).content == b"theirs"

    async def test_over_another_version_is_refused(self, world: World) -> None:
        commit = commit_of(await staged(world), if_match="0x1")
        assert (await refused(world, commit)).code == "ConditionNotMet"
        assert await world.target.head(commit.target) is None
        await world.put(commit.target, b"theirs")
        refusal = await refused(world, commit)
        assert (refusal.status, refusal.code) == (412, "ConditionNotMet")
        assert (await world.see(commit.target)).content == b"theirs"

    async def test_of_a_block_that_is_not_staged_is_refused(self, world: World) -> None:
        copy = await staged(world, FIRST)
        refusal = await refused(world, commit_of(copy))
        assert not isinstance(refusal, Rejected)
        assert (refusal.status, refusal.code) == (400, "InvalidBlockList")
        assert await world.target.staged(copy.target) == {FIRST.id: 4}
        assert await world.target.head(copy.target) is None

    async def test_uses_no_committed_block(self, world: World) -> None:
        copy = await staged(world)
        await world.target.commit(commit_of(copy))
        seen = await there(world, copy.target)
        assert (await refused(world, commit_of(copy, if_match=seen.etag))).code == "InvalidBlockList"

    async def test_drops_all_staged_blocks(self, world: World) -> None:
        """Those that it does not name too."""
        copy = await staged(world, FIRST, SECOND, block(3))
        await world.target.commit(commit_of(copy))
        assert await world.target.staged(copy.target) == {}

    @pytest.mark.parametrize("applied", [True, False])
    async def test_without_an_answer_only_a_look_shows_the_effect(self, world: World, *, applied: bool) -> None:
        copy = await staged(world)
        async with world.unanswered(TARGET_COMMIT, copy.target, applied=applied):
            assert (await refused(world, commit_of(copy))).code == ""
        assert (await world.target.head(copy.target) is not None) is applied


class TestATarget:
    """Targets that accept no blocks."""

    @pytest.mark.parametrize("kind", [Kind.APPEND, Kind.PAGE])
    async def test_of_another_type(self, world: World, kind: Kind) -> None:
        etag = await world.put(world.target_blob(), bytes(512), kind=kind)
        copy = await request(world)
        for refusal in (await unstaged(world, copy), await refused(world, Commit(copy.target, (), {}, if_match=etag))):
            assert (refusal.status, refusal.code) == (409, "InvalidBlobType")

    async def test_with_a_pending_copy(self, world: World) -> None:
        copy = await request(world, Engine.ASYNC)
        await world.target.copy(copy)
        etag = (await there(world, copy.target)).etag
        for refusal in (await unstaged(world, copy), await refused(world, Commit(copy.target, (), {}, if_match=etag))):
            assert (refusal.status, refusal.code) == (409, "PendingCopyOperation")

    async def test_with_a_lease(self, world: World) -> None:
        etag = await world.put(world.target_blob(), b"theirs")
        copy = await staged(world)
        await world.lease(world.target_blob())
        for act in (stage(world, copy), world.target.commit(commit_of(copy, if_match=etag))):
            with pytest.raises(Retryable) as failure:
                await act
            assert (failure.value.reason, failure.value.code) == (Reason.TARGET_CONFLICT, "LeaseIdMissing")

    async def test_without_a_container(self, world: World) -> None:
        nowhere = Blob(world.target_place.endpoint, "missing", "blob")
        copy = replace(await request(world), target=nowhere)
        for act in (stage(world, copy), world.target.commit(commit_of(copy)), world.target.staged(nowhere)):
            with pytest.raises(Permanent) as failure:
                await act
            assert (failure.value.reason, failure.value.code) == (Reason.TARGET_UNWRITABLE, "ContainerNotFound")

    @fact(
        "Hierarchical namespace",
        "Put Block and Put Block List for a file that the Data Lake API made: 409 BlobOperationNotSupported, until it "
        "is deleted",
        "[doc] blob-service-error-codes, #azure-storage-azcopy 2706",
    )
    async def test_that_the_data_lake_api_made(self, world: World) -> None:
        etag = await world.put_by_lake(world.target_blob(), b"theirs")
        copy = await request(world)
        for refusal in (await unstaged(world, copy), await refused(world, Commit(copy.target, (), {}, if_match=etag))):
            assert isinstance(refusal, Rejected)
            assert (refusal.status, refusal.code) == (409, "BlobOperationNotSupported")
        await world.target.delete(copy.target, etag)
        await stage(world, copy)
        await world.target.commit(commit_of(copy, FIRST.id))
        assert (await world.see(copy.target)).content == b"cont"


class TestDropped:
    """Staged blocks live until a whole write to their name, or its deletion."""

    async def gone(self, world: World, copy: Copy, **of: Any) -> None:
        """Assert that the staged blocks are gone, and that an id of another length is welcome again."""
        assert await world.target.staged(copy.target) == {}
        assert (await refused(world, commit_of(copy, **of))).code == "InvalidBlockList"
        await world.target.stage(copy.target, copy.source, copy.etag, Block("short", 0, 1))

    @fact("Blocks", "a whole write to the name, or its deletion, drops its staged blocks", "BOR")
    async def test_by_an_upload(self, world: World) -> None:
        copy = await staged(world)
        await self.gone(world, copy, if_match=await world.put(copy.target, b"theirs"))

    async def test_by_a_deletion(self, world: World) -> None:
        etag = await world.put(world.target_blob(), b"theirs")
        copy = await staged(world)
        await world.target.delete(copy.target, etag)
        await self.gone(world, copy)

    @fact(
        "Blocks",
        "a copy with If-None-Match: * onto a name with staged blocks only succeeds; recorded for Put Block List, "
        "assumed for copies",
        "BOR",
    )
    @COPIES
    async def test_by_a_copy(self, world: World, engine: Engine) -> None:
        copy = await staged(world)
        assert (await world.target.copy(replace(copy, engine=engine)) is not None) is (engine is Engine.SYNC)
        if engine is Engine.ASYNC:
            assert await world.target.staged(copy.target) == {}
            await world.finish(copy.target)
        assert (await world.see(copy.target)).content == b"content"
        await self.gone(world, copy, if_match=(await there(world, copy.target)).etag)

    @COPIES
    async def test_but_not_by_a_refused_write(self, world: World, engine: Engine) -> None:
        copy = await staged(world)
        for refusal in (replace(copy, engine=engine, if_match="0x1"), replace(copy, engine=engine, etag="0x1")):
            with pytest.raises(LookAgain):
                await world.target.copy(refusal)
            with pytest.raises(LookAgain):
                await world.target.delete(copy.target, "0x1")
        await world.target.commit(commit_of(copy))
        assert (await world.see(copy.target)).content == b"content"

    async def test_not_by_a_change_of_headers(self, world: World) -> None:
        await world.put(world.target_blob(), b"theirs")
        copy = await staged(world)
        seen = await there(world, copy.target)
        await world.target.clear_copy(copy.target, seen)
        assert set(await world.target.staged(copy.target)) == set(IDS)


@pytest.mark.parametrize("code", ["BlobOperationNotSupportedForBlobCreatedBySftp", "BlockCountExceedsLimit"])
async def test_other_refusals_of_a_block_are_rejected(storage: InStorage, code: str) -> None:
    copy = await request(storage)
    storage.stack.control.add_fault(
        {"operation": "PutBlockFromUrl", "blob": storage.test}, {"status": 409, "code": code}
    )
    refusal = await unstaged(storage, copy)
    assert isinstance(refusal, Rejected)
    assert (refusal.status, refusal.code) == (409, code)


@pytest.mark.parametrize(
    "action",
    [
        {"status": 503, "code": "ServerBusy"},
        {"status": 500, "code": "OperationTimedOut"},
        {"status": 500, "code": CANNOT_VERIFY_SOURCE},
        {"status": 403, "source_status": 503, "source_code": "ServerBusy"},
    ],
)
async def test_a_busy_service_or_source_is_retryable(storage: InStorage, action: dict[str, Any]) -> None:
    copy = await request(storage)
    storage.stack.control.add_fault({"operation": "PutBlockFromUrl", "blob": storage.test}, action)
    with pytest.raises(Retryable) as failure:
        await stage(storage, copy)
    assert failure.value.reason is Reason.THROTTLED
