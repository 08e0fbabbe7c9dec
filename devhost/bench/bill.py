"""What a blob costs on Azure: counts of the local stack, by the prices of `prices.toml`. docs/cost.md explains every term."""

import json
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from devhost.stack import ROOT

PRICES = Path(__file__).parent / "prices.toml"
MONTH_HOURS = 730
MONTH_SECONDS = MONTH_HOURS * 3600
# The price of each operation of the blob service, as Microsoft maps them for general-purpose v2. Deletions are free.
BLOB = {
    "CopyBlobFromUrl": "blob-write",
    "CopyBlob": "blob-write",
    "PutBlob": "blob-write",
    "GetBlob": "blob-read",
    "ListBlobs": "blob-list",
    "HeadBlob": "blob-other",
    "SetProperties": "blob-other",
    "AbortCopy": "blob-other",
    "GetContainer": "blob-other",
}
# Only with private endpoints: one for each account's blobs, one for the queues of the state and the events account each, and one
# for the state account's tables.
ENDPOINTS, ZONES = 7, 3
# The partition manager reads the table of partitions, and renews each of its own, this often.
LEASE_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Prices:
    """The price of one of each thing, what of it is free in a month, and what is assumed."""

    usd: dict[str, float]
    free: dict[str, float]
    assumed: dict[str, float]

    @classmethod
    def read(cls, path: Path = PRICES) -> Self:
        """From a file like prices.toml."""
        document = tomllib.loads(path.read_text())
        prices = document["price"]
        return cls(
            usd={name: price["usd"] / price["per"] for name, price in prices.items()},
            free={name: price["free"] for name, price in prices.items() if "free" in price},
            assumed=document["assumed"],
        )


@dataclass(frozen=True, slots=True)
class Counts:
    """What one blob asked for, as counted on the local stack."""

    bytes_each: int
    requests: dict[str, float]
    """The app's requests of the blob service, by operation and account: `HeadBlob source`."""
    messages: float
    """Of the queue blob-events."""
    activities: float
    timers: float
    executions: dict[str, float]
    active_seconds: dict[str, float]
    """Of the queue trigger, and of all durable functions together."""
    lines: float
    """Lines that the app writes."""
    line_bytes: float

    def without_a_look(self) -> "Counts":
        """The same with one look less at the copy: an activity, a timer, two calls of the orchestrator, a HEAD, a line."""
        executions, requests = self.executions, self.requests
        return replace(
            self,
            requests=requests | {"HeadBlob target": requests["HeadBlob target"] - 1},
            activities=self.activities - 1,
            timers=self.timers - 1,
            executions=executions
            | {"transfer_check": executions["transfer_check"] - 1, "transfer": executions["transfer"] - 2},
            lines=self.lines - 1,
        )


@dataclass(frozen=True, slots=True)
class Timer:
    """One of the app's timers: how often it runs in a month, and what a run asks for when there is nothing to do."""

    runs: float
    requests: dict[str, float] = field(default_factory=dict)
    queues: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Item:
    """A row of a bill: so many of something, by the price that they have."""

    name: str
    counts: Mapping[str, float]

    @property
    def count(self) -> float:
        """How many, whatever their price."""
        return sum(self.counts.values())

    def usd(self, prices: Prices) -> float:
        """What it comes to."""
        return sum(count * prices.usd[price] for price, count in self.counts.items())


def known(document: Mapping[str, Any]) -> tuple[Counts, Counts, dict[str, Timer]]:
    """Counts as they were written down: of a small blob, of a large one, of each timer."""
    timers = {name: Timer(**timer) for name, timer in document["timers"].items()}
    return Counts(**document["small"]), Counts(**document["large"]), timers


def total(items: Iterable[Item], prices: Prices) -> float:
    """All of a bill."""
    return sum(item.usd(prices) for item in items)


def hub(activities: float, timers: float) -> tuple[float, float]:
    """What an orchestration asks of the task hub: requests of queues, and of tables.

    A message starts it, an activity takes two, a timer one. Each is put, found and deleted, and then the queue is looked at
    once more in vain. The messages to the orchestrator are its episodes: each reads the history, writes what is new of it in
    one batch, and merges the instance's row. Before all that the app looks for the instance, and the extension looks again and
    inserts it. To continue as new is part of an episode.
    """
    messages, episodes = 1 + 2 * activities + timers, 1 + activities + timers
    return 4 * messages, 3 * episodes + 3


