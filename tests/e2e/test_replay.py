"""Bulk replay and discard: many dead letters at once, by twice as many people as needed, with some that go on failing."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from rules.events import created_event
from rules.routes.model import Place, Route
from rules.transfers import identity
from tests.e2e.desk import Desk
from tests.e2e.jobs import ENDED

CONTAINER = "many"
COUNT = 60
REFUSED = {"status": 404, "code": "ContainerNotFound"}


def name(number: int) -> str:
    """A blob's name; every fifth goes on failing."""
    return f"{'stubborn' if number % 5 == 0 else 'mended'}/{number}"


@pytest.fixture(scope="module")
def failed(desk: Desk) -> Iterator[list[str]]:
    """Dead letters of sixty transfers whose target was refused; the ids. A fifth is refused until the end."""
    desk.container("sharingsource", CONTAINER)
    desk.container("sharingtarget", CONTAINER)
    rules = [
        desk.control.add_fault({"operation": "CopyBlobFromUrl", "blob": f"^{kind}/"}, REFUSED, times=10_000)
        for kind in ("stubborn", "mended")
    ]
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: desk.put(name(number), b"x" * number, CONTAINER), range(COUNT)))
        desk.until(lambda: len(letters(desk)) == COUNT, "every transfer has its dead letter")
        desk.control.remove_faults(rules[1])
        yield [letter["id"] for letter in letters(desk)]
    finally:
        for rule in rules:
            desk.control.remove_faults(rule)


def letters(desk: Desk) -> list[dict[str, Any]]:
    """The route's open dead letters."""
    return desk.everything(f"/dead-letters?route={CONTAINER}&reason=target_unwritable")


def asked(desk: Desk, **body: Any) -> str:
    """Ask for a bulk replay of the route's letters; its id."""
    answer = desk.api("POST", "/replays", {"route": CONTAINER, **body})
    assert answer.status == 202
    assert answer.headers["Location"] == f"replays/{answer.body['id']}"
    return str(answer.body["id"])


def ended(desk: Desk, job_id: str, place: str = "replays") -> dict[str, Any]:
    """A job once it has ended."""

    def look() -> dict[str, Any] | None:
        body: dict[str, Any] = desk.api("GET", f"/{place}/{job_id}").body
        return body if body["state"] in ENDED else None

    found: dict[str, Any] = desk.until(look, f"{job_id} ends")
    return found


def results(desk: Desk, job_id: str, place: str = "replays") -> dict[str, str]:
    """What came of each letter."""
    lines = desk.everything(f"/{place}/{job_id}/report", limit="")
    return {line["id"]: line["result"] for line in lines if "result" in line}


def test_a_dry_run_counts_letters_and_bytes_and_replays_none(desk: Desk, failed: list[str]) -> None:
    """By reason and time too: what nobody means is not counted."""
    job = ended(desk, asked(desk, dry_run=True, reason="target_unwritable", until=datetime.now(UTC).isoformat()))
    assert (job["state"], job["counts"]["found"], job["counts"]["started"]) == ("done", len(failed), 0)
    assert job["counts"]["bytes"] == sum(range(COUNT))
    assert ended(desk, asked(desk, reason="throttled", dry_run=True))["counts"]["found"] == 0
    assert ended(desk, asked(desk, since=datetime.now(UTC).isoformat()))["counts"]["found"] == 0
    assert len(letters(desk)) == COUNT


def test_it_is_cancelled_between_two_turns(desk: Desk, failed: list[str]) -> None:
    """What it had started goes on, and the rest stays as it is."""
    job_id = asked(desk, max_per_second=1)
    desk.until(lambda: desk.api("GET", f"/replays/{job_id}").body["counts"]["started"], "some are started")
    assert desk.api("DELETE", f"/replays/{job_id}").status == 202
    job = ended(desk, job_id)
    assert job["state"] == "cancelled"
    assert 0 < job["counts"]["started"] < len(failed)
    again = desk.api("DELETE", f"/replays/{job_id}")
    assert (again.status, again.body["state"]) == (409, "cancelled")


