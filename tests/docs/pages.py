"""The pages, and what the code says, read without running it where that will do."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
APP = (
    "function_app.py",
    "wiring.py",
    "settings.py",
    "triggers",
    "orchestrators",
    "activities",
    "adapters",
    "operations",
    "rules",
)


def page(name: str) -> str:
    """The text of a page."""
    return (ROOT / name).read_text()


def section(text: str, heading: str) -> str:
    """What stands under a heading, up to the next one of its level or above."""
    level = heading.partition(" ")[0]
    found = re.search(rf"^{re.escape(heading)}\n(.*?)(?=^#{{1,{len(level)}}} |\Z)", text, re.DOTALL | re.MULTILINE)
    assert found, f"there is no heading {heading!r}"
    return found[1]


def rows(text: str) -> list[list[str]]:
    """The cells of every table row, heads left out, backticks kept."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    rules = [number for number, row in enumerate(cells) if all(re.fullmatch("-+", cell) for cell in row)]
    return [row for number, row in enumerate(cells) if number not in rules and number + 1 not in rules]


def code(cell: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def column(text: str) -> set[str]:
    """The first word in backticks of each row's first cell, where there is one."""
    return {words[0] for row in rows(text) if (words := code(row[0]))}


def modules() -> Iterator[Path]:
    """Every module of the app."""
    for name in APP:
        place = ROOT / name
        yield from [place] if place.is_file() else sorted(place.rglob("*.py"))


@cache
def names(path: Path) -> frozenset[str]:
    """What a module defines: functions, classes, their methods and fields, constants. A test in a class also by itself."""
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
