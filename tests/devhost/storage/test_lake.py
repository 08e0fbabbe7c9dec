"""The Data Lake Storage API, driven by its SDK, and its events; SFTP."""

import base64
import re
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobBlock, BlobClient
from azure.storage.filedatalake import (
    ContentSettings,
    DataLakeDirectoryClient,
    DataLakeFileClient,
    FileSystemClient,
)

from devhost.storage.config import KEY
from tests.devhost.storage.cloud import Cloud, refused
from tests.devhost.storage.test_events import queue

COMMON = ["api", "clientRequestId", "requestId"]
END = ["sequencer", "storageDiagnostics"]
CREATED = [
    *COMMON,
    "eTag",
    "contentType",
    "contentLength",
    "contentOffset",
    "blobType",
    "accessTier",
    "url",
    *END,
]
RENAMED = [*COMMON, "destinationUrl", "sourceUrl", *END]
BLOCK = BlobBlock("0001")


@dataclass(frozen=True)
class Lake:
    """A hierarchical account, and a directory of its own for each test."""

    cloud: Cloud
    files: FileSystemClient
    root: str

    def path(self, name: str) -> str:
        return f"{self.root}/{name}"

    def file(self, name: str) -> DataLakeFileClient:
        return self.files.get_file_client(self.path(name))

    def directory(self, name: str) -> DataLakeDirectoryClient:
        return self.files.get_directory_client(self.path(name))

    def blob(self, name: str) -> BlobClient:
        return self.cloud.source(self.path(name))

    def write(self, name: str, data: bytes = b"some bytes", **options: Any) -> DataLakeFileClient:
        """Write a closed file, and consume its events."""
        file = self.file(name)
        file.upload_data(data, overwrite=True, **options)
        self.cloud.events()
        return file

    def rename(self, source: str, target: str, **options: Any) -> None:
        self.file(source).rename_file(f"source/{self.path(target)}", **options)

    def names(self) -> list[str]:
        container = self.cloud.sources.get_container_client("source")
        return [name.removeprefix(f"{self.root}/") for name in container.list_blob_names(name_starts_with=self.root)]

    def url(self, name: str) -> str:
        return f"{self.cloud.stack.blob_url('sharingsource')}/source/{self.path(name)}"


@pytest.fixture
def lake(cloud: Cloud) -> Iterator[Lake]:
    cloud.stack.control.hierarchical("sharingsource")
    url = cloud.stack.blob_url("sharingsource")
    with FileSystemClient(url, "source", KEY, retry_total=0) as files:
        root = uuid.uuid4().hex
        files.create_directory(root).close()
        yield Lake(cloud, files, root)
    cloud.stack.control.hierarchical()


class TestFiles:
    def test_a_file_is_a_blob_when_it_is_flushed(self, lake: Lake) -> None:
        file = lake.file("a")
        file.create_file()
        file.append_data(b"one", 0)
        assert lake.blob("a").download_blob().readall() == b""
        file.append_data(b"two", 3)
        file.flush_data(6)
        file.append_data(b"three", 6)
        file.flush_data(11, close=True)
        assert lake.blob("a").download_blob().readall() == file.download_file().readall() == b"onetwothree"
        assert file.get_file_properties().size == 11

    def test_appends_may_be_concurrent(self, lake: Lake) -> None:
        data = bytes(range(256)) * 40
        lake.file("a").upload_data(data, overwrite=True, chunk_size=1000, max_concurrency=4)
        assert lake.blob("a").download_blob().readall() == data

    def test_content_headers_and_metadata(self, lake: Lake) -> None:
        """A flush keeps them, unless it sets them."""
        file = lake.file("a")
        file.create_file(ContentSettings(content_type="text/csv", content_language="de"), metadata={"k": "v=,é"})
        file.append_data(b"one", 0)
        file.flush_data(3, content_settings=ContentSettings(content_language="fr"))
        found = file.get_file_properties()
        assert (found.content_settings.content_type, found.content_settings.content_language) == ("text/csv", "fr")
        assert found.metadata == {"k": "v=,é"}

    def test_creating_a_file_again_empties_it(self, lake: Lake) -> None:
        file = lake.write("a")
        file.append_data(b"more", 10)
        file.create_file()
        assert file.get_file_properties().size == 0
        with refused(400, "InvalidFlushPosition"):
            file.flush_data(14)
        with refused(409, "PathAlreadyExists"):
            file.create_file(match_condition=MatchConditions.IfMissing)

    @pytest.mark.parametrize("position", [0, 3, 12])
    def test_a_flush_needs_all_bytes_up_to_its_position(self, lake: Lake, position: int) -> None:
        """Here it would shorten the file, or leave a gap."""
        file = lake.write("a", b"12345")
        file.append_data(b"more", 8)
        with refused(400, "InvalidFlushPosition"):
            file.flush_data(position)
        assert file.download_file().readall() == b"12345"

    def test_conditions_of_a_flush(self, lake: Lake) -> None:
        file = lake.write("a", b"1")
        etag = file.get_file_properties().etag
        file.append_data(b"2", 1)
        with refused(412, "ConditionNotMet"):
            file.flush_data(2, etag='"0x1"', match_condition=MatchConditions.IfNotModified)
        file.flush_data(2, etag=etag, match_condition=MatchConditions.IfNotModified)
        assert file.get_file_properties().etag != etag

    def test_a_path_that_does_not_exist(self, lake: Lake) -> None:
        for call in lake.file("none").append_data, lake.file("none").flush_data:
            with refused(404, "PathNotFound"):
                call(*([b"", 0][-call.__code__.co_argcount + 1 :])) if False else call(
                    b"x", 0
                ) if call.__name__ == "append_data" else call(0)

    def test_blocks_are_refused(self, lake: Lake) -> None:
        """And the other way round: the Data Lake API does not append to what the Blob API wrote."""
        lake.write("a")
        with refused(409, "BlobOperationNotSupported"):
            lake.blob("a").stage_block(BLOCK.id, b"1")
        lake.blob("b").upload_blob(b"1")
        with refused(409, "InvalidFlushOperation"):
            lake.file("b").append_data(b"2", 1)
        lake.file("a").delete_file()
        lake.blob("a").stage_block(BLOCK.id, b"1")

    def test_credentials_are_required(self, lake: Lake) -> None:
        with (
            FileSystemClient(lake.cloud.stack.blob_url("sharingsource"), "source", retry_total=0) as files,
            refused(401, "NoAuthenticationInformation"),
        ):
            files.create_file(lake.path("a"))

    def test_a_file_system_that_does_not_exist(self, lake: Lake) -> None:
        url = lake.cloud.stack.blob_url("sharingsource")
        with FileSystemClient(url, "none", KEY, retry_total=0) as none, refused(404, "FilesystemNotFound"):
            none.create_file("a")
