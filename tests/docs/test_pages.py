"""Links, references to code and commands in the documentation resolve."""

import re
from pathlib import Path

import pytest

from tests.docs.pages import LINK, MACHINE_PATH, PAGES, ROOT, anchors, names, page

REFERENCE = re.compile(r"`([\w./-]+\.py):([\w.]+)`")
IN_TREE = re.compile(
    r"`((?:activities|adapters|devhost|docs|operations|orchestrators|ports|rules|tests|triggers)/[\w./-]*)`"
)

each_page = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)


@each_page
def test_a_link_resolves(path: Path) -> None:
    for link in LINK.findall(path.read_text()):
        if link.startswith("https://"):
            continue
        place, _, anchor = link.partition("#")
        target = (path.parent / place).resolve() if place else path
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target), link


@each_page
def test_a_reference_into_the_code_resolves(path: Path) -> None:
    """`module.py:name` and `folder/` in backticks."""
    text = path.read_text()
    missing = [f"{file}:{name}" for file, name in REFERENCE.findall(text) if name not in names(ROOT / file)]
    assert missing == []
    assert [place for place in IN_TREE.findall(text) if not (ROOT / place).exists()] == []


@each_page
def test_a_make_target_exists(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", page("Makefile"), re.MULTILINE))
    assert set(re.findall(r"\bmake (demo|[a-z]+)\b(?=`|  | #)", path.read_text())) <= targets


@pytest.mark.parametrize("path", [*PAGES, ROOT / "requests.http"], ids=lambda path: path.name)
def test_no_line_contains_a_local_path(path: Path) -> None:
    assert [line for line in path.read_text().splitlines() if MACHINE_PATH.search(line)] == []


@pytest.mark.parametrize("heading", ["Features", "Getting Started", "Guidance", "Resources"])
def test_the_readme_has_the_headings_of_the_template_gallery(heading: str) -> None:
    """microsoft/template-validation-action requires them."""
    assert f"\n## {heading}\n" in page("README.md")
