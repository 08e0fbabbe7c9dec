"""HOST=func runs the executable `func` on PATH. Here it is a stub that behaves like Core Tools."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from devhost import app
from devhost.stack import ROOT, LocalStack
from devhost.storage.config import StackError
from tests.e2e import search
from tests.e2e.client import Client
from tests.e2e.processes import all_processes, until
from tests.e2e.stacks import environment
from tests.package.azd import make_zip

# Has the command line of Core Tools, runs the stand-in in the current folder, and records the folder and its files.
STAND_IN = f"""#!/bin/sh
[ "$1" = start ] && [ "$2" = --port ] || exit 64
pwd > "$DEVHOST_STATE/pwd"
find . -type f > "$DEVHOST_STATE/files"
HOST_PORT="$3" PYTHONPATH="{ROOT}:$PYTHONPATH" exec {sys.executable} -m devhost.host
"""
STUB = f"#!{sys.executable}\n{Path(__file__).with_name('func_stub.py').read_text()}"
HEALTHY = {"up": True, "checks": [], "version": "1"}
UNHEALTHY = HEALTHY | {"up": False}


def func(folder: Path, program: str = STUB, **plan: Any) -> dict[str, str]:
    """Return an environment in which `func` is this program. `plan` is written for the stub."""
    path = folder / "bin" / "func"
    path.parent.mkdir()
    path.write_text(program)
    path.chmod(0o755)
    (folder / "stub.json").write_text(json.dumps(plan))
    env = environment(folder)
    return env | {"HOST": "func", "PATH": f"{path.parent}{os.pathsep}{env['PATH']}"}


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    """A client whose host is the stub, not yet started, without storage."""
    with (tmp_path / "stack.log").open("w") as log:
        client = Client(func(tmp_path), log)
        yield client
        client.close()


def prepare(client: Client, health: list[Any], **plan: Any) -> None:
    """Set the stub's answers for the app's health, and the rest of its plan."""
    answers = {"/api/health": health} | plan.pop("admin", {})
    (client.stack.state / "stub.json").write_text(json.dumps({"answers": answers, **plan}))


def logged(state: Path, what: str) -> list[str]:
    """Return the lines of the stub's log that start with `what`, without it."""
    path = state / "stub.log"
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.removeprefix(what).strip() for line in lines if line.startswith(what)]


def running_processes(state: Path) -> list[int]:
    """Return the process ids of the stub and its workers."""
    return [int(number) for number in logged(state, "func ") + logged(state, "worker ") if is_running(int(number))]


def is_running(number: int) -> bool:
    """Zombies do not count."""
    return any(line and number == each for each, _, line in all_processes())


def test_func_runs_in_a_copy_of_what_is_deployed(tmp_path: Path) -> None:
    """No tool writes there, so no file change restarts the host. The copy is deleted at the end."""
    with (tmp_path / "stack.log").open("w") as log, LocalStack(func(tmp_path, STAND_IN), output=log) as stack:
        assert stack.answers()
        place = Path((tmp_path / "pwd").read_text().strip())
        assert not place.is_relative_to(ROOT)
        assert (place / "function_app.py").is_file()
    with ZipFile(make_zip(ROOT, tmp_path / "app.zip")) as package:
        deployed = {f"./{name}" for name in package.namelist()}
    assert set((tmp_path / "files").read_text().splitlines()) == deployed
    assert not place.exists()


def test_a_leftover_copy_is_replaced(client: Client) -> None:
    """A killed process leaves its copy, which may contain modules that no longer exist."""
    old = client.stack.state / "func" / "rules" / "removed.py"
    old.parent.mkdir(parents=True)
    old.touch()
    prepare(client, [(200, HEALTHY)])
    client.stack.start_host()
    assert (client.stack.state / "func" / "rules" / "codec.py").is_file()
    assert not old.exists()


