"""A large blob that is copied asynchronously: progress, cancel, and an overwrite during the copy."""

import hashlib
from collections.abc import Iterator

import pytest
from azure.storage.blob import BlobBlock

from tests.e2e.client import Client

MIB = 1024 * 1024
SIZE = 512 * MIB
BLOCK = 64 * MIB
NAME = "large.bin"


@pytest.fixture
def large(client: Client) -> Iterator[None]:
    """A blob that repeats one block, to upload less, and a service that copies it in twenty seconds."""
    client.create_container("sharingsource", "async")
    client.create_container("sharingtarget", "async")
    client.control.copies(rate=SIZE // 20)
    blob = client.source(NAME, "async")
    blob.stage_block("block", hashlib.shake_256(b"large").digest(BLOCK))
    blob.commit_block_list([BlobBlock("block")] * (SIZE // BLOCK))
    yield
    client.control.copies(rate=100 * MIB, hold=False)


@pytest.mark.usefixtures("large")
def test_a_large_blob_is_followed_cancelled_shared_and_overwritten(client: Client) -> None:
    first = client.until(lambda: copying_transfer(client, more_than=0), "progress is shown")
    assert (first["engine"], first["total"]) == ("async", SIZE)
    later = client.until(lambda: copying_transfer(client, more_than=first["copied"]), "progress rises")
    assert first["copied"] < later["copied"] < SIZE

    client.control.copies(hold=True)  # otherwise the copy might be complete, and verified, before it is aborted
    assert client.api("DELETE", f"/transfers/{first['id']}").status == 202
    assert client.until_ended(first["id"])["state"] == "cancelled"
    assert not client.target(NAME, "async").exists()
    client.control.copies(hold=False)

    assert client.api("POST", "/transfers", {"route": "patient", "name": NAME}).status == 202
    client.until(lambda: copying_transfer(client, more_than=0), "it is copied again")
    new = client.put(NAME, b"smaller, and newer", container="async")
    shared = client.until_final(NAME, "patient")
    assert (shared["state"], shared["source"]["etag"]) == ("verified", new)
    assert client.until_ended(first["id"])["successor"]["etag"] == new
    assert client.read(client.target(NAME, "async")) == b"smaller, and newer"


def copying_transfer(client: Client, *, more_than: int) -> dict[str, int] | None:
    """Return the transfer if more than this number of bytes was copied."""
    answer = client.transfer_of(NAME, "patient")
    copying = answer.status == 200 and answer.body["state"] == "copying" and answer.body["copied"] > more_than
    return answer.body if copying else None
