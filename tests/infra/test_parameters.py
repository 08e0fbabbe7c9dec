"""Deployment parameters: where they can be set, and which routes the compiler accepts."""

import json
import re
import shutil
import subprocess

import pytest

from tests.docs.pages import PAGES, ROOT, page
from tests.infra import snapshots
from tests.infra.compiler import Compiler
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
    expected = {variable for _, variable, _ in parameters()} - FROM_AZD.keys()
    assert sorted(pipeline_variables) == sorted(expected - {"AZURE_PRINCIPAL_TYPE", "SHARING_ROUTES"})


# Only the type of the routes: compiling the whole template takes several times as long.
ROUTES_TEMPLATE = "import { route } from 'types.bicep'\nparam routes route[]\n"
ROUTES_PARAMETERS = "using 'routes.bicep'\nparam routes = json(loadTextContent('{}.txt'))\n"
# Changes of a valid route, and whether the compiler accepts them.
CHANGES: list[tuple[dict[str, object], bool]] = [
    ({}, True),
    ({"engin": "sync"}, False),
    ({"source": {"kontainer": "in"}}, False),
    ({"source": {"container": "in", "prefx": "x"}}, False),
    ({"source": {"container": "in", "topic": "t", "subscription": "s"}}, True),
    ({"source": {"container": "in", "subscripton": "s"}}, False),
    ({"source": {"container": "in", "hierarchical": True}}, True),
    ({"source": {"container": "in", "hierarchical": "true"}}, False),
]


def examples() -> list[str]:
    """The routes that the documentation sets."""
    text = "\n".join(path.read_text() for path in PAGES)
    return re.findall(r"azd env set SHARING_ROUTES '(\[.*?\])'$", text, re.DOTALL | re.MULTILINE)


def changed(change: dict[str, object]) -> str:
    route: dict[str, object] = {"name": "r", "source": {"container": "in"}, "target": {"container": "out"}}
    return json.dumps([route | change])


@pytest.fixture(scope="module")
def accepted(compiler: Compiler, tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The texts, of all examples and changes, that have the type of main.bicep."""
    assert "\nparam routes route[]\n" in (INFRA / "main.bicep").read_text()
    folder = tmp_path_factory.mktemp("routes")
    shutil.copy(INFRA / "types.bicep", folder)
    (folder / "routes.bicep").write_text(ROUTES_TEMPLATE)
    found = set()
    for number, text in enumerate([*examples(), *(changed(change) for change, _ in CHANGES)]):
        (folder / f"{number}.txt").write_text(text)
        path = folder / f"{number}.bicepparam"
        path.write_text(ROUTES_PARAMETERS.format(number))
        answer = compiler.ask("compileParams", path=str(path), parameterOverrides={})
        assert answer["success"] or "Error" in {each["level"] for each in answer["diagnostics"]}
        if answer["success"]:
            found.add(text)
    return found


def test_the_examples_of_routes_compile(bicep: str, accepted: set[str]) -> None:
    assert examples()
    command = [bicep, "build-params", str(INFRA / "main.bicepparam"), "--stdout"]
    environment = snapshots.environment() | {"SHARING_ROUTES": examples()[0]}
    assert subprocess.run(command, env=environment, capture_output=True, check=False, cwd=ROOT).returncode == 0
    assert set(examples()) - accepted == set()


@pytest.mark.parametrize(("change", "valid"), CHANGES)
def test_the_compiler_checks_the_fields_of_a_route(accepted: set[str], change: dict[str, object], valid: bool) -> None:  # noqa: FBT001
    assert (changed(change) in accepted) is valid
