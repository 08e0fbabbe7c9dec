"""Histograms of latencies on a logarithmic scale: bucket → count. A bucket is 5 % wider than the one before it."""

import math
from collections.abc import Iterable, Mapping

LEAST, GROWTH = 0.01, 1.05
# The last bucket begins after more than a year.
MOST = math.ceil(math.log(400 * 24 * 3600 / LEAST) / math.log(GROWTH))
Histogram = Mapping[int, int]


def bucket(seconds: float) -> int:
    """Return the bucket of a latency: 0 up to `LEAST`, and at most `MOST`."""
    return 0 if seconds <= LEAST else min(MOST, math.ceil(math.log(seconds / LEAST) / math.log(GROWTH)))


def middle(number: int) -> float:
    """Return the latency that stands for a bucket, in seconds. It differs by at most 2.5 % from those in the bucket."""
    return round(LEAST * GROWTH ** (number - 0.5), 3) if number else LEAST


def total(histograms: Iterable[Histogram]) -> dict[int, int]:
    """Return the sum of histograms, ordered by bucket."""
    found: dict[int, int] = {}
    for histogram in histograms:
        for number, count in histogram.items():
            found[number] = found.get(number, 0) + count
    return dict(sorted(found.items()))


def percentile(histogram: Histogram, percent: float) -> float | None:
    """Return the latency that this percentage of a sorted histogram does not exceed; None if it is empty."""
    rank, seen = math.ceil(sum(histogram.values()) * percent / 100), 0
    for number, count in histogram.items():
        seen += count
        if seen >= max(1, rank):
            return middle(number)
    return None


def within(histogram: Histogram, seconds: float) -> float:
    """Return the share of the latencies that are not longer than this; 1 if the histogram is empty."""
    count, last = sum(histogram.values()), bucket(seconds)
    return sum(number for each, number in histogram.items() if each <= last) / count if count else 1.0
