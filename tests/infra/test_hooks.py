"""The hooks, run as azd runs them: each file in its folder, with the azd environment. `az` is a stub."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.infra.snapshots import INFRA, ROOT, SUBSCRIPTION
from tests.tooling.files import read

HOOKS = INFRA / "hooks"
SECRET = "eyJ0-token-that-must-stay-hidden"
AZD = {"AZURE_ENV_NAME": "demo", "AZURE_LOCATION": "westeurope", "AZURE_SUBSCRIPTION_ID": SUBSCRIPTION}
# Finds an answer by a part of the command. A number is an exit code.
STUB = """#!{python}
import json, pathlib, sys
here = pathlib.Path(__file__).parent
command = " ".join(sys.argv[1:])
with (here / "commands.txt").open("a") as file:
    file.write(command + "\\n")
answers = json.loads((here / "answers.json").read_text())
answer = next((answer for part, answer in answers.items() if part in command), 1)
if isinstance(answer, int):
    sys.exit("ERROR: {secret} " + command)
print(answer if isinstance(answer, str) and answer.startswith("raw ") else json.dumps(answer))
"""
OWNER = {"value": [{"actions": ["*"], "notActions": []}]}
CONTRIBUTOR = {"value": [{"actions": ["*"], "notActions": ["Microsoft.Authorization/*/Write"]}]}
ADMINISTRATOR = {"value": [{"actions": ["Microsoft.Authorization/roleAssignments/write", "*/read"], "notActions": []}]}
IN_GROUP, IN_SUBSCRIPTION = "resourceGroups/rg-demo/providers", f"/subscriptions/{SUBSCRIPTION}/providers"
PASSING: dict[str, Any] = {
    "provider show": "Registered",
    "functionapp list-flexconsumption-locations": ["eastus", "North Europe", "westeurope"],
    f"rest --method get --url {IN_SUBSCRIPTION}": OWNER,
}


@dataclass(frozen=True)
class Result:
    """The exit code of a hook, its output, and the commands that it ran."""

    code: int
    output: str
    commands: list[str]


def run_hook(folder: Path, answers: dict[str, Any] | None, environment: dict[str, str]) -> Result:
    """Run `preprovision` with a stub that gives these answers. With None, `az` does not exist."""
    if answers is not None:
        (folder / "answers.json").write_text(json.dumps(answers))
        (folder / "az").write_text(STUB.format(python=sys.executable, secret=SECRET))
        (folder / "az").chmod(0o755)
    script = HOOKS / "preprovision.py"
    ran = subprocess.run(
        [sys.executable, str(script)],
        cwd=script.parent,
        env={**environment, "PATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stderr == ""
    assert SECRET not in ran.stdout
    log = folder / "commands.txt"
    return Result(ran.returncode, ran.stdout, log.read_text().splitlines() if log.exists() else [])


def test_nothing_is_printed_if_all_checks_pass(tmp_path: Path) -> None:
    """Every command names the deployment's subscription."""
    result = run_hook(tmp_path, PASSING, AZD)
    assert (result.code, result.output) == (0, "")
    assert len(result.commands) == 4
    assert all(f"--subscription {SUBSCRIPTION}" in line for line in result.commands)
    assert [line.split()[3] for line in result.commands[:2]] == ["Microsoft.App", "Microsoft.EventGrid"]


def test_a_missing_provider_is_registered(tmp_path: Path) -> None:
    result = run_hook(tmp_path, PASSING | {"provider show": "NotRegistered", "provider register": None}, AZD)
    assert result.code == 0
    registered = [line for line in result.commands if line.startswith("provider register")]
    assert [line.split()[3] for line in registered] == ["Microsoft.App", "Microsoft.EventGrid"]
    assert all("--wait" in line for line in registered)
    assert "Registering Microsoft.App" in result.output


def test_without_a_network_only_event_grid_is_needed(tmp_path: Path) -> None:
    result = run_hook(tmp_path, PASSING, AZD | {"VNET_ENABLED": "false"})
    assert [line.split()[3] for line in result.commands if line.startswith("provider")] == ["Microsoft.EventGrid"]


def test_a_provider_that_cannot_be_registered_is_a_warning_with_its_command(tmp_path: Path) -> None:
    """Another person may be able to register it. The other checks continue."""
    result = run_hook(tmp_path, PASSING | {"provider show": "NotRegistered"}, AZD)
    assert result.code == 0
    for name in ("Microsoft.App", "Microsoft.EventGrid"):
        assert f"WARNING: {name} could not be registered" in result.output
        assert f"az provider register --wait --namespace {name}" in result.output
    assert any(line.startswith("rest") for line in result.commands)


def test_a_region_without_flex_consumption_is_refused(tmp_path: Path) -> None:
    """The message lists the regions that AZURE_LOCATION accepts."""
    result = run_hook(tmp_path, PASSING, AZD | {"AZURE_LOCATION": "qatarcentral"})
    assert result.code == 1
    assert "ERROR: qatarcentral does not offer Flex Consumption" in result.output
    assert "one of: eastus, northeurope, westeurope" in result.output


