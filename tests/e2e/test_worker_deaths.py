"""The Python worker dies and the job host restarts, at random moments: what the host fails is resumed, without a person."""

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
from tests.e2e.conftest import searched
from tests.e2e.desk import AGENT, FINAL, ON_FUNC, PATIENCE, Desk
from tests.e2e.helpers import LINE
from tests.e2e.jobs import CONTAINER, ENDED, asked, ended, report
from tests.e2e.storm import LONG, SEED, accepted, are_asked_for, container, content, copies, settled

pytestmark = [
    pytest.mark.skipif(ON_FUNC, reason="it reads the stand-in's task hub, which is a file"),
    pytest.mark.timeout(20 * PATIENCE),
]
# The pauses before a resume grow: an orchestration that fails three times waits for two minutes in all.
PATIENT = 8 * PATIENCE
VERSIONS, LINES = (120, 2_000) if LONG else (40, 150)
# Of each run its number, which is a part of the seed, and how often the worker dies; the third death ends the host.
RUNS = [(number, deaths) for number in range(10) for deaths in (2, 3)] if LONG else [(0, 2)]
RESTARTS = 2


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A stack of its own: a host counts the deaths of its worker for as long as it lives."""
    with searched(tmp_path) as running:
        for account in ("sharingsource", "sharingtarget"):
            for name in ("async", CONTAINER):
                running.container(account, name)
        yield running


@pytest.fixture
def drawn_out(desk: Desk) -> None:
    """Copies of two seconds, some delayed before the service does them and some after; asynchronous ones of eight."""
    for when, last in (("before", "[0-4]"), ("after", "[5-9]")):
        match = {"method": "PUT", "user_agent": AGENT, "blob": f"^shaken.*{last}$"}
        desk.control.add_fault(match, {"delay": 2, "when": when}, times=100_000)
    desk.control.copies(seconds=8)


@pytest.mark.usefixtures("drawn_out")
@pytest.mark.parametrize(("number", "deaths"), RUNS)
def test_every_transfer_is_verified_through_deaths_and_restarts(
    desk: Desk, number: int, deaths: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """No dead letter, no attempt that a person asked for, no final state before its time, no copy that nobody lost."""
    random = Random(f"{SEED} {number} {deaths}")  # noqa: S311  # to be repeated, not to be kept
    names = [f"shaken/{number}/{version}" for version in range(VERSIONS)]
    since, over = time.monotonic(), Event()
    with ThreadPoolExecutor(10) as people:
        put = [people.submit(desk.put, name, content(name), container(name)) for name in names]
        onlooker = people.submit(looking, desk, over)
        try:
            broken, torn = shaken(desk, names, random, deaths)
            desk.until_resumed(partial(are_asked_for, desk, names, VERSIONS), "all copies are asked for", PATIENT)
            desk.until_resumed(lambda: not unfinished(desk), "all transfers have ended", PATIENT)
        finally:
            over.set()
        seconds = time.monotonic() - since
        assert all(done.result() for done in put)
        said = onlooker.result()
    settled(desk, names)
    transfers = [item for route in ("default", "patient") for item in desk.everything(f"/transfers?route={route}")]
    seen = Counter(request["blob"] for request in copies(desk, names))
    resumes = Counter({item["id"]: item["resumes"] for item in transfers})
    unsaid = resumes.total() - reported(desk, resumes)
    with capsys.disabled():
        sys.stdout.write(
            f"\n  SEED={SEED}, run {number}: {seen.total()} copies asked for of {VERSIONS} versions through {deaths} deaths"
            f" and {RESTARTS} restarts, which tore {torn.total()}; {broken} looks at failed ones; {resumes.total()} resumes, at most"
            f" {max(resumes.values())} of one, {unsaid} not logged; the last was verified after {seconds:.0f} s\n"
        )
    assert len(transfers) == VERSIONS
    assert set(said.values()) <= {"verified"}
    assert desk.everything("/dead-letters") == []
    assert not {name: count for name, count in seen.items() if count > 1 + torn[name]}
    assert min(broken, torn.total(), resumes.total()) > 0
    # A round that dies with its worker may have started some that it did not come to log.
    assert unsaid <= CONCURRENCY * (deaths + RESTARTS)


def shaken(desk: Desk, names: list[str], random: Random, deaths: int) -> tuple[int, Counter[str]]:
    """Let workers die and the job host restart, each once so many are verified: a late one meets those that were resumed.

    How many failed transfers were looked at, and how often a copy of each name was in flight.
    """
    broken, torn = 0, Counter[str]()
    for number, (moment, disturb) in enumerate(drawn(desk, random, deaths, RESTARTS, len(names))):
        desk.until_resumed(partial(are_verified, desk, moment), f"{moment} are verified", PATIENT)
        if number:  # a job host that restarts or ends keeps the messages in hand for ten minutes or more, as on Azure
            desk.until_resumed(lambda: begun(desk) == len(names), "every event is accepted", PATIENT)
        answered = {request["number"] for request in copies(desk, names) if request["answered"]}
        disturb()
        torn += Counter(request["blob"] for request in copies(desk, names) if request["number"] not in answered)
        broken += shown_under_way(desk)
    return broken, torn


def drawn(desk: Desk, random: Random, deaths: int, restarts: int, count: int) -> list[tuple[int, Callable[[], None]]]:
    """A death, then the others and the restarts in some order, each with its moment, of so many."""
    others = [desk.kill_worker] * (deaths - 1) + [desk.restart_job_host] * restarts
    random.shuffle(others)
    return list(
        zip(sorted(random.sample(range(1, count), deaths + restarts)), [desk.kill_worker, *others], strict=True)
    )


def looking(desk: Desk, over: Event) -> dict[str, str]:
    """Look at all transfers until it is over: who has ended stays so, and who is verified is whole. How each ended."""
    ends: dict[str, str] = {}
    while not over.wait(1):
        with suppress(OSError, http.client.HTTPException):  # there is no worker now, or no host
            for item in [
                one for route in ("default", "patient") for one in desk.everything(f"/transfers?route={route}")
            ]:
                identity, state, name = item["id"], item["state"], item["source"]["name"]
                assert ends.get(identity, state) == state
                if state in FINAL and identity not in ends:
                    ends[identity] = state
                    assert desk.read(desk.target(name, target(name))) == content(name)
    return ends


def target(name: str) -> str:
    """Where the copy of such a version is."""
    return "async" if container(name) == "async" else "target"


def shown_under_way(desk: Desk) -> int:
    """Look at each transfer that the host has failed: it is under way, with what happened and when it goes on. How many."""
    before = failed(desk)
    shown = {identity: desk.api("GET", f"/transfers/{identity}").body for identity, _ in before}
    still = before & failed(desk)
    for identity, _ in still:
        item = shown[identity]
        assert (item["state"], item["attempt"]) in {("accepted", 0), ("copying", 0)}, item
        assert item["detail"].startswith("the orchestration was Failed: "), item
        assert item["next_check_at"], item
    return len(still)


def failed(desk: Desk) -> set[tuple[str, str]]:
    """The transfers that the host has failed, each with its execution."""
    return set(hub(desk, "SELECT id, execution FROM instances WHERE name = 'transfer' AND status = 'Failed'"))


def hub(desk: Desk, query: str, *values: str) -> list[Any]:
    """What the stand-in's task hub holds."""
    with closing(sqlite3.connect(desk.stack.state / "host.sqlite", timeout=30)) as store:
        return store.execute(query, values).fetchall()


