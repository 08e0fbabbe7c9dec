"""The bench's figures: percentiles, requests by blob, and differences in counts."""

from dataclasses import replace

from devhost.bench.metrics import Transfer, per_blob
from devhost.bench.result import Latency, Result, differences

ONCE = {"CopyBlobFromUrl target": 1, "GetBlob state": 1, "HeadBlob source": 1}
RESULT = Result(
    load="100 x 1 KiB",
    blobs=100,
    bytes_each=1024,
    unverified=0,
    seconds=4.0,
    put_seconds=1.0,
    latency=Latency(1.0, 2.0, 3.0),
    reported=Latency(1.0, 2.0, 3.0),
    requests=[(ONCE, 100)],
    other_requests=0,
    activities=1.0,
    timers=0.0,
    history_rows=[8],
    cpu_seconds={},
    peak_mib={},
    start_seconds=2.0,
    first_seconds=0.2,
)
MORE = replace(RESULT, load="1,000 x 1 KiB", blobs=1000, requests=[(ONCE, 1000)])


def test_a_percentile_is_a_measured_value() -> None:
    """The nearest rank."""
    assert Latency.of([float(n) for n in range(200, 0, -1)]) == Latency(100.0, 190.0, 198.0)
    assert Latency.of([7.0]) == Latency(7.0, 7.0, 7.0)


def test_equal_counts_are_not_a_difference() -> None:
    """The number of blobs and the speed make no difference."""
    assert differences([RESULT, replace(MORE, seconds=400.0)]) == []


def test_one_further_request_is_a_difference() -> None:
    """One blob of a thousand is enough."""
    twice = replace(MORE, requests=[(ONCE, 999), (ONCE | {"HeadBlob source": 2}, 1)])
    [within, between] = differences([RESULT, twice])
    assert "blobs differ in their requests" in within
    assert "'HeadBlob source': 2" in within
    assert between.startswith("1,000 x 1 KiB: ")
    assert twice.mean_requests["HeadBlob source"] == 1.001


def test_other_activities_timers_or_rows_are_a_difference() -> None:
    assert len(differences([RESULT, replace(MORE, activities=1.001)])) == 1
    assert len(differences([RESULT, replace(MORE, timers=0.5)])) == 1
    assert len(differences([RESULT, replace(MORE, history_rows=[12])])) == 1
    assert len(differences([replace(RESULT, history_rows=[8, 12])])) == 1


def test_a_request_belongs_to_the_blob_that_it_names() -> None:
    """Only requests of the app count: by the blob's name or by that of its record of ends; the others are counted separately."""
    one, two = (Transfer(f"id-{name}", name, "verified", 0.0, 8) for name in ("one", "two"))
    app, other = "blob-data-sharing/0.1.0 azsdk", "azsdk"
    log = [
        ("HeadBlob", "sharingsource", "one", app),
        ("HeadBlob", "sharingsource", "two", app),
        ("HeadBlob", "sharingsource", "one", other),
        ("GetBlob", "sharingstate", "ended/id-two.json", app),
        ("ListBlobs", "sharingstate", "", app),
        ("CopyBlob", "sharingtarget", "of another run", app),
    ]
    requests = [dict(zip(("operation", "account", "blob", "user_agent"), entry, strict=True)) for entry in log]
    kinds, others = per_blob(requests, [one, two])
    assert kinds == [({"HeadBlob source": 1}, 1), ({"GetBlob state": 1, "HeadBlob source": 1}, 1)]
    assert others == 2
