"""One local stack for the whole suite, and the two worlds of its tests."""

from collections.abc import AsyncIterator, Iterator

import pytest

from adapters.clients import Clients
from devhost.storage.config import KEY
from devhost.storage.testing import Stack
from rules.transfers.policies import Times
from tests.contract.worlds import InMemory, InStorage, World

# A first retry waits a fifteenth of the window.
TIMES = Times(window=1.5)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The local storage. No container raises events, so the queue holds only what a test puts there."""
    settings = {"DEVHOST_COPY_SECONDS": "0.01", "DEVHOST_WATCH": "sharingsource/unused"}
    running = Stack(tmp_path_factory.mktemp("stack"), **settings).start()
    yield running
    assert running.stop() == (0, "")


@pytest.fixture(scope="session")
async def clients() -> AsyncIterator[Clients]:
    made = Clients(KEY, TIMES, "blob-data-sharing/test")
    yield made
    await made.aclose()


@pytest.fixture
def storage(stack: Stack, clients: Clients) -> InStorage:
    return InStorage(clients, stack)


@pytest.fixture(params=["memory", "storage"])
def world(request: pytest.FixtureRequest) -> World:
    """The fakes, then real storage."""
    if request.param == "memory":
        return InMemory()
    found: InStorage = request.getfixturevalue("storage")
    return found
