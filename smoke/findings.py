"""What the smoke test finds out. Pure: how transfers ended becomes findings, each in a line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from smoke.places import Route

Transfer = Mapping[str, Any]
"""A transfer as the API answers it; empty if none began."""
FINAL = frozenset({"verified", "superseded", "dead_lettered", "cancelled"})
# What the app says where it could read a source, and the target's service could not: docs/operating.md, source_unreadable.
UNREADABLE = "the target's service cannot read the source"


class Result(StrEnum):
    """How it stands."""

    OK = "ok"
    LET_THROUGH = "let through"
    REFUSED = "refused"
    UNUSED = "not used"
    UNSEEN = "not seen"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tried on one route. `works` False: the route cannot do something that it needs."""

    what: str
    route: str
    result: Result
    seen: str
    works: bool


@dataclass(frozen=True, slots=True)
class End:
    """What became of a blob: its transfer, and whether the target holds the bytes that were put."""

    transfer: Transfer
    equal: bool

    @property
    def verified(self) -> bool:
        """Whether the app says that it is shared."""
        return self.transfer.get("state") == "verified"

    @property
    def arrived(self) -> bool:
        """Whether it is shared, by the app's word and by the bytes."""
        return self.verified and self.equal

    def __str__(self) -> str:
        told = outcome(self.transfer)
        return f"{told}; {'bytes equal' if self.equal else 'BYTES DIFFER'}" if self.verified else told


def outcome(transfer: Transfer) -> str:
    """How a transfer stands."""
    if "state" not in transfer:
        return "no transfer: its event has not arrived"
    if transfer["state"] == "verified":
        return f"verified by {transfer['engine'] or 'an unknown engine'} in {seconds(transfer):.1f} s"
    failed = f"failed {transfer['tries']} times" if transfer["reason"] and transfer["tries"] else ""
    return ": ".join(filter(None, (transfer["state"], failed, transfer["reason"], transfer["detail"])))


def seconds(transfer: Transfer) -> float:
    """From the acceptance of its event to its end, as the API tells it."""
    accepted, ended = (datetime.fromisoformat(transfer[key]) for key in ("accepted_at", "updated_at"))
    return (ended - accepted).total_seconds()


def canary(route: Route, small: End) -> Finding:
    """A small blob that was only put: its event had to do the rest."""
    return Finding("canary", route.name, Result.OK if small.arrived else Result.FAILED, str(small), small.arrived)


def sync(route: Route, small: End) -> Finding:
    """Whether `sync` is let through, by what became of a small block blob.

    | the route's engine | the blob | `sync` is |
    | --- | --- | --- |
    | async | any | not used |
    | auto | arrived by async | refused, but nothing is lost: that answer alone makes the app change (rule 16) |
    | auto, sync | arrived otherwise | let through |
    | auto, sync | not there: the service cannot read the source | refused |
    | auto, sync | not there: any other reason | failed |
    """
    if route.engine == "async":
        return Finding("sync", route.name, Result.UNUSED, "the route uses only async", works=True)
    if small.arrived and small.transfer["engine"] == "async":
        seen = "CannotVerifyCopySource; the app used async instead"
        return Finding("sync", route.name, Result.REFUSED, seen, works=True)
    return _engine("sync", route, small)


def asynchronous(route: Route, append: End | None) -> Finding:
    """Whether `async` is let through, by what became of an append blob, which no other engine can carry.

    | the route's engine | the blob | `async` is |
    | --- | --- | --- |
    | sync | none was put | not used |
    | auto, async | arrived | let through |
    | auto, async | not there: the service cannot read the source | refused |
    | auto, async | not there: any other reason | failed |
    """
    if append is None:
        return Finding("async", route.name, Result.UNUSED, "the route uses only sync", works=True)
    return _engine("async", route, append)


def _engine(engine: str, route: Route, end: End) -> Finding:
    refused = UNREADABLE in end.transfer.get("detail", "") and not end.verified
    result = Result.LET_THROUGH if end.arrived else Result.REFUSED if refused else Result.FAILED
    return Finding(engine, route.name, result, str(end), end.arrived)


def summary(what: str, found: Sequence[Finding]) -> str:
    """`sync let through on 2 of 2 routes`: counts in place of names. Empty if nothing of it was tried."""
    tried = [finding.result for finding in found if finding.what == what and finding.result is not Result.UNUSED]
    counts = [f"{result} on {tried.count(result)} of {len(tried)}" for result in dict.fromkeys(tried)]
    return f"{what} {', '.join(counts)}" if counts else ""
