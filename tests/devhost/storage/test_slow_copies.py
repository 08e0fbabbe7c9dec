"""Asynchronous copies: pending with an empty target, then success, failure or abort."""

from collections.abc import Callable
from typing import Any

import pytest
from azure.core import MatchConditions
from azure.storage.blob import BlobClient, ContentSettings, StandardBlobTier

from tests.contract.facts import fact
from tests.devhost.storage.cloud import Cloud, eventually, refused


def _pending(
    cloud: Cloud, data: bytes = b"0123456789", **options: Any
) -> tuple[BlobClient, BlobClient, dict[str, Any]]:
    """Start a copy that does not end until `hold` is reset."""
    cloud.stack.control.copies(hold=True)
    source, target = cloud.uploaded(data, metadata={"Of": "source"}), cloud.target()
    return source, target, dict(target.start_copy_from_url(cloud.readable(source), **options))


def _end(cloud: Cloud, target: BlobClient) -> None:
    cloud.stack.control.copies(hold=False)
    eventually(lambda: target.get_blob_properties().copy.status != "pending")


@fact("Copy Blob", "the target exists immediately: empty, with the metadata, and with the ETag of the answer", "PY22")
def test_target_is_empty_while_pending(cloud: Cloud) -> None:
    """It is committed, of zero length, with the source's metadata and headers."""
    _, target, started = _pending(cloud)
    properties = target.get_blob_properties()

    assert started["copy_status"] == "pending"
    assert (properties.size, properties.etag, properties.metadata) == (0, started["etag"], {"Of": "source"})
    assert (properties.copy.id, properties.copy.status) == (started["copy_id"], "pending")
    assert target.download_blob().readall() == b""


@fact("Copy Blob", "metadata in the request replaces the source's", "CPP CopyWithTagsMetadataTier")
def test_metadata_given_replaces_the_sources(cloud: Cloud) -> None:
    _, target, _ = _pending(cloud, metadata={"Transfer_id": "7", "a": "b"})
    assert target.get_blob_properties().metadata == {"Transfer_id": "7", "a": "b"}
    _end(cloud, target)
    assert target.get_blob_properties().metadata == {"Transfer_id": "7", "a": "b"}


@fact(
    "Copy Blob",
    "the target shows the source's URL without `sig`; until 2019 with `sig`",
    "PY22 test_copy_blob_async_private_blob_with_sas, ASP test_copy_blob_sync",
)
@pytest.mark.parametrize("is_shown", [False, True])
def test_source_url_is_shown_without_its_signature(cloud: Cloud, *, is_shown: bool) -> None:
    """With the rest of the SAS (PY22 test_copy_blob_async_private_blob_with_sas); in 2019 with the signature (ASP test_copy_blob_sync)."""
    cloud.stack.control.copies(show_signature=is_shown)
    source, target, _ = _pending(cloud)

    def shown() -> set[str]:
        listed = cloud.targets.get_container_client("target").list_blobs(target.blob_name, include=["copy"])
        return {str(target.get_blob_properties().copy.source), *(str(blob.copy.source) for blob in listed)}

    pending = shown()
    _end(cloud, target)
    assert shown() == pending
    (url,) = pending
    assert url.startswith(f"{source.url}?")
    assert "sp=r" in url
    assert ("sig=" in url) is is_shown


@fact(
    "Copy Blob",
    "a pending target has the source's Content-Type and Content-MD5",
    "PY22 test_copy_blob_async_private_blob_with_sas",
)
def test_a_pending_target_shows_the_sources_md5_and_type(cloud: Cloud) -> None:
    """From the start, though it is empty (PY22 test_copy_blob_async_private_blob_with_sas)."""
    cloud.stack.control.copies(hold=True)
    source, target = cloud.uploaded(content_settings=ContentSettings(content_type="text/x-test")), cloud.target()
    target.start_copy_from_url(cloud.readable(source))
    expected = source.get_blob_properties().content_settings
    shown = target.get_blob_properties()
    assert (shown.size, shown.copy.status) == (0, "pending")
    assert expected.content_md5
    assert (shown.content_settings.content_md5, shown.content_settings.content_type) == (
        expected.content_md5,
        "text/x-test",
    )


@fact("Copy Blob", "the description of a pending copy may name a retryable error (on request)", "[doc] copy-blob")
def test_a_copy_that_stumbles_says_so(cloud: Cloud) -> None:
    """It is still pending ([doc] copy-blob: "Encountered a retryable error when reading the source. Will retry.")."""
    stumble = '502 BadGateway "Encountered a retryable error when reading the source. Will retry."'
    cloud.stack.control.copies(stumble=stumble)
    _, target, _ = _pending(cloud)
    copy = target.get_blob_properties().copy
    assert (copy.status, copy.status_description) == ("pending", stumble)
    _end(cloud, target)
    copy = target.get_blob_properties().copy
    assert (copy.status, copy.status_description) == ("success", None)