@pytest.mark.parametrize("location", ["northeurope", "North Europe", "WestEurope"])
def test_each_spelling_of_a_region_is_accepted(location: str, tmp_path: Path) -> None:
    assert run_hook(tmp_path, PASSING, AZD | {"AZURE_LOCATION": location}).code == 0


@pytest.mark.parametrize(
    ("in_subscription", "in_group", "code"),
    [
        (OWNER, None, 0),
        (ADMINISTRATOR, None, 0),
        ({"value": [*CONTRIBUTOR["value"], *ADMINISTRATOR["value"]]}, None, 0),
        (CONTRIBUTOR, OWNER, 0),
        (CONTRIBUTOR, CONTRIBUTOR, 1),
        (CONTRIBUTOR, None, 1),
        ({"value": [{"actions": ["*/read"]}]}, None, 1),
        ({"value": []}, None, 1),
    ],
)
def test_a_user_who_may_not_assign_roles_is_refused(
    in_subscription: Any, in_group: Any, code: int, tmp_path: Path
) -> None:
    """By the actions of their roles in the subscription, or in the resource group if it exists."""
    answers = {f"url /subscriptions/{SUBSCRIPTION}/{IN_GROUP}": in_group} if in_group else {}
    result = run_hook(
        tmp_path, PASSING | answers | {f"rest --method get --url {IN_SUBSCRIPTION}": in_subscription}, AZD
    )
    assert result.code == code
    assert ("ERROR: the user of" in result.output) == bool(code)
    assert ("Role Based Access Control Administrator" in result.output) == bool(code)


def test_all_errors_are_reported_in_one_run(tmp_path: Path) -> None:
    answers = PASSING | {f"rest --method get --url {IN_SUBSCRIPTION}": CONTRIBUTOR}
    result = run_hook(tmp_path, answers, AZD | {"AZURE_LOCATION": "qatarcentral"})
    assert (result.code, result.output.count("ERROR: ")) == (1, 2)


def test_without_the_azure_cli_it_warns_and_continues(tmp_path: Path) -> None:
    result = run_hook(tmp_path, None, AZD)
    assert (result.code, result.output.count("\n")) == (0, 1)
    assert result.output.startswith("WARNING: the Azure CLI (az) is not on PATH")


def test_without_a_subscription_it_warns_and_runs_no_command(tmp_path: Path) -> None:
    """`azd provision` runs the hook before it first asks for the subscription."""
    result = run_hook(tmp_path, PASSING, {"AZURE_ENV_NAME": "demo"})
    assert (result.code, result.commands) == (0, [])
    assert result.output.startswith("WARNING: azd has not asked for the subscription yet")


def test_without_a_region_it_warns(tmp_path: Path) -> None:
    result = run_hook(tmp_path, PASSING, {name: value for name, value in AZD.items() if name != "AZURE_LOCATION"})
    assert (result.code, result.output.count("WARNING")) == (0, 1)
    assert "azd has not asked for the region yet" in result.output


@pytest.mark.parametrize("answer", [1, "raw <html>", "raw {", [], {}, None, "text"])
@pytest.mark.parametrize(
    "what", ["functionapp list-flexconsumption-locations", f"rest --method get --url {IN_SUBSCRIPTION}"]
)
def test_a_failed_check_is_a_warning(what: str, answer: Any, tmp_path: Path) -> None:
    """For example without a login, or with an older `az`. The error text is not shown."""
    result = run_hook(tmp_path, PASSING | {what: answer}, AZD)
    assert (result.code, result.output.count("WARNING"), result.output.count("\n")) == (0, 1, 1)


def test_an_az_that_cannot_be_run_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "az").write_text("not a program")
    (tmp_path / "az").chmod(0o755)
    result = run_hook(tmp_path, None, AZD)
    assert (result.code, "Traceback" in result.output) == (0, False)
    assert result.output.count("WARNING") == 4


def test_the_hooks_in_azure_yaml_exist() -> None:
    azure = read("azure.yaml")
    assert set(azure["hooks"]) == {"preprovision"}
    assert set(azure["services"]["app"]["hooks"]) == {"prepackage", "postpackage"}
    for name, each in {**azure["hooks"], **azure["services"]["app"]["hooks"]}.items():
        assert each["run"] == f"infra/hooks/{name}.py"
        assert (ROOT / each["run"]).is_file()


def test_a_hook_needs_only_the_standard_library() -> None:
    """azd installs the nearest requirements.txt for a hook; this one is empty."""
    lines = (HOOKS / "requirements.txt").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == []
    for path in HOOKS.glob("*.py"):
        ran = subprocess.run([sys.executable, "-I", "-S", "-c", IMPORTS, str(path)], capture_output=True, check=False)
        assert ran.returncode == 0, ran.stderr


# Imports all modules that a hook imports, without site-packages.
IMPORTS = """
import ast, importlib, pathlib, sys
path = pathlib.Path(sys.argv[1])
sys.path.insert(0, str(path.parent))
for node in ast.walk(ast.parse(path.read_text())):
    for name in [node.module] if isinstance(node, ast.ImportFrom) else [each.name for each in getattr(node, "names", [])]:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            importlib.import_module(name)
"""
