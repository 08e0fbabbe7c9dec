"""The Data Lake Storage API, driven by its SDK, and its events; SFTP."""

import re
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceExistsError
from azure.storage.blob import BlobBlock, BlobClient
from azure.storage.filedatalake import (
    ContentSettings,
    DataLakeDirectoryClient,
    DataLakeFileClient,
    DataLakeServiceClient,
    FileSystemClient,
)

from devhost.storage.config import KEY
from tests.contract.facts import fact
from tests.devhost.storage.cloud import Cloud, refused
from tests.devhost.storage.test_events import queue
from tests.e2e.lake import delta_commit, spark_job

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

    def contents(self, prefix: str) -> dict[str, bytes]:
        """Return the files below a path, by name."""
        container = self.cloud.sources.get_container_client("source")
        blobs = container.list_blobs(name_starts_with=self.path(prefix), include=["metadata"])
        names = [blob.name for blob in blobs if "hdi_isfolder" not in (blob.metadata or {})]
        return {name: self.cloud.source(name).download_blob().readall() for name in names}

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


class TestRenames:
    @fact(
        "Hierarchical namespace",
        "a rename keeps the ETag",
        "hadoop AzureBlobFileSystem.java: the capability ETAGS_PRESERVED_IN_RENAME",
    )
    def test_a_file_keeps_everything(self, lake: Lake) -> None:
        settings = ContentSettings(content_type="text/csv", cache_control="no-cache")
        lake.write("a", b"12345", content_settings=settings, metadata={"k": "v"})
        before = lake.blob("a").get_blob_properties()
        lake.rename("a", "b")
        after = lake.blob("b").get_blob_properties()
        for field in ("etag", "last_modified", "creation_time", "metadata", "content_settings", "size"):
            assert after[field] == before[field], field
        assert lake.blob("b").download_blob().readall() == b"12345"
        assert lake.names() == [lake.root, "b"]

    def test_the_writer_of_a_renamed_file_goes_on(self, lake: Lake) -> None:
        lake.file("a").create_file()
        lake.file("a").append_data(b"1", 0)
        lake.rename("a", "b")
        lake.file("b").append_data(b"2", 1)
        lake.file("b").flush_data(2)
        assert lake.blob("b").download_blob().readall() == b"12"

    def test_a_renamed_file_accepts_no_blocks(self, lake: Lake) -> None:
        """Unlike its old name."""
        lake.write("a")
        lake.rename("a", "b")
        with refused(409, "BlobOperationNotSupported"):
            lake.blob("b").stage_block(BLOCK.id, b"1")
        lake.blob("a").stage_block(BLOCK.id, b"1")

    def test_a_blob_of_the_blob_api_accepts_blocks_after_a_rename(self, lake: Lake) -> None:
        """Also in place of a file that accepted none."""
        lake.blob("a").upload_blob(b"1")
        lake.write("b")
        lake.rename("a", "b")
        lake.blob("b").stage_block(BLOCK.id, b"1")

    def test_overwriting_a_file(self, lake: Lake) -> None:
        lake.write("a", b"new")
        lake.write("b", b"old")
        lake.rename("a", "b")
        assert lake.blob("b").download_blob().readall() == b"new"

    @fact(
        "Hierarchical namespace",
        "a rename with `If-None-Match: *` onto a path that exists: 409 PathAlreadyExists",
        "hadoop AzureBlobFileSystem.java, [doc] path-create",
    )
    def test_without_overwriting(self, lake: Lake) -> None:
        lake.write("a", b"new")
        lake.write("b", b"old")
        with refused(409, "PathAlreadyExists"):
            lake.rename("a", "b", match_condition=MatchConditions.IfMissing)
        lake.rename("a", "c", match_condition=MatchConditions.IfMissing)
        assert lake.blob("b").download_blob().readall() == b"old"
        assert lake.names() == [lake.root, "b", "c"]

    def test_one_of_many_concurrent_renames_without_overwriting_succeeds(self, lake: Lake) -> None:
        names = [str(number) for number in range(8)]
        for name in names:
            lake.write(name, name.encode())

        def rename(name: str) -> str | None:
            try:
                lake.rename(name, "winner", match_condition=MatchConditions.IfMissing)
            except HttpResponseError:
                return None
            return name

        with ThreadPoolExecutor(8) as pool:
            (winner,) = (name for name in pool.map(rename, names) if name)
        assert lake.blob("winner").download_blob().readall() == winner.encode()

    def test_conditions(self, lake: Lake) -> None:
        lake.write("a")
        lake.write("b")
        with refused(412, "SourceConditionNotMet"):
            lake.rename("a", "c", source_etag='"0x1"', source_match_condition=MatchConditions.IfNotModified)
        for target in "b", "c":
            with refused(412, "ConditionNotMet"):
                lake.rename("a", target, etag='"0x1"', match_condition=MatchConditions.IfNotModified)

    def test_to_another_container(self, lake: Lake) -> None:
        container = lake.cloud.sources.create_container(f"c{uuid.uuid4().hex}")
        lake.write("a/b", b"1")
        lake.directory("a").rename_directory(f"{container.container_name}/a")
        assert list(container.list_blob_names()) == ["a", "a/b"]
        assert lake.names() == [lake.root]

    def test_a_name_that_needs_encoding(self, lake: Lake) -> None:
        lake.write("a b#é", b"1")
        lake.rename("a b#é", "c d+é")
        assert lake.blob("c d+é").download_blob().readall() == b"1"

    def test_a_directory(self, lake: Lake) -> None:
        """With everything in it; a name that only starts alike stays. Files keep their ETags."""
        for name in "a/b", "a/c/d", "ab":
            lake.write(name, name.encode())
        etag = lake.blob("a/c/d").get_blob_properties().etag
        lake.directory("a").rename_directory(f"source/{lake.path('e')}")
        assert lake.names() == [lake.root, "ab", "e", "e/b", "e/c", "e/c/d"]
        assert lake.blob("e/c/d").download_blob().readall() == b"a/c/d"
        assert lake.blob("e/c/d").get_blob_properties().etag == etag
        assert lake.directory("e/c").get_directory_properties().metadata == {"hdi_isfolder": "true"}
        with refused(400, "OperationNotSupportedOnDirectory"):
            lake.blob("e/c").delete_blob()
        with refused(409, "BlobOperationNotSupported"):
            lake.blob("e/b").stage_block(BLOCK.id, b"1")

    @fact(
        "Hierarchical namespace",
        "a rename onto a directory that is not empty: 409 PathAlreadyExists",
        "arrow azurefs.cc",
    )
    def test_onto_a_directory(self, lake: Lake) -> None:
        """An empty one is replaced."""
        lake.write("a/b")
        lake.write("full/b")
        lake.write("file")
        lake.directory("empty").create_directory()
        directory = lake.directory("a")
        with refused(409, "PathAlreadyExists"):
            directory.rename_directory(f"source/{lake.path('full')}")
        with refused(409, "InvalidSourceOrDestinationResourceType"):
            directory.rename_directory(f"source/{lake.path('file')}")
        with refused(409, "InvalidSourceOrDestinationResourceType"):
            lake.rename("file", "empty")
        directory.rename_directory(f"source/{lake.path('empty')}")
        assert lake.names() == [lake.root, "empty", "empty/b", "file", "full", "full/b"]

    @pytest.mark.parametrize("target", ["a", "a/b", "a/b/c"])
    def test_into_itself(self, lake: Lake, target: str) -> None:
        lake.write("a/x")
        with refused(409, "InvalidRenameSourcePath"):
            lake.directory("a").rename_directory(f"source/{lake.path(target)}")
        assert lake.names() == [lake.root, "a", "a/x"]

    @fact(
        "Hierarchical namespace",
        "a rename does not create the parent of its destination: 404 RenameDestinationParentPathNotFound",
        "[doc] path-create",
    )
    def test_what_does_not_exist(self, lake: Lake) -> None:
        lake.write("a")
        with refused(404, "SourcePathNotFound"):
            lake.rename("none", "b")
        with refused(404, "RenameDestinationParentPathNotFound"):
            lake.rename("a", "none/b")
        with refused(404, "FilesystemNotFound"):
            lake.file("a").rename_file("none/a")

    def test_no_reader_sees_a_part_of_a_renamed_directory(self, lake: Lake) -> None:
        for number in range(20):
            lake.blob(f"a/{number:02}").upload_blob(b"1")
        lists: list[list[str]] = []
        with ThreadPoolExecutor(1) as pool:
            renaming = pool.submit(lake.directory("a").rename_directory, f"source/{lake.path('b')}")
            while not renaming.done():
                lists.append(lake.names())
            renaming.result()
        lists.append(lake.names())
        for names in lists:
            assert len(names) == 22
            assert {name.partition("/")[0] for name in names} in ({lake.root, "a"}, {lake.root, "b"})


