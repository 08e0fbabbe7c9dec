"""The main purpose: a new source blob appears in each of its targets, byte for byte."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from azure.storage.blob import BlobType, ContentSettings

from tests.e2e.client import TIMEOUT, Client
from tests.e2e.storm import LONG

MIB = 1024 * 1024
MANY = 1_000 if LONG else 150
NAMES = [
    "plain.txt",
    "a/b/c.txt",
    "spaces  in  it",
    " leading and trailing ",
    "percent % %20 %2F %2e%2e",
    "signs +#?&;=,'()!@$*[]{}|^~`\"<>",
    "ümläut é ñ",
    "ne\u0301 (NFD)",
    "emoji 🎉/漢字",
    "\u202eright to left\u202c",
    "//two//slashes//",
    "trailing/",
    "...leading.dots",
    "next\x85line",
    "...dots . in the middle.txt",
    "x" * 1_024,
]


def test_a_small_blob_costs_one_head_and_one_copy(client: Client) -> None:
    """The receipt on the target names the version and the transfer."""
    etag = client.put("single/one.txt", b"once")
    transfer = client.until(lambda: verified_transfers(client, "single/one.txt"), "its transfer is verified")[0]
    assert (transfer["state"], transfer["engine"], transfer["tries"]) == ("verified", "sync", 0)
    assert client.count_requests(["single/one.txt"]) == {"HeadBlob": 1, "CopyBlobFromUrl": 1}
    properties = client.target("single/one.txt").get_blob_properties()
    assert properties.metadata == {"source_etag": etag, "transfer_id": transfer["id"]}
    assert client.read(client.target("single/one.txt")) == b"once"


def test_many_blobs_cost_one_copy_each(client: Client) -> None:
    blobs = {f"many/{number}": f"blob number {number}".encode() * 20 for number in range(MANY)}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(client.put, blobs, blobs.values()))
        client.until(partial(are_requested, client, set(blobs)), "all copies are requested", 2 * TIMEOUT)
        client.until(lambda: len(verified_transfers(client, "many/")) == MANY, "all are verified")
        requests = client.count_requests(blobs)
        # A look expires after a second here (WINDOW_SECONDS), so under load some are repeated.
        assert requests.pop("HeadBlob") >= MANY
        assert requests == {"CopyBlobFromUrl": MANY}
        assert list(pool.map(client.read, map(client.target, blobs))) == list(blobs.values())


def are_requested(client: Client, names: set[str]) -> bool:
    return names <= {
        request["blob"] for request in client.control.requests(operation="CopyBlobFromUrl", internal=False)
    }


def verified_transfers(client: Client, prefix: str) -> list[dict[str, Any]]:
    """The verified transfers of blobs with this prefix, from the list, which reads neither source nor target."""
    items = client.list_all("/transfers?route=default&state=verified")
    return [item for item in items if item["source"]["name"].startswith(prefix)]


@pytest.mark.parametrize("name", NAMES)
def test_names_arrive_byte_for_byte(client: Client, name: str) -> None:
    client.put(name, name.encode())
    assert client.until_final(name)["state"] == "verified"
    container = client.accounts["sharingtarget"].get_container_client("target")
    assert name in set(container.list_blob_names())
    assert client.read(client.target(name)) == name.encode()


def test_metadata_headers_and_tags_are_copied(client: Client) -> None:
    headers = ContentSettings(
        content_type="text/csv",
        content_encoding="identity",
        content_language="fr",
        content_disposition="attachment",
        cache_control="no-cache",
    )
    client.put(
        "carried.csv",
        b"a,b",
        content_settings=headers,
        metadata={"Owner": "Zo"},
        tags={"team": "data", "tier 1": "yes"},
    )
    assert client.until_final("carried.csv")["state"] == "verified"
    properties = client.target("carried.csv").get_blob_properties()
    assert properties.metadata["Owner"] == "Zo"
    carried = properties.content_settings
    assert (carried.content_type, carried.content_encoding, carried.content_language) == ("text/csv", "identity", "fr")
    assert (carried.content_disposition, carried.cache_control) == ("attachment", "no-cache")
    assert carried.content_md5 == bytearray(hashlib.md5(b"a,b", usedforsecurity=False).digest())
    assert client.target("carried.csv").get_blob_tags() == {"team": "data", "tier 1": "yes"}


def test_empty_append_and_page_blobs_are_copied(client: Client) -> None:
    """Append and page blobs need the engine `async`."""
    client.put("kinds/empty", b"")
    client.put("kinds/append", b"appended", blob_type=BlobType.APPENDBLOB)
    client.put("kinds/page", b"p" * 512, blob_type=BlobType.PAGEBLOB)
    # Their events name the empty version, and the successor of an append blob is announced only a minute later.
    client.api("POST", "/transfers", {"route": "default", "name": "kinds/append"})
    for name, engine, data in (("empty", "sync", b""), ("append", "async", b"appended"), ("page", "async", b"p" * 512)):
        transfer = client.until_final(f"kinds/{name}")
        assert (transfer["state"], transfer["engine"]) == ("verified", engine), name
        assert client.read(client.target(f"kinds/{name}")) == data


def test_two_routes_with_one_source_are_two_targets(client: Client) -> None:
    """Each route has its own suffix and prefix."""
    for account, name in (("sharingsource", "two"), ("sharingtarget", "first"), ("sharingtarget", "second")):
        client.create_container(account, name)
    client.put("in/day.csv", b"both", container="two")
    client.put("in/day.txt", b"one", container="two")
    for name, route in (("in/day.csv", "first"), ("in/day.csv", "second"), ("in/day.txt", "second")):
        assert client.until_final(name, route)["state"] == "verified"
    listed = {
        name: list(client.accounts["sharingtarget"].get_container_client(name).list_blob_names())
        for name in ("first", "second")
    }
    assert listed == {"first": ["day.csv"], "second": ["copies/of/day.csv", "copies/of/day.txt"]}


def test_a_large_blob_shows_its_progress(client: Client) -> None:
    """At the end, the copy properties that contain the signature are removed."""
    client.create_container("sharingsource", "async")
    client.create_container("sharingtarget", "async")
    client.control.copies(rate=8 * MIB, show_signature=True)
    try:
        client.put("slow.bin", b"slow" * (16 * MIB), container="async")
        progress: list[int] = []

        def look() -> bool:
            answer = client.transfer_of("slow.bin", "patient")
            if answer.status == 200 and answer.body["state"] == "copying":
                progress.append(answer.body["copied"])
            return answer.status == 200 and answer.body["state"] == "verified"

        client.until(look, "slow.bin is verified")
    finally:
        client.control.copies(rate=100 * MIB, show_signature=False)
    assert progress == sorted(progress)
    assert len(set(progress)) > 1
    properties = client.target("slow.bin", "async").get_blob_properties()
    assert (properties.size, properties.copy.source) == (64 * MIB, None)


def test_an_existing_blob_is_shared_by_request_and_copied_once(client: Client) -> None:
    client.control.events(mode="drop")
    try:
        client.put("before.txt", b"existing")
    finally:
        client.control.events(mode="deliver")
    assert client.transfer_of("before.txt").status == 404
    answer = client.api("POST", "/transfers", {"route": "default", "name": "before.txt"})
    assert answer.status == 202
    assert client.until_final("before.txt")["state"] == "verified"
    client.api("POST", "/transfers", {"route": "default", "name": "before.txt"})
    assert client.until_final("before.txt")["state"] == "verified"
    assert client.count_requests(["before.txt"])["CopyBlobFromUrl"] == 1
