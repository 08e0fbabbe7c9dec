"""Lists of thousands: page by page complete and without repetition, whatever else happens; garbage is refused."""

import os
from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import islice
from urllib.parse import quote

import pytest

from devhost.bench.metrics import PROC, peak_mib
from rules.errors import Reason
from rules.transfers import identity
from rules.transfers.states import State
from tests.e2e.conftest import environment
from tests.e2e.crowd import LETTERS, REASONS, TRANSFERS, Crowd, Known
from tests.e2e.desk import AGENT, Desk
from tests.e2e.helpers import copying

pytestmark = pytest.mark.skipif(os.environ.get("HOST") == "func", reason="it is the stand-in's store that is filled")
LONGEST = 500
LISTS = ("/transfers", "/dead-letters")
# What no filter of either list may be, and of which a person would rather be told than see everything.
LIMITS = ["0", "501", "9999999999", "-1", "+5", "1.5", "1e2", "0x10", "ten", " 5", "5,5", "٣", "null"]
CONTINUATIONS = ["1", "next", "====", "bnVsbA==", "WyIiLDFd", "WyIiLCJcbiJd", "☃"]
NO_ROUTES = ["*", "a b", "-a", "a_b", "default,patient", "../default", "%", "ü", "a" * 41, "default\n"]
NO_STATES = ["Verified", "running", "Completed", "verified,cancelled", "*", "verified ", "null"]
NO_REASONS = ["unknown", "Malformed", "malformed,internal", "*", "null"]
UNKNOWN = ["status=verified", "top=5", "Limit=5", "prefix=x", "showInput=true", "runtimeStatus=Running"]
GARBAGE = [
    *(f"{path}?limit={quote(text)}" for path in LISTS for text in LIMITS),
    *(f"{path}?continuation={quote(text)}" for path in LISTS for text in CONTINUATIONS),
    *(f"{path}?route={quote(text)}" for path in LISTS for text in NO_ROUTES),
    *(f"{path}?{text}" for path in LISTS for text in UNKNOWN),
    *(f"{path}?{name}=" for path in LISTS for name in ("limit", "route", "unknown")),
    *(f"{path}?limit=5&limit=5" for path in LISTS),
    *(f"/transfers?state={quote(text)}" for text in (*NO_STATES, "")),
    *(f"/dead-letters?reason={quote(text)}" for text in (*NO_REASONS, "")),
    *(f"/transfers?{text}" for text in ("reason=internal", "name=a", "name=a&route=default&limit=5", "route=default&name=")),
    *(f"/dead-letters?{text}" for text in ("state=open", "name=a&name=b")),
]  # fmt: skip


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crowd]:
    """A stack of its own: what the shared one holds is read to the last byte by the search for secrets."""
    state = tmp_path_factory.mktemp("crowd")
    with (state / "stack.log").open("w") as log:
        desk = Desk(environment(state), log)
        desk.stack.start()
        try:
            filled = Crowd(desk)
            filled.fill()
            yield filled
        finally:
            desk.close()


def once(known: Known, **wanted: str) -> Counter[str]:
    """Each that has these fields, once."""
    return Counter(each for each, fields in known.items() if wanted.items() <= fields.items())


@pytest.mark.parametrize("limit", [LONGEST, 100, 37])
def test_every_transfer_is_listed_once(crowd: Crowd, limit: int) -> None:
    """However long the pages are."""
    assert len(crowd.transfers) > TRANSFERS
    assert crowd.ids("/transfers", limit) == once(crowd.transfers)


@pytest.mark.parametrize("path", LISTS)
def test_a_page_has_a_hundred_unless_told(crowd: Crowd, path: str) -> None:
    """As the API's description says."""
    assert len(crowd.desk.api("GET", path).body["items"]) == 100


