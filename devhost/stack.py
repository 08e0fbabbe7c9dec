"""The whole local stack: both halves as child processes, with the settings that join them."""

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
from devhost.storage.config import EVENTS_ACCOUNT, HOST, STATE_ACCOUNT, Config, StackError

ROOT = Path(__file__).parent.parent
STOP_SECONDS = 60
# The app's own reader of its settings, in a process of its own: its message is that of the app on Azure.
CHECK = """\
import os, sys, settings
try:
    settings.from_env(os.environ)
except settings.InvalidSetting as error:
    sys.exit(str(error))
"""


class StackFailed(Exception):
    """The stack did not start, or a part of it ended by itself; the message says what that part said."""


@dataclass(frozen=True, slots=True)
class End:
    """A route's source or target, and its container where that is in an account of this stack."""

    route: str
    side: str
    url: str
    account: str | None
    container: str | None


@dataclass
class LocalStack:
    """Storage and host, started in this order and stopped in the other. `environment` is what a person would export.

    With `furnished` it creates the containers that the routes name. Without it, a test has one that is missing.
    """

    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    output: IO[Any] | int | None = None
    furnished: bool = False
    storage: "subprocess.Popen[str] | None" = field(default=None, init=False)
    host: "subprocess.Popen[str] | None" = field(default=None, init=False)

    def __post_init__(self) -> None:
        env = self.environment
        self.host_port = _port(env, "HOST_PORT", 7071)
        storage = _storage(env)
        self.blob_port, self.queue_port, self.table_port = storage.blob_port, storage.queue_port, storage.table_port
        self.accounts, self.key = storage.accounts, storage.key
        self.state = Path(env.get("DEVHOST_STATE", ".local"))
        self.on_func = env.get("HOST", "") == "func"
        self.app = App(self.host_port, self.key)

    @property
    def api(self) -> str:
        """Where the app's API answers."""
        return f"http://{HOST}:{self.host_port}/api"

    def account(self, name: str) -> str:
        """Where an account's blobs are."""
        return f"http://{HOST}:{self.blob_port}/{name}"

    def connection_string(self, account: str) -> str:
        """What the SDK connects with; the key is the emulator's published one, or `DEVHOST_KEY`."""
        return (
            f"DefaultEndpointsProtocol=http;AccountName={account};AccountKey={self.key};"
            f"BlobEndpoint={self.account(account)};QueueEndpoint=http://{HOST}:{self.queue_port}/{account};"
            f"TableEndpoint=http://{HOST}:{self.table_port}/{account};"
        )

    def settings(self) -> dict[str, str]:
        """The children's whole environment: the app's settings where nobody set them, and the containers to watch."""
        route = {"name": "default", "source": f"{self.account('sharingsource')}/source/"}
        route["target"] = f"{self.account('sharingtarget')}/target/"
        ours = {
            "ROUTES": json.dumps([route]),
            "WINDOW_SECONDS": "1",
            "AzureWebJobsStorage": self.connection_string(STATE_ACCOUNT),
            "EVENTS": self.connection_string(EVENTS_ACCOUNT),
            "FUNCTIONS_WORKER_RUNTIME": "python",
            "AzureWebJobsFeatureFlags": "EnableWorkerIndexing",
            "PYTHONUNBUFFERED": "1",
            # `func` restarts its host where a folder appears in the app's: there shall be no __pycache__.
            "PYTHONDONTWRITEBYTECODE": "1",
            # `func` runs the first `python` that it finds.
            "VIRTUAL_ENV": sys.prefix,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{self.environment.get('PATH', '')}",
        }
        env = {**ours, **self.environment, "PATH": ours["PATH"], "DEVHOST_STATE": str(self.state)}
        env.setdefault("DEVHOST_WATCH", ",".join(self._watched(env["ROUTES"])))
        return env

    def ends(self, routes: str | None = None) -> list[End]:
        """Where the routes begin and end. What is no route is the app's to complain about: then there are none."""
        try:
            told = json.loads(self.settings()["ROUTES"] if routes is None else routes)
            return [self._end(route, side) for route in told for side in ("source", "target")]
        except (ValueError, TypeError, KeyError, AttributeError):
            return []

    def _end(self, route: dict[str, str], side: str) -> End:
        parts = urlsplit(route[side])
        account, _, path = parts.path.lstrip("/").partition("/")
        ours = (parts.hostname, parts.port) == (HOST, self.blob_port) and account in self.accounts
        container = path.partition("/")[0]
        return End(route["name"], side, route[side], account if ours else None, container if ours else None)

    def _watched(self, routes: str) -> list[str]:
        sources = [end for end in self.ends(routes) if end.side == "source" and end.container]
        return list(dict.fromkeys(f"{end.account}/{end.container}" for end in sources)) or ["sharingsource/source"]

    def start(self) -> Self:
        """Start everything and wait until the app answers.

        Raises:
            StackFailed: with the way to find out more.
        """
        self.check()
        try:
            self.start_storage()
            if self.furnished:
                self._furnish()
            self.start_host()
        except BaseException:
            self.stop()
            raise
        return self

    def start_storage(self) -> None:
        """Start the emulator behind its proxy, until it is ready."""
        self.storage = self._launch([sys.executable, "-m", "devhost.storage", EXIT_WITH_PARENT], subprocess.PIPE)
        said = self.storage.stdout.readline() if self.storage.stdout else ""
        if not said.startswith("ready"):
            raise StackFailed("the storage emulator did not start; see its output above")

    def start_host(self) -> None:
        """Start the function app on `func` (HOST=func) or on the stand-in, until it answers."""
        self._check_host()
        self.host = self._launch(self._host_command(), self.output)
        if trouble := self.app.trouble(lambda: self.host is None or self.host.poll() is not None):
            raise StackFailed(trouble)

    def check(self) -> None:
        """Say what is wrong with the settings, or missing for the host, before anything is started.

        Raises:
            StackFailed: the first thing, with its fix.
        """
        self._check_host()
        command = [sys.executable, "-c", CHECK]
        checked = subprocess.run(command, cwd=ROOT, env=self.settings(), capture_output=True, text=True, check=False)
        if checked.returncode:
            raise StackFailed(checked.stderr.strip())

    def _furnish(self) -> None:
        """Create the containers of the routes that are in this stack's accounts."""
        for account, container in {
            (end.account, end.container) for end in self.ends() if end.account and end.container
        }:
            with ContainerClient.from_connection_string(self.connection_string(account), container) as client:
                try:
                    client.create_container()
                except ResourceExistsError:
                    pass
                except AzureError as error:
                    why = str(error).partition("\n")[0]
                    raise StackFailed(f"the container {client.url} cannot be created: {why}") from None

    def _check_host(self) -> None:
        """Say what is missing for the host before anything is started."""
        try:
            listen(self.host_port, "HOST_PORT").close()
        except StackError as error:
            raise StackFailed(str(error)) from None
        if self.on_func and shutil.which("func", path=self.settings()["PATH"]) is None:
            raise StackFailed(
                "HOST=func needs Azure Functions Core Tools: `func` is not on PATH. Fix: install it, or unset HOST"
            )

    def _launch(self, command: list[str], output: IO[Any] | int | None) -> "subprocess.Popen[str]":
        # Nothing is ever written to its stdin: the end of it tells a child that we are gone, even by `kill -9`.
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=self.settings(),
            text=True,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=self.output,
        )

    def _host_command(self) -> list[str]:
        if self.on_func:
            copy = str(ROOT / self.state / "func")
            return [sys.executable, "-m", "devhost.func", "--port", str(self.host_port), "--copy", copy]
        return [sys.executable, "-m", "devhost.host", "--app", str(ROOT), EXIT_WITH_PARENT]

    def answers(self) -> bool:
        """Whether the app answers at all (health may well say that something is missing)."""
        return self.app.answers()

    def ended(self) -> str | None:
        """Which half ended by itself, if one did."""
        halves = {"the storage emulator": self.storage, "the host": self.host}
        return next(
            (name for name, process in halves.items() if process is not None and process.poll() is not None), None
        )

    def kill_host(self) -> None:
        """`kill -9` of the host: nothing is given back, nothing is said."""
        if self.host is None or self.host.stdin is None:
            return
        if not self.on_func:
            self.host.kill()
        self.host.stdin.close()  # the end of its leash: it kills `func` and all that `func` has started
        self.host.wait()

    def stop(self) -> None:
        """Stop the host, then storage: each with SIGTERM, and waited for."""
        for process in (self.host, self.storage):
            if process is not None and process.poll() is None:
                process.terminate()
                process.wait(STOP_SECONDS)
            for pipe in (process.stdin, process.stdout) if process is not None else ():
                if pipe is not None:
                    pipe.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def _port(environment: Mapping[str, str], variable: str, default: int) -> int:
    text = environment.get(variable, str(default))
    if not (text.isdecimal() and 0 < int(text[:6]) <= 65535):  # noqa: PLR2004  # the last port there is
        raise StackFailed(
            f"{variable}={text!r} is not a port. Fix: a number from 1 to 65535, or unset it for {default}"
        )
    return int(text)


def _storage(environment: Mapping[str, str]) -> Config:
    try:
        return Config.from_env(environment)
    except StackError as error:
        raise StackFailed(str(error)) from None
