"""`docs/openapi.json` is what the code does: the same calls, the same words, and every real answer fits its schema."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, TypeAlias

import azure.functions as func
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.translation import INSTANCES_FIND, error_for_answer
from operations import problems
from operations.dead_letters.look import MAX_PAGES as LETTER_PAGES
from operations.transfers.accept import refuse
from operations.transfers.look import SEARCH_PAGE, SEARCH_PAGES
from rules.dead_letters import letters, records
from rules.errors import Reason
from rules.events import RejectedEvent
from rules.jobs import lifecycle, model, report, status
from rules.jobs.model import Finding, Job, JobKind, JobState, Phase, Result
from rules.jobs.status import COUNTS
from rules.orchestrations.instance import Instance
from rules.orchestrations.status import view
from rules.routes.config import NAME as ROUTE_NAME
from rules.routes.model import Engine
from rules.routes.names import MAX_UNITS
from rules.transfers.identity import JOB_ID_PATTERN, JOB_PREFIX, MESSAGE_ID_PATTERN, TRANSFER_ID_PATTERN
from rules.transfers.model import Ending, Run, Successor, Transfer
from rules.transfers.states import FINAL, State
from rules.transfers.status import progress
from tests.docs.job_scenarios import ASKED, asked, unknown
from tests.docs.pages import page
from tests.docs.scenarios import SCENARIOS, Scenario, scenario
from tests.unit.samples import NAME, NEWER, NOW, ROUTE, body, event, quick, runs
from tests.unit.triggers.api import UNKNOWN, Answer, Api, dead
from tests.unit.world import World
from triggers.http.bodies import MAX_BODY
from triggers.http.endpoints import ENDPOINTS, PLACES
from triggers.http.requests import DEFAULT_LIMIT, MAX_LIMIT
from wiring import APP_VERSION

DESCRIPTION: dict[str, Any] = json.loads(page("docs/openapi.json"))
SCHEMAS: dict[str, Any] = DESCRIPTION["components"]["schemas"]
OPERATIONS: dict[str, tuple[str, str, dict[str, Any]]] = {
    operation["operationId"]: (method.upper(), path, operation)
    for path, methods in DESCRIPTION["paths"].items()
    for method, operation in methods.items()
    if method != "head"
}
# The host's own, before the app is asked.
HOSTS = "401"
TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}
# Requests that may leave fields out.
LOOSE = ("ReplayRequest", "DiscardRequest", "ReconcileRequest")
# What a job's fields take, and what they do not.
TAKEN: dict[str, list[Any]] = {
    "route": [ROUTE.name],
    "reason": [None, *(reason.value for reason in Reason)],
    "since": [None, "2026-11-24T19:02:44Z", "2026-11-24T19:02:44.120+01:00", "2026-11-24t19:02:44z"],
    "until": [None, "2026-11-24T19:02:44Z"],
    "dry_run": [None, True, False],
    "max_per_second": [None, 1, model.MAX_RATE],
}
REFUSED: dict[str, list[Any]] = {
    "route": ["", "a route", 5, ["default"]],
    "reason": ["tired", "", 1],
    "since": ["2026-11-24T19:02:44", "now", 1],
    "until": ["2026-11-24", ""],
    "dry_run": ["true", 1],
    "max_per_second": [0, model.MAX_RATE + 1, "5", True],
    "force": [True],
}
# They say something to a reader and nothing to a checker.
NOTES = {"description", "default", "format", "contentEncoding"}
INNER = ("items", "additionalProperties", "propertyNames")


def at(reference: str) -> Any:
    """What a `$ref` leads to. KeyError if that is nothing."""
    found: Any = DESCRIPTION
    assert reference.startswith("#/")
    for step in reference.removeprefix("#/").split("/"):
        found = found[step]
    return found


def resolved(value: dict[str, Any]) -> dict[str, Any]:
    """An object, or what it refers to."""
    return at(value["$ref"]) if "$ref" in value else value


def same(one: Any, other: Any) -> bool:
    """Equality as JSON has it: true is not 1."""
    return bool(one == other) and type(one) is type(other)


def wrong(schema: dict[str, Any], value: Any, where: str = "$") -> list[str]:
    """Everything that keeps a value from being valid. A keyword that is not known here is an error, not ignored."""
    found: list[str] = []
    for keyword, wanted in schema.items():
        found += [] if keyword in NOTES else KEYWORDS[keyword](schema, wanted, value, where)
    return found


Check: TypeAlias = Callable[[dict[str, Any], Any, Any, str], list[str]]


def _simple(kind: type, holds: Callable[[Any, Any], bool], name: str) -> Check:
    """A keyword that speaks of one kind of value alone."""

    def check(_schema: dict[str, Any], wanted: Any, value: Any, where: str) -> list[str]:
        speaks = isinstance(value, kind) and not (kind is int and isinstance(value, bool))
        return [f"{where}: {name} {wanted!r}, not {value!r}"] if speaks and not holds(wanted, value) else []

    return check


def _type(_schema: dict[str, Any], wanted: Any, value: Any, where: str) -> list[str]:
    kinds = [kind for name in ([wanted] if isinstance(wanted, str) else wanted) for kind in TYPES[name]]
    return [] if type(value) in kinds else [f"{where}: type {wanted}, not {value!r}"]


def _properties(_schema: dict[str, Any], wanted: Any, value: Any, where: str) -> list[str]:
    fields = value if isinstance(value, dict) else {}
    return [error for key in wanted if key in fields for error in wrong(wanted[key], fields[key], f"{where}.{key}")]


def _additional(schema: dict[str, Any], wanted: Any, value: Any, where: str) -> list[str]:
    fields = value if isinstance(value, dict) else {}
    more = [key for key in fields if key not in schema.get("properties", {})]
    if wanted is False:
        return [f"{where}: {key} is not known" for key in more]
    return [error for key in more for error in wrong(wanted, fields[key], f"{where}.{key}")]


def _names(_schema: dict[str, Any], wanted: Any, value: Any, where: str) -> list[str]:
    return [error for key in (value if isinstance(value, dict) else {}) for error in wrong(wanted, key, f"{where}.")]


def _items(_schema: dict[str, Any], wanted: Any, value: Any, where: str) -> list[str]:
    items = value if isinstance(value, list) else []
    return [error for number, item in enumerate(items) for error in wrong(wanted, item, f"{where}[{number}]")]


def _any(_schema: dict[str, Any], wanted: Any, value: Any, where: str) -> list[str]:
    ways = [wrong(way, value, where) for way in wanted]
    return [] if not all(ways) else [f"{where}: none of {ways}"]


def _all(_schema: dict[str, Any], wanted: Any, value: Any, where: str) -> list[str]:
    return [error for part in wanted for error in wrong(part, value, where)]


KEYWORDS: dict[str, Check] = {
    "$ref": lambda _schema, wanted, value, where: wrong(at(wanted), value, where),
    "type": _type,
    "const": _simple(object, same, "const"),
    "enum": _simple(object, lambda wanted, value: any(same(one, value) for one in wanted), "enum"),
    "required": _simple(dict, lambda wanted, value: set(wanted) <= set(value), "required"),
    "properties": _properties,
    "additionalProperties": _additional,
    "propertyNames": _names,
    "minProperties": _simple(dict, lambda wanted, value: len(value) >= wanted, "minProperties"),
    "maxProperties": _simple(dict, lambda wanted, value: len(value) <= wanted, "maxProperties"),
    "items": _items,
    "minItems": _simple(list, lambda wanted, value: len(value) >= wanted, "minItems"),
    "maxItems": _simple(list, lambda wanted, value: len(value) <= wanted, "maxItems"),
    "minimum": _simple(int, lambda wanted, value: value >= wanted, "minimum"),
    "maximum": _simple(int, lambda wanted, value: value <= wanted, "maximum"),
    "minLength": _simple(str, lambda wanted, value: len(value) >= wanted, "minLength"),
    "maxLength": _simple(str, lambda wanted, value: len(value) <= wanted, "maxLength"),
    # Every pattern of ours has both anchors; `fullmatch`, because Python's `$` lets a line break pass.
    "pattern": _simple(str, lambda wanted, value: bool(re.fullmatch(wanted, value)), "pattern"),
    "anyOf": _any,
    "allOf": _all,
}


def answer_of(operation: str, status: int) -> dict[str, Any]:
    """What the description says of an answer."""
    found: dict[str, Any] = resolved(OPERATIONS[operation][2]["responses"][str(status)])
    return found


def fits(operation: str, answer: Answer) -> list[str]:
    """What is wrong with an answer: its body, its type, its headers."""
    said = answer_of(operation, answer.status)
    found = wrong(said["content"][answer.mimetype]["schema"], answer.body)
    for name, reference in said.get("headers", {}).items():
        header = resolved(reference)
        text = answer.headers.get(name)
        if text is None:
            found += [f"{name} is missing"] if header["required"] else []
        else:
            found += wrong(header["schema"], int(text) if header["schema"]["type"] == "integer" else text, name)
    return found + [
        f"{name} is not told"
        for name in ("Location", "Retry-After")
        if name in answer.headers and name not in said.get("headers", {})
    ]


def headed(get: dict[str, Any]) -> dict[str, Any]:
    """The HEAD of a GET: all of it but its bodies."""
    responses = {
        status: {key: part for key, part in resolved(response).items() if key != "content"}
        for status, response in get["responses"].items()
    }
    own = {"operationId": f"{get['operationId']}_head", "summary": "Status and headers of GET"}
    return {key: value for key, value in get.items() if key != "description"} | own | {"responses": responses}


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in a JSON value."""
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from objects(item)


