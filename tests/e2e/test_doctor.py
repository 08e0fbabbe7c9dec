"""`sharing doctor` on broken set-ups: the real command, the app, the real SDKs, and a service that answers as Azure does.

Each set-up is a route of its own. All work at first. Then all are broken at once, each in its own way, and the doctor must name
each by one check with its fix. After the fixes it finds nothing.
"""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from azure.storage.queue import QueueClient

from devhost.stack import ROOT
from devhost.storage.testing import free_ports
from rules.routes.names import PROBE
from rules.transfers.policies import Times
from tests.e2e.client import Client
from tests.e2e.stacks import environment, restart, searched_stack

NAME = "small.txt"
MANY = 100_000
Undo = Callable[[], object]


class Relay:
    """A port before the blob service. Closed, it refuses connections."""

    def __init__(self, upstream: int) -> None:
        (self.port,), self._upstream = free_ports(1), upstream
        self._sockets: list[socket.socket] = []

    def open(self) -> None:
        listener = socket.create_server(("127.0.0.1", self.port))
        self._sockets.append(listener)
        threading.Thread(target=self._accept, args=[listener], daemon=True).start()

    def close(self) -> None:
        while self._sockets:
            with suppress(OSError), self._sockets.pop() as each:
                each.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", self._upstream))
                self._sockets += [client, server]
                for ends in ((client, server), (server, client)):
                    threading.Thread(target=_pump, args=ends, daemon=True).start()


def _pump(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while data := one.recv(65_536):
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)


class Topic:
    """An Event Grid topic. It answers with `status`."""

    def __init__(self) -> None:
        self.status, topic = 200, self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                body = b"" if topic.status == 200 else b'{"error": {"code": "Unauthorized", "message": "no"}}'
                self.send_response(topic.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, status: int) -> Undo:
        self.status = status
        return partial(setattr, self, "status", 200)


@dataclass
class World:
    """The stack, and what is beside it."""

    client: Client
    relay: Relay
    topics: dict[str, Topic]

    def refuse(self, status: int, code: str, **match: str) -> Undo:
        rule = self.client.control.add_fault(match, {"status": status, "code": code}, MANY)
        return partial(self.client.control.remove_faults, rule)

    def fault(self, action: dict[str, Any], **match: str) -> Undo:
        return partial(self.client.control.remove_faults, self.client.control.add_fault(match, action, MANY))

    def without_container(self, account: str, name: str) -> Undo:
        self.client.accounts[account].delete_container(name)
        return partial(self.client.create_container, account, name)

    def without_queue(self, account: str, name: str) -> Undo:
        queue = self.queue(account, name)
        queue.delete_queue()
        return queue.create_queue

    def queue(self, account: str, name: str) -> QueueClient:
        return QueueClient.from_connection_string(self.client.stack.connection_string(account), name)

    def unreachable(self) -> Undo:
        self.relay.close()
        return self.relay.open


@dataclass(frozen=True)
class SetUp:
    """A broken set-up: the check that fails, and parts of its detail and fix. `of_source`: it has a source of its own."""

    check: str
    detail: str
    fix: str
    breaks: Callable[[World], Undo]
    of_source: bool = False
    more: tuple[tuple[str, Any], ...] = ()


ROLE = 'az role assignment create --assignee "$(azd env get-value APP_IDENTITY)" --role'
ADMIT = "az storage account network-rule add --account-name"
CREATE = "az storage container create --name"
NO_ROLE, FIREWALL, KEY = "AuthorizationPermissionMismatch", "AuthorizationFailure", "AuthenticationFailed"
TARGET = {"account": "sharingtarget"}
SOURCE = {"account": "sharingsource"}

