"""The whole local stack: storage and host as child processes, with the settings that connect them."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Self
from urllib.parse import urlsplit

from azure.core.exceptions import AzureError, ResourceExistsError
from azure.storage.blob import ContainerClient

from devhost.app import App
from devhost.parent import EXIT_WITH_PARENT
from devhost.storage.azurite import listen
from devhost.storage.config import EVENTS_ACCOUNT, HOST, STATE_ACCOUNT, Config, StackError, port

ROOT = Path(__file__).parent.parent
STOP_SECONDS = 60
# The app's own check of its settings. It runs in a child process, so that the message is the same as on Azure.
CHECK = """\
import os, sys, settings
try:
    settings.from_env(os.environ)
except settings.InvalidSetting as error:
    sys.exit(str(error))
"""


@dataclass(frozen=True, slots=True)
class End:
    """A route's source or target. Account and container are None if they are not in this stack."""

    route: str
    side: str
    url: str
    account: str | None
    container: str | None


@dataclass
class LocalStack:
    """Storage and host. `environment` holds the variables that a user would export.

    `create_containers` creates the containers of the routes that do not exist. A test that needs a missing container omits it.
    """

    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    output: IO[Any] | int | None = None
    create_containers: bool = False
    storage_module: str = "devhost.storage"
    storage: "subprocess.Popen[str] | None" = field(default=None, init=False)
    host: "subprocess.Popen[str] | None" = field(default=None, init=False)

    def __post_init__(self) -> None:
        """Raises StackError for an invalid variable."""
        env = self.environment
        storage = Config.from_env(env)
        self.host_port = port(env, "HOST_PORT", 7071)
        self.blob_port, self.queue_port, self.table_port = storage.blob_port, storage.queue_port, storage.table_port
        self.accounts, self.key = storage.accounts, storage.key
        self.state = Path(env.get("DEVHOST_STATE", ".local"))
        self.on_func = env.get("HOST", "") == "func"
        self.app = App(self.host_port, self.key)

    @property
    def api(self) -> str:
        """The URL of the app's API."""
        return f"http://{HOST}:{self.host_port}/api"

    def account(self, name: str) -> str:
        """Return the URL of an account's blob service."""
        return f"http://{HOST}:{self.blob_port}/{name}"

    def connection_string(self, account: str) -> str:
        """Return the connection string of an account, with the emulator's published key or `DEVHOST_KEY`."""
        return (
            f"DefaultEndpointsProtocol=http;AccountName={account};AccountKey={self.key};"
            f"BlobEndpoint={self.account(account)};QueueEndpoint=http://{HOST}:{self.queue_port}/{account};"
            f"TableEndpoint=http://{HOST}:{self.table_port}/{account};"
        )

    def settings(self) -> dict[str, str]:
        """Return the environment of the children: the user's, with defaults for the app and the watched containers."""
        route = {"name": "default", "source": f"{self.account('sharingsource')}/source/"}
        route["target"] = f"{self.account('sharingtarget')}/target/"
        defaults = {
            "ROUTES": json.dumps([route]),
            "WINDOW_SECONDS": "1",
            "AzureWebJobsStorage": self.connection_string(STATE_ACCOUNT),
            "EVENTS": self.connection_string(EVENTS_ACCOUNT),
            "FUNCTIONS_WORKER_RUNTIME": "python",
            "AzureWebJobsFeatureFlags": "EnableWorkerIndexing",
            "PYTHONUNBUFFERED": "1",
            # `func` restarts its host when a folder such as __pycache__ appears in the app's folder.
            "PYTHONDONTWRITEBYTECODE": "1",
            # `func` runs the first `python` on PATH.
            "VIRTUAL_ENV": sys.prefix,
        }
        path = f"{Path(sys.executable).parent}{os.pathsep}{self.environment.get('PATH', '')}"
        env = {**defaults, **self.environment, "PATH": path, "DEVHOST_STATE": str(self.state)}
        sources = [end for end in self._ends(env["ROUTES"]) if end.side == "source" and end.container]
        watched = list(dict.fromkeys(f"{end.account}/{end.container}" for end in sources)) or ["sharingsource/source"]
        env.setdefault("DEVHOST_WATCH", ",".join(watched))
        return env

    def ends(self) -> list[End]:
        """Return the sources and targets of the routes; none if ROUTES is invalid, which the app itself reports."""
        return self._ends(self.settings()["ROUTES"])

    def _ends(self, routes: str) -> list[End]:
        try:
            return [self._end(route, side) for route in json.loads(routes) for side in ("source", "target")]
        except (ValueError, TypeError, KeyError, AttributeError):
            return []

    def _end(self, route: dict[str, str], side: str) -> End:
        parts = urlsplit(route[side])
        account, _, path = parts.path.lstrip("/").partition("/")
        ours = (parts.hostname, parts.port) == (HOST, self.blob_port) and account in self.accounts
        container = path.partition("/")[0]
        return End(route["name"], side, route[side], account if ours else None, container if ours else None)

    def start(self) -> Self:
        """Start the stack and wait until the app answers.

        Raises:
            StackError: with the cause.
        """
        self.check()
        try:
            self.start_storage()
            if self.create_containers:
                self._create_containers()
            self.start_host()
        except BaseException:
            self.stop()
            raise
        return self

    def start_storage(self) -> None:
        """Start storage and wait until it is ready."""
        self.storage = self._launch([sys.executable, "-m", self.storage_module, EXIT_WITH_PARENT], subprocess.PIPE)
        line = self.storage.stdout.readline() if self.storage.stdout else ""
        if not line.startswith("ready"):
            raise StackError("the storage emulator did not start; see its output above")

    def start_host(self) -> None:
        """Start the app on `func` (HOST=func) or on the stand-in, and wait until it answers."""
        self._check_host()
        self.host = self._launch(self._host_command(), self.output)
        if problem := self.app.problem(lambda: self.host is None or self.host.poll() is not None):
            raise StackError(problem)

    def _host_command(self) -> list[str]:
        if self.on_func:
            copy = str(ROOT / self.state / "func")
            return [sys.executable, "-m", "devhost.func", "--port", str(self.host_port), "--copy", copy]
        return [sys.executable, "-m", "devhost.host", "--app", str(ROOT), EXIT_WITH_PARENT]

    def check(self) -> None:
        """Check the settings and the requirements of the host before anything is started.

        Raises:
            StackError: with the first problem and its fix.
        """
        self._check_host()
        command = [sys.executable, "-c", CHECK]
        checked = subprocess.run(command, cwd=ROOT, env=self.settings(), capture_output=True, text=True, check=False)
        if checked.returncode:
            raise StackError(checked.stderr.strip())

    def _check_host(self) -> None:
        listen(self.host_port, "HOST_PORT").close()
        if self.on_func and shutil.which("func", path=self.settings()["PATH"]) is None:
            raise StackError(
                "HOST=func needs Azure Functions Core Tools: `func` is not on PATH. Fix: install it, or unset HOST"
            )

    def _create_containers(self) -> None:
        """Create the containers of the routes that are in this stack, unless they exist."""
        for account, container in {(end.account, end.container) for end in self.ends()}:
            if not account or not container:
                continue
            with ContainerClient.from_connection_string(self.connection_string(account), container) as client:
                try:
                    client.create_container()
                except ResourceExistsError:
                    pass
                except AzureError as error:
                    why = str(error).partition("\n")[0]
                    raise StackError(f"the container {client.url} cannot be created: {why}") from None

    def _launch(self, command: list[str], output: IO[Any] | int | None) -> "subprocess.Popen[str]":
        # Nothing is written to stdin. It closes when this process ends, even by `kill -9`, and the child then exits.
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=self.settings(),
            text=True,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=self.output,
        )

    def answers(self) -> bool:
        """Whether the app answers; its health may still report a problem."""
        return self.app.answers()

    def ended(self) -> str | None:
        """Return the name of a child that is not running any longer; None if all are running."""
        children = {"the storage emulator": self.storage, "the host": self.host}
        return next((name for name, child in children.items() if child is not None and child.poll() is not None), None)

    def kill_host(self) -> None:
        """Kill the host as `kill -9` does."""
        if self.host is None or self.host.stdin is None:
            return
        if not self.on_func:
            self.host.kill()
        self.host.stdin.close()  # at the end of its stdin, `devhost.func` kills `func` and its children
        self.host.wait()

    def stop(self) -> None:
        """Stop the host, then storage, with SIGTERM; wait for each."""
        self.stop_host()
        _stop(self.storage)

    def stop_host(self) -> None:
        """Stop the host with SIGTERM, and wait."""
        _stop(self.host)
        self.host = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def _stop(process: "subprocess.Popen[str] | None") -> None:
    if process is None:
        return
    if process.poll() is None:
        process.terminate()
        process.wait(STOP_SECONDS)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
