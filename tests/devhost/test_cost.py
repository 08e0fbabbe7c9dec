"""The cost tables: the task hub's requests as on a real host, and a price for each request."""

import json
import re

import pytest

from devhost.bench import cost
from devhost.bench.cost import PRICE_OF, USD
from tests.docs.pages import page

COUNTS = json.loads(cost.COUNTS.read_text())
SMALL, LARGE, TIMERS = COUNTS["small"], COUNTS["large"], COUNTS["timers"]


def test_the_page_has_the_tables() -> None:
    shown = page("docs/cost.md").partition("<!-- begin: costs -->")[2].partition("<!-- end: costs -->")[0]
    assert shown.strip() == cost.tables()


@pytest.mark.parametrize(
    ("activities", "timers", "queues", "tables"),
    # Measured on a real host: puts, deletes and gets; batches, merges and reads.
    [(1, 0, 3 + 3 + 6, 3 + 2 + 4), (6, 5, 18 + 18 + 39, 13 + 12 + 15)],
)
def test_the_task_hub_matches_a_real_host(activities: int, timers: int, queues: int, tables: int) -> None:
    assert cost.task_hub(activities, timers) == pytest.approx((queues, tables), rel=0.05)


def test_one_more_poll_is_the_difference_of_two_bills() -> None:
    """The bills of two loads that differ by one poll differ by `poll`."""
    more = SMALL | {
        "requests": SMALL["requests"] | {"HeadBlob target": 1},
        "activities": SMALL["activities"] + 1,
        "timers": SMALL["timers"] + 1,
        "executions": SMALL["executions"] | {"transfer": SMALL["executions"]["transfer"] + 3},
        "lines": SMALL["lines"] + 1,
    }
    bills = [[*cost.per_blob(blob), cost.alone(blob)] for blob in (more, SMALL)]
    assert cost.usd(bills[0]) - cost.usd(bills[1]) == pytest.approx(cost.usd([cost.poll(SMALL["line_bytes"])]))


def test_a_second_is_the_least_and_is_shared_among_many() -> None:
    assert cost.alone(SMALL)[1] == {"gb-second": 2, "ready-gb-second": 2}
    assert cost.alone(SMALL | {"timers": 3.0})[1]["ready-gb-second"] == 2 * (1 + 3)
    slow = SMALL | {"active_seconds": {"accept": 3.0, "durable": 0.1}}
    assert cost.alone(slow)[1] == {"gb-second": 6, "ready-gb-second": 2}
    assert cost.usd([cost.among_many(SMALL)]) < cost.usd([cost.alone(SMALL)])


def test_each_counted_operation_has_a_price() -> None:
    """An unknown operation is an error; it is not left out."""
    asked = [SMALL["requests"], LARGE["requests"], *(timer["requests"] for timer in TIMERS.values())]
    assert {name.partition(" ")[0] for requests in asked for name in requests} <= PRICE_OF.keys()
    assert set(PRICE_OF.values()) <= USD.keys()
    with pytest.raises(KeyError, match="PutBlock"):
        cost.per_blob(SMALL | {"requests": {"PutBlock target": 1}})


@pytest.mark.parametrize("price", USD)
def test_each_price_is_used(price: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = cost.tables()
    monkeypatch.setitem(USD, price, 2 * USD[price])
    assert cost.tables() != before


def test_a_timer_that_runs_twice_as_often_costs_twice_as_much() -> None:
    """Its time, executions, requests and log double; polling does not change."""
    once = {"drain": {"runs": 1000, "requests": {"ListBlobs events": 1}}}
    twice = {"drain": once["drain"] | {"runs": 2000}}
    ratios = {
        name: cost.usd([(name, more)]) / cost.usd([(name, less)])
        for (name, less), (_, more) in zip(cost.idle(once), cost.idle(twice), strict=True)
    }
    assert {name for name, ratio in ratios.items() if ratio == 2} == {name for name in ratios if "timers" in name}
    assert set(ratios.values()) == {1, 2}


def test_a_file_of_counts_is_read_as_it_was_counted() -> None:
    """Activities and executions agree."""
    for blob in (SMALL, LARGE):
        steps = {name: number for name, number in blob["executions"].items() if re.match("transfer_", name)}
        assert sum(steps.values()) == blob["activities"]
