"""The actions, fields and values in the queries of alerts and workbook, and those in the log lines of the app."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator

from rules.jobs.model import Phase
from rules.transfers.model import Step
from tests.docs.pages import modules

# The values of the placeholders in an action that is an f-string.
PLACEHOLDERS: dict[str, list[str]] = {"{step}": list(Step), "{phase}": list(Phase), "{what}": ["resumed", "ended"]}
HEAD = 'AppTraces | where Message startswith "{\\"action\\": "'
# Assigns a field of a line to a column.
NAMED = re.compile(r"(\w+) = to\w+\(line\.(\w+)\)")


def queried_actions(query: str) -> set[str]:
    return queried_values(query, "action")


def queried_values(query: str, field: str) -> set[str]:
    return {word for _, words in _compared(query, field) for word in words} - {""}


def queried_fields(query: str) -> set[str]:
    """The fields that a query reads: `line.x`, or a column with its value."""
    head, _, rest = query.partition("\n")
    named = dict(NAMED.findall(head)) if rest else {}
    text = rest or query
    fields = {field for name, field in named.items() if re.search(rf"\b{name}\b", re.sub(r'"[^"]*"', "", text))}
    return (fields | set(re.findall(r"\bline\.(\w+)", text))) - {"action"}


def _compared(query: str, name: str) -> Iterator[tuple[str, list[str]]]:
    text = query.replace(f"tostring(line.{name})", name)
    for found in re.finditer(rf'\b{name} (==|in) (\([^)]*\)|"[^"]*")', text):
        yield found[1], re.findall(r'"([^"]*)"', found[2])


def logged_fields() -> dict[str, set[str]]:
    """Every action that the app logs, with the fields of its lines."""
    fields: dict[str, set[str]] = defaultdict(set)
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "log":
                for action in _actions(node.args[0]):
                    fields[action] |= {"text"} | {word.arg for word in node.keywords if word.arg} - {"level"}
    return fields


def _actions(argument: ast.expr) -> list[str]:
    if isinstance(argument, ast.Constant):
        return [str(argument.value)]
    text = ast.unparse(argument)[2:-1]
    [words] = [
        [text.replace(placeholder, word) for word in words]
        for placeholder, words in PLACEHOLDERS.items()
        if placeholder in text
    ]
    return words