class TestDescription:
    """What is written is what the code has."""

    def test_the_calls_are_the_endpoints(self) -> None:
        """Method, path, name and key; none is missing, none too many."""
        key: list[dict[str, list[str]]] = [{"key": []}]
        keys = {func.AuthLevel.FUNCTION: key, func.AuthLevel.ANONYMOUS: []}
        told = {name: (method, path, operation["security"]) for name, (method, path, operation) in OPERATIONS.items()}
        assert told == {call.name: (call.method, f"/api/{call.route}", keys[call.level]) for call in ENDPOINTS}
        assert len(OPERATIONS) == len(ENDPOINTS)

    def test_every_get_answers_head_with_the_same_headers_and_no_body(self) -> None:
        """Described beside it, and by nothing of its own."""
        told = {path: methods["head"] for path, methods in DESCRIPTION["paths"].items() if "head" in methods}
        gets = {path: methods["get"] for path, methods in DESCRIPTION["paths"].items() if "get" in methods}
        assert set(told) == {f"/api/{call.route}" for call in ENDPOINTS if "HEAD" in call.methods}
        assert told == {path: headed(get) for path, get in gets.items()}

    def test_the_key_goes_into_the_header(self) -> None:
        """As the README says."""
        assert list(DESCRIPTION["components"]["securitySchemes"]) == ["key"]
        key = DESCRIPTION["components"]["securitySchemes"]["key"]
        assert (key["type"], key["in"], key["name"]) == ("apiKey", "header", "x-functions-key")

    def test_the_version_is_the_apps(self) -> None:
        """A release changes both."""
        assert DESCRIPTION["info"]["version"] == APP_VERSION

    def test_the_words_are_the_codes(self) -> None:
        """States, reasons, engines, and the words of jobs, in order."""
        words = {name: schema["enum"] for name, schema in SCHEMAS.items() if "enum" in schema}
        for kind in (State, Reason, Engine, JobState, Phase, Finding, Result):
            assert words.pop(kind.__name__) == list(kind)
        final = [state for state in State if state in FINAL]
        resolved_as = [*(state for state in final if state is not State.DEAD_LETTERED), "accepted", letters.DISCARDED]
        assert words == {"FinalState": final, "ResolvedAs": resolved_as}

    def test_the_limits_are_the_codes(self) -> None:
        """Of pages, of names, of a record."""
        parameters = DESCRIPTION["components"]["parameters"]
        limit = parameters["limit"]["schema"]
        assert (limit["minimum"], limit["maximum"], limit["default"]) == (1, MAX_LIMIT, DEFAULT_LIMIT)
        for kind in ("TransferPage", "DeadLetterPage", "ReplayPage", "DiscardPage", "ReconcilePage"):
            assert SCHEMAS[kind]["properties"]["items"]["maxItems"] == MAX_LIMIT
        assert parameters["name"]["schema"]["maxLength"] == MAX_UNITS
        assert f"up to {LETTER_PAGES} pages" in parameters["letterName"]["description"]
        assert f"up to {LETTER_PAGES} pages" in parameters["reason"]["description"]
        searched = f"the first {SEARCH_PAGES * SEARCH_PAGE:,} transfers"
        assert searched in OPERATIONS["list_transfers"][2]["description"]
        assert SCHEMAS["ShareRequest"]["properties"]["name"]["maxLength"] == MAX_UNITS
        letter = SCHEMAS["DeadLetter"]["properties"]
        assert letter["schema"]["const"] == letters.SCHEMA
        assert letter["attempts"]["maxProperties"] == letters.MAX_ATTEMPTS
        assert letter["detail"]["maxLength"] == letters.MAX_DETAIL
        assert SCHEMAS["Attempt"]["properties"]["detail"]["maxLength"] == letters.MAX_DETAIL

    def test_the_limits_of_jobs_are_the_codes(self) -> None:
        """Of a body, of the rate, of a page of a report."""
        bodies = [operation["requestBody"] for _, _, operation in OPERATIONS.values() if "requestBody" in operation]
        assert bodies
        assert all(f"at most {MAX_BODY // 1024} KiB" in found["description"] for found in bodies)
        for work in ("Replay", "Discard", "Reconcile"):
            asked = SCHEMAS[f"{work}Request"]["properties"]["max_per_second"]
            rate = SCHEMAS[work]["properties"]["max_per_second"]
            assert (rate["minimum"], rate["maximum"], asked["default"]) == (1, model.MAX_RATE, model.DEFAULT_RATE)
            assert SCHEMAS[work]["properties"]["detail"]["maxLength"] == model.MAX_DETAIL
            lines = SCHEMAS[f"{work}ReportPage"]["properties"]["items"]
            assert lines["maxItems"] == max(report.PAGE, model.MAX_RATE * lifecycle.BATCH_SECONDS)

    def test_the_fields_of_a_job_are_the_codes(self) -> None:
        """What is shown of each kind, and what is counted, in order."""
        for work in JobKind:
            job = Job(unknown(work), work, NOW, route=ROUTE.name)
            shown = status.view(job, {})
            assert list(SCHEMAS[work.capitalize()]["properties"]) == list(shown)
            assert list(SCHEMAS[f"{work.capitalize()}Counts"]["properties"]) == [str(name) for name in COUNTS[work]]

    def test_the_patterns_are_the_codes(self) -> None:
        """Of ids and of routes."""
        assert SCHEMAS["TransferId"]["pattern"] == f"^{TRANSFER_ID_PATTERN.pattern}$"
        for work in JobKind:
            pattern = JOB_ID_PATTERN.pattern.replace(JOB_PREFIX.pattern, f"{work}-")
            assert SCHEMAS[f"{work.capitalize()}Id"]["pattern"] == f"^{pattern}$"
        assert SCHEMAS["RouteName"]["pattern"] == f"^{ROUTE_NAME.pattern}$"
        assert SCHEMAS["LetterId"]["pattern"] == f"^(?:{TRANSFER_ID_PATTERN.pattern}|{MESSAGE_ID_PATTERN.pattern})$"

    def test_the_problems_are_the_codes(self) -> None:
        """Status and title of each kind."""
        kinds = [problems.Problem, problems.Invalid, problems.NotFound, problems.Conflict, problems.Unavailable]
        told = {
            (schema["properties"]["status"]["const"], schema["properties"]["title"]["const"])
            for schema in SCHEMAS.values()
            if "fix" in schema.get("properties", {}) and "status" in schema["properties"]
        }
        assert told == {(kind.status, kind.title) for kind in kinds}

    def test_every_reference_resolves_and_every_part_is_used(self) -> None:
        """Nothing dangles, at either end."""
        references = {found["$ref"] for found in objects(DESCRIPTION) if "$ref" in found}
        assert all(isinstance(at(reference), dict) for reference in references)
        parts = {
            f"#/components/{kind}/{name}"
            for kind, named in DESCRIPTION["components"].items()
            if kind != "securitySchemes"
            for name in named
        }
        assert parts == references

    def test_every_schema_is_strict(self) -> None:
        """An object has no other field, and an answer's are all required; a pattern has both anchors; a keyword is known."""
        loose = [SCHEMAS[name] for name in LOOSE]
        for schema in schemas():
            assert set(schema) <= set(KEYWORDS) | NOTES
            if "pattern" in schema:
                assert re.fullmatch(r"\^.*\$", schema["pattern"])
            if schema.get("type") != "object":
                continue
            assert "additionalProperties" in schema
            assert schema["additionalProperties"] is not True
            assert schema in loose or schema.get("required", []) == list(schema.get("properties", {}))

    def test_every_example_fits_its_schema(self) -> None:
        """They are from real answers."""
        shown = [found for found in objects(DESCRIPTION) if "example" in found]
        assert shown
        assert [error for found in shown for error in wrong(found["schema"], found["example"])] == []

    @pytest.mark.parametrize("name", OPERATIONS)
    async def test_the_parameters_are_the_codes(self, name: str) -> None:
        """The code says itself which it knows, where one is unknown; health looks at none."""
        _, path, operation = OPERATIONS[name]
        told = [resolved(parameter) for parameter in operation.get("parameters", [])]
        assert [one["name"] for one in told if one["in"] == "path"] == re.findall(r"\{(\w+)\}", path)
        assert all(one["required"] == (one["in"] == "path") for one in told)
        answer = await Api(World()).call(name, UNKNOWN, **{"no-such": "1"})
        if name == "health":
            assert (answer.status, told) == (200, [])
            return
        known = re.fullmatch(r"(?:Use only: (.*)|This call accepts no query parameters)\.", answer.body["fix"])
        assert known
        assert [one["name"] for one in told if one["in"] == "query"] == (known[1].split(", ") if known[1] else [])


