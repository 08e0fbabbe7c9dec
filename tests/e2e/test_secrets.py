"""I8, at DEBUG: no SAS, key or token where it does not belong. The desk is searched when it closes; the search can fail."""

import base64
import gzip
import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import pytest

from tests.e2e import search
from tests.e2e.desk import CANARY, ON_FUNC, Desk
from tests.e2e.helpers import in_a_queue, messages
from tests.e2e.tables import Tables

KEY = "q83vEjRWeJq8/N4SNFZ4mrz83hI0VniavPzeEjRWeJq8/N4SNFZ4mrz83hI0VniavPzeEjRWeJq8+N4SNFZ4mg=="
SIGNED = "dZ3oOqFvJ1m+u2Sx/0yJwM9QkVb7aTgHcR5eLnPiXfE="
SAS = f"https://a.blob.core.windows.net/c/b?sv=2026-02-06&sr=b&sp=r&sig={quote(SIGNED, safe='')}&se=2026-11-27"
LONG = "x" * 20_000
# Where a host keeps what an orchestration did: a real one in a table that is named after its hub.
HISTORY = "BlobDataSharingHistory" if ON_FUNC else "host.sqlite:history"


def test_a_secret_in_a_message_is_removed_before_it_is_kept(desk: Desk) -> None:
    """Somebody may put a whole SAS URL into the queue."""
    known = {item["id"] for item in messages(desk)}
    desk.queue().send_message('{"look": "https://a.blob.core.windows.net/c/b?sv=1&sig=c2VjcmV0&code=c2VjcmV0"}')
    desk.until(lambda: [item for item in messages(desk) if item["id"] not in known], "it is kept")


def test_no_answer_holds_an_address_of_the_extension(desk: Desk) -> None:
    """Its URLs come with the system key; of the app's own, answers name paths alone."""
    shared = desk.put("secrets/last.txt", b"signed")
    assert desk.until_final("secrets/last.txt")["source"]["etag"] == shared
    assert search.of_the_extension(f"http://localhost:7071/runtime/webhooks/durabletask/instances/{uuid4()}")
    desk.answers.append(f"{{}} b'http://localhost:7071/runtime/webhooks/durabletask/instances/{uuid4()}'")
    found = search.found(desk)
    desk.answers.pop()
    assert found == {f"answer {len(desk.answers)}": b"of the extension"}


def test_no_secret_is_left_anywhere(desk: Desk) -> None:
    """Logs, histories, every queue and container of the app's own accounts, answers, command lines; not the emulator's files."""
    places = dict(search.everything(desk))
    assert {"stack.log", HISTORY, "blob-events", "dead-letters"} <= set(places)
    assert sum(where.startswith("dead-letters/open/") for where in places) > 0
    assert sum(where.startswith("answer ") for where in places) > 0
    assert sum(where.startswith("command line ") for where in places) >= 3
    assert b"Request URL: 'http" in places["stack.log"]  # the SDK said what it says at INFO and below
    assert len(search.signatures(desk)) > 0  # what the app signed is known
    assert search.secrets(desk).leaks(places.items()) == {}


@pytest.mark.parametrize(
    "planted",
    [
        SAS,
        quote(SAS, safe=""),
        json.dumps({"url": SAS}).replace("&", "\\u0026").replace("=", "\\u003d"),
        base64.b64encode(SAS.encode()).decode(),
        base64.urlsafe_b64encode(b"?" + SAS.encode()).decode().rstrip("="),
        SIGNED,
        quote(SIGNED, safe=""),
        quote(quote(SIGNED, safe=""), safe=""),
        KEY,
        quote(KEY, safe=""),
        base64.b64encode(f"the key is {KEY}".encode()).decode(),
        f"AccountName=a;AccountKey={SIGNED};",
        f"'Authorization': 'SharedKey sharingstate:{SIGNED}'",
        "Authorization: Bearer eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9",
        "http://localhost:7071/api/transfers?code=none-of-the-known",
        pytest.param(f"x-functions-key: {CANARY}", id="the canary"),
    ],
)
def test_the_search_finds_a_secret_in_any_form(planted: str) -> None:
    """However it is written, and whatever stands around it; and nothing is found where it is not."""
    wanted = search.Secrets([KEY, CANARY], [SIGNED])
    assert wanted.found(f'{LONG} {{"text": "{planted}"}} {LONG}'.encode())
    assert wanted.found(f'{LONG} {{"text": "{planted[:8]}"}} {LONG} sig=REMOVED exit_code=1'.encode()) is None


