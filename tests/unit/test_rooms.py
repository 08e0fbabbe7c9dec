"""What the modules above the rooms may import: import-linter looks at packages alone."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = {
    "triggers",
    "orchestrators",
    "activities",
    "adapters",
    "operations",
    "rules",
    "settings",
    "wiring",
    "function_app",
    "devhost",
    "smoke",
    "tests",
}


@pytest.mark.parametrize(
    ("module", "allowed"),
    [
        ("settings", {"rules"}),
        ("wiring", {"adapters", "operations", "rules", "settings"}),
        ("function_app", {"wiring", "settings", "triggers", "orchestrators", "activities"}),
    ],
)
def test_the_modules_above_use_what_is_below(module: str, allowed: set[str]) -> None:
    """The composition root knows the rooms, wiring the adapters, settings the rules alone."""
    assert imported(module) & ROOMS <= allowed


def test_the_composition_root_is_short() -> None:
    """It registers the rooms, and nothing else."""
    assert len((ROOT / "function_app.py").read_text().splitlines()) < 40


def imported(module: str) -> set[str]:
    """The first part of every name that a module imports."""
    tree = ast.parse((ROOT / f"{module}.py").read_text())
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return {name.partition(".")[0] for name in names}
