"""Histograms of latencies on a logarithmic scale: bucket → count. Each power of two is the end of a bucket."""

import math
from collections.abc import Iterable, Mapping

# Bucket 0 ends here, in seconds.
LEAST = 2.0**-7
# A bucket is 2^(1/16), 4.4 %, wider than the one before it, as in an exponential histogram of OpenTelemetry at scale 4.
PER_POWER = 16
# The last bucket begins after more than a year.
MOST = 33 * PER_POWER
Histogram = Mapping[int, int]


def bucket(seconds: float) -> int:
    """Return the bucket of a latency: 0 up to `LEAST`, and at most `MOST`."""
    return 0 if seconds <= LEAST else min(MOST, math.ceil(PER_POWER * math.log2(seconds / LEAST)))


def middle(number: int) -> float:
    """Return the latency that stands for a bucket, in seconds. It differs by at most 2.2 % from those in the bucket."""
    return round(LEAST * 2 ** ((number - 0.5) / PER_POWER), 3) if number else LEAST


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


def count_within(histogram: Histogram, seconds: float) -> int:
    """Return how many latencies are not longer than this: exact for a power of two, else within a bucket."""
    last = bucket(seconds)
    return sum(count for number, count in histogram.items() if number <= last)


def within(histogram: Histogram, seconds: float) -> float:
    """Return the share of the latencies that are not longer than this; 1 if the histogram is empty."""
    count = sum(histogram.values())
    return count_within(histogram, seconds) / count if count else 1.0