@pytest.mark.parametrize("route", ["default", "patient", "missing", "first", "nobodys"])
def test_every_transfer_of_a_route_is_listed_once(crowd: Crowd, route: str) -> None:
    """And none of another; nor does a page cost more than what it shows."""
    pages = list(crowd.pages(f"/transfers?route={route}", 37))
    wanted = once(crowd.transfers, route=route)
    assert Counter(item["id"] for page in pages for item in page) == wanted
    assert len(pages) == max(1, -(-wanted.total() // 37))


@pytest.mark.parametrize("state", State)
def test_every_transfer_in_a_state_is_listed_once(crowd: Crowd, state: State) -> None:
    """In no more pages than the whole list has, however many of them are empty."""
    pages = list(crowd.pages(f"/transfers?state={state}", LONGEST))
    assert Counter(item["id"] for page in pages for item in page) == once(crowd.transfers, state=state)
    assert len(pages) <= -(-len(crowd.transfers) // LONGEST)


def test_filters_add_up(crowd: Crowd) -> None:
    """A route's in a state are those that are both."""
    wanted = once(crowd.transfers, route="patient", state="cancelled")
    assert 0 < wanted.total() < once(crowd.transfers, route="patient").total()
    assert crowd.ids("/transfers?route=patient&state=cancelled", 100) == wanted


def test_transfers_that_start_and_end_meanwhile_disturb_nobody(crowd: Crowd) -> None:
    """Who was there before is listed once, though it ended between two pages; who came, once or not; and then all are."""
    desk = crowd.desk
    desk.control.copies(hold=True)
    waiting, come = [f"waiting/{number}" for number in range(10)], [f"come/{number}" for number in range(10)]
    for name in waiting:
        desk.put(name, b"waiting", "async")
    pending = {desk.until(partial(copying, desk, name), f"{name} is pending")["id"] for name in waiting}
    before, seen = crowd.transfers.keys() | pending, Counter[str]()
    for number, page in enumerate(crowd.pages("/transfers", 100)):
        seen.update(item["id"] for item in page)
        if number % 9 == 0 and number // 9 < len(come):
            desk.put(come[number // 9], b"come")
        if number == 30:
            desk.control.copies(hold=False)
        if number == 50:
            ended = [desk.until_final(name, "patient") for name in waiting]
    assert {item["id"] for item in ended} == pending
    ended += [desk.until_final(name) for name in come]
    crowd.transfers |= {item["id"]: {"route": item["route"], "state": item["state"]} for item in ended}
    assert set(seen.values()) == {1}
    assert before <= seen.keys() <= crowd.transfers.keys()
    assert len(crowd.transfers) == len(before) + len(come)
    assert crowd.ids("/transfers", LONGEST) == once(crowd.transfers)


@pytest.mark.parametrize("limit", [LONGEST, 100, 37])
def test_every_letter_is_listed_once_and_none_is_read(crowd: Crowd, limit: int) -> None:
    """What a list shows is in the metadata: one request for each page, whatever it holds."""
    assert len(crowd.dead_letters) > LETTERS
    last = crowd.desk.control.requests()[-1]["number"]
    pages = list(crowd.pages("/dead-letters", limit))
    assert Counter(item["id"] for page in pages for item in page) == once(crowd.dead_letters)
    assert len(pages) == -(-len(crowd.dead_letters) // limit)
    asked = asked_of_letters(crowd.desk, last)
    assert asked["GetBlob"] == asked["HeadBlob"] == 0
    assert asked["ListBlobs"] >= len(pages)  # a timer may list them, too, whenever it likes


def asked_of_letters(desk: Desk, since: int) -> Counter[str]:
    """What the app asked of the container of letters."""
    seen = desk.control.requests(since=since, account="sharingstate", container="dead-letters")
    return Counter(request["operation"] for request in seen if AGENT in request["user_agent"])


@pytest.mark.parametrize("route", ["default", "missing", "nobodys"])
def test_every_letter_of_a_route_is_listed_once(crowd: Crowd, route: str) -> None:
    """And none of another, nor a message's, which has no route."""
    assert crowd.ids(f"/dead-letters?route={route}", 37) == once(crowd.dead_letters, route=route)


@pytest.mark.parametrize("reason", [*REASONS, Reason.MALFORMED, Reason.THROTTLED])
def test_every_letter_of_a_reason_is_listed_once(crowd: Crowd, reason: Reason) -> None:
    """In no more pages than the whole list has, of which only the last may be empty; with a route, those that are both."""
    pages = list(crowd.pages(f"/dead-letters?reason={reason}", LONGEST))
    assert Counter(item["id"] for page in pages for item in page) == once(crowd.dead_letters, reason=reason)
    assert len(pages) <= -(-len(crowd.dead_letters) // LONGEST)
    assert all(pages[:-1])
    both = once(crowd.dead_letters, reason=reason, route="missing")
    assert crowd.ids(f"/dead-letters?reason={reason}&route=missing", 100) == both


def test_letters_that_come_and_go_meanwhile_disturb_nobody(crowd: Crowd) -> None:
    """Who was there before and after is listed once; who came or went, once or not; and then all are."""
    desk, dead = crowd.desk, crowd.dead
    bodies = [f"no event, but a new one, {number}".encode() for number in range(5)]
    come = {identity.message_id(body): {"route": None, "reason": "malformed"} for body in bodies}
    before, seen = set(crowd.dead_letters), Counter[str]()
    for number, page in enumerate(crowd.pages("/dead-letters", 37)):
        seen.update(item["id"] for item in page)
        if number < len(bodies):
            desk.queue().send_message(bodies[number].decode())
        if number == len(bodies):
            desk.container("sharingtarget", "missing")
            assert desk.api("POST", f"/dead-letters/{dead}/replay").status == 202
        if number == len(bodies) + 10:
            desk.until(lambda: desk.until_ended(dead)["state"] == "verified", "the replay is over")
    kept = lambda: all(desk.api("GET", f"/dead-letters/{letter}").status == 200 for letter in come)  # noqa: E731  # said once
    desk.until(kept, "all are kept")
    assert set(seen.values()) == {1}
    assert before - {dead} <= seen.keys() <= before | come.keys()
    crowd.dead_letters = {letter: fields for letter, fields in (crowd.dead_letters | come).items() if letter != dead}
    crowd.transfers[dead]["state"] = "verified"
    assert crowd.ids("/dead-letters", LONGEST) == once(crowd.dead_letters)


@pytest.mark.parametrize("asked", GARBAGE)
def test_garbage_is_refused_with_its_fix(crowd: Crowd, asked: str) -> None:
    """And is never taken for everything, as the host itself would."""
    answer = crowd.desk.api("GET", asked)
    assert (answer.status, answer.headers["Content-Type"]) == (400, "application/problem+json")
    assert answer.body["fix"]


@pytest.mark.parametrize(
    ("of", "at"),
    [
        ("/transfers", "/transfers?route=default"),
        ("/transfers?route=default", "/transfers"),
        ("/transfers?route=default", "/transfers?route=patient"),
        ("/dead-letters", "/dead-letters?route=missing"),
        ("/dead-letters?route=missing", "/dead-letters"),
        ("/dead-letters?route=missing", "/transfers?route=missing"),
        ("/dead-letters", "/transfers"),
        ("/transfers", "/dead-letters"),
    ],
)
def test_a_continuation_of_another_list_is_refused(crowd: Crowd, of: str, at: str) -> None:
    """There it would begin in the midst of nowhere, or all over again."""
    continuation = quote(crowd.desk.api("GET", of).body["continuation"])
    answer = crowd.desk.api("GET", f"{at}{'&' if '?' in at else '?'}continuation={continuation}")
    assert (answer.status, answer.headers["Content-Type"]) == (400, "application/problem+json")


@pytest.mark.skipif(not PROC.is_dir(), reason="the kernel tells nothing of processes")
def test_the_host_does_not_grow_with_the_list(crowd: Crowd) -> None:
    """A whole walk takes hardly more memory than two pages of it, and further walks no more: no page waits for another."""
    crowd.desk.stack.kill_host()  # its peak was of other tests
    crowd.desk.stack.start_host()
    for path in LISTS:
        assert sum(len(page) for page in islice(crowd.pages(path, LONGEST), 2)) == 2 * LONGEST
    few = peak(crowd.desk)
    for path in LISTS:
        assert crowd.ids(path, LONGEST).total() > 2 * LONGEST
    whole = peak(crowd.desk)
    for path in LISTS:
        assert crowd.ids(path, LONGEST).total() > 2 * LONGEST
    assert whole < 1.15 * few
    assert peak(crowd.desk) < 1.1 * whole


def peak(desk: Desk) -> float:
    """The most memory that the host has had at once."""
    return peak_mib(desk.stack)["host"]
