"""Blocks that are copied from a URL, and the life of staged blocks."""

import time
from pathlib import Path
from typing import Any

import pytest
from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobBlock, BlobClient

from devhost.storage.testing import Stack
from tests.contract.facts import fact
from tests.devhost.storage.cloud import Cloud, connected, refused

BLOCK = BlobBlock("0001")


def stage(cloud: Cloud, target: BlobClient, **of: Any) -> BlobClient:
    """Stage one block of a new source; return the source."""
    source = cloud.uploaded()
    target.stage_block_from_url(BLOCK.id, cloud.readable(source), **of)
    return source


def ids(blob: BlobClient) -> list[str]:
    """Return the ids of a name's staged blocks."""
    _, blocks = blob.get_block_list("uncommitted")
    return [block.id for block in blocks]


@fact("Blocks", "Put Block From URL: 201 without ETag and Last-Modified", "BOR, ASP")
def test_a_block_from_a_url_has_no_etag(cloud: Cloud) -> None:
    shown: dict[str, str] = {}
    stage(cloud, cloud.target(), raw_response_hook=lambda answer: shown.update(answer.http_response.headers))
    assert "x-ms-content-crc64" in shown
    assert not {name.lower() for name in shown} & {"etag", "last-modified"}


@fact("Blocks", "staged blocks are listed by their ids", "BOR")
def test_blocks_are_listed_by_id(cloud: Cloud) -> None:
    blob = cloud.target()
    for name in ("0003", "0001", "0002"):
        blob.stage_block(name, b"1")
    assert ids(blob) == ["0001", "0002", "0003"]


def test_a_source_without_bytes_makes_no_block(cloud: Cloud) -> None:
    """With a range or without one."""
    empty = cloud.readable(cloud.uploaded(b""))
    with refused(400, "InvalidHeaderValue"):
        cloud.target().stage_block_from_url(BLOCK.id, empty)
    with refused(416, "CannotVerifyCopySource"):
        cloud.target().stage_block_from_url(BLOCK.id, empty, 0, 4)


def test_a_source_needs_a_signature(cloud: Cloud) -> None:
    with refused(401, "CannotVerifyCopySource"):
        cloud.target().stage_block_from_url(BLOCK.id, cloud.uploaded().url)


def test_a_refused_block_shows_the_answer_of_its_source(cloud: Cloud) -> None:
    source = cloud.uploaded()
    with pytest.raises(HttpResponseError) as refusal:
        cloud.target().stage_block_from_url(BLOCK.id, cloud.readable(source), headers={"x-ms-source-if-match": '"0x1"'})
    headers = refusal.value.response.headers  # type: ignore[union-attr]  # the SDK's type has none
    assert (refusal.value.status_code, headers["x-ms-error-code"]) == (412, "CannotVerifyCopySource")
    assert headers["x-ms-copy-source-status-code"] == "412"
    assert headers["x-ms-copy-source-error-code"] == "ConditionNotMet"


def test_an_upload_of_a_new_blob_does_not_see_staged_blocks(cloud: Cloud) -> None:
    """If-None-Match: * succeeds, once."""
    blob = cloud.target()
    blob.stage_block(BLOCK.id, b"1")
    blob.upload_blob(b"whole", overwrite=False)
    with refused(409, "BlobAlreadyExists"):
        blob.upload_blob(b"again", overwrite=False)
    assert ids(blob) == []


def test_a_refused_upload_keeps_staged_blocks(cloud: Cloud) -> None:
    blob = cloud.target()
    blob.stage_block(BLOCK.id, b"1")
    with refused(412, "ConditionNotMet"):
        blob.upload_blob(b"whole", overwrite=True, etag='"0x1"', match_condition=MatchConditions.IfNotModified)
    assert not blob.exists()
    assert ids(blob) == [BLOCK.id]
    blob.commit_block_list([BLOCK], match_condition=MatchConditions.IfMissing)


@fact("Delete Blob", "a name with staged blocks only: they are dropped", "[doc] delete-blob")
def test_a_deletion_drops_blocks_without_a_blob(cloud: Cloud) -> None:
    blob = cloud.target()
    blob.stage_block(BLOCK.id, b"1")
    blob.delete_blob()
    with refused(404, "BlobNotFound"):
        blob.get_block_list("uncommitted")
    blob.stage_block("1", b"1")
    assert ids(blob) == ["1"]


def test_the_deletion_of_a_snapshot_keeps_staged_blocks(cloud: Cloud) -> None:
    blob = cloud.target()
    blob.upload_blob(b"1")
    snapshot = str(blob.create_snapshot()["snapshot"])
    blob.stage_block(BLOCK.id, b"1")
    cloud.targets.get_blob_client("target", blob.blob_name, snapshot=snapshot).delete_blob()
    assert ids(blob) == [BLOCK.id]


def test_a_commit_is_one_event(cloud: Cloud) -> None:
    """A staged block is none."""
    blob = cloud.source()
    stage(cloud, blob)
    assert cloud.events() == []
    blob.commit_block_list([BLOCK])
    (event,) = cloud.events()
    assert (event["data"]["api"], event["data"]["contentLength"]) == ("PutBlockList", len(b"some bytes"))
    assert event["data"]["eTag"] == blob.get_blob_properties().etag.strip('"')


def test_requests_are_counted_and_faults_match_by_name(cloud: Cloud) -> None:
    control, blob = cloud.stack.control, cloud.target()
    control.forget_requests()
    stage(cloud, blob)
    ids(blob)
    control.add_fault({"operation": "PutBlockList"}, {"drop": True, "when": "after"})
    with pytest.raises(Exception, match="Connection"):
        blob.commit_block_list([BLOCK])
    control.add_fault({"operation": "PutBlockFromUrl", "source": "^/sharingsource/source/"}, {"status": 503})
    with refused(503, "InternalError"):
        stage(cloud, blob)
    found = control.requests(account="sharingtarget", blob=blob.blob_name)
    assert [(entry["operation"], entry["status"], entry["answered"]) for entry in found] == [
        ("PutBlockFromUrl", 201, True),
        ("GetBlockList", 200, True),
        ("PutBlockList", 201, False),
        ("PutBlockFromUrl", 503, True),
    ]


def test_blocks_from_a_url_take_the_time_of_the_pace(cloud: Cloud) -> None:
    cloud.stack.control.copies(block_seconds=0.2)
    began = time.monotonic()
    stage(cloud, cloud.target())
    assert time.monotonic() - began >= 0.2


def test_the_state_of_blocks_survives_a_restart(tmp_path: Path) -> None:
    """Staged blocks, and that others were dropped."""
    with Stack(tmp_path) as stack, connected(stack) as cloud:
        blob, other = cloud.target("kept"), cloud.target("dropped")
        for each in (blob, other):
            stage(cloud, each)
        other.upload_blob(b"whole")
        stack.stop()
        stack.start()
        assert (ids(blob), ids(other)) == ([BLOCK.id], [])
        blob.commit_block_list([BLOCK])
        with refused(400, "InvalidBlockList"):
            other.commit_block_list([BLOCK])
