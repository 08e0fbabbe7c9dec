"""The tables in the pages are what the code says, in both directions."""

import ast
import json
import re
from collections.abc import Iterator
from typing import Any

import azure.functions as func

import settings
from rules.errors import Reason
from rules.jobs.model import Finding, JobState, Phase, Result
from rules.routes import config, names
from rules.transfers.model import Step, Verdict
from rules.transfers.states import TRANSITIONS, State
from tests.docs.pages import ROOT, code, column, modules, page, rows, section
from triggers.http.endpoints import ENDPOINTS
from triggers.timers import TIMERS

# What an `action` that is put together may hold.
HOLES: dict[str, list[str]] = {"{step}": list(Step), "{phase}": list(Phase), "{what}": ["resumed", "ended"]}
OPERATING, RULES, SETTINGS = (page(f"docs/{name}.md") for name in ("operating", "rules", "settings"))


def test_the_settings_are_all_there() -> None:
    """The table of settings is what `settings.py` reads."""
    assert column(SETTINGS.partition("\n## ")[0]) == set(settings.VARIABLES)


def test_the_fields_of_a_route_are_all_there() -> None:
    """The table of a route's fields is what `rules/routes.py` takes."""
    assert column(section(SETTINGS, "## Routes")) == config.FIELDS


def test_the_example_of_routes_can_be_read() -> None:
    """The example of ROUTES is one that the app accepts."""
    [example] = re.findall(r"```json\n(.*?)```", section(SETTINGS, "## Routes"), re.DOTALL)
    assert [route.name for route in config.read(example)] == ["default", "reports-to-partner"]


def test_every_variable_of_the_local_stack_is_there() -> None:
    """Whatever variable the local stack reads is in its table, and no other."""
    stack = "".join(path.read_text() for path in (ROOT / "devhost").rglob("*.py"))
    read = set(re.findall(r"\b(?:DEVHOST|AZURITE)_[A-Z_]+\b", stack)) - {
        "AZURITE_ACCOUNTS"
    }  # told to Azurite, not read
    assert column(section(SETTINGS, "## The local stack")) == read | {"HOST", "HOST_PORT"}


def test_every_reason_has_its_section() -> None:
    """Each reason has a section, in order, that says what it means, where to look, how to fix it and when to replay."""
    heads = re.findall(r"^### (\w+)$", section(OPERATING, "## Dead letters by reason"), re.MULTILINE)
    assert heads == [reason.value for reason in Reason]
    for reason in Reason:
        text = section(OPERATING, f"### {reason}")
        assert re.findall(r"\*\*(\w[\w ]*)\*\*:", text) == ["Means", "Look at", "Fix", "Replay"]


def actions() -> Iterator[str]:
    """The first argument of every call of `log` in the app."""
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Name(id="log"), args=[ast.Constant(value=str(action)), *_]):
                    yield action
                case ast.Call(func=ast.Name(id="log"), args=[ast.JoinedStr() as action, *_]):
                    [(hole, words)] = [(hole, words) for hole, words in HOLES.items() if hole in ast.unparse(action)]
                    yield from (ast.unparse(action)[2:-1].replace(hole, word) for word in words)


def test_every_action_of_a_log_line_is_there() -> None:
    """Each `action` that the app logs is in the table, and no other."""
    assert column(section(OPERATING, "## Log lines")) == set(actions())


def test_every_verdict_of_a_log_line_is_there() -> None:
    """The verdicts are those of the code, in its order."""
    [line] = re.findall(r"^`verdict` is one of (.*)\.$", OPERATING, re.MULTILINE)
    assert code(line) == list(Verdict)


def test_every_timer_is_there() -> None:
    """Each timer is in the table, and no other."""
    assert column(section(OPERATING, "## Timers")) == set(TIMERS)


def test_the_transitions_are_the_table() -> None:
    """The table of moves between states is TRANSITIONS."""
    table = {row[0].strip("`"): set(code(row[1])) for row in rows(section(RULES, "## States"))}
    assert table == {old.value: {new.value for new in following} for old, following in TRANSITIONS.items()}