def per_blob(counts: Counts, prices: Prices) -> list[Item]:
    """The bill of one blob, without the time of functions."""
    assumed, asked = prices.assumed, _priced(counts.requests)
    queues, tables = hub(counts.activities, counts.timers)
    executions = sum(counts.executions.values())
    rows = executions * assumed["telemetry_rows"] + counts.lines
    log = rows * assumed["telemetry_bytes"] + counts.lines * counts.line_bytes
    reads = max(1, counts.bytes_each / (assumed["copy_read_mib"] * 1024**2))
    return [
        Item("requests to blobs: writes", {"blob-write": asked["blob-write"]}),
        Item("requests to blobs: reads", {"blob-read": asked["blob-read"]}),
        Item("requests to blobs: others", {"blob-other": asked["blob-other"]}),
        Item("reads of the source by the copy", {"blob-read": reads}),
        Item("queue `blob-events`: put, get, delete", {"queue": 3 * counts.messages}),
        Item("task hub: queues", {"queue": queues}),
        Item("task hub: tables", {"table": tables}),
        Item("Event Grid: published, delivered", {"event": 2 * counts.messages}),
        Item("executions of functions", {"execution": executions}),
        Item("log, KB", {"log-kb": log / 1000}),
    ]


def among_many(counts: Counts, prices: Prices) -> Item:
    """A blob's share of the time in which at least one function ran: the blobs of that time have it together."""
    seconds = counts.active_seconds
    return _time("GB-seconds, among many", seconds["accept"], seconds["durable"], prices)


def alone(counts: Counts, prices: Prices) -> Item:
    """The time of a blob by itself: the queue trigger, the start, and the look after each timer are billed one by one."""
    least, seconds = prices.assumed["minimum_seconds"], counts.active_seconds
    durable = max((1 + counts.timers) * least, seconds["durable"])
    return _time("GB-seconds, alone", max(least, seconds["accept"]), durable, prices)


def _time(name: str, accept: float, durable: float, prices: Prices) -> Item:
    memory = prices.assumed["memory_gb"]
    return Item(name, {"gb-second": accept * memory, "ready-gb-second": durable * memory})


def look(large: Counts, prices: Prices) -> float:
    """What one more look at a copy costs."""
    more, fewer = ([*per_blob(each, prices), alone(each, prices)] for each in (large, large.without_a_look()))
    return total(more, prices) - total(fewer, prices)


def idle(timers: Mapping[str, Timer], prices: Prices, alerts: int) -> list[Item]:
    """A month in which nothing is shared: one instance always ready, the app's timers, and what looks and watches."""
    assumed = prices.assumed
    runs = sum(timer.runs for timer in timers.values())
    asked: defaultdict[str, float] = defaultdict(float)
    for timer in timers.values():
        for price, count in _priced(timer.requests).items():
            asked[price] += count * timer.runs
    queues = sum(count * timer.runs for timer in timers.values() for count in timer.queues.values())
    provider = json.loads((ROOT / "host.json").read_text())["extensions"]["durableTask"]["storageProvider"]
    partitions = provider["partitionCount"]
    polled = (partitions + 1) / _seconds(provider["maxQueuePollingInterval"])
    scaled = (partitions + 2) / assumed["scale_seconds"]
    return [
        Item(
            "GB-seconds of the instance that is always ready", {"ready-baseline": assumed["memory_gb"] * MONTH_SECONDS}
        ),
        Item("GB-seconds of the timers", {"gb-second": runs * assumed["minimum_seconds"] * assumed["memory_gb"]}),
        Item("executions of the timers", {"execution": runs}),
        Item("requests of the timers to blobs", asked),
        Item("requests of the timers to queues", {"queue": queues}),
        Item("looks at queues, by the host and for scaling", {"queue": (polled + scaled) * MONTH_SECONDS}),
        Item("leases of the task hub's partitions", {"table": (1 + partitions) / LEASE_SECONDS * MONTH_SECONDS}),
        Item(
            "log of the timers, KB",
            {"log-kb": runs * (assumed["telemetry_rows"] + 1) * assumed["telemetry_bytes"] / 1000},
        ),
        Item("alert rules", {"alert": alerts}),
    ]


def endpoints() -> Item:
    """A month of private endpoints and their zones, where they are on."""
    return Item("private endpoints", {"endpoint-hour": ENDPOINTS * MONTH_HOURS, "zone": ZONES})


def _priced(requests: Mapping[str, float]) -> defaultdict[str, float]:
    """How many requests have which price."""
    asked: defaultdict[str, float] = defaultdict(float)
    for name, count in requests.items():
        asked[BLOB[name.partition(" ")[0]]] += count
    return asked


def _seconds(text: str) -> int:
    """Of `hh:mm:ss`."""
    hours, minutes, seconds = map(int, text.split(":"))
    return (hours * 60 + minutes) * 60 + seconds
