"""`docs/unproven.md` is the one list of what nobody has seen yet, and each row has the command that shows it."""

import re
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, code, page, rows

LIST = ROOT / "docs" / "unproven.md"
CLAIMS = re.compile(r"\b(?:unproven|not proven|nobody (?:has|could)|not (?:been )?seen on Azure)\b", re.IGNORECASE)


def elsewhere(text: str) -> list[str]:
    """The paragraphs and rows that say of something that it is unproven, and do not lead to the list."""
    parts = re.split(r"\n\n|\n(?=\|)|\n(?=#)", text)
    return [
        part for part in parts if CLAIMS.search(re.sub(r"\S*unproven\.md\S*", "", part)) and "unproven.md" not in part
    ]


def test_every_row_says_why_and_has_its_command() -> None:
    """What it is, why not here, and a command in backticks."""
    table = rows(LIST.read_text())
    assert len(table) >= 25
    assert [row for row in table if len(row) != 3 or not all(row) or not code(row[2])] == []


def test_nothing_is_listed_twice() -> None:
    """One row for one thing."""
    said = [row[0] for row in rows(LIST.read_text())]
    assert len(said) == len(set(said))


@pytest.mark.parametrize("path", [path for path in PAGES if path != LIST], ids=lambda path: path.name)
def test_no_other_page_keeps_such_a_list(path: Path) -> None:
    """It leads to the one that there is."""
    assert elsewhere(path.read_text()) == []


def test_a_list_on_another_page_is_found() -> None:
    """By its heading, its row or its sentence; not where it leads to the list."""
    heading, row, sentence = "## Not proven here", "| x | unproven |", "This is not proven here."
    assert elsewhere(f"{heading}\n\n{row}\n{row}\n\n{sentence}") == [heading, row, row, sentence]
    assert elsewhere("What is unproven is in [unproven.md](unproven.md).") == []


def test_the_readme_leads_to_it_by_name() -> None:
    """Whoever reads one page knows that there is a list."""
    assert "](docs/unproven.md)" in page("README.md")
