"""The conditions on the wire: an ETag has quotes in HTTP, and no quotes anywhere else in the app."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from adapters.clients import Clients
from adapters.records import Records, Requests
from adapters.source import SourceBlobs
from adapters.target import TargetBlobs
from adapters.translation import CODE_HEADER, DEAD_LETTERS_LIST, DEAD_LETTERS_READ, DEAD_LETTERS_WRITE
from devhost.storage.config import KEY
from ports.blobs import Commit, Copy, CopySource
from rules.errors import LookAgain
from rules.routes.model import Blob, Engine
from rules.transfers.blocks import Block
from rules.transfers.decisions import TargetBlob
from rules.transfers.policies import STAGE_TIMEOUT, Times

CONDITIONS = ("If-Match", "If-None-Match", "x-ms-source-if-match", "x-ms-blob-if-match")

SEEN = pytest.mark.parametrize(
    ("seen", "condition"), [("0x2", {"If-Match": '"0x2"'}), (None, {"If-None-Match": "*"})], ids=["seen", "new"]
)


@dataclass
class Wire:
    """A service that returns one record, refuses everything else, and records the conditions of its requests."""

    clients: Clients
    endpoint: str = ""
    conditions: list[dict[str, str]] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    timeouts: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    @property
    def blob(self) -> Blob:
        return Blob(self.endpoint, "container", "blob")

    async def answer(self, request: web.Request) -> web.Response:
        if request.method == "GET" and "comp" not in request.query:
            headers = {"ETag": '"0x1"', "Content-Range": "bytes 0-1/2", "x-ms-blob-type": "BlockBlob"}
            return web.Response(body=b"{}", status=206, headers=headers)
        self.conditions.append({name: request.headers[name] for name in CONDITIONS if name in request.headers})
        self.ranges.append(request.headers.get("x-ms-source-range", ""))
        self.timeouts.append(request.query.get("timeout", ""))
        self.bodies.append(await request.read())
        return web.Response(status=412, headers={CODE_HEADER: "ConditionNotMet"})


@asynccontextmanager
async def wired() -> AsyncIterator[Wire]:
    """Run a Wire."""
    wire = Wire(Clients(KEY, Times(1), "test"))
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", wire.answer)
    async with TestServer(application) as server:
        wire.endpoint = f"http://127.0.0.1:{server.port}/account"
        yield wire
        await wire.clients.aclose()


@pytest.mark.parametrize("engine", [Engine.SYNC, Engine.ASYNC])
@SEEN
async def test_a_copy_has_quoted_etags_of_target_and_source(
    engine: Engine, seen: str | None, condition: dict[str, str]
) -> None:
    async with wired() as wire:
        source = CopySource(f"{wire.blob.url}?sig=x")
        with pytest.raises(LookAgain):
            await TargetBlobs(wire.clients).copy(Copy(wire.blob, source, "0x1", engine, {}, if_match=seen))
    assert wire.conditions == [{**condition, "x-ms-source-if-match": '"0x1"'}]


async def test_a_block_has_the_quoted_etag_of_its_source_and_a_timeout() -> None:
    async with wired() as wire:
        source = CopySource(f"{wire.blob.url}?sig=x")
        with pytest.raises(LookAgain):
            await TargetBlobs(wire.clients).stage(wire.blob, source, "0x1", Block("1", 2, 3))
    assert wire.conditions == [{"x-ms-source-if-match": '"0x1"'}]
    assert wire.ranges == ["bytes=2-4"]
    assert wire.timeouts == [str(STAGE_TIMEOUT)]


@SEEN
async def test_a_commit_has_the_quoted_etag_of_its_target_and_names_staged_blocks_only(
    seen: str | None, condition: dict[str, str]
) -> None:
    """The SDK ignores the state of a block and would send `Latest`, which includes committed blocks."""
    async with wired() as wire:
        with pytest.raises(LookAgain):
            await TargetBlobs(wire.clients).commit(Commit(wire.blob, ("2", "1"), {}, if_match=seen))
    assert wire.conditions == [condition]
    (body,) = wire.bodies
    assert b"<Uncommitted>Mg==</Uncommitted><Uncommitted>MQ==</Uncommitted>" in body
    assert b"Latest" not in body


async def test_clearing_and_deleting_have_a_quoted_etag() -> None:
    async with wired() as wire:
        target = TargetBlobs(wire.clients)
        for act in (target.clear_copy(wire.blob, TargetBlob("0x1", 0)), target.delete(wire.blob, "0x1")):
            with pytest.raises(LookAgain):
                await act
    assert wire.conditions == [{"If-Match": '"0x1"'}] * 2


async def test_a_record_is_written_with_the_quoted_etag_of_its_read() -> None:
    async with wired() as wire:
        requests = Requests(DEAD_LETTERS_READ, DEAD_LETTERS_WRITE, DEAD_LETTERS_LIST)
        records = Records(wire.clients, wire.endpoint, "container", requests)
        record, etag = await records.read("blob")
        assert (record, etag) == ({}, "0x1")
        assert await records.write("blob", {}, etag) is None
        assert await records.delete("blob", etag) is False
        assert await records.write("blob", {}, None) is None
    assert wire.conditions == [{"If-Match": '"0x1"'}, {"If-Match": '"0x1"'}, {"If-None-Match": "*"}]


async def test_tags_are_read_with_a_quoted_etag() -> None:
    """In any of the headers: the SDK chooses it."""
    async with wired() as wire:
        assert await SourceBlobs(wire.clients).tags(wire.blob, "0x1") is None
    (condition,) = wire.conditions
    assert list(condition.values()) == ['"0x1"']
