"""The record of a route's figures, and how messages change it.

Its size does not depend on the number of transfers that have ended: it has counts, one histogram for each five minutes of a
day, what runs, and a limited number of the latest ends, to recognize duplicates.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any

from rules import codec
from rules.figures import histogram
from rules.figures.feed import Kind, Message

SCHEMA = 1
SLOT_SECONDS, SLOTS, HOUR_SLOTS = 300, 288, 12
# For how long, and of how many transfers, an end is remembered.
REMEMBERED_SLOTS, MOST_REMEMBERED = HOUR_SLOTS, 20_000
MOST_RUNNING = 20_000
UNCHECKED = timedelta(hours=1)
# A page of the ledger ends with the append that makes it this long.
PAGE_BYTES = 256 * 1024
EFFORTS = ("polls", "retries", "resumes")
COUNTED = (*(kind for kind in Kind if kind is not Kind.OPENED), "bytes", *EFFORTS)
Counts = dict[str, int]


@dataclass(frozen=True, slots=True)
class Slot:
    """Five minutes: verified transfers, their bytes, and the histogram of their latencies."""

    transfers: int = 0
    bytes: int = 0
    latencies: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Opened:
    """A transfer that runs. `checked`: when the app last saw in the task hub that it runs."""

    attempt: int
    at: datetime
    size: int
    checked: datetime | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """The open page of the ledger of a day. `text` is to be appended at `length`; that may be done already."""

    number: int = 0
    length: int = 0
    text: str = ""


@dataclass(frozen=True, slots=True)
class Aggregate:
    """The figures of a route since `since`. `day` is that of `today`; `ended` has keys of recent ends by slot.

    `reasons`: the ends of each reason, by the state that they have. `seconds`: the sum of all `latencies`.
    """

    since: datetime
    day: date
    total: Counts = field(default_factory=dict)
    today: Counts = field(default_factory=dict)
    reasons: dict[Kind, Counts] = field(default_factory=dict)
    latencies: dict[int, int] = field(default_factory=dict)
    seconds: float = 0.0
    slots: dict[int, Slot] = field(default_factory=dict)
    running: dict[str, Opened] = field(default_factory=dict)
    ended: dict[int, tuple[str, ...]] = field(default_factory=dict)
    pages: dict[date, Page] = field(default_factory=dict)


def new(now: datetime) -> Aggregate:
    """Return the figures of a route about which nothing is known."""
    return Aggregate(now, now.date())


def merge(old: Aggregate, messages: Sequence[Message], now: datetime) -> Aggregate:
    """Return the figures after messages, which may be duplicates and in any order; `old` itself if nothing changes.

    The text of the old pages must have been appended to the ledger.

    | message | effect |
    | --- | --- |
    | the end of an attempt that is remembered | none |
    | another end | counted; the transfer does not run; a verified one becomes a line of the ledger |
    | `opened`, of an attempt whose end is remembered, or that is known to run | none |
    | another `opened` | the transfer runs |
    """
    known = {key for keys in old.ended.values() for key in keys}
    ends: list[Message] = []
    running = dict(old.running)
    for message in sorted(messages, key=lambda each: each.kind is Kind.OPENED):
        if _key(message) in known:
            continue
        before = running.get(message.id)
        if message.kind is not Kind.OPENED:
            known.add(_key(message))
            ends.append(message)
            if before is not None and before.attempt <= message.attempt:
                del running[message.id]
        elif (before is None or before.attempt < message.attempt) and len(running) < MOST_RUNNING:
            running[message.id] = Opened(message.attempt, message.at, message.size or 0)
    if not ends and running == old.running:
        return old
    day = max([old.day, now.date(), *(each.at.date() for each in ends)])
    today = old.today if day == old.day else {}
    verified = [each for each in ends if each.kind is Kind.VERIFIED]
    return replace(
        old,
        day=day,
        total=_count(old.total, ends),
        today=_count(today, [each for each in ends if each.at.date() == day]),
        reasons=_count_reasons(old.reasons, ends),
        latencies=histogram.total([old.latencies, *({histogram.bucket(each.latency): 1} for each in verified)]),
        seconds=round(old.seconds + sum(each.latency for each in verified), 3),
        slots=_fill_slots(old.slots, verified, slot_of(now)),
        running=running,
        ended=_remember(old.ended, ends, slot_of(now)),
        pages=_write_pages(old.pages, verified, day),
    )


def to_check(aggregate: Aggregate, now: datetime, most: int) -> list[str]:
    """Return the ids of transfers that have been running for over an hour without a check, the longest ones first."""
    due = {identity: each.checked or each.at for identity, each in aggregate.running.items()}
    found = sorted((at, identity) for identity, at in due.items() if now - at > UNCHECKED)
    return [identity for _, identity in found[:most]]


def checked(aggregate: Aggregate, runs: Iterable[str], ended: Iterable[str], now: datetime) -> Aggregate:
    """Return the figures after a check: some transfers run, others do not."""
    running = {identity: each for identity, each in aggregate.running.items() if identity not in set(ended)}
    running |= {identity: replace(running[identity], checked=now) for identity in runs if identity in running}
    return aggregate if running == aggregate.running else replace(aggregate, running=running)


def counts_today(aggregate: Aggregate, now: datetime) -> Counts:
    """Return the counts of the present UTC day."""
    return aggregate.today if aggregate.day == now.date() else {}


def recent_slots(aggregate: Aggregate, now: datetime, count: int) -> dict[int, Slot]:
    """Return the last slots, including the present one, in order of time."""
    return {number: slot for number, slot in sorted(aggregate.slots.items()) if number > slot_of(now) - count}


def slot_of(moment: datetime) -> int:
    """Return the number of a time's slot."""
    return int(moment.timestamp()) // SLOT_SECONDS


