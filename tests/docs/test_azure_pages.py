"""What the pages say of Azure is what `infra/` does: parameters, roles, routes, and the values that azd keeps."""

import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, code, page, rows, section
from tests.infra import snapshots
from tests.infra.snapshots import INFRA, NAMES, Snapshot
from tests.infra.test_roles import roles

Taken = Callable[[str], Snapshot]
PARAMETERS = (INFRA / "main.bicepparam").read_text()
# param <name> = ... readEnvironmentVariable('<variable>', '<default>') ...
KNOB = re.compile(r"^param (\w+) = [^\n]*?readEnvironmentVariable\(\s*'(\w+)'(?:,\s*'([^']*)')?", re.MULTILINE)
OUTPUTS = set(re.findall(r"^output (\w+) ", (INFRA / "main.bicep").read_text(), re.MULTILINE))
# What azd itself keeps, or asks for where main.bicepparam has no default, or an empty one.
OF_AZD = {"AZURE_ENV_NAME": "azd asks", "AZURE_LOCATION": "azd asks", "AZURE_PRINCIPAL_ID": "who is logged in"}
PEOPLE = {"app": "the app's identity", "tester": "who deploys"}
AZURE = page("docs/azure.md")


def knobs() -> list[tuple[str, str, str]]:
    """Each parameter with its environment variable and default, as the parameters file has them."""
    found = KNOB.findall(PARAMETERS)
    # Of what azd always sets the default is only there so that the file compiles without it.
    return [(name, variable, "" if default == "unset" else default) for name, variable, default in found]


def told(*texts: str) -> list[tuple[str, str, str]]:
    """The same, as the tables of the pages have them."""
    table = [row for text in texts for row in rows(text) if len(row) == 4 and re.fullmatch(r"`[A-Z_]+`", row[1])]
    found = []
    for name, variable, default, _ in table:
        known = OF_AZD.get(code(variable)[0])
        empty = default == (known or "none")
        found.append((code(name)[0], code(variable)[0], "" if empty else (code(default) or [default])[0]))
    return found


def test_every_parameter_is_on_one_page_with_its_true_default() -> None:
    """Each once, by its variable; and every parameter of main.bicepparam is one that can be set."""
    assert len(knobs()) == len(re.findall(r"^param ", PARAMETERS, re.MULTILINE))
    assert Counter(told(*(page(f"docs/{name}.md") for name in ("azure", "network", "scale")))) == Counter(knobs())


def test_a_wrong_default_is_found() -> None:
    """And one that is said to be empty but is not."""
    row = "| `softDeleteDays` | `SOFT_DELETE_DAYS` | `{}` | how long |"
    head = "| parameter | environment variable | default | does |\n| --- | --- | --- | --- |\n"
    assert told(head + row.format(7))[0] in knobs()
    assert told(head + row.format(8))[0] not in knobs()
    assert told(head + row.replace("`{}`", "none"))[0] not in knobs()


def test_what_azd_is_asked_for_and_told_is_there() -> None:
    """`azd env set` names a variable of the parameters file, `azd env get-value` that or an output."""
    variables = {variable for _, variable, _ in knobs()}
    text = "\n".join(path.read_text() for path in PAGES)
    assert set(re.findall(r"azd env set (\w+)", text)) - {"NAME"} <= variables
    assert set(re.findall(r"azd env get-value (\w+)", text)) <= variables | OUTPUTS | {"AZURE_SUBSCRIPTION_ID"}


def test_the_roles_are_those_that_are_assigned(snapshot: Taken) -> None:
    """Who has which, over all scenarios, both ways."""
    assigned = {(who, role) for name in NAMES for who, role, _ in roles(snapshot(name))}
    table = {
        (who, role.removeprefix("Storage ")) for who, role, *_ in rows(section(page("docs/settings.md"), "## Roles"))
    }
    assert table == {(PEOPLE.get(who, "the topic of each source account"), role) for who, role in assigned}


