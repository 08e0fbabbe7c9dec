"""The timer of the figures, and what the API reads: nothing is lost or counted twice, and the cost is bounded."""

import asyncio
import json
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from adapters.translation import FEED_DELETE, FIGURES_READ, FIGURES_WRITE, LEDGER_WRITE, Request, error_for_answer
from operations.figures import query
from operations.problems import NotFound
from operations.upkeep.figures import collect
from rules import codec
from rules.dead_letters import letters
from rules.errors import Reason, Retryable, StorageError
from rules.events.parse import RejectedEvent
from rules.figures import aggregate
from rules.figures.feed import Kind, Message
from rules.figures.metrics import Metric
from rules.routes.model import Objective
from rules.transfers.model import Ending
from rules.transfers.states import State
from rules.transfers.status import progress
from tests.unit.rules.figures.test_aggregate import message
from tests.unit.samples import NOW, ROUTE, RUN, after
from tests.unit.world import World


async def put(world: World, *messages: Message) -> None:
    for each in messages:
        await world.ports.feed.put(json.dumps(codec.encode(each)).encode())


async def run_timer(world: World) -> int:
    return await collect(world.ports, world.instances)


async def shown(world: World) -> dict[str, Any]:
    world.pass_time(6)  # what a process has read is kept for five seconds
    found: dict[str, Any] = (await query.routes(world.ports))["routes"][0]
    return found


async def ledger(world: World) -> list[dict[str, Any]]:
    page = await query.ledger(world.ports, "default", NOW.date(), None)
    items: list[dict[str, Any]] = page["items"]
    while page["continuation"]:
        page = await query.ledger(world.ports, "default", NOW.date(), page["continuation"])
        items += page["items"]
    return items


async def test_messages_become_figures_and_lines(world: World) -> None:
    await put(world, message(1), message(2, Kind.OPENED), message(3, Kind.DEAD_LETTERED))
    assert await run_timer(world) == 3
    found = await shown(world)
    assert (found["today"]["verified"], found["today"]["dead_lettered"], found["running"]["count"]) == (1, 1, 1)
    (line,) = await ledger(world)
    assert (line["id"], line["state"], line["size"], line["latency"]) == (message(1).id, "verified", 10, 2)
    assert not world.feed.queue


async def test_before_the_first_run_nothing_is_known(world: World) -> None:
    answer = await query.routes(world.ports)
    assert answer["updated_at"] is None
    assert answer["routes"][0]["total"]["verified"] == 0
    assert await ledger(world) == []


async def test_an_idle_run_costs_three_requests(world: World) -> None:
    await run_timer(world)
    world.requests.clear()
    await run_timer(world)
    assert world.request_names == ["feed.receive", "figures.read", "figures.write"]


@pytest.mark.parametrize("request_", [FIGURES_READ, FIGURES_WRITE, LEDGER_WRITE, FEED_DELETE])
@pytest.mark.parametrize("times", [1, 2, 3])
async def test_after_a_failure_at_any_request_each_end_is_counted_once(
    world: World, request_: Request, times: int
) -> None:
    """A failure before the effect, or an answer that is lost after it."""
    for lose in (False, True):
        await put(world, *(message(number) for number in range(40)))
        if lose:
            world.lose_answer(request_, times)
        else:
            world.refuse(request_, error_for_answer(request_, 503, "ServerBusy"), times)
        for _ in range(4):
            with suppress(StorageError):  # the host records it, and runs the timer again
                await run_timer(world)
            world.pass_time(61)
    assert not world.feed.queue
    assert (await shown(world))["total"]["verified"] == 40
    assert sorted(int(line["name"]) for line in await ledger(world)) == list(range(40))


async def test_concurrent_runs_lose_nothing(world: World) -> None:
    """Each fake yields before its effect, so the requests of the runs mix."""
    real = world.storage.hook

    async def mix(request: Request, subject: str) -> Exception | None:
        await asyncio.sleep(0)
        return await real(request, subject)

    world.storage.hook = mix
    await put(world, *(message(number) for number in range(500)))
    done = await asyncio.gather(*(run_timer(world) for _ in range(3)))
    assert sum(done) == 500
    assert (await shown(world))["total"]["verified"] == 500
    assert sorted(int(line["name"]) for line in await ledger(world)) == list(range(500))


async def test_an_unreadable_message_is_deleted(world: World) -> None:
    await world.ports.feed.put(b"not a message")
    await put(world, message(1))
    await run_timer(world)
    assert not world.feed.queue
    assert (await shown(world))["total"]["verified"] == 1


async def test_a_request_costs_the_same_after_100_and_after_100_000_transfers() -> None:
    costs = []
    for count in (100, 100_000):
        world = World()
        figures = aggregate.merge(aggregate.new(NOW), [message(number) for number in range(count)], NOW)
        await world.figures.save("default", aggregate.record(figures), None)
        world.requests.clear()
        answer, _ = await query.routes(world.ports), await query.summary(world.ports)
        assert answer["routes"][0]["total"]["verified"] == count
        costs.append(world.request_names)
    assert costs[0] == costs[1]
    assert len(costs[0]) == 3