SET_UPS: dict[str, SetUp] = {
    "no-source": SetUp(
        "listing the source of",
        "404 ContainerNotFound",
        f"{CREATE} no-source --account-name sharingsource",
        lambda world: world.without_container("sharingsource", "no-source"),
        of_source=True,
    ),
    "source-role": SetUp(
        "listing the source of",
        f"403 {NO_ROLE}",
        f'{ROLE} "Storage Blob Data Reader"',
        lambda world: world.refuse(403, NO_ROLE, container="source-role", **SOURCE),
        of_source=True,
    ),
    "source-wall": SetUp(
        "listing the source of",
        f"403 {FIREWALL}",
        f"{ADMIT} sharingsource",
        lambda world: world.refuse(403, FIREWALL, container="source-wall", **SOURCE),
        of_source=True,
    ),
    "source-key": SetUp(
        "listing the source of",
        f"403 {KEY}",
        "Correct AccountKey",
        lambda world: world.refuse(403, KEY, container="source-key", **SOURCE),
        of_source=True,
    ),
    "source-gone": SetUp(
        "listing the source of",
        "no answer",
        "az storage account show --name sharingsource",
        lambda world: world.fault({"drop": True}, container="source-gone", **SOURCE),
        of_source=True,
    ),
    "lost-event": SetUp(
        "events of",
        "its event has not arrived",
        "--system-topic-name evgt-sharingsource",
        lambda world: partial(command, world, "reconcile", "lost-event", "--yes", "--wait"),
        of_source=True,
    ),
    "no-target": SetUp(
        "target of",
        "404 ContainerNotFound",
        f"{CREATE} no-target --account-name sharingtarget",
        lambda world: world.without_container("sharingtarget", "no-target"),
    ),
    "no-role": SetUp(
        "target of",
        f"403 {NO_ROLE}",
        f'{ROLE} "Storage Blob Data Contributor"',
        lambda world: world.refuse(403, NO_ROLE, container="no-role", **TARGET),
    ),
    "reader": SetUp(
        "writing the target of",
        f"403 {NO_ROLE}",
        f'{ROLE} "Storage Blob Data Contributor"',
        lambda world: world.refuse(403, NO_ROLE, container="reader", method="PUT", **TARGET),
    ),
    "wall": SetUp(
        "target of",
        f"403 {FIREWALL}",
        f"{ADMIT} sharingtarget",
        lambda world: world.refuse(403, FIREWALL, container="wall", **TARGET),
    ),
    "key": SetUp(
        "target of",
        f"403 {KEY}",
        "Correct AccountKey",
        lambda world: world.refuse(403, KEY, container="key", **TARGET),
    ),
    "tenant": SetUp(
        "target of",
        "401 InvalidAuthenticationInfo",
        "azd env get-value AZURE_TENANT_ID",
        lambda world: world.refuse(401, "InvalidAuthenticationInfo", container="tenant", **TARGET),
    ),
    "busy": SetUp(
        "target of",
        "503 ServerBusy",
        "Wait a minute",
        lambda world: world.refuse(503, "ServerBusy", container="busy", **TARGET),
    ),
    "unreachable": SetUp(
        "target of",
        "the host refuses connections",
        "az storage account show --name sharingtarget",
        lambda world: world.unreachable(),
        of_source=True,  # empty: Azurite copies nothing between two ports
    ),
    "cool": SetUp(
        "writing the target of",
        "409 BlobAccessTierNotSupportedForAccountType",
        "Remove `tier` from the route",
        lambda world: world.refuse(
            409, "BlobAccessTierNotSupportedForAccountType", container="cool", operation="PutBlob", **TARGET
        ),
        more=(("tier", "Cool"),),
    ),
    "pages-only": SetUp(
        "writing the target of",
        "400 BlobTypeNotSupported",
        "Use an account for block blobs",
        lambda world: world.refuse(400, "BlobTypeNotSupported", container="pages-only", operation="PutBlob", **TARGET),
    ),
    "disabled": SetUp(
        "target of",
        "403 AccountIsDisabled",
        "--query statusOfPrimary",
        lambda world: world.refuse(403, "AccountIsDisabled", container="disabled", **TARGET),
    ),
    "going": SetUp(
        "target of",
        "409 ContainerBeingDeleted",
        f"Wait until it is deleted, then create it: `{CREATE} going",
        lambda world: world.refuse(409, "ContainerBeingDeleted", container="going", **TARGET),
    ),
    "locked": SetUp(
        "writing the target of",
        "409 BlobImmutableDueToPolicy",
        "az storage blob delete --account-name sharingtarget --container-name locked --name '.blob-data-sharing-probe-",
        lambda world: world.refuse(
            409, "BlobImmutableDueToPolicy", container="locked", operation="DeleteBlob", **TARGET
        ),
    ),
    "lost-answer": SetUp(
        "writing the target of",
        "no answer",
        "az storage account show --name sharingtarget",
        lambda world: world.fault(
            {"drop": True, "when": "after"}, container="lost-answer", operation="PutBlob", **TARGET
        ),
    ),
    "late": SetUp(
        "clock of the target of",
        "differ by 12",
        "timedatectl",
        lambda world: world.fault({"clock": -1200}, container="late", operation="PutBlob", **TARGET),
    ),
    "copy-wall": SetUp(
        "copying on",
        "the source's firewall blocks the target's service",
        f"{ADMIT} sharingsource",
        lambda world: world.fault(
            {"status": 403, "source_status": 403, "source_code": FIREWALL},
            container="copy-wall",
            operation="CopyBlobFromUrl",
        ),
    ),
    "copy-role": SetUp(
        "copying on",
        "the app's role on the source does not allow the read",
        f'{ROLE} "Storage Blob Data Reader"',
        lambda world: world.fault(
            {"status": 403, "source_status": 403, "source_code": NO_ROLE},
            container="copy-role",
            operation="CopyBlobFromUrl",
        ),
    ),
    "scope": SetUp(
        "copying on",
        "allowedCopyScope",
        "--query allowedCopyScope",
        lambda world: world.refuse(403, FIREWALL, container="scope", operation="CopyBlobFromUrl"),
    ),
    "no-queue": SetUp(
        "notifying the recipient of",
        "404 QueueNotFound",
        "az storage queue create --name no-queue --account-name sharingtarget",
        lambda world: world.without_queue("sharingtarget", "no-queue"),
    ),
    "topic-role": SetUp(
        "notifying the recipient of",
        "the app's access is refused",
        f'{ROLE} "EventGrid Data Sender"',
        lambda world: world.topics["topic-role"].answer(401),
    ),
    "busy-topic": SetUp(
        "notifying the recipient of",
        "503",
        "Wait a minute",
        lambda world: world.topics["busy-topic"].answer(503),
    ),
    "no-topic": SetUp(
        "notifying the recipient of",
        "404",
        "az eventgrid topic list",
        lambda world: world.topics["no-topic"].answer(404),
    ),
}


