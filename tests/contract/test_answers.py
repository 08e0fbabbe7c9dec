"""Recorded answers of the real service, read through the real SDK."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from azure.core.credentials import AzureSasCredential
from azure.core.pipeline.policies import SansIOHTTPPolicy

from adapters.clients import Clients
from adapters.source import SourceBlobs
from adapters.target import TargetBlobs
from adapters.translation import CODE_HEADER
from devhost.storage.config import KEY
from ports.blobs import Commit
from rules.errors import CANNOT_VERIFY_SOURCE, LookAgain, Permanent, Reason, Retryable
from rules.routes.model import Blob, Place
from rules.transfers.decisions import TargetBlob
from rules.transfers.policies import Times, metadata_fits
from tests.contract.facts import fact
from tests.contract.helpers import BLOB_HEADERS, LOST, serving


def failed(source: str) -> bytes:
    """Return the body of a refused copy: a byte order mark, one line, and the source's error."""
    text = f"<Code>{CANNOT_VERIFY_SOURCE}</Code><Message>No.\nRequestId:1\nTime:2026-11-30T08:00:00Z</Message>{source}"
    return f'\ufeff<?xml version="1.0" encoding="utf-8"?><Error>{text}</Error>'.encode()


class TestTheSourceOfACopy:
    """Since version 2024-02-04 a refused copy reports the source's error."""

    BODY = failed(
        "<CopySourceStatusCode>503</CopySourceStatusCode><CopySourceErrorCode>ServerBusy</CopySourceErrorCode>"
    )

    async def test_that_is_busy_is_retryable(self) -> None:
        """From the elements of the body: the headers are missing."""
        headers = {CODE_HEADER: CANNOT_VERIFY_SOURCE, "Content-Type": "application/xml"}
        async with serving(403, headers, self.BODY) as service:
            with pytest.raises(Retryable) as failure:
                await TargetBlobs(service.clients).copy(service.copy)
        assert failure.value.reason is Reason.THROTTLED
        assert "503 ServerBusy" in failure.value.detail

    async def test_whose_firewall_refuses_is_named(self) -> None:
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
        assert "the source's firewall blocks the target's service" in failure.value.detail


class TestTheCopySource:
    """Whether a finished copy shows the SAS of its source with the signature."""

    @pytest.mark.parametrize(
        ("query", "shown"),
        [("?se=2026-11-30&sp=r&sv=2026-04-06&sr=b", False), ("?sv=2026-04-06&sig=c2VjcmV0", True), ("", False)],
    )
    async def test_is_shown_without_its_signature(self, query: str, shown: bool) -> None:  # noqa: FBT001
        """The service has removed the signature since 2022; the emulator shows the whole SAS."""
        copy = {"x-ms-copy-id": "1", "x-ms-copy-status": "success", "x-ms-copy-progress": "7/7"}
        source = {"x-ms-copy-source": f"https://a.blob.core.windows.net/source/blob{query}"}
        async with serving(200, BLOB_HEADERS | copy | source) as service:
            seen = await TargetBlobs(service.clients).head(service.blob)
        assert seen is not None
        assert seen.shows_sas is shown


class Unsigned(Clients):
    """Requests are not signed, as with a token."""

    def key_for(self, _endpoint: str) -> str | None:
        return None

    def _credential(self, _endpoint: str) -> Any:
        return AzureSasCredential("sig=x")

    def _signing(self, _endpoint: str, _service: Any) -> Any:
        return SansIOHTTPPolicy()