@fact("Copy Blob", "the ETag after the copy differs from the ETag at its start", "PY22")
def test_success(cloud: Cloud) -> None:
    """Bytes, metadata and headers are the source's, the copy id is the same, and the ETag changes."""
    source, target, started = _pending(cloud)
    _end(cloud, target)
    properties = target.get_blob_properties()

    assert target.download_blob().readall() == source.download_blob().readall()
    assert (properties.copy.id, properties.copy.status) == (started["copy_id"], "success")
    assert properties.copy.progress == "10/10"
    assert properties.copy.completion_time
    assert properties.metadata == {"Of": "source"}
    assert properties.etag != started["etag"]


def test_tier_and_tags_are_set_as_asked(cloud: Cloud) -> None:
    """The tier and the tags of the request are set at the end."""
    _, target, _ = _pending(cloud, standard_blob_tier=StandardBlobTier.COOL, tags={"k": "v"})
    _end(cloud, target)
    assert target.get_blob_properties().blob_tier == "Cool"
    assert target.get_blob_tags() == {"k": "v"}


WRITES: dict[str, Callable[[BlobClient], Any]] = {
    "upload": lambda blob: blob.upload_blob(b"x", overwrite=True),
    "stage": lambda blob: blob.stage_block("0001", b"x"),
    "metadata": lambda blob: blob.set_blob_metadata({"a": "b"}),
    "headers": lambda blob: blob.set_http_headers(ContentSettings(content_type="a/b")),
    "lease": lambda blob: blob.acquire_lease(),
    "snapshot": lambda blob: blob.create_snapshot(),
    "delete": lambda blob: blob.delete_blob(),
}


@fact("Copy Blob", "a write to a pending target: 409 PendingCopyOperation", "#azcopy 697, #azure-storage-python 90")
@pytest.mark.parametrize("write", WRITES)
def test_writes_are_refused_while_pending(cloud: Cloud, write: str) -> None:
    """Every change of the target is a conflict."""
    _, target, _ = _pending(cloud)
    with refused(409, "PendingCopyOperation"):
        WRITES[write](target)


@fact("Copy Blob and Copy Blob From URL", "a copy to a pending target: 409 PendingCopyOperation", "#azcopy 697")
@pytest.mark.parametrize("sync", [False, True])
def test_second_copy_is_refused_while_pending(cloud: Cloud, sync: bool) -> None:  # noqa: FBT001  # a parameter
    source, target, _ = _pending(cloud)
    with refused(409, "PendingCopyOperation"):
        target.start_copy_from_url(cloud.readable(source), requires_sync=sync)


def test_progress_rises(cloud: Cloud) -> None:
    """It stops at the given share."""
    cloud.stack.control.copies(stall_at=0.25)
    source, target = cloud.uploaded(b"x" * 1000), cloud.target()
    target.start_copy_from_url(cloud.readable(source))
    seen = [int(str(target.get_blob_properties().copy.progress).split("/")[0]) for _ in range(20)]
    assert seen == sorted(seen)
    assert seen[-1] == 250


def test_list_shows_the_copy_on_request(cloud: Cloud) -> None:
    """With the same id as a HEAD, while pending and afterwards."""
    _, target, started = _pending(cloud)
    container = cloud.targets.get_container_client("target")

    def listed(*include: str) -> tuple[Any, Any, int]:
        (blob,) = container.list_blobs(name_starts_with=target.blob_name, include=list(include))
        return blob.copy.id, blob.copy.status, blob.size

    assert listed("copy", "metadata") == (started["copy_id"], "pending", 0)
    _end(cloud, target)
    assert listed("copy") == (started["copy_id"], "success", 10)
    assert listed() == (None, None, 10)


@fact(
    "Copy Blob",
    "a failed copy leaves an empty blob, and its description names the cause: `404 ResourceNotFound`, `412 ConditionNotMet`",
    "[doc] copy-blob, #azure-storage-net-data-movement 135",
)
@pytest.mark.parametrize("change", ["overwrite", "metadata", "delete"])
def test_fails_when_the_source_changes(cloud: Cloud, change: str) -> None:
    """The target stays empty, keeps its metadata, and shows the reason."""
    source, target, started = _pending(cloud)
    if change == "delete":
        source.delete_blob()
    elif change == "metadata":
        source.set_blob_metadata({"other": "x"})
    else:
        source.upload_blob(b"newer", overwrite=True)
    _end(cloud, target)
    properties = target.get_blob_properties()

    reason = "404 ResourceNotFound" if change == "delete" else "412 ConditionNotMet"
    assert properties.copy.status_description == f'{reason} "Copy failed when reading the source."'
    assert (properties.copy.id, properties.copy.status) == (started["copy_id"], "failed")
    assert (properties.size, properties.metadata) == (0, {"Of": "source"})


