"""The timer of the figures: turns the messages of `transfer-ends` into each route's figures and ledger."""

import asyncio
import json
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from datetime import timedelta

from operations.figures import query
from operations.figures.query import ALL, parse
from operations.log import log
from operations.upkeep.timer_run import TimerRun
from ports.messages import Received
from ports.orchestrations import Instances
from ports.services import Ports
from rules import codec
from rules.codec import stamp
from rules.errors import UNREADABLE, Reason, Retryable
from rules.figures import aggregate, feed, view
from rules.figures.aggregate import Aggregate
from rules.figures.feed import Message
from rules.routes.model import Route

# The timer runs every minute. A batch has up to four times 32 messages, so that its lines fit into one append.
SECONDS, FULL, RECEIVERS = 45.0, 32, 3
# Every five minutes: the count of open dead letters, and up to 20 checks of transfers that have been running for long.
PERIOD, PAGE, MOST_CHECKS = timedelta(minutes=4, seconds=30), 5_000, 20
# Another run may change the figures at the same time; at each collision one of them succeeds.
MAX_TRIES = 10
Change = Callable[[Aggregate], Aggregate]


async def collect(ports: Ports, instances: Instances) -> int:
    """Count the messages of the queue, and return how many. What fails stays in the queue for the next run."""
    run = TimerRun(ports, "figures", seconds=SECONDS)
    while not run.over and (reports := await ports.feed.receive()):
        more = await asyncio.gather(*(ports.feed.receive() for _ in range(RECEIVERS if len(reports) == FULL else 0)))
        await _collect_batch(ports, run, [report for batch in (reports, *more) for report in batch])
    with run:
        await _note_run(ports, instances, run)
    with run:
        await _send_metrics(ports)
    run.finish()
    return run.done


async def _collect_batch(ports: Ports, run: TimerRun, reports: Sequence[Received]) -> None:
    routes: defaultdict[str, list[tuple[Message, Received]]] = defaultdict(list)
    unreadable = list[Received]()
    for report in reports:
        try:
            message = codec.decode(Message, json.loads(report.body))
            routes[message.route].append((message, report))
        except UNREADABLE:
            log("feed.unreadable", "a message of transfer-ends cannot be read", level=logging.WARNING)
            unreadable.append(report)

    async def collect_route(route: str) -> None:
        messages = [message for message, _ in routes[route]]
        await _change(ports, route, lambda figures: aggregate.merge(figures, messages, ports.now()))
        await asyncio.gather(*(ports.feed.delete(report) for _, report in routes[route]))
        run.done += len(messages)

    await run.for_each(list(routes), collect_route, len(routes))
    await asyncio.gather(*(ports.feed.delete(report) for report in unreadable))


async def _change(ports: Ports, route: str, change: Change) -> None:
    """Change a route's figures, and append the lines that follow to its ledger.

    The figures hold the lines and their position until the next change. If a run ends between the two writes, the next
    one appends them, and an append that is repeated has no effect: so each line is in the ledger once.
    """
    for _ in range(MAX_TRIES):
        record, etag = await ports.figures.load(route)
        old = parse(record) or aggregate.new(ports.now())
        await _append(ports, route, old)
        new = change(old)
        if new is old:
            return
        if await ports.figures.save(route, aggregate.record(new), etag) is not None:
            await _append(ports, route, new)
            return
    raise Retryable(Reason.INTERNAL, "figures.write", f"another run changed the figures {MAX_TRIES} times")


async def _append(ports: Ports, route: str, figures: Aggregate) -> None:
    for day, page in figures.pages.items():
        if page.text:
            await ports.ledger.append(aggregate.page_name(route, figures, day), page.length, page.text.encode())


async def _check_running(ports: Ports, instances: Instances, route: str) -> None:
    """Look up in the task hub what has been running for over an hour: its end may have been lost."""
    figures = parse((await ports.figures.load(route))[0])
    due = aggregate.to_check(figures, ports.now(), MOST_CHECKS) if figures else []
    found = {identity: await instances.find(identity) for identity in due}
    running = [identity for identity, instance in found.items() if instance and instance.under_way]
    ends = [
        feed.of_ended(instance.run, instance.live, instance.updated_at)
        for instance in found.values()
        if instance and instance.run and not instance.under_way
    ]
    gone = set(due) - set(running)

    def apply(figures: Aggregate) -> Aggregate:
        figures = aggregate.merge(figures, [end for end in ends if end], ports.now())
        return aggregate.checked(figures, running, gone, ports.now())

    if due:
        await _change(ports, route, apply)


async def _note_run(ports: Ports, instances: Instances, run: TimerRun) -> None:
    """Record when the timer ran and, every five minutes, how many dead letters are open, by route and reason."""
    record, etag = await ports.figures.load(ALL)
    now = ports.now()
    new = {**(record or {}), "updated_at": stamp(now)}
    checked_at = codec.time_in(new, "checked_at")
    if checked_at is None or now - checked_at >= PERIOD:
        for route in ports.routes:
            with run:
                await _check_running(ports, instances, route.name)
                await _log_figures(ports, route)
        new |= {"checked_at": stamp(now), "dead_letters": await _count_dead_letters(ports)}
    await ports.figures.save(ALL, new, etag)  # if another run was faster, its record is as new


async def _log_figures(ports: Ports, route: Route) -> None:
    """Log a route's figures for the workbook, and that it misses its objective."""
    now, figures = ports.now(), parse((await ports.figures.load(route.name))[0])
    if figures is None:
        return
    met, running, hour = (
        view.objective(route, figures, now),
        view.running([figures]),
        view.latency([figures], now)["hour"],
    )
    log(
        "figures.updated",
        "the figures of a route",
        route=route.name,
        running=running["count"],
        running_bytes=running["bytes"],
        oldest_at=running["oldest_at"],
        p50=hour["p50"],
        p95=hour["p95"],
        p99=hour["p99"],
        budget_left=met and met["budget_left"],
    )
    if met and not met["met"]:
        text = "too many transfers of the last day were late"
        log("objective.missed", text, level=logging.WARNING, route=route.name, share=met["share"])


async def _send_metrics(ports: Ports) -> None:
    """Send the metrics to the collector. They are sums since the beginning, so the next run sends what was not taken."""
    if ports.collector is None:
        return
    metrics = await query.metrics(ports, seconds=0)
    try:
        await ports.collector.send(metrics)
    except Retryable as error:
        log("metrics.refused", str(error), level=logging.WARNING)


async def _count_dead_letters(ports: Ports) -> dict[str, dict[str, int]]:
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    continuation = None
    while True:
        items, continuation = await ports.dead_letters.page("", PAGE, continuation)
        for item in items:
            counts[item["route"] or ""][item["reason"] or Reason.INTERNAL] += 1
        if continuation is None:
            return {route: dict(reasons) for route, reasons in counts.items()}
