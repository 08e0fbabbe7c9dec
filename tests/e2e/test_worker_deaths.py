"""Deaths of the Python worker and restarts of the job host at random moments: the app resumes what the host fails."""

import http.client
import json
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from random import Random
from threading import Event
from typing import Any

import pytest

from operations.upkeep.resume import CONCURRENCY
from tests.e2e.client import AGENT, FINAL, ON_FUNC, TIMEOUT, Client
from tests.e2e.jobs import JOB_ENDED, report_lines, start_job, until_job_ends
from tests.e2e.stacks import searched_stack
from tests.e2e.storm import (
    LONG,
    SEED,
    accepted_copies,
    are_requested,
    check_all_verified,
    container,
    content,
    requested_copies,
    target_container,
)
from tests.e2e.transfers import LOG_LINE

pytestmark = [
    pytest.mark.skipif(ON_FUNC, reason="the test reads the stand-in's task hub, which is a file"),
    pytest.mark.timeout(20 * TIMEOUT),
]
# The pauses before a resume grow: an orchestration that fails three times waits for two minutes in total.
LONG_TIMEOUT = 8 * TIMEOUT
CONTAINER = "before"
VERSIONS, LINES = (120, 2_000) if LONG else (40, 150)
# The number of each run, which is part of the seed, and its worker deaths. The third death ends the host.
RUNS = [(number, deaths) for number in range(10) for deaths in (2, 3)] if LONG else [(0, 2)]
RESTARTS = 2


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    """Each test has its own stack, because a host counts the deaths of its worker."""
    with searched_stack(tmp_path) as running:
        for account in ("sharingsource", "sharingtarget"):
            for name in ("async", CONTAINER):
                running.create_container(account, name)
        yield running


@pytest.fixture
def delayed_copies(client: Client) -> None:
    """Delay copies by two seconds, before the service acts or before it answers. Asynchronous ones take eight."""
    for when, last in (("before", "[0-4]"), ("after", "[5-9]")):
        match = {"method": "PUT", "user_agent": AGENT, "blob": f"^deaths.*{last}$"}
        client.control.add_fault(match, {"delay": 2, "when": when}, times=100_000)
    client.control.copies(seconds=8)


