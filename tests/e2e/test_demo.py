"""The README's first command: it ends with every byte compared, and leaves nothing running."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from devhost.stack import ROOT
from tests.e2e.conftest import environment


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
        "All bytes were compared and are equal.",
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


def test_a_port_that_is_none_is_said_with_its_variable(tmp_path: Path) -> None:
    """One line, no traceback."""
    env = environment(tmp_path) | {"HOST_PORT": "seven"}
    done = devhost("run", env)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "HOST_PORT='seven' is no port" in done.stderr


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
