"""Each file is what its published schema allows; a mistake of each kind is found."""

import hashlib
import json
from typing import Any

import pytest

from tests.docs.pages import code, rows
from tests.workshop.workshop import ROOT, SCHEMA_OF, SCHEMAS, faults, faults_of, read

LAUNCH = ".vscode/launch.json"
# The schema of host.json lags behind the host, which reads these: docs/host.md says what they do.
NOT_IN_THE_SCHEMA_YET = [
    "$.extensions.durableTask.storageProvider: Additional properties are not allowed ('useTablePartitionManagement' was unexpected)",
    "$.extensions.durableTask: Additional properties are not allowed ('defaultVersion' was unexpected)",
]
MISTAKES: dict[str, dict[str, Any]] = {
    "azure.yaml": {
        "name": None,
        "service": {},
        "services/app/host": "functions",
        "services/app/language": "pyhton",
        "services/app/lang": "python",
        "services/app/project": None,
        "infra/provider": "arm",
        "infra/modul": "main",
        "hooks/preprovison": {"run": "infra/hooks/preprovision.py"},
        "hooks/preprovision/runs": "infra/hooks/preprovision.py",
        "services/app/hooks/prepack": {"run": "infra/hooks/prepackage.py"},
        "requiredVersions/azd": 1.2,
    },
    "host.json": {
        "version": "3.0",
        "functionTimeout": "10 minutes",
        "logging/logLevel/default": "Loud",
        "extensions/queues/batchSize": 33,
        "extensions/queues/messageEncoding": "hex",
        "extensions/durableTask/storageProvider/partitionCount": "four",
        "extensions/durableTask/storageProvider/partitions": 4,
        "extensionBundle/version": 4,
    },
    ".github/workflows/ci.yml": {
        "on": None,
        "on/pushed": {},
        "jobs/test/runs-on": None,
        "jobs/test/timeout": 60,
        "jobs/test/permissions/contents": "reed",
        "jobs/test/steps/0/uses": None,
        "jobs/test/steps/0/runs": "make test",
        "concurrency/cancel": True,
    },
    ".github/workflows/azure-dev.yml": {
        "jobs/deploy/permissions/token": "write",
        "jobs/deploy/env": ["AZURE_CLIENT_ID"],
    },
    ".github/ISSUE_TEMPLATE/bug.yml": {
        "name": None,
        "body/1/type": "textbox",
        "body/1/attributes/label": None,
        "body/2/attributes/options": [],
        "body/1/validations/required": "yes",
    },
    ".github/ISSUE_TEMPLATE/feature.yml": {"description": None},
    ".github/ISSUE_TEMPLATE/question.yml": {"body": []},
    ".github/ISSUE_TEMPLATE/config.yml": {"blank_issues_enabled": "no", "contact_links": [{"name": "Ask"}]},
    ".github/dependabot.yml": {
        "version": 1,
        "updates/0/package-ecosystem": "pypi",
        "updates/0/directory": None,
        "updates/1/schedule/interval": "fortnightly",
        "updates/2/cooldown/days": 7,
    },
    ".devcontainer/devcontainer.json": {
        "image": None,
        "forwardPorts": ["7071 or so"],
        "portsAttributes/7071/onAutoForward": "quiet",
        "features": ["azd"],
        "postCreate": "make setup",
        "hostRequirements/memory": "plenty",
    },
    LAUNCH: {
        "configurations/0/modul": "devhost",
        "configurations/0/subProcess": "yes",
        "configurations/1/args": [1],
        "configurations/1/console": "tmux",
    },
}


def launch_faults(value: Any) -> list[str]:
    """The faults of launch configurations: all keys are the debugger's, or those that every debugger has."""
    package = json.loads((SCHEMAS / "vscode-python-debugger.json").read_text())
    [debugger] = package["contributes"]["debuggers"]
    every = {"name": {"type": "string"}, "type": {"const": debugger["type"]}, "preLaunchTask": {"type": "string"}}
    return [
        fault
        for each in value["configurations"]
        for fault in faults(
            {
                "properties": {
                    **every,
                    "request": {"enum": list(debugger["configurationAttributes"])},
                    **debugger["configurationAttributes"][each["request"]]["properties"],
                },
                "additionalProperties": False,
            },
            each,
        )
    ]


def look(name: str, value: Any) -> list[str]:
    """What is wrong with it."""
    return launch_faults(value) if name == LAUNCH else faults_of(name, value)


def mistaken(value: Any, path: str, to: Any) -> Any:
    """The value with another one at a path; None takes it away."""
    *way, last = path.split("/")
    inner = value
    for step in way:
        inner = inner[int(step)] if isinstance(inner, list) else inner[step]
    if to is None:
        del inner[last]
    else:
        inner[last] = to
    return value


@pytest.mark.parametrize("name", [*SCHEMA_OF, LAUNCH])
def test_a_file_is_what_its_schema_allows(name: str) -> None:
    """Nothing is wrong with it, but in host.json for what the schema does not know yet."""
    assert look(name, read(name)) == (NOT_IN_THE_SCHEMA_YET if name == "host.json" else [])


@pytest.mark.parametrize(
    ("name", "path"), [(name, path) for name, paths in MISTAKES.items() for path in paths], ids=lambda part: part
)
def test_a_mistake_is_found(name: str, path: str) -> None:
    """What was right is wrong after it, and what is said of it is new."""
    found = look(name, mistaken(read(name), path, MISTAKES[name][path]))
    assert set(found) - set(look(name, read(name)))


def test_every_file_that_can_be_held_to_a_schema_is() -> None:
    """A new workflow or form is looked at too, and each file has its mistakes."""
    folders = (".github", ".github/workflows", ".github/ISSUE_TEMPLATE", ".devcontainer")
    there = {str(path.relative_to(ROOT)) for each in folders for path in (ROOT / each).iterdir()}
    assert {name for name in there if name.endswith((".yml", ".yaml", ".json"))} == set(SCHEMA_OF) - {
        "azure.yaml",
        "host.json",
    }
    assert set(MISTAKES) == {*SCHEMA_OF, LAUNCH}


def test_what_the_schema_does_not_know_is_explained() -> None:
    """On the page of host.json."""
    page = (ROOT / "docs/host-json.md").read_text()
    assert "`extensions.durableTask.storageProvider.useTablePartitionManagement`" in page
    assert "`extensions.durableTask.defaultVersion`" in page


def test_the_schemas_are_the_published_ones() -> None:
    """The hash that stands beside each is git's."""
    said = {code(row[0])[0]: row[-1] for row in rows((SCHEMAS / "README.md").read_text())}
    assert said == {path.name: blob(path.read_bytes()) for path in SCHEMAS.glob("*.json")}
    assert {*SCHEMA_OF.values(), "vscode-python-debugger.json"} == set(said)


def blob(data: bytes) -> str:
    """The name that git gives to a content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def test_on_is_a_word_and_false_is_none() -> None:
    """Workflows are read as GitHub reads them."""
    workflow = read(".github/workflows/ci.yml")
    assert "on" in workflow
    assert workflow["jobs"]["test"]["strategy"]["fail-fast"] is False
