"""`docs/service-answers.md` is what the marks on the tests say, and each mark says where its fact comes from."""

import re

import pytest

from tests.docs import answers
from tests.docs.answers import SOURCES, Fact

# A source is a key of the table, an issue of a repository, or a user's own log or event by its number.
KNOWN = re.compile(rf"({'|'.join(re.escape(key) for key in SOURCES if key != '#')})( \S.*)?|#[\w-]+ \d+|an? .+ \(\d+\)")


def test_the_page_is_what_the_tests_say() -> None:
    """Write it anew with `python -m tests.docs.answers`."""
    assert answers.PAGE.read_text() == answers.written()


@pytest.mark.parametrize("fact", answers.facts(), ids=lambda fact: fact.test.partition(":")[2])
def test_a_fact_has_a_source_that_can_be_looked_up(fact: Fact) -> None:
    """One of the table, each of them."""
    assert [part for part in fact.source.split(", ") if not KNOWN.fullmatch(part)] == []


def test_no_fact_is_said_twice() -> None:
    """One row for one fact."""
    said = [(fact.request, fact.answer) for fact in answers.facts()]
    assert len(said) == len(set(said))