def schemas() -> Iterator[dict[str, Any]]:
    """Every schema, however deep."""
    waiting: list[dict[str, Any]] = [*SCHEMAS.values()]
    waiting += [found["schema"] for found in objects({**DESCRIPTION, "components": {}}) if "schema" in found]
    for kind in ("parameters", "headers", "responses"):
        waiting += [found["schema"] for found in objects(DESCRIPTION["components"][kind]) if "schema" in found]
    while waiting:
        schema = waiting.pop()
        yield schema
        waiting += schema.get("properties", {}).values()
        waiting += [schema[key] for key in INNER if isinstance(schema.get(key), dict)]
        # What has no type of its own is no kind of value but a condition on one.
        waiting += [part for part in [*schema.get("anyOf", []), *schema.get("allOf", [])] if "type" in part]


def path_id(operation: str) -> str | None:
    """An id that nothing has, where the path takes one."""
    path = OPERATIONS[operation][1]
    if "{id}" not in path:
        return None
    return next((unknown(work) for work in JobKind if path.startswith(f"/api/{PLACES[work]}/")), UNKNOWN)


def sharing(name: str = NAME) -> bytes:
    """The body of `share_now`."""
    return body({"route": ROUTE.name, "name": name})


def sent(operation: str) -> bytes:
    """A good body, where the operation takes one."""
    return body(ASKED[operation]) if operation in ASKED else sharing()


