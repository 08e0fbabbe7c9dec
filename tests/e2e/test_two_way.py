"""Two sides that share with each other, by two apps or by one: each write arrives on the other side once, then nothing runs."""

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
from devhost.storage.config import CONTAINERS, EVENTS_ACCOUNT, QUEUES, STATE_ACCOUNT
from devhost.storage.testing import free_ports
from rules.transfers.decisions import ECHO
from tests.e2e import search
from tests.e2e.conftest import environment, searched
from tests.e2e.desk import FINAL, ON_FUNC, PATIENCE, Desk
from tests.e2e.helpers import in_a_queue
from tests.e2e.jobs import asked, ended, report
from tests.e2e.storm import COPIES

SECONDS = PATIENCE if ON_FUNC else 60
# The state account and the events account of the second app.
FAR = {STATE_ACCOUNT: "farstate", EVENTS_ACCOUNT: "farevents"}
WATCH = ("sharingsource/two", "sharingtarget/two@farevents", "sharingsource/one", "sharingtarget/one")


@dataclass(frozen=True)
class Side:
    """A container, the app that shares it, and the route along which it does."""

    desk: Desk
    account: str
    container: str
    route: str

    def blob(self, name: str) -> BlobClient:
        """A blob of this side."""
        return self.desk.accounts[self.account].get_blob_client(self.container, name)

    def upload(self, name: str, data: bytes) -> bytes:
        """A blob without the metadata of an earlier one; its bytes."""
        self.blob(name).upload_blob(data, overwrite=True)
        return data

    def edit(self, name: str, data: bytes) -> bytes:
        """Other bytes under the blob's own metadata, its receipt too; its bytes."""
        blob = self.blob(name)
        blob.upload_blob(data, overwrite=True, metadata=blob.get_blob_properties().metadata)
        return data

    def transfers(self, name: str) -> list[dict[str, Any]]:
        """The transfers of all versions that a blob of this side has had."""
        listed = self.desk.everything(f"/transfers?route={self.route}")
        return [item for item in listed if item["source"]["name"] == name]

    def is_idle(self) -> bool:
        """Whether the app has no message, and none of the route's transfers is under way."""
        waiting = [self.desk.queue(queue).get_queue_properties().approximate_message_count for queue in QUEUES]
        listed = self.desk.everything(f"/transfers?route={self.route}")
        return not any(waiting) and all(item["state"] in FINAL for item in listed)


Pair = tuple[Side, Side]


@pytest.fixture(scope="module")
def apps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Desk, Desk]]:
    """Two apps on one emulator. The second has its own port, state account and events account."""
    here, there = tmp_path_factory.mktemp("near"), tmp_path_factory.mktemp("far")
    near = environment(here) | {"DEVHOST_ACCOUNTS": ",".join(FAR.values()), "DEVHOST_WATCH": ",".join(WATCH)}
    near["ROUTES"] = json.dumps(
        [
            route(near, "there", "sharingsource/two", "sharingtarget/two"),
            route(near, "one-there", "sharingsource/one", "sharingtarget/one"),
            route(near, "one-back", "sharingtarget/one", "sharingsource/one"),
        ]
    )
    own = FAR[STATE_ACCOUNT], FAR[EVENTS_ACCOUNT]
    with searched(here, near) as first:
        for account in ("sharingsource", "sharingtarget"):
            for container in ("one", "two"):
                first.container(account, container)
        state, events = map(first.stack.connection_string, own)
        far = near | {"HOST_PORT": str(free_ports(1)[0]), "DEVHOST_STATE": str(there)}
        far |= {"AzureWebJobsStorage": state, "EVENTS": events}
        far["ROUTES"] = json.dumps([route(near, "back", "sharingtarget/two", "sharingsource/two")])
        with searched(there, far, own, start_far) as second:
            yield first, second


def route(settings: dict[str, str], name: str, source: str, target: str) -> dict[str, str]:
    """A route between two containers of the emulator."""
    blobs = f"http://127.0.0.1:{settings['AZURITE_BLOB_PORT']}"
    return {"name": name, "source": f"{blobs}/{source}/", "target": f"{blobs}/{target}/"}


def start_far(stack: LocalStack) -> None:
    """Make what the second app needs in its accounts, and start its host; the storage is the first one's."""
    for account, name in CONTAINERS:
        if account in FAR:
            with ContainerClient.from_connection_string(stack.connection_string(FAR[account]), name) as container:
                container.create_container()
    for name in QUEUES:
        with QueueClient.from_connection_string(stack.connection_string(FAR[EVENTS_ACCOUNT]), name) as queue:
            queue.create_queue()
    stack.start_host()


@pytest.fixture(params=["two", "one"])
def pair(apps: tuple[Desk, Desk], request: pytest.FixtureRequest) -> Pair:
    """The two sides: each with an app of its own, or both in one app."""
    first, second = apps
    if request.param == "two":
        return Side(first, "sharingsource", "two", "there"), Side(second, "sharingtarget", "two", "back")
    return Side(first, "sharingsource", "one", "one-there"), Side(first, "sharingtarget", "one", "one-back")


