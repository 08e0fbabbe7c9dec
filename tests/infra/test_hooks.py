"""The azd hooks, run as azd does: in their folder, with the azd environment, and with a stub of `az`."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.infra.snapshots import INFRA, ROOT, SUBSCRIPTION
from tests.workshop.workshop import read

HOOKS = INFRA / "hooks"
SECRET = "eyJ0-token-that-nobody-should-see"
AZD = {"AZURE_ENV_NAME": "demo", "AZURE_LOCATION": "westeurope", "AZURE_SUBSCRIPTION_ID": SUBSCRIPTION}
# Answers by the beginning of a command; a number is an exit code.
STUB = """#!{python}
import json, pathlib, sys
here = pathlib.Path(__file__).parent
said = " ".join(sys.argv[1:])
with (here / "asked.txt").open("a") as file:
    file.write(said + "\\n")
answers = json.loads((here / "answers.json").read_text())
answer = next((answer for begin, answer in answers.items() if begin in said), 1)
if isinstance(answer, int):
    sys.exit("ERROR: {secret} " + said)
print(answer if isinstance(answer, str) and answer.startswith("raw ") else json.dumps(answer))
"""
OWNER = {"value": [{"actions": ["*"], "notActions": []}]}
CONTRIBUTOR = {"value": [{"actions": ["*"], "notActions": ["Microsoft.Authorization/*/Write"]}]}
ADMINISTRATOR = {"value": [{"actions": ["Microsoft.Authorization/roleAssignments/write", "*/read"], "notActions": []}]}
GROUP, WHOLE = "resourceGroups/rg-demo/providers", f"/subscriptions/{SUBSCRIPTION}/providers"
FINE: dict[str, Any] = {
    "provider show": "Registered",
    "functionapp list-flexconsumption-locations": ["eastus", "North Europe", "westeurope"],
    f"rest --method get --url {WHOLE}": OWNER,
}


@dataclass(frozen=True)
class Ran:
    """A hook's exit code, its output, and its calls of `az`."""

    code: int
    said: str
    asked: list[str]


def hook(folder: Path, answers: dict[str, Any] | None, environment: dict[str, str]) -> Ran:
    """Run `preprovision` with these answers; None leaves `az` out."""
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
    asked = folder / "asked.txt"
    return Ran(ran.returncode, ran.stdout, asked.read_text().splitlines() if asked.exists() else [])


def test_a_valid_deployment_prints_nothing(tmp_path: Path) -> None:
    """Both providers are checked; every command names the deployment's subscription."""
    ran = hook(tmp_path, FINE, AZD)
    assert (ran.code, ran.said) == (0, "")
    assert len(ran.asked) == 4
    assert all(f"--subscription {SUBSCRIPTION}" in line for line in ran.asked)
    assert [line.split()[3] for line in ran.asked[:2]] == ["Microsoft.App", "Microsoft.EventGrid"]


def test_a_missing_provider_is_registered(tmp_path: Path) -> None:
    ran = hook(tmp_path, FINE | {"provider show": "NotRegistered", "provider register": None}, AZD)
    assert ran.code == 0
    registered = [line for line in ran.asked if line.startswith("provider register")]
    assert [line.split()[3] for line in registered] == ["Microsoft.App", "Microsoft.EventGrid"]
    assert all("--wait" in line for line in registered)
    assert "Registering Microsoft.App" in ran.said


def test_without_a_network_one_provider_is_enough(tmp_path: Path) -> None:
    """No subnet is delegated."""
    ran = hook(tmp_path, FINE, AZD | {"VNET_ENABLED": "false"})
    assert [line.split()[3] for line in ran.asked if line.startswith("provider")] == ["Microsoft.EventGrid"]


def test_a_provider_that_cannot_be_registered_is_a_warning_with_its_command(tmp_path: Path) -> None:
    """Another user may have to run it; the other checks are made."""
    ran = hook(tmp_path, FINE | {"provider show": "NotRegistered"}, AZD)
    assert ran.code == 0
    for name in ("Microsoft.App", "Microsoft.EventGrid"):
        assert f"WARNING: {name} could not be registered" in ran.said
        assert f"az provider register --wait --namespace {name}" in ran.said
    assert any(line.startswith("rest") for line in ran.asked)


def test_a_region_without_flex_consumption_is_refused(tmp_path: Path) -> None:
    """The message lists the others in the spelling of AZURE_LOCATION."""
    ran = hook(tmp_path, FINE, AZD | {"AZURE_LOCATION": "qatarcentral"})
    assert ran.code == 1
    assert "ERROR: qatarcentral does not offer Flex Consumption" in ran.said
    assert "one of: eastus, northeurope, westeurope" in ran.said