def test_fails_on_request(cloud: Cloud) -> None:
    """Only the next copy fails."""
    cloud.stack.control.copies(fail_next="500 OperationCancelled")
    _, target, _ = _pending(cloud)
    _end(cloud, target)
    assert target.get_blob_properties().copy.status_description == "500 OperationCancelled"
    assert not cloud.stack.control.copies()["fail_next"]


def test_failure_is_forgotten_with_the_next_write(cloud: Cloud) -> None:
    """A metadata change keeps it, new content removes it for good."""
    cloud.stack.control.copies(fail_next="500 OperationCancelled")
    _, target, _ = _pending(cloud)
    _end(cloud, target)
    target.set_blob_metadata({"a": "b"})
    assert target.get_blob_properties().copy.status == "failed"
    target.upload_blob(b"new", overwrite=True)
    target.set_blob_metadata({"a": "c"})
    assert target.get_blob_properties().copy.status is None


@fact(
    "Abort Copy Blob",
    "the empty blob stays, with its metadata and another ETag",
    "PY22 test_abort_copy_blob, PY19 test_abort_copy_blob",
)
def test_abort(cloud: Cloud) -> None:
    """The empty blob stays with its metadata and another ETag, and may be written again (PY22 test_abort_copy_blob)."""
    _, target, started = _pending(cloud)
    target.abort_copy(started["copy_id"])
    properties = target.get_blob_properties()

    assert (properties.copy.id, properties.copy.status) == (started["copy_id"], "aborted")
    assert (properties.copy.progress, properties.copy.status_description) == ("0/10", None)
    assert properties.copy.completion_time
    assert (properties.size, properties.metadata) == (0, {"Of": "source"})
    assert properties.etag != started["etag"]
    target.delete_blob()


@fact("Abort Copy Blob", "another id: 409 CopyIdMismatch", "[doc] abort-copy-blob")
def test_abort_of_another_copy(cloud: Cloud) -> None:
    _, target, _ = _pending(cloud)
    with refused(409, "CopyIdMismatch"):
        target.abort_copy("00000000-0000-0000-0000-000000000000")
    assert target.get_blob_properties().copy.status == "pending"


def test_abort_of_nothing(cloud: Cloud) -> None:
    """A copy that has ended cannot be aborted."""
    _, target, started = _pending(cloud)
    _end(cloud, target)
    with refused(409, "NoPendingCopyOperation"):
        target.abort_copy(started["copy_id"])


@fact("Set Blob Properties", "drops the properties of a copy that has ended", "[doc] get-blob-properties")
def test_setting_properties_clears_the_copy(cloud: Cloud) -> None:
    _, target, _ = _pending(cloud)
    _end(cloud, target)
    target.set_http_headers(ContentSettings(content_type="text/plain"))
    copy = target.get_blob_properties().copy
    assert (copy.id, copy.status, copy.source) == (None, None, None)
    assert target.download_blob().readall() == b"0123456789"


def test_overwriting_empties_the_old_content(cloud: Cloud) -> None:
    """Readers see an empty blob until the new content is complete."""
    cloud.stack.control.copies(hold=True)
    source, target = cloud.uploaded(b"new"), cloud.target()
    target.upload_blob(b"old content")
    target.start_copy_from_url(cloud.readable(source))
    assert target.download_blob().readall() == b""
    _end(cloud, target)
    assert target.download_blob().readall() == b"new"


def test_a_refused_copy_leaves_the_target_unchanged(cloud: Cloud) -> None:
    """The refusal is for its source's version, or because the source cannot be read."""
    source, target = cloud.uploaded(), cloud.target()
    target.upload_blob(b"old")
    with refused(412, "SourceConditionNotMet"):
        target.start_copy_from_url(
            cloud.readable(source), source_etag='"0x1"', source_match_condition=MatchConditions.IfNotModified
        )
    with refused(401, "CannotVerifyCopySource"):
        target.start_copy_from_url(source.url)
    assert target.download_blob().readall() == b"old"


def test_append_blob(cloud: Cloud) -> None:
    """Other types of blob are copied as what they are."""
    source, target = cloud.source(), cloud.target()
    source.create_append_blob()
    source.append_block(b"one")
    cloud.stack.control.copies(hold=True)
    target.start_copy_from_url(cloud.readable(source))
    assert target.get_blob_properties().blob_type == "AppendBlob"
    _end(cloud, target)
    assert target.download_blob().readall() == b"one"


def test_many_at_once(cloud: Cloud) -> None:
    source = cloud.uploaded(b"shared by all")
    targets = [cloud.target() for _ in range(40)]
    for target in targets:
        target.start_copy_from_url(cloud.readable(source))
    for target in targets:
        _end(cloud, target)
        assert target.download_blob().readall() == b"shared by all"
