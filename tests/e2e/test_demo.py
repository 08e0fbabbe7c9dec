"""The README's first command: it ends with every byte compared, and leaves nothing running."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from azure.storage.blob import ContainerClient

from devhost.stack import ROOT, LocalStack
from devhost.storage.testing import free_ports
from tests.e2e.stacks import environment


def test_the_demo_shares_fails_replays_and_compares(tmp_path: Path) -> None:
    """Exit code 0 only if all bytes were compared and equal."""
    env = environment(tmp_path)
    del env["ROUTES"]
    done = devhost("demo", env)
    assert done.returncode == 0, done.stdout + done.stderr
    for said in (
        "dead_lettered inbox/report.csv",
        "target_unwritable",
        "replay -> 202",
        "All bytes compared: equal.",
    ):
        assert said in done.stdout


def test_a_stack_whose_parent_is_killed_stops_too(tmp_path: Path) -> None:
    """`kill -9` of `make run` leaves nothing behind that holds the ports."""
    env = environment(tmp_path)
    with (tmp_path / "log").open("w") as log:
        parent = subprocess.Popen([sys.executable, "-m", "devhost", "run"], cwd=ROOT, env=env, stdout=log, stderr=log)
        until(lambda: all(taken(int(env[port])) for port in PORTS), "the stack runs")
        parent.kill()
        parent.wait()
        until(lambda: not any(taken(int(env[port])) for port in PORTS), "the stack is gone")


PORTS = ("HOST_PORT", "AZURITE_BLOB_PORT", "AZURITE_QUEUE_PORT", "AZURITE_TABLE_PORT")


def devhost(what: str, env: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """Run `python -m devhost` to its end."""
    command = [sys.executable, "-m", "devhost", what]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=240, check=False)


def taken(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def until(look: Callable[[], bool], what: str) -> None:
    """Look again and again, for a minute."""
    end = time.monotonic() + 60
    while not look():
        assert time.monotonic() < end, what
        time.sleep(0.2)


@pytest.mark.parametrize("what", ["run", "demo"])
@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("ROUTES", "[", "The setting ROUTES is '[': not JSON"),
        ("WINDOW_SECONDS", "soon", "The setting WINDOW_SECONDS is 'soon'"),
        ("DEVHOST_COPY_RATE", "0", "DEVHOST_COPY_RATE=0 is not a positive number"),
        ("AZURITE_QUEUE_PORT", "many", "AZURITE_QUEUE_PORT=many is not a positive number"),
    ],
)
def test_a_wrong_setting_is_one_message_and_nothing_starts(
    tmp_path: Path, what: str, variable: str, value: str, said: str
) -> None:
    """The app's own, and the stack's: the message names the variable and the fix."""
    done = devhost(what, environment(tmp_path) | {variable: value})
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    assert done.stderr.startswith(f"devhost: {said}")
    assert " Fix: " in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_run_creates_the_containers_of_its_routes_names_them_and_says_where_the_data_are(tmp_path: Path) -> None:
    """With routes of one's own nothing has to be created by hand; what leads elsewhere is said, and Ctrl-C is an end."""
    env = environment(tmp_path)
    stack = LocalStack(env)
    source, target = stack.account("sharingsource"), stack.account("sharingtarget")
    elsewhere = f"http://127.0.0.1:{free_ports(1)[0]}/sharingtarget/far/"
    routes = [
        {"name": "mine", "source": f"{source}/photos/2026/", "target": f"{target}/album/"},
        {"name": "far", "source": f"{source}/photos/2027/", "target": elsewhere},
        {"name": "typo", "source": f"{source}/photos/2028/", "target": f"{target}s/album/"},
    ]
    command = [sys.executable, "-m", "devhost", "run"]
    with (tmp_path / "log").open("w") as log:
        parent = subprocess.Popen(
            command, cwd=ROOT, env=env | {"ROUTES": json.dumps(routes)}, stdout=log, stderr=log, start_new_session=True
        )
        try:
            until(lambda: "Try:" in (tmp_path / "log").read_text(), "the stack runs")
            for account, container in (("sharingsource", "photos"), ("sharingtarget", "album")):
                text = stack.connection_string(account)
                with ContainerClient.from_connection_string(text, container) as client:
                    assert client.exists(), container
        finally:
            os.killpg(parent.pid, signal.SIGINT)  # as a terminal does: everyone in the foreground gets it
            assert parent.wait(60) == 0
    said = (tmp_path / "log").read_text()
    for route in routes:
        for side in ("source", "target"):
            assert f"route {route['name']}: " in said
            assert route[side] in said
    warnings = [line for line in said.splitlines() if "WARNING" in line]
    assert [("far" in line, "typo" in line) for line in warnings] == [(True, False), (False, True)]
    assert all(stack.account("") in line for line in warnings)
    assert said.splitlines()[-1] == f"The local stack has stopped. Its blobs are in {tmp_path}/."
    assert "Traceback" not in said


def test_a_port_that_is_none_is_said_with_its_variable(tmp_path: Path) -> None:
    """One line, no traceback."""
    env = environment(tmp_path) | {"HOST_PORT": "seven"}
    done = devhost("run", env)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "HOST_PORT='seven' is not a port" in done.stderr


@pytest.mark.parametrize("variable", ["HOST_PORT", "AZURITE_BLOB_PORT"])
def test_a_busy_port_is_named_with_its_variable(tmp_path: Path, variable: str) -> None:
    """One clear error, and nothing is left running."""
    env = environment(tmp_path)
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", int(env[variable])))
        busy.listen()
        done = devhost("run", env)
    assert done.returncode == 1
    assert variable in done.stderr
    assert env[variable] in done.stderr
    assert "Traceback" not in done.stderr
