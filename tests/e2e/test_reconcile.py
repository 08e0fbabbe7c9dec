"""Reconcile: it shares blobs that existed before their route, fixes drift, and never copies complete targets again."""

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.client import Answer, Client
from tests.e2e.events import created_event
from tests.e2e.jobs import counts, report_lines, run_job, start_job, until_job_ends
from tests.e2e.stacks import running_stack
from tests.e2e.storm import LONG, accepted_copies
from tests.e2e.transfers import running_transfers

CONTAINER = "before"
COUNT = 2_000 if LONG else 100


def names(count: int = COUNT) -> list[str]:
    return [f"year/{number % 10}/{number:05}.bin" for number in range(count)]


@pytest.fixture(scope="module")
def full(client: Client) -> list[str]:
    """A source container whose events were dropped, and its empty target."""
    client.create_container("sharingsource", CONTAINER)
    client.create_container("sharingtarget", CONTAINER)
    client.control.events(mode="drop")
    try:
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda name: client.put(name, name.encode(), container=CONTAINER), names()))
    finally:
        client.control.events(mode="deliver")
    return names()


def test_a_dry_run_reports_missing_blobs_and_shares_nothing(client: Client, full: list[str]) -> None:
    job = run_job(client, "reconciles", route=CONTAINER, dry_run=True)
    assert job["state"] == "done"
    assert (job["counts"]["missing"], job["counts"]["found"], job["counts"]["started"]) == (COUNT, COUNT, 0)
    assert job["counts"]["bytes"] == sum(len(name) for name in full)
    assert Counter(line["name"] for line in report_lines(client, job["id"])) == Counter(full)
    assert client.count_requests(full)["CopyBlobFromUrl"] == 0


def test_missing_blobs_are_shared_despite_a_killed_host(client: Client, full: list[str]) -> None:
    """The job continues, and every blob is copied once."""
    job_id = start_job(client, "reconciles", route=CONTAINER, max_per_second=100)
    client.until(lambda: client.count_requests(full)["CopyBlobFromUrl"] > COUNT / 4, "a quarter is copied")
    client.stack.kill_host()
    client.stack.start_host()
    job = until_job_ends(client, job_id)
    assert job["state"] == "done"
    # The repeated batch finds transfers running that were started before the kill.
    assert job["counts"]["started"] + job["counts"]["running"] == COUNT
    client.until(lambda: accepted_copies(client, full) == COUNT, "all are copied")
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda name: client.read(client.target(name, CONTAINER)), full))
    assert read == [name.encode() for name in full]
    assert accepted_copies(client, full) == COUNT


def test_a_second_run_finds_matches_and_copies_nothing(client: Client, full: list[str]) -> None:
    """The two listings suffice: the app reads no blob."""
    client.until(lambda: not running_transfers(client, CONTAINER), "all transfers have ended")
    before = client.count_requests(full)
    job = run_job(client, "reconciles", route=CONTAINER)
    assert counts(job) == {"match": COUNT}
    assert {line["class"] for line in report_lines(client, job["id"])} == {"match"}
    assert client.count_requests(full) == before


def test_drift_is_reported_and_fixed_except_for_cancelled_transfers(client: Client, full: list[str]) -> None:
    gone, overwritten, newer = full[:3]
    client.target(gone, CONTAINER).delete_blob()
    client.target(overwritten, CONTAINER).upload_blob(b"foreign", overwrite=True)
    cancelled = cancel_one(client, "cancelled.bin")
    client.target("extra.bin", CONTAINER).upload_blob(b"extra", overwrite=True)
    client.control.events(mode="drop")
    try:
        client.put(newer, b"newer", container=CONTAINER)
    finally:
        client.control.events(mode="deliver")
    job = run_job(client, "reconciles", route=CONTAINER)
    lines = {
        line["name"]: line["class"] for line in report_lines(client, job["id"]) if line.get("class", "match") != "match"
    }
    assert lines == {
        gone: "missing",
        overwritten: "stale",
        newer: "stale",
        "extra.bin": "extra",
        "cancelled.bin": "missing",
    }
    assert job["counts"]["skipped"] == 1
    for name, data in ((gone, gone.encode()), (overwritten, overwritten.encode()), (newer, b"newer")):
        assert client.until_final(name, CONTAINER)["state"] == "verified"
        assert client.read(client.target(name, CONTAINER)) == data
    assert client.api("GET", f"/transfers/{cancelled}").body["state"] == "cancelled"
    assert client.read(client.target("extra.bin", CONTAINER)) == b"extra"


def cancel_one(client: Client, name: str) -> str:
    """Upload a blob and cancel its transfer before the copy. Return the transfer's id."""
    rule = client.control.add_fault(
        {"operation": "CopyBlobFromUrl", "blob": name}, {"status": 503, "code": "ServerBusy"}
    )
    try:
        client.put(name, b"cancelled", container=CONTAINER)
        found = client.until(
            lambda: retrying_transfer(client.transfer_of(name, CONTAINER)), "it waits for its next try"
        )
        assert client.api("DELETE", f"/transfers/{found['id']}").status == 202
        assert client.until_ended(found["id"])["state"] == "cancelled"
    finally:
        client.control.remove_faults(rule)
    return str(found["id"])


def retrying_transfer(answer: Answer) -> dict[str, Any] | None:
    """Return the transfer if a try has failed."""
    return answer.body if answer.status == 200 and answer.body["tries"] else None


@pytest.mark.skipif(os.environ.get("HOST") == "func", reason="the stand-in's task hub is a file that can be deleted")
def test_nothing_is_copied_again_after_the_task_hub_is_lost(tmp_path: Path) -> None:
    """Reconciles and duplicate events find the receipt on the target blob."""
    with running_stack(tmp_path) as client:
        check_lost_hub(client)


def check_lost_hub(client: Client) -> None:
    shared = [f"lost/{number}" for number in range(40)]
    events = [
        created_event(client.source(name).url, "source", name, client.put(name, name.encode())) for name in shared
    ]
    assert {client.until_final(name)["state"] for name in shared} == {"verified"}
    client.stack.kill_host()
    hub = list(client.stack.state.glob("host.sqlite*"))
    assert hub
    for path in hub:
        path.unlink()
    client.stack.start_host()
    assert client.list_all("/transfers") == []
    before = client.count_requests(shared)
    job = run_job(client, "reconciles", route="default")
    assert counts(job) == {"match": len(shared)}
    assert client.count_requests(shared) == before
    for event in events:
        client.queue().send_message(event)
    assert {client.until_final(name)["state"] for name in shared} == {"verified"}
    assert accepted_copies(client, shared) == len(shared)