class TestEvents:
    @fact(
        "Event Grid",
        "a file of the Data Lake API raises BlobCreated with `CreateFile` and without bytes; it has a `contentOffset`",
        "[doc] event-schema-blob-storage (2024-01-10)",
    )
    def test_a_new_file(self, lake: Lake) -> None:
        lake.file("a").create_file(ContentSettings(content_type="text/csv"))
        (event,) = lake.cloud.events()
        data = event["data"]
        assert list(event) == ["id", "source", "specversion", "type", "subject", "time", "data"]
        assert list(data) == CREATED
        assert event["type"] == "Microsoft.Storage.BlobCreated"
        assert event["subject"] == f"/blobServices/default/containers/source/blobs/{lake.path('a')}"
        assert (data["api"], data["contentLength"], data["contentOffset"]) == ("CreateFile", 0, 0)
        assert (data["contentType"], data["blobType"], data["url"]) == ("text/csv", "BlockBlob", lake.url("a"))
        assert data["eTag"] == lake.blob("a").get_blob_properties().etag.strip('"')

    @fact(
        "Event Grid",
        "a flush raises BlobCreated only with `close`, as `FlushWithClose`",
        "[doc] event-schema-blob-storage (2024-01-10)",
    )
    def test_a_flush(self, lake: Lake) -> None:
        """Without `close` it raises no event, but the bytes are readable."""
        file = lake.file("a")
        file.create_file()
        lake.cloud.events()
        file.append_data(b"123", 0)
        file.flush_data(3)
        assert lake.cloud.events() == []
        assert lake.blob("a").download_blob().readall() == b"123"

        file.append_data(b"45", 3)
        file.flush_data(5, close=True)
        (event,) = lake.cloud.events()
        data = event["data"]
        assert list(data) == CREATED
        assert (event["type"], data["api"]) == ("Microsoft.Storage.BlobCreated", "FlushWithClose")
        assert (data["contentLength"], data["url"]) == (5, lake.url("a"))
        assert data["eTag"] == lake.blob("a").get_blob_properties().etag.strip('"')

    @fact(
        "Event Grid",
        "BlobRenamed has two URLs, and neither ETag nor length; its subject is the new path",
        "[doc] event-schema-blob-storage (2024-01-10)",
    )
    def test_a_renamed_file(self, lake: Lake) -> None:
        lake.write("a")
        lake.rename("a", "b")
        (event,) = lake.cloud.events()
        data = event["data"]
        assert list(data) == RENAMED
        assert event["type"] == "Microsoft.Storage.BlobRenamed"
        assert event["subject"].endswith(f"/containers/source/blobs/{lake.path('b')}")
        assert (data["api"], data["sourceUrl"], data["destinationUrl"]) == ("RenameFile", lake.url("a"), lake.url("b"))
        assert re.fullmatch("[0-9A-F]{48}", data["sequencer"])

    @fact(
        "Event Grid",
        "a renamed directory raises one DirectoryRenamed, and nothing about its files",
        "[doc] event-schema-blob-storage (2024-01-10)",
    )
    def test_a_renamed_directory_is_one_event(self, lake: Lake) -> None:
        for number in range(50):
            lake.blob(f"a/{number}").upload_blob(b"1")
        lake.cloud.queue.clear_messages()
        lake.directory("a").rename_directory(f"source/{lake.path('b')}")
        (event,) = lake.cloud.events()
        data = event["data"]
        assert list(data) == RENAMED
        assert event["type"] == "Microsoft.Storage.DirectoryRenamed"
        assert event["subject"].endswith(f"/containers/source/blobs/{lake.path('b')}")
        assert (data["api"], data["sourceUrl"], data["destinationUrl"]) == (
            "RenameDirectory",
            lake.url("a"),
            lake.url("b"),
        )
        assert len(lake.names()) == 52

    def test_what_no_subscription_delivers(self, lake: Lake) -> None:
        """New directories, deletions, refused calls, and containers that are not watched."""
        lake.write("a/b")
        lake.directory("c").create_directory()
        lake.directory("a").delete_directory()
        with pytest.raises(HttpResponseError):
            lake.rename("none", "d")
        lake.write("e")
        container = lake.cloud.sources.create_container(f"c{uuid.uuid4().hex}")
        lake.file("e").rename_file(f"{container.container_name}/e")
        assert lake.cloud.events() == []

    def test_event_grid_schema(self, lake: Lake) -> None:
        lake.cloud.stack.control.events(schema="eventgrid")
        lake.file("a").create_file()
        lake.rename("a", "b")
        lake.directory("c").create_directory()
        lake.directory("c").rename_directory(f"source/{lake.path('d')}")
        events = lake.cloud.events()
        keys = ["topic", "subject", "eventType", "eventTime", "id", "data", "dataVersion", "metadataVersion"]
        assert [list(event) for event in events] == [keys] * 3
        assert [(event["eventType"].rpartition(".")[2], event["dataVersion"]) for event in events] == [
            ("BlobCreated", "2"),
            ("BlobRenamed", "1"),
            ("DirectoryRenamed", "1"),
        ]

    @pytest.mark.parametrize(("mode", "count"), [("duplicate", 2), ("drop", 0), ("hold", 0)])
    def test_modes(self, lake: Lake, mode: str, count: int) -> None:
        lake.write("a")
        lake.cloud.stack.control.events(mode=mode)
        lake.rename("a", "b")
        assert len(lake.cloud.events()) == count
        lake.cloud.stack.control.events(mode="deliver")
        assert len(lake.cloud.events()) == (1 if mode == "hold" else 0)

    @pytest.mark.parametrize(
        ("watch", "types"),
        [
            ("sharingsource/source@another", ["BlobCreated", "BlobRenamed"]),
            ("created:sharingsource/source@another", ["BlobCreated"]),
            ("renamed:sharingsource/source@another", ["BlobRenamed"]),
            ("renamed:sharingsource/other@another", []),
        ],
    )
    def test_kinds_of_watches(self, lake: Lake, watch: str, types: list[str]) -> None:
        with queue(lake.cloud, "another") as another:
            assert lake.cloud.stack.control.events(watch=[watch])["watch"] == [watch]
            lake.file("a").create_file()
            lake.rename("a", "b")
            assert [event["type"].rpartition(".")[2] for event in another.events()] == types
        assert lake.cloud.events() == []