@pytest.mark.parametrize("location", ["northeurope", "North Europe", "WestEurope"])
def test_a_region_is_accepted_in_each_spelling(location: str, tmp_path: Path) -> None:
    """That of az and that of azd."""
    assert hook(tmp_path, FINE, AZD | {"AZURE_LOCATION": location}).code == 0


@pytest.mark.parametrize(
    ("whole", "group", "code"),
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
def test_a_user_who_may_not_assign_roles_is_refused(whole: Any, group: Any, code: int, tmp_path: Path) -> None:
    """By the actions of the user's roles, in the subscription or in the group, if it exists."""
    answers = {f"url /subscriptions/{SUBSCRIPTION}/{GROUP}": group} if group else {}
    ran = hook(tmp_path, FINE | answers | {f"rest --method get --url {WHOLE}": whole}, AZD)
    assert ran.code == code
    assert ("ERROR: the user of" in ran.said) == bool(code)
    assert ("Role Based Access Control Administrator" in ran.said) == bool(code)


def test_one_run_reports_all_problems(tmp_path: Path) -> None:
    answers = FINE | {f"rest --method get --url {WHOLE}": CONTRIBUTOR}
    ran = hook(tmp_path, answers, AZD | {"AZURE_LOCATION": "qatarcentral"})
    assert (ran.code, ran.said.count("ERROR: ")) == (1, 2)


def test_a_missing_azure_cli_is_a_warning(tmp_path: Path) -> None:
    """Azd itself does not need `az`."""
    ran = hook(tmp_path, None, AZD)
    assert (ran.code, ran.said.count("\n")) == (0, 1)
    assert ran.said.startswith("WARNING: the Azure CLI (az) is not on PATH")


def test_an_unknown_subscription_is_a_warning(tmp_path: Path) -> None:
    """`azd provision` runs the hook before it asks for the subscription the first time."""
    ran = hook(tmp_path, FINE, {"AZURE_ENV_NAME": "demo"})
    assert (ran.code, ran.asked) == (0, [])
    assert ran.said.startswith("WARNING: azd has not asked for the subscription yet")


def test_an_unknown_region_is_a_warning(tmp_path: Path) -> None:
    """The other checks are made."""
    ran = hook(tmp_path, FINE, {name: value for name, value in AZD.items() if name != "AZURE_LOCATION"})
    assert (ran.code, ran.said.count("WARNING")) == (0, 1)
    assert "azd has not asked for the region yet" in ran.said


@pytest.mark.parametrize("answer", [1, "raw <html>", "raw {", [], {}, None, "text"])
@pytest.mark.parametrize("what", ["functionapp list-flexconsumption-locations", f"rest --method get --url {WHOLE}"])
def test_a_failed_check_is_a_warning(what: str, answer: Any, tmp_path: Path) -> None:
    """No login, an older `az`, an unexpected answer: the deployment continues, and the error output is not shown."""
    ran = hook(tmp_path, FINE | {what: answer}, AZD)
    assert (ran.code, ran.said.count("WARNING"), ran.said.count("\n")) == (0, 1, 1)


def test_an_az_that_cannot_be_run_is_a_warning(tmp_path: Path) -> None:
    """A file with this name that is not a program."""
    (tmp_path / "az").write_text("no program")
    (tmp_path / "az").chmod(0o755)
    ran = hook(tmp_path, None, AZD)
    assert (ran.code, "Traceback" in ran.said) == (0, False)
    assert ran.said.count("WARNING") == 4


def test_the_hooks_of_azure_yaml_exist() -> None:
    """Each is named by its path, which azd accepts on every system."""
    azure = read("azure.yaml")
    assert set(azure["hooks"]) == {"preprovision"}
    assert set(azure["services"]["app"]["hooks"]) == {"prepackage", "postpackage"}
    for name, each in {**azure["hooks"], **azure["services"]["app"]["hooks"]}.items():
        assert each["run"] == f"infra/hooks/{name}.py"
        assert (ROOT / each["run"]).is_file()


def test_a_hook_needs_only_the_standard_library() -> None:
    """The nearest requirements.txt, which azd installs for a hook, is empty."""
    lines = (HOOKS / "requirements.txt").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == []
    for path in HOOKS.glob("*.py"):
        ran = subprocess.run([sys.executable, "-I", "-S", "-c", IMPORTS, str(path)], capture_output=True, check=False)
        assert ran.returncode == 0, ran.stderr


# Without site-packages, every import of a hook is found.
IMPORTS = """
import ast, importlib, pathlib, sys
path = pathlib.Path(sys.argv[1])
sys.path.insert(0, str(path.parent))
for node in ast.walk(ast.parse(path.read_text())):
    for name in [node.module] if isinstance(node, ast.ImportFrom) else [each.name for each in getattr(node, "names", [])]:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            importlib.import_module(name)
"""
