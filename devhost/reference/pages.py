"""The generated pages, and the tables inside other pages."""

import json
import re
from collections.abc import Callable
from pathlib import Path

from devhost.bench import comparison, cost
from devhost.reference import answers, capacity, commands, infra, openapi, tables
from devhost.stack import ROOT

DOCS = ROOT / "docs"
# The generated tables of each page. They are between `<!-- begin: NAME -->` and `<!-- end: NAME -->`.
TABLES: dict[str, dict[str, Callable[[], str]]] = {
    "api": {"endpoints": tables.endpoints},
    "azure": {"parameters": lambda: infra.parameters("azure")},
    "cli": {"commands": commands.commands, "exit-codes": commands.exit_codes},
    "cost": {"costs": cost.tables},
    "figures": {"metrics": tables.metrics},
    "network": {"parameters": lambda: infra.parameters("network")},
    "performance": {"versus": comparison.page},
    "operating": {"actions": tables.actions, "reasons": tables.reasons, "timers": tables.timers},
    "scale": {
        "setups": capacity.setups,
        "loads": capacity.loads,
        "resources": capacity.resources,
        "blocks": capacity.blocks,
        "parameters": lambda: infra.parameters("scale"),
    },
    "settings": {"roles": infra.roles, "route-fields": tables.route_fields, "settings": tables.settings},
}


def pages() -> dict[Path, str]:
    """Return the new text of every fully or partly generated page."""
    found = {DOCS / f"{name}.md": with_tables((DOCS / f"{name}.md").read_text(), made) for name, made in TABLES.items()}
    found[DOCS / "service-answers.md"] = answers.page()
    found[DOCS / "openapi.json"] = json.dumps(openapi.description(), indent=2, ensure_ascii=False) + "\n"
    return found


def with_tables(text: str, made: dict[str, Callable[[], str]]) -> str:
    """Return the text with these tables between their markers.

    Raises:
        ValueError: A pair of markers is missing or repeated.
    """
    for name, table in made.items():
        begin, end = f"<!-- begin: {name} -->", f"<!-- end: {name} -->"
        found = re.findall(f"{begin}.*?{end}", text, re.DOTALL)
        if len(found) != 1:
            raise ValueError(f"the markers of {name!r} must occur once, not {len(found)} times")
        text = text.replace(found[0], f"{begin}\n\n{table()}\n{end}")
    return text
