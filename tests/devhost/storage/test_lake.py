"""The Data Lake Storage API, driven by its SDK."""

import uuid

import pytest
from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobBlock
from azure.storage.filedatalake import (
    ContentSettings,
    FileSystemClient,
)

from devhost.storage.config import KEY
from tests.contract.facts import fact
from tests.devhost.storage.cloud import refused
from tests.devhost.storage.lake import Lake

BLOCK = BlobBlock("0001")


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

    def test_a_large_append(self, lake: Lake) -> None:
        lake.file("a").upload_data(b"x" * 3 * 2**20, overwrite=True)
        assert lake.blob("a").get_blob_properties().size == 3 * 2**20

    def test_content_headers_and_metadata(self, lake: Lake) -> None:
        """A flush keeps them, unless it sets them."""
        file = lake.file("a")
        file.create_file(ContentSettings(content_type="text/csv", content_language="de"), metadata={"k": "v=,w"})
        file.append_data(b"one", 0)
        file.flush_data(3, content_settings=ContentSettings(content_language="fr"))
        found = file.get_file_properties()
        assert (found.content_settings.content_type, found.content_settings.content_language) == ("text/csv", "fr")
        assert found.metadata == {"k": "v=,w"}

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
        file = lake.file("none")
        with refused(404, "PathNotFound"):
            file.append_data(b"1", 0)
        with refused(404, "PathNotFound"):
            file.flush_data(0)
        with refused(404, "PathNotFound"):
            lake.directory("none").delete_directory()
        assert not file.exists()

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


class TestDirectories:
    def test_a_directory(self, lake: Lake) -> None:
        lake.directory("a/b").create_directory(metadata={"k": "v"})
        properties = lake.directory("a/b").get_directory_properties()
        assert properties.metadata == {"hdi_isfolder": "true", "k": "v"}
        assert lake.names() == [lake.root, "a", "a/b"]

    def test_it_may_be_created_again(self, lake: Lake) -> None:
        """Its files stay. A file takes no directory's place, nor the other way round."""
        lake.write("a/b")
        lake.directory("a").create_directory()
        assert lake.file("a/b").exists()
        with refused(409, "PathAlreadyExists"):
            lake.directory("a").create_directory(match_condition=MatchConditions.IfMissing)
        with refused(409, "PathAlreadyExists"):
            lake.directory("a/b").create_directory()
        with refused(409, "PathConflict"):
            lake.file("a").create_file()

    def test_deletion(self, lake: Lake) -> None:
        """A name that only starts alike stays."""
        for name in "a/b/c", "a/d", "ab":
            lake.write(name)
        lake.directory("a").delete_directory()
        assert lake.names() == [lake.root, "ab"]
        lake.blob("a/d").stage_block(BLOCK.id, b"1")

    def test_deletion_without_recursion(self, lake: Lake) -> None:
        lake.write("a/b")
        path = lake.directory("a")._client.path
        with pytest.raises(HttpResponseError, match="DirectoryNotEmpty"):
            path.delete(recursive=False)
        lake.file("a/b").delete_file()
        path.delete(recursive=False)
        assert lake.names() == [lake.root]

    def test_a_deletion_with_recursion_takes_a_file_too(self, lake: Lake) -> None:
        lake.write("a")._client.path.delete(recursive=True)
        assert lake.names() == [lake.root]


class TestFlatAccounts:
    """The Data Lake API writes and renames files there, and raises no event."""

    @fact(
        "Event Grid",
        "the Data Lake API raises no event in a flat account",
        "[doc] event-schema-blob-storage (2024-01-10)",
    )
    def test_a_file(self, lake: Lake) -> None:
        lake.cloud.stack.control.hierarchical()
        lake.file("a").upload_data(b"123", overwrite=True)
        lake.rename("a", "x/y/b")
        assert lake.blob("x/y/b").download_blob().readall() == b"123"
        assert lake.names() == [lake.root, "x/y/b"]
        lake.blob("x/y/b").stage_block(BLOCK.id, b"1")
        lake.file("x/y/b")._client.path.delete(recursive=True)
        assert lake.cloud.events() == []

    def test_directories_are_refused(self, lake: Lake) -> None:
        lake.cloud.stack.control.hierarchical()
        for refused_call in (
            lake.directory("a").create_directory,
            lake.files.get_directory_client(lake.root).delete_directory,
            lambda: lake.files.get_directory_client(lake.root).rename_directory(f"source/{uuid.uuid4().hex}"),
        ):
            with refused(400, "HierarchicalNamespaceNotEnabled"):
                refused_call()
