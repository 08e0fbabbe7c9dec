"""The app answers as `docs/openapi.json` describes, and accepts the bodies that it describes."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import azure.functions as func
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from rules.dead_letters import records
from rules.errors import Reason
from rules.jobs import model
from rules.orchestrations.instance import Instance
from rules.orchestrations.status import view
from rules.routes.names import MAX_UNITS
from rules.transfers.model import Run
from rules.transfers.states import FINAL, State
from rules.transfers.status import progress
from tests.docs.pages import page
from tests.docs.scenarios import BODIES, SCENARIOS, Scenario
from tests.unit.samples import NAME, NOW, ROUTE, body, quick, runs
from tests.unit.triggers.api import UNKNOWN, Answer, Api
from tests.unit.world import World
from triggers.http.endpoints import ENDPOINTS

DESCRIPTION: dict[str, Any] = json.loads(page("docs/openapi.json"))
SCHEMAS: dict[str, Any] = DESCRIPTION["components"]["schemas"]
OPERATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    operation["operationId"]: (path, operation)
    for path, methods in DESCRIPTION["paths"].items()
    for method, operation in methods.items()
    if method != "head"
}
# Values of the fields of a job that the app accepts, and others that it refuses.
ACCEPTED: dict[str, list[Any]] = {
    "route": [ROUTE.name],
    "prefix": [None, "", ROUTE.source.prefix, f"{ROUTE.source.prefix}a folder/"],
    "reason": [None, *(reason.value for reason in Reason)],
    "since": [None, "2026-11-24T19:02:44Z", "2026-11-24T19:02:44.120+01:00", "2026-11-24t19:02:44z"],
    "until": [None, "2026-11-24T19:02:44Z"],
    "dry_run": [None, True, False],
    "max_per_second": [None, 1, model.MAX_RATE],
}
# The endpoints that ignore query parameters, and their answers to an unknown id.
IGNORING = {"health": 200, "dashboard": 200, "openapi": 200, "dashboard_file": 404}
REFUSED: dict[str, list[Any]] = {
    "route": ["", "a route", 5, ["default"]],
    "reason": ["unknown", "", 1],
    "since": ["2026-11-24T19:02:44", "now", 1],
    "until": ["2026-11-24", ""],
    "dry_run": ["true", 1],
    "max_per_second": [0, model.MAX_RATE + 1, "5", True],
    "prefix": [5, ["in/"]],
    "force": [True],
}


def resolved(value: dict[str, Any]) -> dict[str, Any]:
    """The object, or the component that it refers to."""
    found: Any = DESCRIPTION
    for step in value.get("$ref", "#").split("/")[1:]:
        found = found[step]
    return found if "$ref" in value else value


def schema_errors(schema: dict[str, Any], value: Any) -> list[str]:
    """Why the value is not valid."""
    checker = Draft202012Validator({**schema, "components": DESCRIPTION["components"]})
    return [f"{error.json_path}: {error.message}" for error in checker.iter_errors(value)]


def component_errors(name: str, value: Any) -> list[str]:
    """Why the value is not valid against the schema of this name."""
    return schema_errors({"$ref": f"#/components/schemas/{name}"}, value)


def answer_errors(operation: str, answer: Answer) -> list[str]:
    """Why the answer is not as described: body, media type or headers."""
    described = resolved(OPERATIONS[operation][1]["responses"][str(answer.status)])
    content = described.get("content", {answer.mimetype: {"schema": {"const": ""}}})[answer.mimetype]["schema"]
    found = schema_errors(content, answer.body if "json" in answer.mimetype else answer.text)
    headers = described.get("headers", {})
    for name, reference in headers.items():
        header, text = resolved(reference), answer.headers.get(name)
        if text is not None:
            found += schema_errors(header["schema"], int(text) if header["schema"]["type"] == "integer" else text)
        elif header["required"]:
            found.append(f"{name} is missing")
    undescribed = {"Location", "Retry-After"} & set(answer.headers) - set(headers)
    return found + [f"{name} is not described" for name in undescribed]


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Yields every object in a JSON value."""
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from objects(item)


def test_every_component_is_used_and_every_reference_resolves() -> None:
    references = {found["$ref"] for found in objects(DESCRIPTION) if "$ref" in found}
    parts = {
        f"#/components/{kind}/{name}"
        for kind, components in DESCRIPTION["components"].items()
        if kind != "securitySchemes"
        for name in components
    }
    assert parts == references


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_a_json_schema(name: str) -> None:
    """An object allows no further fields."""
    Draft202012Validator.check_schema(SCHEMAS[name])
    assert SCHEMAS[name]["type"] != "object" or SCHEMAS[name]["additionalProperties"] is False