def test_a_missing_func_is_reported_with_a_fix(tmp_path: Path) -> None:
    env = environment(tmp_path) | {"HOST": "func", "PATH": str(tmp_path)}
    stack = LocalStack(env)
    with pytest.raises(StackError, match="is not on PATH"):
        stack.start()
    assert (stack.storage, stack.host) == (None, None)


@pytest.mark.parametrize("host", ["", "func"])
def test_a_busy_port_is_reported_before_anything_is_started(tmp_path: Path, host: str) -> None:
    stack = LocalStack(func(tmp_path) | {"HOST": host})
    with socket.create_server(("", stack.host_port)):
        with pytest.raises(StackError, match=f"Port {stack.host_port} is not free .* Fix: HOST_PORT="):
            stack.start()
        assert (stack.storage, stack.host) == (None, None)


def test_func_and_its_worker_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    """Even if the stub ignores SIGTERM."""
    env = func(tmp_path, answers={"/api/health": [(200, HEALTHY)]}, deaf=True)
    start = "import time; from devhost.stack import LocalStack; LocalStack().start_host(); print(); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", start], cwd=ROOT, env=env, stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        parent.stdout.readline()
        until(lambda: len(running_processes(tmp_path)) == 2, "func and its worker run")
        assert (tmp_path / "func").is_dir()
        parent.kill()
    until(lambda: not running_processes(tmp_path), "func and its worker are gone")
    until(lambda: not (tmp_path / "func").exists(), "the copy is gone")


def test_func_gets_sigterm_and_leaves_no_worker(client: Client) -> None:
    """Only `func` gets the signal. A remaining worker is killed."""
    prepare(client, [(200, HEALTHY)])
    client.stack.start_host()
    until(lambda: len(running_processes(client.stack.state)) == 2, "func and its worker run")
    client.stack.stop()
    assert len(logged(client.stack.state, "SIGTERM")) == 1
    until(lambda: not running_processes(client.stack.state), "func and its worker are gone")
    assert not (client.stack.state / "func").exists()


def test_a_func_that_does_not_stop_is_killed(tmp_path: Path) -> None:
    """Some versions ignore SIGTERM."""
    env = func(tmp_path, deaf=True)
    place = tmp_path / "func"
    start = "import sys; from devhost import func; func.DRAIN_SECONDS = 0.5; sys.exit(func.main())"
    arguments = ["--port", "0", "--copy", str(place)]
    command = [sys.executable, "-c", start, *arguments]
    with subprocess.Popen(command, cwd=ROOT, env=env, stdin=subprocess.PIPE) as process:
        until(lambda: len(running_processes(tmp_path)) == 2, "func and its worker run")
        process.terminate()
        process.wait(60)
    assert process.returncode == signal.SIGKILL
    until(lambda: not running_processes(tmp_path), "func and its worker are gone")
    assert not place.exists()


def test_a_killed_host_is_gone_immediately(client: Client) -> None:
    prepare(client, [(200, HEALTHY)], deaf=True)
    for _ in range(2):
        client.stack.start_host()
        client.stack.kill_host()
        until(lambda: not running_processes(client.stack.state), "func and its worker are gone")
    assert logged(client.stack.state, "SIGTERM") == []


@pytest.mark.parametrize("alien", [(503, None), (503, "Function host is not running."), (200, "<html>"), (200, [1])])
def test_only_an_answer_of_the_app_counts_as_up(client: Client, alien: tuple[int, Any]) -> None:
    """A host that starts or failed to start answers in the app's place. A 503 of the app itself counts."""
    prepare(client, [alien, alien, (503, UNHEALTHY)])
    client.stack.start_host()
    assert len(logged(client.stack.state, "/api/health")) == 3


def test_a_slow_first_answer_is_waited_for(client: Client) -> None:
    """The health endpoint is called once: the host may start over after a cancelled call."""
    prepare(client, [(200, HEALTHY)], seconds=6)
    client.stack.start_host()
    assert logged(client.stack.state, "/api/health") == [""]


