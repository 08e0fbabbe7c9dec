"""What several suites need: the Bicep compiler, a snapshot of each scenario, and who runs beside whom."""

import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.infra import snapshots
from tests.infra.snapshots import Snapshot

MISSING = "the Bicep CLI is not on PATH; `az bicep install` or azd bring it, or see https://aka.ms/bicep-install"
# What shares something that takes long to make; every other file is for itself.
TOGETHER = {"e2e": "a stack", "contract": "a storage", "docs": "snapshots", "infra": "snapshots"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Two processes: one has the end-to-end tests, which take the longest, and begins with them; the other the rest."""
    for item in items:
        folder = item.path.relative_to(Path(__file__).parent).parts[0]
        item.add_marker(pytest.mark.xdist_group(TOGETHER.get(folder, str(item.path))))
    items.sort(key=lambda item: "e2e" not in item.path.parts)


@pytest.fixture(scope="session")
def bicep() -> str:
    """The compiler's path; without one skipped, and failed in CI."""
    found = shutil.which("bicep")
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(MISSING)
    return found


@pytest.fixture(scope="session")
def snapshot(bicep: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Snapshot]:
    """The snapshot of a scenario by its name, taken once."""
    return cache(lambda name: snapshots.taken(bicep, name, tmp_path_factory.mktemp(name)))