async def test_requests_within_five_seconds_share_what_is_read(world: World) -> None:
    for _ in range(10):
        await query.routes(world.ports)
    assert world.request_names == ["figures.read"] * 2


async def test_what_ended_without_a_message_is_found_in_the_task_hub(world: World) -> None:
    """And counted. What still runs, or will be resumed, stays."""
    opened = [message(number, Kind.OPENED) for number in range(4)]
    await put(world, *opened)
    await run_timer(world)
    done = replace(RUN, transfer=replace(RUN.transfer, id=opened[0].id), state=State.VERIFIED, size=7)
    done = replace(done, ending=Ending(State.VERIFIED), step=None)
    world.put_instance(done.transfer, "Completed", done, progress(done))
    world.put_instance(replace(RUN.transfer, id=opened[1].id), "Running")
    world.put_instance(replace(RUN.transfer, id=opened[2].id), "Failed")
    world.clock = after(hours=2)
    await run_timer(world)
    found = await shown(world)
    assert (found["running"]["count"], found["total"]["verified"], found["total"]["bytes"]) == (2, 1, 7)
    world.requests.clear()
    await run_timer(world)
    assert "instances.find" not in world.request_names


async def test_open_dead_letters_are_counted_every_five_minutes(world: World) -> None:
    run = replace(RUN, ending=Ending(State.DEAD_LETTERED, Reason.THROTTLED))
    await world.dead_letters.write(letters.of_run(run, NOW, "1"))
    rejected = RejectedEvent(Reason.MALFORMED, "x")
    await world.dead_letters.write(letters.of_message(b"x", rejected, NOW, "1"))
    await run_timer(world)
    assert (await shown(world))["dead_letters"] == {"throttled": 1}
    assert (await query.summary(world.ports))["dead_letters"] == {"throttled": 1, "malformed": 1}
    await world.dead_letters.resolve(RUN.transfer.id, 0, "discarded", NOW)
    world.pass_time(60)
    await run_timer(world)
    assert (await shown(world))["dead_letters"] == {"throttled": 1}
    world.clock = after(minutes=5)
    await run_timer(world)
    assert (await shown(world))["dead_letters"] == {}


async def test_the_summary_shows_the_queue(world: World) -> None:
    await world.ports.events.put(b"event")
    await run_timer(world)
    found = await query.summary(world.ports)
    assert found["queued"] == {"count": 1, "oldest_at": "2026-11-24T19:02:44.120Z"}
    assert found["updated_at"] == "2026-11-24T19:02:44.120Z"


async def test_the_ledger_of_an_unknown_route(world: World) -> None:
    with pytest.raises(NotFound):
        await query.ledger(world.ports, "gone", NOW.date(), None)
    await put(world, replace(message(1), route="gone"))
    await run_timer(world)
    assert len((await query.ledger(world.ports, "gone", NOW.date(), None))["items"]) == 1
    assert (await query.ledger(world.ports, "gone", NOW.date() - timedelta(days=1), None))["items"] == []


async def test_a_run_that_takes_long_leaves_the_rest_to_the_next(world: World) -> None:
    await put(world, *(message(number) for number in range(300)))
    world.before_next(FIGURES_WRITE, lambda: world.pass_time(50))
    assert await run_timer(world) == 128
    world.pass_time(61)
    assert await run_timer(world) == 172


@pytest.mark.parametrize(("seconds", "missed"), [(10, []), (1, ["default"])])
async def test_a_missed_objective_is_logged_every_five_minutes(
    seconds: int, missed: list[str], world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Every transfer takes two seconds here."""
    caplog.set_level(logging.INFO)
    objective = Objective(99, timedelta(seconds=seconds))
    world.ports = replace(world.ports, routes=(replace(ROUTE, objective=objective), replace(ROUTE, name="other")))
    await put(world, message(1), message(2))
    for _ in range(2):
        await run_timer(world)
    lines = [json.loads(text) for text in caplog.messages]
    assert [line["route"] for line in lines if line["action"] == "objective.missed"] == missed
    (updated,) = [line for line in lines if line["action"] == "figures.updated"]
    assert (updated["route"], updated["running"], updated["budget_left"] < 0) == ("default", 0, bool(missed))
    assert updated["p99"] == pytest.approx(2, rel=0.03)


class Collector:
    """A collector of metrics that may refuse them."""

    def __init__(self) -> None:
        self.received: list[Sequence[Metric]] = []
        self.refuses = False

    async def send(self, metrics: Sequence[Metric]) -> None:
        if self.refuses:
            raise Retryable(Reason.INTERNAL, "metrics.send", "HTTP 503")
        self.received.append(metrics)


async def test_metrics_are_sent_after_each_run_and_a_refusal_does_not_fail_it(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    collector = Collector()
    world.ports = replace(world.ports, collector=collector)
    await put(world, message(1))
    collector.refuses = True
    assert await run_timer(world) == 1
    assert [json.loads(text)["action"] for text in caplog.messages].count("metrics.refused") == 1
    collector.refuses = False
    await run_timer(world)
    (received,) = collector.received
    verified = [
        point.value for each in received for point in each.points if point.attributes == ("default", "verified")
    ]
    assert verified == [1]
