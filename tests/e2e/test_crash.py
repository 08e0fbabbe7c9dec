"""`kill -9` of the host at critical moments: no version is lost, copied twice without need, or verified early."""

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from random import Random
from typing import Any

import pytest

from tests.e2e.client import AGENT, FINAL, TIMEOUT, Client
from tests.e2e.stacks import restart
from tests.e2e.storm import (
    LONG,
    SEED,
    accepted_copies,
    are_requested,
    check_all_verified,
    container,
    content,
    requested_copies,
)

MIB = 1024 * 1024
VERSIONS = 200 if LONG else 80
# Rounds of that many versions, and kills in each round (`make soak` has SOAK=long).
STORMS = [(1, 10), (10, 1)] if LONG else [(1, 5)]


@pytest.fixture
def delayed_copies(client: Client) -> Iterator[None]:
    """Delay each copy by half a second, some before the service acts and some before it answers, so that kills interrupt both."""
    for account in ("sharingsource", "sharingtarget"):
        client.create_container(account, "async")
    for when, last in (("before", "[0-4]"), ("after", "[5-9]")):
        match = {"method": "PUT", "user_agent": AGENT, "blob": f"^storm.*{last}$"}
        client.control.add_fault(match, {"delay": 0.5, "when": when}, times=100_000)
    yield
    client.control.remove_faults()


@pytest.mark.usefixtures("delayed_copies")
@pytest.mark.timeout(20 * TIMEOUT)
@pytest.mark.parametrize(("rounds", "kills"), STORMS)
def test_transfers_survive_random_kills_of_the_host(
    client: Client, rounds: int, kills: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """All versions are verified without a dead letter. A kill causes at most one additional copy."""
    random = Random(f"{SEED} {rounds} {kills}")  # noqa: S311  # repeatable, not secret
    dead_letters = {item["id"] for item in client.list_all("/dead-letters")}
    interrupted: Counter[str] = Counter()
    requested: Counter[str] = Counter()
    for number in range(rounds):
        names = [f"storm/{rounds}/{number}/{version}" for version in range(VERSIONS)]
        interrupted += storm(client, names, sorted(random.sample(range(1, VERSIONS), kills)))
        check_all_verified(client, names)
        requested += Counter(request["blob"] for request in requested_copies(client, names))
    surplus = {name: count for name, count in requested.items() if count > 1}
    with capsys.disabled():
        sys.stdout.write(
            f"\n  SEED={SEED}: {requested.total()} copies requested for {len(requested)} versions through {rounds * kills} kills,"
            f" {interrupted['before']} were interrupted before the copy, {interrupted['after']} after it\n"
        )
    assert len(requested) == rounds * VERSIONS
    assert requested.total() <= rounds * (VERSIONS + kills), surplus
    assert min(interrupted["before"], interrupted["after"]) > 0
    assert {item["id"] for item in client.list_all("/dead-letters")} <= dead_letters


def storm(client: Client, names: list[str], thresholds: list[int]) -> Counter[str]:
    """Upload all blobs, and kill the host whenever so many copies were requested. Return the number of interrupted copies."""
    interrupted: Counter[str] = Counter()
    with ThreadPoolExecutor(8) as pool:
        uploads = [pool.submit(client.put, name, content(name), container(name)) for name in names]
        for threshold in thresholds:
            client.until(partial(are_requested, client, names, threshold), f"{threshold} copies are requested")
            client.stack.kill_host()
            interrupted += Counter(
                "after" if request["status"] else "before"
                for request in requested_copies(client, names)
                if not request["answered"]
            )
            client.stack.start_host()
        for upload in uploads:
            upload.result()
    return interrupted


def test_a_copy_that_was_accepted_but_not_recorded_is_adopted(client: Client) -> None:
    """The host dies after the service accepted the copy. No second copy is requested."""
    client.create_container("sharingsource", "async")
    client.create_container("sharingtarget", "async")
    client.control.copies(hold=True)
    # The answer to the accepted copy is held: the host is killed while it waits for it.
    rule = client.control.add_fault({"operation": "CopyBlob", "blob": "adopted.bin"}, {"when": "after", "hold": True})
    try:
        client.put("adopted.bin", b"adopted" * MIB, container="async")
        client.until(lambda: is_pending(client, "adopted.bin"), "the service has accepted the copy")
        client.stack.kill_host()
        client.control.remove_faults(rule)
        client.stack.start_host()
        client.until(
            lambda: client.transfer_of("adopted.bin", "patient").body["state"] == "copying", "the copy is adopted"
        )
    finally:
        client.control.remove_faults()
        client.control.copies(hold=False)
    assert client.until_final("adopted.bin", "patient")["state"] == "verified"
    assert client.read(client.target("adopted.bin", "async")) == b"adopted" * MIB
    assert accepted_copies(client, ["adopted.bin"], "CopyBlob") == 1


def is_pending(client: Client, name: str) -> bool:
    return any(copy["blob"] == name and copy["status"] == "pending" for copy in client.control.copies()["copies"])


def final_transfer(client: Client, name: str, route: str) -> dict[str, Any] | None:
    """Return the transfer if it has ended. It is taken from the list, because a look-up by name reads the source."""
    items = client.list_all(f"/transfers?route={route}")
    return next((item for item in items if item["source"]["name"] == name and item["state"] in FINAL), None)


if LONG:

    @pytest.mark.timeout(4 * TIMEOUT)
    def test_downtime_longer_than_the_deadline_does_not_count_as_a_try(client: Client) -> None:
        """The host is down for longer than the deadline, and the first look afterwards fails with 503."""
        routes = json.loads(client.stack.environment["ROUTES"])
        short = [{**route, "deadline": "PT1M"} if route["name"] == "before" else route for route in routes]
        for account in ("sharingsource", "sharingtarget"):
            client.create_container(account, "before")
        restart(client, {**client.stack.environment, "ROUTES": json.dumps(short)})
        try:
            look = {"operation": "HeadBlob", "account": "sharingsource", "blob": "^backlog$", "user_agent": AGENT}
            held = client.control.add_fault(look, {"hold": True}, times=100)
            client.put("backlog", b"late", "before")
            client.until(
                lambda: client.control.requests(internal=False, blob="backlog", operation="HeadBlob"),
                "it reads the source",
            )
            client.stack.kill_host()
            time.sleep(72)
            client.control.remove_faults(held)
            # Each read is tried three times.
            client.control.add_fault(look, {"status": 503, "code": "ServerBusy"}, times=3)
            client.stack.start_host()
            found = client.until(lambda: final_transfer(client, "backlog", "before"), "it ends")
            assert (found["state"], found["tries"]) == ("verified", 1)
        finally:
            restart(client, {**client.stack.environment, "ROUTES": json.dumps(routes)})
