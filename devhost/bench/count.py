"""Counts what a blob and a timer ask for: each load on a fresh local stack, with a tap on its queues."""

import json
import os
import re
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from devhost.bench.bill import MONTH_SECONDS, Counts, Timer
from devhost.bench.gauges import AGENT, Metered
from devhost.bench.load import GIB, SMALL, Load, environment, measure
from devhost.bench.report import versions
from devhost.bench.result import Result
from devhost.bench.tap import Tap
from devhost.host import clock
from devhost.host.timers import Schedule
from devhost.stack import LocalStack, StackFailed
from devhost.storage.client import StorageControl
from devhost.storage.config import EVENTS_ACCOUNT, HOST

PATIENCE = 30.0
TAKEN, LOOKED = "DeleteMessage blob-events", "GetMessages blob-events"


def count(blobs: int, rate: int) -> dict[str, Any]:
    """Put small blobs on one stack, run each timer on it, and put a large blob on another; for `json.dumps`.

    Raises:
        StackFailed: a stack did not start, or blobs were not shared alike.
    """
    if os.environ.get("HOST"):
        raise StackFailed("the counts come from the stand-in's store. Fix: unset HOST")
    small, timers = _counted(Load(blobs, SMALL), rate, _timers)
    large, _ = _counted(Load(1, GIB), rate, lambda *_: {})
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "versions": versions(),
        "small": asdict(small),
        "large": asdict(large),
        "timers": {name: asdict(timer) for name, timer in timers.items()},
    }


def _counted(
    load: Load, rate: int, also: Callable[[LocalStack, Tap], dict[str, Timer]]
) -> tuple[Counts, dict[str, Timer]]:
    tap = Tap()
    with tempfile.TemporaryDirectory(prefix="cost-") as folder:
        state = Path(folder)
        told = {**environment(state), "DEVHOST_COPY_RATE": str(rate * 1024**2)}
        ours = LocalStack(told)
        with tap.on(ours.queue_port) as port, (state / "stack.log").open("w") as log:
            told["EVENTS"] = ours.connection_string(EVENTS_ACCOUNT).replace(f":{ours.queue_port}/", f":{port}/")
            with LocalStack(told, output=log) as stack:
                result = measure(load, stack, lambda *_: None)
                # The blob that goes before was a message, too.
                _until(lambda: tap.asked[TAKEN] > load.count, "a message was not deleted")
                messages, found = tap.asked[TAKEN] - 1, also(stack, tap)
        lines = re.findall(r'\{"action": "transfer\..*\}$', (state / "stack.log").read_text(), re.MULTILINE)
    if result.unverified or len(result.requests) > 1:
        raise StackFailed(f"the blobs of {load.label} differ in their requests: {result.requests}")
    return _counts(load, result, messages, lines), found


def _counts(load: Load, result: Result, messages: int, lines: list[str]) -> Counts:
    # What a line is about is the activity that wrote it; timers that ran meanwhile wrote others.
    ours = {"accept", "transfer", *(json.loads(line)["action"].replace(".", "_") for line in lines)}
    [(requests, _)] = result.requests
    return Counts(
        bytes_each=load.size,
        requests=dict(requests),
        messages=messages / load.count,
        activities=result.activities,
        timers=result.timers,
        executions={name: number for name, number in result.executions.items() if name in ours},
        active_seconds={name: round(result.active_seconds[name], 4) for name in ("accept", "durable")},
        # The blob that goes before is a small one: two lines.
        lines=(len(lines) - 2) / load.count,
        line_bytes=round(sum(map(len, lines)) / len(lines)),
    )


def _timers(stack: LocalStack, tap: Tap) -> dict[str, Timer]:
    """Each timer, run once with nothing to do."""
    with urllib.request.urlopen(f"http://{HOST}:{stack.host_port}/admin/functions") as answer:
        triggers = {each["name"]: each["config"]["bindings"][0] for each in json.load(answer)}
    return {
        name: _timer(stack, tap, name, trigger["schedule"])
        for name, trigger in triggers.items()
        if trigger["type"] == "timerTrigger"
    }


def _timer(stack: LocalStack, tap: Tap, name: str, schedule: str) -> Timer:
    control, every = StorageControl(stack.blob_port), Schedule(schedule)
    before, asked = Metered.of(stack), tap.asked.copy()
    control.forget_requests()
    url = f"http://{HOST}:{stack.host_port}/admin/functions/{name}"
    urllib.request.urlopen(urllib.request.Request(url, b"{}", method="POST")).close()
    # The time of an execution is told when it has ended.
    _until(lambda: name in Metered.of(stack).since(before, 1).active_seconds, f"the timer {name} did not end")
    used = Metered.of(stack).since(before, 1)
    if used.executions != {name: 1} or used.active_seconds.keys() != {name}:  # another one's time has come: once more
        return _timer(stack, tap, name, schedule)
    requests = Counter(
        f"{each['operation']} {each['account'].removeprefix('sharing')}"
        for each in control.requests(internal=False)
        if AGENT in each["user_agent"]
    )
    queues = tap.asked - asked
    del queues[LOOKED]  # by the host, for its trigger
    first = every.after(clock.now())
    return Timer(MONTH_SECONDS / (every.after(first) - first).total_seconds(), dict(requests), dict(queues))


def _until(done: Callable[[], bool], problem: str) -> None:
    end = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > end:
            raise StackFailed(problem)
        time.sleep(0.05)
