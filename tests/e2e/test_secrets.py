"""At the level DEBUG, no SAS, key or token is stored or logged where it does not belong."""

import base64
import gzip
import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from itertools import islice
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import pytest

from tests.e2e import search
from tests.e2e.client import CANARY, ON_FUNC, Client
from tests.e2e.events import message_dead_letters
from tests.e2e.tables import Tables

KEY = "q83vEjRWeJq8/N4SNFZ4mrz83hI0VniavPzeEjRWeJq8/N4SNFZ4mrz83hI0VniavPzeEjRWeJq8+N4SNFZ4mg=="
SIGNED = "dZ3oOqFvJ1m+u2Sx/0yJwM9QkVb7aTgHcR5eLnPiXfE="
SAS = f"https://a.blob.core.windows.net/c/b?sv=2026-02-06&sr=b&sp=r&sig={quote(SIGNED, safe='')}&se=2026-11-27"
LONG = "x" * 20_000
# Where a host stores histories: a real one uses a table that is named after its hub.
HISTORY = "BlobDataSharingHistory" if ON_FUNC else "host.sqlite:history"


def test_a_message_with_a_secret_becomes_a_dead_letter(client: Client) -> None:
    """`test_no_secret_is_stored_or_logged` then searches it."""
    old = {item["id"] for item in message_dead_letters(client)}
    client.queue().send_message('{"url": "https://a.blob.core.windows.net/c/b?sv=1&sig=c2VjcmV0&code=c2VjcmV0"}')
    client.until(lambda: [item for item in message_dead_letters(client) if item["id"] not in old], "it is kept")


def test_no_secret_is_stored_or_logged(client: Client) -> None:
    """The search covers logs, histories, the app's accounts, answers and command lines, but not the emulator's files.

    It finds an answer with a URL of the extension: these URLs contain the extension's system key.
    """
    shared = client.put("secrets/last.txt", b"signed")
    assert client.until_final("secrets/last.txt")["source"]["etag"] == shared
    places = dict(search.all_places(client))
    assert {"stack.log", HISTORY, "blob-events", "dead-letters"} <= set(places)
    assert sum(where.startswith("dead-letters/open/") for where in places) > 0
    assert sum(where.startswith("answer ") for where in places) > 0
    assert sum(where.startswith("command line ") for where in places) >= 3
    assert b"Request URL: 'http" in places["stack.log"]  # the SDK logs at INFO and below
    assert len(search.signatures(client)) > 0
    client.answers.append(f"{{}} b'http://localhost:7071/runtime/webhooks/durabletask/instances/{uuid4()}'")
    found = search.all_leaks(client)
    client.answers.pop()
    assert found == {f"answer {len(client.answers)}": b"of the extension"}


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
        "http://localhost:7071/api/transfers?code=another-key",
        pytest.param(f"x-functions-key: {CANARY}", id="the canary"),
    ],
)
def test_the_search_finds_a_secret_in_any_encoding(planted: str) -> None:
    """It finds nothing in a text without a secret."""
    wanted = search.Secrets([KEY, CANARY], [SIGNED])
    assert wanted.find(f'{LONG} {{"text": "{planted}"}} {LONG}'.encode())
    assert wanted.find(f'{LONG} {{"text": "{planted[:8]}"}} {LONG} sig=REMOVED exit_code=1'.encode()) is None


def test_the_search_finds_a_secret_in_a_log(client: Client, tmp_path: Path) -> None:
    shutil.copy(client.log, tmp_path)
    wanted = search.known_secrets(client)
    assert wanted.leaks(search.files(tmp_path)) == {}
    with (tmp_path / client.log.name).open("a") as log:
        log.write(f"signed {min(search.signatures(client))}\n")
    assert set(wanted.leaks(search.files(tmp_path))) == {client.log.name}


@pytest.mark.skipif(ON_FUNC, reason="a real host keeps its histories in tables")
def test_the_search_finds_a_secret_in_a_history(client: Client, tmp_path: Path) -> None:
    """The database stores the long value in pieces."""
    with (
        closing(sqlite3.connect(client.stack.state / "host.sqlite")) as database,
        closing(sqlite3.connect(tmp_path / "host.sqlite")) as copy,
    ):
        database.backup(copy)
    wanted = search.known_secrets(client)
    assert wanted.leaks(search.files(tmp_path)) == {}
    with closing(sqlite3.connect(tmp_path / "host.sqlite")) as database:
        value = json.dumps(f"{LONG}{client.stack.key}{LONG}")
        database.execute("INSERT INTO history VALUES ('planted', 1, ?)", [value])
        database.commit()
    assert HISTORY in wanted.leaks(search.files(tmp_path))


def plant_in_blob(client: Client, name: str, account: str = "sharingstate") -> Callable[[], None]:
    container = client.accounts[account].create_container(name)
    container.upload_blob("report.jsonl", json.dumps({"url": SAS}))
    return container.delete_container


def plant_in_compressed_blob(client: Client, name: str) -> Callable[[], None]:
    """A real host compresses values that are too large for a row."""
    container = client.accounts["sharingstate"].create_container(name)
    container.upload_blob("history.json.gz", gzip.compress(json.dumps({"key": client.stack.key}).encode()))
    return container.delete_container


def plant_in_table(client: Client, name: str) -> Callable[[], None]:
    tables = Tables(client.stack)
    tables.create(name)
    tables.insert(name, {"PartitionKey": "x", "RowKey": "x", "Input": json.dumps({"url": SAS})})
    return lambda: tables.delete(name)


def plant_in_metadata(client: Client, name: str) -> Callable[[], None]:
    blob = client.accounts["sharingstate"].get_blob_client("dead-letters", f"open/{name}.json")
    blob.upload_blob(b"", metadata={"note": CANARY})
    return blob.delete_blob


PLANTS: list[Callable[[Client, str], Callable[[], None]]] = [
    *(search.plant_in_queue, plant_in_blob, plant_in_compressed_blob, plant_in_table, plant_in_metadata),
    *(partial(plant, account="sharingevents") for plant in (search.plant_in_queue, plant_in_blob)),
]


def test_the_search_finds_a_secret_in_each_account_of_the_app(client: Client) -> None:
    """In resources with random names: the search lists all resources. One search for all of them, because it takes seconds."""
    wanted = search.known_secrets(client)
    names = [f"planted{uuid4().hex}" for _ in PLANTS]
    with ExitStack() as planted:
        for plant, name in zip(PLANTS, names, strict=True):
            planted.callback(plant(client, name))
        found = wanted.leaks(search.app_accounts(client))
    assert sorted(name for where in found for name in names if name in where) == sorted(names)
    assert len(found) == len(names)
    assert wanted.leaks(search.app_accounts(client)) == {}


def test_all_pages_of_a_table_are_read(client: Client) -> None:
    tables, name = Tables(client.stack), f"paged{uuid4().hex}"
    tables.create(name)
    for row in "abc":
        tables.insert(name, {"PartitionKey": "x", "RowKey": row})
    pages = [json.loads(page)["value"] for page in islice(tables.pages(name, 2), 4)]
    tables.delete(name)
    assert [[row["RowKey"] for row in page] for page in pages if page] == [["a", "b"], ["c"]]


def test_the_search_finds_a_secret_in_the_header_of_an_answer(client: Client) -> None:
    client.answers.append(f"{{'Location': '/api/transfers?code={CANARY}'}} b''")
    found = search.known_secrets(client).leaks(search.answers(client))
    client.answers.pop()
    assert list(found) == [f"answer {len(client.answers)}"]
