"""Blob content: which engine copies it, and that bytes, headers, metadata and tags arrive (rules 1, 15, 16 and 18).

`SOAK=long` uses blobs of 256 MiB instead of 16 MiB, and adds tests that take minutes: a target that is leased for all eight tries,
and an append blob that keeps growing.
"""

import hashlib
import json
import time
from base64 import b64encode
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from azure.storage.blob import BlobBlock, BlobClient, BlobLeaseClient, BlobType, ContentSettings

from tests.corpora.content import CASES, FOREIGN, PIECE, UNIT, Case
from tests.e2e.client import Answer, Client
from tests.e2e.stacks import restart
from tests.e2e.storm import LONG
from tests.e2e.transfers import final_transfers, transfers_named

MAX_COPY_ATTEMPTS = 8
# Source and target container of each route. `hasty` has a deadline of one minute; `default` tries for ten minutes.
CONTAINERS = {"hasty": ("hasty", "hasty"), "default": ("source", "target")}
LEASED = ["hasty", *(["default"] if LONG else [])]


@pytest.fixture(scope="module", autouse=True)
def hasty(client: Client) -> Iterator[None]:
    """A route whose transfers have a deadline of one minute, and the unit of the cases."""
    environment, watch = client.stack.environment, client.control.events()["watch"]
    source, target = client.stack.account("sharingsource"), client.stack.account("sharingtarget")
    route = {"name": "hasty", "source": f"{source}/hasty/", "target": f"{target}/hasty/", "deadline": "PT1M"}
    routes = [*json.loads(environment["ROUTES"]), route]
    client.create_container("sharingsource", "hasty")
    client.create_container("sharingtarget", "hasty")
    client.control.events(watch=[*watch, "sharingsource/hasty"])
    restart(client, {**environment, "ROUTES": json.dumps(routes), "SIZE_UNIT_BYTES": str(UNIT)})
    yield
    client.control.events(watch=watch)
    restart(client, environment)


@pytest.fixture(scope="module", autouse=True)
def leases(client: Client, hasty: None) -> dict[str, BlobLeaseClient]:  # noqa: ARG001  # the route must exist
    """Targets by another owner, each under an infinite lease. Started first, because the tries take minutes."""
    held = {}
    for route in LEASED:
        target = client.target("leased", CONTAINERS[route][1])
        target.upload_blob(FOREIGN)
        held[route] = target.acquire_lease()
        client.put("leased", b"after the lease", CONTAINERS[route][0])
    return held


@pytest.fixture(scope="module", autouse=True)
def growing(client: Client, hasty: None) -> list[str]:  # noqa: ARG001  # it restarts the host
    """The ETags of an append blob that grew by twenty blocks before its first event was delivered. Started first."""
    client.control.events(mode="hold")
    try:
        etags = [create(client, "growing.log")]
        etags += [append(client, "growing.log", number) for number in range(20)]
    finally:
        client.control.events(mode="deliver")
    return etags


def create(client: Client, name: str) -> str:
    """Create an empty append blob. Return its ETag."""
    return str(client.source(name).create_append_blob()["etag"]).strip('"')


def append(client: Client, name: str, number: int) -> str:
    """Append a line. Return the ETag."""
    return str(client.source(name).append_block(line(number))["etag"]).strip('"')


def line(number: int) -> bytes:
    return f"line {number}\n".encode()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_content_is_copied_by_its_engine_or_refused(client: Client, case: Case) -> None:
    if case.existing is not None:
        client.target(case.blob).upload_blob(case.existing, metadata={"theirs": "1"})
    etag = put(client, case)
    transfer = client.until_final(case.blob)
    assert (transfer["state"], transfer["engine"], transfer["reason"]) == (case.state, case.engine, case.reason)
    assert (transfer["source"]["etag"], transfer["detail"] == "") == (etag, case.reason is None)
    sizes = sum(len(key) + len(value) for key, value in (case.metadata | receipt(transfer)).items())
    assert (sizes <= 8 * 1024) == (case.state == "verified")
    if case.state == "verified":
        target, source = client.target(case.blob), copied_parts(client.source(case.blob), case)
        kept = {name: value for name, value in source.items() if name != "blocks" or case.engine != "blocks"}
        assert kept | {"metadata": expected_metadata(case, transfer)} == {
            name: value for name, value in copied_parts(target, case).items() if name in kept
        }
        assert case.headers.items() <= source["headers"].items()
        assert (source["kind"], source["tags"]) == (case.kind, case.tags)
        assert hash_and_size(target.download_blob(decompress=False, max_concurrency=2).chunks()) == hash_and_size(
            case.pieces()
        )
    else:
        assert client.api("GET", f"/dead-letters/{transfer['id']}").body["reason"] == case.reason
        assert not client.target(case.blob).exists()


