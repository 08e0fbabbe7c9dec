"""Synchronous copies that the service refuses and Azurite accepts."""

import base64

from azure.storage.blob import BlobBlock, BlobServiceClient

from tests.contract.facts import fact
from tests.devhost.storage.cloud import Cloud, refused


def test_only_block_blobs(cloud: Cloud) -> None:
    """An append blob cannot be a source."""
    source = cloud.source()
    source.create_append_blob()
    with refused(409, "InvalidSourceBlobType"):
        cloud.target().start_copy_from_url(cloud.readable(source), requires_sync=True)


@fact("Copy Blob From URL", "a source over 256 MiB: 409 CannotVerifyCopySource", "#azure-sdk-for-go 19880")
def test_at_most_256_mib(cloud: Cloud) -> None:
    source, eighth, rest = cloud.source(), BlobBlock("0"), BlobBlock("1")
    source.stage_block(eighth.id, bytes(32 * 1024 * 1024))
    source.stage_block(rest.id, b"x")
    source.commit_block_list([eighth] * 8)
    cloud.target().start_copy_from_url(cloud.readable(source), requires_sync=True)

    source.stage_block(rest.id, b"x")
    source.commit_block_list([eighth] * 8 + [rest])
    with refused(409, "CannotVerifyCopySource"):
        cloud.target().start_copy_from_url(cloud.readable(source), requires_sync=True)


@fact("Copy Blob and Copy Blob From URL", "a copy within an account needs a SAS for its source too", "#arrow 41095")
def test_signature_counts_in_the_same_account_too(cloud: Cloud) -> None:
    """A wrong or missing SAS is refused (arrow issue 41095); only Copy Blob accepts the account's key instead."""
    source = cloud.uploaded()
    with refused(403, "CannotVerifyCopySource"):
        cloud.source().start_copy_from_url(cloud.readable(source)[:-8] + "AAAAAA%3D", requires_sync=True)
    with refused(401, "CannotVerifyCopySource"):
        cloud.source().start_copy_from_url(source.url, requires_sync=True)
    cloud.source().start_copy_from_url(source.url)


def test_a_wrong_key_is_not_a_firewall(cloud: Cloud) -> None:
    """Azurite answers AuthorizationFailure, which is the service's code for its firewall."""
    wrong = {"account_name": "sharingsource", "account_key": base64.b64encode(b"wrong").decode()}
    with BlobServiceClient(cloud.sources.url, credential=wrong) as service, refused(403, "AuthenticationFailed"):
        service.get_blob_client("source", "a").get_blob_properties()
