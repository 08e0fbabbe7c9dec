"""`make demo` and `make run`: the demo compares every byte, and both leave no process behind."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from azure.storage.blob import ContainerClient

from devhost.stack import ROOT, LocalStack
from devhost.storage.testing import free_ports
from tests.e2e.processes import until
from tests.e2e.stacks import environment


def test_the_demo_shares_fails_replays_and_compares(tmp_path: Path) -> None:
    """The exit code is 0 only if all bytes are equal. The table fits 80 columns; the picture shows the same text."""
    env = environment(tmp_path)
    del env["ROUTES"]
    picture = tmp_path / "demo.svg"
    done = devhost("demo", env, "--picture", str(picture))
    assert done.returncode == 0, done.stdout + done.stderr
    for text in ("report.csv: dead_lettered: target_unwritable", "hint    Check that", "replay -> 202"):
        assert text in done.stdout
    assert done.stdout.splitlines()[-2] == "All bytes compared: equal."
    table = [line for line in done.stdout.splitlines() if line.startswith("│")]
    assert {line.split("│")[-2].strip() for line in table} == {"yes"}
    assert {line.split("│")[4].strip() for line in table} == {"sync", "blocks"}
    assert max(map(len, table)) <= 80
    drawn = picture.read_text()
    assert "report.csv" in drawn
    assert "http" not in drawn.replace("http://www.w3.org/2000/svg", "").replace("https://www.textualize.io", "")
    assert [path.name for path in tmp_path.iterdir() if path != picture] == ["demo.log"]


@pytest.mark.parametrize(("until_line", "code"), [("Press Ctrl-C", 0), ("2. Watch", 130)])
def test_ctrl_c_ends_the_demo(tmp_path: Path, until_line: str, code: int) -> None:
    """With --keep the stack runs on after the table. In either case processes end and the blobs are deleted."""
    env = environment(tmp_path)
    del env["ROUTES"]
    command = [sys.executable, "-m", "devhost", "demo", "--keep"]
    with subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout
        printed = ""
        while until_line not in printed:
            line = process.stdout.readline()
            assert line, printed
            printed += line
        assert LocalStack(env).answers()
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (code, "")
    if code == 0:
        assert f"{LocalStack(env).api}/transfers" in printed
    assert not any(taken(int(env[port])) for port in PORTS)
    assert [path.name for path in tmp_path.iterdir()] == ["demo.log"]


def test_a_stack_whose_parent_is_killed_stops_too(tmp_path: Path) -> None:
    """After `kill -9` of `make run` no process holds the ports."""
    env = environment(tmp_path)
    with (tmp_path / "log").open("w") as log:
        parent = subprocess.Popen([sys.executable, "-m", "devhost", "run"], cwd=ROOT, env=env, stdout=log, stderr=log)
        until(lambda: all(taken(int(env[port])) for port in PORTS), "the stack runs")
        parent.kill()
        parent.wait()
        until(lambda: not any(taken(int(env[port])) for port in PORTS), "the stack is gone")


PORTS = ("HOST_PORT", "AZURITE_BLOB_PORT", "AZURITE_QUEUE_PORT", "AZURITE_TABLE_PORT")


def devhost(what: str, env: dict[str, str], *more: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "devhost", what, *more]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=240, check=False)


def taken(port: int) -> bool:
    """Return whether a process listens on the port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("what", ["run", "demo"])
@pytest.mark.parametrize(
    ("variable", "value", "output"),
    [
        ("ROUTES", "[", "The setting ROUTES is '[': not JSON"),
        ("WINDOW_SECONDS", "soon", "The setting WINDOW_SECONDS is 'soon'"),
        ("DEVHOST_COPY_RATE", "0", "DEVHOST_COPY_RATE=0 is not a positive number"),
        ("AZURITE_QUEUE_PORT", "many", "AZURITE_QUEUE_PORT='many' is not a port"),
    ],
)
def test_a_wrong_setting_is_one_message_and_nothing_starts(
    tmp_path: Path, what: str, variable: str, value: str, output: str
) -> None:
    """Settings of the app and of the stack; the message names the variable and the fix."""
    done = devhost(what, environment(tmp_path) | {variable: value})
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    assert done.stderr.startswith(f"devhost: {output}")
    assert " Fix: " in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_run_creates_and_lists_the_containers_of_its_routes(tmp_path: Path) -> None:
    """A route to another account is a warning. Ctrl-C is the normal end."""
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
            until(lambda: "Try, " in (tmp_path / "log").read_text(), "the stack runs")
            for account, container in (("sharingsource", "photos"), ("sharingtarget", "album")):
                text = stack.connection_string(account)
                with ContainerClient.from_connection_string(text, container) as client:
                    assert client.exists(), container
        finally:
            os.killpg(parent.pid, signal.SIGINT)  # as a terminal does: the whole foreground group gets it
            assert parent.wait(60) == 0
    output = (tmp_path / "log").read_text()
    for route in routes:
        for side in ("source", "target"):
            assert f"route {route['name']}: " in output
            assert route[side] in output
    warnings = [line for line in output.splitlines() if "WARNING" in line]
    assert [("far" in line, "typo" in line) for line in warnings] == [(True, False), (False, True)]
    assert all(stack.account("") in line for line in warnings)
    assert output.splitlines()[-1] == f"The local stack has stopped. Its blobs are in {tmp_path}/."
    assert "Traceback" not in output


def test_an_invalid_port_is_named_with_its_variable(tmp_path: Path) -> None:
    env = environment(tmp_path) | {"HOST_PORT": "seven"}
    done = devhost("run", env)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "HOST_PORT='seven' is not a port" in done.stderr


@pytest.mark.parametrize("variable", ["HOST_PORT", "AZURITE_BLOB_PORT"])
def test_a_busy_port_is_named_with_its_variable(tmp_path: Path, variable: str) -> None:
    env = environment(tmp_path)
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", int(env[variable])))
        busy.listen()
        done = devhost("run", env)
    assert done.returncode == 1
    assert variable in done.stderr
    assert env[variable] in done.stderr
    assert "Traceback" not in done.stderr
