"""Reconcile: a container that was full before its route is shared, drift is told, and what is whole is never copied again."""

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import environment
from tests.e2e.desk import Answer, Desk
from tests.e2e.helpers import created
from tests.e2e.jobs import CONTAINER, asked, ended, report
from tests.e2e.storm import accepted

COUNT = 2_000 if os.environ.get("SOAK") == "long" else 400


def names(count: int = COUNT) -> list[str]:
    """The names of the blobs that were there before."""
    return [f"year/{number % 10}/{number:05}.bin" for number in range(count)]


@pytest.fixture(scope="module")
def full(desk: Desk) -> list[str]:
    """A container of blobs whose events went nowhere, and the empty target of its route."""
    desk.container("sharingsource", CONTAINER)
    desk.container("sharingtarget", CONTAINER)
    desk.control.events(mode="drop")
    try:
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda name: desk.put(name, name.encode(), container=CONTAINER), names()))
    finally:
        desk.control.events(mode="deliver")
    return names()


def test_a_dry_run_tells_what_would_be_shared_and_shares_nothing(desk: Desk, full: list[str]) -> None:
    """Counts, bytes and every name."""
    job = ended(desk, job_id := asked(desk, dry_run=True))
    assert job["state"] == "done"
    assert (job["counts"]["missing"], job["counts"]["found"], job["counts"]["started"]) == (COUNT, COUNT, 0)
    assert job["counts"]["bytes"] == sum(len(name) for name in full)
    assert Counter(line["name"] for line in report(desk, job_id)) == Counter(full)
    assert desk.requests(full)["CopyBlobFromUrl"] == 0


def test_it_starts_what_is_missing_also_through_a_kill(desk: Desk, full: list[str]) -> None:
    """The host dies in the middle: the job goes on where it was, and every blob is copied once."""
    job_id = asked(desk, max_per_second=100)
    desk.until(lambda: desk.requests(full)["CopyBlobFromUrl"] > COUNT / 4, "a quarter is copied")
    desk.stack.kill_host()
    desk.stack.start_host()
    job = ended(desk, job_id)
    assert job["state"] == "done"
    # What had been started when the host died is found running, or whole, by the turn that is done again.
    counts = job["counts"]
    assert counts["started"] + counts["running"] == COUNT
    desk.until(lambda: accepted(desk, full) == COUNT, "all are copied")
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda name: desk.read(desk.target(name, CONTAINER)), full))
    assert read == [name.encode() for name in full]
    assert accepted(desk, full) == COUNT


def test_a_second_run_finds_matches_and_copies_nothing(desk: Desk, full: list[str]) -> None:
    """Nor does it look at a blob: the two lists say it all."""
    desk.until(lambda: not running(desk), "all transfers have ended")
    before = desk.requests(full)
    job = ended(desk, job_id := asked(desk))
    assert {name: count for name, count in job["counts"].items() if count} == {"match": COUNT}
    assert {line["class"] for line in report(desk, job_id)} == {"match"}
    assert desk.requests(full) == before


def running(desk: Desk) -> list[dict[str, Any]]:
    """The route's transfers that still run."""
    items = desk.everything(f"/transfers?route={CONTAINER}")
    return [item for item in items if item["state"] in {"accepted", "copying"}]


def test_drift_is_told_and_mended_but_for_what_a_person_cancelled(desk: Desk, full: list[str]) -> None:
    """Missing, stale, extra and error, each by its name; an extra blob stays."""
    gone, overwritten, newer = full[:3]
    desk.target(gone, CONTAINER).delete_blob()
    desk.target(overwritten, CONTAINER).upload_blob(b"somebody else's", overwrite=True)
    cancelled = cancel_one(desk, "cancelled.bin")
    desk.target("extra.bin", CONTAINER).upload_blob(b"extra", overwrite=True)
    desk.control.events(mode="drop")
    try:
        desk.put(newer, b"newer", container=CONTAINER)
    finally:
        desk.control.events(mode="deliver")
    job = ended(desk, job_id := asked(desk))
    lines = {line["name"]: line["class"] for line in report(desk, job_id) if line.get("class", "match") != "match"}
    assert lines == {
        gone: "missing",
        overwritten: "stale",
        newer: "stale",
        "extra.bin": "extra",
        "cancelled.bin": "missing",
    }
    assert job["counts"]["skipped"] == 1
    for name, data in ((gone, gone.encode()), (overwritten, overwritten.encode()), (newer, b"newer")):
        assert desk.until_final(name, CONTAINER)["state"] == "verified"
        assert desk.read(desk.target(name, CONTAINER)) == data
    assert desk.api("GET", f"/transfers/{cancelled}").body["state"] == "cancelled"
    assert desk.read(desk.target("extra.bin", CONTAINER)) == b"extra"


def cancel_one(desk: Desk, name: str) -> str:
    """A blob whose transfer was cancelled before it could be copied; the transfer's id."""
    rule = desk.control.add_fault({"operation": "CopyBlobFromUrl", "blob": name}, {"status": 503, "code": "ServerBusy"})
    try:
        desk.put(name, b"cancelled", container=CONTAINER)
        found = desk.until(lambda: waiting(desk.transfer_of(name, CONTAINER)), "it waits for its next try")
        assert desk.api("DELETE", f"/transfers/{found['id']}").status == 202
        assert desk.until_ended(found["id"])["state"] == "cancelled"
    finally:
        desk.control.remove_faults(rule)
    return str(found["id"])


def waiting(answer: Answer) -> dict[str, Any] | None:
    """The transfer, if it has failed once."""
    return answer.body if answer.status == 200 and answer.body["tries"] else None


@pytest.mark.skipif(os.environ.get("HOST") == "func", reason="the stand-in's task hub is a file that can be deleted")
def test_the_task_hub_is_lost_and_nothing_is_copied_again(tmp_path: Path) -> None:
    """The truth about a finished copy is the target blob itself: late duplicates and a reconcile both find it."""
    with (tmp_path / "stack.log").open("w") as log:
        desk = Desk(environment(tmp_path), log)
        try:
            desk.stack.start()
            lost_and_reconciled(desk)
        finally:
            desk.close()


def lost_and_reconciled(desk: Desk) -> None:
    """Share some blobs, lose the hub, reconcile, and deliver every event once more."""
    shared = [f"lost/{number}" for number in range(40)]
    events = [created(desk.source(name).url, "source", name, desk.put(name, name.encode())) for name in shared]
    assert {desk.until_final(name)["state"] for name in shared} == {"verified"}
    desk.stack.kill_host()
    hub = list(desk.stack.state.glob("host.sqlite*"))
    assert hub
    for path in hub:
        path.unlink()
    desk.stack.start_host()
    assert desk.everything("/transfers") == []
    before = desk.requests(shared)
    job = ended(desk, asked(desk, route="default"))
    assert {name: count for name, count in job["counts"].items() if count} == {"match": len(shared)}
    assert desk.requests(shared) == before
    for event in events:
        desk.queue().send_message(event)
    assert {desk.until_final(name)["state"] for name in shared} == {"verified"}
    assert accepted(desk, shared) == len(shared)
