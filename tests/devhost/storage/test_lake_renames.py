"""Renames by the Data Lake Storage API, and jobs that commit by them."""

import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceExistsError
from azure.storage.blob import BlobBlock
from azure.storage.filedatalake import (
    ContentSettings,
    DataLakeServiceClient,
)

from devhost.storage.config import KEY
from tests.contract.facts import fact
from tests.devhost.storage.cloud import refused
from tests.devhost.storage.lake import Lake
from tests.e2e.lake import delta_commit, spark_job

BLOCK = BlobBlock("0001")


class TestRenames:
    @fact(
        "Hierarchical namespace",
        "a rename keeps the ETag",
        "[sdk] hadoop AzureBlobFileSystem.java (ETAGS_PRESERVED_IN_RENAME)",
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
        "[doc] path-create",
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
        "[sdk] arrow azurefs.cc",
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
