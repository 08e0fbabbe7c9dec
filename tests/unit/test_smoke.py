"""The smoke test without a stack: values, routes, findings, rows, keys and errors."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError, ServiceRequestError

from devhost.stack import ROOT
from smoke import api, deployment, findings, storage, story
from smoke.__main__ import TOO_LONG, find_spans
from smoke.api import Answer, App, Arm
from smoke.deployment import Blob, Route, SmokeError
from smoke.findings import Finding, Result
from smoke.rows import rows
from smoke.storage import Storage
from smoke.story import Sample, Story

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
ENV = {
    "AZURE_SUBSCRIPTION_ID": "0",
    "RESOURCE_GROUP": "rg",
    "FUNCTION_APP": "func",
    "API_URL": "https://func.azurewebsites.net",
    "ROUTES": ROUTES,
}


def test_values_of_azd() -> None:
    """ARM ids, the app's URL, the routes; prefixes are decoded."""
    known = deployment.from_json(json.dumps(ENV), "azd")
    assert known.function == "/subscriptions/0/resourceGroups/rg/providers/Microsoft.Web/sites/func"
    assert known.api == "https://func.azurewebsites.net"
    assert known.workspace == ""
    logged = deployment.from_json(json.dumps({**ENV, "WORKSPACE": "log-1"}), "azd").workspace
    assert logged == "/subscriptions/0/resourceGroups/rg/providers/Microsoft.OperationalInsights/workspaces/log-1"
    assert [route.name for route in known.routes] == ["default", "csv", "on"]
    assert known.routes[1].source == Blob("https://a.blob.core.windows.net", "source", "in here/")


def test_a_route_to_another_tenant_is_not_tested() -> None:
    """The person who tests has no role there."""
    routes = json.loads(ROUTES)
    routes[1]["target"] = {"url": routes[1]["target"], "tenant": "11111111-2222-3333-4444-555555555555"}
    assert [route.name for route in deployment.read_routes(json.dumps(routes))] == ["default", "on"]


@pytest.mark.parametrize("missing", deployment.NEEDED)
def test_a_missing_value_is_named_with_the_fix(missing: str) -> None:
    """An empty value is missing, too."""
    with pytest.raises(SmokeError, match=f"lacks {missing}. Fix: azd provision"):
        deployment.from_json(json.dumps({**ENV, missing: ""}), "azd")


def test_the_values_exist_in_the_deployment() -> None:
    """Outputs of main.bicep, and variables of its parameters file."""
    outputs = set(re.findall(r"^output (\w+) ", (ROOT / "infra/main.bicep").read_text(), re.MULTILINE))
    assert {*deployment.NEEDED, "APP_SUBNET", "WORKSPACE", "AZURE_TENANT_ID"} - {"AZURE_SUBSCRIPTION_ID"} <= outputs
    read = set(re.findall(r"readEnvironmentVariable\(\s*'(\w+)'", (ROOT / "infra/main.bicepparam").read_text()))
    used = {"AZURE_LOCATION", "PRIVATE_ENDPOINTS", "SHARING_ROUTES", "DURABLE_BACKEND", "CLIENT_IP", "TESTER_ACCESS"}
    assert used <= read


@pytest.mark.parametrize("text", ["", "[]", 'API_URL="https://x"', json.dumps({**ENV, "ROUTES": "[{}]"})])
def test_other_text_than_the_output_of_azd_is_an_error(text: str) -> None:
    with pytest.raises(SmokeError, match="Fix: azd"):
        deployment.from_json(text, "the file")


@pytest.mark.parametrize(
    "url", ["http://func.azurewebsites.net", "ftp://x", "func.azurewebsites.net", "http://127.0.0.1.example.com"]
)
def test_a_key_is_sent_only_over_tls_or_to_this_machine(url: str) -> None:
    with pytest.raises(SmokeError, match="keys are sent only over https"):
        deployment.from_json(json.dumps({**ENV, "API_URL": url}), "azd")
    assert deployment.require_tls("http://127.0.0.1:7071/", "x") == "http://127.0.0.1:7071"


def test_a_missing_or_failing_azd_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message has azd's last line and the fix."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SmokeError, match=r"azd is not on PATH\. Fix: "):
        deployment.from_azd()
    (tmp_path / "azd").write_text("#!/bin/sh\necho 'ERROR: no environment exists' >&2\nexit 1\n")
    (tmp_path / "azd").chmod(0o755)
    with pytest.raises(SmokeError, match=r"env get-values failed: ERROR: no environment exists\. Fix: azd up"):
        deployment.from_azd()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SmokeError, match=r"values\.json cannot be read"):
        deployment.from_file(tmp_path / "values.json")


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
def test_every_copy_of_a_blob_is_found(name: str, reached: list[tuple[str, str, str]]) -> None:
    """Each route that copies the blob counts, and each route that copies its copies."""
    routes = deployment.read_routes(ROUTES)
    blob = Blob("https://a.blob.core.windows.net", "source", name)
    found = [(route.name, target.container, target.name) for route, target in deployment.all_targets(routes, blob)]
    assert found == reached


