"""docs/cost.md: its tables are what the counts and prices make of it, and what it rests on is what is deployed."""

import json
import re
import tomllib
from collections.abc import Callable

import pytest

from devhost.bench import bill, cost
from devhost.bench.bill import PRICES, Prices
from tests.docs.pages import page, rows, section
from tests.infra.snapshots import Snapshot

TEXT = page("docs/cost.md")
DOCUMENT = json.loads(cost.COUNTS.read_text())
TOML = tomllib.loads(PRICES.read_text())
PARAMETERS = page("infra/main.bicepparam")
Taken = Callable[[str], Snapshot]


def test_the_tables_are_those_of_the_counts_and_prices() -> None:
    """Whoever changes a price, an alert or host.json runs `make cost ARGS="--counts devhost/bench/counts.json --write"`."""
    assert cost.with_tables(TEXT, cost.tables(DOCUMENT, Prices.read())) == TEXT


def test_what_the_text_says_of_the_tables_is_so() -> None:
    """A third among many, a few MB until egress is above all, and what is most at rest."""
    small, _, timers = bill.known(DOCUMENT)
    prices = Prices.read()
    many, alone = (
        bill.total([*bill.per_blob(small, prices), time(small, prices)], prices)
        for time in (bill.among_many, bill.alone)
    )
    assert 0.28 < many / alone < 0.39
    assert 2 < many / prices.usd["egress-gb"] * 1000 < alone / prices.usd["egress-gb"] * 1000 < 8
    month = {item.name: item.usd(prices) for item in bill.idle(timers, prices, cost.alerts())}
    first, second, third, *others = sorted(month, key=lambda name: -month[name])
    assert ("always ready" in first, second, third) == (True, "alert rules", "GB-seconds of the timers")
    assert sum(month[name] for name in others) < month[third]


def test_a_cent_of_difference_is_found() -> None:
    """Of a price, of a count."""
    prices, tables = Prices.read(), cost.tables(DOCUMENT, Prices.read())
    prices.usd["queue"] *= 1.01
    assert cost.tables(DOCUMENT, prices) != tables
    changed = json.loads(cost.COUNTS.read_text())
    changed["small"]["requests"]["HeadBlob source"] = 2
    assert cost.tables(changed, Prices.read()) != tables


@pytest.mark.parametrize("name", TOML["price"])
def test_each_price_says_what_it_is_and_where_it_is_from(name: str) -> None:
    """A meter by which it can be looked up; quoted or assumed, and nothing between."""
    price = TOML["price"][name]
    assert price["usd"] > 0
    assert re.fullmatch(r"[\w ]+ / [\w ,-]+", price["meter"])
    assert price["basis"] in {"quoted", "assumed"}
    assert price.keys() <= {"usd", "per", "free", "meter", "basis"}


def test_the_prices_are_dated() -> None:
    """With their region and currency, which the page names."""
    assert TOML["date"].isoformat() >= "2026-11-27"
    assert (TOML["region"], TOML["currency"]) == ("East US", "USD")
    assert "East US, US dollars" in TEXT


def test_the_memory_is_that_of_an_instance() -> None:
    """And one instance of the durable group is always ready."""
    assert re.search(r"'INSTANCE_MEMORY', '(\d+)'", PARAMETERS)[1] == str(1024 * TOML["assumed"]["memory_gb"])  # type: ignore[index]
    assert "'ALWAYS_READY', '1'" in PARAMETERS


def test_the_numbers_of_host_json_are_those_in_the_text() -> None:
    """Five queues, each looked at every five seconds; four partitions."""
    provider = json.loads(page("host.json"))["extensions"]["durableTask"]["storageProvider"]
    assert (provider["partitionCount"], provider["maxQueuePollingInterval"]) == (4, "00:00:05")
    assert "each of the five queues of the task hub every five seconds" in TEXT
    assert "renews four rows" in TEXT


def test_the_formula_in_the_text_is_that_of_the_code() -> None:
    """Row by row, for several numbers of activities and timers."""
    table = {row[0]: row[1].partition("`")[2].partition("`")[0] for row in rows(section(TEXT, "## The task hub"))}
    for activities, timers in ((1, 0), (6, 5), (7, 5)):
        known = {"a": activities, "t": timers}
        worth = {name: value(text, known) for name, text in table.items()}
        queues = sum(number for name, number in worth.items() if "message" in name)
        assert (queues, sum(worth.values()) - queues) == bill.hub(activities, timers)


def value(text: str, known: dict[str, int]) -> int:
    """Of `n`, of `1 + 2a + t`, or of `2 (…)`."""
    times, bracket, inner = text.partition(" (")
    if bracket:
        return int(times) * value(inner.rstrip(")"), known)
    terms = (re.fullmatch(r"(\d*)([at]?)", term) for term in text.split(" + "))
    return sum(int(term[1] or 1) * known.get(term[2], 1) for term in terms if term)


def test_the_alert_rules_are_all_counted(snapshot: Taken) -> None:
    """As many as are made, each asked every five minutes."""
    made = snapshot("default").of("Microsoft.Insights/scheduledQueryRules")
    assert len(made) == cost.alerts()
    assert {each["properties"]["evaluationFrequency"] for each in made} == {"PT5M"}
    assert "5 Minute" in TOML["price"]["alert"]["meter"]


def test_the_private_endpoints_are_all_counted(snapshot: Taken) -> None:
    """With one source and one target; and by default there are none."""
    private, default = snapshot("private"), snapshot("default")
    assert len(private.of("Microsoft.Network/privateEndpoints")) == bill.ENDPOINTS
    assert len(private.of("Microsoft.Network/privateDnsZones")) == bill.ZONES
    assert default.of("Microsoft.Network/privateEndpoints") == []
