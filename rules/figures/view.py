"""The figures as the API answers them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from rules.codec import stamp
from rules.figures import aggregate as aggregates
from rules.figures import histogram
from rules.figures.aggregate import COUNTED, HOUR_SLOTS, SLOT_SECONDS, SLOTS, Aggregate, Counts, Slot
from rules.routes.model import Route

GIB = 1024**3
PERCENTILES = (50, 95, 99)
Reasons = Mapping[str, int]


class RouteState(StrEnum):
    """Whether a route shares new versions."""

    ACTIVE = "active"
    PAUSED = "paused"
    OVER_BUDGET = "over_budget"


@dataclass(frozen=True, slots=True)
class Price:
    """What a GiB of egress costs, as the operator has set it."""

    per_gib: float
    currency: str = "USD"

    def of(self, size: int) -> float:
        """Return the estimated cost of so many bytes."""
        return round(size / GIB * self.per_gib, 2)


def of_route(
    route: Route, figures: Aggregate, dead_letters: Reasons, price: Price | None, now: datetime
) -> dict[str, Any]:
    """Return one route."""
    today = aggregates.counts_today(figures, now)
    return {
        "route": route.name,
        "source": route.source.url,
        "target": route.target.url,
        "state": state(route, figures, now),
        **_shared([figures], now),
        "dead_letters": dict(dead_letters),
        "objective": objective(route, figures, now),
        "budget": route.daily_bytes
        and {
            "daily_bytes": route.daily_bytes,
            "used": today.get("bytes", 0),
            "resets_at": stamp(_midnight_after(now)),
        },
        "egress": _egress(price, [figures], now),
    }


def summary(
    figures: list[Aggregate], dead_letters: Iterable[Reasons], price: Price | None, now: datetime
) -> dict[str, Any]:
    """Return the sums over all routes. `dead_letters` also has those without a route."""
    return {
        "routes": len(figures),
        **_shared(figures, now),
        "dead_letters": _sum(dead_letters),
        "egress": _egress(price, figures, now),
    }


def state(route: Route, figures: Aggregate, now: datetime) -> RouteState:
    """Return whether the route shares new versions, and if not, why."""
    if route.paused:
        return RouteState.PAUSED
    return RouteState.OVER_BUDGET if is_over_budget(route, figures, now) else RouteState.ACTIVE


def is_over_budget(route: Route, figures: Aggregate, now: datetime) -> bool:
    """Whether the verified bytes of the present UTC day have reached the route's limit."""
    limit = route.daily_bytes
    return limit is not None and aggregates.counts_today(figures, now).get("bytes", 0) >= limit


def egress_of_job(price: Price | None, size: int) -> dict[str, Any] | None:
    """Return the estimated cost of what a dry run has found."""
    return {"price_per_gib": price.per_gib, "currency": price.currency, "estimate": price.of(size)} if price else None


def _shared(figures: list[Aggregate], now: datetime) -> dict[str, Any]:
    return {
        "running": running(figures),
        "today": _counts(aggregates.counts_today(each, now) for each in figures),
        "total": _counts(each.total for each in figures),
        "latency": latency(figures, now),
        "throughput": [_throughput(number, slots) for number, slots in sorted(_slots(figures, now, SLOTS).items())],
    }


def running(figures: list[Aggregate]) -> dict[str, Any]:
    """Return the number, the bytes and the oldest of the transfers that run."""
    opened = [each for one in figures for each in one.running.values()]
    oldest = min((each.at for each in opened), default=None)
    return {
        "count": len(opened),
        "bytes": sum(each.size for each in opened),
        "oldest_at": oldest and stamp(oldest),
    }


def _slots(figures: list[Aggregate], now: datetime, count: int) -> dict[int, list[Slot]]:
    found: dict[int, list[Slot]] = {}
    for each in figures:
        for number, slot in aggregates.recent_slots(each, now, count).items():
            found.setdefault(number, []).append(slot)
    return found


def latency(figures: list[Aggregate], now: datetime) -> dict[str, Any]:
    """Return the count and the percentiles of the latencies of the last hour and the last day."""
    return {name: _latency(_slots(figures, now, count)) for name, count in (("hour", HOUR_SLOTS), ("day", SLOTS))}


def _latency(slots: dict[int, list[Slot]]) -> dict[str, Any]:
    latencies = histogram.total(slot.latencies for each in slots.values() for slot in each)
    percentiles = {f"p{percent}": histogram.percentile(latencies, percent) for percent in PERCENTILES}
    return {"count": sum(latencies.values()), **percentiles}


def _throughput(number: int, slots: list[Slot]) -> dict[str, Any]:
    at = datetime.fromtimestamp(number * SLOT_SECONDS, UTC)
    return {
        "at": stamp(at),
        "transfers": sum(slot.transfers for slot in slots),
        "bytes": sum(slot.bytes for slot in slots),
    }


def _counts(counts: Iterable[Counts]) -> dict[str, int]:
    summed = _sum(counts)
    return {str(name): summed.get(name, 0) for name in COUNTED}


def _sum(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for each in counts:
        for name, count in each.items():
            found[name] = found.get(name, 0) + count
    return found


def objective(route: Route, figures: Aggregate, now: datetime) -> dict[str, Any] | None:
    """Return how much of a route's objective is met; None if it has none."""
    wanted = route.objective
    if wanted is None:
        return None
    slots = _slots([figures], now, SLOTS)
    latencies = histogram.total(slot.latencies for each in slots.values() for slot in each)
    share = histogram.within(latencies, wanted.within.total_seconds())
    left = 1 - (1 - share) / (1 - wanted.percentile / 100)
    return {
        "percentile": wanted.percentile,
        "within": wanted.within.total_seconds(),
        "share": round(share, 6),
        "budget_left": round(left, 4),
        "met": left >= 0,
    }


def _egress(price: Price | None, figures: list[Aggregate], now: datetime) -> dict[str, Any] | None:
    size = sum(aggregates.counts_today(each, now).get("bytes", 0) for each in figures)
    return {"price_per_gib": price.per_gib, "currency": price.currency, "today": price.of(size)} if price else None


def _midnight_after(now: datetime) -> datetime:
    return now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
