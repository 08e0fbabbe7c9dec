"""HOST=func: all that it needs is an executable of that name on PATH."""

import os
import sys
from pathlib import Path

import pytest

from devhost.stack import ROOT, LocalStack, StackFailed
from tests.e2e.conftest import environment

# It has the command line of Core Tools, takes everything else from the environment, and says where it was started.
FUNC = """#!/bin/sh
[ "$1" = start ] && [ "$2" = --port ] || exit 64
pwd > "$FUNC_STARTED_IN"
HOST_PORT="$3" exec {python} -m devhost.host
"""


def test_func_is_started_in_the_apps_folder(tmp_path: Path) -> None:
    """With its port on the command line and every setting in the environment."""
    func = tmp_path / "bin" / "func"
    func.parent.mkdir()
    func.write_text(FUNC.format(python=sys.executable))
    func.chmod(0o755)
    env = environment(tmp_path) | {"HOST": "func", "FUNC_STARTED_IN": str(tmp_path / "started")}
    env["PATH"] = f"{func.parent}{os.pathsep}{env['PATH']}"
    with (tmp_path / "stack.log").open("w") as log, LocalStack(env, output=log) as stack:
        assert stack.answers()
    assert Path((tmp_path / "started").read_text().strip()) == ROOT


def test_a_missing_func_is_said_with_the_fix(tmp_path: Path) -> None:
    """HOST=func without Core Tools is no silent stand-in."""
    env = environment(tmp_path) | {"HOST": "func", "PATH": str(tmp_path)}
    with (tmp_path / "stack.log").open("w") as log, pytest.raises(StackFailed, match="is not on PATH"):
        LocalStack(env, output=log).start_host()
