"""Which key opens which call, on a host that requires keys as Azure does. No key appears in an answer or a log."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from devhost.stack import LocalStack
from devhost.storage.config import StackError
from tests.e2e.client import CANARY, Answer, Client
from tests.e2e.search import Secrets, answers, app_accounts, files
from tests.e2e.stacks import LOUD, environment, running_stack
from triggers.http.endpoints import ENDPOINTS

ID = "00000000-000000000000000000000000"
HOST_CALLS = [
    ("GET", "/runtime/webhooks/durabletask/instances", "system"),
    ("POST", f"/runtime/webhooks/durabletask/instances/{ID}/terminate", "system"),
    ("POST", "/runtime/webhooks/durabletask/orchestrators/transfer", "system"),
    ("GET", "/admin/host/status", "master"),
    ("POST", "/admin/functions/drain", "master"),
]
CALLS = [(call.method, f"/api/{call.route.replace('{id}', ID)}", call.level.name) for call in ENDPOINTS]
# An id may be any segment, for example `replay`.
READ = [re.compile(f"/api/{call.route.replace('{id}', '[^/]+')}") for call in ENDPOINTS if call.method == "GET"]


class KeyedStack:
    """A stack whose host requires keys. It keeps every answer."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.keys: dict[str, str] = json.loads((client.stack.state / "host-keys.json").read_text())

    def call(self, method: str, path: str, key: str | None, *, in_url: bool = False) -> Answer:
        """Call with this key, in the header or in the URL."""
        url = f"http://127.0.0.1:{self.client.stack.host_port}{path}"
        headers = {} if key is None or in_url else {"x-functions-key": key}
        url += f"?code={key}" if key is not None and in_url else ""
        answer = self.client.request(method, url, b"{}" if method == "POST" else None, headers)
        self.client.answers.append(f"{answer.headers} {answer.body!r}")
        return answer


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeyedStack]:
    state = tmp_path_factory.mktemp("keyed")
    with running_stack(state, environment(state) | LOUD | {"DEVHOST_KEYS": "1", "HOST": ""}) as running:
        yield KeyedStack(running)


def test_only_health_and_the_dashboard_require_no_key() -> None:
    assert [call.route for call in ENDPOINTS if call.level.name != "FUNCTION"] == [
        "health",
        "dashboard",
        "openapi.json",
        "dashboard/{file}",
    ]


@pytest.mark.parametrize(("method", "path", "level"), CALLS)
@pytest.mark.parametrize("in_url", [False, True], ids=["header", "code"])
def test_only_the_function_key_opens_a_call(
    keyed: KeyedStack, method: str, path: str, level: str, *, in_url: bool
) -> None:
    """The host answers a missing or wrong key with 401 and no body, without calling the app. `health` requires no key."""
    anonymous = level == "ANONYMOUS"
    for key in (None, CANARY, keyed.keys["system"], keyed.keys["function"][:-1]):
        refused = keyed.call(method, path, key, in_url=in_url)
        assert (refused.status != 401) is anonymous
        assert bool(refused.body) is anonymous
    admitted = keyed.call(method, path, keyed.keys["function"], in_url=in_url)
    assert admitted.status in {200, 202, 400, 404, 503}
    assert admitted.headers["Content-Type"].startswith(
        ("application/json", "application/problem+json", "text/html", "application/openmetrics-text")
    )


@pytest.mark.parametrize(("method", "path", "key"), HOST_CALLS)
def test_the_function_key_opens_no_call_of_the_host(keyed: KeyedStack, method: str, path: str, key: str) -> None:
    """The extension's API and the admin API have their own keys, which the app never returns."""
    for given in (None, CANARY):
        assert keyed.call(method, path, given).status == 401
    assert keyed.call(method, path, keyed.keys["function"]).status == (403 if key == "system" else 401)
    assert keyed.call("GET", HOST_CALLS[3][1], keyed.keys["master"]).status == 200
    assert key in keyed.keys


def test_other_methods_are_not_found(keyed: KeyedStack) -> None:
    """The host answers no OPTIONS request of a browser, and HEAD only where there is a GET. No answer allows an origin."""
    paths = {path for _, path, _ in CALLS}
    calls = [(method, path) for path in paths for method in ("OPTIONS", "PUT", "PATCH")]
    calls += [("HEAD", path) for path in paths if not any(read.fullmatch(path) for read in READ)]
    assert {keyed.call(method, path, keyed.keys["function"]).status for method, path in calls} == {404}
    assert not [answer for answer in keyed.client.answers if "access-control-" in answer.lower()]


def test_no_sent_key_is_in_a_log_or_an_answer(keyed: KeyedStack) -> None:
    """Except for the line in which the stand-in prints its keys on request."""
    client = keyed.client
    for method, path, _ in CALLS:
        for in_url in (False, True):
            keyed.call(method, path, keyed.keys["function"], in_url=in_url)
    wanted = Secrets([client.stack.key, CANARY, *keyed.keys.values()])
    assert wanted.leaks(answers(client)) == wanted.leaks(app_accounts(client)) == {}
    found = wanted.leaks(files(client.stack.state))
    assert set(found) == {"stack.log"}
    lines = [line for line in (client.stack.state / "stack.log").read_bytes().splitlines() if wanted.find(line)]
    assert [line.partition(b" host: ")[2].partition(b" ")[0] for line in lines] == [b"keys"]


def test_an_invalid_key_of_the_stack_is_reported_with_a_fix(tmp_path: Path) -> None:
    """The message does not contain the key."""
    with pytest.raises(StackError, match=r"DEVHOST_KEY is not base64\. Fix: ") as failure:
        LocalStack(environment(tmp_path) | {"DEVHOST_KEY": "not base64!"})
    assert "not base64!" not in str(failure.value)
