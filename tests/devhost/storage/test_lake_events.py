"""The events of the Data Lake Storage API and of SFTP."""

import re
import uuid

import pytest
from azure.core.exceptions import HttpResponseError
from azure.storage.filedatalake import (
    ContentSettings,
)

from tests.contract.facts import fact
from tests.devhost.storage.lake import Lake
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
