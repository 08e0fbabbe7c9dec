"""URLs with a SAS that read one source blob, signed without a request per blob (rule 14)."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from azure.storage.blob import BlobSasPermissions, UserDelegationKey, generate_blob_sas

from adapters.clients import Clients
from adapters.translation import SOURCE_SIGN
from rules.routes.model import Blob, Place

# A SAS that starts now is not valid yet for a service whose clock is behind.
BACK_DATED = timedelta(minutes=15)
# The longest life of a user delegation key, counted from its start.
KEY_LIFE = timedelta(days=7)
# A revoked key signs without an error, but the service refuses its SAS. So a key is replaced after an hour.
KEY_USE = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class _Key:
    key: UserDelegationKey = field(repr=False)
    start: datetime
    expiry: datetime


class Signatures:
    """Signs reads: with the account key for the emulator, with a user delegation key of the app's identity on Azure."""

    def __init__(self, clients: Clients, now: Callable[[], datetime]) -> None:
        self._clients = clients
        self._now = now
        self._keys: dict[str, _Key] = {}
        self._fetching: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def url(self, blob: Blob, until: datetime) -> str:
        """Return a URL that reads only this blob, until then at the latest."""
        start = self._now() - BACK_DATED
        secret: dict[str, Any] = {"account_key": self._clients.key_for(blob.endpoint)}
        if secret["account_key"] is None:
            delegation = await self._delegation(blob.endpoint, until)
            start, until = max(start, delegation.start), min(until, delegation.expiry)
            secret = {"user_delegation_key": delegation.key, "protocol": "https"}
        sas = generate_blob_sas(
            account_name=Place(blob.endpoint, "").account,
            container_name=blob.container,
            blob_name=blob.name,
            permission=BlobSasPermissions(read=True),
            start=start,
            expiry=until,
            **secret,
        )
        return f"{blob.url}?{sas}"

    async def _delegation(self, endpoint: str, until: datetime) -> _Key:
        """Return the account's key, renewed if it would expire before `until`. Concurrent callers share one request."""
        async with self._fetching[endpoint]:
            cached = self._keys.get(endpoint)
            if cached is None or cached.expiry < until or self._now() - cached.start > BACK_DATED + KEY_USE:
                self._keys[endpoint] = await self._fetch(endpoint)
            return self._keys[endpoint]

    async def _fetch(self, endpoint: str) -> _Key:
        start = self._now() - BACK_DATED
        expiry = start + KEY_LIFE
        async with self._clients.request_scope(SOURCE_SIGN):
            key = await self._clients.service(endpoint).get_user_delegation_key(start, expiry)
        return _Key(key, start, expiry)
