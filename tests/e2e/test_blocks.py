"""Copies by blocks: every property is kept, the old content stays readable until the commit, and a crash repeats only blocks in flight.

The stack has a size unit of 16 KiB: `sync` copies up to 4 MiB, one activity stages up to 32 MiB, and a block has 0.5 to 1.6 MiB.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from random import Random
from typing import Any

import pytest
from azure.storage.blob import ContentSettings

from rules.transfers.blocks import MAX_FLOW, Sizes
from tests.e2e.client import TIMEOUT, Client
from tests.e2e.stacks import environment, searched_stack
from tests.e2e.storm import LONG, SEED

UNIT = 16 * 1024
SIZES = Sizes(UNIT)
MANY, SMALL, LARGE = 5 * 1024 * 1024, 8 * 1024 * 1024, 40 * 1024 * 1024
# Moments at which the source is overwritten or the target is read.
MOMENTS = 20 if LONG else 10


def content(name: str, size: int) -> bytes:
    """Return content that is unique for the name, and different in each block."""
    return hashlib.shake_256(name.encode()).digest(size)


def count_blocks(size: int) -> int:
    return -(-size // SIZES.block_size(size))


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    state = tmp_path_factory.mktemp("blocks")
    settings = environment(state) | {"SIZE_UNIT_BYTES": str(UNIT), "WINDOW_SECONDS": "0.5"}
    account = f"http://127.0.0.1:{settings['AZURITE_BLOB_PORT']}"
    source, target = f"{account}/sharingsource", f"{account}/sharingtarget"
    routes = [
        {"name": "default", "source": f"{source}/source/", "target": f"{target}/target/"},
        {"name": "forced", "source": f"{source}/forced/", "target": f"{target}/forced/", "engine": "blocks"},
        {"name": "inside", "source": f"{source}/inside/", "target": f"{source}/copies/"},
    ]
    with searched_stack(state, settings | {"ROUTES": json.dumps(routes)}) as running:
        for name in ("forced", "inside", "copies"):
            running.create_container("sharingsource", name)
        running.create_container("sharingtarget", "forced")
        yield running


@contextmanager
def slow_blocks(client: Client, seconds: float) -> Iterator[None]:
    client.control.copies(block_seconds=seconds)
    try:
        yield
    finally:
        client.control.copies(block_seconds=0)


def staged(client: Client, name: str) -> list[dict[str, Any]]:
    """Return the requests to stage a block of this blob, including those without an answer."""
    return client.control.requests(operation="PutBlockFromUrl", blob=name, internal=False)


def copying(client: Client, name: str, route: str = "default") -> dict[str, Any] | None:
    answer = client.transfer_of(name, route)
    return answer.body if answer.status == 200 and answer.body["state"] == "copying" else None


def test_every_property_is_kept(client: Client) -> None:
    """One activity stages all blocks and commits them."""
    data = content("kept.bin", SMALL)
    settings = ContentSettings(
        content_type="text/csv",
        content_encoding="br",
        content_language="de",
        content_disposition="inline",
        cache_control="no-cache",
        content_md5=bytearray(hashlib.md5(data, usedforsecurity=False).digest()),
    )
    etag = client.put("kept.bin", data, metadata={"owner": "finance"}, content_settings=settings, tags={"team": "a"})
    transfer = client.until_final("kept.bin")
    assert (transfer["state"], transfer["engine"], transfer["copied"]) == ("verified", "blocks", SMALL)
    copy = client.target("kept.bin")
    properties = copy.get_blob_properties()
    assert client.read(copy) == data
    assert properties.content_settings == settings
    assert properties.metadata == {"owner": "finance", "source_etag": etag, "transfer_id": transfer["id"]}
    assert copy.get_blob_tags() == {"team": "a"}
    counts = client.count_requests(["kept.bin"])
    assert (counts["PutBlockFromUrl"], counts["PutBlockList"]) == (count_blocks(SMALL), 1)
    assert counts["CopyBlob"] + counts["CopyBlobFromUrl"] == 0


@pytest.mark.parametrize("size", [0, 1, SIZES.block_size(1), SIZES.block_size(1) + 1])
def test_a_route_may_force_blocks(client: Client, size: int) -> None:
    name = f"forced-{size}.bin"
    client.put(name, content(name, size), container="forced")
    transfer = client.until_final(name, "forced")
    assert (transfer["state"], transfer["engine"]) == ("verified", "blocks")
    assert client.read(client.target(name, "forced")) == content(name, size)
    assert client.count_requests([name])["PutBlockFromUrl"] == count_blocks(size)


def test_an_append_blob_becomes_a_block_blob(client: Client) -> None:
    blob = client.source("log.txt", "forced")
    blob.create_append_blob()
    blob.append_block(b"one line")
    # The service sends an event for the creation only. The successor of a growing blob waits for a minute.
    assert client.api("POST", "/transfers", {"route": "forced", "name": "log.txt"}).status == 202
    transfer = client.until_final("log.txt", "forced")
    assert (transfer["state"], transfer["engine"]) == ("verified", "blocks")
    assert "is a block blob" in transfer["detail"]
    assert client.read(client.target("log.txt", "forced")) == b"one line"


def test_one_account_copies_asynchronously(client: Client) -> None:
    """The service only links the content."""
    client.put("linked.bin", content("linked.bin", SMALL), container="inside")
    assert client.until_final("linked.bin", "inside")["engine"] == "async"
    assert client.count_requests(["linked.bin"])["PutBlockFromUrl"] == 0


def test_a_large_blob_shows_progress_and_keeps_the_old_content_until_the_commit(client: Client) -> None:
    """The target is read several times while a lane stages the blocks."""
    name = "large.bin"
    old, new = content("old", 1000), content(name, LARGE)
    client.put(name, old)
    assert client.until_final(name)["state"] == "verified"
    with slow_blocks(client, 0.4):
        client.put(name, new)
        seen = client.until(lambda: copying(client, name), "lanes stage the blocks")
        assert (seen["engine"], seen["total"]) == ("blocks", LARGE)
        reads = [client.read(client.target(name)) for _ in range(MOMENTS)]
        still = copying(client, name)
    assert still is not None, "the copy was too fast for the reads"
    assert set(reads) == {old}
    assert client.until_final(name)["copied"] == LARGE
    assert client.read(client.target(name)) == new
    assert len(staged(client, name)) == count_blocks(LARGE)


@pytest.mark.timeout(2 * TIMEOUT)
def test_a_source_overwritten_at_any_moment_is_never_mixed(client: Client) -> None:
    """Each blob is overwritten at a moment of its own; the target holds one version or the other."""
    random = Random(SEED)  # noqa: S311  # repeatable, not secret
    names = [f"mixed/{number}" for number in range(MOMENTS)]
    moments = {name: random.randrange(count_blocks(MANY) + 2) for name in names}

    def overwrite(name: str) -> tuple[bytes, bytes]:
        versions = content(name, MANY), content(f"{name} again", MANY)
        client.put(name, versions[0])
        client.until(lambda: len(staged(client, name)) >= min(moments[name], count_blocks(MANY)), f"{name} is staged")
        client.put(name, versions[1])
        return versions

    with slow_blocks(client, 0.05), ThreadPoolExecutor(4) as pool:
        written = dict(zip(names, pool.map(overwrite, names), strict=True))
    for name in names:
        assert client.until_final(name)["state"] == "verified", f"SEED={SEED}"
        assert client.read(client.target(name)) == written[name][1]


@pytest.mark.timeout(2 * TIMEOUT)
@pytest.mark.parametrize("victim", ["host", "worker"])
def test_a_crash_repeats_only_the_blocks_in_flight(client: Client, victim: str) -> None:
    """`kill -9` when half of the blocks are staged."""
    name = f"killed-{victim}.bin"
    with slow_blocks(client, 0.3):
        client.put(name, content(name, LARGE))
        half = count_blocks(LARGE) // 2
        client.until(lambda: sum(r["status"] == 201 for r in staged(client, name)) >= half, "half is staged")
        if victim == "worker":
            client.kill_worker()
        else:
            client.stack.kill_host()
            client.stack.start_host()
    look = lambda: client.transfer_of(name).body["state"] == "verified"  # noqa: E731
    client.until_resumed(look, "the copy is verified", 2 * TIMEOUT)
    assert client.read(client.target(name)) == content(name, LARGE)
    again = len(staged(client, name)) - count_blocks(LARGE)
    assert 0 <= again <= MAX_FLOW
    assert Counter(request["status"] for request in staged(client, name) if request["answered"]).keys() == {201}


def test_a_cancel_stops_staging_and_a_replay_goes_on(client: Client) -> None:
    """The staged blocks stay for a week, so the replay stages only the others."""
    name = "cancelled.bin"
    with slow_blocks(client, 0.5):
        client.put(name, content(name, LARGE))
        running = client.until(lambda: copying(client, name), "lanes stage the blocks")
        assert client.api("DELETE", f"/transfers/{running['id']}").status == 202
        assert client.until_ended(running["id"])["state"] == "cancelled"
    assert not client.target(name).exists()
    assert client.api("POST", "/transfers", {"route": "default", "name": name}).status == 202
    assert client.until_final(name)["state"] == "verified"
    assert client.read(client.target(name)) == content(name, LARGE)
    assert len(staged(client, name)) == count_blocks(LARGE)


@pytest.mark.parametrize(("status", "code"), [(403, "AuthorizationFailure"), (401, "NoAuthenticationInformation")])
def test_blocks_replace_a_refused_sync_copy(client: Client, status: int, code: str) -> None:
    """A firewall may let Put Block From URL in and Copy Blob From URL not."""
    name = f"refused-{status}.txt"
    answer = {"status": status, "code": "CannotVerifyCopySource", "source_status": status, "source_code": code}
    rule = client.control.add_fault({"operation": "CopyBlobFromUrl", "blob": name}, answer, times=100)
    client.put(name, b"refused")
    transfer = client.until_final(name)
    client.control.remove_faults(rule)
    assert (transfer["state"], transfer["engine"]) == ("verified", "blocks")
    assert client.read(client.target(name)) == b"refused"


@pytest.mark.skipif(not LONG, reason="a copy stalls for a minute (SOAK=long)")
@pytest.mark.timeout(3 * TIMEOUT)
def test_blocks_replace_a_stalled_copy(client: Client) -> None:
    client.control.copies(hold=True)
    try:
        client.put("stalled.bin", content("stalled.bin", SMALL), container="inside")
        client.until(lambda: copying(client, "stalled.bin", "inside"), "the copy is pending")
        look = lambda: client.transfer_of("stalled.bin", "inside").body["state"] == "verified"  # noqa: E731
        client.until(look, "blocks replace the copy", 3 * TIMEOUT)
    finally:
        client.control.copies(hold=False)
    transfer = client.until_final("stalled.bin", "inside")
    assert (transfer["engine"], transfer["state"]) == ("blocks", "verified")
    assert "too slow" in transfer["detail"]
    assert client.read(client.source("stalled.bin", "copies")) == content("stalled.bin", SMALL)


def test_a_busy_service_slows_the_copy_down(client: Client) -> None:
    """Half of the requests are refused. The blocks are staged by fewer requests at a time, without a dead letter."""
    name = "busy.bin"
    rule = client.control.add_fault(
        {"operation": "PutBlockFromUrl", "blob": name}, {"status": 503, "code": "ServerBusy"}, times=6
    )
    client.put(name, content(name, SMALL))
    transfer = client.until_final(name)
    client.control.remove_faults(rule)
    assert (transfer["state"], transfer["engine"]) == ("verified", "blocks")
    assert client.read(client.target(name)) == content(name, SMALL)
    assert len(staged(client, name)) == count_blocks(SMALL) + 6
