"""`make smoke` on a stack that works and on one that refuses an engine; it leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from devhost.stack import ROOT
from tests.e2e import search
from tests.e2e.client import Client

NAME = "blob-data-sharing-smoke-"
KEY, MASTER, TOKEN = "function-key-of-the-smoke-test", "master-key-of-the-smoke-test", "token-of-the-smoke-test"
FUNCTION = "/subscriptions/11111111-2222/resourceGroups/rg-smoke/providers/Microsoft.Web/sites/func-smoke"
TWO = ("first", "second")
ROUTES = ("default", *TWO, "before", "many")
PLACES = [
    *(("sharingsource", container) for container in ("source", "two", "before", "many")),
    *(("sharingtarget", container) for container in ("target", *TWO, "before", "many")),
]
REFUSED = {"status": 403, "code": "CannotVerifyCopySource"}
AZD = f"""#!/bin/sh
case "$1 $2" in
"env get-values") cat "$(dirname "$0")/values.json" ;;
"auth token") echo '{{"token": "{TOKEN}", "expiresOn": "2099-01-01T00:00:00Z"}}' ;;
*) exit 1 ;;
esac
"""


@dataclass
class Azure:
    """A server in place of ARM and the app: returns a key and spans, forwards other calls to the stack, records all calls."""

    api: str
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)
    url: str = ""

    @contextmanager
    def running(self) -> Iterator["Azure"]:
        """Serve on a free port."""
        azure = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # http.server's name
                azure.answer(self)

            do_GET = do_DELETE = do_POST  # noqa: N815  # http.server's names

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # http.server's name
                """Print nothing."""

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            self.url = f"http://127.0.0.1:{server.server_port}"
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield self
            server.shutdown()

    def answer(self, to: BaseHTTPRequestHandler) -> None:
        """Return the keys for a valid token, else the answer of the stack."""
        body = to.rfile.read(int(to.headers.get("Content-Length") or 0))
        secret = to.headers.get("x-functions-key") or to.headers.get("Authorization")
        self.asked.append((to.command, to.path, secret))
        if "/api/query?" in to.path:
            self.queries.append(json.loads(body)["query"])
            status, payload = 200, json.dumps({"tables": [{"rows": [[3]]}]}).encode()
        elif "listkeys" in to.path:
            keys = {"masterKey": MASTER, "functionKeys": {"default": KEY}, "systemKeys": {}}
            status, payload = (200, json.dumps(keys).encode()) if secret == f"Bearer {TOKEN}" else (401, b"{}")
        else:
            status, payload = self._of_the_stack(to.command, to.path, body)
        to.send_response(status)
        to.send_header("Content-Length", str(len(payload)))
        to.end_headers()
        to.wfile.write(payload)

    def _of_the_stack(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        url = self.api.removesuffix("/api") + path
        request = urllib.request.Request(url, body or None, {"Content-Type": "application/json"}, method=method)  # noqa: S310  # loopback
        try:
            with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310  # loopback
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()


@dataclass
class Run:
    """The result of a smoke test."""

    code: int
    out: str
    err: str

    @property
    def report(self) -> dict[str, Any]:
        """The output of --json."""
        return dict(json.loads(self.out))

    def found(self, what: str) -> dict[str, Any]:
        """Return the only finding of a kind."""
        [finding] = [finding for finding in self.report["findings"] if finding["what"] == what]
        return dict(finding)


@dataclass
class Runs:
    """Four runs, in parallel to save time, and the calls of the first."""

    azd: Run
    sync_refused: Run
    async_refused: Run
    interrupted: Run
    asked: list[tuple[str, str, str | None]]
    queries: list[str]


@pytest.fixture(scope="module")
def runs(client: Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """One run with the values of azd, two where the target's service refuses an engine, one that Ctrl-C stops."""
    for account, container in PLACES:
        client.create_container(account, container)
    rules = [
        client.control.add_fault({"operation": "CopyBlobFromUrl", "container": "before", "blob": NAME}, REFUSED, 1000),
        client.control.add_fault({"operation": "CopyBlob", "container": "many", "blob": NAME}, REFUSED, 1000),
        client.control.add_fault({"operation": "PutBlockFromUrl", "container": "many", "blob": NAME}, REFUSED, 1000),
        # Copies cannot be deleted at the target: the run has to name them.
        client.control.add_fault(
            {"operation": "DeleteBlob", "container": "many", "account": "sharingtarget", "user_agent": "^azsdk-python"},
            {"status": 403, "code": "AuthorizationPermissionMismatch"},
            1000,
        ),
    ]
    with Azure(client.stack.api).running() as azure:
        path = path_with_azd(client, azure, tmp_path_factory)
        async_refused = started(client, "--local", "--route", "many", "--json", "--timeout", "5")
        interrupted = started(client, "--local", "--route", "default")
        output = stop_midway(interrupted)
        client.until(lambda: healthy(client), "health, which is checked every ten seconds, includes the containers")
        by_azd = started(client, "--json", "--arm", azure.url, PATH=path)
        sync_refused = started(client, "--local", "--route", "before", "--json")
        done = Runs(
            finished(by_azd),
            finished(sync_refused),
            finished(async_refused),
            finished(interrupted),
            azure.asked,
            azure.queries,
        )
    for rule in rules:
        client.control.remove_faults(rule)
    done.interrupted.out = output + done.interrupted.out
    yield done
    for blob in client.accounts["sharingtarget"].get_container_client("many").list_blob_names(name_starts_with=NAME):
        client.target(blob, "many").delete_blob()