def reported(desk: Desk, resumes: Counter[str]) -> int:
    """How many resumes the log holds: each is a warning, of a resume that was, and of none twice."""
    lines = [line for line in desk.log.read_text().splitlines() if '"action": "resume.resumed"' in line]
    assert all(" WARNING " in line for line in lines)
    facts = [json.loads(found[0]) for line in lines if (found := LINE.search(line))]
    said = Counter((fact["id"], fact["resumes"]) for fact in facts if fact["id"] in resumes)
    assert max(said.values(), default=1) == 1
    assert said.keys() <= {(identity, turn + 1) for identity, count in resumes.items() for turn in range(count)}
    return said.total()


def test_a_job_reports_every_line_once_through_deaths(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """Each disturbance finds a turn at work, mostly between what it did and its record of that; none of its lines fails."""
    random = Random(f"{SEED} job")  # noqa: S311  # to be repeated, not to be kept
    names = unshared(desk)
    when = random.choice(("before", "after"))
    match = {"account": "sharingstate", "method": "PUT", "blob": "/results-"}
    desk.control.add_fault(match, {"delay": 1.0, "when": when}, times=100_000)
    since = time.monotonic()
    job_id = asked(desk, max_per_second=100 if LONG else 20)
    deaths, restarts = (3, 0) if LONG else (1, 1)
    for moment, disturb in drawn(desk, random, deaths, restarts, LINES):
        desk.until_resumed(partial(is_acting, desk, job_id, moment), f"{moment} lines are begun, and it acts", PATIENT)
        disturb()
        assert desk.api("GET", f"/reconciles/{job_id}").body["state"] == "running"
    look = lambda: desk.api("GET", f"/reconciles/{job_id}").body["state"] in ENDED  # noqa: E731  # said once
    desk.until_resumed(look, f"{job_id} ends", PATIENT)
    job = ended(desk, job_id)
    seconds = time.monotonic() - since
    lines = report(desk, job_id)
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
    # What was whole by the time of a survey that is done again matches. Nothing else is left out.
    assert Counter(line["name"] for line in lines if "class" in line) == Counter(names)
    assert results == Counter(found)
    assert sum(job["counts"][result] for result in ("started", "running")) == len(found) == job["counts"]["found"]
    desk.until_resumed(lambda: not unfinished(desk), "all transfers have ended", PATIENT)
    with ThreadPoolExecutor(8) as people:
        read = list(people.map(lambda name: desk.read(desk.target(name, CONTAINER)), names))
    assert read == [name.encode() for name in names]
    assert accepted(desk, names) == LINES
    assert desk.everything("/dead-letters") == []


def unshared(desk: Desk) -> list[str]:
    """Blobs whose events went nowhere; their names."""
    names = [f"line/{number:05}" for number in range(LINES)]
    desk.control.events(mode="drop")
    with ThreadPoolExecutor(16) as people:
        list(people.map(lambda name: desk.put(name, name.encode(), CONTAINER), names))
    desk.control.events(mode="deliver")
    return names


def is_acting(desk: Desk, job_id: str, moment: int) -> bool:
    """Whether the job has begun so many transfers, and a turn of it is at work."""
    at_work = hub(desk, "SELECT 1 FROM activities WHERE instance = ? AND name = 'job_act'", job_id)
    return bool(at_work) and begun(desk) >= moment


def begun(desk: Desk) -> int:
    """How many transfers there are."""
    return len(hub(desk, "SELECT id FROM instances WHERE name = 'transfer'"))


def are_verified(desk: Desk, count: int) -> bool:
    """Whether so many transfers have ended by themselves."""
    return len(hub(desk, "SELECT id FROM instances WHERE name = 'transfer' AND status = 'Completed'")) >= count


def unfinished(desk: Desk) -> list[Any]:
    """The transfers that have not come to an end of their own."""
    return hub(desk, "SELECT id FROM instances WHERE name = 'transfer' AND status != 'Completed'")
