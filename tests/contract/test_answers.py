"""What the real service answers, as recorded, through the real SDK: each test states one fact of Azure Storage."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from adapters.clients import Clients
from adapters.target import TargetBlobs
from adapters.translation import CODE_HEADER
from devhost.storage.config import KEY
from rules.errors import CANNOT_VERIFY_SOURCE, LookAgain, Reason, Retryable
from rules.models import Blob, Engine
from rules.policies import Times
from rules.ports import Copy, CopySource

BLOB_HEADERS = {
    "ETag": '"0x8DF0C1"',
    "Last-Modified": "Mon, 30 Nov 2026 08:00:00 GMT",
    "x-ms-blob-type": "BlockBlob",
    "x-ms-lease-status": "unlocked",
}


@dataclass
class Service:
    """A service that gives one answer to everything, and keeps what it was asked."""

    clients: Clients
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    endpoint: str = ""
    asked: list[str] = field(default_factory=list)

    @property
    def blob(self) -> Blob:
        """A blob there."""
        return Blob(self.endpoint, "container", "blob")

    @property
    def copy(self) -> Copy:
        """A copy to it."""
        return Copy(self.blob, CopySource(f"{self.blob.url}?sig=x"), "0x1", Engine.SYNC, {})

    async def answer(self, request: web.Request) -> web.Response:
        """Serve a request."""
        self.asked.append(request.method)
        return web.Response(status=self.status, headers=self.headers, body=self.body)


@asynccontextmanager
async def serving(
    status: int = 200, headers: dict[str, str] | None = None, body: bytes = b""
) -> AsyncIterator[Service]:
    """Listen."""
    service = Service(Clients(KEY, Times(1), "test"), status, headers or {}, body)
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", service.answer)
    async with TestServer(application, max_field_size=64 * 1024, max_line_size=64 * 1024) as server:
        service.endpoint = f"http://127.0.0.1:{server.port}/account"
        yield service
        await service.clients.aclose()


def failed(source: str) -> bytes:
    """The body of a refused copy: a byte-order mark, one line, and what the source answered."""
    text = f"<Code>{CANNOT_VERIFY_SOURCE}</Code><Message>No.\nRequestId:1\nTime:2026-11-30T08:00:00Z</Message>{source}"
    return f'\ufeff<?xml version="1.0" encoding="utf-8"?><Error>{text}</Error>'.encode()


class TestTheSourceOfACopy:
    """Since version 2024-02-04 a refused copy says what the source answered."""

    BODY = failed(
        "<CopySourceStatusCode>503</CopySourceStatusCode><CopySourceErrorCode>ServerBusy</CopySourceErrorCode>"
    )

    async def test_that_is_busy_is_for_later(self) -> None:
        """From the elements of the body, where the headers are absent."""
        headers = {CODE_HEADER: CANNOT_VERIFY_SOURCE, "Content-Type": "application/xml"}
        async with serving(403, headers, self.BODY) as service:
            with pytest.raises(Retryable) as failure:
                await TargetBlobs(service.clients).copy(service.copy)
        assert failure.value.reason is Reason.THROTTLED
        assert "503 ServerBusy" in failure.value.detail

    async def test_whose_firewall_refuses_says_so(self) -> None:
        """From the headers."""
        headers = {
            CODE_HEADER: CANNOT_VERIFY_SOURCE,
            "Content-Type": "application/xml",
            "x-ms-copy-source-status-code": "403",
            "x-ms-copy-source-error-code": "AuthorizationFailure",
        }
        async with serving(403, headers, failed("")) as service:
            with pytest.raises(LookAgain) as failure:
                await TargetBlobs(service.clients).copy(service.copy)
        assert "the source's firewall refuses the target's service" in failure.value.detail


class TestTheCopySource:
    """Whether a finished copy shows the signature of its source's SAS."""

    @pytest.mark.parametrize(
        ("query", "shown"),
        [("?se=2026-11-30&sp=r&sv=2026-04-06&sr=b", False), ("?sv=2026-04-06&sig=c2VjcmV0", True), ("", False)],
    )
    async def test_is_shown_without_its_signature(self, query: str, shown: bool) -> None:  # noqa: FBT001
        """As the service has done since 2022; before, and on the emulator, the whole SAS."""
        copy = {"x-ms-copy-id": "1", "x-ms-copy-status": "success", "x-ms-copy-progress": "7/7"}
        source = {"x-ms-copy-source": f"https://a.blob.core.windows.net/source/blob{query}"}
        async with serving(200, BLOB_HEADERS | copy | source) as service:
            seen = await TargetBlobs(service.clients).head(service.blob)
        assert seen is not None
        assert seen.shows_sas is shown
