"""The findings of the smoke test: what each route can do, as a table and as JSON."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from rich.markup import escape
from rich.table import Table

from smoke.deployment import Route
from smoke.story import Sample

# The detail of `source_unreadable` if the app could read the source, but the target's service could not.
UNREADABLE = "the target's service cannot read the source"
DOCS = {
    "health": "docs/operating.md, First look",
    "canary": "docs/operating.md, First look",
    "sync": "docs/network.md",
    "async": "docs/network.md",
    "replay": "docs/operating.md, Replay",
    "clean": "the names above, and delete the blobs",
}


class Result(StrEnum):
    """The result of one check."""

    OK = "ok"
    LET_THROUGH = "let through"
    REFUSED = "refused"
    UNUSED = "not used"
    UNSEEN = "not seen"
    FAILED = "failed"


COLOURS = {
    **dict.fromkeys((Result.OK, Result.LET_THROUGH), "green"),
    **dict.fromkeys((Result.REFUSED, Result.UNSEEN), "yellow"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One check on one route. `works` is False if the route cannot do something that it needs."""

    what: str
    route: str
    result: Result
    seen: str
    works: bool


def check(what: str, route: str, seen: str, *, works: bool) -> Finding:
    """Return the finding of a check that passes or fails."""
    return Finding(what, route, Result.OK if works else Result.FAILED, seen, works)


def health(failing: Iterable[str], routes: Iterable[str]) -> Finding:
    """Return whether the app is healthy, by its failing checks; those of other routes (`target of route x`) do not count."""
    ours = [name for name in failing if " route " not in name or name.rpartition(" route ")[2] in set(routes)]
    return check("health", "", "not up: " + ", ".join(ours) if ours else "up", works=not ours)


def engine(name: str, route: str, sample: Sample | None) -> Finding:
    """Return whether the target's service could read the source with an engine.

    `sync` is judged by a small block blob, `async` by an append blob, which `sync` cannot copy, and `blocks` only on a route
    that forces it, by a small block blob.

    | sample | the engine is |
    | --- | --- |
    | None: the route does not use the engine | not used |
    | arrived by the other engine | refused, but the route works: only CannotVerifyCopySource changes the engine (rule 16) |
    | arrived otherwise | let through |
    | not arrived: the service cannot read the source | refused |
    | not arrived: any other reason, or the bytes differ | failed |
    """
    if sample is None:
        return Finding(name, route, Result.UNUSED, "the route uses only the other engine", works=True)
    used = sample.transfer.get("engine")
    if sample.arrived and used not in {name, None}:
        return Finding(name, route, Result.REFUSED, f"CannotVerifyCopySource; the app used {used} instead", works=True)
    refused = UNREADABLE in sample.transfer.get("detail", "") and not sample.verified
    result = Result.LET_THROUGH if sample.arrived else Result.REFUSED if refused else Result.FAILED
    return Finding(name, route, result, str(sample), sample.arrived)


def judge(route: Route, samples: Iterable[Sample]) -> Iterator[Finding]:
    """Return what a route can do, by its samples of the kinds `small`, `append` and `broken`."""
    of = {sample.kind: sample for sample in samples if sample.route == route}
    small, broken = of["small"], of["broken"]
    yield check("canary", route.name, str(small), works=small.arrived)
    yield engine("sync", route.name, small if route.engine in {"auto", "sync"} else None)
    yield engine("async", route.name, None if route.engine == "blocks" else of.get("append"))
    if route.engine == "blocks":
        yield engine("blocks", route.name, small)
    yield check("replay", route.name, str(broken), works=broken.arrived)


def summary(what: str, found: Sequence[Finding]) -> str:
    """Return `sync let through on 2 of 2`: counts without names. Empty if nothing was tried."""
    tried = [finding.result for finding in found if finding.what == what and finding.result is not Result.UNUSED]
    counts = [f"{result} on {tried.count(result)} of {len(tried)}" for result in dict.fromkeys(tried)]
    return f"{what} {', '.join(counts)}" if counts else ""


def table(found: Sequence[Finding]) -> Table:
    """Return a table with a row for each finding."""
    shown = Table("tried", "route", "result", "seen")
    for finding in found:
        colour = COLOURS.get(finding.result, "default") if finding.works else "red"
        shown.add_row(finding.what, finding.route, f"[{colour}]{finding.result}[/]", escape(finding.seen))
    return shown


def verdict(found: Sequence[Finding]) -> list[str]:
    """Return the conclusion, with the page to read for each failure."""
    broken = list(dict.fromkeys(finding.what for finding in found if not finding.works))
    if not broken:
        return ["Everything that the routes need works."]
    return ["NOT everything that the routes need works.", *(f"  {what}: see {DOCS[what]}" for what in broken)]