# What each check of the app's own accounts needs.
OWN: dict[str, Callable[[World], Undo]] = {
    "queue": lambda world: world.without_queue("sharingevents", "blob-events"),
    "transfer ends": lambda world: world.without_queue("sharingstate", "transfer-ends"),
    "dead letters": lambda world: world.without_container("sharingstate", "dead-letters"),
    "reports": lambda world: world.without_container("sharingstate", "reports"),
    "figures": lambda world: world.without_container("sharingstate", "figures"),
    "ledger": lambda world: world.without_container("sharingstate", "ledger"),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    state = tmp_path_factory.mktemp("doctor")
    settings = environment(state)
    relay = Relay(int(settings["AZURITE_BLOB_PORT"]))
    topics = {name: Topic() for name in SET_UPS if "topic" in name}
    blobs = f"http://127.0.0.1:{settings['AZURITE_BLOB_PORT']}"
    routes: list[dict[str, Any]] = []
    for name, set_up in SET_UPS.items():
        container = name if set_up.of_source else "source"
        target = f"http://127.0.0.1:{relay.port}" if name == "unreachable" else blobs
        route = {
            "name": name,
            "source": f"{blobs}/sharingsource/{container}/",
            "target": f"{target}/sharingtarget/{name}/",
        }
        if name in topics:
            route["notify"] = f"http://127.0.0.1:{topics[name].server.server_port}/api/events"
        elif "queue" in name:
            route["notify"] = f"http://127.0.0.1:{settings['AZURITE_QUEUE_PORT']}/sharingtarget/{name}"
        routes.append(route | dict(set_up.more))
    relay.open()
    with searched_stack(state, settings | {"ROUTES": json.dumps(routes)}) as client:
        found = World(client, relay, topics)
        found.queue("sharingtarget", "no-queue").create_queue()
        for name, set_up in SET_UPS.items():
            client.create_container("sharingtarget", name)
            if set_up.of_source:
                client.create_container("sharingsource", name)
        client.control.events(mode="drop")
        client.put(NAME, b"small", "lost-event")
        client.control.events(mode="deliver")
        client.put(NAME, b"small")
        for name, set_up in SET_UPS.items():
            if not set_up.of_source:
                assert client.until_final(NAME, name)["state"] == "verified"
        yield found
    relay.close()
    for topic in topics.values():
        topic.server.shutdown()
        topic.server.server_close()


def command(world: World, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run a command of `sharing`. What it prints is searched for secrets."""
    url = f"http://127.0.0.1:{world.client.stack.host_port}"
    env = {**os.environ, "PYTHONPATH": str(ROOT / "cli"), "SHARING_URL": url}
    line = [sys.executable, "-m", "sharing", *words]
    done = subprocess.run(line, env=env, capture_output=True, text=True, check=False, timeout=120)
    world.client.answers.append(done.stdout + done.stderr)
    return done


def failing(world: World) -> dict[str, dict[str, str]]:
    """Run it, and return the failed checks by name."""
    done = command(world, "doctor", "--json")
    found = json.loads(done.stdout)
    broken = {check["name"]: check for check in found["checks"] if not check["ok"]}
    assert done.returncode == (1 if broken else 0)
    return broken


def probes(world: World) -> list[str]:
    """The probes at the targets, as container/name."""
    found = []
    account = world.client.accounts["sharingtarget"]
    for container in account.list_containers():
        names = account.get_container_client(container.name).list_blob_names(name_starts_with=PROBE)
        found += [f"{container.name}/{name}" for name in names]
    return found


def test_a_working_set_up_is_healthy(world: World) -> None:
    """`?deep=1` redirects to the doctor."""
    answer = world.client.api("GET", "/health?deep=1")
    assert [check for check in answer.body["checks"] if not check["ok"]] == []
    assert answer.status == 200
    assert probes(world) == []


def test_each_broken_set_up_is_named_by_one_check_with_its_fix(world: World) -> None:
    client = world.client
    written = client.source(NAME, "lost-event").get_blob_properties().last_modified
    client.until(lambda: datetime.now(UTC) - written > Times(window=1).delivery, "the event is late")
    undo = [set_up.breaks(world) for set_up in SET_UPS.values()]
    undo.append(world.refuse(403, NO_ROLE, container="no-queue", operation="SetTags", **TARGET))
    broken = failing(world)
    text = command(world, "doctor")
    for each in undo:
        each()

    names = {f"{set_up.check} route {name}": set_up for name, set_up in SET_UPS.items()}
    assert broken.keys() == names.keys()
    for name, set_up in names.items():
        assert set_up.detail in broken[name]["detail"]
        assert set_up.fix in broken[name]["fix"]

    assert text.returncode == 1
    lines = text.stdout.splitlines()
    assert [line.split(maxsplit=1)[1] for line in lines if line.startswith("FAILS")] == list(broken)
    [tags] = [line for line in lines if "index tags are left out" in line]
    assert tags.startswith("ok     writing the target of route no-queue")
    commands = [line.strip() for line in lines if line.strip().startswith("az ")]
    assert {name for name in names if any(each in broken[name]["fix"] for each in commands)} == {
        name for name in names if "`az " in broken[name]["fix"]
    }

    left = probes(world)
    assert {probe.partition("/")[0] for probe in left} == {"locked"}
    for probe in left:
        container, _, name = probe.partition("/")
        assert (
            f"--container-name {container} --name '{name}'"
            in broken["writing the target of route locked"]["fix"] + text.stdout
        )
        client.target(name, container).delete_blob()
    assert failing(world) == {}
    assert [item for item in client.list_all("/transfers") if PROBE in item["source"]["name"]] == []


def test_what_is_missing_in_the_app_s_own_accounts_is_named(world: World) -> None:
    undo = [missing(world) for missing in OWN.values()]
    broken = failing(world)
    for each in undo:
        each()
    assert broken.keys() == OWN.keys()
    assert all("NotFound" in check["detail"] and "`azd provision` creates" in check["fix"] for check in broken.values())


def test_a_read_only_app_writes_and_sends_nothing(world: World) -> None:
    restart(world.client, {**world.client.stack.environment, "READ_ONLY": "true"})
    world.client.control.forget_requests()
    done = command(world, "doctor")
    assert done.returncode == 0
    assert done.stdout.count("not tried: READ_ONLY is set") >= 3 * len(SET_UPS)
    methods = {each["method"] for each in world.client.control.requests(account="sharingtarget", internal=False)}
    assert methods == {"HEAD"}