END = Blob("https://a.blob.core.windows.net", "c", "")
ROUTE = Route("r", END, END, "", "auto")
UNREADABLE = (
    "the target's service cannot read the source with async, sync; last answer: target.copy: 403 CannotVerifyCopySource"
)


def sample(state: str = "", engine: str | None = None, detail: str = "", *, equal: bool = True, **more: Any) -> Sample:
    """A sample with this transfer; without a state, its event has not arrived."""
    transfer = {
        "state": state,
        "engine": engine,
        "copied": 0,
        "reason": "source_unreadable" if detail else None,
        "detail": detail,
        "tries": 3 if detail else 0,
        "accepted_at": "2026-11-27T00:00:00.000Z",
        "updated_at": "2026-11-27T00:00:01.500Z",
    }
    return Sample(ROUTE, END, END, transfer=transfer if state else {}, equal=equal and state == "verified", **more)


@pytest.mark.parametrize(
    ("small", "result", "works"),
    [
        (None, Result.UNUSED, True),
        (sample("verified", "sync"), Result.LET_THROUGH, True),
        (sample("verified", "async"), Result.REFUSED, True),
        (sample("verified", "sync", equal=False), Result.FAILED, False),
        (sample("verified", "async", equal=False), Result.FAILED, False),
        (sample("accepted", None, UNREADABLE), Result.REFUSED, False),
        (sample("dead_lettered", None, UNREADABLE), Result.REFUSED, False),
        (sample("dead_lettered", None, "target.copy: 403 AuthorizationFailure"), Result.FAILED, False),
        (sample(), Result.FAILED, False),
    ],
)
def test_sync_is_judged_by_a_small_blob(small: Sample | None, result: Result, works: bool) -> None:  # noqa: FBT001
    found = findings.engine("sync", "r", small)
    assert (found.result, found.works) == (result, works)


@pytest.mark.parametrize(
    ("append", "result", "works"),
    [
        (None, Result.UNUSED, True),
        (sample("verified", "async"), Result.LET_THROUGH, True),
        (sample("verified", "async", equal=False), Result.FAILED, False),
        (sample("accepted", None, UNREADABLE), Result.REFUSED, False),
        (sample("copying", "async"), Result.FAILED, False),
    ],
)
def test_async_is_judged_by_an_append_blob(append: Sample | None, result: Result, works: bool) -> None:  # noqa: FBT001
    found = findings.engine("async", "r", append)
    assert (found.result, found.works) == (result, works)


def test_a_route_with_async_alone_does_not_use_sync() -> None:
    """The small blob of that route is copied with `async`, so it shows nothing about `sync`."""
    route = replace(ROUTE, engine="async")
    samples = [sample("verified", "async", kind=kind) for kind in ("small", "append", "broken")]
    judged = findings.judge(route, [replace(each, route=route) for each in samples])
    assert [finding.result for finding in judged] == ["ok", "not used", "let through", "ok"]


def test_a_route_that_forces_blocks_shows_nothing_about_the_other_engines() -> None:
    route = replace(ROUTE, engine="blocks")
    samples = [sample("verified", "blocks", kind=kind) for kind in ("small", "append", "broken")]
    judged = findings.judge(route, [replace(each, route=route) for each in samples])
    assert [finding.result for finding in judged] == ["ok", "not used", "not used", "let through", "ok"]


def test_the_outcome_is_one_line() -> None:
    """Engine and seconds, or the reason, the number of attempts and the detail."""
    assert str(sample("verified", "sync")) == "verified by sync in 1.5 s; bytes equal"
    assert str(sample("verified", "sync", equal=False)).endswith("BYTES DIFFER")
    assert str(sample("accepted", None, UNREADABLE)) == f"accepted: failed 3 times: source_unreadable: {UNREADABLE}"
    assert str(sample()) == "no transfer: its event has not arrived"


@pytest.mark.parametrize(("failing", "works"), [([], True), (["target of route x"], True), (["settings"], False)])
def test_health_counts_the_routes_of_the_run(failing: list[str], works: bool) -> None:  # noqa: FBT001
    found = findings.health([*failing, "source of route other"], ["r"])
    assert (found.works, findings.health(["target of route r"], ["r"]).works) == (works, False)


