"""The ports `Figures` and `Ledger` on Azure Storage: the containers figures and ledger of the state account."""

import asyncio
import json
import time
from collections import defaultdict
from http import HTTPStatus
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import ContentSettings

from adapters.clients import Clients
from adapters.continuation import decode_token, encode_token
from adapters.records import Records, Requests
from adapters.translation import FIGURES_READ, FIGURES_WRITE, LEDGER_READ, LEDGER_WRITE, code_of
from rules.errors import Failure, Reason, Retryable
from rules.fixed_names import FIGURES_CONTAINER, LEDGER_CONTAINER
from rules.routes.model import Blob, Place

REQUESTS = Requests(FIGURES_READ, FIGURES_WRITE, FIGURES_READ)
LINES = ContentSettings(content_type="application/x-ndjson")


class StoredFigures:
    """The records of figures, and those that this process has read recently."""

    def __init__(self, clients: Clients, endpoint: str) -> None:
        self._records = Records(clients, endpoint, FIGURES_CONTAINER, REQUESTS, compact=True)
        self._kept: dict[str, tuple[float, dict[str, Any] | None]] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def load(self, name: str) -> tuple[dict[str, Any] | None, str | None]:
        """Return a record and its ETag; None and None if it does not exist."""
        return await self._records.read(f"{name}.json")

    async def save(self, name: str, record: dict[str, Any], etag: str | None) -> str | None:
        """Write a record if it has not changed since it was read; return its new ETag, None if it has changed."""
        return await self._records.write(f"{name}.json", record, etag)

    async def recent(self, name: str, seconds: float) -> dict[str, Any] | None:
        """Return a record as it was at most `seconds` ago. The lock lets concurrent callers share one request."""
        async with self._locks[name]:
            kept = self._kept.get(name)
            if kept is None or time.monotonic() - kept[0] >= seconds:
                began_at = time.monotonic()
                kept = self._kept[name] = (began_at, (await self.load(name))[0])
            return kept[1]


class StoredLedger:
    """Append blobs. Their length is the condition of each append, so a repeated one has no effect."""

    def __init__(self, clients: Clients, endpoint: str) -> None:
        self._clients = clients
        self._endpoint = endpoint

    async def append(self, name: str, position: int, body: bytes) -> None:
        """Append at this position, unless the blob has another length or was deleted."""
        client = self._clients.blob(Blob(self._endpoint, LEDGER_CONTAINER, name))
        async with self._clients.request_scope(LEDGER_WRITE):
            try:
                if position == 0:
                    await client.create_append_blob(LINES, match_condition=MatchConditions.IfMissing)
            except HttpResponseError as error:
                if code_of(error) != "BlobAlreadyExists":
                    raise
            try:
                await client.append_block(body, len(body), appendpos_condition=position)
            except HttpResponseError as error:
                if code_of(error) not in {"AppendPositionConditionNotMet", "BlobNotFound"}:
                    raise

    async def page(self, folder: str, continuation: str | None) -> tuple[list[dict[str, Any]], str | None]:
        """Return the lines of the folder's next blob: a list of one blob, and a read of it."""
        names, marker = await self._names(folder, decode_token(folder, continuation))
        if not names:
            return [], encode_token(folder, marker)
        async with self._clients.request_scope(LEDGER_READ):
            try:
                blob = Blob(self._endpoint, LEDGER_CONTAINER, names[0])
                response = await self._clients.requests(self._endpoint).send("GET", blob.url)
            except HttpResponseError as error:
                if code_of(error) != "BlobNotFound":  # a lifecycle rule has deleted it
                    raise
                return [], encode_token(folder, marker)
        try:
            return [dict(json.loads(line)) for line in response.content.splitlines()], encode_token(folder, marker)
        except (ValueError, TypeError):
            raise Retryable(Reason.INTERNAL, LEDGER_READ.name, "a page of the ledger is not JSON lines") from None

    async def exists(self, folder: str) -> bool:
        """Return whether a folder has a blob."""
        return bool((await self._names(folder, None))[0])

    async def _names(self, folder: str, marker: str | None) -> tuple[list[str], str | None]:
        place = Place(self._endpoint, LEDGER_CONTAINER, folder)
        try:
            items, following = await self._clients.page(LEDGER_READ, place, 1, marker)
        except Failure as failure:
            if marker and failure.status == HTTPStatus.BAD_REQUEST:
                raise ValueError("the service does not recognize the continuation token") from None
            raise
        return [item.name for item in items], following
