"""A blob of 1 GiB: progress, cancel, and an overwrite during the copy."""

import hashlib
from collections.abc import Iterator

import pytest
from azure.storage.blob import BlobBlock

from tests.e2e.client import Client

MIB = 1024 * 1024
SIZE = 1024 * MIB
BLOCK = 64 * MIB


@pytest.fixture
def large(client: Client) -> Iterator[None]:
    """A blob of 1 GiB, which repeats one block to upload less, and a service that copies it in twenty seconds."""
    client.control.copies(rate=50 * MIB)
    blob = client.source("gib.bin")
    blob.stage_block("block", hashlib.shake_256(b"large").digest(BLOCK))
    blob.commit_block_list([BlobBlock("block")] * (SIZE // BLOCK))
    yield
    client.control.copies(rate=100 * MIB, hold=False)


@pytest.mark.usefixtures("large")
def test_a_gib_is_followed_cancelled_shared_and_overwritten(client: Client) -> None:
    first = client.until(lambda: copying_transfer(client, more_than=0), "progress is shown")
    assert (first["engine"], first["total"]) == ("async", SIZE)
    later = client.until(lambda: copying_transfer(client, more_than=first["copied"]), "progress rises")
    assert first["copied"] < later["copied"] < SIZE

    client.control.copies(hold=True)  # otherwise the copy might be complete, and verified, before it is aborted
    assert client.api("DELETE", f"/transfers/{first['id']}").status == 202
    assert client.until_ended(first["id"])["state"] == "cancelled"
    assert not client.target("gib.bin").exists()
    client.control.copies(hold=False)

    assert client.api("POST", "/transfers", {"route": "default", "name": "gib.bin"}).status == 202
    client.until(lambda: copying_transfer(client, more_than=0), "it is copied again")
    new = client.put("gib.bin", b"smaller, and newer")
    shared = client.until_final("gib.bin")
    assert (shared["state"], shared["source"]["etag"]) == ("verified", new)
    assert client.until_ended(first["id"])["successor"]["etag"] == new
    assert client.read(client.target("gib.bin")) == b"smaller, and newer"


def copying_transfer(client: Client, *, more_than: int) -> dict[str, int] | None:
    """Return the transfer if more than this number of bytes was copied."""
    answer = client.transfer_of("gib.bin")
    copying = answer.status == 200 and answer.body["state"] == "copying" and answer.body["copied"] > more_than
    return answer.body if copying else None