def test_the_metadata_of_the_broken_blob_leave_no_room_for_a_receipt() -> None:
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
CLOSED = {**ENV, "APP_SUBNET": "/subnets/app"}
OPEN_ROWS = {"deployment", "function-key", "event-delivery", "user-delegation-key", "spans"}
CLOSED_ROWS = {"engines-closed-accounts", "event-delivery-closed", "host-closed-state", "copy-scope"}
SCHEDULER_ROWS = {"scheduler-start", "scheduler-role", "scheduler-api"}


@pytest.mark.parametrize(
    ("env", "keys"),
    [
        ({}, set()),
        (ENV, OPEN_ROWS),
        (CLOSED, OPEN_ROWS | CLOSED_ROWS),
        ({**CLOSED, "SHARING_ROUTES": '[{"source": {"account": "mine"}}]'}, OPEN_ROWS | CLOSED_ROWS - {"copy-scope"}),
        ({**CLOSED, "DURABLE_BACKEND": "scheduler"}, OPEN_ROWS | CLOSED_ROWS | SCHEDULER_ROWS),
    ],
)
def test_a_deployment_settles_its_own_rows(env: dict[str, str], keys: set[str]) -> None:
    """Open accounts show nothing about closed ones; the local stack settles nothing."""
    assert rows(env, FOUND).keys() == keys


@pytest.mark.parametrize(
    ("more", "seen"),
    [
        (
            {},
            "over service endpoints, trusted services off: sync refused on 1 of 2, let through on 1 of 2; async let through on 1 of 1",
        ),
        ({"PRIVATE_ENDPOINTS": "true"}, "over private endpoints, trusted services off: "),
        (
            {"SHARING_ROUTES": '[{"source": {"account": "mine"}}]'},
            "over service endpoints, existing accounts among them: ",
        ),
    ],
)
def test_a_row_names_the_network(more: dict[str, str], seen: str) -> None:
    assert rows({**CLOSED, **more}, FOUND)["engines-closed-accounts"].startswith(seen)


class Response:
    """The part of a response that the SDK's errors read."""

    status_code, reason, request = 403, "", None

    def text(self) -> str:
        return ""


def refused(code: str) -> HttpResponseError:
    """The storage SDK's error for a 403: a ClientAuthenticationError, as for a missing token."""
    error = ClientAuthenticationError("https://a/?sig=secret", response=Response())
    error.error_code = code  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (refused("AuthorizationFailure"), "(403 AuthorizationFailure): the account's firewall blocks this machine"),
        (
            refused("AuthorizationPermissionMismatch"),
            "(403 AuthorizationPermissionMismatch): your account lacks the role",
        ),
        (refused("Strange"), "(403 Strange): Fix: look up the code"),
        (ClientAuthenticationError("no token, sig=secret"), "neither azd nor az returned a token. Fix: azd auth login"),
        (ServiceRequestError("https://a/?sig=secret"), "no answer (ServiceRequestError)"),
    ],
)
def test_a_refusal_of_storage_is_explained_by_its_code(error: AzureError, message: str) -> None:
    """Firewall, role and login differ; the SDK's message, which may contain a signed URL, is not shown."""
    with pytest.raises(SmokeError) as raised, storage.asking("list", "https://a"):
        raise error
    assert message in str(raised.value)
    assert "secret" not in str(raised.value)


def test_a_missing_blob_is_not_an_error() -> None:
    with storage.asking("delete", "https://a"):
        raise refused("BlobNotFound")


class Login:
    """A credential with a token for everything."""

    def get_token(self, *scopes: str, **_: object) -> AccessToken:
        return AccessToken(f"token for {scopes[0]}", 4102444800)


