"""The tables of `rules.transfers.policies`."""

import itertools
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.errors import Reason
from rules.routes.model import Engine, EnginePreference
from rules.transfers import policies
from rules.transfers.model import Kind
from rules.transfers.policies import GRACE, SYNC_LIMIT, Times
from tests.unit.samples import NOW, after, quick

IDS = st.text("0123456789abcdef", min_size=1, max_size=33)
NONE: frozenset[Engine] = frozenset()


def test_the_limits_and_times_are_the_documented_ones() -> None:
    times = Times()
    assert (policies.MAX_COPY_ATTEMPTS, policies.MAX_FAILURES, policies.MAX_RESUMES) == (8, 10, 5)
    assert (times.window, times.recheck, times.timeout, times.settle, times.activity) == (15, 30, 60, 90, 180)
    assert policies.STALL.total_seconds() == 30 * 60
    assert policies.SYNC_LIMIT / 1024 / 1024 == 256


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
        (9_999, 0, None, 9_999, 60),
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
def test_a_poll_is_always_between_two_and_sixty_seconds_away(
    polls: int, copied: int, total: int | None, elapsed: float
) -> None:
    assert 2 <= policies.next_poll(polls, copied, total, elapsed) <= 60


def polls_within(seconds: int, pace: float | None) -> int:
    """The number of polls for a copy of this duration; `pace` is bytes per second, None without visible progress."""
    elapsed, polls = 0.0, 0
    total = round(seconds * (pace or 1))
    while elapsed < seconds:
        elapsed += policies.next_poll(polls, round(elapsed * pace) if pace else 0, total, elapsed)
        polls += 1
    return polls


@pytest.mark.parametrize("pace", [None, 100.0], ids=["no progress shown", "steady progress"])
@pytest.mark.parametrize(("seconds", "most"), [(2, 1), (60, 9), (600, 20), (3_600, 75), (86_400, 1_460)])
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


S, A = Engine.SYNC, Engine.ASYNC
SMALL, LARGE = SYNC_LIMIT, SYNC_LIMIT + 1


@pytest.mark.parametrize(
    ("wanted", "kind", "size", "refused", "engine"),
    [
        ("auto", "BlockBlob", SMALL, "", S),
        ("auto", "BlockBlob", 0, "", S),
        ("auto", "BlockBlob", SMALL, "sync", A),
        ("auto", "BlockBlob", LARGE, "", A),
        ("auto", "AppendBlob", SMALL, "", A),
        ("auto", "PageBlob", SMALL, "", A),
        ("sync", "BlockBlob", SMALL, "", S),
        ("sync", "BlockBlob", LARGE, "", Reason.UNSUPPORTED_BLOB),
        ("sync", "AppendBlob", SMALL, "", Reason.UNSUPPORTED_BLOB),
        ("sync", "PageBlob", SMALL, "sync", Reason.UNSUPPORTED_BLOB),
        ("async", "BlockBlob", SMALL, "", A),
        ("async", "PageBlob", LARGE, "", A),
        ("auto", "BlockBlob", SMALL, "sync async", Reason.SOURCE_UNREADABLE),
        ("auto", "BlockBlob", LARGE, "async", Reason.SOURCE_UNREADABLE),
        ("sync", "BlockBlob", SMALL, "sync", Reason.SOURCE_UNREADABLE),
        ("async", "BlockBlob", SMALL, "async", Reason.SOURCE_UNREADABLE),
    ],
)
def test_which_engine_is_chosen(wanted: str, kind: str, size: int, refused: str, engine: Engine | Reason) -> None:
    """The table of `choose_engine` (rule 16)."""
    given_up = frozenset(Engine(name) for name in refused.split())
    assert policies.choose_engine(EnginePreference(wanted), Kind(kind), size, given_up) is engine


def test_a_refused_or_excluded_engine_is_never_chosen() -> None:
    refusals = [NONE, {S}, {A}, {S, A}]
    for wanted, kind, size, refused in itertools.product(EnginePreference, Kind, (SMALL, LARGE), refusals):
        engine = policies.choose_engine(wanted, kind, size, frozenset(refused))
        assert engine not in refused
        if isinstance(engine, Engine):
            assert wanted in {EnginePreference.AUTO, engine}
            assert engine is A or (kind is Kind.BLOCK and size <= SYNC_LIMIT)


def test_metadata_is_limited_to_8_kb_of_keys_and_values() -> None:
    assert policies.metadata_fits({})
    assert policies.metadata_fits({"key": "x" * (8_192 - 3)})
    assert not policies.metadata_fits({"key": "x" * (8_192 - 2)})
    assert not policies.metadata_fits({"key": "\u00e9" * 4_095})