class TestMetadata:
    """Metadata is read as it is, and sent byte for byte or refused with its key."""

    @pytest.mark.parametrize("size", [8_190, 8_191, 8_192])
    async def test_of_8_kb_in_one_value_is_read(self, size: int) -> None:
        """aiohttp's default limit is 8,190 bytes."""
        async with serving(200, BLOB_HEADERS | {"x-ms-meta-k": "v" * size}) as service:
            seen = await SourceBlobs(service.clients).head(service.blob)
        assert seen is not None
        assert seen.metadata == {"k": "v" * size}

    async def test_of_8_kb_in_many_values_is_read(self) -> None:
        """aiohttp's default limit is 128 headers."""
        metadata = {f"k{number}": "v" for number in range(1_500)}
        sent = {f"x-ms-meta-{key}": value for key, value in metadata.items()}
        async with serving(200, BLOB_HEADERS | sent) as service:
            seen = await SourceBlobs(service.clients).head(service.blob)
        assert seen is not None
        assert seen.metadata == metadata

    @pytest.mark.parametrize("value", ["plain", "ümläut", "漢字 🎉", "", "a  b"])
    async def test_beyond_ascii_is_sent_byte_for_byte(self, value: str) -> None:
        headers = {"x-ms-copy-id": "1", "x-ms-copy-status": "success", "ETag": '"0x2"'}
        async with serving(202, headers, clients=Unsigned) as service:
            assert await TargetBlobs(service.clients).copy(replace(service.copy, metadata={"key": value})) == "0x2"
        assert service.metadata == [{b"x-ms-meta-key": value.encode()}]

    @pytest.mark.parametrize("value", ["caf\udce9", "\u3000indented", "ends\u00a0", "\x85"])
    @pytest.mark.parametrize("clients", [Clients, Unsigned])
    async def test_that_would_not_arrive_byte_for_byte_is_not_sent(self, value: str, clients: type[Clients]) -> None:
        """Bytes that are not UTF-8, and white space that the SDK strips."""
        copy = {"own": "1", "title": value}
        async with serving(202, clients=clients) as service:
            with pytest.raises(Permanent) as failure:
                await TargetBlobs(service.clients).copy(replace(service.copy, metadata=copy))
        assert failure.value.reason is Reason.UNSUPPORTED_BLOB
        assert "metadata 'title'" in failure.value.detail
        assert service.metadata == []

    async def test_in_latin_1_is_read_and_refused_before_a_copy(self) -> None:
        head = "".join(f"{name}: {value}\r\n" for name, value in BLOB_HEADERS.items()).encode()
        answer = b"HTTP/1.1 200 OK\r\n" + head + b"x-ms-meta-title: caf\xe9\r\n\r\n"

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/account"
        clients = Clients(KEY, Times(1), "test")
        seen = await SourceBlobs(clients).head(Blob(endpoint, "container", "blob"))
        await clients.aclose()
        server.close()
        assert seen is not None
        assert seen.metadata == {"title": "caf\udce9"}
        assert metadata_fits({"title": "\udce9" * 8_187})
        assert not metadata_fits({"title": "\udce9" * 8_188})


async def test_content_headers_beyond_ascii_are_not_written_back() -> None:
    target = TargetBlob("0x1", 7, headers={"content_disposition": 'attachment; filename="ü.txt"'})
    async with serving(200) as service:
        with pytest.raises(Permanent, match="content headers"):
            await TargetBlobs(service.clients).clear_copy(service.blob, target)
    assert service.metadata == []


class TestBlocks:
    """Lists of staged blocks, and their commit."""

    async def test_ids_that_are_not_text_are_shown_as_they_are(self) -> None:
        """The SDK shows an id that is not UTF-8 in base64, and fails at one that is not base64."""
        ids = {"not base64": "BlockId-1", "not UTF-8": "//79/A==", "text": "MDE="}
        blocks = "".join(f"<Block><Name>{name}</Name><Size>7</Size></Block>" for name in ids.values())
        body = f"\ufeff<BlockList><CommittedBlocks /><UncommittedBlocks>{blocks}</UncommittedBlocks></BlockList>"
        for kept in (body, body.replace("BlockId-1", "MDI=")):
            async with serving(200, {"Content-Type": "application/xml"}, kept.encode()) as service:
                found = await TargetBlobs(service.clients).staged(service.blob)
            own = "BlockId-1" if kept is body else "02"
            assert found == {own: 7, "//79/A==": 7, "01": 7}

    @pytest.mark.parametrize("value", ["plain", "ümläut", "漢字 🎉", "", "a  b"])
    async def test_metadata_beyond_ascii_is_sent_byte_for_byte(self, value: str) -> None:
        async with serving(201, {"ETag": '"0x2"'}, clients=Unsigned) as service:
            await TargetBlobs(service.clients).commit(Commit(service.blob, (), {"key": value}))
        assert service.metadata == [{b"x-ms-meta-key": value.encode()}]

    @pytest.mark.parametrize(
        "of", [{"metadata": {"title": "caf\udce9"}}, {"metadata": {}, "headers": {"content_language": "ü"}}]
    )
    async def test_what_would_not_arrive_byte_for_byte_is_not_sent(self, of: dict[str, Any]) -> None:
        async with serving(201, {"ETag": '"0x2"'}, clients=Unsigned) as service:
            with pytest.raises(Permanent) as failure:
                await TargetBlobs(service.clients).commit(Commit(service.blob, (), **of))
        assert failure.value.reason is Reason.UNSUPPORTED_BLOB
        assert service.metadata == []