def failing(operation: str, status: int) -> Scenario:
    """Nothing that is asked is answered."""

    async def play(world: World, api: Api) -> Answer:
        broken = RuntimeError("unforeseen")
        world.troubles.append(lambda asked, _: broken if status == 500 else error_for_answer(asked, 503, "ServerBusy"))
        return await api.call(operation, path_id(operation), sent(operation))

    return play


def asked_wrongly(operation: str) -> Scenario:
    """A parameter that no call has."""
    return lambda _world, api: api.call(operation, path_id(operation), sent(operation), verbose="1")


def asked_in_vain(operation: str) -> Scenario:
    """What is not there."""
    return lambda _world, api: api.call(operation, path_id(operation), sent(operation))


for each in OPERATIONS:
    SCENARIOS += [(each, 500, failing(each, 500)), (each, 503, failing(each, 503))]
    if each != "health":
        SCENARIOS.append((each, 400, asked_wrongly(each)))
    if path_id(each) is not None or each == "share_now":
        SCENARIOS.append((each, 404, asked_in_vain(each)))


@scenario("list_transfers", 200)
async def everything_on_one_page(world: World, api: Api) -> Answer:
    """Transfers in every condition."""
    populate(world)
    answer = await api.call("list_transfers")
    assert {item["state"] for item in answer.body["items"]} == set(State)
    assert answer.body["continuation"] is None
    return answer


