"""What is read while and after a load runs: the host's store and meter, the proxy's log, what the kernel says of processes."""

import json
import os
import re
import sqlite3
import urllib.request
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from devhost.host.store import TERMINAL
from devhost.stack import LocalStack
from devhost.storage.config import HOST

AGENT = "blob-data-sharing"
PROC = Path("/proc")
ENDED = f"status IN {TERMINAL}"


@dataclass(frozen=True, slots=True)
class Transfer:
    """A transfer as the store has it: when it was committed as ended, and the rows of its last execution's history."""

    id: str
    name: str
    state: str
    ended: float
    rows: int


@dataclass(frozen=True, slots=True)
class Steps:
    """How many activities and durable timers were ever scheduled, in every execution."""

    activities: int
    timers: int

    def __sub__(self, before: "Steps") -> "Steps":
        return Steps(self.activities - before.activities, self.timers - before.timers)


class Hub:
    """The stand-in host's store, read from outside."""

    def __init__(self, state: Path) -> None:
        self._uri = f"{(state / 'host.sqlite').absolute().as_uri()}?mode=ro"

    def ended(self) -> int:
        """How many transfers have ended."""
        return int(self._rows(f"SELECT count(*) FROM instances WHERE {ENDED}")[0][0])  # noqa: S608  # fixed words

    def steps(self) -> Steps:
        """What was scheduled so far: each is numbered by SQLite, and no number is given twice."""
        last = dict(self._rows("SELECT name, seq FROM sqlite_sequence"))
        return Steps(last.get("activities", 0), last.get("timers", 0))

    def transfers(self) -> list[Transfer]:
        """Every transfer that has ended. Its input is JSON text in JSON text."""
        rows = self._rows(
            "SELECT id, json_extract(json_extract(input, '$'), '$.transfer.name'), json_extract(output, '$.state'),"  # noqa: S608  # fixed words
            " updated, (SELECT count(*) FROM history WHERE instance = instances.id)"
            f" FROM instances WHERE {ENDED}"
        )
        return [
            Transfer(identity, name, state, datetime.fromisoformat(updated).timestamp(), count)
            for identity, name, state, updated, count in rows
        ]

    def _rows(self, sql: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self._uri, uri=True)) as db:
            return db.execute(sql).fetchall()


@dataclass(frozen=True, slots=True)
class Metered:
    """What Azure bills a function app for: executions by function, and by group of functions the seconds at work."""

    executions: dict[str, float]
    active_seconds: dict[str, float]

    @classmethod
    def of(cls, stack: LocalStack) -> Self:
        """Since the host's start."""
        with urllib.request.urlopen(f"http://{HOST}:{stack.host_port}/admin/meter") as answer:
            return cls(**json.load(answer))

    def since(self, before: "Metered", count: int) -> "Metered":
        """What came since, for one of `count` blobs; functions that did nothing are left out."""

        def each(now: dict[str, float], then: dict[str, float]) -> dict[str, float]:
            grown = {name: (value - then.get(name, 0)) / count for name, value in now.items()}
            return {name: value for name, value in sorted(grown.items()) if value}

        return Metered(
            each(self.executions, before.executions),
            each(self.active_seconds, before.active_seconds),
        )


def per_blob(
    requests: Iterable[dict[str, Any]], transfers: Iterable[Transfer]
) -> tuple[list[tuple[dict[str, int], int]], int]:
    """The app's requests for a blob (of source, target and record), and for how many blobs they were just these.

    Also how many the app made that were for none of the blobs.
    """
    transfers = list(transfers)
    owner = {transfer.name: transfer.id for transfer in transfers}
    owner |= {f"ended/{transfer.id}.json": transfer.id for transfer in transfers}
    asked: dict[str, Counter[str]] = {transfer.id: Counter() for transfer in transfers}
    others = 0
    for request in requests:
        if AGENT not in request["user_agent"]:
            continue
        if identity := owner.get(request["blob"]):
            asked[identity][f"{request['operation']} {request['account'].removeprefix('sharing')}"] += 1
        else:
            others += 1
    kinds = Counter(tuple(sorted(counter.items())) for counter in asked.values())
    return [(dict(kind), count) for kind, count in kinds.most_common()], others


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU seconds by process."""

    seconds: dict[str, float]

    def __sub__(self, before: "Cpu") -> "Cpu":
        return Cpu({name: seconds - before.seconds[name] for name, seconds in self.seconds.items()})

    def each(self, count: int) -> dict[str, float]:
        """The share of one of `count` blobs."""
        return {name: seconds / count for name, seconds in self.seconds.items()}


@dataclass(frozen=True, slots=True)
class Processes:
    """The stack's processes by name; none where the kernel tells nothing of them (there is no /proc)."""

    ids: dict[str, int]

    @classmethod
    def of(cls, stack: LocalStack) -> Self:
        """Host, proxy, and Azurite, which is the proxy's only child."""
        if not PROC.is_dir() or stack.host is None or stack.storage is None:
            return cls({})
        proxy = stack.storage.pid
        [azurite] = map(int, (PROC / f"{proxy}/task/{proxy}/children").read_text().split())
        return cls({"host": stack.host.pid, "proxy": proxy, "azurite": azurite})

    def cpu(self) -> Cpu:
        """User and system time so far."""
        return Cpu({name: _cpu((PROC / f"{number}/stat").read_text()) for name, number in self.ids.items()})

    def peak_mib(self) -> dict[str, float]:
        """The most memory that each has had at once, since it started."""
        return {name: _peak((PROC / f"{number}/status").read_text()) for name, number in self.ids.items()}


def _cpu(stat: str) -> float:
    """Fields 14 and 15 of proc_pid_stat(5). The second, the program's name, may hold blanks and ends in a bracket."""
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _peak(status: str) -> float:
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0
