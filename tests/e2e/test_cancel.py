"""A cancel is never lost, never a lie, and leaves nothing half-made."""

import http.client
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from tests.e2e.desk import ON_FUNC, Answer, Desk
from tests.e2e.helpers import copying, created, held

MIB = 1024 * 1024


def test_cancel_while_pending_leaves_no_half_made_target(desk: Desk) -> None:
    """And a late duplicate of its event does not restart it; a person may."""
    desk.container("sharingsource", "async")
    desk.container("sharingtarget", "async")
    desk.control.copies(hold=True)
    try:
        desk.put("unwanted.bin", b"unwanted" * MIB, container="async")
        pending = desk.until(lambda: copying(desk, "unwanted.bin"), "it is pending")
        assert desk.target("unwanted.bin", "async").get_blob_properties().size == 0
        answer = desk.api("DELETE", f"/transfers/{pending['id']}")
        assert answer.status == 202
        assert answer.body["cancelling"] is True
        assert desk.until_ended(pending["id"])["state"] == "cancelled"
        assert not desk.target("unwanted.bin", "async").exists()
    finally:
        desk.control.copies(hold=False)
    late_duplicate(desk, pending)
    assert desk.api("GET", f"/transfers/{pending['id']}").body["state"] == "cancelled"
    again = desk.api("DELETE", f"/transfers/{pending['id']}")
    assert (again.status, again.body["state"]) == (409, "cancelled")
    assert desk.api("POST", "/transfers", {"route": "patient", "name": "unwanted.bin"}).status == 202
    ended = desk.until_ended(pending["id"])
    while ended["state"] == "cancelled":
        ended = desk.until_ended(pending["id"])
    assert (ended["state"], ended["attempt"]) == ("verified", 1)


def late_duplicate(desk: Desk, transfer: dict[str, str]) -> None:
    """Deliver the event of a transfer's version once more, and wait until it was taken."""
    queue = desk.queue()
    blob = desk.source("unwanted.bin", "async")
    queue.send_message(created(blob.url, "async", "unwanted.bin", transfer["source"]["etag"]))  # type: ignore[index]
    desk.until(lambda: queue.get_queue_properties().approximate_message_count == 0, "the duplicate was taken")


@pytest.mark.usefixtures("endless")
@pytest.mark.parametrize(
    ("operation", "account", "when"),
    [
        pytest.param("HeadBlob", "sharingsource", "before", id="before it copies"),
        pytest.param("CopyBlob", "sharingtarget", "after", id="while it copies"),
        pytest.param("HeadBlob", "sharingtarget", "before", id="while it looks"),
    ],
)
def test_cancel_during_an_activity_and_again_while_it_is_cleaned_up(
    desk: Desk, operation: str, account: str, when: str
) -> None:
    """202 both times, though nothing could act upon the first one yet; cancelled; then 409, for there is nothing to do."""
    name = f"midway-{operation}-{account}"
    with held(desk, operation, account, name, when) as until_held:
        desk.put(name, b"midway" * MIB, container="async")
        until_held()
        found = desk.transfer_of(name, "patient").body
        answer = desk.api("DELETE", f"/transfers/{found['id']}")
        assert (answer.status, answer.body["cancelling"]) == (202, True)
    with held(desk, "AbortCopy", "sharingtarget", name) as until_held:
        until_held()
        again = desk.api("DELETE", f"/transfers/{found['id']}")
        assert (again.status, again.body["cancelling"], again.body["ending"]) == (202, True, "cancelled")
    assert desk.until_ended(found["id"])["state"] == "cancelled"
    assert not desk.target(name, "async").exists()
    late = desk.api("DELETE", f"/transfers/{found['id']}")
    assert (late.status, late.body["state"]) == (409, "cancelled")


def test_what_is_copied_when_a_cancel_comes_is_verified(desk: Desk) -> None:
    """A small blob's only activity has copied it already: whole is whole, and that is said."""
    with held(desk, "CopyBlobFromUrl", "sharingtarget", "toolate.txt", "after") as until_held:
        desk.put("toolate.txt", b"too late")
        until_held()
        found = desk.transfer_of("toolate.txt").body
        answer = desk.api("DELETE", f"/transfers/{found['id']}")
        assert (answer.status, answer.body["cancelling"]) == (202, True)
    assert desk.until_ended(found["id"])["state"] == "verified"
    assert desk.read(desk.target("toolate.txt")) == b"too late"
    late = desk.api("DELETE", f"/transfers/{found['id']}")
    assert (late.status, late.body["state"]) == (409, "verified")


@pytest.mark.usefixtures("endless")
def test_two_people_at_once_and_a_host_that_is_killed_meanwhile(desk: Desk) -> None:
    """Who was answered was told the truth; who was cut off asks again; it ends cancelled."""
    desk.put("torn.bin", b"torn" * MIB, container="async")
    found = desk.until(lambda: copying(desk, "torn.bin"), "it is pending")
    path = f"/transfers/{found['id']}"
    with ThreadPoolExecutor(2) as people:
        asked = [people.submit(desk.api, "DELETE", path) for _ in range(2)]
        desk.until(lambda: desk.api("GET", path).body["cancelling"], "it is noticed")
        desk.stack.kill_host()
        answers = [person.result() for person in asked if person.exception() is None]
    assert {answer.status for answer in answers} <= {202}
    desk.stack.start_host()
    with ThreadPoolExecutor(2) as people:
        again: list[Answer] = list(people.map(lambda _: desk.api("DELETE", path), range(2)))
    assert all(answer.status == 202 or answer.body["state"] == "cancelled" for answer in again)
    assert desk.until_ended(found["id"])["state"] == "cancelled"
    assert not desk.target("torn.bin", "async").exists()


