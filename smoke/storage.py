"""The blobs at both ends of a route, accessed with the token of the person who runs the test."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from azure.core.credentials import TokenCredential
from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError
from azure.storage.blob import BlobClient, BlobServiceClient, BlobType

from smoke.deployment import Blob, SmokeError, is_loopback

# Published by Microsoft for the emulator, so not a secret: https://learn.microsoft.com/azure/storage/common/storage-connect-azurite
EMULATOR_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
# By default the SDK waits fifteen seconds before its first retry.
OPTIONS: dict[str, Any] = {"retry_total": 3, "initial_backoff": 1, "connection_timeout": 20, "read_timeout": 60}
# https://learn.microsoft.com/rest/api/storageservices/common-rest-api-error-codes. A firewall and a missing role are both a 403;
# only the code tells them apart.
CODES = {
    "AuthorizationFailure": "the account's firewall blocks this machine. Fix: azd env set CLIENT_IP <your public "
    "IPv4 address>; azd provision --no-state. For an account that azd did not create: az storage account network-rule add",
    "AuthorizationPermissionMismatch": "your account lacks the role. Fix: azd env set TESTER_ACCESS true; azd provision --no-state; then "
    "wait some minutes for the role to take effect. For an account that azd did not create, assign yourself Storage Blob Data Contributor",
    "ContainerNotFound": "the container does not exist. Fix: azd provision --no-state",
    "InvalidAuthenticationInfo": "the token has expired or belongs to another tenant. Fix: azd auth login --tenant-id <the "
    "subscription's tenant>, and azd env set AZURE_TENANT_ID <the same>",
    "MetadataTooLarge": "the service accepts less metadata than the app expects",
}
# The codes that the service returns until a new role assignment or firewall rule takes effect.
TEMPORARY = frozenset({"AuthorizationFailure", "AuthorizationPermissionMismatch"})


class Storage:
    """The accounts of the routes: with the person's token on Azure, with the emulator's key on this machine.

    Each method raises SmokeError, with the fix, if the service refuses.
    """

    def __init__(self, credential: TokenCredential | None, emulator_key: str) -> None:
        self._credential = credential
        self._key = emulator_key
        self._services: dict[str, BlobServiceClient] = {}

    def close(self) -> None:
        """Close the connections."""
        for service in self._services.values():
            service.close()

    def put(self, blob: Blob, data: bytes, metadata: dict[str, str] | None = None, *, append: bool = False) -> None:
        """Create or overwrite a blob: a block blob, or an append blob, which `sync` cannot copy at any size."""
        kind = BlobType.APPENDBLOB if append else BlobType.BLOCKBLOB
        with asking("write", blob.endpoint):
            self._client(blob).upload_blob(data, blob_type=kind, metadata=metadata, overwrite=True, max_concurrency=4)

    def set_metadata(self, blob: Blob, metadata: dict[str, str]) -> None:
        """Replace a blob's metadata. This creates another version without an event."""
        with asking("write", blob.endpoint):
            self._client(blob).set_blob_metadata(metadata)

    def create_container(self, blob: Blob) -> None:
        """Create a blob's container."""
        with asking("create a container", blob.endpoint):
            self._service(blob.endpoint).create_container(blob.container)

    def digest(self, blob: Blob) -> str | None:
        """Return the SHA-256 of a blob's stored bytes; None if the blob does not exist."""
        digest, read = (
            hashlib.sha256(),
            False,
        )  # `read` stays False if the blob does not exist: `asking` suppresses this
        with asking("read", blob.endpoint):
            for chunk in self._client(blob).download_blob(decompress=False).chunks():
                digest.update(chunk)
            read = True
        return digest.hexdigest() if read else None

    def delete(self, blob: Blob) -> None:
        """Delete a blob, if it exists."""
        with asking("delete", blob.endpoint):
            self._client(blob).delete_blob(delete_snapshots="include")

    def names(self, prefix: Blob) -> list[str]:
        """List the blob names that begin with a prefix, in its container."""
        with asking("list", prefix.endpoint):
            container = self._service(prefix.endpoint).get_container_client(prefix.container)
            return list(container.list_blob_names(name_starts_with=prefix.name))

    def _client(self, blob: Blob) -> BlobClient:
        return self._service(blob.endpoint).get_blob_client(blob.container, blob.name)

    def _service(self, endpoint: str) -> BlobServiceClient:
        if endpoint not in self._services:
            key = {"account_name": endpoint.rpartition("/")[2], "account_key": self._key}
            credential = key if is_loopback(endpoint) else self._credential
            self._services[endpoint] = BlobServiceClient(endpoint, credential=credential, **OPTIONS)
        return self._services[endpoint]


@contextmanager
def asking(what: str, where: str) -> Iterator[None]:
    """Turn the SDK's errors into SmokeError, by the code and never by the message, which may contain a signed URL.

    The block ends silently if its blob does not exist.
    """
    try:
        yield
    except AzureError as error:
        if not isinstance(error, HttpResponseError) or error.response is None:
            raise SmokeError(f"{where} could not be reached to {what}: {no_answer(error)}") from None
        found = getattr(error, "error_code", None) or ""
        code = str(getattr(found, "value", found)) or type(error).__name__
        why = CODES.get(code, "Fix: look up the code in the Azure Storage documentation")
        if code != "BlobNotFound":
            raise SmokeError(f"{where} refused to {what} ({error.status_code} {code}): {why}", code) from None


def no_answer(error: AzureError) -> str:
    """Return why a service did not answer: no login, or no connection."""
    if isinstance(error, ClientAuthenticationError):
        return "neither azd nor az returned a token. Fix: azd auth login"
    return f"no answer ({type(error).__name__}). Fix: check the name and the network path (DNS, proxy, VPN)"
