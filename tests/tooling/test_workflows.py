"""The workflows: zizmor finds nothing, all actions are pinned, and a deployment gets exactly the variables that are set."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.infra.snapshots import INFRA, PARAMETER_VARIABLE
from tests.tooling.files import ROOT, WORKFLOWS, read

PINNED = re.compile(r"[\w-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
USES = re.compile(r"\buses: *(.*)")
# Set by `azd pipeline config`.
LOGIN = ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_SUBSCRIPTION_ID")
# A workflow with several mistakes.
PLANTED = """\
name: Bad
on: pull_request_target
permissions: write-all
jobs:
  greet:
    runs-on: ubuntu-24.04
    steps:
      - uses: actions/checkout@v7
      - run: echo "${{ github.event.pull_request.title }}"
"""


def zizmor(*paths: Path) -> tuple[set[str], str]:
    """Returns the findings of the strictest persona, offline, and the log."""
    options = ["--offline", "--no-config", "--no-progress", "--color=never", "--persona=auditor", "--format=json"]
    found = subprocess.run(
        [Path(sys.prefix) / "bin/zizmor", *options, *paths], check=False, capture_output=True, text=True
    )
    assert found.stdout, found.stderr
    return {each["ident"] for each in json.loads(found.stdout)}, found.stderr


def unpinned(text: str) -> list[str]:
    """The actions of a workflow that are not pinned to a commit, with the version in a comment."""
    return [each for each in USES.findall(text) if not PINNED.fullmatch(each)]


def step(name: str) -> dict[str, Any]:
    """A step of the deployment."""
    [found] = [
        each for each in read(".github/workflows/azure-dev.yml")["jobs"]["deploy"]["steps"] if each["name"] == name
    ]
    return dict(found)


def test_zizmor_finds_nothing() -> None:
    """In the workflows and the configuration of Dependabot."""
    found, log = zizmor(ROOT / ".github")
    assert found == set()
    assert all(f"completed {name}" in log.replace(f"{ROOT}/", "") for name in (*WORKFLOWS, ".github/dependabot.yml"))


def test_zizmor_finds_mistakes(tmp_path: Path) -> None:
    (planted := tmp_path / ".github/workflows/bad.yml").parent.mkdir(parents=True)
    planted.write_text(PLANTED)
    found, _ = zizmor(planted)
    assert found >= {"unpinned-uses", "template-injection", "excessive-permissions", "dangerous-triggers", "artipacked"}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_every_action_is_pinned(name: str) -> None:
    """By the full hash of its commit."""
    text = (ROOT / name).read_text()
    assert USES.search(text)
    assert unpinned(text) == []


@pytest.mark.parametrize(
    "action",
    [
        "actions/checkout@v7",
        "actions/checkout@main # v7.0.1",
        "actions/checkout@3d3c42e # v7.0.1",
        "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1",
        "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7",
        "docker://alpine:3",
    ],
)
def test_an_action_that_is_not_pinned_is_found(action: str) -> None:
    assert unpinned(f"      - uses: {action}\n") == [action]


def test_all_workflows_pin_an_action_to_the_same_commit() -> None:
    pins = {each for name in WORKFLOWS for each in USES.findall((ROOT / name).read_text())}
    assert len({each.partition("@")[0] for each in pins}) == len(pins)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_job_has_few_permissions_and_a_timeout(name: str) -> None:
    workflow = read(name)
    assert workflow["permissions"] == {}
    assert workflow["concurrency"]["group"]
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 60
        assert set(job["permissions"].items()) <= {("contents", "read"), ("id-token", "write")}
        [checkout] = [each for each in job["steps"] if each.get("uses", "").startswith("actions/checkout@")]
        assert checkout["with"]["persist-credentials"] is False


def test_only_main_and_maintainers_can_deploy() -> None:
    """A deployment needs no secret, and pull requests get no token."""
    name = ".github/workflows/azure-dev.yml"
    workflow = read(name)
    assert workflow["on"] == {"push": {"branches": ["main"]}, "workflow_dispatch": None}
    assert "secrets." not in (ROOT / name).read_text()
    assert "id-token" not in (ROOT / ".github/workflows/ci.yml").read_text()


def test_the_deployment_reads_the_variables_of_azd_pipeline_config() -> None:
    job = read(".github/workflows/azure-dev.yml")["jobs"]["deploy"]
    assert job["env"] == {name: f"${{{{ vars.{name} }}}}" for name in (*LOGIN, "AZURE_ENV_NAME", "AZURE_LOCATION")}
    assert job["if"] == "vars.AZURE_CLIENT_ID != ''"
    assert step("Log in")["run"] == (
        'azd auth login --client-id "$AZURE_CLIENT_ID" --tenant-id "$AZURE_TENANT_ID" '
        "--federated-credential-provider github"
    )
    assert step("Deploy")["run"] == "azd deploy --no-prompt"
    # The packaging hook reads it, and a pipeline has no azd environment.
    assert step("Deploy")["env"] == {"DURABLE_BACKEND": "${{ vars.DURABLE_BACKEND }}"}


def test_the_deployment_sets_every_parameter() -> None:
    """From a variable, from the job, or from azd."""
    given = step("Provision")["env"]
    from_variables = {name for name in given if given[name] == f"${{{{ vars.{name} }}}}"}
    variables = set(PARAMETER_VARIABLE.findall((INFRA / "main.bicepparam").read_text()))
    assert from_variables == variables - {
        "AZURE_ENV_NAME",
        "AZURE_LOCATION",
        "AZURE_PRINCIPAL_ID",
        "AZURE_PRINCIPAL_TYPE",
    }
    assert set(given) - from_variables == {"AZURE_PRINCIPAL_TYPE"}
    assert given["AZURE_PRINCIPAL_TYPE"] == "ServicePrincipal"


def test_unset_variables_are_removed(tmp_path: Path) -> None:
    """GitHub passes an unset variable as an empty one, which would replace the default."""
    (azd := tmp_path / "azd").write_text('#!/bin/sh\necho "$@" && env\n')
    azd.chmod(0o755)
    routes = '[{"name": "a b"}]'
    unset = dict.fromkeys(step("Provision")["env"], "")
    output = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", step("Provision")["run"]],
        check=True,
        capture_output=True,
        text=True,
        env={**unset, "PATH": f"{tmp_path}:/usr/bin:/bin", "SHARING_ROUTES": routes, "VNET_ENABLED": "false"},
    ).stdout.splitlines()
    assert output[0] == "provision --no-prompt"
    assert f"SHARING_ROUTES={routes}" in output
    assert "VNET_ENABLED=false" in output
    names = {line.partition("=")[0] for line in output[1:]}
    assert names & set(unset) == {"SHARING_ROUTES", "VNET_ENABLED"}
