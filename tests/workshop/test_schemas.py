"""Each configuration file is valid against its published schema."""

import json
from typing import Any

import pytest

from tests.workshop.workshop import SCHEMA_OF, SCHEMAS, faults, faults_of, read

LAUNCH = ".vscode/launch.json"
# The schema of host.json lags behind the host, which reads these: docs/host-json.md says what they do.
NOT_IN_THE_SCHEMA_YET = [
    "$.extensions.durableTask.storageProvider: Additional properties are not allowed ('useTablePartitionManagement' was unexpected)",
    "$.extensions.durableTask: Additional properties are not allowed ('defaultVersion' was unexpected)",
]


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


@pytest.mark.parametrize("name", [*SCHEMA_OF, LAUNCH])
def test_a_file_is_what_its_schema_allows(name: str) -> None:
    """Nothing is wrong with it, but in host.json for what the schema does not know yet."""
    assert look(name, read(name)) == (NOT_IN_THE_SCHEMA_YET if name == "host.json" else [])


def test_on_is_a_word_and_false_is_none() -> None:
    """Workflows are read as GitHub reads them."""
    workflow = read(".github/workflows/ci.yml")
    assert "on" in workflow
    assert workflow["jobs"]["test"]["strategy"]["fail-fast"] is False
