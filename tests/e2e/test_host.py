"""HOST=func: all that it needs is an executable of that name on PATH. Here it is a stub with the manners of Core Tools."""

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
from tests.e2e.conftest import environment
from tests.e2e.desk import Desk
from tests.e2e.helpers import until
from tests.e2e.processes import everyone
from tests.package.azd import make_zip

# It has the command line of Core Tools, runs the stand-in in the folder where it is started, and says what is there.
STAND_IN = f"""#!/bin/sh
[ "$1" = start ] && [ "$2" = --port ] || exit 64
pwd > "$DEVHOST_STATE/pwd"
find . -type f > "$DEVHOST_STATE/files"
HOST_PORT="$3" PYTHONPATH="{ROOT}:$PYTHONPATH" exec {sys.executable} -m devhost.host
"""
STUB = f"#!{sys.executable}\n{Path(__file__).with_name('func_stub.py').read_text()}"
WELL = {"up": True, "checks": [], "version": "1"}
ILL = WELL | {"up": False}


def func(folder: Path, program: str = STUB, **told: Any) -> dict[str, str]:
    """An environment in which `func` is this program. `told` is for the stub."""
    path = folder / "bin" / "func"
    path.parent.mkdir()
    path.write_text(program)
    path.chmod(0o755)
    (folder / "stub.json").write_text(json.dumps(told))
    env = environment(folder)
    return env | {"HOST": "func", "PATH": f"{path.parent}{os.pathsep}{env['PATH']}"}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A host alone: the stub, not yet started, without storage."""
    with (tmp_path / "stack.log").open("w") as log:
        desk = Desk(func(tmp_path), log)
        yield desk
        desk.close()


def tell(desk: Desk, health: list[Any], **told: Any) -> None:
    """What the stub shall answer for the app's health, and do otherwise."""
    answers = {"/api/health": health} | told.pop("admin", {})
    (desk.stack.state / "stub.json").write_text(json.dumps({"answers": answers, **told}))


def noted(state: Path, what: str) -> list[str]:
    """What the stub has noted, of one kind."""
    path = state / "stub.log"
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.removeprefix(what).strip() for line in lines if line.startswith(what)]


def processes(state: Path) -> list[int]:
    """The stub and its workers, those that run."""
    return [int(number) for number in noted(state, "func ") + noted(state, "worker ") if runs(int(number))]


def runs(number: int) -> bool:
    """Whether there is such a process; one that has ended and was not collected is none."""
    return any(line and number == each for each, _, line in everyone())


def test_func_runs_in_a_copy_of_what_is_deployed(tmp_path: Path) -> None:
    """No tool writes there, so nothing restarts its host; the copy is gone when it ends."""
    with (tmp_path / "stack.log").open("w") as log, LocalStack(func(tmp_path, STAND_IN), output=log) as stack:
        assert stack.answers()
        place = Path((tmp_path / "pwd").read_text().strip())
        assert not place.is_relative_to(ROOT)
        assert (place / "function_app.py").is_file()
    with ZipFile(make_zip(ROOT, tmp_path / "app.zip")) as package:
        deployed = {f"./{name}" for name in package.namelist()}
    assert set((tmp_path / "files").read_text().splitlines()) == deployed
    assert not place.exists()


def test_a_copy_that_was_left_is_made_anew(desk: Desk) -> None:
    """By a process that was killed: a module that is no longer there must not be run."""
    old = desk.stack.state / "func" / "rules" / "removed.py"
    old.parent.mkdir(parents=True)
    old.touch()
    tell(desk, [(200, WELL)])
    desk.stack.start_host()
    assert (desk.stack.state / "func" / "rules" / "models.py").is_file()
    assert not old.exists()


def test_a_missing_func_is_said_with_the_fix(tmp_path: Path) -> None:
    """HOST=func without Core Tools is no silent stand-in, and nothing is started."""
    env = environment(tmp_path) | {"HOST": "func", "PATH": str(tmp_path)}
    stack = LocalStack(env)
    with pytest.raises(StackError, match="is not on PATH"):
        stack.start()
    assert (stack.storage, stack.host) == (None, None)


