"""Bulk replay and discard of many dead letters, by two jobs at a time, while some transfers keep failing."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from rules.events.write import created_event
from rules.routes.model import Place, Route
from rules.transfers import identity
from tests.e2e.client import Client
from tests.e2e.events import until_queue_is_empty
from tests.e2e.jobs import report_lines, run_job, start_job, until_job_ends
from tests.e2e.transfers import running_transfers

CONTAINER = "many"
COUNT = 60
REFUSED = {"status": 404, "code": "ContainerNotFound"}


def name(number: int) -> str:
    """Every fifth blob keeps failing."""
    return f"{'failing' if number % 5 == 0 else 'fixed'}/{number}"


@pytest.fixture(scope="module")
def failed(client: Client) -> Iterator[list[str]]:
    """The ids of sixty dead letters. A fifth of the transfers keeps failing until the end of the module."""
    client.create_container("sharingsource", CONTAINER)
    client.create_container("sharingtarget", CONTAINER)
    rules = [
        client.control.add_fault({"operation": "CopyBlobFromUrl", "blob": f"^{kind}/"}, REFUSED, times=10_000)
        for kind in ("failing", "fixed")
    ]
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: client.put(name(number), b"x" * number, CONTAINER), range(COUNT)))
        client.until(lambda: len(open_dead_letters(client)) == COUNT, "every transfer has its dead letter")
        client.control.remove_faults(rules[1])
        yield [dead_letter["id"] for dead_letter in open_dead_letters(client)]
    finally:
        for rule in rules:
            client.control.remove_faults(rule)


def open_dead_letters(client: Client) -> list[dict[str, Any]]:
    return client.list_all(f"/dead-letters?route={CONTAINER}&reason=target_unwritable")


def results(client: Client, job_id: str) -> dict[str, str]:
    lines = report_lines(client, job_id)
    return {line["id"]: line["result"] for line in lines if "result" in line}


def test_a_dry_run_counts_dead_letters_and_bytes_and_replays_none(client: Client, failed: list[str]) -> None:
    job = run_job(
        client,
        "replays",
        route=CONTAINER,
        dry_run=True,
        reason="target_unwritable",
        until=datetime.now(UTC).isoformat(),
    )
    assert (job["state"], job["counts"]["found"], job["counts"]["started"]) == ("done", len(failed), 0)
    assert job["counts"]["bytes"] == sum(range(COUNT))
    assert run_job(client, "replays", route=CONTAINER, reason="throttled", dry_run=True)["counts"]["found"] == 0
    assert run_job(client, "replays", route=CONTAINER, since=datetime.now(UTC).isoformat())["counts"]["found"] == 0
    assert len(open_dead_letters(client)) == COUNT


def test_a_replay_is_cancelled_between_two_batches(client: Client, failed: list[str]) -> None:
    """Started transfers continue; the other dead letters stay open."""
    job_id = start_job(client, "replays", route=CONTAINER, max_per_second=1)
    client.until(lambda: client.api("GET", f"/replays/{job_id}").body["counts"]["started"], "some are started")
    assert client.api("DELETE", f"/replays/{job_id}").status == 202
    job = until_job_ends(client, job_id)
    assert job["state"] == "cancelled"
    assert 0 < job["counts"]["started"] < len(failed)
    again = client.api("DELETE", f"/replays/{job_id}")
    assert (again.status, again.body["state"]) == (409, "cancelled")


def test_two_concurrent_replays_are_safe(client: Client, failed: list[str]) -> None:
    """A fifth fails again; the rest is verified and copied once."""
    with ThreadPoolExecutor(2) as pool:
        ids = list(pool.map(lambda _: start_job(client, "replays", route=CONTAINER, max_per_second=50), range(2)))
    jobs = [until_job_ends(client, job_id) for job_id in ids]
    assert {job["state"] for job in jobs} == {"done"}
    assert all(not job["counts"]["failed"] for job in jobs)
    found = [results(client, job_id) for job_id in ids]
    assert {result for one in found for result in one.values()} <= {"started", "running", "refused"}
    client.until(
        lambda: len(open_dead_letters(client)) == COUNT // 5 and not running_transfers(client, CONTAINER),
        "all have ended",
    )
    for letter_id in failed:
        dead_letter = client.api("GET", f"/dead-letters/{letter_id}").body
        failing = dead_letter["transfer"]["source"]["name"].startswith("failing/")
        assert (dead_letter["state"], dead_letter["resolved_as"]) == (
            ("open", None) if failing else ("resolved", "verified")
        )
        assert dead_letter["replays"] >= failing
    for number in range(COUNT):
        if number % 5:
            assert client.read(client.target(name(number), CONTAINER)) == b"x" * number
            copies = client.control.requests(operation="CopyBlobFromUrl", internal=False)
            assert sum(copy["blob"] == name(number) and copy["status"] == 202 for copy in copies) == 1


def test_the_lists_show_every_job(client: Client) -> None:
    """An id of another kind of job is refused."""
    items = client.list_all("/replays")
    assert {"done", "cancelled"} <= {item["state"] for item in items}
    assert all(item["id"].startswith("replay-") for item in items)
    wrong = client.api("GET", f"/reconciles/{items[0]['id']}")
    assert (wrong.status, "reconcile-" in json.dumps(wrong.body["fix"])) == (400, True)


def test_a_discarded_dead_letter_is_not_reopened_by_the_sweep_or_its_event(client: Client, failed: list[str]) -> None:
    """Its transfer stays `dead_lettered` and shows the resolution."""
    assert failed
    [dead_letter] = client.list_all(f"/dead-letters?route={CONTAINER}&name={name(5)}")
    gone = client.api("DELETE", f"/dead-letters/{dead_letter['id']}")
    assert (gone.status, gone.body["state"], gone.body["resolved_as"]) == (200, "resolved", "discarded")
    assert client.api("GET", f"/dead-letters/{dead_letter['id']}").body == gone.body
    for method, path in (("DELETE", ""), ("POST", "/replay")):
        again = client.api(method, f"/dead-letters/{dead_letter['id']}{path}")
        assert (again.status, again.body["resolved_as"]) == (409, "discarded")
    client.run_timer("sweep")
    client.queue().send_message(event(client, dead_letter))
    until_queue_is_empty(client)
    shown = client.api("GET", f"/transfers/{dead_letter['id']}").body
    assert (shown["state"], shown["letter"]["resolved_as"]) == ("dead_lettered", "discarded")
    assert client.list_all(f"/dead-letters?route={CONTAINER}&name={name(5)}") == []


def test_two_concurrent_discards_are_safe(client: Client, failed: list[str]) -> None:
    """After a discard, the blob can be shared again, and another failure opens a new dead letter."""
    assert failed
    remaining = {dead_letter["id"] for dead_letter in open_dead_letters(client)}
    dry = run_job(client, "discards", route=CONTAINER, dry_run=True)
    assert (dry["counts"]["found"], dry["counts"]["discarded"]) == (len(remaining), 0)
    with ThreadPoolExecutor(2) as pool:
        ids = list(
            pool.map(lambda _: start_job(client, "discards", route=CONTAINER, reason="target_unwritable"), range(2))
        )
    assert {until_job_ends(client, job_id)["state"] for job_id in ids} == {"done"}
    found = [results(client, job_id) for job_id in ids]
    assert {result for one in found for result in one.values()} <= {"discarded", "refused"}
    assert set().union(*found) == remaining
    assert open_dead_letters(client) == []
    assert client.api("POST", "/transfers", {"route": CONTAINER, "name": name(0)}).status == 202
    [again] = client.until(lambda: open_dead_letters(client), "it has failed again")
    record = client.api("GET", f"/dead-letters/{again['id']}").body
    assert (record["state"], record["resolved_as"]) == ("open", None)
    assert len(record["attempts"]) > 1


def event(client: Client, dead_letter: dict[str, Any]) -> str:
    """The event of a dead letter's version, as the queue may deliver it again."""
    source, target = (
        Place(f"http://127.0.0.1:{client.stack.blob_port}/sharing{end}", CONTAINER) for end in ("source", "target")
    )
    transfer = identity.transfer(Route(CONTAINER, source, target), dead_letter["name"], dead_letter["etag"])
    assert transfer.id == dead_letter["id"]
    return created_event(transfer, dead_letter["etag"], None).decode()
