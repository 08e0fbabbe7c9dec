"""A host and a queue service as child processes on free ports."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from devhost.storage.config import EVENTS_ACCOUNT, KEY
from devhost.storage.testing import Stack, free_ports

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
NO_QUEUES = "DefaultEndpointsProtocol=http;AccountName=none;AccountKey=bm9uZQ==;QueueEndpoint=http://127.0.0.1:9/none;"
HOOK = "/runtime/webhooks/durabletask"
PATIENCE = 30


def until(found: Callable[[], Any]) -> Any:
    """Return the first true answer."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if answer := found():
            return answer
        time.sleep(0.02)
    pytest.fail(f"no answer within {PATIENCE} s")


class Running:
    """A host that runs `app`; its state and notes are in `folder`."""

    def __init__(self, app: Path, folder: Path, environment: dict[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, (self.port,) = folder, free_ports(1)
        own = {"HOST_PORT": str(self.port), "DEVHOST_STATE": str(folder / "state"), "NOTES": str(folder),
               "QUEUE": "events", "QUEUES": NO_QUEUES}  # fmt: skip
        self.log = folder / "host.log"
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "devhost.host", "--app", str(app)],
                cwd=ROOT, env=os.environ | own | environment, stdout=log, stderr=log,
            )  # fmt: skip

    def ready(self) -> "Running":
        until(lambda: self.process.poll() is not None or self._answers())
        assert self.process.poll() is None, self.log.read_text()
        return self

    def _answers(self) -> bool:
        try:
            return self.call("GET", "/")[0] == 200
        except OSError:
            return False

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, dict[str, str]]:
        """Return status, JSON or text, and headers of an answer."""
        data = None if body is None else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named |= {"Content-Type": "application/json"} if data else {}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, named, method=method)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310  # http
                return answer.status, _decoded(answer.read()), dict(answer.headers)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _decoded(error.read()), dict(error.headers)

    def durable(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, dict[str, str]]:
        return self.call(method, HOOK + path, body, **headers)

    def start(self, name: str, instance: str, data: Any = None) -> str:
        """Start an orchestration through the app, which uses the SDK's client."""
        status, text, _ = self.call("POST", f"/api/start/{name}/{instance}", data)
        assert status in (200, 409)
        return str(text)

    def status(self, instance: str, query: str = "") -> Any:
        return self.durable("GET", f"/instances/{instance}{query}")[1]

    def wait(self, instance: str, *statuses: str) -> Any:
        """Wait for a status, by default a final one."""
        wanted = statuses or ("Completed", "Failed", "Terminated")
        return until(lambda: (s := self.status(instance)) and s["runtimeStatus"] in wanted and s)

    def notes(self, name: str) -> list[Any]:
        path = self.folder / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


def _decoded(data: bytes) -> Any:
    try:
        return json.loads(data) if data else None
    except ValueError:
        return data.decode()


@pytest.fixture(scope="session")
def launch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Running]]:
    """Return a function that starts a host for one of the apps here, or for a folder; stop all of them at the end."""
    started: list[Running] = []

    def start(app: str | Path = "shapes", folder: Path | None = None, **environment: str) -> Running:
        where = folder or tmp_path_factory.mktemp("host")
        started.append(Running(HERE / "apps" / app, where, environment))
        return started[-1]

    yield start
    for host in started:
        if host.process.poll() is None:
            assert host.end() == 0, host.log.read_text()


@pytest.fixture(scope="session")
def host(launch: Callable[..., Running]) -> Running:
    """Start one host for all tests that do not stop it."""
    running: Running = launch().ready()
    return running


@pytest.fixture(scope="session")
def queues(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a queue service and yield its connection string."""
    with Stack(tmp_path_factory.mktemp("storage")) as stack:
        name = f"DefaultEndpointsProtocol=http;AccountName={EVENTS_ACCOUNT};AccountKey={KEY}"
        yield f"{name};QueueEndpoint={stack.queue_url(EVENTS_ACCOUNT)};"
