"""One whole local stack for the suite: the real app on the stand-in, or on the real host with HOST=func."""

import base64
import json
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from devhost.stack import LocalStack
from devhost.storage.config import EVENTS_ACCOUNT, STATE_ACCOUNT
from devhost.storage.testing import free_ports
from tests.e2e import search
from tests.e2e.desk import ON_FUNC, PATIENCE, Desk


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A real host may take longer to recover than a test usually gets."""
    for item in items if ON_FUNC else ():
        if Path(__file__).parent in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(2 * PATIENCE))


@pytest.fixture(scope="session")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A stack on free ports with two targets for one source, a prefix on both sides, and a target that is missing."""
    with searched(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture
def endless(desk: Desk) -> Iterator[None]:
    """Hold the copies of the route `patient`."""
    desk.container("sharingsource", "async")
    desk.container("sharingtarget", "async")
    desk.control.copies(hold=True)
    yield
    desk.control.copies(hold=False)


@contextmanager
def searched(
    state: Path,
    settings: dict[str, str] | None = None,
    own: tuple[str, str] = (STATE_ACCOUNT, EVENTS_ACCOUNT),
    start: Callable[[LocalStack], object] = LocalStack.start,
) -> Iterator[Desk]:
    """A stack that is searched for secrets when all its tests are done: what they have left is what the app leaves."""
    with (state / "stack.log").open("w") as log:
        running = Desk(settings or environment(state), log, own)
        try:
            start(running.stack)
            yield running
            assert search.found(running) == {}
        finally:
            running.close()


def environment(state: Path) -> dict[str, str]:
    """Free ports, a key of its own, every logger at DEBUG, and routes of every shape."""
    host, blob, queue, table = map(str, free_ports(4))
    source, target = f"http://127.0.0.1:{blob}/sharingsource", f"http://127.0.0.1:{blob}/sharingtarget"
    routes = [
        {"name": "default", "source": f"{source}/source/", "target": f"{target}/target/"},
        {"name": "first", "source": f"{source}/two/in/", "target": f"{target}/first/", "suffix": ".csv"},
        {"name": "second", "source": f"{source}/two/in/", "target": f"{target}/second/copies/of/"},
        {"name": "missing", "source": f"{source}/lost/", "target": f"{target}/missing/"},
        {
            "name": "patient",
            "source": f"{source}/async/",
            "target": f"{target}/async/",
            "engine": "async",
            "deadline": "PT1H",
        },
        {"name": "before", "source": f"{source}/before/", "target": f"{target}/before/"},
        {"name": "many", "source": f"{source}/many/", "target": f"{target}/many/"},
    ]
    return {
        **{
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("AZURITE_", "DEVHOST_", "AzureWebJobs", "EVENTS"))
        },
        "HOST_PORT": host,
        "AZURITE_BLOB_PORT": blob,
        "AZURITE_QUEUE_PORT": queue,
        "AZURITE_TABLE_PORT": table,
        "DEVHOST_STATE": str(state),
        # A key of its own, so that a leak of it, or of what it signs, can be told from the published constant.
        "DEVHOST_KEY": base64.b64encode(secrets.token_bytes(64)).decode(),
        # Everything is said: by `loud` on the stand-in, by the two settings on a real host.
        "PYTHONPATH": str(Path(__file__).parent / "loud"),
        "PYTHON_ENABLE_DEBUG_LOGGING": "1",
        "AzureFunctionsJobHost__logging__logLevel__default": "Debug",
        "ROUTES": json.dumps(routes),
        "WINDOW_SECONDS": "1",
        "AzureFunctionsJobHost__extensions__queues__visibilityTimeout": "00:00:01",
    }
