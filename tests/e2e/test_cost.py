"""`make cost` in short: what it counts is what docs/cost.md says, whatever the numbers of blobs and looks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from devhost.bench import bill
from devhost.bench.cost import COUNTS
from devhost.stack import ROOT

COMMAND = [sys.executable, "-m", "devhost.bench.cost"]
# Seconds are those of a machine and its moment; the page's are of an idle one.
SLOWER = 20


def environment(**more: str) -> dict[str, str]:
    """What a person would have exported."""
    return {**{key: value for key, value in os.environ.items() if key != "HOST"}, **more}


def test_the_page_tells_what_is_counted(tmp_path: Path) -> None:
    """Exactly, but for seconds. The large blob is copied at another pace, and what it asks for differs by its looks alone."""
    place = tmp_path / "counts.json"
    command = [*COMMAND, "--blobs", "10", "--rate", "1024", "--json", str(place)]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    small, large, timers = bill.known(json.loads(place.read_text()))
    kept_small, kept_large, kept_timers = bill.known(json.loads(COUNTS.read_text()))
    assert exact(small) == exact(kept_small)
    assert timers == kept_timers
    assert large.activities <= kept_large.activities
    while kept_large.activities > large.activities:
        kept_large = kept_large.without_a_look()
    # To continue as new, after so many waits, is a call of the orchestrator more.
    continued = kept_large.executions.pop("transfer") - large.executions.pop("transfer")
    assert continued in {0, 1}
    assert exact(large) == exact(kept_large)
    for counted, kept in ((small, kept_small), (large, kept_large)):
        for group, seconds in counted.active_seconds.items():
            assert 0 < seconds < SLOWER * kept.active_seconds[group]
        assert counted.line_bytes == pytest.approx(kept.line_bytes, abs=30)
    assert "| requests to blobs: writes | 1 | 5.00 |" in done.stdout


def exact(counts: bill.Counts) -> tuple[object, ...]:
    """What does not depend on the machine."""
    return (
        counts.bytes_each,
        counts.requests,
        counts.messages,
        counts.activities,
        counts.timers,
        counts.executions,
        counts.lines,
    )


def test_another_host_is_refused() -> None:
    """What is counted is in the stand-in's store."""
    done = subprocess.run(COMMAND, cwd=ROOT, env=environment(HOST="func"), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "Fix: unset HOST" in done.stderr
