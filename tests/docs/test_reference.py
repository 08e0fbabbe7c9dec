"""The generated documentation is up to date, and configuration in the documentation matches the endpoints."""

import json
import re
from pathlib import Path

import azure.functions as func
import pytest

from devhost.reference import answers
from devhost.reference.answers import SOURCES, Fact
from devhost.reference.pages import pages, with_tables
from rules.routes import config
from tests.docs.pages import PAGES, page
from triggers.http.endpoints import ENDPOINTS

# A source is a key of the table, an issue of a repository, or a log or event of a user, by its number.
SOURCE = re.compile(
    rf"({'|'.join(re.escape(key) for key in SOURCES if key != '#')})( \S.*)?|#[\w-]+ \d+|an? .+ \(\d+\)"
)
ENTRA = page("docs/entra-id.md")


def test_the_reference_is_up_to_date() -> None:
    """If this fails, run `make docs`."""
    assert [path.name for path, text in pages().items() if path.read_text() != text] == []


def test_a_table_replaces_the_text_between_its_markers() -> None:
    text = "a\n<!-- begin: x -->\nold\n<!-- end: x -->\nb\n"
    assert with_tables(text, {"x": lambda: "new\n"}) == "a\n<!-- begin: x -->\n\nnew\n\n<!-- end: x -->\nb\n"
    with pytest.raises(ValueError, match="'y'"):
        with_tables(text, {"y": str})


@pytest.mark.parametrize("fact", answers.facts(), ids=lambda fact: fact.test.partition(":")[2])
def test_a_fact_has_a_known_source(fact: Fact) -> None:
    assert [part for part in fact.source.split(", ") if not SOURCE.fullmatch(part)] == []


def test_no_fact_is_listed_twice() -> None:
    listed = [(fact.request, fact.answer) for fact in answers.facts()]
    assert len(listed) == len(set(listed))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_json_example_can_be_parsed(path: Path) -> None:
    for example in re.findall(r"^```json\n(.*?)^```$", path.read_text(), re.DOTALL | re.MULTILINE):
        json.loads(example)
        if path.name == "settings.md":
            config.read(example)


def test_requests_http_has_every_call() -> None:
    requests = re.findall(r"^([A-Z]+) \{\{host\}\}(/api/[^\s?]*)", page("requests.http"), re.MULTILINE)
    called = {(method, re.sub(r"{{\w+}}", "{id}", path)) for method, path in requests}
    assert called == {(call.method, re.sub(r"{\w+}", "{id}", f"/api/{call.route}")) for call in ENDPOINTS}


def test_easy_auth_excludes_the_endpoints_without_a_key() -> None:
    """Except the dashboard and the description: a browser that opens them is asked to sign in."""
    [excluded] = re.findall(r'"excludedPaths": (\[.*?\])', ENTRA, re.DOTALL)
    anonymous = [f"/api/{call.route}" for call in ENDPOINTS if call.level is func.AuthLevel.ANONYMOUS]
    assert json.loads(excluded) == [
        path for path in anonymous if not path.startswith(("/api/dashboard", "/api/openapi"))
    ]


def test_a_reader_has_keys_of_read_only_endpoints() -> None:
    [listed] = re.findall(r"^for F in (.*); do$", ENTRA, re.MULTILINE)
    reading = {call.name for call in ENDPOINTS if call.method == "GET" and call.level is func.AuthLevel.FUNCTION}
    reading -= {"diagnose"}  # it writes probes
    assert set(listed.split()) == reading
