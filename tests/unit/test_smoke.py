"""The pure parts of `make smoke`: values, routes, what an end comes to, and the rows that it claims to settle."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError, ServiceRequestError

from smoke import app, findings, places, spans, steps, trouble, values
from smoke.arm import Arm
from smoke.findings import End, Finding, Result
from smoke.places import Blob, Route
from smoke.rows import rows
from smoke.steps import TOO_LONG, Smoke
from smoke.storage import Storage
from smoke.trouble import Trouble
from tests.docs import pages

ROUTES = json.dumps(
    [
        {
            "name": "default",
            "source": "https://a.blob.core.windows.net/source/",
            "target": "https://b.blob.core.windows.net/target/",
        },
        {
            "name": "csv",
            "source": "https://a.blob.core.windows.net/source/in%20here/",
            "target": "https://b.blob.core.windows.net/copies/of/",
            "suffix": ".csv",
            "engine": "sync",
        },
        {
            "name": "on",
            "source": "https://b.blob.core.windows.net/copies",
            "target": "https://c.blob.core.windows.net/end/",
        },
    ]
)
TOLD = {
    "AZURE_SUBSCRIPTION_ID": "0",
    "RESOURCE_GROUP": "rg",
    "FUNCTION_APP": "func",
    "API_URL": "https://func.azurewebsites.net",
    "ROUTES": ROUTES,
}


def test_values_are_read_as_azd_writes_them() -> None:
    """The ARM id of the app, its address, the routes; prefixes are decoded."""
    known = values.of_json(json.dumps(TOLD), "azd")
    assert known.function == "/subscriptions/0/resourceGroups/rg/providers/Microsoft.Web/sites/func"
    assert known.api == "https://func.azurewebsites.net"
    assert known.workspace == ""
    logged = values.of_json(json.dumps({**TOLD, "WORKSPACE": "log-1"}), "azd").workspace
    assert logged == "/subscriptions/0/resourceGroups/rg/providers/Microsoft.OperationalInsights/workspaces/log-1"
    assert [route.name for route in known.routes] == ["default", "csv", "on"]
    assert known.routes[1].source == Blob("https://a.blob.core.windows.net", "source", "in here/")


@pytest.mark.parametrize("missing", values.NEEDED)
def test_a_value_that_is_missing_is_named_with_its_fix(missing: str) -> None:
    """Empty is missing, too."""
    with pytest.raises(Trouble, match=f"lacks {missing}. Fix: azd provision"):
        values.of_json(json.dumps({**TOLD, missing: ""}), "azd")


def test_the_values_are_those_that_the_deployment_writes_and_reads() -> None:
    """Outputs of main.bicep, and variables of its parameters file, by their names."""
    outputs = set(re.findall(r"^output (\w+) ", (pages.ROOT / "infra/main.bicep").read_text(), re.MULTILINE))
    assert {*values.NEEDED, "APP_SUBNET", "WORKSPACE", "AZURE_TENANT_ID"} - {"AZURE_SUBSCRIPTION_ID"} <= outputs
    read = set(re.findall(r"readEnvironmentVariable\(\s*'(\w+)'", (pages.ROOT / "infra/main.bicepparam").read_text()))
    told = {"AZURE_LOCATION", "PRIVATE_ENDPOINTS", "SHARING_ROUTES", "DURABLE_BACKEND", "CLIENT_IP", "TESTER_ACCESS"}
    assert told <= read


@pytest.mark.parametrize("text", ["", "[]", 'API_URL="https://x"', json.dumps({**TOLD, "ROUTES": "[{}]"})])
def test_what_is_no_output_of_azd_is_told(text: str) -> None:
    """With the command that writes one."""
    with pytest.raises(Trouble, match="Fix: azd"):
        values.of_json(text, "the file")


@pytest.mark.parametrize(
    "url", ["http://func.azurewebsites.net", "ftp://x", "func.azurewebsites.net", "http://127.0.0.1.example.com"]
)
def test_no_key_is_sent_where_others_can_read_it(url: str) -> None:
    """By TLS, or to this machine, or not at all."""
    with pytest.raises(Trouble, match="keys are sent only over https"):
        values.of_json(json.dumps({**TOLD, "API_URL": url}), "azd")
    assert places.safe("http://127.0.0.1:7071/", "x") == "http://127.0.0.1:7071"


def test_azd_that_is_not_there_or_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it said last, and what to do."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Trouble, match=r"azd is not on PATH\. Fix: "):
        values.of_azd()
    (tmp_path / "azd").write_text("#!/bin/sh\necho 'ERROR: no environment exists' >&2\nexit 1\n")
    (tmp_path / "azd").chmod(0o755)
    with pytest.raises(Trouble, match=r"env get-values failed: ERROR: no environment exists\. Fix: azd up"):
        values.of_azd()


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """By its name."""
    with pytest.raises(Trouble, match=r"values\.json cannot be read"):
        values.of_file(tmp_path / "values.json")


@pytest.mark.parametrize(
    ("name", "reached"),
    [
        ("x", [("default", "target", "x")]),
        (
            "in here/x.csv",
            [("default", "target", "in here/x.csv"), ("csv", "copies", "of/x.csv"), ("on", "end", "of/x.csv")],
        ),
        ("in here/x.txt", [("default", "target", "in here/x.txt")]),
    ],
)
def test_whatever_a_canary_reaches_is_known(name: str, reached: list[tuple[str, str, str]]) -> None:
    """Along every route that carries it, and on from there: all of it has to be taken away."""
    routes = places.read(ROUTES)
    blob = Blob("https://a.blob.core.windows.net", "source", name)
    assert [(route.name, there.container, there.name) for route, there in places.journey(routes, blob)] == reached


def route(engine: str) -> Route:
    """A route of that engine."""
    end = Blob("https://a.blob.core.windows.net", "c", "")
    return Route("r", end, end, "", engine)


def ended(state: str, engine: str | None = None, detail: str = "", *, equal: bool = True) -> End:
    """How a transfer ended, as the API tells it."""
    return End(
        {
            "state": state,
            "engine": engine,
            "reason": "source_unreadable" if detail else None,
            "detail": detail,
            "tries": 3 if detail else 0,
            "accepted_at": "2026-11-27T00:00:00.000Z",
            "updated_at": "2026-11-27T00:00:01.500Z",
        },
        equal,
    )


UNREADABLE = (
    "the target's service cannot read the source with async, sync; the last: target.copy: 403 CannotVerifyCopySource"
)


@pytest.mark.parametrize(
    ("engine", "small", "result", "works"),
    [
        ("async", ended("verified", "async"), Result.UNUSED, True),
        ("auto", ended("verified", "sync"), Result.LET_THROUGH, True),
        ("auto", ended("verified", "async"), Result.REFUSED, True),
        ("auto", ended("verified", "sync", equal=False), Result.FAILED, False),
        ("auto", ended("verified", "async", equal=False), Result.FAILED, False),
        ("auto", ended("accepted", None, UNREADABLE, equal=False), Result.REFUSED, False),
        ("sync", ended("dead_lettered", None, UNREADABLE, equal=False), Result.REFUSED, False),
        (
            "auto",
            ended("dead_lettered", None, "target.copy: 403 AuthorizationFailure", equal=False),
            Result.FAILED,
            False,
        ),
        ("auto", End({}, equal=False), Result.FAILED, False),
    ],
)
def test_sync_by_what_became_of_a_small_blob(engine: str, small: End, result: Result, works: bool) -> None:  # noqa: FBT001
    """The table of `findings.sync`."""
    found = findings.sync(route(engine), small)
    assert (found.result, found.works) == (result, works)


@pytest.mark.parametrize(
    ("append", "result", "works"),
    [
        (None, Result.UNUSED, True),
        (ended("verified", "async"), Result.LET_THROUGH, True),
        (ended("verified", "async", equal=False), Result.FAILED, False),
        (ended("accepted", None, UNREADABLE, equal=False), Result.REFUSED, False),
        (ended("copying", "async", equal=False), Result.FAILED, False),
    ],
)
def test_async_by_what_became_of_an_append_blob(append: End | None, result: Result, works: bool) -> None:  # noqa: FBT001
    """The table of `findings.asynchronous`."""
    found = findings.asynchronous(route("auto"), append)
    assert (found.result, found.works) == (result, works)


def test_an_end_is_told_in_a_line() -> None:
    """Engine and seconds; else reason, tries and detail."""
    assert str(ended("verified", "sync")) == "verified by sync in 1.5 s; bytes equal"
    assert str(ended("verified", "sync", equal=False)).endswith("BYTES DIFFER")
    assert str(ended("accepted", None, UNREADABLE)) == f"accepted: failed 3 times: source_unreadable: {UNREADABLE}"
    assert str(End({"id": "x"}, equal=False)) == "no transfer: its event has not arrived"


def test_the_metadata_of_the_broken_one_fit_the_service_and_leave_no_room_for_a_receipt() -> None:
    """8 KB for all: the shortest receipt has keys of 11 letters each, an ETag of 15, an id of 33."""
    size = sum(len(key) + len(value) for key, value in TOO_LONG.items())
    assert size <= 8192 < size + 11 + 15 + 11 + 33


FOUND = [
    Finding("health", "", Result.OK, "up", works=True),
    Finding("canary", "r", Result.OK, "", works=True),
    Finding("sync", "r", Result.REFUSED, "", works=True),
    Finding("sync", "s", Result.LET_THROUGH, "", works=True),
    Finding("async", "r", Result.LET_THROUGH, "", works=True),
    Finding("async", "s", Result.UNUSED, "", works=True),
    Finding("replay", "r", Result.OK, "", works=True),
    Finding("spans", "", Result.OK, "7 spans of the canaries", works=True),
]
CLOSED = {**TOLD, "APP_SUBNET": "/subnets/app"}


@pytest.mark.parametrize(
    ("told", "seen"),
    [
        (
            CLOSED,
            "over service endpoints, trusted services off: sync refused on 1 of 2, let through on 1 of 2; async let through on 1 of 1",
        ),
        ({**CLOSED, "PRIVATE_ENDPOINTS": "true"}, "over private endpoints, trusted services off: "),
        (
            {**CLOSED, "SHARING_ROUTES": '[{"source": {"account": "mine"}}]'},
            "over service endpoints, existing accounts among them: ",
        ),
        (TOLD, None),
        ({}, None),
    ],
)
def test_a_row_says_what_it_was_seen_on(told: dict[str, str], seen: str | None) -> None:
    """Open accounts show nothing of closed ones, nor does the local stack."""
    found = [row.seen for row in rows(told, FOUND) if row.unproven.startswith("`sync` and `async` between closed")]
    assert [line[: len(seen or "")] for line in found] == ([seen] if seen else [])


class Response:
    """As much of an answer as is looked at."""

    status_code, reason, request = 403, "", None

    def text(self) -> str:
        """No body."""
        return ""


def refused(code: str) -> HttpResponseError:
    """As the storage SDK raises it: a 403 is a ClientAuthenticationError, and so is a token that nobody gave."""
    error = ClientAuthenticationError("https://a/?sig=secret", response=Response())
    error.error_code = code  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            refused("AuthorizationFailure"),
            "(403 AuthorizationFailure): the account's firewall blocks this machine",
        ),
        (
            refused("AuthorizationPermissionMismatch"),
            "(403 AuthorizationPermissionMismatch): your account lacks the role",
        ),
        (refused("Strange"), "(403 Strange): Fix: look up the code"),
        (ClientAuthenticationError("no token, sig=secret"), "neither azd nor az returned a token. Fix: azd auth login"),
        (ServiceRequestError("https://a/?sig=secret"), "no answer (ServiceRequestError)"),
    ],
)
def test_what_storage_refuses_is_told_by_its_code(error: AzureError, told: str) -> None:
    """Firewall, role and login apart; never by a message, which may show what nobody should see."""
    with pytest.raises(Trouble) as raised, trouble.asking("list", "https://a"):
        raise error
    assert told in str(raised.value)
    assert "secret" not in str(raised.value)


class Logged:
    """Somebody who is logged in."""

    def get_token(self, *scopes: str, **_: object) -> AccessToken:
        """A token for anything."""
        return AccessToken(f"token for {scopes[0]}", 4102444800)


@contextmanager
def arm(status: int, body: object) -> Iterator[str]:
    """An ARM that answers so, once."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            said = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.handle_request, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        thread.join()


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (
            401,
            {"error": {"code": "InvalidAuthenticationTokenTenant"}},
            "401 InvalidAuthenticationTokenTenant. Fix: azd auth login",
        ),
        (403, {"error": {"code": "AuthorizationFailed"}}, "Microsoft.Web/sites/host/listkeys/action"),
        (404, {"error": {"code": "ResourceNotFound"}}, "Fix: run azd up"),
        (599, {"error": "not as it should be"}, "ARM answered 599"),
        (200, {"functionKeys": {}, "masterKey": "secret"}, "ARM answered 200"),
    ],
)
def test_a_key_that_arm_does_not_give_is_told(status: int, body: object, told: str) -> None:
    """With what is missing."""
    with arm(status, body) as url, pytest.raises(Trouble) as raised:
        app.key("/subscriptions/0", Arm(url, Logged()))
    assert told in str(raised.value)
    assert "secret" not in str(raised.value)


