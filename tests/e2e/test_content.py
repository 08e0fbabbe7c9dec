"""Whatever a blob holds: which engine carries it, and that bytes, headers, metadata and tags arrive (rules 1, 15, 16 and 18).

`SOAK=long` adds what takes minutes: a target that is leased for all eight tries, an append blob that grows for minutes.
"""

import hashlib
import json
import os
import time
from base64 import b64encode
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from azure.storage.blob import BlobBlock, BlobClient, BlobLeaseClient, BlobType, ContentSettings

from tests.corpora.content import CASES, FOREIGN, PIECE, Case
from tests.e2e.desk import Answer, Desk
from tests.e2e.helpers import of_name, restart, settled

SOAK = os.environ.get("SOAK") == "long"
MAX_COPY_ATTEMPTS = 8
# The source and the target of a route; the one without a deadline of its own tries for ten minutes.
CONTAINERS = {"hasty": ("hasty", "hasty"), "default": ("source", "target")}
LEASED = ["hasty", *(["default"] if SOAK else [])]


@pytest.fixture(scope="module", autouse=True)
def hasty(desk: Desk) -> Iterator[None]:
    """One more route, whose transfers give up after a minute."""
    environment, watch = desk.stack.environment, desk.control.events()["watch"]
    source, target = desk.stack.account("sharingsource"), desk.stack.account("sharingtarget")
    route = {"name": "hasty", "source": f"{source}/hasty/", "target": f"{target}/hasty/", "deadline": "PT1M"}
    routes = [*json.loads(environment["ROUTES"]), route]
    desk.container("sharingsource", "hasty")
    desk.container("sharingtarget", "hasty")
    desk.control.events(watch=[*watch, "sharingsource/hasty"])
    restart(desk, {**environment, "ROUTES": json.dumps(routes)})
    yield
    desk.control.events(watch=watch)
    restart(desk, environment)


@pytest.fixture(scope="module", autouse=True)
def leases(desk: Desk, hasty: None) -> dict[str, BlobLeaseClient]:  # noqa: ARG001  # its route must be there
    """Targets by somebody else, each under a lease without end while its source is new. Begun before all else."""
    held = {}
    for route in LEASED:
        target = desk.target("leased", CONTAINERS[route][1])
        target.upload_blob(FOREIGN)
        held[route] = target.acquire_lease()
        desk.put("leased", b"for the one who waits", CONTAINERS[route][0])
    return held


@pytest.fixture(scope="module", autouse=True)
def growing(desk: Desk, hasty: None) -> list[str]:  # noqa: ARG001  # the host is started anew
    """The ETags of an append blob that grew by twenty blocks before anybody looked. Begun before all else."""
    desk.control.events(mode="hold")
    try:
        etags = [create(desk, "growing.log")]
        etags += [append(desk, "growing.log", number) for number in range(20)]
    finally:
        desk.control.events(mode="deliver")
    return etags


def create(desk: Desk, name: str) -> str:
    """Create an empty append blob; its ETag."""
    return str(desk.source(name).create_append_blob()["etag"]).strip('"')


def append(desk: Desk, name: str, number: int) -> str:
    """Let an append blob grow by a line; its ETag."""
    return str(desk.source(name).append_block(line(number))["etag"]).strip('"')


def line(number: int) -> bytes:
    """What it grows by."""
    return f"line {number}\n".encode()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_content_is_carried_by_its_engine(desk: Desk, case: Case) -> None:
    """Bytes, type, block list, headers, metadata and tags: as rule 18 has it, or refused with the reason."""
    if case.there is not None:
        desk.target(case.blob).upload_blob(case.there, metadata={"theirs": "1"})
    etag = put(desk, case)
    transfer = desk.until_final(case.blob)
    assert (transfer["state"], transfer["engine"], transfer["reason"]) == (case.state, case.engine, case.reason)
    assert (transfer["source"]["etag"], transfer["detail"] == "") == (etag, case.reason is None)
    sizes = sum(len(key) + len(value) for key, value in (case.metadata | receipt(transfer)).items())
    assert (sizes <= 8 * 1024) == (case.state == "verified")
    if case.state == "verified":
        target, source = desk.target(case.blob), seen(desk.source(case.blob), case)
        assert seen(target, case) == {**source, "metadata": carried(case, transfer)}
        assert case.headers.items() <= source["headers"].items()
        assert (source["kind"], source["tags"]) == (case.kind, case.tags)
        assert digest(target.download_blob(decompress=False, max_concurrency=2).chunks()) == digest(case.pieces())
    else:
        assert desk.api("GET", f"/dead-letters/{transfer['id']}").body["reason"] == case.reason
        assert not desk.target(case.blob).exists()


