"""Helpers that several contract tests share."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from aiohttp import web
from aiohttp.test_utils import TestServer

from adapters.clients import Clients
from adapters.translation import CODE_HEADER
from devhost.storage.config import KEY
from ports.blobs import Copy, CopySource
from rules.dead_letters.letters import Attempt, DeadLetter
from rules.errors import Reason
from rules.routes.model import Blob, Engine, Place, Route
from rules.transfers import identity
from rules.transfers.policies import Times
from tests.contract.worlds import World

NOW = datetime(2026, 11, 24, 19, 2, 44, 120_000, tzinfo=UTC)
LOST = 599
BLOB_HEADERS = {
    "ETag": '"0x8DF0C1"',
    "Last-Modified": "Mon, 30 Nov 2026 08:00:00 GMT",
    "x-ms-blob-type": "BlockBlob",
    "Content-Length": "7",
    "x-ms-lease-status": "unlocked",
}
NAMES = [
    "plain.txt",
    "a b",
    " blank at both ends ",
    "50%",
    "%20",
    "%2e%2e/x",
    "a%2Fb",
    "+#?&;=@",
    "ü",
    "u\u0308",
    "🎈/שלום",
    "...dots",
    "...dots . in the middle.txt",
    "a//b",
    "trailing/",
    "~tilde-_.!'()*",
    "x" * 900,
]


async def request(
    world: World, engine: Engine = Engine.SYNC, *, name: str = "blob", content: bytes = b"content"
) -> Copy:
    """Return a request for a copy of a new source blob."""
    blob = world.source_blob(name)
    etag = await world.put(blob, content, metadata={"Own": "1"}, headers={"content_type": "text/x-test"})
    return Copy(
        target=world.target_blob(name),
        source=await world.source.sign_read(blob, datetime.now(UTC) + timedelta(minutes=30)),
        etag=etag,
        engine=engine,
        metadata={"Own": "1", "source_etag": etag, "transfer_id": "us"},
    )


class Listing(Protocol):
    """A side of a route, as it is listed."""

    async def page(self, place: Place, limit: int, marker: str | None) -> tuple[list[tuple[str, Any]], str | None]:
        """List a page."""


async def everything(side: Listing, place: Place, limit: int = 3) -> list[tuple[str, Any]]:
    """List all pages."""
    found: list[tuple[str, Any]] = []
    marker = None
    while True:
        page, marker = await side.page(place, limit, marker)
        assert len(page) <= limit
        found += page
        if marker is None:
            return found


class Answer:
    """The parts of an answer that the SDK's errors carry."""

    def __init__(self, status: int, code: str = "") -> None:
        self.status_code = status
        self.reason = "a reason"
        self.headers = {CODE_HEADER: code} if code else {}


@dataclass
class Service:
    """A service that gives the same answer to all requests and records their metadata."""

    clients: Clients
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    endpoint: str = ""
    later: tuple[int, dict[str, str]] | None = None
    metadata: list[dict[bytes, bytes]] = field(default_factory=list)

    @property
    def blob(self) -> Blob:
        return Blob(self.endpoint, "container", "blob")

    @property
    def copy(self) -> Copy:
        return Copy(self.blob, CopySource(f"{self.blob.url}?sig=x"), "0x1", Engine.SYNC, {})

    async def answer(self, request: web.Request) -> web.Response:
        raw = {name.lower(): value for name, value in request.raw_headers}
        self.metadata.append({name: value for name, value in raw.items() if name.startswith(b"x-ms-meta-")})
        if self.status == LOST and request.transport is not None:
            request.transport.close()
        answer = web.Response(status=self.status, headers=self.headers, body=self.body)
        self.status, self.headers = self.later or (self.status, self.headers)
        return answer


@asynccontextmanager
async def serving(
    status: int = 200,
    headers: dict[str, str] | None = None,
    body: bytes = b"",
    clients: type[Clients] = Clients,
) -> AsyncIterator[Service]:
    """Run a Service."""
    service = Service(clients(KEY, Times(1), "test"), status, headers or {}, body)
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", service.answer)
    async with TestServer(application, max_field_size=64 * 1024, max_line_size=64 * 1024) as server:
        service.endpoint = f"http://127.0.0.1:{server.port}/account"
        yield service
        await service.clients.aclose()


def transfer_id(world: World, name: str = "blob") -> str:
    """Return a transfer id whose route belongs to this test."""
    places = Place("https://a.blob.core.windows.net", "source"), Place("https://b.blob.core.windows.net", "target")
    return identity.transfer(Route(world.test, *places), name, "0x1").id


def letter(world: World, attempt: int = 0, *, name: str = "blob", detail: str = "why") -> DeadLetter:
    """Return the dead letter of one attempt."""
    began = NOW + timedelta(hours=attempt)
    return DeadLetter(
        id=transfer_id(world, name),
        attempts={attempt: Attempt(began, began, Reason.THROTTLED, detail, tries=8)},
        app_version="1",
        route=world.test,
        source_url="https://a.blob.core.windows.net/source/blob",
        name=name,
        etag="0x1",
        size=7,
        target_url="https://b.blob.core.windows.net/target/blob",
    )
