"""The record of a route's figures: duplicates, order, days, and a size that does not grow."""

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.figures import aggregate
from rules.figures.aggregate import Aggregate, Slot
from rules.figures.feed import Kind, Message
from rules.transfers.identity import transfer_id
from tests.unit.samples import NOW, after, quick

EMPTY = aggregate.new(NOW)


def message(number: int = 0, kind: Kind = Kind.VERIFIED, at: datetime = NOW, **given: Any) -> Message:
    identity = transfer_id("default", f"https://a/{number}", "e", "https://b")
    fields: dict[str, Any] = {"attempt": 0, "accepted_at": at - timedelta(seconds=2), "size": 10} | given
    return Message(kind, at, identity, route="default", name=f"{number}", source="s", target="t", **fields)


def lines(figures: Aggregate) -> list[dict[str, Any]]:
    return [json.loads(line) for page in figures.pages.values() for line in page.text.splitlines()]


def stored(figures: Aggregate) -> Aggregate:
    return aggregate.read(json.loads(json.dumps(aggregate.record(figures))))


def test_ends_are_counted_and_verified_ones_are_in_the_ledger() -> None:
    found = aggregate.merge(
        EMPTY, [message(1), message(2), message(3, Kind.DEAD_LETTERED), message(4, Kind.CANCELLED)], NOW
    )
    assert found.today == found.total == {"verified": 2, "bytes": 20, "dead_lettered": 1, "cancelled": 1}
    assert found.slots == {aggregate.slot_of(NOW): Slot(2, 20, {128: 2})}
    assert (found.latencies, found.seconds) == ({128: 2}, 4)
    assert [(each["name"], each["latency"], each["target_etag"]) for each in lines(found)] == [
        ("1", 2, None),
        ("2", 2, None),
    ]


def test_an_unknown_size_counts_as_none() -> None:
    found = aggregate.merge(EMPTY, [message(1, size=None), message(2, Kind.OPENED, size=None)], NOW)
    assert (found.total["bytes"], [each.size for each in found.running.values()]) == (0, [0])


@pytest.mark.parametrize("kind", [Kind.VERIFIED, Kind.SUPERSEDED])
def test_a_duplicate_changes_nothing(kind: Kind) -> None:
    once = aggregate.merge(EMPTY, [message(), message()], NOW)
    assert once.total["verified"] == 1
    again = aggregate.merge(once, [message(kind=kind), message(kind=Kind.OPENED)], after(minutes=50))
    assert again is once
    assert aggregate.merge(once, [message(attempt=1)], NOW).total["verified"] == 2


def test_an_end_is_remembered_for_an_hour() -> None:
    once = aggregate.merge(EMPTY, [message()], NOW)
    other = aggregate.merge(once, [message(1)], after(minutes=70))
    assert aggregate.merge(other, [message()], after(minutes=70)).total["verified"] == 3


@quick
@given(st.permutations([message(1, Kind.OPENED), message(1), message(2, Kind.OPENED), message(3)]), st.integers(0, 4))
def test_the_order_of_messages_makes_no_difference(messages: list[Message], split: int) -> None:
    found = aggregate.merge(aggregate.merge(EMPTY, messages[:split], NOW), messages[split:], NOW)
    assert list(found.running) == [message(2).id]
    assert found.total["verified"] == 2


def test_a_later_attempt_runs_although_the_earlier_one_ended() -> None:
    second = message(1, Kind.OPENED, attempt=1)
    found = aggregate.merge(EMPTY, [message(1, Kind.OPENED), second, message(1, Kind.CANCELLED)], NOW)
    assert next(iter(found.running.values())).attempt == 1
    late = aggregate.merge(found, [message(1, Kind.OPENED, attempt=0), message(2, attempt=5)], NOW)
    assert late.running == found.running
    assert aggregate.merge(late, [message(1, attempt=0, at=after(hours=2))], after(hours=2)).running == found.running


def test_a_new_day_begins_with_its_first_end_or_the_clock() -> None:
    first = aggregate.merge(EMPTY, [message(1)], NOW)
    tomorrow = after(days=1)
    late = aggregate.merge(first, [message(2)], tomorrow)
    assert (late.day, late.today, late.total["verified"]) == (tomorrow.date(), {}, 2)
    assert aggregate.counts_today(first, tomorrow) == {}
    assert aggregate.counts_today(late, tomorrow) == {}
    ahead = aggregate.merge(first, [message(3, at=tomorrow)], NOW)
    assert (ahead.day, ahead.today["verified"]) == (tomorrow.date(), 1)


