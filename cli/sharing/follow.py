"""Following transfers and jobs until they have ended."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from rich.progress import Progress, TaskID

from sharing.client import path_of
from sharing.failure import DONE, FAILED
from sharing.output import shown, size
from sharing.session import Session

FINAL = frozenset({"verified", "superseded", "dead_lettered", "cancelled"})
FINE = frozenset({"verified", "superseded"})
UNDER_WAY = ("accepted", "copying")
# Lines of a job that were acted on; and those for which nothing was done.
RESULTS = ("started", "discarded", "running", "skipped", "refused", "failed")
NOT_DONE = ("skipped", "refused", "failed", "error")
SHORTEST, LONGEST, GROWTH = 1.0, 5.0, 1.5
BARS = 8


def pauses() -> Iterator[None]:
    """Sleep before each further round, at first briefly."""
    pause = SHORTEST
    yield
    while True:
        time.sleep(pause)
        pause = min(LONGEST, pause * GROWTH)
        yield


def name_of(transfer: dict[str, Any]) -> str:
    """Return the blob's name, or the id of a transfer that cannot be read."""
    return str((transfer["source"] or {"name": transfer["id"]})["name"])


class Watch:
    """Transfers that are followed. An ended one is printed and forgotten: only running ones take memory."""

    def __init__(self, session: Session, bars: Progress) -> None:
        self._session = session
        self._bars = bars
        self._running: dict[str, TaskID | None] = {}
        self._all = bars.add_task("", total=None)
        self.ended: Counter[str] = Counter()

    def ids(self, ids: Iterable[str]) -> None:
        """Follow these transfers until all have ended."""
        self._running = dict.fromkeys(ids)
        for _ in pauses():
            self._look(list(self._running))
            if not self._running:
                return

    def route(self, route: str) -> None:
        """Follow what runs on a route until nothing does."""
        for _ in pauses():
            seen = set()
            for state in UNDER_WAY:
                for transfer in self._session.client.pages("/transfers", patient=True, route=route, state=state):
                    self._show(transfer)
                    seen.add(transfer["id"])
            self._look([each for each in self._running if each not in seen])
            if not self._running:
                return

    def _look(self, ids: list[str]) -> None:
        for each in ids:
            self._show(self._session.client.ask("GET", path_of(each), patient=True))

    def _show(self, transfer: dict[str, Any]) -> None:
        identity, state = transfer["id"], transfer["state"]
        if state in FINAL:
            self._end(transfer)
        else:
            task = self._running.setdefault(identity, None)
            if task is None and self._session.out.live and len(self._bars.tasks) <= BARS:
                task = self._running[identity] = self._bars.add_task("", total=None, bytes=True)
            if task is not None:
                why = f" ({transfer['reason']})" if transfer["reason"] else ""
                text = f"{state}{why} {shown(name_of(transfer))}"
                self._bars.update(task, description=text, total=transfer["total"], completed=transfer["copied"])
        summary = ", ".join(f"{count} {each}" for each, count in self.ended.items())
        self._bars.update(self._all, description=f"{len(self._running)} running{', ' if summary else ''}{summary}")

    def _end(self, transfer: dict[str, Any]) -> None:
        task = self._running.pop(transfer["id"], None)
        if task is not None:
            self._bars.remove_task(task)
        self.ended[transfer["state"]] += 1
        out = self._session.out
        if out.as_json:
            out.json(transfer)
            return
        out.line((transfer["state"], 13), (size(transfer["total"]).rjust(10), 10), (name_of(transfer), 0))
        if transfer["state"] == "dead_lettered":
            out.fields({"  reason": transfer["reason"], "  detail": transfer["detail"], "  hint": transfer["hint"]})


def watch(session: Session, ids: Iterable[str] = (), route: str | None = None) -> int:
    """Follow transfers and jobs, or what runs on a route, to the end. Return the exit code."""
    code = DONE
    with session.out.bars() as bars:
        watched = Watch(session, bars)
        if route is not None:
            watched.route(route)
        else:
            watched.ids(ids)
    if set(watched.ended) - FINE:
        code = FAILED
    if not watched.ended and route is not None:
        session.out.say(f"nothing runs on route {route}")
    return code


def follow_job(session: Session, identity: str) -> dict[str, Any]:
    """Follow a job to its end, and return it."""
    job: dict[str, Any] = {}
    try:
        with session.out.bars() as bars:
            task = bars.add_task("", total=None)
            for _ in pauses():
                job = session.client.ask("GET", path_of(identity), patient=True)
                counts = job["counts"]
                acting = job["phase"] == "act"
                text = f"{job['phase'] or job['state']}: {counts['found']} found"
                done = sum(counts.get(each, 0) for each in RESULTS)
                bars.update(task, description=text, total=counts["found"] if acting else None, completed=done)
                if job["state"] != "running":
                    return job
    except KeyboardInterrupt:
        session.out.say(f"{identity} continues. To stop it: sharing cancel {identity}")
        raise
    return job


def code_of(job: dict[str, Any]) -> int:
    """Return 0 if the job is done and none of its lines was left. A dry run acts on no line."""
    left = 0 if job["dry_run"] else sum(job["counts"].get(each, 0) for each in NOT_DONE)
    return FAILED if left or job["state"] in {"failed", "cancelled"} else DONE
