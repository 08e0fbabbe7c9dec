"""JSON records in one container of the state account, with conditional writes."""

import json
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any, NamedTuple

from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobProperties, ContentSettings

from adapters.clients import Clients, condition
from adapters.translation import Request, code_of
from rules.errors import Failure, Reason, Retryable
from rules.routes.model import Blob, Place
from rules.transfers.identity import bare_etag

MAX_PAGE = 5_000
# The condition of a write does not hold.
CHANGED = {"BlobAlreadyExists", "BlobNotFound", "ConditionNotMet"}
JSON = ContentSettings(content_type="application/json")


class Requests(NamedTuple):
    """The requests that the errors of a container's records name."""

    read: Request
    write: Request
    list: Request


class Records:
    """A container of records. An `etag` of None means that the record does not exist."""

    def __init__(
        self, clients: Clients, endpoint: str, container: str, requests: Requests, *, compact: bool = False
    ) -> None:
        self._clients = clients
        self._endpoint = endpoint
        self._container = container
        self._requests = requests
        self._format: dict[str, Any] = {"separators": (",", ":")} if compact else {"indent": 1}

    async def read(self, name: str) -> tuple[dict[str, Any] | None, str | None]:
        """Return a record and its ETag; None and None if it does not exist."""
        async with self._clients.request_scope(self._requests.read):
            try:
                blob = Blob(self._endpoint, self._container, name)
                response = await self._clients.requests(self._endpoint).send("GET", blob.url)
            except HttpResponseError as error:
                if code_of(error) == "BlobNotFound":
                    return None, None
                raise
        return self._parse(response.content), bare_etag(response.headers["ETag"])

    async def write(
        self, name: str, record: dict[str, Any], etag: str | None, metadata: dict[str, str] | None = None
    ) -> str | None:
        """Write a record if it has not changed since it was read. Return its new ETag; None if it has changed.

        It also returns None if the response to a successful write is lost and the SDK's retry finds the record changed. The
        next read shows that record.
        """
        async with self._clients.request_scope(self._requests.write):
            try:
                done = await self._blob(name).upload_blob(
                    json.dumps(record, **self._format).encode(),
                    overwrite=etag is not None,
                    metadata=metadata,
                    content_settings=JSON,
                    **condition(etag),
                )
            except HttpResponseError as error:
                if code_of(error) in CHANGED:
                    return None
                raise
        return bare_etag(str(done["etag"]))

    async def delete(self, name: str, etag: str | None) -> bool:
        """Delete a record if it has not changed since it was read; return False if it has."""
        async with self._clients.request_scope(self._requests.write):
            try:
                await self._blob(name).delete_blob(**condition(etag))
            except HttpResponseError as error:
                if code_of(error) in CHANGED:
                    return False
                raise
        return True

    async def page(self, prefix: str, limit: int, marker: str | None) -> tuple[list[BlobProperties], str | None]:
        """List a page of records with metadata; return it with the next marker, None at the end.

        Raises:
            ValueError: the service does not know the marker.
        """
        place = Place(self._endpoint, self._container, prefix)
        try:
            return await self._clients.page(self._requests.list, place, min(limit, MAX_PAGE), marker)
        except Failure as failure:
            if marker and failure.status == HTTPStatus.BAD_REQUEST:
                raise ValueError("the service does not recognize the continuation token") from None
            raise

    async def all(self, prefix: str) -> AsyncIterator[BlobProperties]:
        """Yield all records of a prefix, page by page."""
        marker = None
        while True:
            items, marker = await self.page(prefix, MAX_PAGE, marker)
            for item in items:
                yield item
            if marker is None:
                return

    def _blob(self, name: str) -> Any:
        return self._clients.blob(Blob(self._endpoint, self._container, name))

    def _parse(self, body: bytes) -> dict[str, Any]:
        try:
            record = json.loads(body)
        except ValueError:
            record = None
        if not isinstance(record, dict):
            raise Retryable(Reason.INTERNAL, self._requests.read.name, "a stored record is not a JSON object")
        return record
