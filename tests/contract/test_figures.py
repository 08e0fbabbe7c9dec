"""The queue transfer-ends, the records of figures and the ledger, in memory and in storage."""

import asyncio

import pytest

from tests.contract.worlds import World

LINES = b'{"id": "1", "name": "\\u00e9"}\n'


class TestFeed:
    """The queue transfer-ends."""

    async def test_a_message_is_received_once_and_deleted(self, world: World) -> None:
        body = '{"name": "a<b>&\\u0000 é"}'.encode()
        await world.feed.put(body)
        assert await world.feed.depth() == 1
        (report,) = await world.feed.receive()
        assert report.body == body
        assert await world.feed.receive() == []
        await world.feed.delete(report)
        await world.feed.delete(report)
        assert await world.feed.depth() == 0

    async def test_up_to_32_are_received_at_once(self, world: World) -> None:
        await asyncio.gather(*(world.feed.put(b"%d" % number) for number in range(33)))
        received = [await world.feed.receive(), await world.feed.receive()]
        assert [len(each) for each in received] == [32, 1]
        bodies = {report.body for each in received for report in each}
        assert bodies == {b"%d" % number for number in range(33)}
        await asyncio.gather(*(world.feed.delete(report) for each in received for report in each))


class TestFigures:
    """Records with conditional writes."""

    async def test_a_record_is_written_only_if_it_is_unchanged(self, world: World) -> None:
        name = f"{world.test}-record"
        assert await world.figures.load(name) == (None, None)
        first = await world.figures.save(name, {"n": 1}, None)
        assert first is not None
        assert await world.figures.save(name, {"n": 0}, None) is None
        assert await world.figures.load(name) == ({"n": 1}, first)
        second = await world.figures.save(name, {"n": 2}, first)
        assert second not in {None, first}
        assert await world.figures.save(name, {"n": 0}, first) is None
        assert await world.figures.save(f"{name}-absent", {"n": 0}, first) is None
        assert await world.figures.load(name) == ({"n": 2}, second)

    async def test_a_recent_record_may_be_old(self, world: World) -> None:
        name = f"{world.test}-recent"
        assert await world.figures.recent(name, 60) is None
        await world.figures.save(name, {"n": 1}, None)
        assert await world.figures.recent(name, 60) is None
        assert await world.figures.recent(name, -1) == {"n": 1}


class TestLedger:
    """Blobs of lines."""

    async def test_a_repeated_append_has_no_effect(self, world: World) -> None:
        name = f"{world.test}/day/0.jsonl"
        for _ in range(2):
            await world.ledger.append(name, 0, LINES)
        for _ in range(2):
            await world.ledger.append(name, len(LINES), LINES)
        await world.ledger.append(name, 0, LINES)
        lines, following = await world.ledger.page(f"{world.test}/day/", None)
        assert (lines, following) == ([{"id": "1", "name": "é"}] * 2, None)

    async def test_a_blob_that_was_deleted_is_not_written_again(self, world: World) -> None:
        await world.ledger.append(f"{world.test}/day/1.jsonl", 5, LINES)
        assert not await world.ledger.exists(f"{world.test}/")

    async def test_pages_are_in_order_of_name(self, world: World) -> None:
        for number in (2, 0, 1):
            await world.ledger.append(f"{world.test}/day/{number}.jsonl", 0, b'{"n": %d}\n' % number)
        await world.ledger.append(f"{world.test}/day2/0.jsonl", 0, b'{"n": 9}\n')
        found, continuation = await world.ledger.page(f"{world.test}/day/", None)
        while continuation:
            lines, continuation = await world.ledger.page(f"{world.test}/day/", continuation)
            found += lines
        assert found == [{"n": 0}, {"n": 1}, {"n": 2}]
        assert await world.ledger.exists(f"{world.test}/")
        assert await world.ledger.page(f"{world.test}/none/", None) == ([], None)

    @pytest.mark.parametrize("continuation", ["x", "WyJvdGhlciIsICIxIl0="])
    async def test_a_wrong_continuation_is_refused(self, world: World, continuation: str) -> None:
        with pytest.raises(ValueError, match="continuation"):
            await world.ledger.page(f"{world.test}/day/", continuation)
