"""The workflows: nothing that zizmor finds, everything pinned, and a deployment that is told what was set and no more."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.infra.snapshots import INFRA, KNOBS
from tests.workshop.workshop import ROOT, WORKFLOWS, read

PINNED = re.compile(r"[\w-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
USES = re.compile(r"\buses: *(.*)")
# A person's, and what `azd pipeline config` sets.
LOGIN = ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_SUBSCRIPTION_ID")
# One mistake for each finding.
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
    """What it finds as its strictest persona, by its names, and its log. It looks at files alone, asks nobody."""
    options = ["--offline", "--no-config", "--no-progress", "--color=never", "--persona=auditor", "--format=json"]
    found = subprocess.run(
        [Path(sys.prefix) / "bin/zizmor", *options, *paths], check=False, capture_output=True, text=True
    )
    assert found.stdout, found.stderr
    return {each["ident"] for each in json.loads(found.stdout)}, found.stderr


def unpinned(text: str) -> list[str]:
    """The actions of a workflow that are not said by their commit, with the version beside it."""
    return [each for each in USES.findall(text) if not PINNED.fullmatch(each)]


def step(name: str) -> dict[str, Any]:
    """A step of the deployment."""
    [found] = [
        each for each in read(".github/workflows/azure-dev.yml")["jobs"]["deploy"]["steps"] if each["name"] == name
    ]
    return dict(found)


def test_zizmor_finds_nothing() -> None:
    """In any of the workflows, nor in what Dependabot is told."""
    found, log = zizmor(ROOT / ".github")
    assert found == set()
    assert all(f"completed {name}" in log.replace(f"{ROOT}/", "") for name in (*WORKFLOWS, ".github/dependabot.yml"))


def test_zizmor_finds_what_is_planted(tmp_path: Path) -> None:
    """An action by its tag, a stranger's words in a shell, a token that may do everything and is left behind."""
    (planted := tmp_path / ".github/workflows/bad.yml").parent.mkdir(parents=True)
    planted.write_text(PLANTED)
    found, _ = zizmor(planted)
    assert found >= {"unpinned-uses", "template-injection", "excessive-permissions", "dangerous-triggers", "artipacked"}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_every_action_is_pinned(name: str) -> None:
    """By the whole hash of its commit, and the version stands beside it."""
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
    """Every other way to name one."""
    assert unpinned(f"      - uses: {action}\n") == [action]


def test_an_action_is_pinned_once() -> None:
    """The workflows agree on the commit of each."""
    pins = {each for name in WORKFLOWS for each in USES.findall((ROOT / name).read_text())}
    assert len({each.partition("@")[0] for each in pins}) == len(pins)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_job_may_do_little_and_ends(name: str) -> None:
    """A workflow has no rights, a job those that it needs; it leaves no token behind, and does not run for ever."""
    workflow = read(name)
    assert workflow["permissions"] == {}
    assert workflow["concurrency"]["group"]
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 60
        assert set(job["permissions"].items()) <= {("contents", "read"), ("id-token", "write")}
        [checkout] = [each for each in job["steps"] if each.get("uses", "").startswith("actions/checkout@")]
        assert checkout["with"]["persist-credentials"] is False


def test_nothing_is_deployed_for_a_stranger() -> None:
    """The identity is asked for on main alone, or by a person; there is no secret that one could take."""
    name = ".github/workflows/azure-dev.yml"
    workflow = read(name)
    assert workflow["on"] == {"push": {"branches": ["main"]}, "workflow_dispatch": None}
    assert "secrets." not in (ROOT / name).read_text()
    assert "id-token" not in (ROOT / ".github/workflows/ci.yml").read_text()


def test_the_deployment_reads_what_azd_sets() -> None:
    """The variables of `azd pipeline config`, each under its own name, and the commands of azd."""
    job = read(".github/workflows/azure-dev.yml")["jobs"]["deploy"]
    assert job["env"] == {name: f"${{{{ vars.{name} }}}}" for name in (*LOGIN, "AZURE_ENV_NAME", "AZURE_LOCATION")}
    assert job["if"] == "vars.AZURE_CLIENT_ID != ''"
    assert step("Log in")["run"] == (
        'azd auth login --client-id "$AZURE_CLIENT_ID" --tenant-id "$AZURE_TENANT_ID" '
        "--federated-credential-provider github"
    )
    assert step("Deploy")["run"] == "azd deploy --no-prompt"
    # The hook that packs host.json reads it, and no azd environment of a pipeline has it.
    assert step("Deploy")["env"] == {"DURABLE_BACKEND": "${{ vars.DURABLE_BACKEND }}"}


def test_every_parameter_can_be_set_for_the_deployment() -> None:
    """What main.bicepparam reads is given: by a variable of its name, by the job, or by azd, which knows who logged in."""
    given = step("Provision")["env"]
    ours = {name for name in given if given[name] == f"${{{{ vars.{name} }}}}"}
    knobs = set(KNOBS.findall((INFRA / "main.bicepparam").read_text()))
    assert ours == knobs - {"AZURE_ENV_NAME", "AZURE_LOCATION", "AZURE_PRINCIPAL_ID", "AZURE_PRINCIPAL_TYPE"}
    assert set(given) - ours == {"AZURE_PRINCIPAL_TYPE"}
    assert given["AZURE_PRINCIPAL_TYPE"] == "ServicePrincipal"


def test_a_variable_that_nobody_set_is_not_there(tmp_path: Path) -> None:
    """The very script: an empty one would be read instead of the default; what was set arrives as it is."""
    (azd := tmp_path / "azd").write_text('#!/bin/sh\necho "$@" && env\n')
    azd.chmod(0o755)
    routes = '[{"name": "a b"}]'
    unset = dict.fromkeys(step("Provision")["env"], "")
    said = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", step("Provision")["run"]],
        check=True,
        capture_output=True,
        text=True,
        env={**unset, "PATH": f"{tmp_path}:/usr/bin:/bin", "SHARING_ROUTES": routes, "VNET_ENABLED": "false"},
    ).stdout.splitlines()
    assert said[0] == "provision --no-prompt"
    assert f"SHARING_ROUTES={routes}" in said
    assert "VNET_ENABLED=false" in said
    names = {line.partition("=")[0] for line in said[1:]}
    assert names & set(unset) == {"SHARING_ROUTES", "VNET_ENABLED"}
