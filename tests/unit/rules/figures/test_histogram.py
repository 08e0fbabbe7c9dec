"""Histograms of latencies."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.figures import histogram
from tests.unit.samples import quick

SECONDS = st.floats(0.011, 300 * 24 * 3600)


@quick
@given(SECONDS)
def test_a_bucket_stands_for_its_latencies_within_its_width(seconds: float) -> None:
    found = histogram.middle(histogram.bucket(seconds))
    assert found == pytest.approx(seconds, rel=0.03, abs=0.001)


def test_the_first_and_the_last_bucket_have_no_bounds() -> None:
    assert histogram.middle(histogram.bucket(-1)) == histogram.middle(histogram.bucket(0)) == histogram.LEAST
    assert histogram.bucket(1e12) == histogram.MOST


@quick
@given(st.lists(SECONDS, min_size=1), st.sampled_from([1, 50, 95, 99, 100]))
def test_percentiles_are_those_of_the_sorted_list(latencies: list[float], percent: int) -> None:
    found = histogram.total({histogram.bucket(each): 1} for each in latencies)
    exact = sorted(latencies)[math.ceil(len(latencies) * percent / 100) - 1]
    assert histogram.percentile(found, percent) == pytest.approx(exact, rel=0.03, abs=0.001)
    assert sum(found.values()) == len(latencies)


def test_an_empty_histogram_has_no_percentile_and_meets_everything() -> None:
    assert histogram.percentile({}, 99) is None
    assert histogram.within({}, 1) == 1


def test_the_share_within_a_time() -> None:
    found = histogram.total([{histogram.bucket(1): 3}, {histogram.bucket(100): 1}])
    assert histogram.within(found, 10) == 0.75
    assert histogram.within(found, 1) == 0.75
    assert histogram.within(found, 0.1) == 0
