"""A short `make versus`: every tool copies every byte, once and with few requests, and nothing is left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from devhost.bench.comparison import APP, KILLED, rows_of
from devhost.bench.load import MIB
from devhost.bench.peers import AZCOPY, PLAIN, RCLONE
from devhost.stack import ROOT
from tests.e2e.processes import all_processes, below, left_behind, measuring, until

COMMAND = [sys.executable, "-m", "devhost.bench.versus"]
SMALL, LARGE = 20, 32
# With `auto`, a blob of this size is copied by one request, which cannot be killed at half.
SHORT = [*COMMAND, "--small", str(SMALL), "--large-mib", str(LARGE), "--engine", "blocks"]
PEERS = bool(os.environ.get("PEERS"))
# The most requests for a small blob, with those for the whole container.
MOST_REQUESTS = {APP: 4, AZCOPY: 3, RCLONE: 4, PLAIN: 4}


def test_every_tool_copies_every_byte(tmp_path: Path) -> None:
    """Nothing is copied twice, except after a kill by a tool that starts anew. Without PEERS, other programs may be missing."""
    done = subprocess.run(
        SHORT,
        cwd=ROOT,
        env=measuring(tmp_path, SIZE_UNIT_BYTES=str(16 * 1024)),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert left_behind(tmp_path) == []
    assert list(tmp_path.iterdir()) == [tmp_path / "versus.json"]
    text = (tmp_path / "versus.json").read_text()
    assert "sig=" not in text + done.stdout + done.stderr
    document = json.loads(text)
    assert {"app", "python", "azurite"} <= document["versions"].keys()
    assert document["machine"]["platform"]
    assert not PEERS or document["missing"] == {}
    tools = [APP, *(name for name in (AZCOPY, RCLONE) if name not in document["missing"]), PLAIN]
    assert all(f"skipped: {reason}"[:20] in done.stdout for reason in document["missing"].values())
    rows = rows_of(document)
    assert [row.tool for row in rows] == 3 * tools
    assert [(row.blobs, row.bytes_each) for row in rows[:: len(tools)]] == [(SMALL, 2000), *[(1, LARGE * MIB)] * 2]
    for row in rows:
        assert row.wrong == 0, row
        assert not row.problem or (row.tool == AZCOPY and row.killed), row  # it may not end after a kill
        assert row.whole or row.tool == AZCOPY or (row.tool, row.blobs) == (APP, 1), row
        assert row.workload.endswith(KILLED) or row.copied_again == 0, row
        assert row.workload.endswith(KILLED) or (row.starts, row.killed) == (1, False), row
        assert row.workload.endswith(KILLED) or row.cpu_seconds["tool"] > 0, row
    for row in rows[: len(tools)]:
        blobs = sum(row.requests.get(service, 0) for service in ("source", "target", "state"))
        assert blobs <= MOST_REQUESTS[row.tool] * row.blobs, row
    ours, plain = (next(row for row in rows[2 * len(tools) :] if row.tool == tool) for tool in (APP, PLAIN))
    # The blob has 20 blocks. At most the blocks in flight are copied again, AzCopy and the plain pattern copy everything.
    assert (ours.killed, ours.starts) == (True, 2)
    assert ours.copied_again <= LARGE * MIB / 2
    assert (plain.killed, plain.copied_again) == (True, LARGE * MIB)


def test_an_interrupted_run_leaves_nothing_behind(tmp_path: Path) -> None:
    """Ctrl-C ends the running tool and the stack, and removes the folder."""
    process = subprocess.Popen(
        [*COMMAND, "--small", "20", "--large-mib", "1", "--azcopy", "none", "--rclone", "none"],
        cwd=ROOT,
        env=measuring(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    end = time.monotonic() + 120
    children: dict[int, bytes] = {}
    while not any(b"devhost.bench.plain" in line for line in children.values()):
        assert time.monotonic() < end, "no peer was started"
        assert process.poll() is None
        time.sleep(0.1)
        children = below(process.pid)
    process.send_signal(signal.SIGINT)
    printed, errors = process.communicate(timeout=60)
    assert (process.returncode, printed) == (130, "")
    assert all(line.startswith("versus: ") for line in errors.splitlines()), errors
    assert left_behind(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
    until(lambda: children.keys().isdisjoint(number for number, _, line in all_processes() if line), "all have ended")