def put(client: Client, case: Case) -> str:
    """Upload the blob and return its ETag. No event announces the content of append and page blobs: share them."""
    blob, settings = client.source(case.blob), ContentSettings(**case.headers)
    options: dict[str, Any] = {"metadata": case.metadata, "tags": case.tags or None, "content_settings": settings}
    if case.staged:
        blocks = [BlobBlock(b64encode(b"%6d" % number).decode()) for number in range(-(-case.size // PIECE))]
        for block, piece in zip(blocks, case.pieces(), strict=True):
            blob.stage_block(block.id, piece)
        return str(blob.commit_block_list(blocks, **options)["etag"]).strip('"')
    whole = case.kind is BlobType.BLOCKBLOB
    client.control.events(mode="deliver" if whole else "drop")
    try:
        etag = client.put(case.blob, b"".join(case.pieces()), blob_type=case.kind, **options)
    finally:
        client.control.events(mode="deliver")
    if not whole:
        etag = str(blob.get_blob_properties().etag).strip('"')
        assert client.api("POST", "/transfers", {"route": "default", "name": case.blob}).status == 202
    return etag


def copied_parts(blob: BlobClient, case: Case) -> dict[str, Any]:
    """Everything that a copy carries, except for the content."""
    properties = blob.get_blob_properties()
    return {
        "size": properties.size,
        "kind": properties.blob_type,
        "blocks": [(block.id, block.size) for block in blob.get_block_list("committed")[0]] if case.staged else [],
        "headers": dict(properties.content_settings),
        "metadata": properties.metadata,
        "tags": blob.get_blob_tags(),
    }


def hash_and_size(pieces: Iterable[bytes]) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    for piece in pieces:
        digest.update(piece)
        size += len(piece)
    return digest.hexdigest(), size


def expected_metadata(case: Case, transfer: dict[str, Any]) -> dict[str, str]:
    """The owner's metadata, with any other receipt replaced by this transfer's."""
    ours = receipt(transfer)
    return {key: value for key, value in case.metadata.items() if key.lower() not in ours} | ours


def receipt(transfer: dict[str, Any]) -> dict[str, str]:
    return {"source_etag": transfer["source"]["etag"], "transfer_id": transfer["id"]}


@pytest.mark.parametrize("route", LEASED)
@pytest.mark.timeout(1200)
def test_a_leased_target_conflicts_until_its_lease_is_broken(
    client: Client, leases: dict[str, BlobLeaseClient], route: str
) -> None:
    """The transfer fails after its last try or at its deadline, the target is unchanged, and a replay succeeds."""
    source, target = CONTAINERS[route]
    look = lambda: dead_lettered_transfer(client.transfer_of("leased", route))  # noqa: E731
    failed = client.until(look, "it is a dead letter", timeout=1_000)
    assert failed["reason"] == "target_conflict"
    dead_letter = client.api("GET", f"/dead-letters/{failed['id']}").body
    assert "LeaseIdMissing" in dead_letter["detail"]
    tries = dead_letter["attempts"]["0"]["tries"]
    assert tries == MAX_COPY_ATTEMPTS if route == "default" else 2 <= tries < MAX_COPY_ATTEMPTS
    assert client.read(client.target("leased", target)) == FOREIGN

    leases[route].break_lease(0)
    assert client.api("POST", f"/dead-letters/{failed['id']}/replay").status == 202
    client.until(lambda: client.api("GET", f"/transfers/{failed['id']}").body["state"] == "verified", "it is verified")
    assert client.api("GET", f"/dead-letters/{failed['id']}").body["resolved_as"] == "verified"
    assert client.read(client.target("leased", target)) == client.read(client.source("leased", source))


def dead_lettered_transfer(answer: Answer) -> dict[str, Any] | None:
    return answer.body if answer.status == 200 and answer.body["state"] == "dead_lettered" else None


def test_only_the_last_version_of_a_grown_append_blob_is_copied(client: Client, growing: list[str]) -> None:
    """The last version supersedes the first, and is announced a minute later."""
    transfers = client.until(
        lambda: final_transfers(transfers_named(client, "growing.log"), 2), "two of 21 versions have ended"
    )
    versions = {item["source"]["etag"]: item for item in transfers}
    assert list(versions) in ([growing[0], growing[-1]], [growing[-1], growing[0]])
    assert [versions[growing[0]]["state"], versions[growing[-1]]["state"]] == ["superseded", "verified"]
    assert versions[growing[0]]["successor"] == {"id": versions[growing[-1]]["id"], "etag": growing[-1]}
    created, announced = (datetime.fromisoformat(versions[growing[at]]["accepted_at"]) for at in (0, -1))
    assert announced - created >= timedelta(minutes=1)
    assert client.read(client.target("growing.log")) == b"".join(map(line, range(20)))
    assert client.count_requests(["growing.log"])["CopyBlob"] == 1


if LONG:

    @pytest.mark.timeout(1200)
    def test_an_append_blob_that_keeps_growing_gets_a_successor_a_minute(client: Client) -> None:
        """The number of transfers depends on the time, not on the number of versions."""
        start, etags = time.monotonic(), [create(client, "endless.log")]

        def grow() -> bool:
            etags.append(append(client, "endless.log", len(etags) - 1))
            return sum(item["state"] == "superseded" for item in transfers_named(client, "endless.log")) == 3

        client.until(grow, "three versions are superseded", timeout=600)
        client.until(
            lambda: client.transfer_of("endless.log").status == 200, "the last version is announced", timeout=300
        )
        assert client.until_final("endless.log")["state"] == "verified"
        minutes = (time.monotonic() - start) / 60
        assert len(etags) > 10 * minutes
        assert len(transfers_named(client, "endless.log")) <= 2 + minutes
        assert client.read(client.target("endless.log")) == b"".join(map(line, range(len(etags) - 1)))