def folder(route: str, day: date) -> str:
    """Return the folder of a day's ledger."""
    return f"{route}/{day.isoformat()}/"


def page_name(route: str, aggregate: Aggregate, day: date) -> str:
    """Return the name of a day's open page. If the figures were lost, those that begin anew have other pages."""
    return f"{folder(route, day)}{aggregate.since:%Y%m%dT%H%M%S}-{aggregate.pages[day].number:06}.jsonl"


def ledger_line(message: Message) -> dict[str, Any]:
    """Return a message as the ledger has it and the API answers it."""
    return {
        "id": message.id,
        "attempt": message.attempt,
        "state": message.kind,
        "name": message.name,
        "source": message.source,
        "target": message.target,
        "size": message.size,
        "engine": message.engine,
        "source_etag": message.source_etag,
        "target_etag": message.target_etag or None,
        "accepted_at": codec.stamp(message.accepted_at),
        "ended_at": codec.stamp(message.at),
        "latency": round(message.latency, 3),
        "reason": message.reason,
    }


def _key(message: Message) -> str:
    # Ten hex digits of the id: among 20,000, one of 50 million is taken for another.
    return f"{message.id[9:19]}.{message.attempt}"


def _count(counts: Counts, ends: Iterable[Message]) -> Counts:
    found = dict(counts)
    for each in ends:
        found[each.kind] = found.get(each.kind, 0) + 1
        if each.kind is Kind.VERIFIED:
            found["bytes"] = found.get("bytes", 0) + (each.size or 0)
        for effort in EFFORTS:
            if count := getattr(each, effort):
                found[effort] = found.get(effort, 0) + count
    return found


def _count_reasons(old: dict[Kind, Counts], ends: Iterable[Message]) -> dict[Kind, Counts]:
    found = {kind: dict(counts) for kind, counts in old.items()}
    for each in ends:
        if each.reason is not None:
            counts = found.setdefault(each.kind, {})
            counts[each.reason] = counts.get(each.reason, 0) + 1
    return found


