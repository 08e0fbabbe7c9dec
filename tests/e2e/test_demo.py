"""The README's first command: it ends with every byte compared, and leaves nothing running."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from devhost.stack import ROOT
from tests.e2e.conftest import environment


def test_the_demo_shares_fails_replays_and_compares(tmp_path: Path) -> None:
    """Exit code 0 only if all bytes were compared and equal."""
    env = environment(tmp_path)
    del env["ROUTES"]
    done = subprocess.run(
        [sys.executable, "-m", "devhost", "demo"],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for said in (
        "dead_lettered inbox/report.csv",
        "target_unwritable",
        "replay -> 202",
        "All bytes were compared and are equal.",
    ):
        assert said in done.stdout


@pytest.mark.parametrize("variable", ["HOST_PORT", "AZURITE_BLOB_PORT"])
def test_a_busy_port_is_named_with_its_variable(tmp_path: Path, variable: str) -> None:
    """One clear error, and nothing is left running."""
    env = environment(tmp_path)
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", int(env[variable])))
        busy.listen()
        done = subprocess.run(
            [sys.executable, "-m", "devhost", "run"],
            cwd=ROOT,
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 1
    assert variable in done.stderr
    assert env[variable] in done.stderr
    assert "Traceback" not in done.stderr