def healthy(client: Client) -> bool:
    """Return whether health reports the containers."""
    checks = {check["name"]: check["ok"] for check in client.api("GET", "/health").body["checks"]}
    return all(checks[f"{end} of route {name}"] for name in ROUTES for end in ("source", "target"))


def path_with_azd(client: Client, azure: Azure, paths: pytest.TempPathFactory) -> str:
    """Return a PATH with an `azd` that returns the values of the stack and a token."""
    folder = paths.mktemp("azd")
    values = {
        "AZURE_SUBSCRIPTION_ID": "11111111-2222",
        "AZURE_LOCATION": "westeurope",
        "RESOURCE_GROUP": "rg-smoke",
        "FUNCTION_APP": "func-smoke",
        "API_URL": azure.url,
        "WORKSPACE": "log-smoke",
        # One source, two targets: both routes copy the blobs that are put for one of them.
        "ROUTES": json.dumps(
            [route for route in json.loads(client.stack.environment["ROUTES"]) if route["name"] in TWO]
        ),
        "APP_SUBNET": "/subscriptions/s/subnets/app",
        "SHARING_ROUTES": json.dumps([{"name": "default"}]),
    }
    (folder / "values.json").write_text(json.dumps(values))
    (folder / "azd").write_text(AZD)
    (folder / "azd").chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def started(client: Client, *arguments: str, **more: str) -> "subprocess.Popen[str]":
    """Start a smoke test with the variables of the stack."""
    return subprocess.Popen(
        [sys.executable, "-m", "smoke", *arguments],
        cwd=ROOT,
        env={**client.stack.environment, **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def stop_midway(process: "subprocess.Popen[str]") -> str:
    """Send Ctrl-C while the transfers run; return the output until then."""
    output = ""
    assert process.stdout is not None
    while "3. Watch" not in output:
        line = process.stdout.readline()
        assert line, output
        output += line
    process.send_signal(signal.SIGINT)
    return output


def finished(process: "subprocess.Popen[str]") -> Run:
    """Wait for a run."""
    try:
        out, err = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return Run(process.returncode, out, err)


def test_everything_works_with_the_values_of_azd(runs: Runs) -> None:
    """Both engines are let through, and the broken blob is fixed and replayed."""
    assert runs.azd.code == 0, runs.azd.err
    results = {(finding["what"], finding["route"]): finding["result"] for finding in runs.azd.report["findings"]}
    each = {"canary": "ok", "sync": "let through", "async": "let through", "replay": "ok"}
    of_routes = {(what, route): result for what, result in each.items() for route in TWO}
    assert results == {("health", ""): "ok", ("clean", ""): "ok", ("spans", ""): "ok", **of_routes}
    seen = {finding["what"]: finding["seen"] for finding in runs.azd.report["findings"]}
    assert "verified by sync in" in seen["sync"]
    assert "verified by async in" in seen["async"]
    assert "reason  unsupported_blob" in runs.azd.err
    assert "/replay -> 202" in runs.azd.err


def test_the_rows_to_paste_name_no_account(runs: Runs) -> None:
    """The rows name the network, but no account, route or blob."""
    rows = runs.azd.report["rows"]
    engines = "over service endpoints, trusted services off: sync let through on 2 of 2; async let through on 2 of 2"
    assert rows["engines-closed-accounts"] == engines
    assert not any(word in json.dumps(rows) for word in ("sharing", *TWO, NAME, "127.0.0.1"))


def test_the_key_goes_into_a_header_and_nowhere_else(runs: Runs, client: Client) -> None:
    """ARM gets the token, the app gets the key; neither is in an output or a URL."""
    [arm] = [asked for asked in runs.asked if "listkeys" in asked[1]]
    assert arm == (
        "POST",
        f"{FUNCTION}/host/default/listkeys?api-version=2024-11-01",
        f"Bearer {TOKEN}",
    )
    [log] = [asked for asked in runs.asked if "/workspaces/log-smoke/api/query?" in asked[1]]
    assert log[2] == f"Bearer {TOKEN}"
    [query] = runs.queries
    assert query.count('"') > 6  # the ids of several canaries
    of_the_app = [asked for asked in runs.asked if asked not in (arm, log)]
    assert len(of_the_app) > 5
    assert {secret for _, _, secret in of_the_app} == {KEY}
    wanted = search.Secrets([KEY, MASTER, TOKEN, client.stack.key], search.signatures(client))
    for run in (runs.azd, runs.sync_refused, runs.async_refused, runs.interrupted):
        assert wanted.find(f"{run.out} {run.err}".encode()) is None
    assert not any(secret in path for _, path, _ in runs.asked for secret in (KEY, MASTER, TOKEN))


def test_sync_is_refused_and_the_app_uses_blocks(runs: Runs) -> None:
    """The refusal is reported, and everything that the route needs works."""
    run = runs.sync_refused
    assert run.code == 0, run.err
    assert (run.found("sync")["result"], run.found("async")["result"]) == ("refused", "let through")
    assert "used blocks instead" in run.found("sync")["seen"]
    assert "verified by blocks" in run.found("canary")["seen"]


def test_a_refused_async_is_a_failure(runs: Runs) -> None:
    """Blocks are refused, too. Reason and detail are the app's."""
    run = runs.async_refused
    assert run.code == 1
    assert (run.found("sync")["result"], run.found("async")["result"]) == ("let through", "refused")
    assert "source_unreadable" in run.found("async")["seen"]
    assert "cannot read the source with async, blocks" in run.found("async")["seen"]


def test_blobs_that_cannot_be_deleted_are_named(runs: Runs) -> None:
    """The result is from a list, not from the answers to the deletions."""
    found = runs.async_refused.found("clean")
    assert (found["result"], found["works"]) == ("failed", False)
    assert "-small is left" in found["seen"]
    assert "TESTER_ACCESS" in found["seen"]


def test_ctrl_c_leaves_nothing_behind(runs: Runs, client: Client) -> None:
    """No run leaves a blob at a source or target, an open dead letter, or a running transfer."""
    assert (runs.interrupted.code, runs.interrupted.err) == (130, "")
    assert "Clean up" in runs.interrupted.out
    for account, container in PLACES:
        left = client.accounts[account].get_container_client(container).list_blob_names()
        assert [name for name in left if NAME in name] == [] or (account, container) == ("sharingtarget", "many")
    assert [item for item in client.list_all("/dead-letters") if NAME in (item["name"] or "")] == []
    running = [item for state in ("accepted", "copying") for item in client.list_all(f"/transfers?state={state}")]
    assert [item for item in running if item["source"] and NAME in item["source"]["name"]] == []


@pytest.mark.parametrize(
    ("code", "fix"),
    [("AuthorizationFailure", "CLIENT_IP"), ("AuthorizationPermissionMismatch", "TESTER_ACCESS")],
)
def test_a_refusal_names_the_firewall_or_the_role(client: Client, code: str, fix: str) -> None:
    """Before anything is put. Both are a 403; only the service's code differs."""
    match = {"operation": "ListBlobs", "container": "patient-smoke"}
    routes = [
        {
            "name": "closed",
            "source": f"{client.stack.account('sharingsource')}/patient-smoke/",
            "target": f"{client.stack.account('sharingtarget')}/patient-smoke/",
        }
    ]
    rule = client.control.add_fault(match, {"status": 403, "code": code})
    run = finished(started(client, "--local", ROUTES=json.dumps(routes)))
    client.control.remove_faults(rule)
    assert run.code == 1
    assert f"403 {code}" in run.err
    assert f"azd env set {fix}" in run.err
    assert "put" not in run.out


def test_a_stopped_stack_is_an_error_of_one_line() -> None:
    """The message has the command that starts it."""
    env = {**os.environ, "HOST_PORT": "1"}
    command = [sys.executable, "-m", "smoke", "--local"]
    run = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr.count("\n")) == (1, 1)
    assert "make run" in run.stderr
