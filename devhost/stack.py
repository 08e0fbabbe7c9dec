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

from devhost.app import App
from devhost.storage.azurite import listen
from devhost.storage.config import HOST, STATE_ACCOUNT, StackError, account_key

ROOT = Path(__file__).parent.parent
STOP_SECONDS = 60


class StackFailed(Exception):
    """The stack did not start, or a part of it ended by itself; the message says what that part said."""


@dataclass
class LocalStack:
    """Storage and host, started in this order and stopped in the other. `environment` is what a person would export."""

    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    output: IO[Any] | int | None = None
    storage: "subprocess.Popen[str] | None" = field(default=None, init=False)
    host: "subprocess.Popen[str] | None" = field(default=None, init=False)

    def __post_init__(self) -> None:
        env = self.environment
        self.host_port = _port(env, "HOST_PORT", 7071)
        self.blob_port = _port(env, "AZURITE_BLOB_PORT", 10000)
        self.queue_port = _port(env, "AZURITE_QUEUE_PORT", 10001)
        self.table_port = _port(env, "AZURITE_TABLE_PORT", 10002)
        self.key = _key(env)
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
        env.setdefault("DEVHOST_WATCH", ",".join(_watched(env["ROUTES"])))
        return env

    def start(self) -> Self:
        """Start everything and wait until the app answers.

        Raises:
            StackFailed: with the way to find out more.
        """
        self._check_host()
        try:
            self.start_storage()
            self.start_host()
        except BaseException:
            self.stop()
            raise
        return self

    def start_storage(self) -> None:
        """Start the emulator behind its proxy, until it is ready."""
        self.storage = self._launch([sys.executable, "-m", "devhost.storage", "--leash"], subprocess.PIPE)
        said = self.storage.stdout.readline() if self.storage.stdout else ""
        if not said.startswith("ready"):
            raise StackFailed("the storage half did not start; its own line says why")

    def start_host(self) -> None:
        """Start the function app on `func` (HOST=func) or on the stand-in, until it answers."""
        self._check_host()
        self.host = self._launch(self._host_command(), self.output)
        if trouble := self.app.trouble(lambda: self.host is None or self.host.poll() is not None):
            raise StackFailed(trouble)

    def _check_host(self) -> None:
        """Say what is missing for the host before anything is started."""
        try:
            listen(self.host_port, "HOST_PORT").close()
        except StackError as error:
            raise StackFailed(str(error)) from None
        if self.on_func and shutil.which("func", path=self.settings()["PATH"]) is None:
            raise StackFailed(
                "HOST=func needs Azure Functions Core Tools: `func` is not on PATH. Fix: install it, or leave HOST out"
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
        return [sys.executable, "-m", "devhost.host", "--app", str(ROOT), "--leash"]

    def answers(self) -> bool:
        """Whether the app answers at all (health may well say that something is missing)."""
        return self.app.answers()

    def ended(self) -> str | None:
        """Which half ended by itself, if one did."""
        halves = {"the storage half": self.storage, "the host": self.host}
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
            f"{variable}={text!r} is no port. Fix: a number from 1 to 65535, or leave it out for {default}"
        )
    return int(text)


def _key(environment: Mapping[str, str]) -> str:
    try:
        return account_key(environment)
    except StackError as error:
        raise StackFailed(str(error)) from None


def _watched(routes: str) -> list[str]:
    """`account/container` of every source on loopback; what is no route is the app's to complain about."""
    try:
        sources = [urlsplit(route["source"]) for route in json.loads(routes)]
    except (ValueError, TypeError, KeyError):
        return ["sharingsource/source"]
    parts = [source.path.strip("/").split("/") for source in sources if source.hostname == HOST]
    return list(dict.fromkeys("/".join(part[:2]) for part in parts if len(part) > 1)) or ["sharingsource/source"]
