"""Lists of both sides and pages of reports, in memory and in storage."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from activities.jobs.act import act
from activities.jobs.lines import LineResult
from adapters.events import StoredEvents
from adapters.source import SourceBlobs
from adapters.target import TargetBlobs
from ports.services import Ports
from rules.errors import Permanent, Reason, Retryable
from rules.jobs import lifecycle
from rules.jobs.model import Job, JobKind, Phase, Result
from rules.jobs.report import found_page
from rules.routes.model import Engine, Place
from rules.routes.names import refusal
from rules.transfers.decisions import RECEIPT_SOURCE_ETAG, RECEIPT_TRANSFER_ID, CopyStatus, SourceBlob, TargetBlob
from rules.transfers.model import Kind
from rules.transfers.policies import Times
from tests.contract.helpers import BLOB_HEADERS, everything, request, serving
from tests.contract.worlds import World
from tests.unit.samples import NOW

# In the service's order, by UTF-8 bytes. The slash sorts like any other character.
NAMES = ["a", "a//b", "a/b", "a0", "aé", "ü 100%", "🎈"]


LINES: list[dict[str, Any]] = [{"name": "é 🎈 \n \u2028", "n": 1}, {"deep": {"list": [None, True]}}]


class TestSource:
    """Lists of source blobs."""

    async def test_every_blob_once_with_its_raw_name_in_order(self, world: World) -> None:
        place = replace(world.source_place, prefix=f"{world.test}/in/")
        etags = {name: await world.put(place.blob(name), name.encode()) for name in NAMES}
        await world.put(world.source_blob("in"))
        await world.put(world.source_blob("in0"))
        found = await everything(world.source, place)
        assert [name for name, _ in found] == [place.prefix + name for name in sorted(NAMES)]
        assert {name: blob.etag for name, blob in found} == {place.prefix + name: etags[name] for name in NAMES}
        assert await everything(world.source, place, limit=len(NAMES)) == found

    async def test_every_accepted_name_is_listed_unchanged(self, world: World) -> None:
        """U+0080 to U+009F too: XML carries them, and the rules refuse what it does not carry."""
        place = replace(world.source_place, prefix=f"{world.test}/")
        wanted = [f"{place.prefix}a{chr(c)}b" for c in range(0x80, 0xA0)]
        assert [name for name in wanted if refusal(name)] == []
        for name in wanted:
            await world.put(replace(place.blob(""), name=name), b"1")
        assert [name for name, _ in await everything(world.source, place, limit=100)] == wanted

    async def test_a_listed_blob_equals_its_head(self, world: World) -> None:
        place = replace(world.source_place, prefix=f"{world.test}/")
        await world.put(place.blob("block"), b"12345", metadata={"Key": "value"})
        await world.put(place.blob("empty"), b"")
        await world.put(place.blob("page"), bytes(512), kind=Kind.PAGE)
        await world.put(place.blob("append"), b"123", kind=Kind.APPEND)
        found = await everything(world.source, place)
        assert len(found) == 4
        for name, listed in found:
            seen = await world.source.head(replace(place.blob(""), name=name))
            assert isinstance(listed, SourceBlob)
            assert listed == seen, name

    async def test_a_prefix_without_blobs_is_an_empty_list(self, world: World) -> None:
        assert await world.source.page(replace(world.source_place, prefix=f"{world.test}/none/"), 10, None) == (
            [],
            None,
        )

    async def test_a_missing_container_is_retryable(self, world: World) -> None:
        with pytest.raises(Retryable) as failure:
            await world.source.page(replace(world.source_place, container="missing"), 10, None)
        assert failure.value.code == "ContainerNotFound"

    async def test_a_blob_marked_as_a_folder_is_a_blob(self, world: World) -> None:
        """On a flat account: tools write such empty blobs, and their events are shared."""
        place = replace(world.source_place, prefix=f"{world.test}/")
        names = [place.prefix + name for name in ("Folder", "folder", "folder/blob", "full")]
        for name, content, key in zip(
            names, (b"", b"", b"1", b"1"), ("Hdi_isfolder", *["hdi_isfolder"] * 3), strict=True
        ):
            await world.put(replace(place.blob(""), name=name), content, metadata={key: "true"})
        assert [name for name, _ in await everything(world.source, place)] == names


class TestTarget:
    """Lists of target blobs."""

    async def test_every_blob_with_its_receipt(self, world: World) -> None:
        place = replace(world.target_place, prefix=f"{world.test}/out/")
        receipt = {RECEIPT_SOURCE_ETAG: "0x1", RECEIPT_TRANSFER_ID: "id"}
        for name in NAMES:
            await world.put(place.blob(name), name.encode(), metadata=receipt)
        await world.put(place.blob("zz"), b"another writer's")
        found = dict(await everything(world.target, place))
        assert list(found) == [place.prefix + name for name in sorted([*NAMES, "zz"])]
        for name, listed in found.items():
            seen = await world.target.head(replace(place.blob(""), name=name))
            assert isinstance(listed, TargetBlob)
            assert listed == seen, name
        assert found[place.prefix + "zz"].source_etag is None
        assert found[place.prefix + "a"].source_etag == "0x1"

    async def test_a_copy_that_is_pending_is_listed_as_pending(self, world: World) -> None:
        copy = await request(world, Engine.ASYNC)
        await world.target.copy(copy)
        place = replace(world.target_place, prefix=copy.target.name)
        [(_, listed)] = await everything(world.target, place)
        assert listed.copy_status is CopyStatus.PENDING
        assert listed.source_etag == copy.metadata[RECEIPT_SOURCE_ETAG]
        await world.finish(copy.target)
        [(_, listed)] = await everything(world.target, place)
        assert listed.copy_status is CopyStatus.SUCCESS

    async def test_a_missing_container_is_permanent(self, world: World) -> None:
        with pytest.raises(Permanent) as failure:
            await world.target.page(replace(world.target_place, container="missing"), 10, None)
        assert failure.value.code == "ContainerNotFound"


class TestActing:
    """The last phase of a job, on its own pages."""

    @pytest.mark.parametrize("seconds", [1, 3])
    async def test_four_hundred_slow_lines_are_all_acted_on_and_none_fails(self, world: World, seconds: int) -> None:
        """At one line a second or slower, a step ends in time and the next one continues."""
        job = Job(f"replay-{world.test}", JobKind.REPLAY, NOW, rate=100, phase=Phase.ACT, pages=1)
        await world.reports.write(found_page(job.id, 0), [{"id": str(number), "name": "é"} for number in range(400)])
        clock, acted, inputs = 0.0, list[str](), list[Job]()

        async def handle(line: dict[str, Any]) -> LineResult:
            nonlocal clock
            clock += seconds
            acted.append(line["id"])
            return LineResult(Result.STARTED)

        ports = SimpleNamespace(reports=world.reports, monotonic=lambda: clock, times=Times())
        while job.phase:
            inputs.append(job)
            job = lifecycle.advance(job, await act(cast("Ports", ports), job, handle), NOW)
            assert (job.failures, job.tally.failed) == (0, 0)
        assert (job.tally.started, job.batches) == (400, len(inputs))
        assert job.batches > 1
        for older in inputs:  # resumed from an older input: same result, and no second action
            again = older
            while again.phase:
                again = lifecycle.advance(again, await act(cast("Ports", ports), again, handle), NOW)
            assert again == job
        assert acted == [str(number) for number in range(400)]


class TestReports:
    """Pages of JSON lines."""

    async def test_a_page_is_read_as_it_was_written(self, world: World) -> None:
        await world.reports.write(f"{world.test}/0.jsonl", LINES)
        assert await world.reports.read(f"{world.test}/0.jsonl") == LINES

    async def test_a_page_that_is_written_again_is_replaced(self, world: World) -> None:
        for lines in (LINES, LINES[:1], []):
            await world.reports.write(f"{world.test}/0.jsonl", lines)
            assert await world.reports.read(f"{world.test}/0.jsonl") == lines

    async def test_a_new_page_replaces_no_other(self, world: World) -> None:
        await world.reports.write(f"{world.test}/0.jsonl", LINES, new=True)
        with pytest.raises(Retryable) as failure:
            await world.reports.write(f"{world.test}/0.jsonl", LINES[:1], new=True)
        assert failure.value.code == "BlobAlreadyExists"
        assert await world.reports.read(f"{world.test}/0.jsonl") == LINES

    async def test_a_missing_page_is_empty(self, world: World) -> None:
        assert await world.reports.read(f"{world.test}/none.jsonl") == []


PLAIN = {
    "Last-Modified": "Mon, 30 Nov 2026 08:00:00 GMT",
    "Etag": "0x1",
    "Content-Length": "1",
    "BlobType": "BlockBlob",
}
ODD: dict[str, dict[str, str | None]] = {
    "no ETag": {"Etag": None},
    "no size": {"Content-Length": None},
    "a size that is not a number": {"Content-Length": "many"},
    "no type": {"BlobType": None},
    "an unknown type": {"BlobType": "StreamBlob"},
    "an invalid time": {"Last-Modified": "soon"},
    "an unknown copy status": {"CopyId": "1", "CopyStatus": "paused"},
}


def blob_of_a_list(name: str, changes: dict[str, str | None]) -> str:
    """Return an element of a list; a property that changes to None is left out."""
    properties = "".join(f"<{key}>{value}</{key}>" for key, value in {**PLAIN, **changes}.items() if value is not None)
    return f"<Blob>{name}<Properties>{properties}</Properties></Blob>"


class TestOddities:
    """Answers that the service does not give today."""

    @pytest.mark.parametrize("case", ODD)
    @pytest.mark.parametrize("side", [SourceBlobs, TargetBlobs])
    async def test_one_unreadable_blob_does_not_hide_the_others(
        self, side: type[SourceBlobs] | type[TargetBlobs], case: str
    ) -> None:
        odd = blob_of_a_list('<Name Encoded="true">b%2F%EF%BF%BF</Name>', ODD[case])
        blobs = blob_of_a_list("<Name>a</Name>", {}) + odd + blob_of_a_list("<Name>c</Name>", {})
        body = f"<EnumerationResults><Blobs>{blobs}</Blobs><NextMarker>on</NextMarker></EnumerationResults>"
        async with serving(200, {"Content-Type": "application/xml"}, body.encode()) as service:
            place = Place(service.endpoint, "container")
            items, next_marker = await side(service.clients).page(place, 10, None)
        assert ([name for name, _ in items], next_marker) == (["a", "b/\uffff", "c"], "on")
        assert isinstance(items[1][1], Permanent)
        assert items[1][1].reason is Reason.UNSUPPORTED_BLOB

    async def test_an_unreadable_head_is_permanent(self) -> None:
        for headers in ({"x-ms-blob-type": "BlockBlob"}, {**BLOB_HEADERS, "x-ms-copy-status": "paused"}):
            async with serving(200, headers) as service:
                with pytest.raises(Permanent) as failure:
                    await SourceBlobs(service.clients).head(service.blob)
            assert failure.value.reason is Reason.UNSUPPORTED_BLOB

    async def test_undelivered_events_without_an_etag_are_listed(self) -> None:
        """Its read returns None, because its condition never holds."""
        blobs = blob_of_a_list("<Name>a</Name>", {"Etag": None, "Content-Length": None})
        blobs += blob_of_a_list("<Name>b</Name>", {})
        body = f"<EnumerationResults><Blobs>{blobs}</Blobs><NextMarker /></EnumerationResults>"
        async with serving(200, {"Content-Type": "application/xml"}, body.encode()) as service:
            events = StoredEvents(service.clients, service.endpoint, service.endpoint)
            assert [(found.name, found.etag) async for found in events.list_undelivered()] == [("a", ""), ("b", "0x1")]
