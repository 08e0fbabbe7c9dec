"""The figures as the API answers them. A request reads one record for each route, whatever the number of transfers."""

import asyncio
from datetime import date
from typing import Any

from operations.problems import NotFound
from ports.services import Ports
from rules import codec
from rules.codec import stamp
from rules.errors import UNREADABLE, Reason, Retryable
from rules.figures import aggregate, view
from rules.figures.aggregate import Aggregate
from rules.figures.metrics import Metric, Queue, measure

# How old the records may be that a request reads, so that many requests cost no more than a few.
SECONDS = 5.0
# The record of what concerns all routes. No route has this name.
ALL = "_all"


async def routes(ports: Ports) -> dict[str, Any]:
    """Return the figures of each route."""
    overall, figures = await _read(ports)
    letters = overall.get("dead_letters", {})
    now = ports.now()
    shown = [
        view.of_route(route, each, letters.get(route.name, {}), ports.price, now)
        for route, each in zip(ports.routes, figures, strict=True)
    ]
    return {"updated_at": overall.get("updated_at"), "routes": shown}


async def summary(ports: Ports) -> dict[str, Any]:
    """Return the sums over all routes, and the queue of events."""
    overall, figures = await _read(ports)
    letters = overall.get("dead_letters", {}).values()
    shown = view.summary(figures, letters, ports.price, ports.now())
    queue = await _read_queue(ports)
    queued = {"count": queue.count, "oldest_at": queue.oldest_at and stamp(queue.oldest_at)}
    return {"updated_at": overall.get("updated_at"), **shown, "queued": queued}


async def metrics(ports: Ports, seconds: float = SECONDS) -> list[Metric]:
    """Return the figures of each route, as they were at most `seconds` ago, and the queue of events as metrics."""
    overall, figures = await _read(ports, seconds)
    return measure(
        list(zip(ports.routes, figures, strict=True)),
        overall.get("dead_letters", {}),
        await _read_queue(ports),
        codec.time_in(overall, "updated_at"),
        ports.now(),
    )


async def ledger(ports: Ports, route: str, day: date, continuation: str | None) -> dict[str, Any]:
    """Return a page of a day's ledger.

    Raises:
        NotFound: the route does not exist and has no ledger.
        ValueError: the continuation is not valid.
    """
    lines, following = await ports.ledger.page(aggregate.folder(route, day), continuation)
    if not lines and ports.route(route) is None and not await ports.ledger.exists(f"{route}/"):
        fix = f"Use one of: {', '.join(each.name for each in ports.routes)}."
        raise NotFound("no route has this name, and none with a ledger had it", fix)
    return {"route": route, "day": day.isoformat(), "items": lines, "continuation": following}


async def _read(ports: Ports, seconds: float = SECONDS) -> tuple[dict[str, Any], list[Aggregate]]:
    overall, *figures = await asyncio.gather(
        ports.figures.recent(ALL, seconds), *(read_figures(ports, route.name, seconds) for route in ports.routes)
    )
    return overall or {}, figures


async def _read_queue(ports: Ports) -> Queue:
    depth = await ports.events.depth()
    return Queue(depth, await ports.events.oldest_message() if depth else None)


async def read_figures(ports: Ports, route: str, seconds: float) -> Aggregate:
    """Return a route's figures, as they were at most `seconds` ago."""
    return parse(await ports.figures.recent(route, seconds)) or aggregate.new(ports.now())


def parse(record: dict[str, Any] | None) -> Aggregate | None:
    """Parse a record of figures.

    Raises:
        Retryable: this version of the app cannot read it.
    """
    try:
        return None if record is None else aggregate.read(record)
    except UNREADABLE:
        raise Retryable(Reason.INTERNAL, "figures.read", "this version of the app cannot read the figures") from None
