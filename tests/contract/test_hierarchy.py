"""Accounts with a hierarchical namespace: a name that they would store otherwise is refused, and never guessed at."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from adapters.clients import Clients
from devhost.storage.config import KEY
from devhost.storage.testing import Stack
from ports.blobs import Copy
from rules.errors import Permanent, Reason, Retryable
from rules.routes.model import Blob, Engine
from tests.contract.conftest import TIMES
from tests.contract.worlds import InStorage, World

FOLDS = ["a//b", "a/", "a//", "deep/" * 61 + "er"]


@pytest.fixture
async def clients() -> AsyncIterator[Clients]:
    """A process of its own, which does not know any account yet."""
    made = Clients(KEY, TIMES, "blob-data-sharing/hierarchy")
    yield made
    await made.aclose()


@pytest.fixture
def flat_again(stack: Stack) -> Iterator[None]:
    """All accounts are flat afterwards."""
    yield
    stack.control.hierarchical()
    stack.control.remove_faults()


pytestmark = pytest.mark.usefixtures("flat_again")


def looks(storage: InStorage, begun: int) -> list[str]:
    """The names that this process looked at since."""
    requests = storage.stack.control.requests(operation="HeadBlob", since=begun)
    return [request["blob"] for request in requests if "blob-data-sharing/hierarchy" in request["user_agent"]]


def refused(failure: pytest.ExceptionInfo[Permanent]) -> Reason:
    """Why, once the detail is one of the two."""
    assert "hierarchical namespace" in failure.value.detail
    return failure.value.reason


async def copy_of(world: World, name: str) -> Copy:
    """A copy of a source blob that is there, to a target of that name."""
    etag = await world.put(world.source_blob("blob"))
    source = await world.source.sign_read(world.source_blob("blob"), datetime.now(UTC) + timedelta(hours=1))
    return Copy(world.target_blob(name), source, etag, Engine.SYNC, {"source_etag": etag})


@pytest.mark.parametrize("name", FOLDS)
async def test_a_source_of_another_name_is_not_looked_at(world: World, name: str) -> None:
    """What the account shows under it has another name, and belongs to another transfer."""
    world.hierarchical(world.source_place)
    await world.put(world.source_blob("a/b"))
    with pytest.raises(Permanent) as failure:
        await world.source.head(world.source_blob(name))
    assert refused(failure) is Reason.INVALID_NAME


@pytest.mark.parametrize("name", FOLDS)
async def test_nothing_is_copied_onto_another_name(world: World, name: str) -> None:
    """Neither seen nor written: `a/b` is another source's target."""
    world.hierarchical(world.target_place)
    copy = await copy_of(world, name)
    for act in (world.target.copy(copy), world.target.head(copy.target)):
        with pytest.raises(Permanent) as failure:
            await act
        assert refused(failure) is Reason.INVALID_NAME
    assert await world.target.head(world.target_blob("a/b")) is None


@pytest.mark.parametrize("name", FOLDS)
async def test_a_flat_account_carries_it(world: World, name: str) -> None:
    """On both sides, byte for byte."""
    world.hierarchical(replace(world.source_place, endpoint="https://elsewhere.blob.core.windows.net"))
    await world.put(world.source_blob(name))
    assert await world.source.head(world.source_blob(name)) is not None
    copy = await copy_of(world, name)
    assert await world.target.copy(copy)
    assert await world.target.head(copy.target) is not None


async def test_other_names_are_carried_there(world: World) -> None:
    """As anywhere."""
    world.hierarchical(world.target_place)
    copy = await copy_of(world, "a/b.txt")
    assert await world.target.copy(copy)
    assert await world.target.head(copy.target) is not None


async def test_the_kind_is_asked_once_and_only_where_it_matters(storage: InStorage) -> None:
    """By a look at the root directory; no request is made for a name that every account carries."""
    storage.hierarchical(storage.target_place)
    begun = max((request["number"] for request in storage.stack.control.requests()), default=0)
    assert await storage.target.head(storage.target_blob("plain")) is None
    for name in ("a//b", "c//d"):
        with pytest.raises(Permanent):
            await storage.target.head(storage.target_blob(name))
    assert looks(storage, begun) == [storage.target_blob("plain").name, "/"]


async def test_a_kind_that_cannot_be_known_is_not_guessed(storage: InStorage) -> None:
    """The look fails as any other does, and the next one asks anew."""
    blob = storage.source_blob("a//b")
    await storage.put(blob)
    refusal = {"status": 403, "code": "AuthorizationPermissionMismatch"}
    storage.stack.control.add_fault({"operation": "HeadBlob", "blob": "^/$"}, refusal, 1)
    with pytest.raises(Retryable) as failure:
        await storage.source.head(blob)
    assert failure.value.reason is Reason.SOURCE_UNREADABLE
    assert await storage.source.head(blob) is not None


async def test_a_blob_named_like_the_root_makes_no_account_hierarchical(storage: InStorage) -> None:
    """On a flat account a single slash is a name like any other."""
    root = Blob(storage.source_place.endpoint, storage.source_place.container, "/")
    await storage.put(root)
    try:
        await storage.put(storage.source_blob("a//b"))
        assert await storage.source.head(storage.source_blob("a//b")) is not None
    finally:
        await storage.remove(root)
