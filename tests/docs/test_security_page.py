"""docs/security.md names a test for each threat, and docs/entra-id.md the calls as they are."""

import json
import re

import azure.functions as func
import pytest

from tests.docs.pages import ROOT, code, names, page, rows, section
from triggers.http.endpoints import ENDPOINTS

SECURITY, ENTRA = page("docs/security.md"), page("docs/entra-id.md")
THREATS = rows(section(SECURITY, "## Threats"))
# Written for this page: what they show is said on it.
WRITTEN_FOR_IT = ("tests/e2e/test_secrets.py", "tests/e2e/test_security.py", "tests/unit/test_security.py")


@pytest.mark.parametrize("row", THREATS, ids=lambda row: row[0][:40])
def test_a_threat_names_what_stops_it_and_the_tests_that_show_it(row: list[str]) -> None:
    """Each of them is there, by its name."""
    threat, stops, shown = row
    assert threat
    assert stops
    tests = [reference.split(":") for reference in code(shown)]
    assert tests
    assert [
        (file, name) for file, name in tests if not name.startswith("test_") or name not in names(ROOT / file)
    ] == []


def test_every_test_that_was_written_for_the_page_is_on_it() -> None:
    """And no test shows what nobody claims."""
    said = {reference for row in THREATS for reference in code(row[2])}
    there = {f"{file}:{name}" for file in WRITTEN_FOR_IT for name in names(ROOT / file) if name.startswith("test_")}
    assert there - said == set()


def test_what_the_deployment_must_do_has_its_reason() -> None:
    """Nothing is left to others without saying why."""
    table = rows(section(SECURITY, "## Left to the deployment"))
    assert table
    assert all(what and why for what, why in table)


def test_easy_auth_leaves_out_what_asks_for_no_key_and_nothing_else() -> None:
    """The excluded paths are the anonymous rows of the API."""
    [example] = re.findall(r"```json\n(.*?)```", ENTRA, re.DOTALL)
    anonymous = [f"/api/{call.route}" for call in ENDPOINTS if call.level is func.AuthLevel.ANONYMOUS]
    assert json.loads(example)["properties"]["globalValidation"]["excludedPaths"] == anonymous


def test_a_reader_has_the_keys_of_the_calls_that_only_look() -> None:
    """Every GET that asks for a key, in the order of the table, and no call that changes something."""
    [listed] = re.findall(r"^for F in (.*); do$", ENTRA, re.MULTILINE)
    looking = [call.name for call in ENDPOINTS if call.method == "GET" and call.level is func.AuthLevel.FUNCTION]
    assert listed.split() == looking


def test_the_two_roles_are_json_with_ids_of_their_own() -> None:
    """As `az ad app create` takes them."""
    [example] = re.findall(r"<<'JSON'\n(.*?)\nJSON", ENTRA, re.DOTALL)
    roles = json.loads(example)
    assert [role["value"] for role in roles] == ["Reader", "Operator"]
    assert len({role["id"] for role in roles}) == len(roles)
