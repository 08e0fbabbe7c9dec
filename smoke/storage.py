"""The blobs at both ends of a route, as the person who runs this may touch them."""

from typing import Any

from azure.core.credentials import TokenCredential
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import BlobClient, BlobServiceClient, BlobType

from smoke.places import Blob, is_loopback
from smoke.trouble import asking, code_of

# Published by Microsoft for the emulator, so no secret: https://learn.microsoft.com/azure/storage/common/storage-connect-azurite
EMULATOR_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
# The SDK's own first retry comes after fifteen seconds.
PATIENCE: dict[str, Any] = {"retry_total": 3, "initial_backoff": 1, "connection_timeout": 20, "read_timeout": 60}


class Storage:
    """Every account that a route names: with the person's token, on this machine with the emulator's key.

    Each method raises Trouble, with the fix, if the service will not.
    """

    def __init__(self, credential: TokenCredential, emulator_key: str) -> None:
        self._credential = credential
        self._key = emulator_key
        self._services: dict[str, BlobServiceClient] = {}

    def close(self) -> None:
        """Close the connections."""
        for service in self._services.values():
            service.close()

    def put(self, blob: Blob, data: bytes, metadata: dict[str, str] | None = None) -> None:
        """Put a block blob."""
        with asking("write", blob.endpoint):
            self._client(blob).upload_blob(data, metadata=metadata, overwrite=True)

    def append(self, blob: Blob, data: bytes) -> None:
        """Make an append blob: no request of `sync` can copy it, whatever its size."""
        with asking("write", blob.endpoint):
            self._client(blob).upload_blob(data, blob_type=BlobType.APPENDBLOB, overwrite=True)

    def set_metadata(self, blob: Blob, metadata: dict[str, str]) -> None:
        """Replace a blob's metadata: another version, which no event announces."""
        with asking("write", blob.endpoint):
            self._client(blob).set_blob_metadata(metadata)

    def read(self, blob: Blob) -> bytes | None:
        """A blob's bytes as they are stored; None where there is none."""
        with asking("read", blob.endpoint):
            try:
                return bytes(self._client(blob).download_blob(decompress=False).readall())
            except ResourceNotFoundError as error:
                if code_of(error) == "BlobNotFound":
                    return None
                raise

    def delete(self, blob: Blob) -> None:
        """Delete a blob, if it is there."""
        with asking("delete", blob.endpoint):
            try:
                self._client(blob).delete_blob(delete_snapshots="include")
            except ResourceNotFoundError as error:
                if code_of(error) != "BlobNotFound":
                    raise

    def names(self, prefix: Blob) -> list[str]:
        """The names that begin so, in its container."""
        with asking("list", prefix.endpoint):
            container = self._service(prefix.endpoint).get_container_client(prefix.container)
            return list(container.list_blob_names(name_starts_with=prefix.name))

    def _client(self, blob: Blob) -> BlobClient:
        return self._service(blob.endpoint).get_blob_client(blob.container, blob.name)

    def _service(self, endpoint: str) -> BlobServiceClient:
        if endpoint not in self._services:
            key = {"account_name": endpoint.rpartition("/")[2], "account_key": self._key}
            credential = key if is_loopback(endpoint) else self._credential
            self._services[endpoint] = BlobServiceClient(endpoint, credential=credential, **PATIENCE)
        return self._services[endpoint]
