"""A short `make bench`: counts per blob do not depend on the number of blobs, and nothing is left behind."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from devhost.stack import ROOT
from tests.e2e.processes import left_behind, measuring

COMMAND = [sys.executable, "-m", "devhost.bench"]
SIZES = (20, 60)
# By a row's name: the path of its figure in the JSON, and the factor between the units.
FIGURES = {
    "blobs per second": ("blobs_per_second", 1),
    "p50, put to verified, s": ("latency.p50", 1),
    "p99, put to verified, s": ("latency.p99", 1),
    "p99, GET /api/routes, s": ("reported.p99", 1),
    "activities per blob": ("activities", 1),
    "CPU per blob, host, ms": ("cpu_seconds.host", 1000),
    "CPU per blob, azurite, ms": ("cpu_seconds.azurite", 1000),
    "peak memory, host, MiB": ("peak_mib.host", 1),
    "peak memory, proxy, MiB": ("peak_mib.proxy", 1),
    "stack ready, s": ("start_seconds", 1),
}


def test_counts_per_blob_are_the_same_for_few_and_many(tmp_path: Path) -> None:
    """One look at the source, one at the record of ends, one copy; one activity. Table and JSON agree."""
    command = [*COMMAND, "--sizes", ",".join(map(str, SIZES)), "--large-mib", "16"]
    env = measuring(tmp_path, SIZE_UNIT_BYTES=str(16 * 1024))
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert left_behind(tmp_path) == []
    document = json.loads((tmp_path / "bench.json").read_text())
    assert document["differences"] == []
    assert {"app", "python", "azure-functions", "azure-functions-durable", "azurite"} <= document["versions"].keys()
    assert {"cores", "memory_mib", "platform"} <= document["machine"].keys()
    *loads, large = document["loads"]
    assert [load["blobs"] for load in loads] == list(SIZES)
    for load in loads:
        assert load["unverified"] == 0
        once = {"CopyBlobFromUrl target": 1, "GetBlob state": 1, "HeadBlob source": 1}
        assert load["requests"] == [[once, load["blobs"]]]
        assert (load["activities"], load["timers"]) == (1, 0)
        assert load["history_rows"] == loads[0]["history_rows"]
        assert 0 < load["latency"]["p50"] <= load["latency"]["p95"] <= load["latency"]["p99"] < load["seconds"]
        assert load["put_seconds"] < load["seconds"]
        # Of a load of a second, the end of the orchestration is a part; of larger ones, the two differ by under a tenth.
        assert load["reported"]["p99"] == pytest.approx(load["latency"]["p99"], rel=0.1, abs=0.5)
    assert (large["blobs"], large["bytes_each"], large["unverified"]) == (1, 16 * 1024**2, 0)
    [[asked, blobs]] = large["requests"]
    assert (asked["PutBlockFromUrl target"], asked["PutBlockList target"], blobs) == (16, 1, 1)
    assert (large["activities"], large["timers"]) == (1, 0)
    agree(cells(done.stdout), document["loads"])


def cells(printed: str) -> dict[str, list[str]]:
    """Return the table's rows by name."""
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines() if line.startswith("│")]
    return {name: figures for name, *figures in rows}


def agree(table: dict[str, list[str]], loads: list[dict[str, Any]]) -> None:
    """Check that each figure of the table is the rounded one of the JSON."""
    assert table["verified"] == [str(load["blobs"]) for load in loads]
    asked = [sum(kind.values()) for load in loads for kind, _ in load["requests"]]
    assert table["requests per blob"] == [str(count) for count in asked]
    assert table["history rows per transfer"] == [str(load["history_rows"][0]) for load in loads]
    for name, (path, unit) in FIGURES.items():
        for printed, load in zip(table[name], loads, strict=True):
            figure: Any = load
            for key in path.split("."):
                figure = figure[key]
            decimals = len(printed.partition(".")[2])
            assert float(printed) == pytest.approx(figure * unit, abs=0.51 * 10**-decimals), name


def test_an_interrupted_bench_leaves_nothing_behind(tmp_path: Path) -> None:
    """Ctrl-C stops the stack and removes the folder."""
    process = subprocess.Popen(
        [*COMMAND, "--sizes", "5000"],
        cwd=ROOT,
        env=measuring(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    end = time.monotonic() + 60
    while not list(tmp_path.glob("bench-*/host.sqlite")):
        assert time.monotonic() < end, "no stack was started"
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors == ""
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("sizes", ["0", "ten", "100,,", "-5", "15001"])
def test_invalid_sizes_are_refused(tmp_path: Path, sizes: str) -> None:
    done = subprocess.run(
        [*COMMAND, f"--sizes={sizes}"], cwd=ROOT, env=measuring(tmp_path), capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert re.search(r"is not a list of numbers from 1 to 15,000, separated by commas", done.stderr)


def test_another_host_is_refused(tmp_path: Path) -> None:
    """The counts are in the stand-in's store."""
    done = subprocess.run(
        COMMAND, cwd=ROOT, env=measuring(tmp_path, HOST="func"), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "Fix: unset HOST" in done.stderr
