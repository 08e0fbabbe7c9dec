"""Lists of thousands of items: pages are complete and without repetition, also during changes; invalid queries are refused."""

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
from tests.e2e.bulk import DEAD_LETTERS, REASONS, TRANSFERS, FilledStack, Known
from tests.e2e.client import AGENT, Client
from tests.e2e.stacks import running_stack
from tests.e2e.transfers import copying_transfer

pytestmark = pytest.mark.skipif(os.environ.get("HOST") == "func", reason="the test fills the stand-in's store")
LONGEST = 500
# Either list has more than two pages of this length.
LIMIT = 250
LISTS = ("/transfers", "/dead-letters")
# Values that are invalid in either list.
LIMITS = ["0", "501", "9999999999", "-1", "+5", "1.5", "1e2", "0x10", "ten", " 5", "5,5", "٣", "null"]
CONTINUATIONS = ["1", "next", "====", "bnVsbA==", "WyIiLDFd", "WyIiLCJcbiJd", "☃"]
INVALID_ROUTES = ["*", "a b", "-a", "a_b", "default,patient", "../default", "%", "ü", "a" * 41, "default\n"]
INVALID_STATES = ["Verified", "running", "Completed", "verified,cancelled", "*", "verified ", "null"]
INVALID_REASONS = ["unknown", "Malformed", "malformed,internal", "*", "null"]
UNKNOWN_PARAMETERS = ["status=verified", "top=5", "Limit=5", "prefix=x", "showInput=true", "runtimeStatus=Running"]
INVALID_QUERIES = [
    *(f"{path}?limit={quote(text)}" for path in LISTS for text in LIMITS),
    *(f"{path}?continuation={quote(text)}" for path in LISTS for text in CONTINUATIONS),
    *(f"{path}?route={quote(text)}" for path in LISTS for text in INVALID_ROUTES),
    *(f"{path}?{text}" for path in LISTS for text in UNKNOWN_PARAMETERS),
    *(f"{path}?{name}=" for path in LISTS for name in ("limit", "route", "unknown")),
    *(f"{path}?limit=5&limit=5" for path in LISTS),
    *(f"/transfers?state={quote(text)}" for text in (*INVALID_STATES, "")),
    *(f"/dead-letters?reason={quote(text)}" for text in (*INVALID_REASONS, "")),
    *(f"/transfers?{text}" for text in ("reason=internal", "name=a", "name=a&route=default&limit=5", "route=default&name=")),
    *(f"/dead-letters?{text}" for text in ("state=open", "name=a&name=b")),
]  # fmt: skip


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FilledStack]:
    """The module has its own stack, because the search for secrets reads everything on the shared one."""
    state = tmp_path_factory.mktemp("filled")
    with running_stack(state) as running:
        stack = FilledStack(running)
        stack.fill()
        yield stack


def expected(known: Known, **wanted: str) -> Counter[str]:
    """Count each item with these fields once."""
    return Counter(each for each, fields in known.items() if wanted.items() <= fields.items())


@pytest.mark.parametrize("limit", [LONGEST, 100, 37])
def test_every_transfer_is_listed_once(filled: FilledStack, limit: int) -> None:
    assert len(filled.transfers) > TRANSFERS
    assert filled.ids("/transfers", limit) == expected(filled.transfers)


@pytest.mark.parametrize("path", LISTS)
def test_a_page_has_100_items_by_default(filled: FilledStack, path: str) -> None:
    assert len(filled.client.api("GET", path).body["items"]) == 100


