"""What a transfer reports: at least once, and never at the cost of the transfer."""

import json
from dataclasses import replace
from typing import Any

import azure.durable_functions as df
import pytest

import activities
from adapters.translation import FEED_PUT, error_for_answer
from ports.services import Services
from rules import codec
from rules.fixed_names import STEPS
from rules.routes.model import EnginePreference
from rules.transfers import lifecycle
from rules.transfers.model import Outcome, Run, Step
from rules.transfers.states import State
from tests.unit.samples import NOW, ROUTE
from tests.unit.world import World

BUSY = error_for_answer(FEED_PUT, 503, "ServerBusy")


async def run_to_the_end(world: World, run: Run) -> Run:
    """Run the steps of a transfer as its orchestration does, without its pauses."""
    app = df.DFApp()
    activities.register(app, Services(lambda: world.ports, lambda _client: world.instances))
    steps: dict[str, Any] = {each.get_function_name(): each.get_user_function() for each in app.get_functions()}
    context = type("Context", (), {"trace_context": None})()
    while run.step:
        try:
            outcome = await steps[STEPS[run.step]](run=codec.encode(run), context=context)
        except RuntimeError as error:
            run = lifecycle.handle_failure(run, str(error), world.clock)
        else:
            run = lifecycle.advance(run, codec.decode(Outcome, outcome), world.clock)
        world.pass_time(run.pause)
        for blob, item in list(world.storage.blobs.items()):
            if item.pending:
                world.storage.finish(blob)
    return run


def kinds(world: World) -> list[str]:
    return [json.loads(message.body)["kind"] for message in world.feed.queue.values()]


async def test_a_small_blob_costs_one_message(world: World) -> None:
    transfer = world.put()
    run = await run_to_the_end(world, Run(transfer, NOW))
    assert run.state is State.VERIFIED
    assert kinds(world) == ["verified"]
    item = world.at(transfer.target_blob)
    assert item is not None
    assert run.target_etag == item.etag
    assert world.request_names == ["source.head", "dead_letters.read", "target.copy", "feed.put"]


async def test_a_long_copy_is_opened_and_has_the_etag_of_the_target_without_copy_properties() -> None:
    world = World(routes=(replace(ROUTE, engine=EnginePreference.ASYNC),))
    transfer = world.put()
    run = await run_to_the_end(world, Run(transfer, NOW))
    assert kinds(world) == ["opened", "verified"]
    item = world.at(transfer.target_blob)
    assert item is not None
    assert item.copy is None
    assert run.target_etag == item.etag


async def test_a_superseded_or_failed_transfer_reports_its_end_once(world: World) -> None:
    transfer = world.put()
    world.put(content=b"newer")
    assert (await run_to_the_end(world, Run(transfer, NOW))).state is State.SUPERSEDED
    assert kinds(world) == ["opened", "superseded"]
    world.feed.queue.clear()
    unknown = replace(transfer, route="gone")
    assert (await run_to_the_end(world, Run(unknown, NOW))).state is State.DEAD_LETTERED
    assert kinds(world) == ["opened", "dead_lettered"]


async def test_an_unsent_end_is_repeated_without_another_copy(world: World) -> None:
    transfer = world.put()
    world.refuse(FEED_PUT, BUSY, times=2)
    run = await run_to_the_end(world, Run(transfer, NOW))
    assert run.state is State.VERIFIED
    assert kinds(world) == ["verified"]
    assert world.request_names.count("target.copy") == 1


@pytest.mark.parametrize("cancelling", [False, True])
async def test_without_the_queue_a_transfer_is_verified_and_its_end_is_lost(world: World, *, cancelling: bool) -> None:
    """Not even late: the repetitions take less than the time to the deadline, or end before it."""
    world.refuse(FEED_PUT, BUSY)
    run = await run_to_the_end(world, Run(world.put(), NOW, cancelling=cancelling))
    assert (run.state, run.copy_attempts, run.activity_failures) == (State.VERIFIED, 0, 0)
    assert world.request_names.count("target.copy") == 1
    assert world.request_names.count("feed.put") == (1 if cancelling else 4)
    assert not world.dead_letters.open


async def test_without_the_queue_a_long_copy_does_not_begin_again() -> None:
    world = World(routes=(replace(ROUTE, engine=EnginePreference.ASYNC),))
    world.refuse(FEED_PUT, BUSY, times=1)
    run = await run_to_the_end(world, Run(world.put(), NOW))
    assert (run.state, run.step, run.attempt) == (State.VERIFIED, None, 0)
    assert kinds(world) == ["verified"]
    assert world.request_names.count("target.copy") == 1


async def test_an_end_past_the_deadline_is_lost_rather_than_dead_lettered(world: World) -> None:
    world.refuse(FEED_PUT, BUSY)
    late = Run(world.put(), NOW, first=False, first_look_at=NOW)
    world.pass_time(9 * 24 * 3600)
    assert (await run_to_the_end(world, late)).state is State.VERIFIED
    assert world.request_names.count("feed.put") == 1
    assert late.step is Step.START
