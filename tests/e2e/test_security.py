"""Who may call what, on a host that asks for keys as Azure does; and no key comes back, in an answer or in a log."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from devhost.stack import LocalStack
from devhost.storage.config import StackError
from tests.api import API
from tests.e2e.conftest import environment
from tests.e2e.desk import CANARY, Answer, Desk
from tests.e2e.search import Secrets, answers, files, own_accounts
from triggers.http.endpoints import ENDPOINTS

ID = "00000000-000000000000000000000000"
HOSTS_OWN = [
    ("GET", "/runtime/webhooks/durabletask/instances", "system"),
    ("POST", f"/runtime/webhooks/durabletask/instances/{ID}/terminate", "system"),
    ("POST", "/runtime/webhooks/durabletask/orchestrators/transfer", "system"),
    ("GET", "/admin/host/status", "master"),
    ("POST", "/admin/functions/drain", "master"),
]
CALLS = [(method, f"/api/{route.replace('{id}', ID)}", level) for method, route, level in sorted(API)]
# A word such as `replay` may be an id, too.
READ = [re.compile(f"/api/{route.replace('{id}', '[^/]+')}") for method, route, _ in API if method == "GET"]


class Guarded:
    """A stack of its own whose host asks for keys; every answer is kept."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.keys: dict[str, str] = json.loads((desk.stack.state / "host-keys.json").read_text())

    def ask(self, method: str, path: str, key: str | None, *, in_url: bool = False) -> Answer:
        """Ask with this key, in the header or in the URL."""
        url = f"http://127.0.0.1:{self.desk.stack.host_port}{path}"
        headers = {} if key is None or in_url else {"x-functions-key": key}
        url += f"?code={key}" if key is not None and in_url else ""
        answer = self.desk._ask(method, url, b"{}" if method == "POST" else None, headers)
        self.desk.answers.append(f"{answer.headers} {answer.body!r}")
        return answer


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """It lives as long as this module."""
    state = tmp_path_factory.mktemp("guarded")
    with (state / "stack.log").open("w") as log:
        desk = Desk(environment(state) | {"DEVHOST_KEYS": "1", "HOST": ""}, log)
        desk.stack.start()
        try:
            yield Guarded(desk)
        finally:
            desk.close()


def test_every_endpoint_has_its_row() -> None:
    """A call that is in no row of the table would be tried by nobody here."""
    assert {(endpoint.method, endpoint.route, endpoint.level.name) for endpoint in ENDPOINTS} == API
    assert [route for _, route, level in API if level != "FUNCTION"] == ["health"]


@pytest.mark.parametrize(("method", "path", "level"), CALLS)
@pytest.mark.parametrize("in_url", [False, True], ids=["header", "code"])
def test_a_call_is_let_in_by_the_function_key_alone(
    guarded: Guarded, method: str, path: str, level: str, *, in_url: bool
) -> None:
    """Without a key and with a wrong one 401 and no body, for the app was not asked; `health` asks for none."""
    open_to_all = level == "ANONYMOUS"
    for key in (None, CANARY, guarded.keys["system"], guarded.keys["function"][:-1]):
        refused = guarded.ask(method, path, key, in_url=in_url)
        assert (refused.status != 401) is open_to_all
        assert bool(refused.body) is open_to_all
    admitted = guarded.ask(method, path, guarded.keys["function"], in_url=in_url)
    assert admitted.status in {200, 202, 400, 404, 503}
    assert admitted.headers["Content-Type"].startswith(("application/json", "application/problem+json"))


@pytest.mark.parametrize(("method", "path", "key"), HOSTS_OWN)
def test_the_function_key_opens_nothing_of_the_hosts_own(guarded: Guarded, method: str, path: str, key: str) -> None:
    """Neither the extension's API nor the admin's: they have keys of their own, which the app never hands out."""
    for given in (None, CANARY):
        assert guarded.ask(method, path, given).status == 401
    assert guarded.ask(method, path, guarded.keys["function"]).status == (403 if key == "system" else 401)
    assert guarded.ask("GET", HOSTS_OWN[3][1], guarded.keys["master"]).status == 200
    assert key in guarded.keys


def test_a_method_that_no_row_has_is_not_there(guarded: Guarded) -> None:
    """No OPTIONS that a browser of another origin could ask first, no PUT, HEAD only beside GET; no answer grants an origin."""
    paths = {path for _, path, _ in CALLS}
    asked = [(method, path) for path in paths for method in ("OPTIONS", "PUT", "PATCH")]
    asked += [("HEAD", path) for path in paths if not any(read.fullmatch(path) for read in READ)]
    assert {guarded.ask(method, path, guarded.keys["function"]).status for method, path in asked} == {404}
    assert not [answer for answer in guarded.desk.answers if "access-control-" in answer.lower()]


def test_no_key_that_was_sent_is_in_a_log_or_an_answer(guarded: Guarded) -> None:
    """But for the one line in which the stand-in tells its keys, because it was asked to."""
    desk = guarded.desk
    for method, path, _ in CALLS:
        for in_url in (False, True):
            guarded.ask(method, path, guarded.keys["function"], in_url=in_url)
    wanted = Secrets([desk.stack.key, CANARY, *guarded.keys.values()])
    assert wanted.leaks(answers(desk)) == wanted.leaks(own_accounts(desk)) == {}
    found = wanted.leaks(files(desk.stack.state))
    assert set(found) == {"stack.log"}
    told = [line for line in (desk.stack.state / "stack.log").read_bytes().splitlines() if wanted.found(line)]
    assert [line.partition(b" host: ")[2].partition(b" ")[0] for line in told] == [b"keys"]


def test_a_key_of_the_stack_that_is_none_is_said_with_the_fix(tmp_path: Path) -> None:
    """And not shown."""
    with pytest.raises(StackError, match=r"DEVHOST_KEY is not base64\. Fix: ") as failure:
        LocalStack(environment(tmp_path) | {"DEVHOST_KEY": "no base64!"})
    assert "no base64!" not in str(failure.value)
