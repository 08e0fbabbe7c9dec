"""Two sides that share with each other, by two apps or by one: each write is copied once to the other side, and not back."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from azure.storage.blob import BlobClient, ContainerClient
from azure.storage.queue import QueueClient

from devhost.stack import LocalStack
from devhost.storage.config import CONTAINERS, EVENTS_ACCOUNT, FEED_QUEUE, QUEUES, STATE_ACCOUNT
from devhost.storage.testing import free_ports
from rules.transfers.decisions import ECHO
from tests.e2e import search
from tests.e2e.client import FINAL, ON_FUNC, TIMEOUT, Client
from tests.e2e.jobs import counts, report_lines, run_job
from tests.e2e.stacks import environment, searched_stack
from tests.e2e.storm import COPIES

SECONDS = TIMEOUT if ON_FUNC else 60
# The state account and the events account of the second app.
SECOND_APP = {STATE_ACCOUNT: "farstate", EVENTS_ACCOUNT: "farevents"}
WATCH = ("sharingsource/two", "sharingtarget/two@farevents", "sharingsource/one", "sharingtarget/one")


@dataclass(frozen=True)
class Side:
    """A container, the app that shares it, and the route."""

    client: Client
    account: str
    container: str
    route: str

    def blob(self, name: str) -> BlobClient:
        return self.client.accounts[self.account].get_blob_client(self.container, name)

    def upload(self, name: str, data: bytes) -> bytes:
        """Upload a blob without metadata. Return its content."""
        self.blob(name).upload_blob(data, overwrite=True)
        return data

    def edit(self, name: str, data: bytes) -> bytes:
        """Replace the content and keep the metadata, including the receipt. Return the content."""
        blob = self.blob(name)
        blob.upload_blob(data, overwrite=True, metadata=blob.get_blob_properties().metadata)
        return data

    def transfers(self, name: str) -> list[dict[str, Any]]:
        items = self.client.list_all(f"/transfers?route={self.route}")
        return [item for item in items if item["source"]["name"] == name]

    def is_idle(self) -> bool:
        """Return whether the app's queues are empty and all transfers of the route have ended."""
        messages = [self.client.queue(queue).get_queue_properties().approximate_message_count for queue in QUEUES]
        items = self.client.list_all(f"/transfers?route={self.route}")
        return not any(messages) and all(item["state"] in FINAL for item in items)


Pair = tuple[Side, Side]


@pytest.fixture(scope="module")
def apps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, Client]]:
    """Two apps on one emulator. The second has its own port, state account and events account."""
    here, there = tmp_path_factory.mktemp("near"), tmp_path_factory.mktemp("far")
    near = environment(here) | {"DEVHOST_ACCOUNTS": ",".join(SECOND_APP.values()), "DEVHOST_WATCH": ",".join(WATCH)}
    near["ROUTES"] = json.dumps(
        [
            route(near, "there", "sharingsource/two", "sharingtarget/two"),
            route(near, "one-there", "sharingsource/one", "sharingtarget/one"),
            route(near, "one-back", "sharingtarget/one", "sharingsource/one"),
        ]
    )
    own = SECOND_APP[STATE_ACCOUNT], SECOND_APP[EVENTS_ACCOUNT]
    with searched_stack(here, near) as first:
        for account in ("sharingsource", "sharingtarget"):
            for container in ("one", "two"):
                first.create_container(account, container)
        state, events = map(first.stack.connection_string, own)
        far = near | {"HOST_PORT": str(free_ports(1)[0]), "DEVHOST_STATE": str(there)}
        far |= {"AzureWebJobsStorage": state, "EVENTS": events}
        far["ROUTES"] = json.dumps([route(near, "back", "sharingtarget/two", "sharingsource/two")])
        with searched_stack(there, far, own, start_second_app) as second:
            yield first, second


def route(settings: dict[str, str], name: str, source: str, target: str) -> dict[str, str]:
    blobs = f"http://127.0.0.1:{settings['AZURITE_BLOB_PORT']}"
    return {"name": name, "source": f"{blobs}/{source}/", "target": f"{blobs}/{target}/"}


def start_second_app(stack: LocalStack) -> None:
    """Create the second app's containers and queues, and start its host on the storage of the first."""
    for account, name in CONTAINERS:
        if account in SECOND_APP:
            with ContainerClient.from_connection_string(
                stack.connection_string(SECOND_APP[account]), name
            ) as container:
                container.create_container()
    for name in QUEUES:
        with QueueClient.from_connection_string(stack.connection_string(SECOND_APP[EVENTS_ACCOUNT]), name) as queue:
            queue.create_queue()
    with QueueClient.from_connection_string(stack.connection_string(SECOND_APP[STATE_ACCOUNT]), FEED_QUEUE) as queue:
        queue.create_queue()
    stack.start_host()


