"""A route with filters on a running stack: what they exclude costs a queue message, and nothing else.

`SOAK=long` excludes 10,000 blobs instead of 200.
"""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus

import pytest

from rules.routes.filters import FILTERED
from tests.e2e.client import TIMEOUT, Client
from tests.e2e.events import created_event, until_queue_is_empty
from tests.e2e.jobs import counts, report_lines, run_job
from tests.e2e.stacks import environment, running_stack
from tests.e2e.storm import LONG

EXCLUDED, CARRIED = 10_000 if LONG else 200, 20
WORKERS = 8
MAX_SIZE = 100
pytestmark = pytest.mark.timeout(1_800 if LONG else 300)
EXCLUDE = ["_temporary/*", "*.tmp"]
FORMS = ["_temporary/{}", "table/_temporary/0/{}", "table/{}.tmp", "empty/{}", "large/{}"]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A stack whose only route has filters."""
    state = tmp_path_factory.mktemp("filters")
    settings = environment(state)
    accounts = f"http://127.0.0.1:{settings['AZURITE_BLOB_PORT']}"
    lake = {
        "name": "lake",
        "source": f"{accounts}/sharingsource/source/",
        "target": f"{accounts}/sharingtarget/target/",
        "exclude": EXCLUDE,
        "empty": "skip",
        "max_size": MAX_SIZE,
    }
    with running_stack(state, settings | {"ROUTES": json.dumps([lake])}) as running:
        yield running


def content(name: str) -> bytes:
    return {"empty": b"", "large": b"x" * (MAX_SIZE + 1)}.get(name.partition("/")[0], name.encode())


@pytest.fixture(scope="module")
def carried(client: Client) -> list[str]:
    """The names of the blobs that are shared. They are written among many that the filters exclude."""
    excluded = [FORMS[number % len(FORMS)].format(number) for number in range(EXCLUDED)]
    names = [f"table/part-{number}" for number in range(CARRIED)]
    step = EXCLUDED // CARRIED
    mixed = [name for number, part in enumerate(names) for name in [*excluded[number * step :][:step], part]]
    assert len(mixed) == EXCLUDED + CARRIED
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(lambda name: client.put(name, content(name)), mixed))
    return names


def test_only_what_the_filters_admit_starts_a_transfer(client: Client, carried: list[str]) -> None:
    for name in carried:
        assert client.until_final(name, "lake")["state"] == "verified"
    until_queue_is_empty(client)
    transfers = client.list_all("/transfers?route=lake")
    assert sorted(item["source"]["name"] for item in transfers) == sorted(carried)
    assert client.list_all("/dead-letters") == []
    target = client.accounts["sharingtarget"].get_container_client("target")
    assert sorted(target.list_blob_names()) == sorted(carried)
    assert all(client.read(client.target(name)) == content(name) for name in carried)
    heads = client.control.requests(account="sharingsource", method="HEAD", internal=False)
    assert {head["blob"] for head in heads if head["blob"]} - {"health-check"} == set(carried)


def test_a_reconcile_has_no_lines_for_the_rest(client: Client, carried: list[str]) -> None:
    client.target("table/extra.tmp").upload_blob(b"extra")
    job = run_job(client, "reconciles", route="lake", timeout=5 * TIMEOUT)
    assert (job["state"], counts(job)) == ("done", {"match": CARRIED})
    assert sorted(line["name"] for line in report_lines(client, job["id"])) == sorted(carried)


@pytest.mark.parametrize("name", ["_temporary/x", "empty/x", "large/x"])
def test_a_share_of_an_excluded_blob_is_refused(client: Client, name: str) -> None:
    client.put(name, content(name))
    answer = client.api("POST", "/transfers", {"route": "lake", "name": name})
    assert answer.status == HTTPStatus.BAD_REQUEST
    assert answer.body["detail"].startswith(FILTERED)


def test_an_event_without_a_size_ends_superseded_and_copies_nothing(client: Client) -> None:
    name = "large/unknown"
    etag = client.put(name, content(name))
    event = json.loads(created_event(client.source(name).url, "source", name, etag))
    del event["data"]["contentLength"]
    client.queue().send_message(json.dumps(event))
    transfer = client.until(
        lambda: next((item for item in client.list_all("/transfers") if item["source"]["name"] == name), None),
        "its transfer exists",
    )
    ended = client.until_ended(transfer["id"])
    assert (ended["state"], ended["detail"], ended["successor"]) == ("superseded", FILTERED, None)
    assert not client.target(name).exists()
