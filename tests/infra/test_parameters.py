"""The deployment's parameters: where they can be set, and which routes the compiler accepts."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, page
from tests.infra import snapshots
from tests.infra.snapshots import INFRA, Snapshot

Taken = Callable[[str], Snapshot]
PARAMETERS = (INFRA / "main.bicepparam").read_text()
# param <name> = ... readEnvironmentVariable('<variable>', '<default>') ...
KNOB = re.compile(r"^param (\w+) = [^\n]*?readEnvironmentVariable\(\s*'(\w+)'(?:,\s*'([^']*)')?", re.MULTILINE)
OUTPUTS = set(re.findall(r"^output (\w+) ", (INFRA / "main.bicep").read_text(), re.MULTILINE))
# What azd itself keeps, or asks for where main.bicepparam has no default, or an empty one.
OF_AZD = {"AZURE_ENV_NAME": "azd asks", "AZURE_LOCATION": "azd asks", "AZURE_PRINCIPAL_ID": "who is logged in"}


def knobs() -> list[tuple[str, str, str]]:
    """Each parameter with its environment variable and default, as the parameters file has them."""
    found = KNOB.findall(PARAMETERS)
    # Of what azd always sets the default is only there so that the file compiles without it.
    return [(name, variable, "" if default == "unset" else default) for name, variable, default in found]


def test_what_azd_is_asked_for_and_told_is_there() -> None:
    """`azd env set` names a variable of the parameters file, `azd env get-value` that or an output."""
    variables = {variable for _, variable, _ in knobs()}
    text = "\n".join(path.read_text() for path in PAGES)
    assert set(re.findall(r"azd env set (\w+)", text)) - {"NAME"} <= variables
    assert set(re.findall(r"azd env get-value (\w+)", text)) <= variables | OUTPUTS | {"AZURE_SUBSCRIPTION_ID"}


def test_a_pipeline_is_told_every_parameter_that_can_be_told() -> None:
    """But who deploys, which it says itself, and the routes, which azd would escape."""
    told_to_it = re.findall(r"^    - ([A-Z_]+)$", page("azure.yaml"), re.MULTILINE)
    assert set(told_to_it) == {variable for _, variable, _ in knobs()} - OF_AZD.keys() - {
        "AZURE_PRINCIPAL_TYPE",
        "SHARING_ROUTES",
    }


# The type of the routes alone: all that follows from them takes the compiler several times as long.
ROUTES_ALONE = "import { route } from 'types.bicep'\nparam routes route[]\n"
PARAMETERS_ALONE = "using 'routes.bicep'\nparam routes = json(readEnvironmentVariable('SHARING_ROUTES'))\n"


@pytest.fixture
def alone(tmp_path: Path) -> Path:
    """A parameters file that has only routes, with the type that `main.bicep` gives them."""
    assert "\nparam routes route[]\n" in (INFRA / "main.bicep").read_text()
    shutil.copy(INFRA / "types.bicep", tmp_path)
    (tmp_path / "routes.bicep").write_text(ROUTES_ALONE)
    (tmp_path / "routes.bicepparam").write_text(PARAMETERS_ALONE)
    return tmp_path / "routes.bicepparam"


def compiled(compiler: str, parameters: Path, text: str) -> int:
    """The exit code of the compiler for a parameters file with these routes."""
    command = [compiler, "build-params", str(parameters), "--stdout"]
    environment = snapshots.environment() | {"SHARING_ROUTES": text}
    return subprocess.run(command, env=environment, capture_output=True, check=False, cwd=ROOT).returncode


def test_the_examples_of_routes_compile(bicep: str, alone: Path) -> None:
    """As pasted from the pages."""
    text = "\n".join(path.read_text() for path in PAGES)
    examples = re.findall(r"azd env set SHARING_ROUTES '(\[.*?\])'$", text, re.DOTALL | re.MULTILINE)
    assert examples
    assert compiled(bicep, INFRA / "main.bicepparam", examples[0]) == 0
    assert [example for example in examples if compiled(bicep, alone, example) != 0] == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({}, 0),
        ({"engin": "sync"}, 1),
        ({"source": {"kontainer": "in"}}, 1),
        ({"source": {"container": "in", "prefx": "x"}}, 1),
        ({"source": {"container": "in", "topic": "t", "subscription": "s"}}, 0),
        ({"source": {"container": "in", "subscripton": "s"}}, 1),
    ],
)
def test_the_compiler_checks_the_fields_of_a_route(
    bicep: str, alone: Path, change: dict[str, object], code: int
) -> None:
    """It accepts known fields only."""
    route: dict[str, object] = {"name": "r", "source": {"container": "in"}, "target": {"container": "out"}}
    assert compiled(bicep, alone, json.dumps([route | change])) == code
