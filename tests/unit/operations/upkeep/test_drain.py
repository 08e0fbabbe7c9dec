"""Nothing rots in a queue or a container: what was given up is accepted here, or becomes a dead letter."""

import json
from datetime import timedelta
from typing import Any

import pytest

from adapters.translation import (
    EVENTS_CONSUMED,
    EVENTS_DELIVERED,
    EVENTS_DEPTH,
    EVENTS_POISON,
    EVENTS_UNDELIVERED,
    INSTANCES_FIND,
    INSTANCES_START,
    error_for_answer,
    error_for_no_answer,
)
from operations.transfers.accept import accept
from operations.upkeep.drain import SECONDS, drain
from rules import events
from rules.errors import Reason, Retryable
from rules.transfers.model import Transfer
from tests.unit.world import World

BUSY = error_for_answer(INSTANCES_START, 503, "ServerBusy")
QUIET = ["events.depth", "events.poison", "events.undelivered"]


def said(caplog: pytest.LogCaptureFixture, action: str) -> list[dict[str, Any]]:
    """The log lines of an action."""
    lines = [json.loads(record.getMessage()) for record in caplog.records if record.name == "blob_data_sharing"]
    return [line for line in lines if line["action"] == action]


async def test_a_quiet_minute_is_three_requests(world: World) -> None:
    """One for the queue's length, one for each of what is drained."""
    assert await drain(world.ports, world.instances) == 0
    assert world.request_names == QUIET


