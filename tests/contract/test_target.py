"""Target blobs: conditions, copies and their ends, in memory and in storage."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from adapters.translation import TARGET_ABORT, TARGET_CLEAR, TARGET_COPY, TARGET_DELETE
from ports.blobs import Copy
from rules.errors import CANNOT_VERIFY_SOURCE, LookAgain, Permanent, Reason, Retryable
from rules.routes.model import Blob, Engine
from rules.routes.names import PROBE
from rules.transfers.decisions import CopyStatus, TargetBlob
from rules.transfers.model import Kind
from tests.contract.facts import fact
from tests.contract.helpers import NAMES, request
from tests.contract.worlds import World

BOTH = pytest.mark.parametrize("engine", [Engine.SYNC, Engine.ASYNC])


async def copied(world: World, copy: Copy) -> TargetBlob:
    """Copy to the end; return the target."""
    etag = await world.target.copy(copy)
    assert (etag is not None) is (copy.engine is Engine.SYNC)
    if etag is None:
        await world.finish(copy.target)
    found = await there(world, copy.target)
    assert etag in {None, found.etag}
    return found


async def there(world: World, blob: Blob) -> TargetBlob:
    """Return the target, which must exist."""
    seen = await world.target.head(blob)
    assert seen is not None
    return seen


async def refused(world: World, copy: Copy) -> LookAgain:
    """Return the LookAgain of a refused copy."""
    with pytest.raises(LookAgain) as refusal:
        await world.target.copy(copy)
    return refusal.value


class TestCopy:
    """A copy that succeeds."""

    @BOTH
    async def test_copies_content_metadata_headers_tier_and_tags(self, world: World, engine: Engine) -> None:
        copy = replace(await request(world, engine), tier="Cool", tags={"a key": "a value"})
        seen = await copied(world, copy)
        assert (seen.source_etag, seen.transfer_id, seen.size) == (copy.etag, "us", 7)
        assert (seen.copy_status, seen.copied, seen.total) == (CopyStatus.SUCCESS, 7, 7)
        result = await world.see(copy.target)
        assert (result.content, result.metadata, result.content_type) == (b"content", copy.metadata, "text/x-test")
        assert (result.tags, result.tier, result.kind) == ({"a key": "a value"}, "Cool", Kind.BLOCK)

    @BOTH
    async def test_of_an_empty_blob(self, world: World, engine: Engine) -> None:
        seen = await copied(world, await request(world, engine, content=b""))
        assert (seen.size, seen.copy_status) == (0, CopyStatus.SUCCESS)

    @BOTH
    @pytest.mark.parametrize("name", NAMES)
    async def test_keeps_the_name(self, world: World, engine: Engine, name: str) -> None:
        seen = await copied(world, await request(world, engine, name=name))
        assert seen.size == 7

    @pytest.mark.parametrize("kind", [Kind.APPEND, Kind.PAGE])
    async def test_of_append_and_page_blobs_needs_async(self, world: World, kind: Kind) -> None:
        """Copy Blob From URL accepts only block blobs."""
        copy = await request(world, Engine.ASYNC)
        blob = world.source_blob()
        await world.remove(blob)
        copy = replace(copy, etag=await world.put(blob, bytes(512), kind=kind))
        assert (await refused(world, replace(copy, engine=Engine.SYNC))).code == "InvalidSourceBlobType"
        await copied(world, copy)
        assert (await world.see(copy.target)).kind is kind

    @BOTH
    async def test_replaces_the_version_that_was_seen(self, world: World, engine: Engine) -> None:
        before = await world.put(world.target_blob(), b"old")
        seen = await copied(world, replace(await request(world, engine), if_match=before))
        assert seen.etag != before
        assert (await world.see(world.target_blob())).content == b"content"


class TestRefusal:
    """A refused copy has no effect, and its error code names the cause."""

    @fact(
        "Copy Blob and Copy Blob From URL",
        "If-None-Match: * for an existing blob: 409 BlobAlreadyExists; recorded for Put Blob, assumed for copies",
        "BOR",
    )
    @BOTH
    async def test_a_target_blob_already_exists(self, world: World, engine: Engine) -> None:
        """If-None-Match: *."""
        await world.put(world.target_blob(), b"theirs")
        refusal = await refused(world, await request(world, engine))
        assert (refusal.status, refusal.code) == (409, "BlobAlreadyExists")
        assert (await world.see(world.target_blob())).content == b"theirs"

    @BOTH
    async def test_the_target_was_changed_meanwhile(self, world: World, engine: Engine) -> None:
        """If-Match with another ETag, or without a blob (NET Destination_AccessConditionsFail)."""
        code = "ConditionNotMet" if engine is Engine.SYNC else "TargetConditionNotMet"
        copy = replace(await request(world, engine), if_match="0x1")
        assert (await refused(world, copy)).code == code
        assert await world.target.head(copy.target) is None
        await world.put(copy.target, b"theirs")
        refusal = await refused(world, copy)
        assert (refusal.status, refusal.code) == (412, code)
        assert (await world.see(copy.target)).content == b"theirs"

    @BOTH
    async def test_the_source_is_another_version(self, world: World, engine: Engine) -> None:
        """The copy is pinned to its version (CPP SourceBlobAccessConditions, NET)."""
        copy = await request(world, engine)
        await world.put(world.source_blob(), b"newer")
        refusal = await refused(world, copy)
        code = CANNOT_VERIFY_SOURCE if engine is Engine.SYNC else "SourceConditionNotMet"
        assert (refusal.status, refusal.code) == (412, code)
        assert await world.target.head(copy.target) is None

    @BOTH
    async def test_the_source_is_gone(self, world: World, engine: Engine) -> None:
        copy = await request(world, engine)
        await world.remove(world.source_blob())
        refusal = await refused(world, copy)
        assert (refusal.status, refusal.code) == (404, CANNOT_VERIFY_SOURCE)

    @BOTH
    async def test_the_signature_has_expired(self, world: World, engine: Engine) -> None:
        copy = await request(world, engine)
        expired = await world.source.sign_read(world.source_blob(), datetime.now(UTC) - timedelta(minutes=1))
        refusal = await refused(world, replace(copy, source=expired))
        assert (refusal.status, refusal.code) == (403, CANNOT_VERIFY_SOURCE)

    @BOTH
    async def test_the_source_is_archived(self, world: World, engine: Engine) -> None:
        copy = await request(world, engine)
        copy = replace(copy, etag=await world.put(world.source_blob(), tier="Archive"))
        refusal = await refused(world, copy)
        assert (refusal.status, refusal.code) == (409, CANNOT_VERIFY_SOURCE)

    @fact("Copy Blob and Copy Blob From URL", "the target's container is gone: 404 ContainerNotFound", "CPP")
    @BOTH
    async def test_there_is_no_container(self, world: World, engine: Engine) -> None:
        """Permanent for a read too."""
        nowhere = Blob(world.target_place.endpoint, "missing", "blob")
        copy = replace(await request(world, engine), target=nowhere)
        for attempt in (world.target.copy(copy), world.target.head(nowhere)):
            with pytest.raises(Permanent) as failure:
                await attempt
            assert (failure.value.reason, failure.value.code) == (Reason.TARGET_UNWRITABLE, "ContainerNotFound")

    @BOTH
    async def test_another_client_holds_a_lease(self, world: World, engine: Engine) -> None:
        etag = await world.put(world.target_blob(), b"theirs")
        await world.lease(world.target_blob())
        for act in (
            world.target.copy(replace(await request(world, engine), if_match=etag)),
            world.target.delete(world.target_blob(), etag),
        ):
            with pytest.raises(Retryable) as failure:
                await act
            assert (failure.value.reason, failure.value.code) == (Reason.TARGET_CONFLICT, "LeaseIdMissing")


class TestPending:
    """A pending async copy."""

    async def test_empties_the_target_immediately(self, world: World) -> None:
        """The target is empty and has the receipt already: its existence is not success."""
        before = await world.put(world.target_blob(), b"old")
        copy = replace(await request(world, Engine.ASYNC), if_match=before)
        assert await world.target.copy(copy) is None
        seen = await there(world, copy.target)
        assert (seen.size, seen.copy_status, seen.source_etag) == (0, CopyStatus.PENDING, copy.etag)
        assert (seen.total, seen.etag == before) == (7, False)
        assert seen.copy_id
        await world.finish(copy.target)
        done = await there(world, copy.target)
        assert (done.size, done.copy_id, done.etag == seen.etag) == (7, seen.copy_id, False)

    async def test_refuses_every_act(self, world: World) -> None:
        copy = await request(world, Engine.ASYNC)
        await world.target.copy(copy)
        seen = await there(world, copy.target)
        again = replace(copy, if_match=seen.etag)
        for act in (
            world.target.copy(again),
            world.target.copy(replace(again, engine=Engine.SYNC)),
            world.target.clear_copy(copy.target, seen),
            world.target.delete(copy.target, seen.etag),
        ):
            with pytest.raises(LookAgain) as refusal:
                await act
            assert refusal.value.code == "PendingCopyOperation"
        still = await there(world, copy.target)
        assert replace(still, copied=seen.copied) == seen  # a real copy may have progressed

    async def test_is_aborted(self, world: World) -> None:
        """An empty blob with the metadata and another ETag stays (PY22 test_abort_copy_blob)."""
        copy = await request(world, Engine.ASYNC)
        await world.target.copy(copy)
        pending = await there(world, copy.target)
        copy_id = pending.copy_id or ""
        await world.target.abort(copy.target, copy_id)
        seen = await there(world, copy.target)
        assert seen.etag != pending.etag
        assert (seen.size, seen.copy_status, seen.transfer_id) == (0, CopyStatus.ABORTED, "us")
        with pytest.raises(LookAgain) as refusal:
            await world.target.abort(copy.target, copy_id)
        assert refusal.value.code == "NoPendingCopyOperation"

    async def test_is_aborted_only_with_its_id(self, world: World) -> None:
        copy = await request(world, Engine.ASYNC)
        await world.target.copy(copy)
        with pytest.raises(LookAgain) as refusal:
            await world.target.abort(copy.target, "00000000-0000-0000-0000-000000000000")
        assert refusal.value.code == "CopyIdMismatch"
        assert (await there(world, copy.target)).copy_status is CopyStatus.PENDING

    async def test_fails_when_the_source_changes(self, world: World) -> None:
        """The service saved the source's ETag at the start."""
        copy = await request(world, Engine.ASYNC)
        await world.target.copy(copy)
        await world.put(world.source_blob(), b"newer")
        await world.finish(copy.target)
        seen = await there(world, copy.target)
        assert (seen.size, seen.copy_status, seen.source_etag) == (0, CopyStatus.FAILED, copy.etag)
        assert seen.copy_detail == '412 ConditionNotMet "Copy failed when reading the source."'

    async def test_fails_with_the_services_detail(self, world: World) -> None:
        copy = await request(world, Engine.ASYNC)
        await world.fail_next_copy('500 InternalError "Copy failed."')
        await world.target.copy(copy)
        await world.finish(copy.target)
        seen = await there(world, copy.target)
        assert (seen.copy_status, seen.copy_detail) == (CopyStatus.FAILED, '500 InternalError "Copy failed."')
        await copied(world, replace(copy, if_match=seen.etag))

    async def test_abort_needs_a_blob(self, world: World) -> None:
        with pytest.raises(LookAgain):
            await world.target.abort(world.target_blob(), "00000000-0000-0000-0000-000000000000")