def test_slots_of_more_than_a_day_ago_are_dropped() -> None:
    first = aggregate.merge(EMPTY, [message(1)], NOW)
    later = aggregate.merge(first, [message(2, at=after(hours=25)), message(3)], after(hours=25))
    assert list(later.slots) == [aggregate.slot_of(after(hours=25))]
    assert aggregate.recent_slots(first, after(minutes=50), 12) == first.slots
    assert aggregate.recent_slots(first, after(minutes=65), 12) == {}


def test_a_line_belongs_to_the_day_of_its_end_or_to_the_day_before_the_present_one() -> None:
    yesterday = NOW - timedelta(days=1)
    found = aggregate.merge(EMPTY, [message(1), message(2, at=yesterday), message(3, at=NOW - timedelta(days=9))], NOW)
    counts = {day: page.text.count("\n") for day, page in found.pages.items()}
    assert counts == {yesterday.date(): 2, NOW.date(): 1}
    tomorrow = aggregate.merge(found, [message(4, at=after(days=1))], after(days=1))
    assert list(tomorrow.pages) == [NOW.date(), after(days=1).date()]
    assert (tomorrow.pages[NOW.date()].length, tomorrow.pages[NOW.date()].text) == (
        len(found.pages[NOW.date()].text),
        "",
    )


def test_a_full_page_is_followed_by_the_next() -> None:
    found = aggregate.merge(EMPTY, [message(number) for number in range(1_000)], NOW)
    assert len(found.pages[NOW.date()].text) > aggregate.PAGE_BYTES
    following = aggregate.merge(found, [message(1_000)], NOW)
    assert (following.pages[NOW.date()].number, following.pages[NOW.date()].length) == (1, 0)
    names = [aggregate.page_name("default", each, NOW.date()) for each in (found, following)]
    assert names == sorted(names)
    assert len(set(names)) == 2
    anew = aggregate.merge(aggregate.new(after(minutes=1)), [message(1)], NOW)
    assert aggregate.page_name("default", anew, NOW.date()) > names[1]


def test_the_record_is_read_as_it_was_written() -> None:
    found = aggregate.merge(EMPTY, [message(1), message(2, Kind.OPENED), message(3, Kind.OPENED)], NOW)
    found = aggregate.checked(found, [message(2).id, "unknown"], [message(3).id], after(hours=2))
    assert stored(found) == replace(found, total=found.total)
    assert found.running[message(2).id].checked == after(hours=2)


def test_what_runs_for_over_an_hour_is_checked_the_longest_first() -> None:
    opened = [message(number, Kind.OPENED, at=after(minutes=number)) for number in range(3)]
    found = aggregate.merge(EMPTY, opened, NOW)
    ids = [each.id for each in opened]
    assert aggregate.to_check(found, after(minutes=62), 5) == ids[:2]
    found = aggregate.checked(found, ids[:1], [], after(minutes=62))
    assert aggregate.to_check(found, after(minutes=63), 1) == ids[1:2]
    assert aggregate.checked(found, [], [], NOW) is found


def test_the_record_does_not_grow_with_what_has_ended() -> None:
    figures, sizes = EMPTY, {}
    for number in range(0, 60_000, 5_000):
        at = after(seconds=number)
        ends = [message(each, at=at) for each in range(number, number + 5_000)]
        figures = aggregate.merge(figures, ends, at)
        sizes[number + 5_000] = len(json.dumps(aggregate.record(figures)))
    assert sizes[60_000] < 1.1 * sizes[40_000]


def test_running_transfers_have_a_limit() -> None:
    opened = [message(number, Kind.OPENED) for number in range(aggregate.MOST_RUNNING + 1)]
    found = aggregate.merge(EMPTY, opened, NOW)
    assert len(found.running) == aggregate.MOST_RUNNING
    assert (
        len(aggregate.merge(found, [replace(opened[0], kind=Kind.VERIFIED)], NOW).running) == aggregate.MOST_RUNNING - 1
    )