def _fill_slots(old: dict[int, Slot], verified: Iterable[Message], present: int) -> dict[int, Slot]:
    slots = {number: slot for number, slot in old.items() if number > present - SLOTS}
    for each in verified:
        number, bucket = slot_of(each.at), histogram.bucket(each.latency)
        if number > present - SLOTS:
            slot = slots.get(number, Slot())
            latencies = {**slot.latencies, bucket: slot.latencies.get(bucket, 0) + 1}
            slots[number] = Slot(slot.transfers + 1, slot.bytes + (each.size or 0), latencies)
    return slots


def _remember(old: dict[int, tuple[str, ...]], ends: Sequence[Message], present: int) -> dict[int, tuple[str, ...]]:
    kept = {number: keys for number, keys in old.items() if number > present - REMEMBERED_SLOTS}
    kept[present] = (*kept.get(present, ()), *map(_key, ends))
    left = MOST_REMEMBERED
    for number in sorted(kept, reverse=True):
        kept[number] = kept[number][-left:] if left else ()
        left -= len(kept[number])
    return {number: keys for number, keys in kept.items() if keys}


def _write_pages(old: dict[date, Page], verified: Sequence[Message], day: date) -> dict[date, Page]:
    """Add lines to the pages of the last two days. A line of an older day goes to the older of them."""
    pages = {}
    for each_day in (day - timedelta(days=1), day):
        ours = [each for each in verified if max(each.at.date(), day - timedelta(days=1)) == each_day]
        text = "".join(json.dumps(ledger_line(each)) + "\n" for each in ours)
        if page := old.get(each_day) or (Page() if text else None):
            length = page.length + len(page.text)
            number, length = (page.number + 1, 0) if length >= PAGE_BYTES else (page.number, length)
            pages[each_day] = Page(number, length, text)
    return pages


def record(aggregate: Aggregate) -> dict[str, Any]:
    """Return the JSON of a record."""
    return {
        "schema": SCHEMA,
        "since": codec.stamp(aggregate.since),
        "day": aggregate.day.isoformat(),
        "total": aggregate.total,
        "today": aggregate.today,
        "reasons": aggregate.reasons,
        "latencies": {str(each): count for each, count in aggregate.latencies.items()},
        "seconds": aggregate.seconds,
        "slots": {
            str(number): [slot.transfers, slot.bytes, {str(each): count for each, count in slot.latencies.items()}]
            for number, slot in aggregate.slots.items()
        },
        "running": {
            identity: [each.attempt, codec.stamp(each.at), each.size, each.checked and codec.stamp(each.checked)]
            for identity, each in aggregate.running.items()
        },
        "ended": {str(number): list(keys) for number, keys in aggregate.ended.items()},
        "pages": {day.isoformat(): [page.number, page.length, page.text] for day, page in aggregate.pages.items()},
    }


def read(record: dict[str, Any]) -> Aggregate:
    """Parse a record. Raises KeyError, TypeError, ValueError or AttributeError for anything else."""
    return Aggregate(
        since=codec.parse_time(record["since"]),
        day=date.fromisoformat(record["day"]),
        total=dict(record["total"]),
        today=dict(record["today"]),
        reasons={Kind(kind): dict(counts) for kind, counts in record.get("reasons", {}).items()},
        latencies={int(each): count for each, count in record.get("latencies", {}).items()},
        seconds=float(record.get("seconds", 0)),
        slots={
            int(number): Slot(transfers, size, {int(each): count for each, count in latencies.items()})
            for number, (transfers, size, latencies) in record["slots"].items()
        },
        running={
            identity: Opened(attempt, codec.parse_time(at), size, codec.parse_time(checked) if checked else None)
            for identity, (attempt, at, size, checked) in record["running"].items()
        },
        ended={int(number): tuple(keys) for number, keys in record["ended"].items()},
        pages={date.fromisoformat(day): Page(*page) for day, page in record["pages"].items()},
    )
