"""What limits the app on Azure: the tables of docs/scale.md, calculated from counts.json, capacity.toml and prices.toml.

Every demand grows with the rate, so a setup has the same bottleneck at each rate.
"""

import json
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from devhost.bench import cost
from devhost.bench.load import GIB

_TOML = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())
INPUTS: dict[str, tuple[float, str]] = {name: (row[0], row[1]) for part in _TOML.values() for name, row in part.items()}
IN = {name: value for name, (value, _) in INPUTS.items()}
_COUNTS = json.loads(cost.COUNTS.read_text())
SMALL, TIMERS = _COUNTS["small"], _COUNTS["timers"]
DAY = 86_400
ACTIONS = 1 + 2 * SMALL["activities"]  # a start; each activity and its result
# Azure scales the trigger and the durable functions separately.
TRIGGER, ORCHESTRATOR, DURABLE = ("accept",), ("transfer",), ("transfer", "transfer_start")


@dataclass(frozen=True, slots=True)
class Resource:
    """`limit` a second in a unit, of which one blob or GiB takes `demand`. `inputs` names the inputs of both."""

    name: str
    limit: float
    demand: float
    unit: str
    inputs: tuple[str, ...]

    @property
    def most(self) -> float:
        """How many blobs or GiB a second it can take."""
        return self.limit / self.demand


def requests_to(account: str) -> float:
    """Return the counted requests of a small blob to the `source`, `target` or `state` account."""
    return float(sum(number for name, number in SMALL["requests"].items() if name.endswith(account)))


def cpu(functions: tuple[str, ...]) -> float:
    """Return the milliseconds that these functions take for a small blob, if each execution takes the same."""
    executions: dict[str, float] = SMALL["executions"]
    return IN["cpu_ms"] * sum(executions[name] for name in functions) / sum(executions.values())


def common() -> list[Resource]:
    """Return what both backends use."""
    most = IN["instances"]
    return [
        _account("source account", requests_to("source") + 1),  # the copy reads it
        _account("target account", requests_to("target")),
        _account("events account", 3),  # put, get, delete
        _queues("queue `blob-events`", 1, 1),
        _queues("queue `transfer-ends`", 1, 1),
        _cores(f"CPU of {most:.0f} instances of the trigger", most, TRIGGER, "instances", "core_ms"),
        _cores(f"CPU of {most:.0f} instances of durable functions", most, DURABLE, "instances", "core_ms"),
        _cores("CPU of all apps in a region", IN["region_cores"], TRIGGER + DURABLE, "region_cores"),
    ]


def storage(partitions: int = cost.PARTITIONS) -> list[Resource]:
    """Return what a task hub in storage uses. At most `partitions` instances run orchestrators."""
    hub = sum(cost.task_hub(SMALL["activities"], SMALL["timers"]))
    owners = f"{partitions} instances with orchestrators"
    return [
        _account("state account", hub + requests_to("state") + cost.FEED_REQUESTS),
        _queues(f"{partitions} control queues", partitions, 1 + SMALL["activities"]),
        _queues("queue of activities", 1, SMALL["activities"]),
        _cores(f"CPU of {owners}", partitions, ORCHESTRATOR),
        Resource(f"work items of {owners}", partitions * IN["work_items"], ACTIONS, "work item", ("work_items",)),
    ]


def scheduler(units: int) -> list[Resource]:
    """Return what the scheduler with so many Dedicated units uses; 0: Consumption."""
    name, of = (f"Dedicated (units: {units})", "unit_actions") if units else ("Consumption", "consumption_actions")
    return [
        Resource(f"scheduler, {name}", IN[of] * max(1, units), ACTIONS, "action", (of,)),
        _account("state account, without a task hub", requests_to("state") + cost.FEED_REQUESTS),
    ]


def blocks(*, far: bool) -> list[Resource]:
    """Return what a GiB of a large blob uses; `far`: between regions."""
    stream, where = ("far_stream_mib", "between regions") if far else ("stream_mib", "in a region")
    requests = IN["blocks_of_gib"] + IN["other_requests_of_gib"]
    return [
        Resource("ingress of the target account", IN["ingress_gbit"], GIB * 8 / 1e9, "Gbit", ("ingress_gbit",)),
        Resource("egress of the source account", IN["egress_gbit"], GIB * 8 / 1e9, "Gbit", ("egress_gbit",)),
        Resource("requests to the target blob", IN["blob_requests"], requests, "request", ("blob_requests",)),
        *(
            Resource(f"requests in flight of {of}, {where}", IN[flow], 1024 / IN[stream], "request", (flow, stream))
            for of, flow in (("a lane", "lane_flow"), ("an instance", "process_flow"))
        ),
    ]


def bottleneck(resources: Sequence[Resource]) -> Resource:
    """Return the resource that is used up first."""
    return min(resources, key=lambda resource: resource.most)


def instances(rate: float) -> int:
    """Return how many instances the CPU needs at least, for the trigger and for durable functions."""
    return sum(ceil(rate * cpu(group) / IN["core_ms"]) for group in (TRIGGER, DURABLE))


def dollars_a_day(rate: float, *, hub: bool) -> float:
    """Return the price of a day at this rate, with or without the requests of a task hub in storage."""
    bill = [*cost.per_blob(SMALL), cost.among_many(SMALL)]
    blob = cost.usd(item for item in bill if hub or not item[0].startswith("task hub"))
    return rate * DAY * blob + cost.usd(cost.idle(TIMERS)) * 24 / cost.MONTH_HOURS


def _account(name: str, requests: float) -> Resource:
    return Resource(name, IN["account_requests"], requests, "request", ("account_requests",))


def _queues(name: str, queues: int, messages: float) -> Resource:
    return Resource(name, queues * IN["queue_messages"], messages, "message", ("queue_messages",))


def _cores(name: str, cores: float, functions: tuple[str, ...], *of: str) -> Resource:
    return Resource(name, cores * IN["core_ms"], cpu(functions), "ms", (*(of or ("core_ms",)), "cpu_ms"))