def arrives(side: Side, other: Side, name: str, data: bytes) -> None:
    """What was written on one side is verified on the other, and the copy is recognized there as an echo."""
    assert final(side, name)["state"] == "verified"
    assert side.desk.read(other.blob(name)) == side.desk.read(side.blob(name)) == data
    echo = final(other, name)
    assert (echo["state"], echo["detail"], echo["successor"]) == ("superseded", ECHO, None)


def final(side: Side, name: str) -> dict[str, Any]:
    """The transfer of the current version of a blob, once it has ended."""

    def look() -> dict[str, Any] | None:
        answer = side.desk.transfer_of(name, side.route)
        return answer.body if answer.status == 200 and answer.body["state"] in FINAL else None

    found: dict[str, Any] = side.desk.until(look, f"{side.route}:{name} ends", SECONDS)
    return found


def silence(pair: Pair, name: str, writes: tuple[int, int], guesses: int = 0) -> None:
    """After so many writes on each side: one copy for each, one transfer for each version, and nothing is left to do.

    A version without a receipt is copied before its target is looked at: where there is a blob, that guess is refused.
    Each copy queues its event before it is answered. So if the queues are empty and all transfers have ended, none will begin.
    """
    for side in pair:
        side.desk.until(side.is_idle, f"{side.route} is idle", SECONDS)
        assert side.desk.everything("/dead-letters") == []
    assert copies(pair, name) == Counter({"": sum(writes), "BlobAlreadyExists": guesses})
    for side, own, others in zip(pair, writes, reversed(writes), strict=True):
        states = Counter(item["state"] for item in side.transfers(name))
        assert states == Counter(verified=own, superseded=others)
        assert side.is_idle()


def copies(pair: Pair, name: str) -> Counter[str]:
    """How many copies the apps asked for, in both directions, by the code with which the service refused them."""
    seen = pair[0].desk.control.requests(method="PUT", container=pair[0].container, blob=name, internal=False)
    return Counter(request["code"] for request in seen if request["operation"] in COPIES)


def test_an_upload_is_copied_once(pair: Pair) -> None:
    """The copy raises an event on the other side: it is not copied back."""
    near, far = pair
    arrives(near, far, "upload.txt", near.upload("upload.txt", b"uploaded"))
    silence(pair, "upload.txt", (1, 0))


def test_an_overwrite_on_the_other_side_arrives_once(pair: Pair) -> None:
    """It replaces the blob that it was copied from."""
    near, far = pair
    arrives(near, far, "overwrite.txt", near.upload("overwrite.txt", b"uploaded"))
    arrives(far, near, "overwrite.txt", far.upload("overwrite.txt", b"overwritten"))
    silence(pair, "overwrite.txt", (1, 1), guesses=1)


def test_edits_that_keep_the_receipt_arrive_from_either_side(pair: Pair) -> None:
    """Each edited blob was a copy, and still has the receipt of one. A second edit of the same blob arrives, too."""
    near, far = pair
    arrives(near, far, "edit.txt", near.upload("edit.txt", b"uploaded"))
    for side, other in ((far, near), (near, far)):
        for number in (1, 2):
            data = side.edit("edit.txt", f"edit {number} in {side.account}{'!' * number}".encode())
            arrives(side, other, "edit.txt", data)
    silence(pair, "edit.txt", (3, 2))


def test_a_reconcile_of_each_direction_finds_matches_alone(pair: Pair) -> None:
    """Originals and copies, on both sides: there is nothing to start."""
    near, far = pair
    arrives(near, far, "near.txt", near.upload("near.txt", b"of the near side"))
    arrives(far, near, "far.txt", far.upload("far.txt", b"of the far side"))
    arrives(far, near, "near.txt", far.edit("near.txt", b"of the near side, edited on the far side"))
    for side in pair:
        names = set(side.desk.accounts[side.account].get_container_client(side.container).list_blob_names())
        job = ended(side.desk, job_id := asked(side.desk, route=side.route), SECONDS)
        assert {name: count for name, count in job["counts"].items() if count} == {"match": len(names)}
        assert {(line["name"], line["class"]) for line in report(side.desk, job_id)} == {(n, "match") for n in names}
    silence(pair, "near.txt", (1, 1))
    silence(pair, "far.txt", (0, 1))


@pytest.mark.parametrize("account", FAR.values())
def test_the_search_for_secrets_covers_the_second_app(apps: tuple[Desk, Desk], account: str) -> None:
    """It reads the accounts of the app that it searches."""
    wanted = search.secrets(apps[1])
    take_back = in_a_queue(apps[1], f"planted-{uuid4()}", account)
    try:
        assert len(wanted.leaks(search.own_accounts(apps[1]))) == 1
    finally:
        take_back()
