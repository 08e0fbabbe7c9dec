"""Accepting a message: it becomes transfers, a dead letter, or nothing. A duplicate starts nothing."""

import base64
import json
import logging
from dataclasses import replace
from datetime import timedelta

import pytest

from adapters.translation import DEAD_LETTERS_WRITE, INSTANCES_FIND, INSTANCES_START, error_for_answer
from operations.log import LOGGER
from operations.transfers.accept import Accepted, accept
from operations.transfers.start import start_once
from rules.errors import Reason, Retryable
from rules.routes.model import Pause, Place, Route
from rules.transfers.model import Ending, Run, Step, Successor, Transfer
from rules.transfers.states import State
from rules.transfers.status import progress
from tests.unit.samples import NOW, ROUTE, body, event
from tests.unit.world import World

STATUSES = ["Pending", "Running", "Suspended", "ContinuedAsNew", "Completed", "Failed", "Terminated"]
SECOND = Route("second", ROUTE.source, Place("https://third.blob.core.windows.net", "target", "out/"))


async def test_an_event_starts_its_transfer_with_one_look_and_one_start(world: World) -> None:
    transfer = world.put()
    accepted = await accept(world.ports, world.instances, world.event(transfer))
    assert accepted == Accepted(started=(transfer.id,))
    assert world.request_names == ["instances.find", "instances.start"]
    started = world.instances.kept[transfer.id].run
    assert started == Run(transfer, NOW, event_at=NOW)
    assert started is not None
    assert (started.step, started.first, started.attempt) == (Step.START, True, 0)


async def test_two_routes_of_one_source_are_two_transfers() -> None:
    world = World((ROUTE, SECOND))
    accepted = await accept(world.ports, world.instances, world.event(world.put()))
    assert len(accepted.started) == 2
    assert {run.transfer.route for run in map(_run, world.instances.kept.values())} == {"default", "second"}


def _run(instance: object) -> Run:
    run = getattr(instance, "run", None)
    assert isinstance(run, Run)
    return run


@pytest.mark.parametrize("status", STATUSES)
async def test_a_duplicate_starts_nothing_in_any_status_of_the_instance(world: World, status: str) -> None:
    """The host silently replaces an ended instance: a cancelled transfer would run again."""
    transfer = world.put()
    world.put_instance(transfer, status)
    accepted = await accept(world.ports, world.instances, world.event(transfer))
    assert accepted == Accepted(duplicates=(transfer.id,))
    assert world.request_names == ["instances.find"]
    assert world.instances.kept[transfer.id].status == status


def ended_as_deleted(transfer: Transfer) -> tuple[Run, object]:
    """The run of a transfer whose source was gone at both looks, and its output."""
    run = Run(transfer, NOW, state=State.SUPERSEDED, step=None)
    run = replace(run, ending=Ending(State.SUPERSEDED, successor=Successor(None)))
    return run, progress(run)


async def test_an_event_of_a_blob_recorded_as_deleted_starts_the_next_attempt(world: World) -> None:
    transfer = world.put()
    run, output = ended_as_deleted(transfer)
    world.put_instance(transfer, "Completed", run, output)
    accepted = await accept(world.ports, world.instances, world.event(transfer))
    assert accepted == Accepted(started=(transfer.id,))
    assert _run(world.instances.kept[transfer.id]).attempt == 1
    assert await accept(world.ports, world.instances, world.event(transfer)) == Accepted(duplicates=(transfer.id,))


async def test_two_concurrent_events_of_a_blob_recorded_as_deleted_start_one_attempt(world: World) -> None:
    transfer = world.put()
    run, output = ended_as_deleted(transfer)
    world.put_instance(transfer, "Completed", run, output)
    again = Run(transfer, NOW, attempt=1)
    world.before_next(INSTANCES_START, lambda: world.put_instance(transfer, "Running", again))
    assert await accept(world.ports, world.instances, world.event(transfer)) == Accepted(duplicates=(transfer.id,))
    assert world.instances.kept[transfer.id].run == again


async def test_a_start_that_loses_a_race_is_a_duplicate(world: World) -> None:
    transfer = world.put()
    world.before_next(INSTANCES_START, lambda: world.put_instance(transfer, "Running"))
    assert await start_once(world.ports, world.instances, transfer) is False


async def test_five_deliveries_start_one_transfer(world: World) -> None:
    message = world.event(world.put())
    accepted = [await accept(world.ports, world.instances, message) for _ in range(5)]
    assert sum(len(each.started) for each in accepted) == 1
    assert sum(len(each.duplicates) for each in accepted) == 4


