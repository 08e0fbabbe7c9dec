"""What is made of counts: the task hub's requests as a real host made them, and a price for everything that is asked."""

import json
from dataclasses import replace

import pytest

from devhost.bench import bill
from devhost.bench.bill import BLOB, Counts, Prices, Timer
from devhost.bench.cost import COUNTS
from devhost.bench.tap import operation
from rules.fixed_names import STEPS

PRICES = Prices.read()
SMALL, LARGE, TIMERS = bill.known(json.loads(COUNTS.read_text()))


@pytest.mark.parametrize(
    ("activities", "timers", "queues", "tables"),
    # Counted on a real host: puts, deletes and gets; batches, merges and reads. 0.5 of the first came every second time.
    [(1, 0, 3 + 3 + 6, 3 + 2 + 4), (6, 5, 18 + 18 + 39, 13 + 12 + 15)],
)
def test_the_task_hub_asks_for_what_a_real_host_asked_for(
    activities: int, timers: int, queues: int, tables: int
) -> None:
    """Within five in a hundred, for queues and for tables."""
    assert bill.hub(activities, timers) == pytest.approx((queues, tables), rel=0.05)


def test_each_look_is_eighteen_more() -> None:
    """A real host took 20.5 requests for the first activity, and about 18 for each further one with its timer."""
    assert sum(bill.hub(1, 0)) == pytest.approx(20.5, rel=0.05)
    assert sum(bill.hub(7, 6)) - sum(bill.hub(6, 5)) == 18


def test_one_look_less_is_one_of_everything_less() -> None:
    """And what depends on them; a real load with fewer looks shows the same in tests/e2e."""
    less = LARGE.without_a_look()
    assert (LARGE.activities - less.activities, LARGE.timers - less.timers) == (1, 1)
    assert sum(LARGE.requests.values()) - sum(less.requests.values()) == 1
    assert sum(LARGE.executions.values()) - sum(less.executions.values()) == 3
    assert bill.look(LARGE, PRICES) > 0


def test_time_is_billed_by_the_second_at_least_and_shared_among_many() -> None:
    """Alone: a second for the trigger, one for the start, one for each look, of an instance's memory."""
    assert bill.alone(SMALL, PRICES).counts == {"gb-second": 2, "ready-gb-second": 2}
    assert bill.alone(LARGE, PRICES).counts["ready-gb-second"] == 2 * (1 + LARGE.timers)
    slow = replace(SMALL, active_seconds={"accept": 3.0, "durable": 0.1})
    assert bill.alone(slow, PRICES).counts["gb-second"] == 6
    assert bill.among_many(SMALL, PRICES).count < bill.alone(SMALL, PRICES).count


def test_everything_that_the_app_asked_for_has_a_price() -> None:
    """An operation that nobody mapped stops the bill; it is not left out in silence."""
    asked = [SMALL.requests, LARGE.requests, *(timer.requests for timer in TIMERS.values())]
    assert {name.partition(" ")[0] for requests in asked for name in requests} <= BLOB.keys()
    assert set(BLOB.values()) <= PRICES.usd.keys()
    with pytest.raises(KeyError, match="PutBlock"):
        bill.per_blob(replace(SMALL, requests={"PutBlock target": 1}), PRICES)


def test_a_dearer_price_is_a_dearer_bill() -> None:
    """Each price but those of options is in one of the bills."""
    bills = [
        *bill.per_blob(LARGE, PRICES),
        bill.alone(LARGE, PRICES),
        *bill.idle(TIMERS, PRICES, alerts=8),
        bill.endpoints(),
    ]
    for name in PRICES.usd.keys() - {"egress-gb"}:
        dearer = replace(PRICES, usd=PRICES.usd | {name: PRICES.usd[name] * 2})
        assert bill.total(bills, dearer) > bill.total(bills, PRICES), name


def test_a_timer_that_runs_twice_as_often_costs_twice_as_much() -> None:
    """Its time, its executions, its requests; what looks at queues does not depend on it."""
    once = {"drain": Timer(1000, {"ListBlobs events": 1}, {"GetQueueProperties blob-events": 1})}
    twice = {"drain": replace(once["drain"], runs=2000)}
    changed = [
        (one.name, other.count / one.count)
        for one, other in zip(bill.idle(once, PRICES, 1), bill.idle(twice, PRICES, 1), strict=True)
        if one.count != other.count
    ]
    assert [ratio for _, ratio in changed] == [2] * 5
    assert all("timers" in name for name, _ in changed)


def test_the_executions_are_those_of_the_apps_steps() -> None:
    """The queue trigger, the orchestrator, and activities."""
    for counts in (SMALL, LARGE):
        assert isinstance(counts, Counts)
        assert counts.executions.keys() <= {"accept", "transfer", *STEPS.values()}
        steps = sum(number for name, number in counts.executions.items() if name in set(STEPS.values()))
        assert steps == counts.activities


@pytest.mark.parametrize(
    ("method", "target", "name"),
    [
        ("GET", "/sharingevents/blob-events/messages?numofmessages=16", "GetMessages blob-events"),
        ("GET", "/sharingevents/blob-events/messages?peekonly=true", "PeekMessages blob-events"),
        ("POST", "/sharingevents/blob-events/messages?visibilitytimeout=0", "PutMessage blob-events"),
        ("DELETE", "/sharingevents/blob-events/messages/1-2?popreceipt=x%2F%3D", "DeleteMessage blob-events"),
        ("PUT", "/sharingevents/blob-events/messages/1-2?popreceipt=x", "UpdateMessage blob-events"),
        ("GET", "/sharingevents/blob-events-poison?comp=metadata", "GetQueueProperties blob-events-poison"),
        ("PUT", "/sharingevents/blob-events-poison", "PUT queue blob-events-poison"),
    ],
)
def test_the_tap_names_what_is_asked_of_a_queue(method: str, target: str, name: str) -> None:
    """From the request's line; what it does not know is told as it came."""
    assert operation(method, target) == name