def test_the_search_finds_what_is_planted_in_a_copy_of_the_log(desk: Desk, tmp_path: Path) -> None:
    """In its last line."""
    shutil.copy(desk.log, tmp_path)
    wanted = search.secrets(desk)
    assert wanted.leaks(search.files(tmp_path)) == {}
    with (tmp_path / desk.log.name).open("a") as log:
        log.write(f"signed {min(search.signatures(desk))}\n")
    assert set(wanted.leaks(search.files(tmp_path))) == {desk.log.name}


@pytest.mark.skipif(ON_FUNC, reason="a real host keeps its histories in tables")
def test_the_search_finds_what_is_planted_in_a_copy_of_the_histories(desk: Desk, tmp_path: Path) -> None:
    """In one long value, which lies in pieces in the file."""
    with (
        closing(sqlite3.connect(desk.stack.state / "host.sqlite")) as database,
        closing(sqlite3.connect(tmp_path / "host.sqlite")) as copy,
    ):
        database.backup(copy)
    wanted = search.secrets(desk)
    assert wanted.leaks(search.files(tmp_path)) == {}
    with closing(sqlite3.connect(tmp_path / "host.sqlite")) as database:
        value = json.dumps(f"{LONG}{desk.stack.key}{LONG}")
        database.execute("INSERT INTO history VALUES ('planted', 1, ?)", [value])
        database.commit()
    assert HISTORY in wanted.leaks(search.files(tmp_path))


def in_a_blob(desk: Desk, name: str, account: str = "sharingstate") -> Callable[[], None]:
    """The bytes of a blob in a container that nobody knows."""
    container = desk.accounts[account].create_container(name)
    container.upload_blob("report.jsonl", json.dumps({"url": SAS}))
    return container.delete_container


def in_a_packed_blob(desk: Desk, name: str) -> Callable[[], None]:
    """Packed, as a real host keeps what is too large for a row."""
    container = desk.accounts["sharingstate"].create_container(name)
    container.upload_blob("history.json.gz", gzip.compress(json.dumps({"key": desk.stack.key}).encode()))
    return container.delete_container


def in_a_table(desk: Desk, name: str) -> Callable[[], None]:
    """In a row of a table that nobody knows."""
    tables, name = Tables(desk.stack), name.replace("-", "")
    tables.create(name)
    tables.insert(name, {"PartitionKey": "x", "RowKey": "x", "Input": json.dumps({"url": SAS})})
    return lambda: tables.delete(name)


def in_metadata(desk: Desk, name: str) -> Callable[[], None]:
    """The metadata of an empty blob in the container that everybody knows."""
    blob = desk.accounts["sharingstate"].get_blob_client("dead-letters", f"open/{name}.json")
    blob.upload_blob(b"", metadata={"note": CANARY})
    return blob.delete_blob


IN_EVENTS = [partial(plant, account="sharingevents") for plant in (in_a_queue, in_a_blob)]


@pytest.mark.parametrize("plant", [in_a_queue, in_a_blob, in_a_packed_blob, in_a_table, in_metadata, *IN_EVENTS])
def test_the_search_finds_what_is_planted_in_an_account_of_the_app(
    desk: Desk, plant: Callable[[Desk, str], Callable[[], None]]
) -> None:
    """By looking at whatever there is, not at names that it knows; once it is gone, nothing is found any more."""
    wanted = search.secrets(desk)
    take_back = plant(desk, f"planted-{uuid4()}")
    try:
        assert len(wanted.leaks(search.own_accounts(desk))) == 1
    finally:
        take_back()
    assert wanted.leaks(search.own_accounts(desk)) == {}


def test_a_table_is_read_to_its_end(desk: Desk) -> None:
    """Page by page."""
    tables, name = Tables(desk.stack), f"paged{uuid4().hex}"
    tables.create(name)
    for row in "abc":
        tables.insert(name, {"PartitionKey": "x", "RowKey": row})
    pages = [json.loads(page)["value"] for page in islice(tables.pages(name, 2), 4)]
    tables.delete(name)
    assert [[row["RowKey"] for row in page] for page in pages if page] == [["a", "b"], ["c"]]


def test_the_search_finds_what_is_planted_in_the_header_of_an_answer(desk: Desk) -> None:
    """The desk keeps headers beside the body."""
    desk.answers.append(f"{{'Location': '/api/transfers?code={CANARY}'}} b''")
    found = search.secrets(desk).leaks(search.answers(desk))
    desk.answers.pop()
    assert list(found) == [f"answer {len(desk.answers)}"]