@pytest.mark.parametrize("host", ["", "func"])
def test_a_busy_port_is_said_before_anything_is_started(tmp_path: Path, host: str) -> None:
    """Whoever has it, and whichever host would."""
    stack = LocalStack(func(tmp_path) | {"HOST": host})
    with socket.create_server(("", stack.host_port)):
        with pytest.raises(StackError, match=f"Port {stack.host_port} is not free .* Fix: HOST_PORT="):
            stack.start()
        assert (stack.storage, stack.host) == (None, None)


def test_func_and_its_worker_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    """`kill -9` of the process that started it, though the stub is deaf: no process is left, no port taken, no copy."""
    env = func(tmp_path, answers={"/api/health": [(200, WELL)]}, deaf=True)
    start = "import time; from devhost.stack import LocalStack; LocalStack().start_host(); print(); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", start], cwd=ROOT, env=env, stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        parent.stdout.readline()
        until(lambda: len(processes(tmp_path)) == 2, "func and its worker run")
        assert (tmp_path / "func").is_dir()
        parent.kill()
    until(lambda: not processes(tmp_path), "func and its worker are gone")
    until(lambda: not (tmp_path / "func").exists(), "the copy is gone")


def test_func_is_asked_to_stop_and_leaves_no_worker(desk: Desk) -> None:
    """SIGTERM is passed on to it alone; what it leaves behind is killed."""
    tell(desk, [(200, WELL)])
    desk.stack.start_host()
    until(lambda: len(processes(desk.stack.state)) == 2, "func and its worker run")
    desk.stack.stop()
    assert len(noted(desk.stack.state, "SIGTERM")) == 1
    until(lambda: not processes(desk.stack.state), "func and its worker are gone")
    assert not (desk.stack.state / "func").exists()


def test_a_func_that_does_not_stop_is_killed(tmp_path: Path) -> None:
    """Some versions ignore SIGTERM."""
    env = func(tmp_path, deaf=True)
    place = tmp_path / "func"
    start = "import sys; from devhost import func; func.DRAIN_SECONDS = 0.5; sys.exit(func.main())"
    arguments = ["--port", "0", "--copy", str(place)]
    command = [sys.executable, "-c", start, *arguments]
    with subprocess.Popen(command, cwd=ROOT, env=env, stdin=subprocess.PIPE) as process:
        until(lambda: len(processes(tmp_path)) == 2, "it runs")
        process.terminate()
        process.wait(60)
    assert process.returncode == signal.SIGKILL
    until(lambda: not processes(tmp_path), "func and its worker are gone")
    assert not place.exists()


def test_a_killed_host_is_gone_at_once(desk: Desk) -> None:
    """All of it, without being asked; another one may start."""
    tell(desk, [(200, WELL)], deaf=True)
    for _ in range(2):
        desk.stack.start_host()
        desk.stack.kill_host()
        until(lambda: not processes(desk.stack.state), "func and its worker are gone")
    assert noted(desk.stack.state, "SIGTERM") == []


@pytest.mark.parametrize("alien", [(503, None), (503, "Function host is not running."), (200, "<html>"), (200, [1])])
def test_what_is_not_the_apps_answer_is_not_up(desk: Desk, alien: tuple[int, Any]) -> None:
    """A host that starts, or failed to, answers in the app's place. The app's own 503 is an answer."""
    tell(desk, [alien, alien, (503, ILL)])
    desk.stack.start_host()
    assert len(noted(desk.stack.state, "/api/health")) == 3


def test_a_slow_first_answer_is_waited_for(desk: Desk) -> None:
    """It is asked once: a call that is given up may begin again from the start."""
    tell(desk, [(200, WELL)], seconds=6)
    desk.stack.start_host()
    assert noted(desk.stack.state, "/api/health") == [""]