def test_replaying_everything_twice_at_once_harms_nothing(desk: Desk, failed: list[str]) -> None:
    """With a fifth that still fails: the rest is verified, copied once, and each letter says what is true."""
    with ThreadPoolExecutor(2) as people:
        ids = list(people.map(lambda _: asked(desk, max_per_second=50), range(2)))
    jobs = [ended(desk, job_id) for job_id in ids]
    assert {job["state"] for job in jobs} == {"done"}
    assert all(not job["counts"]["failed"] for job in jobs)
    told = [results(desk, job_id) for job_id in ids]
    assert {result for one in told for result in one.values()} <= {"started", "running", "refused"}
    desk.until(lambda: len(letters(desk)) == COUNT // 5 and not running(desk), "all have ended")
    for letter_id in failed:
        letter = desk.api("GET", f"/dead-letters/{letter_id}").body
        stubborn = letter["transfer"]["source"]["name"].startswith("stubborn/")
        assert (letter["state"], letter["resolved_as"]) == (("open", None) if stubborn else ("resolved", "verified"))
        assert letter["replays"] >= stubborn
    for number in range(COUNT):
        if number % 5:
            assert desk.read(desk.target(name(number), CONTAINER)) == b"x" * number
            copies = desk.control.requests(operation="CopyBlobFromUrl", internal=False)
            assert sum(copy["blob"] == name(number) and copy["status"] == 202 for copy in copies) == 1


def running(desk: Desk) -> list[dict[str, Any]]:
    """The route's transfers that still run."""
    items = desk.everything(f"/transfers?route={CONTAINER}")
    return [item for item in items if item["state"] in {"accepted", "copying"}]


def test_the_lists_show_every_job(desk: Desk) -> None:
    """The newest like the oldest; and a job's id of the other kind is told apart."""
    items = desk.everything("/replays")
    assert {"done", "cancelled"} <= {item["state"] for item in items}
    assert all(item["id"].startswith("replay-") for item in items)
    wrong = desk.api("GET", f"/reconciles/{items[0]['id']}")
    assert (wrong.status, "reconcile-" in json.dumps(wrong.body["fix"])) == (400, True)


def test_one_is_discarded_and_neither_the_sweep_nor_its_event_brings_it_back(desk: Desk, failed: list[str]) -> None:
    """It is found by its name; its transfer stays as it ended and shows what became of its letter."""
    assert failed
    [letter] = desk.everything(f"/dead-letters?route={CONTAINER}&name={name(5)}")
    gone = desk.api("DELETE", f"/dead-letters/{letter['id']}")
    assert (gone.status, gone.body["state"], gone.body["resolved_as"]) == (200, "resolved", "discarded")
    assert desk.api("GET", f"/dead-letters/{letter['id']}").body == gone.body
    for method, path in (("DELETE", ""), ("POST", "/replay")):
        again = desk.api(method, f"/dead-letters/{letter['id']}{path}")
        assert (again.status, again.body["resolved_as"]) == (409, "discarded")
    desk.fire("sweep")
    desk.queue().send_message(event(desk, letter))
    desk.until(lambda: not desk.queue().get_queue_properties().approximate_message_count, "its event was taken")
    shown = desk.api("GET", f"/transfers/{letter['id']}").body
    assert (shown["state"], shown["letter"]["resolved_as"]) == ("dead_lettered", "discarded")
    assert desk.everything(f"/dead-letters?route={CONTAINER}&name={name(5)}") == []


def test_the_rest_is_discarded_at_once(desk: Desk, failed: list[str]) -> None:
    """First dry; then twice at once, which harms nothing. A share carries one again, and its failure is a new letter."""
    assert failed
    left = {letter["id"] for letter in letters(desk)}
    dry = ended(desk, discards(desk, dry_run=True), "discards")
    assert (dry["counts"]["found"], dry["counts"]["discarded"]) == (len(left), 0)
    with ThreadPoolExecutor(2) as people:
        ids = list(people.map(lambda _: discards(desk, reason="target_unwritable"), range(2)))
    assert {ended(desk, job_id, "discards")["state"] for job_id in ids} == {"done"}
    told = [results(desk, job_id, "discards") for job_id in ids]
    assert {result for one in told for result in one.values()} <= {"discarded", "refused"}
    assert set().union(*told) == left
    assert letters(desk) == []
    assert desk.api("POST", "/transfers", {"route": CONTAINER, "name": name(0)}).status == 202
    [again] = desk.until(lambda: letters(desk), "it has failed again")
    record = desk.api("GET", f"/dead-letters/{again['id']}").body
    assert (record["state"], record["resolved_as"]) == ("open", None)
    assert len(record["attempts"]) > 1


def event(desk: Desk, letter: dict[str, Any]) -> str:
    """The event of a letter's version once more, as a queue may deliver it."""
    source, target = (
        Place(f"http://127.0.0.1:{desk.stack.blob_port}/sharing{end}", CONTAINER) for end in ("source", "target")
    )
    transfer = identity.transfer(Route(CONTAINER, source, target), letter["name"], letter["etag"])
    assert transfer.id == letter["id"]
    return created_event(transfer, letter["etag"], None).decode()


def discards(desk: Desk, **body: Any) -> str:
    """Ask for a bulk discard of the route's letters; its id."""
    answer = desk.api("POST", "/discards", {"route": CONTAINER, **body})
    assert answer.status == 202
    assert answer.headers["Location"] == f"discards/{answer.body['id']}"
    return str(answer.body["id"])