class TestPoison:
    """What the queue trigger could not take."""

    async def test_poison_is_accepted_as_the_trigger_would_have(self, world: World) -> None:
        """A message that no trigger can read may be a good event all the same."""
        transfer = world.put()
        world.events.give_up(world.event(transfer))
        world.events.give_up(b"hello")
        assert await drain(world.ports, world.instances) == 2
        assert list(world.instances.kept) == [transfer.id]
        assert len(world.dead_letters.open) == 1
        assert world.events.poisoned == {}

    async def test_a_message_is_deleted_only_after_it_was_accepted(self, world: World) -> None:
        """Storage fails: it shows again, and a later round takes it."""
        world.events.give_up(world.event(world.put()))
        world.refuse(INSTANCES_START, BUSY, times=1)
        with pytest.raises(Retryable):
            await drain(world.ports, world.instances)
        assert len(world.events.poisoned) == 1
        world.pass_time(600)
        assert await drain(world.ports, world.instances) == 1
        assert len(world.instances.kept) == 1

    async def test_a_delete_that_failed_makes_a_duplicate_and_nothing_more(self, world: World) -> None:
        """Twice is once."""
        world.events.give_up(world.event(world.put()))
        world.refuse(EVENTS_CONSUMED, error_for_no_answer(EVENTS_CONSUMED), times=1)
        with pytest.raises(Retryable):
            await drain(world.ports, world.instances)
        world.pass_time(600)
        await drain(world.ports, world.instances)
        assert world.request_names.count("instances.start") == 1
        assert world.events.poisoned == {}

    async def test_a_bad_one_keeps_no_other_waiting(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        """Whatever it does to us: the round goes on, and says so once the others are done."""
        for number in range(5):
            world.events.give_up(world.event(world.put(f"in/{number}")))
        bad = next(iter(world.events.poisoned))
        world.refuse(INSTANCES_FIND, RuntimeError("a secret"), times=1)
        with pytest.raises(RuntimeError):
            await drain(world.ports, world.instances)
        assert list(world.events.poisoned) == [bad]
        assert len(world.instances.kept) == 4
        [line] = said(caplog, "timer.failed")
        assert (line["timer"], line["error"]) == ("drain", "RuntimeError")

    async def test_where_everything_fails_it_stops_soon(self, world: World) -> None:
        """Storage is down: a thousand messages are not tried."""
        for number in range(50):
            world.events.give_up(world.event(world.put(f"in/{number}")))
        world.refuse(INSTANCES_FIND, BUSY)
        with pytest.raises(Retryable):
            await drain(world.ports, world.instances)
        assert world.request_names.count("instances.find") == 10

    async def test_a_round_is_over_before_the_next_begins(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is left is taken a minute later."""
        for number in range(5):
            world.events.give_up(f"{number}".encode())

        async def slowly(*given: Any) -> Any:
            world.pass_time(SECONDS / 2)
            return await accept(*given)

        monkeypatch.setattr("operations.upkeep.drain.accept", slowly)
        assert await drain(world.ports, world.instances) == 2
        world.pass_time(600)
        assert await drain(world.ports, world.instances) == 2


def deadlettered(world: World, transfer: Transfer) -> dict[str, Any]:
    """An event as Event Grid keeps it once it has given it up."""
    event: dict[str, Any] = json.loads(world.event(transfer))
    return event | {
        "deadletterreason": "MaxDeliveryAttemptsExceeded",
        "deliveryattempts": 30,
        "lastdeliveryoutcome": "NotFound",
        "publishtime": "2026-11-24T19:02:44.1265758Z",
    }


def keep(world: World, name: str, value: Any) -> None:
    """Let Event Grid write a blob."""
    world.events.given_up[name] = value if isinstance(value, bytes) else json.dumps(value).encode()


class TestUndelivered:
    """What Event Grid could not deliver."""

    async def test_each_event_of_a_blob_is_accepted_on_its_own(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Then the blob is deleted; what cannot be read is a dead letter, as any other."""
        caplog.set_level("INFO", "blob_data_sharing")
        transfers = [world.put(f"in/{number}") for number in range(40)]
        keep(world, "a.json", [*(deadlettered(world, transfer) for transfer in transfers), {"no": "event"}, 7])
        assert await drain(world.ports, world.instances) == 1
        assert set(world.instances.kept) == {transfer.id for transfer in transfers}
        assert {letter.reason for letter in world.dead_letters.open.values()} == {Reason.MALFORMED}
        assert len(world.dead_letters.open) == 2
        assert world.events.given_up == {}
        [line] = said(caplog, "undelivered.drained")
        assert (line["blob"], line["events"], line["started"], line["letters"]) == ("a.json", 42, 40, 2)

    async def test_one_event_that_is_no_array(self, world: World) -> None:
        """It may be an object as well."""
        keep(world, "a.json", deadlettered(world, transfer := world.put()))
        await drain(world.ports, world.instances)
        assert list(world.instances.kept) == [transfer.id]

    @pytest.mark.parametrize("body", [b"", b"\xff\x00", b"[{", b"true", b'"text"'])
    async def test_what_cannot_be_read_is_a_dead_letter_and_goes(self, world: World, body: bytes) -> None:
        """Whole."""
        keep(world, "a.json", body)
        await drain(world.ports, world.instances)
        assert [letter.reason for letter in world.dead_letters.open.values()] == [Reason.MALFORMED]
        assert world.events.given_up == {}

    async def test_an_empty_array_is_nothing(self, world: World) -> None:
        """It can be read."""
        keep(world, "a.json", [])
        assert await drain(world.ports, world.instances) == 1
        assert (world.dead_letters.open, world.events.given_up) == ({}, {})

    async def test_a_blob_is_deleted_only_after_all_of_it_was_accepted(self, world: World) -> None:
        """Storage fails for one event of three: the others are duplicates next time."""
        keep(world, "a.json", [deadlettered(world, world.put(f"in/{number}")) for number in range(3)])
        world.refuse(INSTANCES_START, BUSY, times=1)
        with pytest.raises(Retryable):
            await drain(world.ports, world.instances)
        assert (len(world.instances.kept), len(world.events.given_up)) == (2, 1)
        assert await drain(world.ports, world.instances) == 1
        assert world.request_names.count("instances.start") == 3 + 1
        assert world.events.given_up == {}

    async def test_a_delete_that_failed_makes_duplicates_and_nothing_more(self, world: World) -> None:
        """Twice is once."""
        keep(world, "a.json", [deadlettered(world, world.put())])
        world.refuse(EVENTS_DELIVERED, error_for_no_answer(EVENTS_DELIVERED), times=1)
        with pytest.raises(Retryable):
            await drain(world.ports, world.instances)
        assert await drain(world.ports, world.instances) == 1
        assert world.request_names.count("instances.start") == 1

    async def test_one_that_changed_since_it_was_listed_is_for_the_next_round(self, world: World) -> None:
        """And stays: nothing of it was read."""
        keep(world, "a.json", [])
        world.before_next(
            EVENTS_UNDELIVERED, lambda: world.before_next(EVENTS_UNDELIVERED, lambda: keep(world, "a.json", [1]))
        )
        assert await drain(world.ports, world.instances) == 0
        assert await drain(world.ports, world.instances) == 1
        assert len(world.dead_letters.open) == 1

    async def test_one_that_another_round_took_is_fine(self, world: World) -> None:
        """Two rounds may overlap."""
        keep(world, "a.json", [deadlettered(world, world.put())])
        world.before_next(EVENTS_DELIVERED, world.events.given_up.clear)
        assert await drain(world.ports, world.instances) == 1

    @pytest.mark.parametrize(("limit", "reads"), [("MAX_UNDELIVERED", 1), ("MAX_EVENT", 2)])
    async def test_one_that_is_too_large_is_left_and_told_of(
        self,
        world: World,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
        limit: str,
        reads: int,
    ) -> None:
        """It is not even read, or nothing of it is accepted; the others are taken."""
        monkeypatch.setattr(events, limit, 2)
        keep(world, "a.json", b"[7, 123]")
        keep(world, "b.json", b"[]")
        assert await drain(world.ports, world.instances) == 1
        assert list(world.events.given_up) == ["a.json"]
        assert world.dead_letters.open == {}
        assert world.request_names.count("events.undelivered") == 1 + reads
        [line] = said(caplog, "undelivered.skipped")
        assert (line["blob"], line["size"]) == ("a.json", 8)

    async def test_a_bad_one_keeps_no_other_waiting(self, world: World) -> None:
        """It may be leased, archived, whatever."""
        for name in "abc":
            keep(world, name, [])
        listed = world.events.undelivered
        refused = error_for_answer(EVENTS_UNDELIVERED, 409, "BlobArchived")

        async def then_refuse() -> Any:
            async for found in listed():
                if found.name == "a":
                    world.refuse(EVENTS_UNDELIVERED, refused, times=1)
                yield found

        world.events.undelivered = then_refuse  # type: ignore[method-assign]
        with pytest.raises(Retryable):
            await drain(world.ports, world.instances)
        assert list(world.events.given_up) == ["a"]


class TestBoth:
    """Neither keeps the other waiting."""

    @pytest.mark.parametrize("request_", [EVENTS_DEPTH, EVENTS_POISON, EVENTS_UNDELIVERED])
    async def test_one_that_fails_keeps_no_other_from_being_done(self, world: World, request_: Any) -> None:
        """The host shows the round as failed."""
        world.refuse(request_, error_for_answer(request_, 503, "ServerBusy"))
        with pytest.raises(Retryable):
            await drain(world.ports, world.instances)
        assert world.request_names == QUIET


class TestDepth:
    """How long the queue is, once a minute."""

    async def test_it_tells_how_many_wait_and_for_how_long(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The oldest that is visible: one that is put off is not late."""
        caplog.set_level("INFO", "blob_data_sharing")
        await world.events.put(b"{}", delay=3_600)
        world.pass_time(60)
        await world.events.put(b"{}")
        world.pass_time(30)
        await drain(world.ports, world.instances)
        [line] = said(caplog, "queue.depth")
        assert (line["depth"], line["oldest_seconds"]) == (2, 30)

    async def test_an_empty_queue_is_not_looked_into(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        """Nor is one whose events are all put off a sign of anything."""
        caplog.set_level("INFO", "blob_data_sharing")
        await drain(world.ports, world.instances)
        await world.events.put(b"{}", delay=60)
        await drain(world.ports, world.instances)
        assert [(line["depth"], line["oldest_seconds"]) for line in said(caplog, "queue.depth")] == [(0, 0), (1, 0)]

    async def test_a_clock_that_is_behind_storages_is_no_negative_age(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        """They differ by a little."""
        caplog.set_level("INFO", "blob_data_sharing")
        await world.events.put(b"{}")
        later = world.events.queue.popitem()[1]
        world.events.queue["1"] = type(later)(later.body, later.visible_at, later.put_at + timedelta(seconds=2))
        await drain(world.ports, world.instances)
        assert said(caplog, "queue.depth")[0]["oldest_seconds"] == 0
