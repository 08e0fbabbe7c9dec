"""A hierarchical account of the stack, with the SDK's Data Lake clients."""

from dataclasses import dataclass
from typing import Any

from azure.storage.blob import BlobClient
from azure.storage.filedatalake import DataLakeDirectoryClient, DataLakeFileClient, FileSystemClient

from tests.devhost.storage.cloud import Cloud


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
