"""The drain: poison messages and undelivered events are accepted or dead-lettered."""

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
from rules.errors import Reason, Retryable
from rules.transfers.model import Transfer
from tests.unit.world import World

BUSY = error_for_answer(INSTANCES_START, 503, "ServerBusy")
QUIET = ["events.depth", "events.poison", "events.undelivered"]


def logged(caplog: pytest.LogCaptureFixture, action: str) -> list[dict[str, Any]]:
    """The log lines of an action."""
    lines = [json.loads(record.getMessage()) for record in caplog.records if record.name == "blob_data_sharing"]
    return [line for line in lines if line["action"] == action]


async def test_an_idle_run_costs_three_requests(world: World) -> None:
    assert await drain(world.ports, world.instances) == 0
    assert world.request_names == QUIET


class TestPoison:
    async def test_a_poison_message_is_accepted_as_by_the_trigger(self, world: World) -> None:
        transfer = world.put()
        world.events.put_poison(world.event(transfer))
        world.events.put_poison(b"hello")
        assert await drain(world.ports, world.instances) == 2
        assert list(world.instances.kept) == [transfer.id]
        assert len(world.dead_letters.open) == 1
        assert world.events.poisoned == {}

    async def test_a_message_is_deleted_only_after_it_was_accepted(self, world: World) -> None:
        world.events.put_poison(world.event(world.put()))
        world.refuse(INSTANCES_START, BUSY, times=1)
        with pytest.raises(Retryable):
            await drain(world.ports, world.instances)
        assert len(world.events.poisoned) == 1
        world.pass_time(600)
        assert await drain(world.ports, world.instances) == 1
        assert len(world.instances.kept) == 1

    async def test_a_failed_delete_leads_to_a_duplicate_only(self, world: World) -> None:
        world.events.put_poison(world.event(world.put()))
        world.refuse(EVENTS_CONSUMED, error_for_no_answer(EVENTS_CONSUMED), times=1)
        with pytest.raises(Retryable):
            await drain(world.ports, world.instances)
        world.pass_time(600)
        await drain(world.ports, world.instances)
        assert world.request_names.count("instances.start") == 1
        assert world.events.poisoned == {}

    async def test_one_failure_does_not_stop_the_others(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        for number in range(5):
            world.events.put_poison(world.event(world.put(f"in/{number}")))
        bad = next(iter(world.events.poisoned))
        world.refuse(INSTANCES_FIND, RuntimeError("a secret"), times=1)
        with pytest.raises(RuntimeError):
            await drain(world.ports, world.instances)
        assert list(world.events.poisoned) == [bad]
        assert len(world.instances.kept) == 4
        [line] = logged(caplog, "timer.failed")
        assert (line["timer"], line["error"]) == ("drain", "RuntimeError")

    async def test_the_run_stops_after_ten_failures(self, world: World) -> None:
        for number in range(50):
            world.events.put_poison(world.event(world.put(f"in/{number}")))
        world.refuse(INSTANCES_FIND, BUSY)
        with pytest.raises(Retryable):
            await drain(world.ports, world.instances)
        assert world.request_names.count("instances.find") == 10

    async def test_the_run_stops_before_the_next_one_begins(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for number in range(5):
            world.events.put_poison(f"{number}".encode())

        async def slowly(*given: Any) -> Any:
            world.pass_time(SECONDS / 2)
            return await accept(*given)

        monkeypatch.setattr("operations.upkeep.drain.accept", slowly)
        assert await drain(world.ports, world.instances) == 2
        world.pass_time(600)
        assert await drain(world.ports, world.instances) == 2


def undelivered_event(world: World, transfer: Transfer) -> dict[str, Any]:
    """An event as Event Grid stores it when it could not deliver it."""
    event: dict[str, Any] = json.loads(world.event(transfer))
    return event | {
        "deadletterreason": "MaxDeliveryAttemptsExceeded",
        "deliveryattempts": 30,
        "lastdeliveryoutcome": "NotFound",
        "publishtime": "2026-11-24T19:02:44.1265758Z",
    }


def put_undelivered(world: World, name: str, value: Any) -> None:
    world.events.undelivered[name] = value if isinstance(value, bytes) else json.dumps(value).encode()


class TestUndelivered:
    async def test_each_event_of_a_blob_is_accepted_separately(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO", "blob_data_sharing")
        transfers = [world.put(f"in/{number}") for number in range(40)]
        put_undelivered(
            world, "a.json", [*(undelivered_event(world, transfer) for transfer in transfers), {"no": "event"}, 7]
        )
        assert await drain(world.ports, world.instances) == 1
        assert set(world.instances.kept) == {transfer.id for transfer in transfers}
        assert {letter.reason for letter in world.dead_letters.open.values()} == {Reason.MALFORMED}
        assert len(world.dead_letters.open) == 2
        assert world.events.undelivered == {}
        [line] = logged(caplog, "undelivered.drained")
        assert (line["blob"], line["events"], line["started"], line["letters"]) == ("a.json", 42, 40, 2)

    async def test_a_blob_may_hold_a_single_event(self, world: World) -> None:
        put_undelivered(world, "a.json", undelivered_event(world, transfer := world.put()))
        await drain(world.ports, world.instances)
        assert list(world.instances.kept) == [transfer.id]

    @pytest.mark.parametrize("body", [b"", b"\xff\x00", b"[{", b"true", b'"text"'])
    async def test_a_malformed_blob_becomes_a_dead_letter_and_is_deleted(self, world: World, body: bytes) -> None:
        put_undelivered(world, "a.json", body)
        await drain(world.ports, world.instances)
        assert [letter.reason for letter in world.dead_letters.open.values()] == [Reason.MALFORMED]
        assert world.events.undelivered == {}

    async def test_an_empty_array_starts_nothing(self, world: World) -> None:
        put_undelivered(world, "a.json", [])
        assert await drain(world.ports, world.instances) == 1
        assert (world.dead_letters.open, world.events.undelivered) == ({}, {})

    async def test_a_blob_is_deleted_only_after_all_of_it_was_accepted(self, world: World) -> None:
        put_undelivered(world, "a.json", [undelivered_event(world, world.put(f"in/{number}")) for number in range(3)])
        world.refuse(INSTANCES_START, BUSY, times=1)
        with pytest.raises(Retryable):
            await drain(world.ports, world.instances)
        assert (len(world.instances.kept), len(world.events.undelivered)) == (2, 1)
        assert await drain(world.ports, world.instances) == 1
        assert world.request_names.count("instances.start") == 3 + 1
        assert world.events.undelivered == {}

    async def test_a_failed_delete_leads_to_duplicates_only(self, world: World) -> None:
        put_undelivered(world, "a.json", [undelivered_event(world, world.put())])
        world.refuse(EVENTS_DELIVERED, error_for_no_answer(EVENTS_DELIVERED), times=1)
        with pytest.raises(Retryable):
            await drain(world.ports, world.instances)
        assert await drain(world.ports, world.instances) == 1
        assert world.request_names.count("instances.start") == 1

    async def test_a_blob_that_changed_after_the_list_is_left_to_the_next_run(self, world: World) -> None:
        put_undelivered(world, "a.json", [])
        world.before_next(
            EVENTS_UNDELIVERED,
            lambda: world.before_next(EVENTS_UNDELIVERED, lambda: put_undelivered(world, "a.json", [1])),
        )
        assert await drain(world.ports, world.instances) == 0
        assert await drain(world.ports, world.instances) == 1
        assert len(world.dead_letters.open) == 1

    async def test_a_blob_that_another_run_deleted_is_ignored(self, world: World) -> None:
        put_undelivered(world, "a.json", [undelivered_event(world, world.put())])
        world.before_next(EVENTS_DELIVERED, world.events.undelivered.clear)
        assert await drain(world.ports, world.instances) == 1

    @pytest.mark.parametrize(("limit", "reads"), [("MAX_UNDELIVERED", 1), ("MAX_EVENT", 2)])
    async def test_a_blob_or_event_that_is_too_large_is_left_and_logged(
        self,
        world: World,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
        limit: str,
        reads: int,
    ) -> None:
        monkeypatch.setattr(f"operations.upkeep.drain.{limit}", 2)
        put_undelivered(world, "a.json", b"[7, 123]")
        put_undelivered(world, "b.json", b"[]")
        assert await drain(world.ports, world.instances) == 1
        assert list(world.events.undelivered) == ["a.json"]
        assert world.dead_letters.open == {}
        assert world.request_names.count("events.undelivered") == 1 + reads
        [line] = logged(caplog, "undelivered.skipped")
        assert (line["blob"], line["size"]) == ("a.json", 8)

    async def test_one_failure_does_not_stop_the_others(self, world: World) -> None:
        for name in "abc":
            put_undelivered(world, name, [])
        listed = world.events.list_undelivered
        refused = error_for_answer(EVENTS_UNDELIVERED, 409, "BlobArchived")

        async def then_refuse() -> Any:
            async for found in listed():
                if found.name == "a":
                    world.refuse(EVENTS_UNDELIVERED, refused, times=1)
                yield found

        world.events.list_undelivered = then_refuse  # type: ignore[method-assign]
        with pytest.raises(Retryable):
            await drain(world.ports, world.instances)
        assert list(world.events.undelivered) == ["a"]


class TestFailures:
    @pytest.mark.parametrize("request_", [EVENTS_DEPTH, EVENTS_POISON, EVENTS_UNDELIVERED])
    async def test_a_failure_of_one_part_does_not_stop_the_other(self, world: World, request_: Any) -> None:
        world.refuse(request_, error_for_answer(request_, 503, "ServerBusy"))
        with pytest.raises(Retryable):
            await drain(world.ports, world.instances)
        assert world.request_names == QUIET


class TestDepth:
    async def test_logs_the_depth_and_the_age_of_the_oldest_visible_message(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO", "blob_data_sharing")
        await world.events.put(b"{}", delay=3_600)
        world.pass_time(60)
        await world.events.put(b"{}")
        world.pass_time(30)
        await drain(world.ports, world.instances)
        [line] = logged(caplog, "queue.depth")
        assert (line["depth"], line["oldest_seconds"]) == (2, 30)

    async def test_an_empty_queue_is_not_peeked(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("INFO", "blob_data_sharing")
        await drain(world.ports, world.instances)
        await world.events.put(b"{}", delay=60)
        await drain(world.ports, world.instances)
        assert [(line["depth"], line["oldest_seconds"]) for line in logged(caplog, "queue.depth")] == [(0, 0), (1, 0)]

    async def test_clock_skew_does_not_lead_to_a_negative_age(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO", "blob_data_sharing")
        await world.events.put(b"{}")
        later = world.events.queue.popitem()[1]
        world.events.queue["1"] = type(later)(later.body, later.visible_at, later.put_at + timedelta(seconds=2))
        await drain(world.ports, world.instances)
        assert logged(caplog, "queue.depth")[0]["oldest_seconds"] == 0