@scenario("list_transfers", 200)
async def the_first_page(world: World, api: Api) -> Answer:
    """There is more."""
    populate(world)
    answer = await api.call("list_transfers", limit="2")
    assert answer.body["continuation"]
    return answer


@scenario("list_transfers", 200)
async def nothing_to_list(_world: World, api: Api) -> Answer:
    """An empty page."""
    return await api.call("list_transfers")


@scenario("list_transfers", 200)
async def by_its_name(world: World, api: Api) -> Answer:
    """The transfer of the blob's current version."""
    world.stands(world.put(), "Running")
    return await api.call("list_transfers", route=ROUTE.name, name=NAME)


@scenario("list_transfers", 404)
async def no_blob_of_that_name(_world: World, api: Api) -> Answer:
    """With `name` alone a list may not be found."""
    return await api.call("list_transfers", route=ROUTE.name, name=NAME)


@scenario("get_transfer", 200)
async def a_running_one(world: World, api: Api) -> Answer:
    """As it is."""
    transfer = world.put()
    world.stands(transfer, "Running", Run(transfer, NOW, state=State.COPYING, engine=Engine.ASYNC, size=10, copied=3))
    return await api.call("get_transfer", transfer.id)


@scenario("get_transfer", 200)
async def one_that_broke(world: World, api: Api) -> Answer:
    """Under way, with what happened and when it goes on."""
    transfer = world.put()
    run = Run(transfer, NOW, state=State.COPYING, engine=Engine.ASYNC, size=10, copied=3, resumes=1)
    world.stands(transfer, "Failed", run, "the worker exited")
    answer = await api.call("get_transfer", transfer.id)
    assert (answer.body["state"], answer.body["ending"], answer.body["resumes"]) == ("copying", None, 1)
    assert answer.body["next_check_at"]
    return answer


@scenario("share_now", 202)
async def shared(world: World, api: Api) -> Answer:
    """Started."""
    world.put()
    return await api.call("share_now", None, sharing())


@scenario("share_now", 400)
async def no_body(_world: World, api: Api) -> Answer:
    """Not what is needed."""
    return await api.call("share_now")


@scenario("share_now", 409)
async def shared_while_it_is_cancelled(world: World, api: Api) -> Answer:
    """Only the next attempt can share it."""
    transfer = world.put()
    world.stands(transfer, "Running", Run(transfer, NOW, cancelling=True))
    return await api.call("share_now", None, sharing())


@scenario("cancel_transfer", 202)
async def cancelled(world: World, api: Api) -> Answer:
    """It was noticed."""
    transfer = world.put()
    world.stands(transfer, "Running", Run(transfer, NOW, cancelling=True))
    return await api.call("cancel_transfer", transfer.id)


@scenario("cancel_transfer", 409)
async def cancelled_after_its_end(world: World, api: Api) -> Answer:
    """Too late."""
    return await api.call("cancel_transfer", (await dead(world)).id)


@scenario("cancel_transfer", 409)
async def cancelled_while_it_ends_otherwise(world: World, api: Api) -> Answer:
    """Too late, and not over."""
    transfer = world.put()
    world.stands(transfer, "Running", Run(transfer, NOW, ending=Ending(State.SUPERSEDED)))
    answer = await api.call("cancel_transfer", transfer.id)
    assert answer.headers["Retry-After"]
    return answer


@scenario("cancel_transfer", 503)
async def cancelled_and_not_noticed(world: World, api: Api) -> Answer:
    """Not yet."""
    transfer = world.put()
    world.stands(transfer, "Running")
    return await api.call("cancel_transfer", transfer.id)


@scenario("list_dead_letters", 200)
async def letters_of_both_kinds(world: World, api: Api) -> Answer:
    """A transfer's, a message's, an unreadable one's; and one whose metadata was lost, as the list shows it."""
    await dead(world)
    await refuse(world.ports, b"hello", RejectedEvent(Reason.MALFORMED, "no JSON"))
    await unreadable(world)
    answer = await api.call("list_dead_letters")
    assert len(answer.body["items"]) == 3
    assert wrong(SCHEMAS["ListedDeadLetter"], records.listed(UNKNOWN, {})) == []
    return answer


@scenario("list_dead_letters", 200)
async def the_first_page_of_letters(world: World, api: Api) -> Answer:
    """There is more."""
    await dead(world)
    await dead(world, "in/other")
    answer = await api.call("list_dead_letters", limit="1")
    assert answer.body["continuation"]
    return answer


@scenario("get_dead_letter", 200)
async def a_transfers_letter(world: World, api: Api) -> Answer:
    """Open."""
    return await api.call("get_dead_letter", (await dead(world)).id)


