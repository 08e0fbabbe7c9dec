"""JSON records in one container of the state account, with conditional writes."""

import json
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobProperties, ContentSettings

from adapters.clients import Clients, condition
from adapters.translation import DEAD_LETTERS_LIST, DEAD_LETTERS_READ, DEAD_LETTERS_WRITE, code_of
from rules.errors import Failure, Reason, Retryable
from rules.routes.model import Blob, Place
from rules.transfers.identity import bare_etag

MAX_PAGE = 5_000
JSON = ContentSettings(content_type="application/json")


class Records:
    """A container of records. An `etag` of None means that the record does not exist."""

    def __init__(self, clients: Clients, endpoint: str, container: str) -> None:
        self._clients = clients
        self._endpoint = endpoint
        self._container = container

    async def read(self, name: str) -> tuple[dict[str, Any] | None, str | None]:
        """Return a record and its ETag; None and None if it does not exist."""
        async with self._clients.request_scope(DEAD_LETTERS_READ):
            try:
                blob = Blob(self._endpoint, self._container, name)
                response = await self._clients.requests(self._endpoint).send("GET", blob.url)
            except HttpResponseError as error:
                if code_of(error) == "BlobNotFound":
                    return None, None
                raise
        return _parse(response.content), bare_etag(response.headers["ETag"])

    async def write(self, name: str, record: dict[str, Any], metadata: dict[str, str], etag: str | None) -> bool:
        """Write a record if it has not changed since it was read; return False if it has.

        It also returns False if the response to a successful write is lost and the SDK's retry finds the record changed. The
        next read shows that record.
        """
        async with self._clients.request_scope(DEAD_LETTERS_WRITE):
            return await _condition_holds(
                self._blob(name).upload_blob(
                    json.dumps(record, indent=1).encode(),
                    overwrite=etag is not None,
                    metadata=metadata,
                    content_settings=JSON,
                    **condition(etag),
                )
            )

    async def delete(self, name: str, etag: str | None) -> bool:
        """Delete a record if it has not changed since it was read; return False if it has."""
        async with self._clients.request_scope(DEAD_LETTERS_WRITE):
            return await _condition_holds(self._blob(name).delete_blob(**condition(etag)))

    async def page(self, prefix: str, limit: int, marker: str | None) -> tuple[list[BlobProperties], str | None]:
        """List a page of records with metadata; return it with the next marker, None at the end.

        Raises:
            ValueError: the service does not know the marker.
        """
        place = Place(self._endpoint, self._container, prefix)
        try:
            return await self._clients.page(DEAD_LETTERS_LIST, place, min(limit, MAX_PAGE), marker)
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


def _parse(body: bytes) -> dict[str, Any]:
    try:
        record = json.loads(body)
    except ValueError:
        record = None
    if not isinstance(record, dict):
        raise Retryable(Reason.INTERNAL, DEAD_LETTERS_READ.name, "a stored record is not a JSON object")
    return record


async def _condition_holds(request: Any) -> bool:
    try:
        await request
    except HttpResponseError as error:
        if code_of(error) in {"BlobAlreadyExists", "BlobNotFound", "ConditionNotMet"}:
            return False
        raise
    return True