class TestWriters:
    """Spark and Delta Lake, as the end-to-end tests play them."""

    @pytest.fixture
    def account(self, lake: Lake) -> Iterator[DataLakeServiceClient]:
        url = lake.cloud.stack.blob_url("sharingsource")
        with DataLakeServiceClient(url, KEY, retry_total=0) as account:
            yield account

    def test_spark(self, lake: Lake, account: DataLakeServiceClient) -> None:
        """The first task renames each new partition as a directory. The second finds it, and renames its files."""
        lake.directory("out/old").create_directory()
        found = spark_job(account, "source", lake.path("out"), partitions=["old", "new"])
        assert lake.contents("out/") == found
        renamed = [event for event in lake.cloud.all_events() if event["type"].endswith("Renamed")]
        visible = [event for event in renamed if "_temporary" not in event["subject"]]
        assert Counter(event["data"]["api"] for event in visible) == {"RenameFile": 5, "RenameDirectory": 1}

    def test_delta(self, lake: Lake, account: DataLakeServiceClient) -> None:
        """No commit has a BlobCreated event of its own name."""
        found = delta_commit(account, "source", lake.path("t"), 0) | delta_commit(account, "source", lake.path("t"), 1)
        assert lake.contents("t/") == found
        commits = [event for event in lake.cloud.all_events() if event["subject"].endswith(".json")]
        assert [event["type"].rpartition(".")[2] for event in commits] == ["BlobRenamed"] * 2
        with pytest.raises(ResourceExistsError):
            delta_commit(account, "source", lake.path("t"), 1)


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