@contextmanager
def server(status: int, body: object, paths: list[str] | None = None) -> Iterator[str]:
    """A server that answers one request."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            if paths is not None:
                paths.append(self.path)
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST  # noqa: N815  # http.server's name

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = Thread(target=running.handle_request, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        thread.join()


def test_query_values_are_encoded() -> None:
    paths: list[str] = []
    with server(200, {}, paths) as url:
        assert App(url, None).ask("GET", "/transfers", name="año 5% #1&+.txt") == Answer(200, {})
    assert paths == ["/api/transfers?name=a%C3%B1o%205%25%20%231%26%2B.txt"]


@pytest.mark.parametrize(
    ("status", "body", "message"),
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
def test_a_missing_key_is_explained(status: int, body: object, message: str) -> None:
    with server(status, body) as url, pytest.raises(SmokeError) as raised:
        Arm(url, Login()).function_key("/subscriptions/0")
    assert message in str(raised.value)
    assert "secret" not in str(raised.value)


def test_the_master_key_is_never_used() -> None:
    """It opens /admin, too. The default key is used, and its credential does not show it."""
    with server(200, {"masterKey": "master", "functionKeys": {"other": "1", "default": "the-key"}}) as url:
        key = Arm(url, Login()).function_key("/subscriptions/0")
    assert (key.key, "the-key" in repr(key)) == ("the-key", False)


class ClosedStorage(Storage):
    """Storage that refuses the first requests."""

    def __init__(self, code: str, refusals: int) -> None:
        self.code, self.refusals, self.asked = code, refusals, 0

    def names(self, prefix: Blob) -> list[str]:
        self.asked += 1
        if self.asked <= self.refusals:
            with storage.asking("list", prefix.endpoint):
                raise refused(self.code)
        return []


def check_access(closed: ClosedStorage, patience: float) -> tuple[list[str], float]:
    """Return the printed lines, and by how much the end was moved."""
    printed: list[str] = []
    run = Story(App("http://127.0.0.1:1", None), closed, 1000, printed.append, patience)
    run.check_access(ROUTE, "run")
    return printed, run.end - 1000


@pytest.mark.parametrize("code", ["AuthorizationPermissionMismatch", "AuthorizationFailure"])
def test_a_role_is_awaited(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each wait prints a line, and does not shorten the time for the canaries."""
    slept: list[float] = []
    monkeypatch.setattr("smoke.story.time.sleep", slept.append)
    closed = ClosedStorage(code, refusals=3)
    printed, later = check_access(closed, story.ACCESS_SECONDS)
    assert (closed.asked, slept, later) == (5, [story.ACCESS_PAUSE] * 3, 3 * story.ACCESS_PAUSE)
    assert [line for line in printed if code in line] == printed[:3]
    assert "at most 10 min" in printed[0]
    assert printed[3:] == ["   access to both ends of r"]


def test_a_missing_role_is_an_error_after_ten_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("smoke.story.time.sleep", slept.append)
    with pytest.raises(SmokeError, match="TESTER_ACCESS"):
        check_access(ClosedStorage("AuthorizationPermissionMismatch", refusals=1000), story.ACCESS_SECONDS)
    assert sum(slept) == story.ACCESS_SECONDS == 600


@pytest.mark.parametrize(
    ("code", "patience"), [("ContainerNotFound", 600), ("Strange", 600), ("AuthorizationFailure", 0)]
)
def test_other_refusals_are_errors_at_once(code: str, patience: float) -> None:
    """Any other code, and every code on the local stack."""
    closed = ClosedStorage(code, refusals=1000)
    with pytest.raises(SmokeError, match=code):
        check_access(closed, patience)
    assert closed.asked == 1


@pytest.mark.parametrize(
    ("answer", "result", "seen"),
    [
        ({"tables": [{"rows": [[7]]}]}, Result.OK, "7 spans of the canaries"),
        ({"Tables": [{"Rows": [["7"]]}]}, Result.OK, "7 spans of the canaries"),
        ({"tables": [{"rows": [[0]]}]}, Result.UNSEEN, api.NO_SPANS),
        ({"tables": []}, Result.UNSEEN, api.NO_SPANS),
        ([], Result.UNSEEN, api.NO_SPANS),
    ],
)
def test_spans_are_counted(answer: object, result: Result, seen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without spans every route still works."""
    monkeypatch.setattr(api, "SPAN_SECONDS", 0)
    with server(200, answer) as url:
        found = find_spans(Arm(url, Login()), "/workspaces/log-1", ["1-a", '") | x'])
    assert (found.result, found.seen, found.works) == (result, seen, True)


def test_spans_are_found_by_transfer_ids() -> None:
    """In both tables that contain spans; other text than an id does not get into the query."""
    query = api.span_query(["37a8eec1-f414", "b_2", '") | x'])
    assert 'in ("37a8eec1-f414", "b_2")' in query
    assert "AppRequests, AppDependencies" in query
    assert "durabletask.task.instance_id" in query


def test_a_refused_query_is_reported_but_is_not_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the missing role."""
    monkeypatch.setattr(api, "SPAN_SECONDS", 0)
    with server(403, {"error": {"code": "AuthorizationFailed"}}) as url:
        found = find_spans(Arm(url, Login()), "/workspaces/log-1", ["1-a"])
    assert (found.result, found.works) == (Result.UNSEEN, True)
    assert "ARM answered 403 AuthorizationFailed. Fix: get the role Log Analytics Reader" in found.seen
