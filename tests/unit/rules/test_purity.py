"""The rules are pure: standard library only, no I/O, no clock, no random, no logging."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import rules

MODULES = sorted(Path(rules.__file__).parent.glob("*.py"))
FORBIDDEN = {
    "asyncio",
    "http",
    "io",
    "logging",
    "os",
    "pathlib",
    "random",
    "secrets",
    "socket",
    "sys",
    "threading",
    "time",
}
CALLS = {"now", "utcnow", "today", "open", "print", "input", "exec", "eval", "hash", "id"}


def imported(tree: ast.AST) -> Iterator[str]:
    """The packages that a module imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


def called(tree: ast.AST) -> Iterator[str]:
    """The functions and methods that a module calls, by their last name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func).rpartition(".")[2]


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_a_module_of_the_rules_is_pure(module: Path) -> None:
    """Time is an argument; what is decided twice is decided alike."""
    tree = ast.parse(module.read_text())
    packages = set(imported(tree))
    assert packages <= sys.stdlib_module_names | {"rules"}
    assert not packages & FORBIDDEN
    assert not set(called(tree)) & CALLS


def test_every_module_has_its_tests() -> None:
    """A test file is named after what it tests."""
    tests = {path.stem.removeprefix("test_") for path in Path(__file__).parent.glob("test_*.py")}
    assert {module.stem for module in MODULES} - {"__init__"} <= tests