@pytest.mark.usefixtures("endless")
def test_a_replay_is_cancelled_and_its_letter_resolved(desk: Desk) -> None:
    """Before it the transfer had ended, and could not be cancelled; the attempt that is cancelled is the replay's."""
    refused = {"status": 404, "code": "ContainerNotFound"}
    rule = desk.control.add_fault({"operation": "CopyBlob", "blob": "^twice.bin$"}, refused)
    try:
        desk.put("twice.bin", b"twice" * MIB, container="async")
        failed = desk.until_final("twice.bin", "patient")
    finally:
        desk.control.remove_faults(rule)
    path = f"/transfers/{failed['id']}"
    assert failed["state"] == "dead_lettered"
    too_late = desk.api("DELETE", path)
    assert (too_late.status, too_late.body["state"]) == (409, "dead_lettered")
    assert desk.api("POST", f"/dead-letters/{failed['id']}/replay").status == 202
    desk.until(lambda: copying(desk, "twice.bin"), "the replay is pending")
    answer = desk.api("DELETE", path)
    assert (answer.status, answer.body["attempt"]) == (202, 1)
    ended = desk.until_ended(failed["id"])
    assert (ended["state"], ended["attempt"]) == ("cancelled", 1)
    letter = desk.api("GET", f"/dead-letters/{failed['id']}").body
    assert (letter["state"], letter["resolved_as"]) == ("resolved", "cancelled")


def test_a_superseded_one_is_not_cancelled(desk: Desk) -> None:
    """Its blob was deleted before the transfer began."""
    desk.control.events(mode="hold")
    try:
        etag = desk.put("gone-before", b"gone")
        desk.source("gone-before").delete_blob()
    finally:
        desk.control.events(mode="deliver")

    def ended() -> list[dict[str, Any]]:
        items = desk.everything("/transfers?route=default&state=superseded")
        return [item for item in items if item["source"]["etag"] == etag]

    [found] = desk.until(ended, "it ends")
    answer = desk.api("DELETE", f"/transfers/{found['id']}")
    assert (answer.status, answer.body["state"]) == (409, "superseded")


@pytest.fixture
def slow(desk: Desk) -> Iterator[None]:
    """Copies of ten seconds, so that some are whole when they are cleaned up; and of four minutes for what has a MiB.

    A real host that was killed takes up its work after more than a minute, so there all of them take four.
    """
    desk.container("sharingsource", "async")
    desk.container("sharingtarget", "async")
    before = desk.control.copies()
    desk.control.copies(seconds=240 if ON_FUNC else 10, rate=MIB // 240)
    yield
    desk.control.copies(seconds=before["seconds"], rate=before["rate"])


@pytest.mark.usefixtures("slow")
def test_thirty_cancels_through_two_kills_are_told_the_truth(desk: Desk) -> None:
    """Who is cut off asks again; what each was answered is how it ended, and nothing half-made stays."""
    names = [f"storm-{number}" for number in range(30)]
    for number, name in enumerate(names):
        desk.put(name, b"x" * (MIB if number % 3 == 0 else 1), container="async")
    with ThreadPoolExecutor(6) as people:
        asked = {name: people.submit(insisting, desk, name) for name in names}
        for answered in (8, 20):
            desk.until(partial(are_done, asked, answered), f"{answered} are answered")
            desk.stack.kill_host()
            desk.stack.start_host()
        answers = {name: person.result() for name, person in asked.items()}
    states = {}
    for name, answer in answers.items():
        states[name] = desk.until_ended(answer.body.get("asked") or answer.body["id"])["state"]
        assert states[name] in ({"cancelled", "verified"} if answer.status == 202 else {answer.body["state"]}), name
        assert desk.target(name, "async").exists() is (states[name] == "verified"), name
    assert "cancelled" in states.values()


def are_done(asked: dict[str, Future[Answer]], count: int) -> bool:
    """Whether so many people have their answer."""
    return sum(person.done() for person in asked.values()) >= count


def insisting(desk: Desk, name: str) -> Answer:
    """Find a blob's transfer and cancel it, asking again whenever the host is away or says so; 202 or 409."""

    def look() -> Answer | None:
        try:
            found = desk.transfer_of(name, "patient")
            answer = desk.api("DELETE", f"/transfers/{found.body['id']}") if found.status == 200 else found
        except (OSError, http.client.HTTPException):
            return None  # nobody answers, or no more
        if answer.status == 409:
            answer.body["asked"] = found.body["id"]
        return answer if answer.status in {202, 409} else None

    answer: Answer = desk.until(look, f"{name} is answered")
    return answer