@pytest.mark.parametrize("message", [b"", b"hello", b"\xff\xfe", b"null", b"[]", b"{}", b'{"specversion":"1.0"}'])
async def test_a_malformed_message_becomes_one_dead_letter(world: World, message: bytes) -> None:
    first = await accept(world.ports, world.instances, message)
    second = await accept(world.ports, world.instances, message)
    assert first == second
    assert first.dead_letter is not None
    letter = await world.dead_letters.read(first.dead_letter)
    assert letter is not None
    assert letter.reason is Reason.MALFORMED
    assert base64.b64decode(letter.message or "") == message
    assert len(world.dead_letters.open) == 1


async def test_a_url_outside_the_route_becomes_a_dead_letter_not_allowed(world: World) -> None:
    message = body(event(url="https://attacker.blob.core.windows.net/source/in/2026/report.csv"))
    accepted = await accept(world.ports, world.instances, message)
    letter = await world.dead_letters.read(accepted.dead_letter or "")
    assert letter is not None
    assert letter.reason is Reason.NOT_ALLOWED
    assert world.instances.kept == {}


async def test_the_dead_letter_of_a_message_holds_no_signature(world: World) -> None:
    accepted = await accept(world.ports, world.instances, b'{"url":"https://x/y?sig=c2VjcmV0&se=1"}')
    letter = await world.dead_letters.read(accepted.dead_letter or "")
    assert letter is not None
    assert b"c2VjcmV0" not in base64.b64decode(letter.message or "")


@pytest.mark.parametrize(
    "message",
    [
        {**event(), "type": "Microsoft.Storage.BlobDeleted"},
        {**event(), "subject": "/blobServices/default/containers/elsewhere/blobs/in/2026/report.csv"},
    ],
)
async def test_an_event_without_a_route_is_ignored_without_a_request(world: World, message: object) -> None:
    assert await accept(world.ports, world.instances, json.dumps(message).encode()) == Accepted()
    assert world.requests == []


@pytest.mark.parametrize("request_", [INSTANCES_FIND, INSTANCES_START])
async def test_a_failure_of_storage_raises_so_that_the_queue_keeps_the_message(world: World, request_: object) -> None:
    message = world.event(world.put())
    world.refuse(request_, error_for_answer(INSTANCES_FIND, 503, "ServerBusy"), times=1)  # type: ignore[arg-type]
    with pytest.raises(Retryable):
        await accept(world.ports, world.instances, message)
    assert len((await accept(world.ports, world.instances, message)).started) == 1


async def test_a_failed_write_of_a_dead_letter_raises(world: World) -> None:
    world.refuse(DEAD_LETTERS_WRITE, error_for_answer(DEAD_LETTERS_WRITE, 503, "ServerBusy"))
    with pytest.raises(Retryable):
        await accept(world.ports, world.instances, b"hello")


async def test_a_run_has_the_deadline_of_its_route() -> None:
    world = World((replace(ROUTE, deadline=timedelta(hours=6)),))
    transfer = world.put()
    await accept(world.ports, world.instances, world.event(transfer))
    assert _run(world.instances.kept[transfer.id]).deadline == timedelta(hours=6)


class TestPaused:
    """A paused route: its events are ignored, and the record leads to a reconcile."""

    async def test_nothing_is_started_and_the_pause_is_recorded(self) -> None:
        world = World((replace(ROUTE, paused=True),))
        assert await accept(world.ports, world.instances, world.event(world.put())) == Accepted()
        assert world.dead_letters.pauses == {ROUTE.name: Pause(ROUTE.name, NOW)}
        assert world.instances.kept == {}

    async def test_the_other_routes_get_the_event_first(self) -> None:
        """Also if the pause cannot be recorded: the queue then delivers the message again."""
        world = World((replace(ROUTE, paused=True), SECOND))
        message = world.event(world.put())
        world.refuse(DEAD_LETTERS_WRITE, error_for_answer(DEAD_LETTERS_WRITE, 503, "ServerBusy"), times=1)
        with pytest.raises(Retryable):
            await accept(world.ports, world.instances, message)
        assert {run.transfer.route for run in map(_run, world.instances.kept.values())} == {"second"}
        again = await accept(world.ports, world.instances, message)
        assert (len(again.started), len(again.duplicates)) == (0, 1)
        assert list(world.dead_letters.pauses) == [ROUTE.name]

    async def test_each_ignored_event_is_one_line_with_its_route(self, caplog: pytest.LogCaptureFixture) -> None:
        world = World((replace(ROUTE, paused=True), replace(SECOND, paused=True)))
        caplog.set_level(logging.INFO, LOGGER.name)
        await accept(world.ports, world.instances, world.event(world.put()))
        lines = [json.loads(record.getMessage()) for record in caplog.records]
        ignored = [(line["text"], line["route"]) for line in lines if line["action"] == "message.ignored"]
        assert ignored == [("the route is paused", ROUTE.name), ("the route is paused", "second")]
