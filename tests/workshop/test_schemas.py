"""Each configuration file is valid against its published schema."""

import json
from typing import Any

import pytest

from tests.workshop.workshop import ROOT, SCHEMA_OF, SCHEMAS, faults, faults_of, read

LAUNCH = ".vscode/launch.json"
# The schema of host.json lags behind the host, which reads these: docs/host.md says what they do.
NOT_IN_THE_SCHEMA_YET = [
    "$.extensions.durableTask.storageProvider: Additional properties are not allowed ('useTablePartitionManagement' was unexpected)",
    "$.extensions.durableTask: Additional properties are not allowed ('defaultVersion' was unexpected)",
]


def launch_faults(value: Any) -> list[str]:
    """The errors in launch configurations. Keys are those of the Python debugger, or common to all debuggers."""
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
    """The errors in a file with this content."""
    return launch_faults(value) if name == LAUNCH else faults_of(name, value)


@pytest.mark.parametrize("name", [*SCHEMA_OF, LAUNCH])
def test_a_file_is_what_its_schema_allows(name: str) -> None:
    """Except for the keys of host.json that the schema lacks."""
    assert look(name, read(name)) == (NOT_IN_THE_SCHEMA_YET if name == "host.json" else [])


def test_every_file_of_github_has_a_schema() -> None:
    """A new workflow or form is checked too."""
    files = (path.relative_to(ROOT) for path in (ROOT / ".github").rglob("*.yml"))
    assert {str(path) for path in files} <= set(SCHEMA_OF)


def test_on_is_a_word_and_false_is_none() -> None:
    """The loader reads workflows as GitHub does."""
    workflow = read(".github/workflows/ci.yml")
    assert "on" in workflow
    assert workflow["jobs"]["test"]["strategy"]["fail-fast"] is False