@pytest.mark.parametrize("route", ["default", "patient", "missing", "first", "unknown"])
def test_every_transfer_of_a_route_is_listed_once(filled: FilledStack, route: str) -> None:
    """Every page except the last is full."""
    pages = list(filled.pages(f"/transfers?route={route}", 37))
    wanted = expected(filled.transfers, route=route)
    assert Counter(item["id"] for page in pages for item in page) == wanted
    assert len(pages) == max(1, -(-wanted.total() // 37))


@pytest.mark.parametrize("state", State)
def test_every_transfer_in_a_state_is_listed_once(filled: FilledStack, state: State) -> None:
    """In at most as many pages as the unfiltered list has; many of them may be empty."""
    pages = list(filled.pages(f"/transfers?state={state}", LONGEST))
    assert Counter(item["id"] for page in pages for item in page) == expected(filled.transfers, state=state)
    assert len(pages) <= -(-len(filled.transfers) // LONGEST)


def test_filters_are_combined_with_and(filled: FilledStack) -> None:
    wanted = expected(filled.transfers, route="patient", state="cancelled")
    assert 0 < wanted.total() < expected(filled.transfers, route="patient").total()
    assert filled.ids("/transfers?route=patient&state=cancelled", 100) == wanted


def test_transfers_that_start_or_end_meanwhile_disturb_no_others(filled: FilledStack) -> None:
    """A transfer that existed before is listed once, even if it ends between two pages. A new one is listed at most once."""
    client = filled.client
    client.control.copies(hold=True)
    waiting, added = [f"waiting/{number}" for number in range(10)], [f"added/{number}" for number in range(10)]
    for name in waiting:
        client.put(name, b"waiting", "async")
    pending = {client.until(partial(copying_transfer, client, name), f"{name} is pending")["id"] for name in waiting}
    before, seen = filled.transfers.keys() | pending, Counter[str]()
    for number, page in enumerate(filled.pages("/transfers", TRANSFERS // 100)):
        seen.update(item["id"] for item in page)
        if number % 9 == 0 and number // 9 < len(added):
            client.put(added[number // 9], b"added")
        if number == 30:
            client.control.copies(hold=False)
        if number == 50:
            ended = [client.until_final(name, "patient") for name in waiting]
    assert {item["id"] for item in ended} == pending
    ended += [client.until_final(name) for name in added]
    filled.transfers |= {item["id"]: {"route": item["route"], "state": item["state"]} for item in ended}
    assert set(seen.values()) == {1}
    assert before <= seen.keys() <= filled.transfers.keys()
    assert len(filled.transfers) == len(before) + len(added)
    assert filled.ids("/transfers", LONGEST) == expected(filled.transfers)


@pytest.mark.parametrize("limit", [LONGEST, 100, 37])
def test_every_dead_letter_is_listed_once_without_reading_its_blob(filled: FilledStack, limit: int) -> None:
    """The list shows only metadata, so each page costs one request."""
    assert len(filled.dead_letters) > DEAD_LETTERS
    last = filled.client.control.requests()[-1]["number"]
    pages = list(filled.pages("/dead-letters", limit))
    assert Counter(item["id"] for page in pages for item in page) == expected(filled.dead_letters)
    assert len(pages) == -(-len(filled.dead_letters) // limit)
    requests = dead_letter_requests(filled.client, last)
    assert requests["GetBlob"] == requests["HeadBlob"] == 0
    assert requests["ListBlobs"] >= len(pages)  # a timer may list them at any time, too


def dead_letter_requests(client: Client, since: int) -> Counter[str]:
    requests = client.control.requests(since=since, account="sharingstate", container="dead-letters")
    return Counter(request["operation"] for request in requests if AGENT in request["user_agent"])


@pytest.mark.parametrize("route", ["default", "missing", "unknown"])
def test_every_dead_letter_of_a_route_is_listed_once(filled: FilledStack, route: str) -> None:
    """Dead letters of messages have no route."""
    assert filled.ids(f"/dead-letters?route={route}", 37) == expected(filled.dead_letters, route=route)


@pytest.mark.parametrize("reason", [*REASONS, Reason.MALFORMED, Reason.THROTTLED])
def test_every_dead_letter_of_a_reason_is_listed_once(filled: FilledStack, reason: Reason) -> None:
    """In at most as many pages as the unfiltered list has; only the last may be empty."""
    pages = list(filled.pages(f"/dead-letters?reason={reason}", LONGEST))
    assert Counter(item["id"] for page in pages for item in page) == expected(filled.dead_letters, reason=reason)
    assert len(pages) <= -(-len(filled.dead_letters) // LONGEST)
    assert all(pages[:-1])
    both = expected(filled.dead_letters, reason=reason, route="missing")
    assert filled.ids(f"/dead-letters?reason={reason}&route=missing", 100) == both


def test_dead_letters_that_are_added_or_resolved_meanwhile_disturb_no_others(filled: FilledStack) -> None:
    """One that is open throughout is listed once. An added or resolved one is listed at most once."""
    client, dead = filled.client, filled.dead
    bodies = [f"a new invalid event, {number}".encode() for number in range(5)]
    added = {identity.message_id(body): {"route": None, "reason": "malformed"} for body in bodies}
    before, seen = set(filled.dead_letters), Counter[str]()
    for number, page in enumerate(filled.pages("/dead-letters", 37)):
        seen.update(item["id"] for item in page)
        if number < len(bodies):
            client.queue().send_message(bodies[number].decode())
        if number == len(bodies):
            client.create_container("sharingtarget", "missing")
            assert client.api("POST", f"/dead-letters/{dead}/replay").status == 202
        if number == len(bodies) + 10:
            client.until(lambda: client.until_ended(dead)["state"] == "verified", "the replay is over")
    kept = lambda: all(client.api("GET", f"/dead-letters/{dead_letter}").status == 200 for dead_letter in added)  # noqa: E731
    client.until(kept, "all are kept")
    assert set(seen.values()) == {1}
    assert before - {dead} <= seen.keys() <= before | added.keys()
    filled.dead_letters = {
        dead_letter: fields for dead_letter, fields in (filled.dead_letters | added).items() if dead_letter != dead
    }
    filled.transfers[dead]["state"] = "verified"
    assert filled.ids("/dead-letters", LONGEST) == expected(filled.dead_letters)


@pytest.mark.parametrize("query", INVALID_QUERIES)
def test_an_invalid_query_is_refused_with_a_fix(filled: FilledStack, query: str) -> None:
    """The host itself would ignore the parameter and list everything."""
    answer = filled.client.api("GET", query)
    assert (answer.status, answer.headers["Content-Type"]) == (400, "application/problem+json")
    assert answer.body["fix"]


@pytest.mark.parametrize(
    ("source", "other"),
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
def test_a_continuation_of_another_list_is_refused(filled: FilledStack, source: str, other: str) -> None:
    """It would continue at the wrong place."""
    continuation = quote(filled.client.api("GET", source).body["continuation"])
    answer = filled.client.api("GET", f"{other}{'&' if '?' in other else '?'}continuation={continuation}")
    assert (answer.status, answer.headers["Content-Type"]) == (400, "application/problem+json")


@pytest.mark.skipif(not PROC.is_dir(), reason="the kernel has no /proc")
def test_the_host_does_not_grow_with_the_list(filled: FilledStack) -> None:
    """Reading all pages needs hardly more memory than reading two, and a second time needs no additional memory."""
    filled.client.stack.kill_host()  # discard the peak of earlier tests
    filled.client.stack.start_host()
    for path in LISTS:
        assert sum(len(page) for page in islice(filled.pages(path, LIMIT), 2)) == 2 * LIMIT
    two_pages = peak(filled.client)
    for path in LISTS:
        assert filled.ids(path, LIMIT).total() > 2 * LIMIT
    whole = peak(filled.client)
    for path in LISTS:
        assert filled.ids(path, LIMIT).total() > 2 * LIMIT
    assert whole < 1.15 * two_pages
    assert peak(filled.client) < 1.1 * whole


def peak(client: Client) -> float:
    """The peak memory of the host."""
    return peak_mib(client.stack)["host"]
