"""Following transfers and jobs until they have ended."""

import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from typing import Any, NamedTuple

from rich.progress import TaskID

from sharing.client import path_of
from sharing.failure import DONE, FAILED
from sharing.output import Bars, moment, seconds, shown, size
from sharing.session import Session

FINAL = frozenset({"verified", "superseded", "dead_lettered", "cancelled"})
FINE = frozenset({"verified", "superseded"})
UNDER_WAY = ("accepted", "copying")
# Lines of a job that were acted on; and those for which nothing was done.
RESULTS = ("started", "discarded", "running", "skipped", "refused", "failed")
NOT_DONE = ("skipped", "refused", "failed", "error")
SHORTEST, LONGEST, GROWTH = 1.0, 5.0, 1.5
BARS = 8
# A route is watched until nothing has run in this many looks: between two uploads, nothing may run.
IDLE = 5
# The largest page of a list.
PAGE = 500
# A transfer may be listed a little later than it was accepted, and the app's instances have different clocks.
OVERLAP = 15.0
# Latencies that are kept for the percentiles, and rounds over which the rates are measured.
KEPT, WINDOW = 20_000, 10


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


def _text(at: float) -> str:
    return datetime.fromtimestamp(at, timezone.utc).isoformat(timespec="milliseconds")


class Round(NamedTuple):
    """What was done by a time."""

    at: float
    ended: int
    bytes: float