@pytest.fixture(params=["two", "one"])
def pair(apps: tuple[Client, Client], request: pytest.FixtureRequest) -> Pair:
    """Two sides, each with its own app, or both in one app."""
    first, second = apps
    if request.param == "two":
        return Side(first, "sharingsource", "two", "there"), Side(second, "sharingtarget", "two", "back")
    return Side(first, "sharingsource", "one", "one-there"), Side(first, "sharingtarget", "one", "one-back")


def check_arrival(side: Side, other: Side, name: str, data: bytes) -> None:
    """Check that the write is verified on the other side, and that the copy is recognized there as an echo."""
    assert ended_transfer(side, name)["state"] == "verified"
    assert side.client.read(other.blob(name)) == side.client.read(side.blob(name)) == data
    echo = ended_transfer(other, name)
    assert (echo["state"], echo["detail"], echo["successor"]) == ("superseded", ECHO, None)


def ended_transfer(side: Side, name: str) -> dict[str, Any]:
    """Wait until the transfer of the blob's current version has ended, and return it."""

    def look() -> dict[str, Any] | None:
        answer = side.client.transfer_of(name, side.route)
        return answer.body if answer.status == 200 and answer.body["state"] in FINAL else None

    found: dict[str, Any] = side.client.until(look, f"{side.route}:{name} ends", SECONDS)
    return found


def check_idle(pair: Pair, name: str, writes: tuple[int, int], refused: int = 0) -> None:
    """Check that these numbers of writes led to one copy each and one transfer for each version, and that both sides are idle.

    A version without a receipt is copied before a look at its target. If a blob exists there, this copy is refused. Each copy
    queues its event before it is answered, so no transfer starts once the queues are empty and all transfers have ended.
    """
    for side in pair:
        side.client.until(side.is_idle, f"{side.route} is idle", SECONDS)
        assert side.client.list_all("/dead-letters") == []
    assert copies(pair, name) == Counter({"": sum(writes), "BlobAlreadyExists": refused})
    for side, own, others in zip(pair, writes, reversed(writes), strict=True):
        states = Counter(item["state"] for item in side.transfers(name))
        assert states == Counter(verified=own, superseded=others)
        assert side.is_idle()


def copies(pair: Pair, name: str) -> Counter[str]:
    """Count the requested copies in both directions by the error code of the service."""
    seen = pair[0].client.control.requests(method="PUT", container=pair[0].container, blob=name, internal=False)
    return Counter(request["code"] for request in seen if request["operation"] in COPIES)


def test_an_upload_is_copied_once(pair: Pair) -> None:
    """The event of the copy leads to no copy back."""
    near, far = pair
    check_arrival(near, far, "upload.txt", near.upload("upload.txt", b"uploaded"))
    check_idle(pair, "upload.txt", (1, 0))


def test_an_overwrite_on_the_other_side_arrives_once(pair: Pair) -> None:
    near, far = pair
    check_arrival(near, far, "overwrite.txt", near.upload("overwrite.txt", b"uploaded"))
    check_arrival(far, near, "overwrite.txt", far.upload("overwrite.txt", b"overwritten"))
    check_idle(pair, "overwrite.txt", (1, 1), refused=1)


def test_edits_that_keep_the_receipt_arrive_from_either_side(pair: Pair) -> None:
    """Each edited blob is a copy and keeps its receipt."""
    near, far = pair
    check_arrival(near, far, "edit.txt", near.upload("edit.txt", b"uploaded"))
    for side, other in ((far, near), (near, far)):
        for number in (1, 2):
            data = side.edit("edit.txt", f"edit {number} in {side.account}{'!' * number}".encode())
            check_arrival(side, other, "edit.txt", data)
    check_idle(pair, "edit.txt", (3, 2))


def test_a_reconcile_of_each_direction_finds_only_matches(pair: Pair) -> None:
    near, far = pair
    check_arrival(near, far, "near.txt", near.upload("near.txt", b"of the near side"))
    check_arrival(far, near, "far.txt", far.upload("far.txt", b"of the far side"))
    check_arrival(far, near, "near.txt", far.edit("near.txt", b"of the near side, edited on the far side"))
    for side in pair:
        names = set(side.client.accounts[side.account].get_container_client(side.container).list_blob_names())
        job = run_job(side.client, "reconciles", SECONDS, route=side.route)
        assert counts(job) == {"match": len(names)}
        assert {(line["name"], line["class"]) for line in report_lines(side.client, job["id"])} == {
            (n, "match") for n in names
        }
    check_idle(pair, "near.txt", (1, 1))
    check_idle(pair, "far.txt", (0, 1))


@pytest.mark.parametrize("account", SECOND_APP.values())
def test_the_search_for_secrets_covers_the_second_app(apps: tuple[Client, Client], account: str) -> None:
    wanted = search.known_secrets(apps[1])
    remove = search.plant_in_queue(apps[1], f"planted-{uuid4()}", account)
    try:
        assert len(wanted.leaks(search.app_accounts(apps[1]))) == 1
    finally:
        remove()
