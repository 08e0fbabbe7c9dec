"""Each configuration file is valid against its published schema."""

import json
from typing import Any

import pytest

from tests.tooling.files import ROOT, SCHEMA_OF, SCHEMAS, errors, errors_in, read

LAUNCH = ".vscode/launch.json"
# The published schema of host.json lacks these fields, which the host reads. docs/host.md describes them.
NOT_IN_THE_SCHEMA_YET = [
    "$.extensions.durableTask.storageProvider: Additional properties are not allowed ('useTablePartitionManagement' was unexpected)",
    "$.extensions.durableTask: Additional properties are not allowed ('defaultVersion' was unexpected)",
]


def launch_errors(value: Any) -> list[str]:
    """The errors in launch configurations: their fields must be those of the Python debugger, or common to all debuggers."""
    package = json.loads((SCHEMAS / "vscode-python-debugger.json").read_text())
    [debugger] = package["contributes"]["debuggers"]
    common = {"name": {"type": "string"}, "type": {"const": debugger["type"]}, "preLaunchTask": {"type": "string"}}
    return [
        error
        for each in value["configurations"]
        for error in errors(
            {
                "properties": {
                    **common,
                    "request": {"enum": list(debugger["configurationAttributes"])},
                    **debugger["configurationAttributes"][each["request"]]["properties"],
                },
                "additionalProperties": False,
            },
            each,
        )
    ]


def file_errors(name: str, value: Any) -> list[str]:
    """The errors in a file with this content."""
    return launch_errors(value) if name == LAUNCH else errors_in(name, value)


@pytest.mark.parametrize("name", [*SCHEMA_OF, LAUNCH])
def test_a_file_is_valid(name: str) -> None:
    """Except for fields of host.json that the schema lacks."""
    assert file_errors(name, read(name)) == (NOT_IN_THE_SCHEMA_YET if name == "host.json" else [])


def test_every_file_of_github_has_a_schema() -> None:
    files = (path.relative_to(ROOT) for path in (ROOT / ".github").rglob("*.yml"))
    assert {str(path) for path in files} <= set(SCHEMA_OF)


def test_on_is_a_string_and_false_is_a_boolean() -> None:
    workflow = read(".github/workflows/ci.yml")
    assert "on" in workflow
    assert workflow["jobs"]["test"]["strategy"]["fail-fast"] is False
