"""What the workshop says in several places is the same everywhere, and what it names is there."""

import importlib.util
import re
import tomllib
from typing import Any

import pytest
from packaging.specifiers import SpecifierSet

from devhost.stack import LocalStack
from tests.docs.pages import page
from tests.docs.test_pages import LINK, MACHINE, anchors
from tests.workshop.workshop import FORMS, ROOT, WORKFLOWS, read

PAGES = ("CHANGELOG.md", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "SECURITY.md")
CONTAINER = read(".devcontainer/devcontainer.json")
PROJECT = tomllib.loads(page("pyproject.toml"))["project"]
TARGETS = set(re.findall(r"^([a-z-]+):", page("Makefile"), re.MULTILINE))
MAKE = re.compile(r"(?:^|`|\"|run: |&& )make ([a-z-]+)", re.MULTILINE)
# Every file that tells somebody, or something, to make a thing.
TELLING = (
    *WORKFLOWS,
    ".github/pull_request_template.md",
    ".devcontainer/devcontainer.json",
    ".vscode/tasks.json",
    "CONTRIBUTING.md",
)


def pythons() -> list[str]:
    """The versions that pyproject.toml allows."""
    allowed = SpecifierSet(PROJECT["requires-python"])
    return [f"3.{minor}" for minor in range(8, 40) if f"3.{minor}" in allowed]


def feature(name: str) -> Any:
    """The options of a feature of the container."""
    [options] = [value for key, value in CONTAINER["features"].items() if f"/{name}:" in key]
    return options


def test_every_python_is_tried() -> None:
    """The matrix of CI is what pyproject.toml allows."""
    assert read(".github/workflows/ci.yml")["jobs"]["test"]["strategy"]["matrix"]["python"] == pythons()


def test_the_container_has_the_python_of_azure() -> None:
    """A developer sees what the app runs on."""
    [runtime] = re.findall(r"runtime: \{ name: 'python', version: '([\d.]+)' \}", page("infra/app.bicep"))
    assert runtime in pythons()
    assert re.fullmatch(rf"mcr\.microsoft\.com/devcontainers/python:\d+-{re.escape(runtime)}-\w+", CONTAINER["image"])


def test_the_container_has_a_node_that_is_new_enough() -> None:
    """For the emulator, as the Makefile asks."""
    [least] = re.findall(r"parseInt\(process\.versions\.node\) < (\d+)", page("Makefile"))
    assert int(feature("node")["version"]) >= int(least)


def test_container_and_ci_have_the_same_bicep() -> None:
    """The rules differ from version to version."""
    [step] = [each for each in read(".github/workflows/ci.yml")["jobs"]["test"]["steps"] if "Bicep" in each["name"]]
    assert feature("azure-cli") == {"installBicep": True, "bicepVersion": step["env"]["VERSION"]}


def test_what_the_container_is_made_of_is_pinned() -> None:
    """Features by their whole version, the tools of npm too."""
    assert all(re.fullmatch(r"ghcr\.io/[\w./-]+:\d+\.\d+\.\d+", name) for name in CONTAINER["features"])
    assert {name.rpartition("/")[2].partition(":")[0] for name in CONTAINER["features"]} == {"node", "azure-cli", "azd"}
    assert re.fullmatch(
        r"npm install --global azure-functions-core-tools@4\.\d+\.\d+", CONTAINER["postCreateCommand"]["core-tools"]
    )


def test_the_ports_of_the_stack_have_their_names() -> None:
    """Those that it uses when nobody says otherwise."""
    stack = LocalStack({})
    ports = [stack.host_port, stack.blob_port, stack.queue_port, stack.table_port]
    assert CONTAINER["forwardPorts"] == ports
    assert list(CONTAINER["portsAttributes"]) == [str(port) for port in ports]
    assert all(each["label"] for each in CONTAINER["portsAttributes"].values())


def test_the_container_brings_what_the_editor_recommends() -> None:
    """The same extensions."""
    assert CONTAINER["customizations"]["vscode"]["extensions"] == read(".vscode/extensions.json")["recommendations"]


def test_what_is_launched_is_there() -> None:
    """Modules that Python finds, tasks that have their name."""
    tasks = {task["label"] for task in read(".vscode/tasks.json")["tasks"]}
    assert tasks == {"demo", "run", "setup", "lint", "test"}
    for each in read(".vscode/launch.json")["configurations"]:
        assert importlib.util.find_spec(each["module"])
        assert each["preLaunchTask"] in tasks


@pytest.mark.parametrize("name", TELLING)
def test_a_make_target_exists(name: str) -> None:
    """What a file tells one to make, the Makefile can."""
    named = set(MAKE.findall(page(name)))
    assert named <= TARGETS
    assert named or name.endswith("azure-dev.yml")


@pytest.mark.parametrize("name", PAGES)
def test_a_link_resolves(name: str) -> None:
    """To a file and its heading; or to a page that GitHub has beside the code, whatever the repository is called."""
    for link in LINK.findall(page(name)):
        if link.startswith(("https://", "../../security/")):
            continue
        place, _, anchor = link.partition("#")
        target = ROOT / (place or name)
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("name", FORMS)
def test_a_link_of_a_form_resolves(name: str) -> None:
    """A form is shown at `/issues/new`: what it links to lies beside it."""
    for link in LINK.findall(page(name)):
        assert link == "../security/advisories/new" or link.startswith("../blob/main/")
        place, _, anchor = link.removeprefix("../blob/main/").partition("#")
        assert place.startswith("..") or (ROOT / place).is_file(), link
        assert not anchor or anchor in anchors(ROOT / place), link


@pytest.mark.parametrize("name", PAGES)
def test_no_line_names_a_path_of_a_machine(name: str) -> None:
    """Nor does any of these pages."""
    assert [line for line in page(name).splitlines() if MACHINE.search(line)] == []


def test_the_changelog_has_this_version() -> None:
    """The version of pyproject.toml is its newest heading."""
    heads = re.findall(r"^## \[([\d.]+)\]", page("CHANGELOG.md"), re.MULTILINE)
    assert heads[0] == PROJECT["version"]