class TestClear:
    """Clearing the copy properties."""

    async def test_keeps_everything_else(self, world: World) -> None:
        copy = await request(world, Engine.ASYNC)
        seen = await copied(world, copy)
        before = await world.see(copy.target)
        etag = await world.target.clear_copy(copy.target, seen)
        after = await there(world, copy.target)
        assert after.etag == etag
        assert await world.see(copy.target) == before
        assert (after.copy_status, after.copy_id, after.etag == seen.etag) == (None, None, False)
        assert (after.headers, after.source_etag) == (seen.headers, copy.etag)

    async def test_clears_only_the_version_that_was_seen(self, world: World) -> None:
        copy = await request(world)
        seen = await copied(world, copy)
        await world.put(copy.target, b"theirs")
        with pytest.raises(LookAgain) as refusal:
            await world.target.clear_copy(copy.target, seen)
        assert refusal.value.code == "ConditionNotMet"


class TestDelete:
    """Deleting a version."""

    async def test_deletes_the_version_that_was_seen(self, world: World) -> None:
        copy = await request(world)
        await world.target.delete(copy.target, (await copied(world, copy)).etag)
        assert await world.target.head(copy.target) is None

    async def test_deletes_no_other_version(self, world: World) -> None:
        await world.put(world.target_blob(), b"theirs")
        with pytest.raises(LookAgain) as refusal:
            await world.target.delete(world.target_blob(), "0x1")
        assert refusal.value.code == "ConditionNotMet"
        assert (await world.see(world.target_blob())).content == b"theirs"


