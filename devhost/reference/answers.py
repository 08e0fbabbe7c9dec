"""The page of facts about Azure Storage, from the `fact` decorators of the tests."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from devhost.stack import ROOT

FOLDERS = ("tests/contract", "tests/devhost/storage")
SOURCES = {
    "BOR": "borink-org/object-storage: fixtures recorded in September 2026 (version 2026-04-06), and its page on testing with Azure",
    "PY22": "Azure/azure-sdk-for-python: recordings of August 2022 (`test_common_blob`); PY20 and PY19 are older ones",
    "PY20": "",
    "PY19": "",
    "ASP": "Azure/azure-storage-python: recordings of 2019",
    "CPP": "Azure/azure-sdk-for-cpp: recordings of 2021 and 2022, in its history",
    "NET": "Azure/azure-sdk-for-net: recordings of 2019 to 2021 (`BlobBaseClientTests`)",
    "JSD": "Azure/azure-sdk-for-js: recordings of 2021 to 2023",
    "JST": "Azure/azure-sdk-for-js: tests that assert on live answers",
    "[doc]": "Microsoft's page of that name",
    "[sdk]": "code in an SDK that handles this answer of the service",
    "#": "an issue or a pull request of that repository",
}
HEAD = """# What Azure Storage answers

`make docs` generates this page from the `fact` decorators of the tests: do not edit it. Each row is one fact, its source, and
a test. The test shows that the local stack gives this answer, or that the app handles it. [The local
stack](local-stack.md#what-differs-from-azure) lists the differences that remain. "On request": the local stack gives this
answer only if a test asks for it.
"""


@dataclass(frozen=True)
class Fact:
    """One decorator of one test."""

    request: str
    answer: str
    source: str
    test: str


def facts() -> list[Fact]:
    """Return all facts by request, in the order of the tests."""
    found = [fact for folder in FOLDERS for fact in _of(folder)]
    return sorted(found, key=lambda fact: fact.request)


def _of(folder: str) -> Iterator[Fact]:
    for path in sorted((ROOT / folder).glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for decorator in node.decorator_list:
                match decorator:
                    case ast.Call(func=ast.Name(id="fact"), args=args):
                        request, answer, source = map(ast.literal_eval, args)
                        yield Fact(request, answer, source, f"{folder}/{path.name}:{node.name}")


def page() -> str:
    """Return the page `service-answers.md`."""
    all_facts = facts()
    legend = "".join(f"| {key} | {what} |\n" for key, what in SOURCES.items() if what)
    parts = [HEAD, f"{len(all_facts)} facts.\n", f"| source | meaning |\n| --- | --- |\n{legend}"]
    for request, group in groupby(all_facts, key=lambda fact: fact.request):
        rows = "".join(f"| {fact.answer} | {fact.source} | `{fact.test}` |\n" for fact in group)
        parts.append(f"## {request}\n\n| Azure | source | shown by |\n| --- | --- | --- |\n{rows}")
    return "\n".join(parts)
