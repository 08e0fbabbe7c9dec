"""What several suites need: the Bicep compiler, a snapshot of each scenario, and the order of the files."""

import os
import shutil
from collections.abc import Callable
from functools import cache

import pytest

from tests.infra import snapshots
from tests.infra.snapshots import Snapshot

MISSING = "the Bicep CLI is not on PATH; `az bicep install` or azd bring it, or see https://aka.ms/bicep-install"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Two processes take a file at a time: those that take the longest come first, so that they end together."""
    items.sort(key=lambda item: "e2e" not in item.path.parts)
    assert len({item.nodeid for item in items}) == len(items), "of two tests of one name one alone would be run"


@pytest.fixture(scope="session")
def bicep() -> str:
    """The compiler's path; without one skipped, and failed in CI."""
    found = shutil.which("bicep")
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(MISSING)
    return found


@pytest.fixture(scope="session")
def snapshot(bicep: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Snapshot]:
    """The snapshot of a scenario by its name, taken once for all processes of this run."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "snapshots"
    folder.mkdir(exist_ok=True)
    return cache(lambda name: snapshots.shared(bicep, name, folder))