def test_every_state_is_explained() -> None:
    """Both tables of states have every state, and no other."""
    assert column(section(OPERATING, "## States")) == set(State)
    assert column(section(page("README.md"), "## How it works")) == set(State)


def test_the_refused_names_are_all_there() -> None:
    """The list of refused names is the code's, in its words and order."""
    refused = [row[0] for row in rows(section(RULES, "## Names"))]
    anywhere = [*(why for _, why in names.REFUSALS), names.source_url_refusal("x" * 2_048)]
    assert refused == [*anywhere, *(why for _, why in names.HIERARCHICAL)]


def test_there_are_18_rules_each_with_its_place_and_its_test() -> None:
    """Each of the 18 rules names its place in the code, and the test that says it."""
    heads = re.findall(r"^## (\d+)\. (.+)$", RULES, re.MULTILINE)
    assert [int(number) for number, _ in heads] == list(range(1, 20))
    for number, head in heads:
        assert re.search(r"\n- Code: `.+\.\n- Test: `tests/.+\.$", section(RULES, f"## {number}. {head}").rstrip())


def leaves(value: dict[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """Every value of a JSON object, with its path."""
    for key, item in value.items():
        if isinstance(item, dict):
            yield from leaves(item, f"{path}{key}.")
        else:
            yield path + key, item if isinstance(item, str) else json.dumps(item)


def test_every_value_of_host_json_is_explained() -> None:
    """Each value of host.json is in the table as it is, with its reason."""
    table = rows(page("docs/host-json.md").partition("\n## ")[0])
    assert {(row[0].strip("`"), row[1].strip("`")) for row in table} == set(leaves(json.loads(page("host.json"))))
    assert all(row[2] for row in table)


def test_the_api_is_the_table_of_endpoints() -> None:
    """The table of the API is ENDPOINTS, keys included."""
    table = {code(row[0])[0]: row[2] for row in rows(section(page("README.md"), "## The API"))}
    keys = {func.AuthLevel.FUNCTION: "yes", func.AuthLevel.ANONYMOUS: "no"}
    assert table == {f"{call.method} /api/{call.route}": keys[call.level] for call in ENDPOINTS}


def test_requests_http_has_every_call() -> None:
    """Each call of the API is in requests.http."""
    asked = re.findall(r"^([A-Z]+) \{\{host\}\}(/api/[^\s?]*)", page("requests.http"), re.MULTILINE)
    called = {
        f"{method} {re.sub(r'{{(transfer|letter|replay|discard|reconcile)}}', '{id}', path)}" for method, path in asked
    }
    assert called == {f"{call.method} /api/{call.route}" for call in ENDPOINTS}


def test_the_words_of_jobs_are_all_there() -> None:
    """Phases, states and results of a job, and the classes of a reconcile, in order."""
    jobs = section(OPERATING, "## Jobs").partition("\n### ")[0]
    assert words(jobs) == [*Phase, *JobState, *Result]
    assert words(section(page("README.md"), "## Share a container that was full before")) == list(Finding)
    assert words(section(RULES, "## Reconcile")) == list(Finding)


def words(text: str) -> list[str]:
    """The first word in backticks of each row."""
    return [code(row[0])[0] for row in rows(text)]


def test_every_json_example_is_json() -> None:
    """What is called JSON in a page can be parsed."""
    for name in ("README.md", "docs/operating.md", "docs/settings.md"):
        for example in re.findall(r"```json\n(.*?)```", page(name), re.DOTALL):
            json.loads(example)


def test_every_trace_is_a_test_by_its_name() -> None:
    """The table of traces names the tests of `tests/protocol/test_traces.py`, and no other."""
    tests = set(re.findall(r"def test_(\w+)\(", page("tests/protocol/test_traces.py")))
    assert column(section(page("docs/protocol.md"), "## Traces")) == tests
