"""Jobs that commit by rename in an account with a hierarchical namespace, with every event delivered twice (rule 21)."""

import json
from collections import Counter
from collections.abc import Iterator
from functools import partial

import pytest
from azure.storage.filedatalake import DataLakeServiceClient

from tests.e2e.client import TIMEOUT, Client
from tests.e2e.events import until_queue_is_empty
from tests.e2e.lake import delta_commit, lake_account, spark_job, write
from tests.e2e.stacks import environment, running_stack

# The documented filters for data lakes.
EXCLUDE = ["_temporary/*", ".spark-staging-*/*", "_delta_log/.*", "*.filepart", "*.tmp"]
UNCLOSED = b"flushed, but never closed"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A stack whose source is hierarchical, and where a writer has flushed a file that it will never close."""
    state = tmp_path_factory.mktemp("lakes")
    settings = environment(state)
    accounts = f"http://127.0.0.1:{settings['AZURITE_BLOB_PORT']}"
    lake = {
        "name": "lake",
        "source": f"{accounts}/sharingsource/lake/out/",
        "target": f"{accounts}/sharingtarget/lake/",
        "exclude": EXCLUDE,
    }
    with running_stack(state, settings | {"ROUTES": json.dumps([lake])}) as running:
        running.control.hierarchical("sharingsource")
        running.control.events(mode="duplicate")
        for name in ("sharingsource", "sharingtarget"):
            running.create_container(name, "lake")
        with lake_account(running, "sharingsource") as account, account.get_file_system_client("lake") as files:
            files.create_directory("out").close()
            with files.get_file_client("out/unclosed.log") as file:
                file.create_file()
                file.append_data(UNCLOSED, 0)
                file.flush_data(len(UNCLOSED), close=False)
        yield running


@pytest.fixture
def account(client: Client) -> Iterator[DataLakeServiceClient]:
    with lake_account(client, "sharingsource") as opened:
        yield opened


def at_target(client: Client, folder: str) -> dict[str, bytes]:
    """The target's blobs of a folder, by their names at the source."""
    target = client.accounts["sharingtarget"].get_container_client("lake")
    return {
        f"out/{name}": client.read(target.get_blob_client(name))
        for name in target.list_blob_names(name_starts_with=folder)
    }


def until_shared(client: Client, folder: str, expected: dict[str, bytes]) -> None:
    client.until(lambda: set(at_target(client, folder)) >= set(expected), f"{folder} is shared", 2 * TIMEOUT)
    client.until(partial(_is_idle, client), "no transfer runs")
    assert at_target(client, folder) == expected


def _is_idle(client: Client) -> bool:
    return all(item["state"] in {"verified", "superseded"} for item in client.list_all("/transfers"))


def copies(client: Client, folder: str) -> Counter[str]:
    """The copies to a folder of the target, by name."""
    entries = client.control.requests(account="sharingtarget", operation="CopyBlobFromUrl", internal=False)
    return Counter(f"out/{entry['blob']}" for entry in entries if entry["blob"].startswith(folder))


def test_a_spark_job_is_shared_without_its_temporary_files(client: Client, account: DataLakeServiceClient) -> None:
    expected = spark_job(account, "lake", "out/spark")
    until_shared(client, "spark/", expected)
    assert copies(client, "spark/") == Counter(expected.keys())
    jobs = client.list_all("/reconciles")
    assert {job["prefix"] for job in jobs if job["counts"]["started"]} == {
        "out/spark/date=2026-11-27/",
        "out/spark/date=2026-11-28/",
    }
    assert not any("_temporary" in job["prefix"] for job in jobs)


def test_a_second_job_into_the_same_folder_is_shared(client: Client, account: DataLakeServiceClient) -> None:
    """Its partitions exist, so it renames file by file; it replaces the marker of the first job."""
    first = spark_job(account, "lake", "out/again")
    expected = first | spark_job(account, "lake", "out/again")
    until_shared(client, "again/", expected)


def test_commits_of_a_delta_table_are_shared(client: Client, account: DataLakeServiceClient) -> None:
    expected: dict[str, bytes] = {}
    for version in range(3):
        expected |= delta_commit(account, "lake", "out/table", version)
    until_shared(client, "table/", expected)
    assert copies(client, "table/") == Counter(expected.keys())
    assert client.list_all("/dead-letters") == []


def test_a_file_renamed_away_and_back_is_shared_again(client: Client, account: DataLakeServiceClient) -> None:
    """It has its old name and ETag, so its transfer has already ended."""
    files = account.get_file_system_client("lake")
    write(files, "out/moved/a", b"the first")
    until_shared(client, "moved/", {"out/moved/a": b"the first"})
    first = client.transfer_of("out/moved/a", "lake").body
    with files.get_file_client("out/moved/a") as file:
        file.rename_file("lake/aside").close()
    write(files, "out/moved/a", b"the other")
    client.until(lambda: at_target(client, "moved/") == {"out/moved/a": b"the other"}, "the other file is shared")
    with files.get_file_client("aside") as file:
        file.rename_file("lake/out/moved/a").close()
    client.until(lambda: at_target(client, "moved/") == {"out/moved/a": b"the first"}, "the first file is back")
    again = client.until_final("out/moved/a", "lake")
    assert (again["id"], again["state"], again["attempt"]) == (first["id"], "verified", 1)
    files.close()


def test_a_renamed_ancestor_shares_the_whole_route(client: Client, account: DataLakeServiceClient) -> None:
    """Its name is shorter than the route's prefix."""
    files = account.get_file_system_client("lake")
    with files.get_directory_client("out") as directory:
        directory.rename_directory("lake/before").close()
    with files.get_directory_client("before") as directory:
        directory.rename_directory("lake/out").close()
    jobs = client.until(
        lambda: [job for job in client.list_all("/reconciles") if job["prefix"] == "out/"], "the route is reconciled"
    )
    client.until(
        lambda: all(client.api("GET", f"/reconciles/{job['id']}").body["state"] == "done" for job in jobs),
        "its reconcile is done",
    )
    files.close()


def test_a_file_that_is_never_closed_is_shared_once_it_rests(client: Client) -> None:
    until_shared(client, "unclosed.log", {"out/unclosed.log": UNCLOSED})
    until_queue_is_empty(client)
    assert client.list_all("/dead-letters") == []
