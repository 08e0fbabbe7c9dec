"""The stack of the end-to-end tests: the app on the stand-in, or on the real host with HOST=func."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.client import ON_FUNC, TIMEOUT, Client
from tests.e2e.stacks import searched_stack


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Extend the time limit of each test on a real host, whose recovery may take longer."""
    for item in items if ON_FUNC else ():
        if Path(__file__).parent in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(2 * TIMEOUT))


@pytest.fixture(scope="session")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """The shared stack."""
    with searched_stack(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture
def held_copies(client: Client) -> Iterator[None]:
    """Copies on the route `patient` stay pending until the test ends."""
    client.create_container("sharingsource", "async")
    client.create_container("sharingtarget", "async")
    client.control.copies(hold=True)
    yield
    client.control.copies(hold=False)
