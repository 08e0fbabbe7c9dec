"""One GiB: progress, cancel, and a source that changes in the middle."""

import hashlib
from collections.abc import Iterator

import pytest

from tests.e2e.desk import Desk

MIB = 1024 * 1024
SIZE = 1024 * MIB


@pytest.fixture
def large(desk: Desk) -> Iterator[bytes]:
    """A GiB of bytes, and a service that copies it in twenty seconds."""
    desk.control.copies(rate=50 * MIB)
    yield hashlib.shake_256(b"large").digest(MIB) * 1024
    desk.control.copies(rate=100 * MIB, hold=False)


def test_a_gib_is_followed_cancelled_shared_and_overwritten(desk: Desk, large: bytes) -> None:
    """One upload serves all: it takes longer than what is tested."""
    desk.put("gib.bin", large, max_concurrency=2)
    first = desk.until(lambda: progress(desk, more_than=0), "progress is shown")
    assert (first["engine"], first["total"]) == ("async", SIZE)
    later = desk.until(lambda: progress(desk, more_than=first["copied"]), "progress rises")
    assert first["copied"] < later["copied"] < SIZE

    desk.control.copies(hold=True)  # or it might be complete before it is aborted, and so be verified
    assert desk.api("DELETE", f"/transfers/{first['id']}").status == 202
    assert desk.until_ended(first["id"])["state"] == "cancelled"
    assert not desk.target("gib.bin").exists()
    desk.control.copies(hold=False)

    assert desk.api("POST", "/transfers", {"route": "default", "name": "gib.bin"}).status == 202
    desk.until(lambda: progress(desk, more_than=0), "it is being copied again")
    new = desk.put("gib.bin", b"smaller, and newer")
    shared = desk.until_final("gib.bin")
    assert (shared["state"], shared["source"]["etag"]) == ("verified", new)
    assert desk.until_ended(first["id"])["successor"]["etag"] == new
    assert desk.read(desk.target("gib.bin")) == b"smaller, and newer"


def progress(desk: Desk, *, more_than: int) -> dict[str, int] | None:
    """The transfer, once more than so many bytes were copied."""
    answer = desk.transfer_of("gib.bin")
    copying = answer.status == 200 and answer.body["state"] == "copying" and answer.body["copied"] > more_than
    return answer.body if copying else None
