"""`make cost`: its counts equal those of docs/cost.md."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from devhost.bench.cost import COUNTS
from devhost.stack import ROOT

COMMAND = [sys.executable, "-m", "devhost.bench.cost"]
# Seconds depend on the machine; the page's are of an idle one.
SLOWER = 20


def environment(**more: str) -> dict[str, str]:
    return {**{key: value for key, value in os.environ.items() if key != "HOST"}, **more}


def test_the_page_has_what_is_counted(tmp_path: Path) -> None:
    """The counts are exact, except seconds. With a smaller unit, a smaller blob has as many blocks."""
    output = tmp_path / "counts.json"
    env = environment(SIZE_UNIT_BYTES=str(16 * 1024))
    command = [*COMMAND, "--large-mib", "16", "--json", str(output)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    counted, kept = (json.loads(path.read_text()) for path in (output, COUNTS))
    assert exact(counted["small"]) == exact(kept["small"])
    assert counted["timers"] == kept["timers"]
    assert counted["large"].pop("bytes") * 64 == kept["large"].pop("bytes")
    assert exact(counted["large"]) == exact(kept["large"])
    for size in ("small", "large"):
        for group, seconds in counted[size]["active_seconds"].items():
            assert 0 < seconds < SLOWER * kept[size]["active_seconds"][group]
        assert counted[size]["line_bytes"] == pytest.approx(kept[size]["line_bytes"], abs=30)
    assert "| requests to blobs: writes | 1 | 5.00 |" in done.stdout


def exact(counts: dict[str, Any]) -> dict[str, Any]:
    """Return what does not depend on the machine."""
    return {name: value for name, value in counts.items() if name not in {"active_seconds", "line_bytes"}}


def test_another_host_is_refused() -> None:
    done = subprocess.run(COMMAND, cwd=ROOT, env=environment(HOST="func"), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "Fix: unset HOST" in done.stderr
