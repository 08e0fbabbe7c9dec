"""The tables of `rules.transfers.policies`."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.errors import Reason
from rules.routes.model import Engine, EnginePreference
from rules.transfers import policies
from rules.transfers.model import Kind
from rules.transfers.policies import GRACE, Times
from tests.unit.samples import NOW, after, quick

IDS = st.text("0123456789abcdef", min_size=1, max_size=33)
NONE: frozenset[Engine] = frozenset()


def test_the_limits_and_times_are_the_documented_ones() -> None:
    times = Times()
    assert (policies.MAX_COPY_ATTEMPTS, policies.MAX_FAILURES, policies.MAX_RESUMES) == (8, 10, 5)
    assert (times.window, times.recheck, times.timeout, times.settle, times.activity) == (15, 30, 60, 90, 180)
    assert (times.announced, times.delivery) == (300, timedelta(minutes=5))
    assert policies.STALL.total_seconds() == 30 * 60


@quick
@given(st.floats(0.01, 600))
def test_settle_is_longer_than_window_and_timeout_together(window: float) -> None:
    """So no late request is alive after it."""
    times = Times(window)
    assert times.settle > times.window + times.timeout


@pytest.mark.parametrize(
    ("count", "about"), [(1, 5), (2, 10), (3, 20), (4, 40), (5, 80), (6, 160), (7, 320), (8, 600), (9, 600), (900, 600)]
)
def test_backoff_doubles_up_to_ten_minutes(count: int, about: int) -> None:
    waits = [policies.backoff(count, str(number)) for number in range(100)]
    assert about * 0.75 - 1 <= min(waits) < about < max(waits) <= about * 1.25 + 1


@quick
@given(st.integers(0, 10_000), IDS)
def test_backoff_is_bounded_monotonic_and_deterministic(count: int, identity: str) -> None:
    wait = policies.backoff(count, identity)
    assert 2 <= wait <= 750
    assert wait == policies.backoff(count, identity)
    assert wait <= policies.backoff(count + 1, identity)
    assert 0.75 <= policies.jitter(identity) <= 1.25


@pytest.mark.parametrize(("resumes", "about"), [(0, 5), (1, 20), (2, 80), (3, 320), (4, 600), (5, 600), (9_999, 600)])
def test_the_pause_before_a_resume_grows_fourfold_up_to_ten_minutes(resumes: int, about: int) -> None:
    waits = [policies.resume_pause(resumes, str(number)) for number in range(100)]
    assert about * 0.75 - 1 <= min(waits) < about < max(waits) <= about * 1.25 + 1
    assert waits == [policies.resume_pause(resumes, str(number)) for number in range(100)]


@pytest.mark.parametrize(
    ("polls", "copied", "total", "elapsed", "seconds"),
    [
        (0, 0, None, 0, 2),  # unknown: doubling
        (1, 0, None, 2, 4),
        (2, 0, 1_000, 6, 8),
        (4, 0, None, 30, 32),
        (5, 0, None, 62, 60),
        (9_999, 0, None, 9_999, 600),  # a tenth of the time so far, up to 10 minutes
        (9_999, 0, None, 3_000, 300),
        (9_999, 0, None, 600, 60),
        (0, 500, 1_000, 20, 10),  # known: half of the remaining time
        (9, 900, 1_000, 90, 5),
        (0, 1, 1_000_000, 60, 60),
        (0, 999, 1_000, 999, 2),
        (0, 1_000, 1_000, 9, 2),
        (0, 2_000, 1_000, 9, 2),  # a service that counts past the end
        (3, 500, 1_000, 0, 16),  # without elapsed time or a known size the progress is unknown
        (3, 500, None, 20, 16),
        (3, 500, 0, 20, 16),
    ],
)
def test_the_next_poll_follows_the_progress(
    polls: int, copied: int, total: int | None, elapsed: float, seconds: int
) -> None:
    assert policies.next_poll(polls, copied, total, elapsed) == seconds


@quick
@given(
    st.integers(0, 10**6),
    st.integers(0, 2**50),
    st.none() | st.integers(0, 2**50),
    st.floats(-1e6, 1e9, allow_nan=False),
)
def test_a_poll_is_always_between_two_seconds_and_a_tenth_of_the_time_away(
    polls: int, copied: int, total: int | None, elapsed: float
) -> None:
    assert 2 <= policies.next_poll(polls, copied, total, elapsed) <= min(600, max(60, round(elapsed / 10)))


def polls_within(seconds: int, pace: float | None) -> int:
    """The number of polls for a copy of this duration; `pace` is bytes per second, None without visible progress."""
    elapsed, polls = 0.0, 0
    total = round(seconds * (pace or 1))
    while elapsed < seconds:
        elapsed += policies.next_poll(polls, round(elapsed * pace) if pace else 0, total, elapsed)
        polls += 1
    return polls


@pytest.mark.parametrize("pace", [None, 100.0], ids=["no progress shown", "steady progress"])
@pytest.mark.parametrize(("seconds", "most"), [(2, 1), (60, 9), (600, 20), (3_600, 45), (86_400, 190)])
def test_the_number_of_polls_is_bounded(seconds: int, most: int, pace: float | None) -> None:
    assert polls_within(seconds, pace) <= most


@pytest.mark.parametrize(
    ("wanted", "engine", "length"),
    [
        (None, None, timedelta(hours=1)),
        (None, Engine.SYNC, timedelta(hours=1)),
        (None, Engine.ASYNC, timedelta(hours=24)),
        (timedelta(minutes=5), None, timedelta(minutes=5)),
        (timedelta(days=6), Engine.SYNC, timedelta(days=6)),
    ],
)
def test_the_deadline_of_a_route_overrides_that_of_the_engine(
    wanted: timedelta | None, engine: Engine | None, length: timedelta
) -> None:
    assert policies.deadline(wanted, engine) == length


def test_a_time_is_reached_up_to_the_grace_period_early() -> None:
    assert policies.is_reached(NOW, NOW)
    assert policies.is_reached(after(days=1), NOW)
    assert policies.is_reached(NOW - GRACE, NOW)
    assert not policies.is_reached(NOW - GRACE - timedelta(milliseconds=1), NOW)


S, A, B = Engine.SYNC, Engine.ASYNC, Engine.BLOCKS
BLOCK, APPEND, PAGE = Kind.BLOCK, Kind.APPEND, Kind.PAGE
NO_ENGINE, UNSUPPORTED = Reason.SOURCE_UNREADABLE, Reason.UNSUPPORTED_BLOB


@pytest.mark.parametrize(
    ("wanted", "kind", "small", "same_account", "engines"),
    [
        ("auto", BLOCK, True, False, (S, B, A)),
        ("auto", BLOCK, True, True, (S, B, A)),
        ("auto", BLOCK, False, False, (B, A)),
        ("auto", BLOCK, False, True, (A, B)),
        ("auto", APPEND, True, False, (A, B)),
        ("auto", APPEND, False, True, (A, B)),
        ("auto", PAGE, True, False, (A, B)),
        ("sync", BLOCK, True, False, (S,)),
        ("async", BLOCK, True, False, (A,)),
        ("async", PAGE, False, True, (A,)),
        ("blocks", BLOCK, True, True, (B,)),
        ("blocks", APPEND, False, False, (B,)),
    ],
)
def test_which_engine_is_chosen(
    *, wanted: str, kind: Kind, small: bool, same_account: bool, engines: tuple[Engine, ...]
) -> None:
    """The table of `choose_engine` (rule 16): each engine that is refused is followed by the next one."""
    for number in range(len(engines) + 1):
        engine = policies.choose_engine(
            EnginePreference(wanted), kind, frozenset(engines[:number]), small=small, same_account=same_account
        )
        assert engine is (engines[number] if number < len(engines) else NO_ENGINE)


@pytest.mark.parametrize(("kind", "small"), [(BLOCK, False), (APPEND, True), (PAGE, True)])
def test_sync_copies_only_small_block_blobs(*, kind: Kind, small: bool) -> None:
    for refused in (NONE, frozenset({S})):
        engine = policies.choose_engine(EnginePreference.SYNC, kind, refused, small=small, same_account=False)
        assert engine is UNSUPPORTED


def test_blocks_make_a_block_blob_of_every_type() -> None:
    assert {policies.written_kind(B, kind) for kind in Kind} == {BLOCK}
    assert [policies.written_kind(engine, PAGE) for engine in (S, A, NO_ENGINE)] == [PAGE] * 3


@pytest.mark.parametrize(
    ("route", "source", "written", "tier"),
    [
        (None, "Cool", BLOCK, None),
        ("Hot", "Cool", BLOCK, "Hot"),
        ("Hot", None, BLOCK, "Hot"),
        ("Hot", None, PAGE, None),
        ("same", "Hot", BLOCK, "Hot"),
        ("same", "Cool", BLOCK, "Cool"),
        ("same", "Cold", BLOCK, "Cold"),
        ("same", None, BLOCK, None),
        ("same", "Premium", BLOCK, None),
        ("same", "P10", PAGE, None),
        ("same", "Hot", PAGE, None),
    ],
)
def test_the_tier_of_a_copy(route: str | None, source: str | None, written: Kind, tier: str | None) -> None:
    assert policies.choose_tier(route, source, written) == tier


@pytest.mark.parametrize(
    ("size", "hours"), [(None, 24), (1024**4 - 1, 24), (1024**4, 25), (190 * 1024**4, 24 + 190)], ids=str
)
def test_the_deadline_of_blocks_grows_with_the_size(size: int | None, hours: int) -> None:
    assert policies.deadline(None, B, size) == timedelta(hours=hours)
    assert policies.deadline(None, A, size) == timedelta(hours=24)
    assert policies.deadline(timedelta(hours=2), B, size) == timedelta(hours=2)


@pytest.mark.parametrize(
    ("copied", "total", "minutes", "left", "too_slow"),
    [
        (1, 100, 11, 60, True),
        (50, 100, 11, 11, False),
        (50, 101, 11, 11, True),
        (0, 100, 60, 1, False),
        (50, None, 60, 1, False),
    ],
)
def test_when_a_copy_is_too_slow_for_its_deadline(
    *, copied: int, total: int | None, minutes: int, left: int, too_slow: bool
) -> None:
    """The table of `is_too_slow`."""
    elapsed, rest = timedelta(minutes=minutes), timedelta(minutes=left)
    assert policies.is_too_slow(copied, total, elapsed, rest) is too_slow


@pytest.mark.parametrize("hours", [0.01, 0.5, 3, 12, 24])
@pytest.mark.parametrize("pace", [1.0, 1.5, 0.5], ids=["steady", "faster at the end", "slower at the end"])
def test_a_long_copy_has_few_looks_and_none_late_by_more_than_a_tenth(hours: float, pace: float) -> None:
    """A copy of `hours` hours whose pace changes: the looks, and how late the last one notices the end."""
    length, now, polls = hours * 3600, 0.0, 0
    while now < length:
        copied = round(10**9 * (now / length) ** pace)
        now += policies.next_poll(polls, copied, 10**9, now)
        polls += 1
    assert now - length <= min(600, max(60, length / 10))
    assert polls <= 45 + length / 600


def test_metadata_is_limited_to_8_kb_of_keys_and_values() -> None:
    assert policies.metadata_fits({})
    assert policies.metadata_fits({"key": "x" * (8_192 - 3)})
    assert not policies.metadata_fits({"key": "x" * (8_192 - 2)})
    assert not policies.metadata_fits({"key": "\u00e9" * 4_095})


@pytest.mark.parametrize(
    ("value", "encoding", "sendable"),
    [
        ("plain", "ascii", True),
        (" \tblank ", "ascii", True),
        ("\u00fc", "utf-8", True),
        ("\u00fc", "ascii", False),
        ("caf\udce9", "utf-8", False),
        ("\u3000indented", "utf-8", False),
        ("ends\u00a0", "utf-8", False),
    ],
)
def test_metadata_is_sent_byte_for_byte_or_not_at_all(value: str, encoding: str, sendable: bool) -> None:  # noqa: FBT001
    found = policies.unsendable_metadata({"own": "1", "title": value}, encoding)
    assert found == (None if sendable else "title")


def test_a_key_beyond_ascii_is_not_sent() -> None:
    assert policies.unsendable_metadata({"t\u00eftle": "1"}) == "t\u00eftle"