@scenario("get_dead_letter", 200)
async def a_letter_of_two_attempts(world: World, api: Api) -> Answer:
    """Replayed once."""
    transfer = await dead(world)
    await world.dead_letters.write(
        letters.of_run(Run(transfer, NOW, attempt=1, size=10, copy_attempts=8), NOW, "0.1.0")
    )
    answer = await api.call("get_dead_letter", transfer.id)
    assert answer.body["replays"] == 1
    return answer


@scenario("get_dead_letter", 200)
async def a_messages_letter(world: World, api: Api) -> Answer:
    """It has no transfer."""
    return await api.call("get_dead_letter", await message(world, b"hello"))


@scenario("get_dead_letter", 200)
async def the_letter_of_a_transfer_that_cannot_be_read(world: World, api: Api) -> Answer:
    """It has neither."""
    answer = await api.call("get_dead_letter", await unreadable(world))
    assert (answer.body["transfer"], answer.body["message"]) == (None, None)
    return answer


@scenario("get_dead_letter", 200)
async def a_resolved_letter(world: World, api: Api) -> Answer:
    """Kept for audit."""
    return await api.call("get_dead_letter", (await resolved_letter(world)).id)


@scenario("replay_dead_letter", 202)
async def replayed(world: World, api: Api) -> Answer:
    """Its transfer again."""
    return await api.call("replay_dead_letter", (await dead(world)).id)


@scenario("replay_dead_letter", 202)
async def a_message_that_is_accepted_now(world: World, api: Api) -> Answer:
    """Today's routes take it; then it is resolved."""
    identity = await message(world, body(event()))
    answer = await api.call("replay_dead_letter", identity)
    after = await api.call("get_dead_letter", identity)
    assert after.body["resolved_as"] == "accepted"
    assert fits("get_dead_letter", after) == []
    return answer


@scenario("replay_dead_letter", 409)
async def replayed_while_it_runs(world: World, api: Api) -> Answer:
    """Wait."""
    transfer = await dead(world)
    await api.call("replay_dead_letter", transfer.id)
    answer = await api.call("replay_dead_letter", transfer.id)
    assert answer.headers["Retry-After"]
    return answer


@scenario("replay_dead_letter", 409)
async def replayed_after_it_was_resolved(world: World, api: Api) -> Answer:
    """Nothing to do."""
    return await api.call("replay_dead_letter", (await resolved_letter(world)).id)


@scenario("replay_dead_letter", 409)
async def replayed_without_its_route(world: World, api: Api) -> Answer:
    """Routes come and go."""
    transfer = await dead(world)
    world.ports = replace(world.ports, routes=())
    return await api.call("replay_dead_letter", transfer.id)


@scenario("replay_dead_letter", 409)
async def replayed_though_it_cannot_be_read(world: World, api: Api) -> Answer:
    """What it carried is not known."""
    return await api.call("replay_dead_letter", await unreadable(world))


@scenario("replay_dead_letter", 409)
async def a_message_that_is_refused_as_before(world: World, api: Api) -> Answer:
    """With the reason."""
    return await api.call("replay_dead_letter", await message(world, b"hello"))


@scenario("replay_dead_letter", 409)
async def a_message_that_would_be_ignored(world: World, api: Api) -> Answer:
    """No route carries it."""
    identity = await message(world, body(event()))
    world.ports = replace(world.ports, routes=())
    return await api.call("replay_dead_letter", identity)


@scenario("discard_dead_letter", 200)
async def discarded(world: World, api: Api) -> Answer:
    """Kept as resolved; its transfer shows it."""
    transfer = await dead(world)
    answer = await api.call("discard_dead_letter", transfer.id)
    assert answer.body["resolved_as"] == "discarded"
    assert answer.body == (await api.call("get_dead_letter", transfer.id)).body
    shown = await api.call("get_transfer", transfer.id)
    assert (shown.body["state"], shown.body["letter"]["resolved_as"]) == ("dead_lettered", "discarded")
    assert fits("get_transfer", shown) == []
    return answer


@scenario("discard_dead_letter", 200)
async def a_message_that_is_discarded(world: World, api: Api) -> Answer:
    """It has no transfer."""
    return await api.call("discard_dead_letter", await message(world, b"hello"))


@scenario("discard_dead_letter", 409)
async def discarded_while_it_is_replayed(world: World, api: Api) -> Answer:
    """Wait."""
    transfer = await dead(world)
    await api.call("replay_dead_letter", transfer.id)
    answer = await api.call("discard_dead_letter", transfer.id)
    assert answer.headers["Retry-After"]
    return answer


@scenario("discard_dead_letter", 409)
async def discarded_twice(world: World, api: Api) -> Answer:
    """It says how it was resolved."""
    transfer = await dead(world)
    await api.call("discard_dead_letter", transfer.id)
    answer = await api.call("discard_dead_letter", transfer.id)
    assert answer.body["resolved_as"] == "discarded"
    return answer


@scenario("discard_dead_letter", 409)
async def discarded_after_it_was_lost(world: World, api: Api) -> Answer:
    """Nothing was discarded."""
    transfer = await dead(world)
    world.when(INSTANCES_FIND, world.dead_letters.open.clear)
    return await api.call("discard_dead_letter", transfer.id)


