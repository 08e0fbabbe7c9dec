"""The address of the app: from options, the environment or azd, or else the local stack."""

import json
from pathlib import Path

import pytest
from sharing import config
from sharing.config import LOCAL, Address, checked, find
from sharing.failure import Failure

from tests.unit.cli.conftest import Run
from tests.unit.cli.server import Answer, Server, page

KEY, TOKEN = "the-function-key", "the-token-of-azd"
SITE = "/subscriptions/1111/resourceGroups/rg/providers/Microsoft.Web/sites/func"
KEYS = f"POST {SITE}/host/default/listkeys"
AZURE = {"AZURE_TENANT_ID": "2222", "AZURE_SUBSCRIPTION_ID": "1111", "RESOURCE_GROUP": "rg", "FUNCTION_APP": "func"}
AZD = f"""#!/bin/sh
case "$1 $2" in
"env get-values") cat "$(dirname "$0")/values.json" ;;
"auth token") echo '{{"token": "{TOKEN}"}}' ;;
esac
"""


@pytest.fixture
def project(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder below a project with an azd environment, an azd on PATH, and the server in place of ARM and the app."""
    (tmp_path / "azd").write_text(AZD)
    (tmp_path / "azd").chmod(0o755)
    (tmp_path / "values.json").write_text(json.dumps({**AZURE, "API_URL": server.url}))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("SHARING_URL")
    monkeypatch.setattr(config, "ARM", server.url)
    (tmp_path / "azure.yaml").touch()
    (tmp_path / ".azure").mkdir()
    (tmp_path / ".azure" / "config.json").touch()
    (tmp_path / "docs").mkdir()
    monkeypatch.chdir(tmp_path / "docs")
    server.answers[KEYS] = [{"functionKeys": {"other": "another", "default": KEY}, "masterKey": "the-master-key"}]
    server.on("GET /transfers", page())
    return tmp_path


def test_an_option_comes_before_the_environment(tmp_path: Path) -> None:
    env = {"SHARING_URL": "https://env.example", "SHARING_KEY": "a", "SHARING_TOKEN": "t"}
    assert find({"url": "https://option.example"}, env, tmp_path) == Address("https://option.example", "a", "t")
    assert find({"key": "b"}, env, tmp_path) == Address("https://env.example", "b", "t")
    assert find({}, {}, tmp_path) == Address(LOCAL)


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("https://a.example/", "https://a.example"),
        ("https://a.example/api", "https://a.example"),
        ("https://a.example:8443/gate/api/", "https://a.example:8443/gate"),
        ("http://[::1]:7071", "http://[::1]:7071"),
    ],
)
def test_a_url_is_normal(given: str, url: str) -> None:
    assert checked(Address(given, "key")).url == url


def test_the_representation_holds_no_secret() -> None:
    assert repr(Address(LOCAL, "a-key", "a-token")) == f"Address(url='{LOCAL}')"


def test_azd_names_the_app_and_arm_its_key(run: Run, server: Server, project: Path) -> None:
    assert project
    done = run("ls")
    assert (done.code, [asked.call for asked in server.asked]) == (0, [KEYS, "GET /api/transfers"])
    sent = [{name.lower(): value for name, value in asked.headers.items()} for asked in server.asked]
    assert sent[0]["authorization"] == f"Bearer {TOKEN}"
    assert sent[1]["x-functions-key"] == KEY


def test_a_given_key_or_url_needs_no_arm(run: Run, server: Server, project: Path) -> None:
    assert project
    assert run("ls", "--key", "mine").code == 0
    assert run("ls", "--url", server.url).code == 0
    assert [asked.call for asked in server.asked] == ["GET /api/transfers"] * 2


@pytest.mark.parametrize(
    "answer",
    [Answer(403, {"error": {"code": "AuthorizationFailed"}}), {"functionKeys": {}}, Answer(200, b"<html>"), []],
)
def test_a_refusal_of_arm(run: Run, server: Server, project: Path, answer: object) -> None:
    assert project
    server.answers[KEYS] = [answer]
    done = run("ls")
    assert (done.code, "SHARING_KEY" in done.err) == (3, True)


@pytest.mark.parametrize("values", ["", "[]", "{}", "not JSON"])
def test_an_azd_environment_without_an_app(run: Run, project: Path, values: str) -> None:
    (project / "values.json").write_text(values)
    done = run("ls")
    assert done.code == 3
    assert "SHARING_URL" in done.err


def test_a_missing_azd(run: Run, project: Path) -> None:
    (project / "azd").unlink()
    assert "not on PATH" in run("ls").err


def test_a_failing_azd_is_not_quoted(run: Run, project: Path) -> None:
    (project / "azd").write_text("#!/bin/sh\necho the-secret; echo the-secret >&2; exit 1\n")
    done = run("ls")
    assert (done.code, "the-secret" in done.err) == (3, False)


def test_a_folder_without_an_environment_means_the_local_stack(project: Path) -> None:
    (project / ".azure" / "config.json").unlink()
    assert find({}, {}, project / "docs") == Address(LOCAL)
    (project / "values.json").unlink()
    with pytest.raises(Failure):
        find({}, {"AZURE_ENV_NAME": "demo"}, project / "docs")
