"""Deployment parameters: where they can be set, and which routes the compiler accepts."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, page
from tests.infra import snapshots
from tests.infra.snapshots import INFRA

PARAMETERS_FILE = (INFRA / "main.bicepparam").read_text()
# param <name> = ... readEnvironmentVariable('<variable>', '<default>') ...
PARAMETER = re.compile(r"^param (\w+) = [^\n]*?readEnvironmentVariable\(\s*'(\w+)'(?:,\s*'([^']*)')?", re.MULTILINE)
OUTPUTS = set(re.findall(r"^output (\w+) ", (INFRA / "main.bicep").read_text(), re.MULTILINE))
# Values that azd provides, or asks for if main.bicepparam has no default.
FROM_AZD = {"AZURE_ENV_NAME": "azd asks", "AZURE_LOCATION": "azd asks", "AZURE_PRINCIPAL_ID": "who is logged in"}


def parameters() -> list[tuple[str, str, str]]:
    """Each parameter with its environment variable and default."""
    found = PARAMETER.findall(PARAMETERS_FILE)
    # azd always sets these variables; their default `unset` only lets the file compile without azd.
    return [(name, variable, "" if default == "unset" else default) for name, variable, default in found]


def test_azd_commands_in_the_documentation_name_existing_variables() -> None:
    """`azd env set` names a variable of the parameters file, `azd env get-value` also an output."""
    variables = {variable for _, variable, _ in parameters()}
    text = "\n".join(path.read_text() for path in PAGES)
    assert set(re.findall(r"azd env set (\w+)", text)) - {"NAME"} <= variables
    assert set(re.findall(r"azd env get-value (\w+)", text)) <= variables | OUTPUTS | {"AZURE_SUBSCRIPTION_ID"}


def test_a_pipeline_gets_every_parameter_that_azd_can_pass() -> None:
    """The pipeline itself sets the principal type, and azd would escape the routes."""
    pipeline_variables = re.findall(r"^    - ([A-Z_]+)$", page("azure.yaml"), re.MULTILINE)
    assert set(pipeline_variables) == {variable for _, variable, _ in parameters()} - FROM_AZD.keys() - {
        "AZURE_PRINCIPAL_TYPE",
        "SHARING_ROUTES",
    }


# Only the type of the routes: compiling the whole template takes several times as long.
ROUTES_TEMPLATE = "import { route } from 'types.bicep'\nparam routes route[]\n"
ROUTES_PARAMETERS = "using 'routes.bicep'\nparam routes = json(readEnvironmentVariable('SHARING_ROUTES'))\n"


@pytest.fixture
def routes_file(tmp_path: Path) -> Path:
    """A parameters file for the routes, with the type that main.bicep gives them."""
    assert "\nparam routes route[]\n" in (INFRA / "main.bicep").read_text()
    shutil.copy(INFRA / "types.bicep", tmp_path)
    (tmp_path / "routes.bicep").write_text(ROUTES_TEMPLATE)
    (tmp_path / "routes.bicepparam").write_text(ROUTES_PARAMETERS)
    return tmp_path / "routes.bicepparam"


def compile_routes(compiler: str, parameters: Path, text: str) -> int:
    """Returns the compiler's exit code for these routes."""
    command = [compiler, "build-params", str(parameters), "--stdout"]
    environment = snapshots.environment() | {"SHARING_ROUTES": text}
    return subprocess.run(command, env=environment, capture_output=True, check=False, cwd=ROOT).returncode


def test_the_examples_of_routes_compile(bicep: str, routes_file: Path) -> None:
    text = "\n".join(path.read_text() for path in PAGES)
    examples = re.findall(r"azd env set SHARING_ROUTES '(\[.*?\])'$", text, re.DOTALL | re.MULTILINE)
    assert examples
    assert compile_routes(bicep, INFRA / "main.bicepparam", examples[0]) == 0
    assert [example for example in examples if compile_routes(bicep, routes_file, example) != 0] == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({}, 0),
        ({"engin": "sync"}, 1),
        ({"source": {"kontainer": "in"}}, 1),
        ({"source": {"container": "in", "prefx": "x"}}, 1),
        ({"source": {"container": "in", "topic": "t", "subscription": "s"}}, 0),
        ({"source": {"container": "in", "subscripton": "s"}}, 1),
        ({"source": {"container": "in", "hierarchical": True}}, 0),
        ({"source": {"container": "in", "hierarchical": "true"}}, 1),
    ],
)
def test_the_compiler_checks_the_fields_of_a_route(
    bicep: str, routes_file: Path, change: dict[str, object], code: int
) -> None:
    route: dict[str, object] = {"name": "r", "source": {"container": "in"}, "target": {"container": "out"}}
    assert compile_routes(bicep, routes_file, json.dumps([route | change])) == code
