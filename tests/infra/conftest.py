"""The real compiler, and a snapshot of each scenario, taken once. Without `bicep` on PATH: skipped, and failed in CI."""

import os
import shutil
from collections.abc import Callable
from functools import cache

import pytest

from tests.infra import snapshots
from tests.infra.snapshots import Snapshot

MISSING = "the Bicep CLI is not on PATH; `az bicep install` or azd bring it, or see https://aka.ms/bicep-install"


@pytest.fixture(scope="session")
def bicep() -> str:
    """The compiler's path."""
    found = shutil.which("bicep")
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(MISSING)
    return found


@pytest.fixture(scope="session")
def snapshot(bicep: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Snapshot]:
    """The snapshot of a scenario by its name."""
    return cache(lambda name: snapshots.taken(bicep, name, tmp_path_factory.mktemp(name)))