def put(desk: Desk, case: Case) -> str:
    """Put the blob; its ETag. Of one that is written after it was created no event tells: it is shared by hand."""
    blob, settings = desk.source(case.blob), ContentSettings(**case.headers)
    options: dict[str, Any] = {"metadata": case.metadata, "tags": case.tags or None, "content_settings": settings}
    if case.staged:
        blocks = [BlobBlock(b64encode(b"%6d" % number).decode()) for number in range(-(-case.size // PIECE))]
        for block, piece in zip(blocks, case.pieces(), strict=True):
            blob.stage_block(block.id, piece)
        return str(blob.commit_block_list(blocks, **options)["etag"]).strip('"')
    whole = case.kind is BlobType.BLOCKBLOB
    desk.control.events(mode="deliver" if whole else "drop")
    try:
        etag = desk.put(case.blob, b"".join(case.pieces()), blob_type=case.kind, **options)
    finally:
        desk.control.events(mode="deliver")
    if not whole:
        etag = str(blob.get_blob_properties().etag).strip('"')
        assert desk.api("POST", "/transfers", {"route": "default", "name": case.blob}).status == 202
    return etag


def seen(blob: BlobClient, case: Case) -> dict[str, Any]:
    """All of a blob that may be carried, but its bytes."""
    properties = blob.get_blob_properties()
    return {
        "size": properties.size,
        "kind": properties.blob_type,
        "blocks": [(block.id, block.size) for block in blob.get_block_list("committed")[0]] if case.staged else [],
        "headers": dict(properties.content_settings),
        "metadata": properties.metadata,
        "tags": blob.get_blob_tags(),
    }


def digest(pieces: Iterable[bytes]) -> tuple[str, int]:
    """Hash and length of what comes in pieces."""
    found, size = hashlib.sha256(), 0
    for piece in pieces:
        found.update(piece)
        size += len(piece)
    return found.hexdigest(), size


def carried(case: Case, transfer: dict[str, Any]) -> dict[str, str]:
    """The owner's metadata, in which ours takes the place of another receipt."""
    ours = receipt(transfer)
    return {key: value for key, value in case.metadata.items() if key.lower() not in ours} | ours


def receipt(transfer: dict[str, Any]) -> dict[str, str]:
    """The two keys that a transfer leaves on its target."""
    return {"source_etag": transfer["source"]["etag"], "transfer_id": transfer["id"]}


@pytest.mark.parametrize("route", LEASED)
@pytest.mark.timeout(1200)
def test_a_leased_target_conflicts_until_its_lease_is_broken(
    desk: Desk, leases: dict[str, BlobLeaseClient], route: str
) -> None:
    """It fails after its tries, or at its deadline, and the holder's bytes stay; then it is replayed."""
    source, target = CONTAINERS[route]
    look = lambda: dead(desk.transfer_of("leased", route))  # noqa: E731  # said once
    failed = desk.until(look, "it is a dead letter", patience=1_000)
    assert failed["reason"] == "target_conflict"
    letter = desk.api("GET", f"/dead-letters/{failed['id']}").body
    assert "LeaseIdMissing" in letter["detail"]
    tries = letter["attempts"]["0"]["tries"]
    assert tries == MAX_COPY_ATTEMPTS if route == "default" else 2 <= tries < MAX_COPY_ATTEMPTS
    assert desk.read(desk.target("leased", target)) == FOREIGN

    leases[route].break_lease(0)
    assert desk.api("POST", f"/dead-letters/{failed['id']}/replay").status == 202
    desk.until(lambda: desk.api("GET", f"/transfers/{failed['id']}").body["state"] == "verified", "it is verified")
    assert desk.api("GET", f"/dead-letters/{failed['id']}").body["resolved_as"] == "verified"
    assert desk.read(desk.target("leased", target)) == desk.read(desk.source("leased", source))


def dead(answer: Answer) -> dict[str, Any] | None:
    """A transfer, once it is a dead letter."""
    return answer.body if answer.status == 200 and answer.body["state"] == "dead_lettered" else None


def test_of_an_append_blob_that_grew_the_last_version_alone_is_copied(desk: Desk, growing: list[str]) -> None:
    """Its creation is superseded by what it grew to, which comes a minute later and is shared whole."""
    transfers = desk.until(lambda: settled(of_name(desk, "growing.log"), 2), "two of 21 versions have ended")
    versions = {item["source"]["etag"]: item for item in transfers}
    assert list(versions) in ([growing[0], growing[-1]], [growing[-1], growing[0]])
    assert [versions[growing[0]]["state"], versions[growing[-1]]["state"]] == ["superseded", "verified"]
    assert versions[growing[0]]["successor"] == {"id": versions[growing[-1]]["id"], "etag": growing[-1]}
    begun, announced = (datetime.fromisoformat(versions[growing[at]]["accepted_at"]) for at in (0, -1))
    assert announced - begun >= timedelta(minutes=1)
    assert desk.read(desk.target("growing.log")) == b"".join(map(line, range(20)))
    assert desk.requests(["growing.log"])["CopyBlob"] == 1


if SOAK:

    @pytest.mark.timeout(1200)
    def test_an_append_blob_that_keeps_growing_gets_a_successor_a_minute(desk: Desk) -> None:
        """However many versions there are; once it stops it is shared whole."""
        begun, etags = time.monotonic(), [create(desk, "endless.log")]

        def grown() -> bool:
            etags.append(append(desk, "endless.log", len(etags) - 1))
            return sum(item["state"] == "superseded" for item in of_name(desk, "endless.log")) == 3

        desk.until(grown, "three versions are superseded", patience=600)
        desk.until(lambda: desk.transfer_of("endless.log").status == 200, "the last version is announced", patience=300)
        assert desk.until_final("endless.log")["state"] == "verified"
        minutes = (time.monotonic() - begun) / 60
        assert len(etags) > 10 * minutes
        assert len(of_name(desk, "endless.log")) <= 2 + minutes
        assert desk.read(desk.target("endless.log")) == b"".join(map(line, range(len(etags) - 1)))
