"""The HTTP API at its edges: every error is `application/problem+json` with a fix."""

import urllib.parse

import pytest

from tests.e2e.desk import Desk

UNKNOWN = "00000000-000000000000000000000000"


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", f"/transfers/{UNKNOWN}", None, 404),
        ("GET", f"/dead-letters/{UNKNOWN}", None, 404),
        ("DELETE", f"/transfers/{UNKNOWN}", None, 404),
        ("POST", f"/dead-letters/{UNKNOWN}/replay", None, 404),
        ("DELETE", f"/dead-letters/{UNKNOWN}", None, 404),
        ("DELETE", "/dead-letters/discard", None, 400),
        ("POST", "/discards", b"[]", 400),
        ("POST", "/discards", '{"route": "default"}'.encode("utf-16"), 400),
        ("POST", "/discards", b'{"route": "\xff"}', 400),
        ("GET", f"/discards/replay-{UNKNOWN[9:]}", None, 400),
        ("DELETE", f"/discards/discard-{UNKNOWN[9:]}", None, 404),
        ("GET", "/dead-letters?name=", None, 400),
        ("GET", "/transfers/not-an-id", None, 400),
        ("GET", "/transfers/" + "a" * 500, None, 400),
        ("GET", "/transfers?limit=0", None, 400),
        ("GET", "/transfers?limit=501", None, 400),
        ("GET", "/transfers?state=nonsense", None, 400),
        ("GET", "/transfers?colour=red", None, 400),
        ("GET", "/transfers?route=no/route", None, 400),
        ("GET", "/transfers?name=x", None, 400),
        ("GET", "/transfers?route=default&name=no-such-blob", None, 404),
        ("GET", "/transfers?route=nobody&name=x", None, 404),
        ("GET", "/dead-letters?reason=bad-luck", None, 400),
        ("GET", "/dead-letters?continuation=garbage", None, 400),
        ("POST", "/transfers", None, 400),
        ("POST", "/transfers", b"{", 400),
        ("POST", "/transfers", {"route": "default"}, 400),
        ("POST", "/transfers", {"route": "default", "name": 1}, 400),
        ("POST", "/transfers", {"route": "default", "name": "no-such-blob"}, 404),
        ("POST", "/transfers", {"route": "nobody", "name": "x"}, 404),
        ("POST", "/transfers", {"route": "default", "name": "../escape"}, 400),
    ],
)
def test_errors_are_problems_with_a_fix(desk: Desk, method: str, path: str, body: object, status: int) -> None:
    """Whatever is wrong, the answer says what would be right."""
    answer = desk.api(method, path, body)
    assert answer.status == status, answer.body
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert {"type", "title", "status", "detail", "fix"} <= set(answer.body)
    assert answer.body["status"] == status
    assert answer.body["fix"]


@pytest.mark.parametrize(
    "path",
    [
        "/health",
        "/transfers?limit=1",
        "/dead-letters",
        "/dead-letters?name=x",
        "/replays",
        "/discards",
        "/reconciles",
        f"/transfers/{UNKNOWN}",
        f"/dead-letters/{UNKNOWN}",
        f"/replays/replay-{UNKNOWN[9:]}",
        f"/replays/replay-{UNKNOWN[9:]}/report",
        f"/discards/discard-{UNKNOWN[9:]}",
        f"/discards/discard-{UNKNOWN[9:]}/report",
        f"/reconciles/reconcile-{UNKNOWN[9:]}",
        f"/reconciles/reconcile-{UNKNOWN[9:]}/report",
        "/transfers?limit=0",
    ],
)
def test_head_has_the_status_and_the_headers_of_get_and_no_body(desk: Desk, path: str) -> None:
    """What a monitor or `curl -I` asks."""

    def told(method: str) -> tuple[int, dict[str, str], bool]:
        answer = desk.api(method, path)
        unlike = {"Date", "Transfer-Encoding"}  # Kestrel leaves out the latter, since nothing follows
        headers = {name: value for name, value in answer.headers.items() if name not in unlike}
        return answer.status, headers, answer.body is not None

    status, headers, _ = told("GET")
    assert told("HEAD") == (status, headers, False)


@pytest.mark.parametrize("target_too", [False, True])
def test_the_transfer_of_a_blob_that_is_gone_is_found(desk: Desk, *, target_too: bool) -> None:
    """By the target's receipt; where the target is gone as well, by its name among the route's transfers."""
    name = f"gone/{target_too}/ü 100%.txt"
    desk.put(name, b"soon gone")
    transfer = desk.until_final(name)
    desk.source(name).delete_blob()
    if target_too:
        desk.target(name).delete_blob()
    answer = desk.transfer_of(name)
    assert (answer.status, answer.body) == (200, transfer)


def test_an_unknown_blob_is_404_that_says_where_it_was_looked_for(desk: Desk) -> None:
    """At the target, and among the route's transfers."""
    answer = desk.transfer_of("never/was")
    assert answer.status == 404
    assert all(words in answer.body["detail"] for words in ("the target has none", "none of the route's transfers"))


def test_a_fresh_upload_whose_event_was_not_taken_is_404_that_says_so(desk: Desk) -> None:
    """And what to do about it, which then helps."""
    desk.control.events(mode="drop")
    try:
        desk.put("fresh/upload", b"new")
        answer = desk.transfer_of("fresh/upload")
    finally:
        desk.control.events(mode="deliver")
    assert answer.status == 404
    assert "its event was not processed yet" in answer.body["detail"]
    assert "POST /api/transfers" in answer.body["fix"]
    assert desk.api("POST", "/transfers", {"route": "default", "name": "fresh/upload"}).status == 202
    assert desk.until_final("fresh/upload")["state"] == "verified"


def test_health_looks_at_everything(desk: Desk) -> None:
    """It names what is missing, and no blob; a key is not asked for."""
    answer = desk.api("GET", "/health")
    checks = {check["name"]: check["ok"] for check in answer.body["checks"]}
    assert checks["queue"]
    assert checks["dead letters"]
    assert checks["source of route default"]
    assert answer.status == (200 if all(checks.values()) else 503)


def test_pages_are_complete_and_without_repetition(desk: Desk) -> None:
    """Whatever the size of a page, every transfer is on exactly one."""
    for number in range(7):
        desk.put(f"paged/{number}", b"page")
    for number in range(7):
        desk.until_final(f"paged/{number}")
    pages, continuation = [], ""
    while True:
        page = desk.api("GET", f"/transfers?limit=3&continuation={urllib.parse.quote(continuation)}").body
        assert len(page["items"]) <= 3
        pages += [item["id"] for item in page["items"]]
        continuation = page["continuation"]
        if continuation is None:
            break
    assert len(pages) == len(set(pages))
    assert set(pages) == {item["id"] for item in desk.everything("/transfers")}
