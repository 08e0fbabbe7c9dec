"""`make cost`: its counts equal those of docs/cost.md, at any speed of the copy."""

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
    """The counts are exact, except seconds. The large blob is copied faster, so there are fewer polls."""
    output = tmp_path / "counts.json"
    env = environment(DEVHOST_COPY_RATE=str(1024**3))
    command = [*COMMAND, "--json", str(output)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    counted, kept = (json.loads(path.read_text()) for path in (output, COUNTS))
    assert exact(counted["small"]) == exact(kept["small"])
    assert counted["timers"] == kept["timers"]
    large, expected = counted["large"], kept["large"]
    polls = expected["activities"] - large["activities"]
    assert polls >= 0
    expected["requests"]["HeadBlob target"] -= polls
    expected["activities"] -= polls
    expected["timers"] -= polls
    expected["lines"] -= polls
    expected["executions"]["transfer_check"] -= polls
    # Each look is two calls of the orchestrator; after many waits it continues as new, which is one more call.
    assert expected["executions"].pop("transfer") - 2 * polls - large["executions"].pop("transfer") in {0, 1}
    assert exact(large) == exact(expected)
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