def entry(name: str, properties: str, metadata: str = "<Metadata />") -> str:
    """Return a blob of a list, with the service's order of elements."""
    sizes = f"<Etag>0x1</Etag>{properties}<BlobType>BlockBlob</BlobType>"
    return f"<Blob><Name{name}</Name><Properties>{sizes}</Properties>{metadata}<OrMetadata /></Blob>"


class TestADirectory:
    """A directory of an account with a hierarchical namespace is not a blob."""

    HEADERS = BLOB_HEADERS | {"x-ms-resource-type": "directory", "x-ms-meta-hdi_isfolder": "true"}

    async def test_at_the_source_counts_as_no_blob(self) -> None:
        async with serving(200, self.HEADERS) as service:
            assert await SourceBlobs(service.clients).head(service.blob) is None

    async def test_is_recognized_after_a_retry(self) -> None:
        async with serving(LOST) as service:
            service.later = 200, self.HEADERS
            assert await SourceBlobs(service.clients).head(service.blob) is None

    async def test_at_the_target_is_a_conflict(self) -> None:
        async with serving(200, self.HEADERS) as service:
            with pytest.raises(Permanent, match="a directory already has this name") as failure:
                await TargetBlobs(service.clients).head(service.blob)
        assert failure.value.reason is Reason.TARGET_CONFLICT

    async def test_a_file_beside_it_is_a_blob(self) -> None:
        for headers in (
            self.HEADERS | {"x-ms-resource-type": "file"},
            BLOB_HEADERS | {"x-ms-meta-hdi_isfolder": "true"},
        ):
            async with serving(200, headers) as service:
                assert await SourceBlobs(service.clients).head(service.blob) is not None

    @fact(
        "Hierarchical namespace",
        "a list has directories with and without metadata, also with an encoded name",
        "BOR, #runai-model-streamer 149",
    )
    async def test_is_left_out_of_lists(self) -> None:
        """By its type: with or without metadata, and with an encoded name."""
        folder, file = (f"<ResourceType>{kind}</ResourceType>" for kind in ("directory", "file"))
        empty = "<Content-Length>0</Content-Length>"
        marked = "<Metadata><hdi_isfolder>true</hdi_isfolder></Metadata>"
        entries = (
            entry(">a.txt", file + "<Content-Length>1</Content-Length>", "<Metadata><k>v</k></Metadata>"),
            entry(">nested", folder + empty, marked),
            entry(">nested/c.txt", file + empty, marked),
            entry(' Encoded="true">nested%2Fd%EF%BF%BE', folder + empty),
            entry(">nested/e", folder + empty, marked),
        )
        text = f"<Blobs>{''.join(entries)}</Blobs><NextMarker />"
        body = f'\ufeff<?xml version="1.0" encoding="utf-8"?><EnumerationResults>{text}</EnumerationResults>'.encode()
        async with serving(200, {"Content-Type": "application/xml"}, body) as service:
            found, marker = await SourceBlobs(service.clients).page(Place(service.endpoint, "container"), 10, None)
        assert ([name for name, _ in found], marker) == (["a.txt", "nested/c.txt"], None)
