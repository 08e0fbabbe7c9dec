"""Accounts with a hierarchical namespace: the app refuses a name that they would store under another one."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from adapters.clients import Clients
from devhost.storage.config import KEY
from devhost.storage.testing import Stack
from ports.blobs import Commit, Copy
from rules.errors import Permanent, Reason, Retryable
from rules.routes.model import Blob, Engine
from rules.transfers.blocks import Block
from tests.contract.conftest import TIMES
from tests.contract.worlds import InStorage, World

FOLDS = ["a//b", "a/", "a//", "deep/" * 61 + "er"]


@pytest.fixture
async def clients() -> AsyncIterator[Clients]:
    """New clients, which have not seen any account yet."""
    made = Clients(KEY, TIMES, "blob-data-sharing/hierarchy")
    yield made
    await made.aclose()


@pytest.fixture
def flat_again(stack: Stack) -> Iterator[None]:
    """Make all accounts flat afterwards."""
    yield
    stack.control.hierarchical()
    stack.control.remove_faults()


pytestmark = pytest.mark.usefixtures("flat_again")


def heads(storage: InStorage, start: int) -> list[str]:
    """Return the names that these clients sent a HEAD for."""
    requests = storage.stack.control.requests(operation="HeadBlob", since=start)
    return [request["blob"] for request in requests if "blob-data-sharing/hierarchy" in request["user_agent"]]


def refused(failure: pytest.ExceptionInfo[Permanent]) -> Reason:
    """Return the reason of a failure about the namespace."""
    assert "hierarchical namespace" in failure.value.detail
    return failure.value.reason


async def copy_of(world: World, name: str) -> Copy:
    """Return a copy of an existing source blob to a target of this name."""
    etag = await world.put(world.source_blob("blob"))
    source = await world.source.sign_read(world.source_blob("blob"), datetime.now(UTC) + timedelta(hours=1))
    return Copy(world.target_blob(name), source, etag, Engine.SYNC, {"source_etag": etag})


@pytest.mark.parametrize("name", FOLDS)
async def test_a_source_stored_under_another_name_is_refused(world: World, name: str) -> None:
    world.hierarchical(world.source_place)
    await world.put(world.source_blob("a/b"))
    with pytest.raises(Permanent) as failure:
        await world.source.head(world.source_blob(name))
    assert refused(failure) is Reason.INVALID_NAME


@pytest.mark.parametrize("name", FOLDS)
async def test_a_target_stored_under_another_name_is_refused(world: World, name: str) -> None:
    world.hierarchical(world.target_place)
    copy = await copy_of(world, name)
    for act in (
        world.target.copy(copy),
        world.target.head(copy.target),
        world.target.stage(copy.target, copy.source, copy.etag, Block("1", 0, 1)),
        world.target.commit(Commit(copy.target, (), {})),
    ):
        with pytest.raises(Permanent) as failure:
            await act
        assert refused(failure) is Reason.INVALID_NAME
    assert await world.target.head(world.target_blob("a/b")) is None


@pytest.mark.parametrize("name", FOLDS)
async def test_a_flat_account_accepts_the_name(world: World, name: str) -> None:
    world.hierarchical(replace(world.source_place, endpoint="https://elsewhere.blob.core.windows.net"))
    await world.put(world.source_blob(name))
    assert await world.source.head(world.source_blob(name)) is not None
    copy = await copy_of(world, name)
    assert await world.target.copy(copy)
    assert await world.target.head(copy.target) is not None


async def test_other_names_are_accepted(world: World) -> None:
    world.hierarchical(world.target_place)
    copy = await copy_of(world, "a/b.txt")
    assert await world.target.copy(copy)
    assert await world.target.head(copy.target) is not None


async def test_one_request_per_account_finds_its_namespace(storage: InStorage) -> None:
    storage.hierarchical(storage.target_place)
    start = max((request["number"] for request in storage.stack.control.requests()), default=0)
    assert await storage.target.head(storage.target_blob("plain")) is None
    for name in ("a//b", "c//d"):
        with pytest.raises(Permanent):
            await storage.target.head(storage.target_blob(name))
    assert heads(storage, start) == [storage.target_blob("plain").name, "/"]


async def test_a_failed_request_for_the_namespace_is_retried_by_the_next_read(storage: InStorage) -> None:
    blob = storage.source_blob("a//b")
    await storage.put(blob)
    refusal = {"status": 403, "code": "AuthorizationPermissionMismatch"}
    storage.stack.control.add_fault({"operation": "HeadBlob", "blob": "^/$"}, refusal, 1)
    with pytest.raises(Retryable) as failure:
        await storage.source.head(blob)
    assert failure.value.reason is Reason.SOURCE_UNREADABLE
    assert await storage.source.head(blob) is not None


async def test_a_blob_named_like_the_root_does_not_make_an_account_hierarchical(storage: InStorage) -> None:
    root = Blob(storage.source_place.endpoint, storage.source_place.container, "/")
    await storage.put(root)
    try:
        await storage.put(storage.source_blob("a//b"))
        assert await storage.source.head(storage.source_blob("a//b")) is not None
    finally:
        await storage.remove(root)


async def test_a_probe_shows_that_the_account_has_no_tags(storage: InStorage) -> None:
    assert (await storage.target.probe(storage.target_blob("flat"), None)).tags
    storage.stack.control.hierarchical("sharingtarget")
    assert not (await storage.target.probe(storage.target_blob("probe"), None)).tags
    assert await storage.target.head(storage.target_blob("probe")) is None
