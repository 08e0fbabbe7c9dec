"""Versions, names and links in the configuration files agree with each other."""

import importlib.util
import re
import tomllib
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from devhost.stack import LocalStack
from tests.docs.pages import LINK, MACHINE_PATH, anchors, page
from tests.tooling.files import FORMS, ROOT, WORKFLOWS, read

PAGES = ("CHANGELOG.md", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "SECURITY.md")
CONTAINER = read(".devcontainer/devcontainer.json")
PROJECT = tomllib.loads(page("pyproject.toml"))["project"]
TARGETS = set(re.findall(r"^([a-z-]+):", page("Makefile"), re.MULTILINE))
MAKE = re.compile(r"(?:^|`|\"|run: |&& )make ([a-z-]+)", re.MULTILINE)
# Files that call make targets.
WITH_MAKE = (
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


def test_ci_tests_every_python() -> None:
    assert read(".github/workflows/ci.yml")["jobs"]["test"]["strategy"]["matrix"]["python"] == pythons()


def test_the_container_has_the_python_of_azure() -> None:
    """The version in infra/app.bicep."""
    [runtime] = re.findall(r"runtime: \{ name: 'python', version: '([\d.]+)' \}", page("infra/app.bicep"))
    assert runtime in pythons()
    assert re.fullmatch(rf"mcr\.microsoft\.com/devcontainers/python:\d+-{re.escape(runtime)}-\w+", CONTAINER["image"])


def test_the_node_of_the_container_is_new_enough() -> None:
    [minimum] = re.findall(r"parseInt\(process\.versions\.node\) < (\d+)", page("Makefile"))
    assert int(feature("node")["version"]) >= int(minimum)


def test_container_and_ci_have_the_same_bicep() -> None:
    """Linter rules differ between versions."""
    [step] = [each for each in read(".github/workflows/ci.yml")["jobs"]["test"]["steps"] if "Bicep" in each["name"]]
    assert feature("azure-cli") == {"installBicep": True, "bicepVersion": step["env"]["VERSION"]}


def test_features_and_tools_of_the_container_are_pinned() -> None:
    assert all(re.fullmatch(r"ghcr\.io/[\w./-]+:\d+\.\d+\.\d+", name) for name in CONTAINER["features"])
    assert {name.rpartition("/")[2].partition(":")[0] for name in CONTAINER["features"]} == {"node", "azure-cli", "azd"}
    assert re.fullmatch(
        r"npm install --global azure-functions-core-tools@4\.\d+\.\d+", CONTAINER["postCreateCommand"]["core-tools"]
    )


def test_the_ports_of_the_stack_are_forwarded_and_labelled() -> None:
    stack = LocalStack({})
    ports = [stack.host_port, stack.blob_port, stack.queue_port, stack.table_port]
    assert CONTAINER["forwardPorts"] == ports
    assert list(CONTAINER["portsAttributes"]) == [str(port) for port in ports]
    assert all(each["label"] for each in CONTAINER["portsAttributes"].values())


def test_container_and_editor_have_the_same_extensions() -> None:
    assert CONTAINER["customizations"]["vscode"]["extensions"] == read(".vscode/extensions.json")["recommendations"]


def test_launch_configurations_name_existing_modules_and_tasks() -> None:
    tasks = {task["label"] for task in read(".vscode/tasks.json")["tasks"]}
    assert tasks == {"demo", "run", "setup", "lint", "test"}
    for each in read(".vscode/launch.json")["configurations"]:
        assert importlib.util.find_spec(each["module"])
        assert each["preLaunchTask"] in tasks


@pytest.mark.parametrize("name", WITH_MAKE)
def test_a_make_target_exists(name: str) -> None:
    named = set(MAKE.findall(page(name)))
    assert named <= TARGETS
    assert named or name.endswith("azure-dev.yml")


@pytest.mark.parametrize("name", PAGES)
def test_a_link_resolves(name: str) -> None:
    """Links to security advisories are relative to the repository on GitHub."""
    for link in LINK.findall(page(name)):
        if link.startswith(("https://", "../../security/")):
            continue
        place, _, anchor = link.partition("#")
        target = ROOT / (place or name)
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("name", FORMS)
def test_a_link_of_a_form_resolves(name: str) -> None:
    """Links are relative to `/issues/new`, where a form is shown."""
    for link in LINK.findall(page(name)):
        assert link == "../security/advisories/new" or link.startswith("../blob/main/")
        place, _, anchor = link.removeprefix("../blob/main/").partition("#")
        assert place.startswith("..") or (ROOT / place).is_file(), link
        assert not anchor or anchor in anchors(ROOT / place), link


@pytest.mark.parametrize("name", PAGES)
def test_no_line_contains_a_local_path(name: str) -> None:
    assert [line for line in page(name).splitlines() if MACHINE_PATH.search(line)] == []


def test_the_command_line_has_this_version_and_the_releases_that_are_locked() -> None:
    """It may run on more versions of Python and of its libraries than the tests use."""
    command_line = tomllib.loads(page("cli/pyproject.toml"))["project"]
    assert command_line["version"] == PROJECT["version"]
    locked = dict(re.findall(r"^([\w-]+)==([\w.]+)", page("requirements-dev.txt"), re.MULTILINE))
    for each in map(Requirement, command_line["dependencies"]):
        assert locked[each.name] in each.specifier


def test_the_changelog_has_this_version() -> None:
    heads = re.findall(r"^## \[([\d.]+)\]", page("CHANGELOG.md"), re.MULTILINE)
    assert heads[0] == PROJECT["version"]
