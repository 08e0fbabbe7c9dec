"""Fixtures of several suites: the Bicep compiler and the snapshots. Also the order of the test files."""

import gc
import os
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.infra import snapshots
from tests.infra.compiler import Compiler
from tests.infra.snapshots import Snapshot

HERE = Path(__file__).parent
# From the longest to the shortest of those that take more than half a minute. Some wait, some compute.
LONGEST = (
    "e2e/test_worker_deaths.py",
    "protocol/test_exploration.py",
    "e2e/test_content.py",
    "e2e/test_cancel.py",
    "e2e/test_readme.py",
    "devhost/host/test_queues.py",
    "e2e/test_fuzz.py",
    "e2e/test_reconcile.py",
    "e2e/test_corpus.py",
    "e2e/test_blocks.py",
    "e2e/test_demo.py",
    "e2e/test_watchdog.py",
    "e2e/test_lists.py",
    "e2e/test_crash.py",
    "e2e/test_versus.py",
    "unit/orchestrators/test_lanes.py",
    "protocol/test_simpler_rules.py",
    "dashboard/test_views.py",
)
MISSING = "the Bicep CLI is not on PATH. Fix: az bicep install, or see https://aka.ms/bicep-install"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest files first: each process takes one file at a time, and none should wait at the end."""
    rank = {HERE / name: number for number, name in enumerate(LONGEST)}
    assert all(path.is_file() for path in rank), "a file of LONGEST does not exist"
    items.sort(key=lambda item: (rank.get(item.path, len(rank)), "e2e" not in item.path.parts))
    assert len({item.nodeid for item in items}) == len(items), "two tests have the same name, so only one would run"


def pytest_configure() -> None:
    """Collect no garbage while tests are collected: almost everything is kept, so the search took a third of the time."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Keep the thousands of collected tests out of each garbage collection, and collect rarely: a test is short."""
    gc.collect()
    gc.freeze()
    gc.enable()
    gc.set_threshold(50_000, 20, 50)


@pytest.fixture(scope="session")
def bicep() -> str:
    """The compiler's path. A missing compiler skips the test, or fails it in CI."""
    found = shutil.which("bicep")
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(MISSING)
    return found


@pytest.fixture(scope="session")
def compiler(bicep: str) -> Iterator[Compiler]:
    with Compiler(bicep, snapshots.environment()) as started:
        yield started


@pytest.fixture(scope="session")
def snapshot(compiler: Compiler, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Snapshot]:
    """Returns the snapshot of a scenario by its name. It is taken once per test run."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "snapshots"
    folder.mkdir(exist_ok=True)
    return cache(lambda name: snapshots.shared(compiler, name, folder))
