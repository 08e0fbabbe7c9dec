"""A stack on free ports for the whole suite, and the two worlds that it runs on."""

from collections.abc import AsyncIterator, Iterator

import pytest

from adapters.clients import Clients
from devhost.storage.config import KEY
from devhost.storage.testing import Stack
from rules.transfers.policies import Times
from tests.contract.worlds import InMemory, InStorage, World

# Retries come after a fifteenth of the window.
TIMES = Times(window=1.5)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Start the local storage; no container here has events, so the queue holds what a test puts there."""
    settings = {"DEVHOST_COPY_SECONDS": "0.01", "DEVHOST_WATCH": "sharingsource/unused"}
    running = Stack(tmp_path_factory.mktemp("stack"), **settings).start()
    yield running
    assert running.stop() == (0, "")


@pytest.fixture(scope="session")
async def clients() -> AsyncIterator[Clients]:
    """Connect as the app does."""
    made = Clients(KEY, TIMES, "blob-data-sharing/test")
    yield made
    await made.aclose()


@pytest.fixture
def storage(stack: Stack, clients: Clients) -> InStorage:
    """Real storage."""
    return InStorage(clients, stack)


@pytest.fixture(params=["memory", "storage"])
def world(request: pytest.FixtureRequest) -> World:
    """Memory, then real storage: what holds on one holds on the other."""
    if request.param == "memory":
        return InMemory()
    found: InStorage = request.getfixturevalue("storage")
    return found