class TestSftp:
    @fact(
        "Event Grid",
        "SFTP raises BlobCreated with `SftpCreate`, with `SftpWrite` during a resumable upload, and with `SftpCommit`; it has an `identity` and no `clientRequestId`",
        "[doc] event-schema-blob-storage",
    )
    def test_an_upload(self, lake: Lake) -> None:
        """Each step raises its event, also while the file is not whole."""
        path = f"sharingsource/source/{lake.path('a')}"
        sftp = lake.cloud.stack.control.sftp
        etags = [
            sftp("SftpCreate", path),
            sftp("SftpWrite", path, b"one"),
            sftp("SftpWrite", path, b"two"),
            sftp("SftpCommit", path, b"three"),
        ]
        assert lake.blob("a").download_blob().readall() == b"onetwothree"
        events = lake.cloud.events()
        assert {tuple(event["data"]) for event in events} == {
            tuple(name for name in (*CREATED[:-1], "identity", CREATED[-1]) if name != "clientRequestId")
        }
        assert [(event["data"]["api"], event["data"]["contentLength"]) for event in events] == [
            ("SftpCreate", 0),
            ("SftpWrite", 3),
            ("SftpWrite", 6),
            ("SftpCommit", 11),
        ]
        assert [event["data"]["eTag"] for event in events] == [etag.strip('"') for etag in etags]
        assert len(set(etags)) == 4
        assert {event["data"]["identity"] for event in events} == {"localuser"}
        assert {event["data"]["url"] for event in events} == {lake.url("a")}
        assert sftp("SftpCommit", path) not in etags
        assert lake.blob("a").download_blob().readall() == b"onetwothree"

    @pytest.mark.parametrize("kind", ["BlobRenamed", "DirectoryRenamed"])
    def test_a_rename(self, lake: Lake, kind: str) -> None:
        lake.write("a/b", b"1")
        source, target = ("a/b", "a/c") if kind == "BlobRenamed" else ("a", "c")
        etag = lake.blob("a/b").get_blob_properties().etag
        path = f"sharingsource/source/{lake.path(source)}"
        lake.cloud.stack.control.sftp("SftpRename", path, to=f"source/{lake.path(target)}")
        (event,) = lake.cloud.events()
        data = event["data"]
        assert event["type"] == f"Microsoft.Storage.{kind}"
        assert list(data) == [
            "api",
            "requestId",
            "destinationUrl",
            "sourceUrl",
            "sequencer",
            "identity",
            "storageDiagnostics",
        ]
        assert (data["api"], data["destinationUrl"]) == ("SftpRename", lake.url(target))
        assert lake.blob("a/c" if kind == "BlobRenamed" else "c/b").get_blob_properties().etag == etag

    def test_what_is_refused(self, lake: Lake) -> None:
        path = f"sharingsource/source/{lake.path('a')}"
        for api, reason in ("SftpWrite", "404 PathNotFound"), ("SftpRemove", "SftpCreate, SftpWrite"):
            with pytest.raises(ValueError, match=reason):
                lake.cloud.stack.control.sftp(api, path, b"1")