def test_the_master_key_is_never_taken() -> None:
    """It opens /admin, too; the one that is taken is not shown."""
    with arm(200, {"masterKey": "master", "functionKeys": {"other": "1", "default": "the-key"}}) as url:
        given = app.key("/subscriptions/0", Arm(url, Logged()))
    assert (given.key, "the-key" in repr(given)) == ("the-key", False)


class Door(Storage):
    """Storage that does not let in for a while."""

    def __init__(self, code: str, closed: int) -> None:
        self.code, self.closed, self.asked = code, closed, 0

    def names(self, prefix: Blob) -> list[str]:
        """None, once the door is open."""
        self.asked += 1
        if self.asked <= self.closed:
            with trouble.asking("list", prefix.endpoint):
                raise refused(self.code)
        return []


def looked(door: Door, patience: float) -> tuple[list[str], float]:
    """What was said while a route's ends were looked at, and how far the end moved."""
    said: list[str] = []
    smoke = Smoke(app.App("http://127.0.0.1:1", None), door, (), 1000, said.append)
    smoke.patience = patience
    smoke._look(route("auto"))
    return said, smoke.end - 1000


@pytest.mark.parametrize("code", ["AuthorizationPermissionMismatch", "AuthorizationFailure"])
def test_a_role_that_has_not_spread_is_waited_for(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a line each time; what it takes is not taken from the waiting for the canaries."""
    slept: list[float] = []
    monkeypatch.setattr("smoke.steps.time.sleep", slept.append)
    door = Door(code, closed=3)
    said, later = looked(door, steps.PATIENCE)
    assert (door.asked, slept, later) == (5, [steps.PAUSE] * 3, 3 * steps.PAUSE)
    assert [line for line in said if code in line] == said[:3]
    assert "at most 10 min" in said[0]
    assert said[3:] == ["   access to both ends of r"]


def test_a_role_that_does_not_come_is_told_after_ten_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the advice that there was before."""
    slept: list[float] = []
    monkeypatch.setattr("smoke.steps.time.sleep", slept.append)
    with pytest.raises(Trouble, match="TESTER_ACCESS"):
        looked(Door("AuthorizationPermissionMismatch", closed=1000), steps.PATIENCE)
    assert sum(slept) == steps.PATIENCE == 600


@pytest.mark.parametrize(
    ("code", "patience"), [("ContainerNotFound", 600), ("Strange", 600), ("AuthorizationFailure", 0)]
)
def test_what_waiting_does_not_help_is_told_at_once(code: str, patience: float) -> None:
    """Any other code, and every code on the local stack."""
    door = Door(code, closed=1000)
    with pytest.raises(Trouble, match=code):
        looked(door, patience)
    assert door.asked == 1


@pytest.mark.parametrize(
    ("answer", "result", "seen"),
    [
        ({"tables": [{"rows": [[7]]}]}, Result.OK, "7 spans of the canaries"),
        ({"Tables": [{"Rows": [["7"]]}]}, Result.OK, "7 spans of the canaries"),
        ({"tables": [{"rows": [[0]]}]}, Result.UNSEEN, spans.MISSING),
        ({"tables": []}, Result.UNSEEN, spans.MISSING),
        ([], Result.UNSEEN, spans.MISSING),
    ],
)
def test_a_span_is_looked_for(answer: object, result: Result, seen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the ids of the canaries; that none comes is no failure of what a route needs."""
    monkeypatch.setattr(spans, "PATIENCE", 0)
    with arm(200, answer) as url:
        found = spans.find(Arm(url, Logged()), "/workspaces/log-1", ["1-a", '") | x'], list[str]().append)
    assert (found.result, found.seen, found.works) == (result, seen, True)


def test_spans_are_asked_for_by_the_ids_of_the_transfers() -> None:
    """Both tables that hold spans; nothing that is no id gets into the query."""
    asked = spans.query(["37a8eec1-f414", "b_2", '") | x'])
    assert 'in ("37a8eec1-f414", "b_2")' in asked
    assert "AppRequests, AppDependencies" in asked
    assert "durabletask.task.instance_id" in asked


def test_a_log_that_is_not_shown_is_told_and_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the role that is missing."""
    monkeypatch.setattr(spans, "PATIENCE", 0)
    with arm(403, {"error": {"code": "AuthorizationFailed"}}) as url:
        found = spans.find(Arm(url, Logged()), "/workspaces/log-1", ["1-a"], list[str]().append)
    assert (found.result, found.works) == (Result.UNSEEN, True)
    assert "ARM answered 403 AuthorizationFailed. Fix: get the role Log Analytics Reader" in found.seen
