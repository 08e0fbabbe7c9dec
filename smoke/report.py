"""The findings for a person, and for a program: both from the same."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.markup import escape
from rich.table import Table

from smoke.findings import Finding, Result
from smoke.rows import Row

COLOURS = {
    Result.OK: "green",
    Result.LET_THROUGH: "green",
    Result.REFUSED: "yellow",
    Result.UNSEEN: "yellow",
    Result.FAILED: "red",
}
LOOK = {
    "health": "docs/operating.md, First look",
    "canary": "docs/operating.md, First look",
    "sync": "docs/network.md",
    "async": "docs/network.md",
    "replay": "docs/operating.md, Replay",
    "clean": "the names above, and delete the blobs",
}
KEPT = (
    "Kept: histories for 30 days, a resolved dead letter of each route for 90 days; and deleted blobs where soft delete or "
    "versioning is on (SOFT_DELETE_DAYS at the target)."
)


def table(found: Sequence[Finding]) -> Table:
    """A row for each finding."""
    shown = Table("tried", "route", "result", "seen")
    for finding in found:
        colour = COLOURS.get(finding.result, "default") if finding.works else "red"
        cells = (finding.what, finding.route, f"[{colour}]{finding.result}[/]", escape(finding.seen))
        shown.add_row(*cells)
    return shown


def verdict(found: Sequence[Finding]) -> list[str]:
    """What it comes to, in lines."""
    broken = list(dict.fromkeys(finding.what for finding in found if not finding.works))
    if not broken:
        return ["Everything that the routes need works."]
    return ["NOT everything that the routes need works.", *(f"  {what}: see {LOOK[what]}" for what in broken)]


def document(about: Mapping[str, str], found: Sequence[Finding], lines: Sequence[Row]) -> dict[str, Any]:
    """Everything, for `json.dumps`."""
    return {
        "works": all(finding.works for finding in found),
        "about": dict(about),
        "findings": [asdict(finding) for finding in found],
        "rows": [asdict(row) for row in lines],
    }
