"""The command line against the app: share, watch, list, show, replay and reconcile."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from subprocess import PIPE, Popen
from typing import Any

import pytest

from devhost.stack import ROOT
from tests.e2e.client import Client
from tests.e2e.stacks import running_stack

# A query must encode it, and a terminal must not interpret it.
NAME = "cli/a b+c%20ü&#?[red]\u202e.csv"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A separate stack: bulk replays concern all dead letters of a stack."""
    with running_stack(tmp_path_factory.mktemp("cli")) as running:
        for account, container in (("sharingsource", "source"), ("sharingtarget", "target")):
            running.create_container(account, container)
        yield running


def program(client: Client, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "sharing", "--url", f"http://127.0.0.1:{client.stack.host_port}", *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "cli")}


def sharing(client: Client, *arguments: str, code: int = 0) -> list[Any]:
    """Run a command with --json. Return what it prints."""
    command, env = program(client, *arguments, "--json"), environment()
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == code, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def put_without_event(client: Client, *names: str) -> None:
    client.control.events(mode="drop")
    try:
        for name in names:
            client.put(name, name.encode())
    finally:
        client.control.events(mode="deliver")


def test_a_shared_blob_is_watched_and_found_by_id_and_name(client: Client) -> None:
    put_without_event(client, NAME)
    [ended] = sharing(client, "share", "default", NAME, "--wait")
    assert (ended["state"], ended["source"]["name"]) == ("verified", NAME)
    assert client.read(client.target(NAME)) == NAME.encode()
    assert sharing(client, "ls", "--route", "default", "--state", "verified") == [ended]
    assert sharing(client, "show", "default", NAME) == sharing(client, "show", ended["id"])
    sharing(client, "cancel", ended["id"], code=1)
    sharing(client, "show", "37a8eec1-000000000000000000000000", code=4)


def test_an_uploaded_blob_is_watched_from_its_event_on(client: Client) -> None:
    client.put("cli/hello.txt", b"hello")
    [ended] = sharing(client, "watch", "--route", "default", "--name", "cli/hello.txt")
    assert ended["state"] == "verified"
    assert sharing(client, "watch", "--route", "default") == []


def test_a_watched_route_counts_each_of_many_small_blobs(client: Client) -> None:
    """Most of them start and end between two looks. The watch ends by itself."""
    names = {f"cli/many/{number}" for number in range(60)}
    # The first is held back, so that it runs when the watch begins. The others follow when the watch has told of its end.
    fault = client.control.add_fault({"operation": "CopyBlobFromUrl", "blob": "^cli/many/0$"}, {"status": 503}, times=2)
    client.put("cli/many/0", b"0")
    client.until(lambda: client.transfer_of("cli/many/0").body.get("reason"), "the copy was refused")
    with Popen(program(client, "watch", "--route", "default", "--json"), env=environment(), stdout=PIPE) as watch:
        assert watch.stdout
        first = watch.stdout.readline()
        for name in sorted(names - {"cli/many/0"}):
            client.put(name, name.encode())
        printed, _ = watch.communicate(timeout=120)
    client.control.remove_faults(fault)
    ended = [json.loads(line) for line in (first, *printed.splitlines())]
    assert watch.returncode == 0
    assert Counter(each["state"] for each in ended) == {"verified": 60}
    assert {each["source"]["name"] for each in ended} == names
    assert client.read(client.target("cli/many/59")) == b"cli/many/59"


def test_dead_letters_are_grouped_and_replayed(client: Client) -> None:
    fault = client.control.add_fault(
        {"operation": "CopyBlobFromUrl", "blob": "^cli/bad/"}, {"status": 404, "code": "ContainerNotFound"}, times=100
    )
    names = [f"cli/bad/{number}" for number in range(3)]
    put_without_event(client, *names)
    lost = sharing(client, "share", "default", *names, "--wait", code=1)
    assert {each["state"] for each in lost} == {"dead_lettered"}
    [group] = sharing(client, "letters")
    assert (group["reason"], group["count"], group["routes"]) == ("target_unwritable", 3, {"default": 3})
    client.control.remove_faults(fault)
    [replayed] = sharing(client, "replay", lost[0]["id"], "--wait")
    assert replayed["state"] == "verified"
    [plan] = sharing(client, "replay", "--reason", "target_unwritable", "--dry-run")
    assert (plan["counts"]["found"], plan["counts"]["started"]) == (2, 0)
    [done] = sharing(client, "replay", "--reason", "target_unwritable", "--yes", "--wait")
    assert done["counts"]["started"] == 2
    sharing(client, "watch", *(each["id"] for each in lost))
    assert sharing(client, "letters", "--list") == []


def test_a_reconcile_shares_what_is_missing(client: Client) -> None:
    names = [f"cli/old/{number}" for number in range(5)]
    put_without_event(client, *names)
    [job] = sharing(client, "reconcile", "default", "--prefix", "cli/old/", "--yes", "--wait")
    assert (job["counts"]["missing"], job["counts"]["started"]) == (5, 5)
    assert {each["name"] for each in sharing(client, "jobs", job["id"], "--class", "missing")} == set(names)
    assert job in sharing(client, "jobs")
    sharing(client, "watch", "--route", "default")
    assert {client.read(client.target(name)) for name in names} == {name.encode() for name in names}


def test_health_names_what_is_missing(client: Client) -> None:
    """This stack lacks the containers of its other routes."""
    [health] = sharing(client, "health", code=1)
    assert not health["up"]
