"""The proxy passes requests and answers on unchanged."""

import gzip
import os
import socket

import pytest
from azure.storage.blob import BlobServiceClient, ContentSettings

from devhost.storage.config import KEY
from tests.devhost.storage.cloud import Cloud

NAMES = [
    "plain.txt",
    " spaces  anywhere ",
    "100%",
    "already%20encoded",
    "%2e%2e/x",
    "a%2Fb",
    "+#?&;=,@:!$'()*[]~",
    "emoji 🎉 and ελληνικά",
    "caf\u00e9",
    "cafe\u0301",
    "...dots . in the middle.txt",
    "a//b",
    "/leading",
    "trailing/",
    "n" * 1024,
    "\u0393" * 1024,
]


@pytest.mark.parametrize("name", NAMES)
def test_name_and_bytes_survive(cloud: Cloud, name: str) -> None:
    """A blob is found, listed, read, announced and copied under its own name."""
    data = os.urandom(3000)
    blob = cloud.source(name)
    blob.upload_blob(data, overwrite=True)
    (event,) = cloud.events()

    assert event["subject"] == f"/blobServices/default/containers/source/blobs/{name}"
    assert event["data"]["url"] == cloud.raw_url(blob)
    assert name in list(cloud.sources.get_container_client("source").list_blob_names())
    assert blob.download_blob().readall() == data


@pytest.mark.parametrize("name", [name for name in NAMES if len(name) < 1000])
def test_name_survives_a_copy(cloud: Cloud, name: str) -> None:
    source = cloud.uploaded(name.encode(), name)
    target = cloud.target(name)
    target.start_copy_from_url(cloud.readable(source), requires_sync=True)
    assert target.download_blob().readall() == name.encode()


def test_large_body_is_streamed_unchanged(cloud: Cloud) -> None:
    """A body larger than any buffer arrives unchanged in both directions."""
    data = os.urandom(1024 * 1024) * 40
    blob = cloud.target()
    blob.upload_blob(data)
    assert blob.download_blob().readall() == data


def test_metadata_beyond_ascii(cloud: Cloud) -> None:
    """Header bytes that are not UTF-8 do not change, so the signature fits."""
    blob = cloud.uploaded(metadata={"Title": "Größe", "plain": "x"})
    assert blob.get_blob_properties().metadata == {"Title": "Größe", "plain": "x"}


def test_encoded_content_is_not_unpacked(cloud: Cloud) -> None:
    packed = gzip.compress(b"content" * 100)
    blob = cloud.uploaded(packed, content_settings=ContentSettings(content_encoding="gzip"))
    assert blob.download_blob(decompress=False).readall() == packed


def test_one_more_account(cloud: Cloud) -> None:
    """DEVHOST_ACCOUNTS names it; it has the same key."""
    with BlobServiceClient(cloud.stack.blob_url("another"), KEY) as another:
        another.create_container("box")
        assert [container.name for container in another.list_containers()] == ["box"]


def test_head_has_the_length(cloud: Cloud) -> None:
    """An answer without a body keeps the Content-Length of the missing body."""
    assert cloud.uploaded(b"12345").get_blob_properties().size == 5


def test_expect_is_answered(cloud: Cloud) -> None:
    answer = _raw(
        cloud, b"PUT /sharingsource/source/x HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n", b"abc"
    )
    assert answer.startswith(b"HTTP/1.1 100 Continue")


@pytest.mark.parametrize(
    "line",
    [
        b"GET /sharingsource/source/%zz HTTP/1.1",
        b"GET /sharingsource/source/%ff%fe HTTP/1.1",
        b"GET //// HTTP/1.1",
        b"GET / HTTP/1.1",
        b"PUT /unknown/source/x HTTP/1.1\r\nContent-Length: 0\r\nx-ms-copy-source: not a url",
        b"GET http://elsewhere/sharingsource HTTP/1.1",
        b"GET nonsense HTTP/1.1",
        b"\x00\x01 \xff",
    ],
)
def test_invalid_requests_do_no_harm(cloud: Cloud, line: bytes) -> None:
    """After each invalid request, the next client is served."""
    _raw(cloud, line + b"\r\n", b"")
    assert cloud.stack.control.is_up()


def _raw(cloud: Cloud, head: bytes, body: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", cloud.stack.blob_port), timeout=10) as connection:
        connection.sendall(head + b"Host: 127.0.0.1\r\nConnection: close\r\n\r\n" + body)
        return connection.recv(100)