class Totals:
    """What has ended: counts by state, bytes and latencies."""

    def __init__(self) -> None:
        self.states: Counter[str] = Counter()
        self.bytes = 0
        self._latencies: deque[float] = deque(maxlen=KEPT)
        self._start = self._last = time.monotonic()
        self._rounds: deque[Round] = deque(maxlen=WINDOW)

    @property
    def ended(self) -> int:
        """How many have ended."""
        return self.states.total()

    def add(self, transfer: dict[str, Any]) -> None:
        """Count a transfer that has ended."""
        self.states[transfer["state"]] += 1
        self._last = time.monotonic()
        if transfer["state"] == "verified" and transfer["accepted_at"]:
            self.bytes += transfer["total"] or 0
            end = moment(transfer["verified_at"] or transfer["updated_at"])
            self._latencies.append(max(0.0, (end - moment(transfer["accepted_at"])).total_seconds()))

    def counts(self) -> str:
        """Return `480 verified, 2 dead_lettered`."""
        return ", ".join(f"{count:,} {each}" for each, count in self.states.most_common())

    def latency(self) -> str:
        """Return the latencies so far; empty if there is none."""
        found = sorted(self._latencies)
        if not found:
            return ""
        p50, p95 = (seconds(found[min(len(found) - 1, len(found) * each // 100)]) for each in (50, 95))
        return f"latency p50 {p50}, p95 {p95}, max {seconds(found[-1])}"

    def now(self, running: int, copied: float, left: float) -> str:
        """Note a round, and return what has ended and what runs, with rates. `copied` and `left` are bytes of what runs."""
        now = Round(time.monotonic(), self.ended, self.bytes + copied)
        self._rounds.append(now)
        first = self._rounds[0]
        span = now.at - first.at
        rate, speed = ((new - old) / max(span, 0.1) for new, old in zip(now[1:], first[1:], strict=True))
        waits = [left / speed if left and speed > 0 else 0, running / rate if rate > 0 else 0]
        about = f" (about {seconds(max(waits))} left)" if running and max(waits) > 0 else ""
        rates = (f"{rate:.1f}/s" if rate > 0 else "", f"{size(speed)}/s" if speed > 0 else "")
        return ", ".join(filter(None, (self.counts(), f"{running:,} running{about}", *rates)))

    def summary(self) -> str:
        """Return one line about all that has ended."""
        span = max(self._last - self._start, 0.1)
        text = f"{self.counts()}: {size(self.bytes)} in {seconds(span)} ({self.ended / span:.1f}/s)"
        return ", ".join(filter(None, (text, self.latency())))


class Watch:
    """Transfers that are followed. An ended one is forgotten: only running ones take memory.

    Ended ones are printed. `many`: only those that failed; and bars only for those that take a while.
    """

    def __init__(self, session: Session, bars: Bars, *, many: bool = False) -> None:
        self._session = session
        self._bars = bars
        self._many = many
        self._running: dict[str, dict[str, Any] | None] = {}
        self._rows: dict[str, TaskID] = {}
        # Attempts that have ended, and when this was seen: lists return them again. Old ones are forgotten.
        self._seen: dict[tuple[str, int], float] = {}
        self.totals = Totals()

    def ids(self, ids: Iterable[str]) -> None:
        """Follow these transfers until all have ended."""
        self._running = dict.fromkeys(ids)
        for _ in pauses():
            self._look(list(self._running))
            self._redraw()
            if not self._running:
                return

    def route(self, route: str) -> None:
        """Follow what runs on a route, and what starts meanwhile, until nothing runs any more. Return at once if nothing does."""
        since, idle, pause = None, 0, SHORTEST
        while True:
            ended = self.totals.ended
            listed = {each["id"]: each for state in UNDER_WAY for each in self._pages(route=route, state=state)}
            before = self._session.client.now() - OVERLAP
            # Most blobs are small: many start and end between two looks, so that no list of running ones has them.
            for transfer in self._pages(route=route, since=_text(before if since is None else since)):
                if since is None and transfer["state"] in FINAL and transfer["id"] not in listed:
                    self._remember(transfer)  # it ended before this command
                else:
                    listed[transfer["id"]] = transfer
            for transfer in listed.values():
                self._show(transfer)
            self._look([each for each in self._running if each not in listed])
            self._redraw()
            since = before
            # Both times are inexact: an attempt may have been seen ended "before" it was listed as started.
            self._seen = {key: at for key, at in self._seen.items() if at >= since - OVERLAP}
            moved = self.totals.ended > ended
            idle = 0 if self._running or moved else idle + 1
            if idle == IDLE or (idle and not self.totals.ended):
                return
            pause = SHORTEST if moved or idle else min(LONGEST, pause * GROWTH)
            time.sleep(pause)

    def _pages(self, **query: Any) -> Iterator[dict[str, Any]]:
        return self._session.client.pages("/transfers", patient=True, limit=PAGE, **query)

    def _look(self, ids: list[str]) -> None:
        for each in ids:
            self._show(self._session.client.ask("GET", path_of(each), patient=True))

    def _show(self, transfer: dict[str, Any]) -> None:
        if transfer["state"] not in FINAL:
            self._running[transfer["id"]] = transfer
            return
        self._running.pop(transfer["id"], None)
        if (transfer["id"], transfer["attempt"]) not in self._seen:
            self._remember(transfer)
            self._end(transfer)

    def _remember(self, transfer: dict[str, Any]) -> None:
        self._seen[transfer["id"], transfer["attempt"]] = self._session.client.now()

    def _end(self, transfer: dict[str, Any]) -> None:
        self.totals.add(transfer)
        out = self._session.out
        if out.as_json:
            out.json(transfer)
            return
        if self._many and transfer["state"] in FINE:
            return
        out.line((transfer["state"], 13), (size(transfer["total"]).rjust(10), 10), (name_of(transfer), 0))
        if transfer["state"] == "dead_lettered":
            out.fields({"  reason": transfer["reason"], "  detail": transfer["detail"], "  hint": transfer["hint"]})

    def _redraw(self) -> None:
        """Show the totals, and a bar for each of the first transfers that run."""
        self._session.out.flush()
        known = [each for each in self._running.values() if each]
        copied, total = (sum(each[field] or 0 for each in known) for field in ("copied", "total"))
        head = (self.totals.now(len(self._running), copied, total - copied), self.totals.latency())
        self._bars.head = [each for each in head if each]
        if not self._session.out.live:
            return
        for identity in [each for each in self._rows if each not in self._running]:
            self._bars.remove_task(self._rows.pop(identity))
        for transfer in known:
            if self._many and transfer["state"] != "copying" and not transfer["reason"]:
                continue
            task = self._rows.get(transfer["id"])
            if task is None:
                if len(self._rows) >= BARS:
                    continue
                task = self._rows[transfer["id"]] = self._bars.add_task("", total=None, bytes=True)
            why = f" ({transfer['reason']})" if transfer["reason"] else ""
            text = f"{transfer['state']}{why} {shown(name_of(transfer))}"
            self._bars.update(task, description=text, total=transfer["total"], completed=transfer["copied"])


def watch(session: Session, ids: Iterable[str] = (), route: str | None = None) -> int:
    """Follow transfers and jobs, or what runs on a route, to the end. Return the exit code."""
    with session.out.bars() as bars:
        # In a terminal, thousands of lines would hide what failed.
        watched = Watch(session, bars, many=session.out.live and route is not None)
        if route is not None:
            watched.route(route)
        else:
            watched.ids(ids)
    totals = watched.totals
    if not totals.ended and route is not None:
        session.out.say(f"nothing runs on route {route}")
    elif totals.ended > 1 and not session.out.as_json:
        session.out.say(totals.summary())
    return FAILED if set(totals.states) - FINE else DONE


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
