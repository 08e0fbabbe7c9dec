"""The HTTP API: errors, HEAD, health, and lists in pages."""

import urllib.parse

import pytest

from tests.e2e.client import Client

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
        ("GET", "/transfers?route=unknown&name=x", None, 404),
        ("GET", "/dead-letters?reason=bad-luck", None, 400),
        ("GET", "/dead-letters?continuation=garbage", None, 400),
        ("POST", "/transfers", None, 400),
        ("POST", "/transfers", b"{", 400),
        ("POST", "/transfers", {"route": "default"}, 400),
        ("POST", "/transfers", {"route": "default", "name": 1}, 400),
        ("POST", "/transfers", {"route": "default", "name": "no-such-blob"}, 404),
        ("POST", "/transfers", {"route": "unknown", "name": "x"}, 404),
        ("POST", "/transfers", {"route": "default", "name": "../escape"}, 400),
    ],
)
def test_errors_are_problems_with_a_fix(client: Client, method: str, path: str, body: object, status: int) -> None:
    answer = client.api(method, path, body)
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
def test_head_has_the_status_and_the_headers_of_get_and_no_body(client: Client, path: str) -> None:

    def call(method: str) -> tuple[int, dict[str, str], bool]:
        answer = client.api(method, path)
        ignored = {"Date", "Transfer-Encoding"}  # Kestrel omits the latter if there is no body
        headers = {name: value for name, value in answer.headers.items() if name not in ignored}
        return answer.status, headers, answer.body is not None

    status, headers, _ = call("GET")
    assert call("HEAD") == (status, headers, False)


@pytest.mark.parametrize("target_deleted", [False, True])
def test_the_transfer_of_a_deleted_blob_is_found(client: Client, *, target_deleted: bool) -> None:
    """The app finds it by the target's receipt, or by name among the route's transfers if the target is deleted too."""
    name = f"gone/{target_deleted}/ü 100%.txt"
    client.put(name, b"soon gone")
    transfer = client.until_final(name)
    client.source(name).delete_blob()
    if target_deleted:
        client.target(name).delete_blob()
    answer = client.transfer_of(name)
    assert (answer.status, answer.body) == (200, transfer)


def test_an_unknown_blob_is_404_and_the_detail_lists_where_the_app_searched(client: Client) -> None:
    answer = client.transfer_of("never/was")
    assert answer.status == 404
    assert all(words in answer.body["detail"] for words in ("the target has none", "none of the route's transfers"))


def test_a_blob_whose_event_was_not_processed_is_404_and_can_be_shared(client: Client) -> None:
    client.control.events(mode="drop")
    try:
        client.put("fresh/upload", b"new")
        answer = client.transfer_of("fresh/upload")
    finally:
        client.control.events(mode="deliver")
    assert answer.status == 404
    assert "its event was not processed yet" in answer.body["detail"]
    assert "POST /api/transfers" in answer.body["fix"]
    assert client.api("POST", "/transfers", {"route": "default", "name": "fresh/upload"}).status == 202
    assert client.until_final("fresh/upload")["state"] == "verified"


def test_health_checks_queue_dead_letters_and_routes(client: Client) -> None:
    answer = client.api("GET", "/health")
    checks = {check["name"]: check["ok"] for check in answer.body["checks"]}
    assert checks["queue"]
    assert checks["dead letters"]
    assert checks["source of route default"]
    assert answer.status == (200 if all(checks.values()) else 503)


def test_pages_contain_every_transfer_once(client: Client) -> None:
    for number in range(7):
        client.put(f"paged/{number}", b"page")
    for number in range(7):
        client.until_final(f"paged/{number}")
    pages, continuation = [], ""
    while True:
        page = client.api("GET", f"/transfers?limit=3&continuation={urllib.parse.quote(continuation)}").body
        assert len(page["items"]) <= 3
        pages += [item["id"] for item in page["items"]]
        continuation = page["continuation"]
        if continuation is None:
            break
    assert len(pages) == len(set(pages))
    assert set(pages) == {item["id"] for item in client.list_all("/transfers")}
