"""`make cost`: count the requests of a small and a large blob and of each timer on local stacks, and price them.

docs/cost.md explains the rows. `tables` returns its tables, from counts.json and prices.toml.
"""

import argparse
import json
import re
import sys
import tempfile
import time
import tomllib
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from devhost.bench.load import GIB, MIB, SMALL, Load, check_host, environment, measure
from devhost.bench.metrics import AGENT, Usage, request_name
from devhost.bench.result import versions
from devhost.command import command
from devhost.host import clock
from devhost.host.timers import Schedule
from devhost.stack import ROOT, LocalStack
from devhost.storage.client import StorageControl
from devhost.storage.config import HOST, StackError

COUNTS = Path(__file__).with_name("counts.json")
_TOML = tomllib.loads(Path(__file__).with_name("prices.toml").read_text())
USD: dict[str, float] = {name: dollars / per for name, (dollars, per, _) in _TOML["price"].items()}
ASSUMED: Mapping[str, float] = _TOML["assumed"]
FREE = "100,000 Event Grid operations, 250,000 executions, 100,000 GB-seconds, 5,000,000 KB of log"
SMALL_BLOBS = 100
TIMER_SECONDS = 30.0
MONTH_HOURS = 730
MONTH_SECONDS = MONTH_HOURS * 3600
# The price of each operation of the blob service: https://learn.microsoft.com/azure/storage/blobs/map-rest-apis-transaction-categories
PRICE_OF = {
    **dict.fromkeys(
        ("CopyBlobFromUrl", "CopyBlob", "PutBlob", "PutBlockFromUrl", "PutBlockList", "AppendBlock"), "blob-write"
    ),
    **dict.fromkeys(("GetBlockList", "HeadBlob", "SetProperties", "AbortCopy", "GetContainer"), "blob-other"),
    "GetBlob": "blob-read",
    "ListBlobs": "blob-list",
}
# With private endpoints: one for each account's blobs, for the queues of the state and the events account, and for the state
# account's tables.
ENDPOINTS, ZONES = 7, 3
# host.json: the host reads the task hub's five queues (one for each partition, one for activities) every five seconds. The scale
# controller reads them and `blob-events` every ten seconds; the partition manager reads a table and renews four rows as often.
PARTITIONS, POLL_SECONDS, SCALE_SECONDS = 4, 5, 10
# The queue requests of timers without work: the length of `blob-events` and the messages of its poison queue; `transfer-ends`.
TIMER_REQUESTS = {"drain": 2, "figures": 1}
# The requests to `transfer-ends` for a blob: a put, a delete, and a get for each 32 messages.
FEED_REQUESTS = 2 + 1 / 32
Item = tuple[str, Mapping[str, float]]
"""A row of a bill: its name, and quantities by the name of their price."""


def main() -> int:
    """Count and print the tables, save the counts with `--json`, and return the exit code."""
    parser = argparse.ArgumentParser("python -m devhost.bench.cost", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help=f"save the counts ({COUNTS.relative_to(ROOT)})")
    parser.add_argument("--large-mib", type=int, default=1024, metavar="MiB", help="size of the large blob (1024)")
    arguments = parser.parse_args()
    return command("cost", lambda: _print(arguments.large_mib * MIB, arguments.json))


def _print(large: int, output: Path | None) -> int:
    counts = count(large)
    print(tables(counts))
    if output:
        lines = ",\n".join(f" {json.dumps(name)}: {json.dumps(value)}" for name, value in counts.items())
        output.write_text(f"{{\n{lines}\n}}\n")
    return 0


def count(large_bytes: int) -> dict[str, Any]:
    """Count on two fresh local stacks; raises StackError if a stack fails or blobs differ in their requests."""
    check_host()
    small, timers = _counted(Load(SMALL_BLOBS, SMALL))
    large, _ = _counted(Load(1, large_bytes))
    date = datetime.now(UTC).date().isoformat()
    return {"date": date, "versions": versions(), "small": small, "large": large, "timers": timers}


def _counted(load: Load) -> tuple[dict[str, Any], dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="cost-") as folder:
        log = Path(folder) / "stack.log"
        with log.open("w") as output, LocalStack(environment(Path(folder)), output=output) as stack:
            result = measure(load, stack, lambda *_: None)
            timers = _timers(stack) if load.size == SMALL else {}
        lines = re.findall(r'\{"action": "transfer\..*\}$', log.read_text(), re.MULTILINE)
    if result.unverified or len(result.requests) > 1:
        raise StackError(f"the blobs of {load.label} differ in their requests: {result.requests}")
    names = [name for name, number in result.executions.items() if number and name.startswith(("accept", "transfer"))]
    return {
        "bytes": load.size,
        "requests": result.requests[0][0],
        "activities": result.activities,
        "timers": result.timers,
        "executions": {name: result.executions[name] for name in names},
        "active_seconds": {name: round(result.active_seconds[name], 4) for name in ("accept", "durable")},
        "lines": (len(lines) - 2) / load.count,  # the warm-up blob is a small one: two lines
        "line_bytes": round(sum(map(len, lines)) / len(lines)),
    }, timers