@scenario("replay_dead_letter", 409)
async def replayed_after_it_was_discarded(world: World, api: Api) -> Answer:
    """It says what can be done."""
    transfer = await dead(world)
    await api.call("discard_dead_letter", transfer.id)
    answer = await api.call("replay_dead_letter", transfer.id)
    assert "POST /api/transfers" in answer.body["fix"]
    return answer


@scenario("list_dead_letters", 200)
async def letters_of_one_blob(world: World, api: Api) -> Answer:
    """By its name."""
    transfer = await dead(world)
    await dead(world, "in/other")
    answer = await api.call("list_dead_letters", name=NAME)
    assert [item["id"] for item in answer.body["items"]] == [transfer.id]
    return answer


@scenario("list_transfers", 200)
async def by_the_name_of_a_blob_that_is_gone(world: World, api: Api) -> Answer:
    """The target names its transfer."""
    transfer = world.put()
    world.land(transfer)
    world.stands(transfer, "Completed", output={"state": "verified", "copied": 10, "total": 10})
    del world.storage.blobs[transfer.source_blob]
    return await api.call("list_transfers", route=ROUTE.name, name=NAME)


@scenario("list_transfers", 404)
async def a_blob_whose_event_was_not_taken(world: World, api: Api) -> Answer:
    """The fix says so."""
    world.put()
    return await api.call("list_transfers", route=ROUTE.name, name=NAME)


@scenario("health", 200)
async def well(_world: World, api: Api) -> Answer:
    """Everything works."""
    return await api.call("health")


async def message(world: World, sent: bytes) -> str:
    """The letter of a message."""
    return await refuse(world.ports, sent, RejectedEvent(Reason.MALFORMED, "no JSON"))


async def unreadable(world: World) -> str:
    """The letter of a transfer whose input cannot be read."""
    await world.dead_letters.write(letters.of_unreadable(UNKNOWN, "the orchestration was Failed: x", NOW, "0.1.0"))
    return UNKNOWN


async def resolved_letter(world: World) -> Transfer:
    """A transfer whose letter is resolved."""
    transfer = await dead(world)
    await world.dead_letters.resolve(transfer.id, 0, "verified", NOW)
    return transfer


def populate(world: World) -> None:
    """Transfers in every condition: by state, ending, broken, not yet begun, and not to be read."""
    newer = Ending(State.SUPERSEDED, successor=Successor(NEWER))
    deleted = Ending(State.SUPERSEDED, successor=Successor(None))
    gave_up = Ending(State.DEAD_LETTERED, reason=Reason.THROTTLED, detail="503")
    conditions: list[tuple[str, dict[str, Any]]] = [
        ("Running", {}),
        ("Running", {"reason": Reason.THROTTLED, "detail": "503", "tries": 1}),
        ("Running", {"state": State.COPYING, "engine": Engine.ASYNC, "size": 10, "copied": 3, "ending": gave_up}),
        ("Completed", {"state": State.VERIFIED, "engine": Engine.SYNC, "size": 10}),
        ("Completed", {"state": State.SUPERSEDED, "ending": newer}),
        ("Completed", {"state": State.SUPERSEDED, "ending": deleted}),
        ("Completed", {"state": State.DEAD_LETTERED, "ending": gave_up}),
        ("Completed", {"state": State.CANCELLED, "cancelling": True}),
        ("Failed", {"state": State.COPYING}),
        ("Failed", {"state": State.COPYING, "ending": gave_up}),
        ("Failed", {"cancelling": True}),
        ("Terminated", {"state": State.COPYING, "resumes": 2}),
    ]
    for number, (runtime, fields) in enumerate(conditions):
        transfer = world.put(f"in/{number}")
        run = Run(transfer, NOW, **fields)
        world.stands(transfer, runtime, run, progress(run) if runtime == "Completed" else None)
    begun = world.put("in/begun")
    world.instances.kept[begun.id] = Instance(begun.id, "Pending", Run(begun, NOW), {}, None, NOW)
    for identity, runtime in ((UNKNOWN, "Running"), (UNKNOWN.replace("0", "1"), "Failed")):
        world.instances.kept[identity] = Instance(identity, runtime, None, {}, None, NOW)