def test_the_version_of_azd_is_the_one_that_azure_yaml_takes() -> None:
    """One that is older deletes the group of an existing account."""
    [least] = re.findall(r'^  azd: ">= ([\d.]+)"$', page("azure.yaml"), re.MULTILINE)
    assert least == "1.24.1"
    assert f"{least} or newer" in AZURE
    assert f"{least} or newer" in page("README.md")


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
    """A parameters file of nothing but routes, which have the type that they have in `main.bicep`."""
    assert "\nparam routes route[]\n" in (INFRA / "main.bicep").read_text()
    shutil.copy(INFRA / "types.bicep", tmp_path)
    (tmp_path / "routes.bicep").write_text(ROUTES_ALONE)
    (tmp_path / "routes.bicepparam").write_text(PARAMETERS_ALONE)
    return tmp_path / "routes.bicepparam"


def compiled(compiler: str, parameters: Path, text: str) -> int:
    """What the compiler says of a parameters file with these routes."""
    command = [compiler, "build-params", str(parameters), "--stdout"]
    environment = snapshots.environment() | {"SHARING_ROUTES": text}
    return subprocess.run(command, env=environment, capture_output=True, check=False, cwd=ROOT).returncode


def test_the_examples_of_routes_compile(bicep: str, alone: Path) -> None:
    """As they stand on the page; an end without a container does not: of one route alone the compiler sees that."""
    pages = AZURE + page("docs/network.md")
    examples = re.findall(r"azd env set SHARING_ROUTES '(\[.*?\])'$", pages, re.DOTALL | re.MULTILINE)
    assert len(examples) == 3
    assert compiled(bicep, INFRA / "main.bicepparam", examples[0]) == 0
    for example in examples:
        assert compiled(bicep, alone, example) == 0
    route = json.loads(examples[1])[0]
    assert compiled(bicep, alone, json.dumps([route])) == 0
    assert compiled(bicep, alone, json.dumps([route]).replace('"container"', '"kontainer"', 1)) != 0
    assert compiled(bicep, alone, json.dumps([route | {"engin": "sync"}])) != 0
    assert compiled(bicep, alone, json.dumps([route | {"source": route["source"] | {"prefx": "x"}}])) != 0
    assert (
        compiled(bicep, alone, json.dumps([route | {"source": route["source"] | {"topic": "t", "subscription": "s"}}]))
        == 0
    )
    assert compiled(bicep, alone, json.dumps([route | {"source": route["source"] | {"subscripton": "s"}}])) != 0


def test_every_field_of_an_end_is_explained() -> None:
    """Each that types.bicep takes, and no other."""
    [end] = re.findall(r"^type end = \{\n(.*?)^\}", (INFRA / "types.bicep").read_text(), re.DOTALL | re.MULTILINE)
    fields = set(re.findall(r"^  (\w+): ", end, re.MULTILINE))
    table = {code(row[0])[0] for row in rows(section(AZURE, "## 6. Your own accounts, more targets"))}
    assert table == fields - {"container"}


def test_what_event_grid_answers_before_roles_have_spread_leads_to_a_row() -> None:
    """By the words that a person sees."""
    told = {row[0]: row[1] for row in rows(section(AZURE, "## When it fails"))}
    assert told["`Managed Identity Authorization Error`"].endswith("wait ten minutes, `azd up` again")


UNCHANGED = re.compile(r"azd provision`?(?: again| brings| sets|, which writes)")


def test_an_unchanged_template_is_applied_without_the_state() -> None:
    """Azd skips one that it has applied before."""
    texts = [path.read_text() for path in [*PAGES, *(ROOT / "smoke").glob("*.py")]]
    assert [found[0] for text in texts for found in UNCHANGED.finditer(text)] == []
    assert any("azd provision --no-state" in text for text in texts)
    assert UNCHANGED.search("the next `azd provision` sets it back")


@pytest.mark.parametrize("heading", ["Features", "Getting Started", "Guidance", "Resources"])
def test_the_readme_has_the_sections_of_the_template_gallery(heading: str) -> None:
    """Those that microsoft/template-validation-action looks for."""
    assert section(page("README.md"), f"## {heading}").strip()


def test_the_guidance_says_what_whoever_pays_and_answers_asks() -> None:
    """What it costs, where it can be, and what of its security is whose."""
    guidance = section(page("README.md"), "## Guidance")
    assert re.findall(r"^### (.+)$", guidance, re.MULTILINE) == ["Costs", "Regions", "Security"]