def _timers(stack: LocalStack) -> dict[str, Any]:
    """Run each timer with nothing to do; return its runs in a month and its requests to blobs.

    Each has run once before, because its first run may still have something to do.
    """
    with urllib.request.urlopen(f"http://{HOST}:{stack.host_port}/admin/functions") as answer:
        triggers = {each["name"]: each["config"]["bindings"][0] for each in json.load(answer)}
    schedules = {name: each["schedule"] for name, each in triggers.items() if each["type"] == "timerTrigger"}
    for name in ("figures", *schedules):
        while _run_timer(stack, name) is None:
            pass
    found = {}
    for name, schedule in schedules.items():
        first = Schedule(schedule).after(clock.now())
        runs = MONTH_SECONDS / (Schedule(schedule).after(first) - first).total_seconds()
        while (requests := _run_timer(stack, name)) is None:
            pass
        found[name] = {"runs": runs, "requests": requests}
    return found


def _run_timer(stack: LocalStack, name: str) -> dict[str, int] | None:
    """Run a timer and return its requests; None if another timer ran at the same time."""
    control, before = StorageControl(stack.blob_port), Usage.of(stack)
    control.forget_requests()
    url = f"http://{HOST}:{stack.host_port}/admin/functions/{name}"
    urllib.request.urlopen(urllib.request.Request(url, b"{}", method="POST")).close()
    end = time.monotonic() + TIMER_SECONDS
    while not (used := Usage.of(stack).since(before)).active_seconds.get(name):  # known at the end of an execution
        if time.monotonic() > end:
            raise StackError(f"the timer {name} did not end")
        time.sleep(0.05)
    if sum(used.executions.values()) != 1 or [each for each, time in used.active_seconds.items() if time] != [name]:
        return None
    requests = control.requests(internal=False)
    return dict(Counter(request_name(each) for each in requests if AGENT in each["user_agent"]))


def tables(counts: Mapping[str, Any] | None = None) -> str:
    """Return the tables of docs/cost.md: a million blobs, and a month without any. The default counts are counts.json."""
    counts = counts or json.loads(COUNTS.read_text())
    blobs = small, large = counts["small"], counts["large"]
    lines = [
        f"Counted on {counts['date']}, app {counts['versions']['app']}.",
        "",
        "| for one blob | 1 KiB | $ a million | 1 GiB | $ a million |",
        "| --- | ---: | ---: | ---: | ---: |",
        *(_row(*pair) for pair in zip(per_blob(small), per_blob(large), strict=True)),
    ]
    for time_of in (among_many, alone):
        times = [time_of(blob) for blob in blobs]
        sums = [_million([*per_blob(blob), seconds]) for blob, seconds in zip(blobs, times, strict=True)]
        name = times[0][0].partition(", ")[2]
        lines += [_row(*times), f"| **all, {name}** | | **{sums[0]}** | | **{sums[1]}** |"]
    month = idle(counts["timers"])
    return "\n".join(
        [
            *lines,
            "",
            f"Each further poll of a pending copy: ${_million([poll(large['line_bytes'])])} a million, if no other function runs.",
            f"To another region: ${_million([('', {'egress-gb': GIB / 1e9})])} more for a million GiB.",
            f"Azure's free monthly amounts are not deducted: {FREE}.",
            "",
            "| a month without a blob | | $ |",
            "| --- | ---: | ---: |",
            *(f"| {name} | {_number(sum(each.values()))} | {usd([(name, each)]):,.2f} |" for name, each in month),
            f"| **all** | | **{usd(month):,.2f}** |",
            "",
            f"With private endpoints: ${usd([('', {'endpoint-hour': ENDPOINTS * MONTH_HOURS, 'zone': ZONES})]):,.2f} more.",
        ]
    )


def usd(bill: Iterable[Item]) -> float:
    """Return the sum of a bill."""
    return sum((count * USD[price] for _, counts in bill for price, count in counts.items()), 0.0)


def per_blob(blob: Mapping[str, Any]) -> list[Item]:
    """Return the bill of one blob, without the time of functions."""
    asked, messages = _by_price(blob["requests"].items()), blob["executions"]["accept"]
    queues, tables = task_hub(blob["activities"], blob["timers"])
    executions = sum(blob["executions"].values())
    # Put Block From URL reads its range with one request.
    blocks = blob["requests"].get("PutBlockFromUrl target")
    reads = blocks or max(1, blob["bytes"] / (ASSUMED["copy_read_mib"] * 1024**2))
    return [
        ("requests to blobs: writes", {"blob-write": asked["blob-write"]}),
        ("requests to blobs: reads", {"blob-read": asked["blob-read"]}),
        ("requests to blobs: others", {"blob-other": asked["blob-other"]}),
        ("reads of the source by the copy", {"blob-read": reads}),
        ("queue `blob-events`: put, get, delete", {"queue": 3 * messages}),
        ("queue `transfer-ends`: put, get, delete", {"queue": FEED_REQUESTS}),
        ("task hub: queues", {"queue": queues}),
        ("task hub: tables", {"table": tables}),
        ("Event Grid: published, delivered", {"event": 2 * messages}),
        ("executions of functions", {"execution": executions}),
        ("log, KB", {"log-kb": _log_kb(executions, blob["lines"], blob["line_bytes"])}),
    ]


