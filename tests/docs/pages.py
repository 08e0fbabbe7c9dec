"""The pages of the documentation, and the modules of the app with the names that they define."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")
MACHINE_PATH = re.compile(r"/(?:work|home|tmp|root|Users)\b|stored locally at|/var/folders")
FOLDERS = ("dashboard", "triggers", "orchestrators", "activities", "adapters", "operations", "ports", "rules")


def page(name: str) -> str:
    return (ROOT / name).read_text()


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    heads = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def modules() -> Iterator[Path]:
    """Every module of the app."""
    yield from (ROOT / f"{name}.py" for name in ("function_app", "wiring", "settings"))
    for name in FOLDERS:
        yield from sorted((ROOT / name).rglob("*.py"))


@cache
def names(path: Path) -> frozenset[str]:
    """Functions, classes with their methods and fields, and constants of a module. Test methods also without their class."""
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