class TestAnswers:
    """What the functions answer, on the twins."""

    @pytest.mark.parametrize(
        ("operation", "status", "play"), SCENARIOS, ids=lambda value: getattr(value, "__name__", str(value))
    )
    async def test_an_answer_fits_its_schema(
        self, operation: str, status: int, play: Scenario, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Status, type, headers and body."""
        monkeypatch.setattr("operations.transfers.cancel.PAUSES", (0, 0))
        world = World()
        answer = await play(world, Api(world))
        assert answer.status == status
        assert fits(operation, answer) == []

    def test_every_answer_that_is_told_was_seen(self) -> None:
        """No code is described that no call answers; but for the host's own."""
        seen = {(operation, str(status)) for operation, status, _ in SCENARIOS}
        told = {(name, code) for name, (_, _, operation) in OPERATIONS.items() for code in operation["responses"]}
        assert told - seen == {(call.name, HOSTS) for call in ENDPOINTS if call.level is func.AuthLevel.FUNCTION}
        assert seen <= told

    @quick
    @given(run=runs(), status=st.sampled_from(["Running", "Completed", "Failed", "Terminated"]), readable=st.booleans())
    def test_a_transfer_in_any_condition_fits(self, run: Run, status: str, *, readable: bool) -> None:
        """Whatever was drawn, but what cannot be: an ending that is no end, verified without a size."""
        if run.ending is not None and run.ending.state not in FINAL:
            run = replace(run, ending=replace(run.ending, state=State.CANCELLED))
        if run.state is State.VERIFIED:
            run = replace(run, size=run.size or 0)
        given = run if readable else None
        shown = view(Instance(run.transfer.id, status, given, progress(run, NOW), "the worker exited", NOW))
        assert wrong(SCHEMAS["Transfer"], json.loads(json.dumps(shown))) == []

    async def test_a_body_that_fits_is_taken_and_one_that_does_not_is_refused(self) -> None:
        """The schema of the request says what the code says."""
        schema = SCHEMAS["ShareRequest"]
        good: dict[str, Any] = {"route": ROUTE.name, "name": NAME}
        bad: list[Any] = [None, [], {}, {"route": "default"}, {**good, "name": ""}, {**good, "route": 5}]
        bad += [{**good, "force": True}, {**good, "name": "in/" + "x" * MAX_UNITS}]
        for sent in [good, *bad]:
            world = World()
            world.put()
            answer = await Api(world).call("share_now", None, body(sent))
            assert (answer.status == 202) == (wrong(schema, sent) == []) == (sent is good)

    @pytest.mark.parametrize(
        ("operation", "name", "more"),
        [
            ("start_replay", "ReplayRequest", []),
            ("start_discard", "DiscardRequest", []),
            ("start_reconcile", "ReconcileRequest", [{}, {"route": None}, {"route": "default", "reason": "throttled"}]),
        ],
    )
    async def test_a_job_that_fits_is_taken_and_one_that_does_not_is_refused(
        self, operation: str, name: str, more: list[Any]
    ) -> None:
        """For each field the values at its edges, and those beyond; and `more` that this kind does not take."""
        least = ASKED[operation]
        good = [{**least, key: value} for key in SCHEMAS[name]["properties"] for value in TAKEN[key]]
        bad = [{**least, key: value} for key, values in REFUSED.items() for value in values]
        for fine, sent in [(True, sent) for sent in good] + [(False, sent) for sent in [None, [], "all", *bad, *more]]:
            answer = await Api(World()).call(operation, None, body(sent))
            assert (answer.status == 202) == (wrong(SCHEMAS[name], sent) == []) == fine, sent


class TestChecker:
    """A checker that accepts everything would prove nothing."""

    @pytest.mark.parametrize("name", ["Transfer", "DeadLetter", "Health", "Accepted", "NotFound", "Replay", "Discard"])
    async def test_a_field_too_few_too_many_or_of_another_type_is_told(self, name: str) -> None:
        """For each field of each kind."""
        world = World()
        api = Api(world)
        transfer = await dead(world)
        answers = {
            "Transfer": await api.call("get_transfer", transfer.id),
            "DeadLetter": await api.call("get_dead_letter", transfer.id),
            "Health": await api.call("health"),
            "Accepted": await api.call("replay_dead_letter", transfer.id),
            "NotFound": await api.call("get_transfer", UNKNOWN),
            "Replay": await api.call("get_replay", await asked(world, api, "start_replay")),
            "Discard": await api.call("get_discard", await asked(world, api, "start_discard")),
        }
        good = answers[name].body
        assert wrong(SCHEMAS[name], good) == []
        assert wrong(SCHEMAS[name], {**good, "more": None})
        for key in good:
            assert wrong(SCHEMAS[name], {other: good[other] for other in good if other != key}), key
            assert wrong(SCHEMAS[name], {**good, key: 0.5}), key

    @pytest.mark.parametrize(
        ("schema", "value"),
        [
            ({"type": "integer"}, True),
            ({"const": 1}, True),
            ({"enum": ["a"]}, "b"),
            ({"minimum": 1}, 0),
            ({"maximum": 1}, 2),
            ({"minLength": 1}, ""),
            ({"maxLength": 1}, "ab"),
            ({"pattern": "^a$"}, "a\n"),
            ({"items": {"type": "string"}}, ["a", 1]),
            ({"minItems": 1}, []),
            ({"maxItems": 0}, [1]),
            ({"minProperties": 1}, {}),
            ({"maxProperties": 0}, {"a": 1}),
            ({"propertyNames": {"pattern": "^a$"}}, {"b": 1}),
            ({"additionalProperties": {"type": "string"}}, {"a": 1}),
            ({"anyOf": [{"type": "string"}, {"type": "null"}]}, 1),
            ({"allOf": [{"type": "string"}, {"const": "a"}]}, "b"),
            ({"$ref": "#/components/schemas/State"}, "sleeping"),
        ],
    )
    def test_each_keyword_refuses_something(self, schema: dict[str, Any], value: Any) -> None:
        """One value each."""
        assert wrong(schema, value)

    def test_an_unknown_keyword_is_an_error(self) -> None:
        """So that no schema says what nobody checks."""
        with pytest.raises(KeyError):
            wrong({"minimun": 1}, 0)
