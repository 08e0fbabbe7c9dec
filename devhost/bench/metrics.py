"""The resources that a load used, from the host's store and meter, the proxy's request log, and /proc."""

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
    """A transfer that has ended; `ended` is a Unix time, `rows` the length of the last execution's history."""

    id: str
    name: str
    state: str
    ended: float
    rows: int


class Hub:
    """The store of the stand-in host, opened read-only."""

    def __init__(self, state: Path) -> None:
        self._uri = f"{(state / 'host.sqlite').absolute().as_uri()}?mode=ro"

    def ended(self) -> int:
        """Return how many transfers have ended."""
        return int(self._rows(f"SELECT count(*) FROM instances WHERE {ENDED}")[0][0])  # noqa: S608  # fixed words

    def scheduled(self) -> dict[str, float]:
        """Return how many activities and timers were ever scheduled: SQLite numbers them and never reuses a number."""
        last = dict(self._rows("SELECT name, seq FROM sqlite_sequence"))
        return {name: last.get(name, 0) for name in ("activities", "timers")}

    def transfers(self) -> list[Transfer]:
        """Return every transfer that has ended. Its input is JSON text within JSON text."""
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


@dataclass(frozen=True)
class Usage:
    """Totals since the stack's start: CPU seconds by process, activities and timers, and what Azure bills.

    Azure bills executions by function, and the seconds in which at least one function of a group ran.
    """

    cpu: dict[str, float]
    scheduled: dict[str, float]
    executions: dict[str, float]
    active_seconds: dict[str, float]

    @classmethod
    def of(cls, stack: LocalStack) -> Self:
        """Read the totals of a running stack."""
        with urllib.request.urlopen(f"http://{HOST}:{stack.host_port}/admin/meter") as answer:
            return cls(cpu_seconds(stack), Hub(stack.state).scheduled(), **json.load(answer))

    def since(self, before: "Usage", count: int = 1) -> "Usage":
        """Return the difference to an earlier reading, for one of `count` blobs."""

        def each(now: dict[str, float], then: dict[str, float]) -> dict[str, float]:
            return {name: (value - then.get(name, 0)) / count for name, value in sorted(now.items())}

        pairs = zip(vars(self).values(), vars(before).values(), strict=True)
        return Usage(*(each(now, then) for now, then in pairs))


def per_blob(
    requests: Iterable[dict[str, Any]], transfers: Iterable[Transfer]
) -> tuple[list[tuple[dict[str, int], int]], int]:
    """Return each combination of the app's requests for one blob, with the number of blobs that had it, and a number.

    The requests for a blob are those about its source, its target and its record. The number counts the app's requests that
    belong to none of the blobs.
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
            asked[identity][request_name(request)] += 1
        else:
            others += 1
    kinds = Counter(tuple(sorted(counter.items())) for counter in asked.values())
    return [(dict(kind), count) for kind, count in kinds.most_common()], others


def request_name(request: dict[str, Any]) -> str:
    """Return a request's operation and account: `HeadBlob source`."""
    return f"{request['operation']} {request['account'].removeprefix('sharing')}"


def processes(stack: LocalStack) -> dict[str, int]:
    """Return the process ids of host, if it runs, proxy and Azurite (the proxy's only child); empty without /proc."""
    if not PROC.is_dir() or stack.storage is None:
        return {}
    proxy = stack.storage.pid
    [azurite] = map(int, (PROC / f"{proxy}/task/{proxy}/children").read_text().split())
    host = {"host": stack.host.pid} if stack.host is not None and stack.host.poll() is None else {}
    return {**host, "proxy": proxy, "azurite": azurite}


def cpu_seconds(stack: LocalStack) -> dict[str, float]:
    """Return the CPU seconds of each process since its start."""
    return {name: _cpu((PROC / f"{number}/stat").read_text()) for name, number in processes(stack).items()}


def peak_mib(stack: LocalStack) -> dict[str, float]:
    """Return the peak memory of each process."""
    return {name: _peak((PROC / f"{number}/status").read_text()) for name, number in processes(stack).items()}


def _cpu(stat: str) -> float:
    """Return user and system seconds: fields 14 and 15 of proc_pid_stat(5); the second may contain blanks."""
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _peak(status: str) -> float:
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0