class TestLostAnswer:
    """Without an answer only a look shows the effect."""

    @BOTH
    @pytest.mark.parametrize("applied", [True, False])
    async def test_of_a_copy(self, world: World, engine: Engine, *, applied: bool) -> None:
        copy = await request(world, engine)
        async with world.unanswered(TARGET_COPY, copy.target, applied=applied):
            assert (await refused(world, copy)).code == ""
        assert (await world.target.head(copy.target) is not None) is applied

    async def test_of_a_clearing(self, world: World) -> None:
        copy = await request(world)
        seen = await copied(world, copy)
        async with world.unanswered(TARGET_CLEAR, copy.target, applied=True):
            with pytest.raises(LookAgain):
                await world.target.clear_copy(copy.target, seen)
        assert (await there(world, copy.target)).copy_status is None

    async def test_of_an_abort(self, world: World) -> None:
        copy = await request(world, Engine.ASYNC)
        await world.target.copy(copy)
        seen = await there(world, copy.target)
        async with world.unanswered(TARGET_ABORT, copy.target, applied=True):
            with pytest.raises(LookAgain):
                await world.target.abort(copy.target, seen.copy_id or "")
        assert (await there(world, copy.target)).copy_status is CopyStatus.ABORTED

    @pytest.mark.parametrize("applied", [True, False])
    async def test_of_a_deletion(self, world: World, *, applied: bool) -> None:
        etag = await world.put(world.target_blob())
        async with world.unanswered(TARGET_DELETE, world.target_blob(), applied=applied):
            with pytest.raises(LookAgain):
                await world.target.delete(world.target_blob(), etag)
        assert (await world.target.head(world.target_blob()) is None) is applied


async def test_a_probe_shows_the_services_time_and_leaves_nothing(world: World) -> None:
    blob = world.target_blob(f"{PROBE}{uuid4().hex}")
    found = await world.target.probe(blob, "Cool")
    assert found.tags
    assert found.at is not None
    assert abs(datetime.now(UTC) - found.at) < timedelta(minutes=1)
    assert await world.target.head(blob) is None


async def test_a_probe_of_a_missing_container_is_refused(world: World) -> None:
    blob = replace(world.target_blob(f"{PROBE}1"), container="missing")
    with pytest.raises(Permanent) as caught:
        await world.target.probe(blob, None)
    assert (caught.value.reason, caught.value.code) == (Reason.TARGET_UNWRITABLE, "ContainerNotFound")