def test_a_host_that_dies_under_the_first_call_is_noticed(desk: Desk) -> None:
    """Long before the call would be given up."""
    tell(desk, [(200, WELL)], dies=True)
    begun = time.monotonic()
    with pytest.raises(StackError, match="the host did not start"):
        desk.stack.start_host()
    assert time.monotonic() - begun < app.CALL_SECONDS / 2


def test_the_errors_of_a_host_that_failed_are_shown(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """In its words, on a line each, without a key; and those of a function that it has disabled."""
    monkeypatch.setattr(app, "BROKEN_SECONDS", 0.2)
    errors = [
        "The 'batchSize' of\nqueues must be\r\nbelow 33.",
        f"No connection with AccountName=a;AccountKey=c2VjcmV0; nor by {desk.stack.key}.",
    ]
    admin = {
        "/admin/host/status": [(200, {"state": "Error", "errors": errors})],
        "/admin/functions": [(200, [{"name": "drain"}, {"name": "health"}, {"name": "ill named/é"}])],
        "/admin/functions/drain/status": [(200, {"errors": ["'%CRON%' does not resolve to a value."]})],
        "/admin/functions/health/status": [(200, {})],
    }
    tell(desk, [(503, None)], admin=admin)
    with pytest.raises(StackError) as failed:
        desk.stack.start_host()
    assert str(failed.value).splitlines()[1:] == [
        "  the host is in state Error",
        "  host error: The 'batchSize' of queues must be below 33.",
        "  host error: No connection with AccountName=a;AccountKey=REMOVED; nor by REMOVED.",
        "  function drain: '%CRON%' does not resolve to a value.",
        "  see the host's output for details",
    ]


def test_a_host_without_functions_is_said(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A comment in host.json, an import that fails: it runs, well and empty."""
    monkeypatch.setattr(app, "BROKEN_SECONDS", 0.2)
    admin = {"/admin/host/status": [(200, {"state": "Running"})], "/admin/functions": [(200, [])]}
    tell(desk, [(404, None)], admin=admin)
    with pytest.raises(StackError, match="the host found no functions"):
        desk.stack.start_host()


def test_a_host_that_recovers_is_waited_for(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """It tries again by itself; what counts is how long it has said that it is broken, without a break."""
    monkeypatch.setattr(app, "BROKEN_SECONDS", 0.3)
    states = [(200, {"state": state}) for state in ("Error", "Error", "Initialized") * 4]
    tell(desk, [(503, None)] * 12 + [(200, WELL)], admin={"/admin/host/status": states})
    desk.stack.start_host()
    assert len(noted(desk.stack.state, "/api/health")) == 13


def test_a_worker_is_killed_and_a_host_that_gives_up_is_started_again(desk: Desk) -> None:
    """The third death of its worker ends the host: Azure starts it again, and so does the desk."""
    tell(desk, [(200, WELL)])
    desk.stack.start_host()
    first = desk.stack.host
    for _ in range(2):
        desk.kill_worker()
        assert desk.stack.host is first
    desk.kill_worker()
    assert desk.stack.host is not first
    assert desk.stack.answers()
    assert len(noted(desk.stack.state, "func ")) == 2
    until(lambda: len(processes(desk.stack.state)) == 2, "host and worker run")


def test_the_keys_of_a_real_host_are_known_to_the_search(desk: Desk) -> None:
    """The master key has its own address; the others are listed."""
    made = {name: f"{name}-{secrets.token_urlsafe(40)}" for name in ("function", "system", "master")}
    admin = {
        "/admin/host/keys": [(200, {"keys": [{"name": "default", "value": made["function"]}]})],
        "/admin/host/systemkeys": [(200, {"keys": [{"name": "durabletask_extension", "value": made["system"]}]})],
        "/admin/host/systemkeys/_master": [(200, {"name": "_master", "value": made["master"]})],
    }
    tell(desk, [(200, WELL)], admin=admin)
    desk.stack.start_host()
    assert search.keys(desk) == list(made.values())
