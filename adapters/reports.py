"""The port `Reports` on Azure Storage: JSON lines in the container reports of the state account."""

import json
from typing import Any

from azure.core.exceptions import HttpResponseError
from azure.storage.blob import ContentSettings
from azure.storage.blob.aio import BlobClient

from adapters.clients import Clients
from adapters.translation import REPORTS_READ, REPORTS_WRITE, code_of
from rules.errors import Reason, Retryable
from rules.fixed_names import REPORTS_CONTAINER
from rules.routes.model import Blob

LINES = ContentSettings(content_type="application/x-ndjson")


class StoredReports:
    """Pages of JSON lines."""

    def __init__(self, clients: Clients, endpoint: str) -> None:
        self._clients = clients
        self._endpoint = endpoint

    async def write(self, name: str, lines: list[dict[str, Any]], *, new: bool = False) -> None:
        """Write a page. It replaces an existing one, which a repeated step has written; with `new` it fails instead."""
        body = "".join(json.dumps(line) + "\n" for line in lines).encode()
        async with self._clients.request_scope(REPORTS_WRITE):
            await self._blob(name).upload_blob(body, overwrite=not new, content_settings=LINES)

    async def read(self, name: str) -> list[dict[str, Any]]:
        """Return the lines of a page; empty if it does not exist."""
        async with self._clients.request_scope(REPORTS_READ):
            try:
                body = await (await self._blob(name).download_blob()).readall()
            except HttpResponseError as error:
                if code_of(error) == "BlobNotFound":
                    return []
                raise
        try:
            return [dict(json.loads(line)) for line in body.splitlines()]
        except (ValueError, TypeError):
            raise Retryable(Reason.INTERNAL, REPORTS_READ.name, "a page of a report is not JSON lines") from None

    def _blob(self, name: str) -> BlobClient:
        return self._clients.blob(Blob(self._endpoint, REPORTS_CONTAINER, name))
