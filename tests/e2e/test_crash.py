"""`kill -9` of the host at the worst moments: nothing is lost, nothing is done twice, nothing is verified early."""

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

from tests.e2e.desk import AGENT, FINAL, PATIENCE, Desk
from tests.e2e.helpers import restart
from tests.e2e.storm import LONG, SEED, accepted, are_asked_for, container, content, copies, settled

MIB = 1024 * 1024
VERSIONS = 200
STORMS = [(1, 10)]
if LONG:
    STORMS.append((10, 1))


@pytest.fixture
def drawn_out(desk: Desk) -> Iterator[None]:
    """Copies that wait half a second, some before the service does them, some before it says so: a kill finds both."""
    for account in ("sharingsource", "sharingtarget"):
        desk.container(account, "async")
    for when, last in (("before", "[0-4]"), ("after", "[5-9]")):
        match = {"method": "PUT", "user_agent": AGENT, "blob": f"^storm.*{last}$"}
        desk.control.add_fault(match, {"delay": 0.5, "when": when}, times=100_000)
    yield
    desk.control.remove_faults()


@pytest.mark.usefixtures("drawn_out")
@pytest.mark.timeout(20 * PATIENCE)
@pytest.mark.parametrize(("rounds", "kills"), STORMS)
def test_a_killed_host_goes_on_where_it_was(
    desk: Desk, rounds: int, kills: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two hundred transfers through kills at random moments: each verified, no dead letter, at most a copy more for a kill."""
    random = Random(f"{SEED} {rounds} {kills}")  # noqa: S311  # to be repeated, not to be kept
    letters = {item["id"] for item in desk.everything("/dead-letters")}
    torn: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    for number in range(rounds):
        names = [f"storm/{rounds}/{number}/{version}" for version in range(VERSIONS)]
        torn += storm(desk, names, sorted(random.sample(range(1, VERSIONS), kills)))
        settled(desk, names)
        asked += Counter(request["blob"] for request in copies(desk, names))
    surplus = {name: count for name, count in asked.items() if count > 1}
    with capsys.disabled():
        sys.stdout.write(
            f"\n  SEED={SEED}: {asked.total()} copies asked for of {len(asked)} versions through {rounds * kills} kills,"
            f" which tore {torn['asked']} before the service had done them, {torn['accepted']} after\n"
        )
    assert len(asked) == rounds * VERSIONS
    assert asked.total() <= rounds * (VERSIONS + kills), surplus
    assert min(torn["asked"], torn["accepted"]) > 0
    assert {item["id"] for item in desk.everything("/dead-letters")} <= letters


def storm(desk: Desk, names: list[str], moments: list[int]) -> Counter[str]:
    """Put them all, and kill the host as soon as so many of them are being copied, or were; what that tore in two."""
    torn: Counter[str] = Counter()
    with ThreadPoolExecutor(8) as people:
        put = [people.submit(desk.put, name, content(name), container(name)) for name in names]
        for moment in moments:
            desk.until(partial(are_asked_for, desk, names, moment), f"{moment} copies are asked for")
            desk.stack.kill_host()
            torn += Counter(
                "accepted" if request["status"] else "asked"
                for request in copies(desk, names)
                if not request["answered"]
            )
            desk.stack.start_host()
        for done in put:
            done.result()
    return torn


def test_a_copy_that_was_accepted_and_not_recorded_is_adopted(desk: Desk) -> None:
    """The host dies between the service's acceptance and the recording of it: one copy, verified no sooner than it is done."""
    desk.container("sharingsource", "async")
    desk.container("sharingtarget", "async")
    desk.control.copies(hold=True)
    # The answer to the accepted copy never comes: the host is killed while it waits for it.
    rule = desk.control.add_fault({"operation": "CopyBlob", "blob": "adopted.bin"}, {"when": "after", "hold": True})
    try:
        desk.put("adopted.bin", b"adopted" * MIB, container="async")
        desk.until(lambda: pending(desk, "adopted.bin"), "the service has accepted the copy")
        desk.stack.kill_host()
        desk.control.remove_faults(rule)
        desk.stack.start_host()
        desk.until(lambda: desk.transfer_of("adopted.bin", "patient").body["state"] == "copying", "it is adopted")
    finally:
        desk.control.remove_faults()
        desk.control.copies(hold=False)
    assert desk.until_final("adopted.bin", "patient")["state"] == "verified"
    assert desk.read(desk.target("adopted.bin", "async")) == b"adopted" * MIB
    assert accepted(desk, ["adopted.bin"], "CopyBlob") == 1


def pending(desk: Desk, name: str) -> bool:
    """Whether the service holds a pending copy of that name."""
    return any(copy["blob"] == name and copy["status"] == "pending" for copy in desk.control.copies()["copies"])


def finished(desk: Desk, name: str, route: str) -> dict[str, Any] | None:
    """The transfer, once it has ended; found in the list, since a look-up by name costs a look at the source."""
    items = desk.everything(f"/transfers?route={route}")
    return next((item for item in items if item["source"]["name"] == name and item["state"] in FINAL), None)


if LONG:

    @pytest.mark.timeout(4 * PATIENCE)
    def test_a_backlog_past_the_deadline_costs_no_try(desk: Desk) -> None:
        """Accepted, and the host is away for longer than the deadline; the first look is then answered busy. It is verified."""
        routes = json.loads(desk.stack.environment["ROUTES"])
        short = [{**route, "deadline": "PT1M"} if route["name"] == "before" else route for route in routes]
        for account in ("sharingsource", "sharingtarget"):
            desk.container(account, "before")
        restart(desk, {**desk.stack.environment, "ROUTES": json.dumps(short)})
        try:
            look = {"operation": "HeadBlob", "account": "sharingsource", "blob": "^backlog$", "user_agent": AGENT}
            held = desk.control.add_fault(look, {"hold": True}, times=100)
            desk.put("backlog", b"late", "before")
            desk.until(lambda: desk.control.requests(internal=False, blob="backlog", operation="HeadBlob"), "it looks")
            desk.stack.kill_host()
            time.sleep(72)
            desk.control.remove_faults(held)
            desk.control.add_fault(
                look, {"status": 503, "code": "ServerBusy"}, times=3
            )  # each read is tried three times
            desk.stack.start_host()
            found = desk.until(lambda: finished(desk, "backlog", "before"), "it ends")
            assert (found["state"], found["tries"]) == ("verified", 1)
        finally:
            restart(desk, {**desk.stack.environment, "ROUTES": json.dumps(routes)})
