"""One stack for all tests of this directory, reset between them."""

import uuid
from collections.abc import Iterator

import pytest
from azure.storage.filedatalake import FileSystemClient

from devhost.storage.config import KEY
from devhost.storage.testing import Stack
from tests.devhost.storage.cloud import Cloud, connected
from tests.devhost.storage.lake import Lake


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings = {"DEVHOST_COPY_SECONDS": "0.01", "DEVHOST_ACCOUNTS": "another"}
    running = Stack(tmp_path_factory.mktemp("stack"), **settings).start()
    yield running
    assert running.stop() == (0, "")


@pytest.fixture(scope="session")
def shared_cloud(stack: Stack) -> Iterator[Cloud]:
    with connected(stack) as cloud:
        yield cloud


@pytest.fixture
def cloud(shared_cloud: Cloud) -> Iterator[Cloud]:
    """Yield the shared stack with no faults, no events and the normal pace."""
    _sweep(shared_cloud)
    yield shared_cloud
    _sweep(shared_cloud)


@pytest.fixture
def lake(cloud: Cloud) -> Iterator[Lake]:
    cloud.stack.control.hierarchical("sharingsource")
    url = cloud.stack.blob_url("sharingsource")
    with FileSystemClient(url, "source", KEY, retry_total=0) as files:
        root = uuid.uuid4().hex
        files.create_directory(root).close()
        yield Lake(cloud, files, root)
    cloud.stack.control.hierarchical()


def _sweep(cloud: Cloud) -> None:
    control = cloud.stack.control
    control.remove_faults()
    control.copies(block_seconds=0, hold=False, stall_at=1, fail_next="", stumble="", show_signature=False)
    control.events(encoding="base64", schema="cloudevents", mode="deliver", watch=["sharingsource/source"])
    cloud.queue.clear_messages()
