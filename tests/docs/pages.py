"""The pages, the modules of the app, and the names that a module defines."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
FOLDERS = ("triggers", "orchestrators", "activities", "adapters", "operations", "rules")


def page(name: str) -> str:
    """The text of a file."""
    return (ROOT / name).read_text()


def modules() -> Iterator[Path]:
    """Every module of the app."""
    yield from (ROOT / f"{name}.py" for name in ("function_app", "wiring", "settings"))
    for name in FOLDERS:
        yield from sorted((ROOT / name).rglob("*.py"))


@cache
def names(path: Path) -> frozenset[str]:
    """Functions, classes with their methods and fields, and constants of a module. A test in a class also by itself."""
    found = set(_defined(ast.parse(path.read_text()).body, "")) if path.is_file() else set()
    return frozenset(found | {name.rpartition(".")[2] for name in found if ".test_" in name})


def _defined(body: list[ast.stmt], prefix: str) -> Iterator[str]:
    for node in body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield prefix + name
            case ast.ClassDef(name=name):
                yield prefix + name
                yield from _defined(node.body, f"{prefix}{name}.")
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                yield prefix + name