def test_a_host_that_dies_during_the_first_call_is_reported(client: Client) -> None:
    prepare(client, [(200, HEALTHY)], dies=True)
    start = time.monotonic()
    with pytest.raises(StackError, match="the host did not start"):
        client.stack.start_host()
    assert time.monotonic() - start < app.CALL_SECONDS / 2


def test_the_errors_of_a_host_that_failed_are_shown(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line for each error, without keys, including errors of disabled functions."""
    monkeypatch.setattr(app, "BROKEN_SECONDS", 0.2)
    errors = [
        "The 'batchSize' of\nqueues must be\r\nbelow 33.",
        f"No connection with AccountName=a;AccountKey=c2VjcmV0; nor by {client.stack.key}.",
    ]
    admin = {
        "/admin/host/status": [(200, {"state": "Error", "errors": errors})],
        "/admin/functions": [(200, [{"name": "drain"}, {"name": "health"}, {"name": "ill named/é"}])],
        "/admin/functions/drain/status": [(200, {"errors": ["'%CRON%' does not resolve to a value."]})],
        "/admin/functions/health/status": [(200, {})],
    }
    prepare(client, [(503, None)], admin=admin)
    with pytest.raises(StackError) as failed:
        client.stack.start_host()
    assert str(failed.value).splitlines()[1:] == [
        "  the host is in state Error",
        "  host error: The 'batchSize' of queues must be below 33.",
        "  host error: No connection with AccountName=a;AccountKey=REMOVED; nor by REMOVED.",
        "  function drain: '%CRON%' does not resolve to a value.",
        "  see the host's output for details",
    ]


def test_a_host_without_functions_is_reported(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """For example because of a comment in host.json or a failed import: the host runs, but empty."""
    monkeypatch.setattr(app, "BROKEN_SECONDS", 0.2)
    admin = {"/admin/host/status": [(200, {"state": "Running"})], "/admin/functions": [(200, [])]}
    prepare(client, [(404, None)], admin=admin)
    with pytest.raises(StackError, match="the host found no functions"):
        client.stack.start_host()


def test_a_host_that_recovers_is_waited_for(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only an uninterrupted time in an error state counts."""
    monkeypatch.setattr(app, "BROKEN_SECONDS", 0.3)
    states = [(200, {"state": state}) for state in ("Error", "Error", "Initialized") * 4]
    prepare(client, [(503, None)] * 12 + [(200, HEALTHY)], admin={"/admin/host/status": states})
    client.stack.start_host()
    assert len(logged(client.stack.state, "/api/health")) == 13


def test_kill_worker_restarts_a_host_that_ended(client: Client) -> None:
    """The third death of its worker ends the host. Azure restarts it, and so does the client."""
    prepare(client, [(200, HEALTHY)])
    client.stack.start_host()
    first = client.stack.host
    for _ in range(2):
        client.kill_worker()
        assert client.stack.host is first
    client.kill_worker()
    assert client.stack.host is not first
    assert client.stack.answers()
    assert len(logged(client.stack.state, "func ")) == 2
    until(lambda: len(running_processes(client.stack.state)) == 2, "host and worker run")


def test_the_search_reads_the_keys_of_a_real_host(client: Client) -> None:
    """The master key has its own address."""
    made = {name: f"{name}-{secrets.token_urlsafe(40)}" for name in ("function", "system", "master")}
    admin = {
        "/admin/host/keys": [(200, {"keys": [{"name": "default", "value": made["function"]}]})],
        "/admin/host/systemkeys": [(200, {"keys": [{"name": "durabletask_extension", "value": made["system"]}]})],
        "/admin/host/systemkeys/_master": [(200, {"name": "_master", "value": made["master"]})],
    }
    prepare(client, [(200, HEALTHY)], admin=admin)
    client.stack.start_host()
    assert search.host_keys(client) == list(made.values())
