"""Signed reads: the permissions of a SAS, and the lifetime of the key behind it."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import UserDelegationKey
from yarl import URL

from adapters.clients import Clients, Use
from adapters.signing import BACK_DATED, KEY_USE
from adapters.source import SourceBlobs
from rules.errors import Reason, Retryable
from rules.routes.model import Blob
from rules.transfers.policies import Times
from tests.contract.helpers import Answer
from tests.contract.worlds import InStorage

NOW = datetime(2026, 11, 24, 19, tzinfo=UTC)
BLOB = Blob("https://acct.blob.core.windows.net", "source", "a b/ü%20.txt")


class Delegating(Clients):
    """Clients of an account whose user delegation keys are made here."""

    def __init__(self) -> None:
        super().__init__(None, Times(), "test")
        self.fetched: list[tuple[datetime, datetime]] = []
        self.failing = False

    def service(self, endpoint: str, use: Use = Use.READ) -> Any:
        assert (endpoint, use) == (BLOB.endpoint, Use.READ)
        return self

    async def get_user_delegation_key(self, start: datetime, expiry: datetime) -> UserDelegationKey:
        self.fetched.append((start, expiry))
        await asyncio.sleep(0)
        if self.failing:
            raise HttpResponseError(response=Answer(403, "AuthorizationPermissionMismatch"))  # type: ignore[arg-type]
        key = cast("Any", UserDelegationKey)()  # untyped
        key.signed_oid = key.signed_tid = "11111111-1111-1111-1111-111111111111"
        key.signed_start, key.signed_expiry = start.isoformat(), expiry.isoformat()
        key.signed_service, key.signed_version, key.value = "b", "2026-10-06", "c2VjcmV0"
        return cast("UserDelegationKey", key)


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.time = NOW

    def __call__(self) -> datetime:
        return self.time


async def test_on_azure_with_a_user_delegation_key() -> None:
    """Read permission only, for this blob, back-dated, until the given time, https only."""
    url = (await SourceBlobs(Delegating(), Clock()).sign_read(BLOB, NOW + timedelta(hours=1))).url
    assert url.startswith(BLOB.url + "?")
    query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    assert (query["sp"], query["sr"], query["spr"]) == ("r", "b", "https")
    assert (query["st"], query["se"]) == ("2026-11-24T18:45:00Z", "2026-11-24T20:00:00Z")
    assert query["skoid"] == "11111111-1111-1111-1111-111111111111"


async def test_concurrent_callers_share_one_key_request() -> None:
    clients = Delegating()
    source = SourceBlobs(clients, Clock())
    await asyncio.gather(*(source.sign_read(BLOB, NOW + timedelta(days=6)) for _ in range(10)))
    assert clients.fetched == [(NOW - timedelta(minutes=15), NOW - timedelta(minutes=15) + timedelta(days=7))]


async def test_a_key_that_would_expire_too_early_is_renewed() -> None:
    """The longest deadline is 6 days, the longest life of a key 7 days."""
    clients, clock = Delegating(), Clock()
    source = SourceBlobs(clients, clock)
    await source.sign_read(BLOB, NOW + timedelta(days=6))
    clock.time = NOW + timedelta(minutes=30)
    await source.sign_read(BLOB, NOW + timedelta(days=7) - BACK_DATED)
    assert len(clients.fetched) == 1
    await source.sign_read(BLOB, NOW + timedelta(days=7))
    assert len(clients.fetched) == 2


async def test_a_key_is_renewed_after_an_hour() -> None:
    """A revoked key signs without an error, but the service refuses its SAS."""
    clients, clock = Delegating(), Clock()
    source = SourceBlobs(clients, clock)
    for passed in (timedelta(0), KEY_USE):
        clock.time = NOW + passed
        await source.sign_read(BLOB, clock.time + timedelta(hours=1))
        assert len(clients.fetched) == 1
    clock.time += timedelta(seconds=1)
    await source.sign_read(BLOB, clock.time + timedelta(hours=1))
    assert len(clients.fetched) == 2


async def test_a_refused_key_request_is_retried_by_the_next_read() -> None:
    clients = Delegating()
    source = SourceBlobs(clients, Clock())
    clients.failing = True
    with pytest.raises(Retryable) as failure:
        await source.sign_read(BLOB, NOW)
    assert failure.value.reason is Reason.SOURCE_UNREADABLE
    clients.failing = False
    assert (await source.sign_read(BLOB, NOW)).url


class TestEmulator:
    """A SAS against the emulator."""

    async def test_reads_this_blob_and_nothing_else(self, storage: InStorage) -> None:
        blob, other = storage.source_blob("ü/%20 x"), storage.source_blob("other")
        for each in (blob, other):
            await storage.put(each)
        url = (await storage.source.sign_read(blob, datetime.now(UTC) + timedelta(minutes=1))).url
        query = url.partition("?")[2]
        container = f"{blob.endpoint}/{blob.container}"
        requests = [
            ("GET", url),
            ("PUT", url),
            ("DELETE", url),
            ("GET", f"{other.url}?{query}"),
            ("GET", f"{container}?restype=container&comp=list&{query}"),
        ]
        assert [await _status(*each) for each in requests] == [200, 403, 403, 403, 403]

    async def test_expires(self, storage: InStorage) -> None:
        await storage.put(storage.source_blob())
        late = await storage.source.sign_read(storage.source_blob(), datetime.now(UTC) - timedelta(seconds=1))
        assert await _status("GET", late.url) == 403


async def _status(method: str, url: str) -> int:
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, URL(url, encoded=True), headers={"x-ms-blob-type": "BlockBlob"}) as answer,
    ):
        return answer.status
