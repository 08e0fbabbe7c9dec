"""The program in this process, against a server on loopback."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sharing import client, follow
from sharing.__main__ import main
from sharing.commands import transfers

from tests.unit.cli.server import Server


@dataclass(frozen=True)
class Done:
    """What a command did."""

    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    """The server, which the environment names. Pauses are short."""
    for name in ("SHARING_KEY", "SHARING_TOKEN", "AZURE_ENV_NAME", "NO_COLOR", "FORCE_COLOR", "SHARING_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(client, "PAUSE", 0.01)
    monkeypatch.setattr(follow, "SHORTEST", 0.01)
    monkeypatch.setattr(transfers, "EVENT_PAUSE", 0.01)
    with Server().running() as running:
        monkeypatch.setenv("SHARING_URL", running.url)
        yield running


@pytest.fixture
def run(server: Server, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the program with arguments."""
    assert server.url

    def run(*arguments: Any) -> Done:
        code = main([str(each) for each in arguments])
        return Done(code, *capsys.readouterr())

    return run
