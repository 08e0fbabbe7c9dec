"""Each method of a fake awaits the hook once, and then has its whole effect or none."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from adapters.translation import Request, error_for_no_answer
from ports.blobs import Commit
from ports.events import Undelivered
from ports.messages import Received
from rules.errors import Permanent, Reason
from rules.routes.model import Engine
from rules.transfers.blocks import Block
from rules.transfers.decisions import TargetBlob
from rules.transfers.model import Ended, Ending, Kind
from rules.transfers.states import State
from tests.contract.durable_worlds import InMemory as DurableWorld
from tests.contract.helpers import NOW, letter, request
from tests.contract.worlds import InMemory
from tests.fakes import MemoryInstances

TARGET = TargetBlob("0x1", 0)


async def calls(world: InMemory, instances: MemoryInstances) -> dict[str, Callable[[], Awaitable[object]]]:
    """Return a call of every method of every fake."""
    copy = await request(world, Engine.ASYNC)
    run, name = DurableWorld().run(), letter(world).id
    return {
        "source.head": lambda: world.source.head(world.source_blob()),
        "source.page": lambda: world.source.page(world.source_place, 1, None),
        "source.tags": lambda: world.source.tags(world.source_blob(), copy.etag),
        "target.head": lambda: world.target.head(copy.target),
        "target.page": lambda: world.target.page(world.target_place, 1, None),
        "target.copy": lambda: world.target.copy(copy),
        "target.staged": lambda: world.target.staged(copy.target),
        "target.stage": lambda: world.target.stage(copy.target, copy.source, copy.etag, Block("1", 0, 1)),
        "target.commit": lambda: world.target.commit(Commit(copy.target, (), {})),
        "target.abort": lambda: world.target.abort(copy.target, "none"),
        "target.clear": lambda: world.target.clear_copy(copy.target, TARGET),
        "target.delete": lambda: world.target.delete(copy.target, "0x1"),
        "letters.read_ended": lambda: world.dead_letters.read_ended(name),
        "dead_letters.write_ended": lambda: world.dead_letters.write_ended(Ended(name, 0, Ending(State.CANCELLED))),
        "dead_letters.drop_ended": lambda: world.dead_letters.drop_ended(name, 0),
        "dead_letters.write": lambda: world.dead_letters.write(letter(world)),
        "dead_letters.resolve": lambda: world.dead_letters.resolve(name, 0, "verified", NOW + timedelta(hours=1)),
        "dead_letters.read": lambda: world.dead_letters.read(name),
        "dead_letters.page": lambda: world.dead_letters.page("", 1, None),
        "letters.list_ended": lambda: anext(aiter(world.dead_letters.list_ended()), None),
        "events.put": lambda: world.events.put(b""),
        "events.poison": lambda: anext(aiter(world.events.receive_poison()), None),
        "events.delete_poison": lambda: world.events.delete_poison(Received(b"", "", "")),
        "events.list_undelivered": lambda: anext(aiter(world.events.list_undelivered()), None),
        "events.read": lambda: world.events.read_undelivered(Undelivered("", 0, "")),
        "events.delete_undelivered": lambda: world.events.delete_undelivered(Undelivered("", 0, "")),
        "events.oldest_message": world.events.oldest_message,
        "events.depth": world.events.depth,
        "reports.write": lambda: world.reports.write("page", []),
        "reports.read": lambda: world.reports.read("page"),
        "feed.put": lambda: world.feed.put(b""),
        "feed.receive": world.feed.receive,
        "feed.delete": lambda: world.feed.delete(Received(b"", "", "")),
        "feed.depth": world.feed.depth,
        "figures.load": lambda: world.figures.load("record"),
        "figures.save": lambda: world.figures.save("record", {}, None),
        "figures.recent": lambda: world.figures.recent("record", 0),
        "ledger.append": lambda: world.ledger.append("page", 0, b""),
        "ledger.page": lambda: world.ledger.page("", None),
        "ledger.exists": lambda: world.ledger.exists(""),
        "instances.find": lambda: instances.find(run.transfer.id),
        "instances.start": lambda: instances.start(run),
        "instances.cancel": lambda: instances.cancel(run.transfer.id),
        "instances.terminate": lambda: instances.terminate(run.transfer.id, "why"),
        "instances.purge": lambda: instances.purge(run.transfer.id),
        "instances.page": lambda: instances.page(limit=1),
    }


async def test_each_method_awaits_the_hook_once_and_a_crash_there_has_no_effect() -> None:
    world = InMemory()
    instances = MemoryInstances(world.storage)
    names: list[str] = []

    async def crash(request: Request, _subject: str) -> Exception | None:
        names.append(request.name)
        raise error_for_no_answer(request)

    methods = await calls(world, instances)
    before = dict(world.storage.blobs)
    world.storage.hook = crash
    for name, method in methods.items():
        with pytest.raises(Exception, match="no answer"):
            await method()
        assert len(names) == 1, name
        names.clear()
    stores = (world.queues.queue, world.dead_letters.open, world.dead_letters.ends, instances.kept)  # type: ignore[attr-defined]
    assert (world.storage.blobs, world.storage.staged) == (before, {})
    assert [len(store) for store in stores] == [0, 0, 0, 0]


async def test_a_refusal_can_be_lost() -> None:
    world = InMemory()

    async def lose(request: Request, _subject: str) -> Exception | None:
        return error_for_no_answer(request)

    world.storage.hook = lose
    with pytest.raises(Exception, match="no answer"):
        await world.target.delete(world.target_blob(), "0x1")


@pytest.mark.parametrize("kind", [Kind.APPEND, Kind.PAGE])
async def test_a_tier_is_refused_for_append_and_page_blobs(kind: Kind) -> None:
    world = InMemory()
    copy = await request(world, Engine.ASYNC)
    copy = replace(copy, etag=await world.put(world.source_blob(), bytes(512), kind=kind), tier="Cool")
    with pytest.raises(Permanent) as failure:
        await world.target.copy(copy)
    assert failure.value.reason is Reason.UNSUPPORTED_BLOB
    assert await world.target.copy(replace(copy, tier=None)) is None