def task_hub(activities: float, timers: float) -> tuple[float, float]:
    """Return an orchestration's requests to the task hub's queues and tables; docs/cost.md derives the formula."""
    messages, episodes = 1 + 2 * activities + timers, 1 + activities + timers
    return 4 * messages, 3 * episodes + 3


def poll(line_bytes: float) -> Item:
    """Return the bill of one more poll of a copy: a HEAD, an activity, a timer, three executions, a line, a second."""
    (queues, tables), (fewer_queues, fewer_tables) = task_hub(2, 1), task_hub(1, 0)
    hub = {"queue": queues - fewer_queues, "table": tables - fewer_tables}
    return "poll", {"blob-other": 1, **hub, "execution": 3, "log-kb": _log_kb(3, 1, line_bytes), **_gb_seconds(0, 1)}


def idle(timers: Mapping[str, Any]) -> list[Item]:
    """Return the bill of a month without a blob: the instance that is always ready, timers, polling, alerts."""
    runs = sum(timer["runs"] for timer in timers.values())
    asked = _by_price((name, n * it["runs"]) for it in timers.values() for name, n in it["requests"].items())
    polls = (PARTITIONS + 1) / POLL_SECONDS + (PARTITIONS + 2) / SCALE_SECONDS
    memory = ASSUMED["memory_gb"]
    return [
        ("GB-seconds of the instance that is always ready", {"ready-baseline": memory * MONTH_SECONDS}),
        ("GB-seconds of the timers", {"gb-second": runs * ASSUMED["minimum_seconds"] * memory}),
        ("executions of the timers", {"execution": runs}),
        ("requests of the timers to blobs", asked),
        (
            "requests of the timers to queues",
            {"queue": sum(TIMER_REQUESTS.get(name, 0) * timer["runs"] for name, timer in timers.items())},
        ),
        ("polls of queues, by the host and the scale controller", {"queue": polls * MONTH_SECONDS}),
        ("leases of the task hub's partitions", {"table": (1 + PARTITIONS) / SCALE_SECONDS * MONTH_SECONDS}),
        ("log of the timers, KB", {"log-kb": _log_kb(runs, runs, 0)}),
        ("alert rules", {"alert": alerts()}),
    ]


def alerts() -> int:
    """Return the number of alert rules, by their names in infra/alerts.bicep."""
    return len(re.findall(r"(?m)^    name: '[a-z-]+'$", (ROOT / "infra/alerts.bicep").read_text()))


def alone(blob: Mapping[str, Any]) -> Item:
    """Return the time of a blob that runs alone: the trigger, the start and each poll after a timer are billed separately."""
    least, seconds = ASSUMED["minimum_seconds"], blob["active_seconds"]
    durable = max((1 + blob["timers"]) * least, seconds["durable"])
    return "GB-seconds, alone", _gb_seconds(max(least, seconds["accept"]), durable)


def among_many(blob: Mapping[str, Any]) -> Item:
    """Return the time of a blob among many, which share the billed seconds."""
    return "GB-seconds, among many", _gb_seconds(**blob["active_seconds"])


def _gb_seconds(accept: float, durable: float) -> dict[str, float]:
    return {"gb-second": accept * ASSUMED["memory_gb"], "ready-gb-second": durable * ASSUMED["memory_gb"]}


def _log_kb(executions: float, lines: float, line_bytes: float) -> float:
    rows = executions * ASSUMED["telemetry_rows"] + lines
    return (rows * ASSUMED["telemetry_bytes"] + lines * line_bytes) / 1000


def _by_price(requests: Iterable[tuple[str, float]]) -> dict[str, float]:
    asked: defaultdict[str, float] = defaultdict(float)
    for name, number in requests:
        asked[PRICE_OF[name.partition(" ")[0]]] += number
    return asked


def _row(small: Item, large: Item) -> str:
    cells = (cell for item in (small, large) for cell in (_number(sum(item[1].values())), _million([item])))
    return f"| {small[0]} | {' | '.join(cells)} |"


def _number(count: float) -> str:
    return f"{count:,.0f}" if count % 1 == 0 or count > 99 else f"{count:.2g}"  # noqa: PLR2004  # three digits suffice


def _million(bill: Iterable[Item]) -> str:
    return f"{usd(bill) * 1e6:,.2f}"


if __name__ == "__main__":
    sys.exit(main())
