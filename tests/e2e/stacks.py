"""Local stacks for end-to-end tests."""

import base64
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from devhost.stack import LocalStack
from devhost.storage.config import EVENTS_ACCOUNT, STATE_ACCOUNT
from devhost.storage.testing import free_ports
from tests.e2e import search
from tests.e2e.client import Client

# Log everything: `loud` does so on the stand-in, the other settings on a real host.
LOUD = {
    "PYTHONPATH": str(Path(__file__).parent / "loud"),
    "PYTHON_ENABLE_DEBUG_LOGGING": "1",
    "AzureFunctionsJobHost__logging__logLevel__default": "Debug",
}


@contextmanager
def running_stack(
    state: Path,
    settings: dict[str, str] | None = None,
    app_accounts: tuple[str, str] = (STATE_ACCOUNT, EVENTS_ACCOUNT),
    start: Callable[[LocalStack], object] = LocalStack.start,
) -> Iterator[Client]:
    """A running stack. By default it has the settings of `environment`."""
    with (state / "stack.log").open("w") as log:
        client = Client(settings or environment(state), log, app_accounts)
        try:
            start(client.stack)
            yield client
        finally:
            client.close()


@contextmanager
def searched_stack(
    state: Path,
    settings: dict[str, str] | None = None,
    app_accounts: tuple[str, str] = (STATE_ACCOUNT, EVENTS_ACCOUNT),
    start: Callable[[LocalStack], object] = LocalStack.start,
) -> Iterator[Client]:
    """A running stack that logs everything, and is searched for secrets after its last test, when all data is there."""
    with running_stack(state, (settings or environment(state)) | LOUD, app_accounts, start) as client:
        yield client
        assert search.all_leaks(client) == {}


def environment(state: Path) -> dict[str, str]:
    """Settings with free ports, a random account key and routes of each kind."""
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
        # With a random key, a leak of it or of its signatures differs from the published constant.
        "DEVHOST_KEY": base64.b64encode(secrets.token_bytes(64)).decode(),
        "ROUTES": json.dumps(routes),
        "WINDOW_SECONDS": "1",
        "AzureFunctionsJobHost__extensions__queues__visibilityTimeout": "00:00:01",
        "AzureFunctionsJobHost__extensions__queues__maxPollingInterval": "00:00:00.500",
    }


def restart(client: Client, environment: Mapping[str, str]) -> None:
    """Stop the host, and start it with these settings."""
    assert client.stack.host is not None
    client.stack.host.terminate()
    client.stack.host.wait(60)
    client.stack.kill_host()  # closes its pipe
    client.stack.environment = environment
    client.stack.start_host()
