"""Configuration files of the repository, parsed as their readers do, and checked against published schemas."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from jsonschema.exceptions import ValidationError
from jsonschema.validators import validator_for
from referencing import Registry

ROOT = Path(__file__).parents[2]
SCHEMAS = Path(__file__).parent / "schemas"
WORKFLOWS = tuple(f".github/workflows/{name}.yml" for name in ("azure-dev", "ci"))
FORMS = tuple(f".github/ISSUE_TEMPLATE/{name}.yml" for name in ("bug", "feature", "question"))
# The schema of each file.
SCHEMA_OF = {
    "azure.yaml": "azure.yaml.json",
    "host.json": "host.json",
    **dict.fromkeys(WORKFLOWS, "github-workflow.json"),
    **dict.fromkeys(FORMS, "github-issue-forms.json"),
    ".github/ISSUE_TEMPLATE/config.yml": "github-issue-config.json",
    ".github/dependabot.yml": "dependabot-2.0.json",
    ".devcontainer/devcontainer.json": "devContainer.base.schema.json",
}


class Loader(yaml.SafeLoader):
    """YAML 1.2, as GitHub and azd read it: `on` is a string."""

    yaml_implicit_resolvers = {  # noqa: RUF012  # PyYAML requires this attribute
        first: [(tag, form) for tag, form in forms if tag != "tag:yaml.org,2002:bool" or first in "tTfF"]
        for first, forms in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        """Raise ValueError for a repeated key, which GitHub refuses and PyYAML does not."""
        keys = [key.value for key, _ in node.value]
        if repeated := {key for key in keys if keys.count(key) > 1}:
            raise ValueError(f"repeated keys: {repeated}")
        return super().construct_mapping(node, deep)


def read(name: str) -> Any:
    """Returns the content of a JSON or YAML file."""
    text = (ROOT / name).read_text()
    return json.loads(text) if name.endswith(".json") else yaml.load(text, Loader)  # noqa: S506  # a safe loader


def errors(schema: Any, value: Any) -> list[str]:
    """Returns `path: message` for each schema error. Schemas are not fetched."""
    found = validator_for(schema)(schema, registry=Registry()).iter_errors(value)
    return sorted({f"{each.json_path}: {each.message}" for error in found for each in _innermost(error)})


def errors_in(name: str, value: Any) -> list[str]:
    """Returns the schema errors of this content for one of the files."""
    schema = json.loads((SCHEMAS / SCHEMA_OF[name]).read_text())
    if name == "azure.yaml":
        _close(schema)
    if name == "host.json":  # the schema covers two generations of Functions; check only the second
        schema["oneOf"] = [{"$ref": "#/definitions/version-2"}]
    return errors(schema, value)


def _close(schema: dict[str, Any]) -> None:
    """Make azd's schema strict: it allows fields of azd extensions, which this project does not use."""
    infra, service = schema["properties"]["infra"], schema["properties"]["services"]["additionalProperties"]
    for each in (schema, infra, service):
        each["additionalProperties"] = False
    for each in (infra["properties"]["provider"], service["properties"]["host"], service["properties"]["language"]):
        each["enum"] = each["examples"]


def _innermost(error: ValidationError) -> Iterator[ValidationError]:
    if not error.context:
        yield error
    for each in error.context or []:
        yield from _innermost(each)