@pytest.mark.usefixtures("delayed_copies")
@pytest.mark.parametrize(("number", "deaths"), RUNS)
def test_transfers_survive_deaths_and_restarts(
    client: Client, number: int, deaths: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """There is no dead letter, no new attempt, no premature final state, and no second copy except for interrupted ones."""
    random = Random(f"{SEED} {number} {deaths}")  # noqa: S311  # repeatable, not secret
    names = [f"deaths/{number}/{version}" for version in range(VERSIONS)]
    start, over = time.monotonic(), Event()
    with ThreadPoolExecutor(10) as pool:
        uploads = [pool.submit(client.put, name, content(name), container(name)) for name in names]
        observer = pool.submit(observe, client, over)
        try:
            broken, interrupted = disturb_all(client, names, random, deaths)
            client.until_resumed(
                partial(are_requested, client, names, VERSIONS), "all copies are requested", LONG_TIMEOUT
            )
            client.until_resumed(lambda: not incomplete_transfers(client), "all transfers have ended", LONG_TIMEOUT)
        finally:
            over.set()
        seconds = time.monotonic() - start
        assert all(upload.result() for upload in uploads)
        states = observer.result()
    check_all_verified(client, names)
    transfers = [item for route in ("default", "patient") for item in client.list_all(f"/transfers?route={route}")]
    copies = Counter(request["blob"] for request in requested_copies(client, names))
    resumes = Counter({item["id"]: item["resumes"] for item in transfers})
    unlogged = resumes.total() - logged_resumes(client, resumes)
    with capsys.disabled():
        sys.stdout.write(
            f"\n  SEED={SEED}, run {number}: {copies.total()} copies requested for {VERSIONS} versions through {deaths} deaths"
            f" and {RESTARTS} restarts, which interrupted {interrupted.total()}; {broken} reads of failed transfers; {resumes.total()} resumes, at most"
            f" {max(resumes.values())} for one transfer, {unlogged} not logged; the last was verified after {seconds:.0f} s\n"
        )
    assert len(transfers) == VERSIONS
    assert set(states.values()) <= {"verified"}
    assert client.list_all("/dead-letters") == []
    assert not {name: count for name, count in copies.items() if count > 1 + interrupted[name]}
    assert min(broken, interrupted.total(), resumes.total()) > 0
    # A timer run that dies with its worker may have resumed some without logging them.
    assert unlogged <= CONCURRENCY * (deaths + RESTARTS)


def disturb_all(client: Client, names: list[str], random: Random, deaths: int) -> tuple[int, Counter[str]]:
    """Kill workers and restart the job host, each after a number of verified transfers.

    Returns how many failed transfers were read, and how often a copy of each name was interrupted.
    """
    broken, interrupted = 0, Counter[str]()
    for number, (threshold, disturb) in enumerate(disturbances(client, random, deaths, RESTARTS, len(names))):
        client.until_resumed(partial(are_completed, client, threshold), f"{threshold} are verified", LONG_TIMEOUT)
        if (
            number
        ):  # messages that a disturbed job host has received stay invisible for ten minutes or more, as on Azure
            client.until_resumed(lambda: transfer_count(client) == len(names), "every event is accepted", LONG_TIMEOUT)
        answered = {request["number"] for request in requested_copies(client, names) if request["answered"]}
        disturb()
        interrupted += Counter(
            request["blob"] for request in requested_copies(client, names) if request["number"] not in answered
        )
        broken += check_failed_transfers(client)
    return broken, interrupted


def disturbances(
    client: Client, random: Random, deaths: int, restarts: int, count: int
) -> list[tuple[int, Callable[[], None]]]:
    """One death, then the other deaths and the restarts in random order, each with its number of verified transfers."""
    others = [client.kill_worker] * (deaths - 1) + [client.restart_job_host] * restarts
    random.shuffle(others)
    return list(
        zip(sorted(random.sample(range(1, count), deaths + restarts)), [client.kill_worker, *others], strict=True)
    )


def observe(client: Client, over: Event) -> dict[str, str]:
    """Read all transfers until `over` is set. Return the final states.

    Asserts that final states do not change, and that verified targets are complete.
    """
    ends: dict[str, str] = {}
    while not over.wait(1):
        with suppress(OSError, http.client.HTTPException):  # the worker or the host is down
            for item in [
                one for route in ("default", "patient") for one in client.list_all(f"/transfers?route={route}")
            ]:
                identity, state, name = item["id"], item["state"], item["source"]["name"]
                assert ends.get(identity, state) == state
                if state in FINAL and identity not in ends:
                    ends[identity] = state
                    assert client.read(client.target(name, target_container(name))) == content(name)
    return ends


def check_failed_transfers(client: Client) -> int:
    """Check that the API shows failed orchestrations as running, with the error and the time of the resume.

    Returns their number.
    """
    before = failed_transfers(client)
    shown = {identity: client.api("GET", f"/transfers/{identity}").body for identity, _ in before}
    still = before & failed_transfers(client)
    for identity, _ in still:
        item = shown[identity]
        assert (item["state"], item["attempt"]) in {("accepted", 0), ("copying", 0)}, item
        assert item["detail"].startswith("the orchestration was Failed: "), item
        assert item["next_check_at"], item
    return len(still)


def failed_transfers(client: Client) -> set[tuple[str, str]]:
    """The ids of failed orchestrations, each with its execution."""
    return set(query_hub(client, "SELECT id, execution FROM instances WHERE name = 'transfer' AND status = 'Failed'"))


def query_hub(client: Client, query: str, *values: str) -> list[Any]:
    """Query the stand-in's task hub."""
    with closing(sqlite3.connect(client.stack.state / "host.sqlite", timeout=30)) as store:
        return store.execute(query, values).fetchall()


def logged_resumes(client: Client, resumes: Counter[str]) -> int:
    """The number of logged resumes. Each is a warning, and logged once."""
    lines = [line for line in client.log.read_text().splitlines() if '"action": "resume.resumed"' in line]
    assert all(" WARNING " in line for line in lines)
    facts = [json.loads(found[0]) for line in lines if (found := LOG_LINE.search(line))]
    logged = Counter((fact["id"], fact["resumes"]) for fact in facts if fact["id"] in resumes)
    assert max(logged.values(), default=1) == 1
    assert logged.keys() <= {(identity, number + 1) for identity, count in resumes.items() for number in range(count)}
    return logged.total()


def test_a_job_survives_deaths_and_reports_every_line_once(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    """Each disturbance interrupts a batch, mostly between its work and the record of it. No line fails."""
    random = Random(f"{SEED} job")  # noqa: S311  # repeatable, not secret
    names = upload_without_events(client)
    when = random.choice(("before", "after"))
    match = {"account": "sharingstate", "method": "PUT", "blob": "/results-"}
    client.control.add_fault(match, {"delay": 1.0, "when": when}, times=100_000)
    start = time.monotonic()
    job_id = start_job(client, "reconciles", route=CONTAINER, max_per_second=100 if LONG else 20)
    deaths, restarts = (3, 0) if LONG else (1, 1)
    for threshold, disturb in disturbances(client, random, deaths, restarts, LINES):
        client.until_resumed(
            partial(is_batch_running, client, job_id, threshold),
            f"{threshold} transfers exist, and a batch runs",
            LONG_TIMEOUT,
        )
        disturb()
        assert client.api("GET", f"/reconciles/{job_id}").body["state"] == "running"
    look = lambda: client.api("GET", f"/reconciles/{job_id}").body["state"] in JOB_ENDED  # noqa: E731
    client.until_resumed(look, f"{job_id} ends", LONG_TIMEOUT)
    job = until_job_ends(client, job_id)
    seconds = time.monotonic() - start
    lines = report_lines(client, job_id)
    found = {line["name"] for line in lines if line.get("class") == "missing"}
    results = Counter(line["name"] for line in lines if "result" in line)
    with capsys.disabled():
        counts = {name: count for name, count in job["counts"].items() if count}
        sys.stdout.write(
            f"\n  SEED={SEED}, {LINES} lines, {deaths} deaths and {restarts} restarts with pages delayed {when} they are written:"
            f" {job['state']} after {seconds:.0f} s and {job['resumes']} resumes, {counts}\n"
        )
    assert job["state"] == "done"
    assert job["resumes"] > 0
    # A repeated survey may find matches. It leaves out no other blob.
    assert Counter(line["name"] for line in lines if "class" in line) == Counter(names)
    assert results == Counter(found)
    assert sum(job["counts"][result] for result in ("started", "running")) == len(found) == job["counts"]["found"]
    client.until_resumed(lambda: not incomplete_transfers(client), "all transfers have ended", LONG_TIMEOUT)
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda name: client.read(client.target(name, CONTAINER)), names))
    assert read == [name.encode() for name in names]
    assert accepted_copies(client, names) == LINES
    assert client.list_all("/dead-letters") == []


def upload_without_events(client: Client) -> list[str]:
    """Upload blobs and drop their events. Return their names."""
    names = [f"line/{number:05}" for number in range(LINES)]
    client.control.events(mode="drop")
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda name: client.put(name, name.encode(), CONTAINER), names))
    client.control.events(mode="deliver")
    return names


def is_batch_running(client: Client, job_id: str, threshold: int) -> bool:
    """Return whether at least `threshold` transfers exist and a batch of the job is running."""
    activities = query_hub(client, "SELECT 1 FROM activities WHERE instance = ? AND name = 'job_act'", job_id)
    return bool(activities) and transfer_count(client) >= threshold


def transfer_count(client: Client) -> int:
    return len(query_hub(client, "SELECT id FROM instances WHERE name = 'transfer'"))


def are_completed(client: Client, count: int) -> bool:
    return len(query_hub(client, "SELECT id FROM instances WHERE name = 'transfer' AND status = 'Completed'")) >= count


def incomplete_transfers(client: Client) -> list[Any]:
    return query_hub(client, "SELECT id FROM instances WHERE name = 'transfer' AND status != 'Completed'")