def test_every_example_fits_its_schema() -> None:
    """Also a listed dead letter whose metadata was lost."""
    shown = [found for found in objects(DESCRIPTION) if "example" in found]
    assert shown
    assert [error for found in shown for error in schema_errors(found["schema"], found["example"])] == []
    assert component_errors("ListedDeadLetter", records.list_item(UNKNOWN, {})) == []


@pytest.mark.parametrize("name", OPERATIONS)
async def test_parameters_are_those_of_the_app(name: str) -> None:
    """A call with an unknown parameter lists the known ones. Health ignores all."""
    path, operation = OPERATIONS[name]
    described = [resolved(parameter) for parameter in operation.get("parameters", [])]
    assert [one["name"] for one in described if one["in"] == "path"] == re.findall(r"\{(\w+)\}", path)
    answer = await Api(World()).call(name, UNKNOWN, **{"no-such": "1"})
    if name in IGNORING:
        assert (answer.status, [one for one in described if one["in"] == "query"]) == (IGNORING[name], [])
        return
    known = re.fullmatch(r"(?:Use only: (.*)|This call accepts no query parameters)\.", answer.body["fix"])
    assert known
    assert [one["name"] for one in described if one["in"] == "query"] == (known[1].split(", ") if known[1] else [])


@pytest.mark.parametrize(("operation", "status", "scenario"), SCENARIOS)
async def test_an_answer_is_as_described(
    operation: str, status: int, scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("operations.transfers.cancel.PAUSES", (0, 0))
    world = World()
    answer = await scenario(world, Api(world))
    assert answer.status == status
    assert answer_errors(operation, answer) == []


def test_every_described_answer_has_a_scenario() -> None:
    """Except 401, which the host answers."""
    seen = {(operation, str(status)) for operation, status, _ in SCENARIOS}
    described = {(name, code) for name, (_, operation) in OPERATIONS.items() for code in operation["responses"]}
    keyed = {call.name for call in ENDPOINTS if call.level is func.AuthLevel.FUNCTION}
    assert described - seen == {(name, "401") for name in keyed}


@quick
@given(run=runs(), status=st.sampled_from(["Running", "Completed", "Failed", "Terminated"]), readable=st.booleans())
def test_any_transfer_fits(run: Run, status: str, *, readable: bool) -> None:
    """Except for impossible ones: an ending that is not final, or verified without a size."""
    if run.ending is not None and run.ending.state not in FINAL:
        run = replace(run, ending=replace(run.ending, state=State.CANCELLED))
    if run.state is State.VERIFIED:
        run = replace(run, size=run.size or 0)
    given = run if readable else None
    shown = view(Instance(run.transfer.id, status, given, progress(run, NOW), "the worker exited", NOW))
    assert component_errors("Transfer", json.loads(json.dumps(shown))) == []


async def test_a_share_is_accepted_if_and_only_if_it_fits() -> None:
    good: dict[str, Any] = {"route": ROUTE.name, "name": NAME}
    bad: list[Any] = [None, [], {}, {"route": "default"}, {**good, "name": ""}, {**good, "route": 5}]
    bad += [{**good, "force": True}, {**good, "name": "in/" + "x" * MAX_UNITS}]
    for sent in [good, *bad]:
        world = World()
        world.put()
        answer = await Api(world).call("share_now", None, body(sent))
        assert (answer.status == 202) == (component_errors("ShareRequest", sent) == []) == (sent is good)


@pytest.mark.parametrize(
    ("name", "invalid"),
    [
        ("Replay", []),
        ("Discard", []),
        ("Reconcile", [{}, {"route": None}, {"route": "default", "reason": "throttled"}]),
    ],
)
async def test_a_job_is_accepted_if_and_only_if_it_fits(name: str, invalid: list[Any]) -> None:
    """For each field, values at and beyond its limits."""
    operation, schema = f"start_{name.lower()}", f"{name}Request"
    minimal = BODIES[operation]
    good = [{**minimal, key: value} for key in SCHEMAS[schema]["properties"] for value in ACCEPTED[key]]
    bad = [{**minimal, key: value} for key, values in REFUSED.items() for value in values]
    for valid, sent in [(True, sent) for sent in good] + [(False, sent) for sent in [None, [], "all", *bad, *invalid]]:
        answer = await Api(World()).call(operation, None, body(sent))
        assert (answer.status == 202) == (component_errors(schema, sent) == []) == valid, sent
