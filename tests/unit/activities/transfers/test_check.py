"""The `check` step on the in-memory fakes."""

from dataclasses import replace

import pytest

from activities.transfers.check import run_check
from activities.transfers.start import run_start
from adapters.translation import TARGET_HEAD, error_for_answer
from rules.errors import Reason
from rules.routes.model import Engine, EnginePreference
from rules.transfers import identity, lifecycle, status
from rules.transfers.decisions import CopyStatus
from rules.transfers.model import Kind, Outcome, Run, Step, Transfer, Verdict
from rules.transfers.policies import Times
from rules.transfers.states import State
from tests.unit.samples import NOW, ROUTE
from tests.unit.world import CONTENT, World, with_engine


async def begin_copy(world: World) -> Transfer:
    """A transfer whose copy is pending; the recorded requests are cleared."""
    transfer = world.put(kind=Kind.PAGE)
    await run_start(world.ports, Run(transfer, NOW))
    world.requests.clear()
    return transfer


async def check(world: World, transfer: Transfer) -> Outcome:
    return await run_check(world.ports, Run(transfer, NOW, first=False))


async def test_a_pending_copy_costs_one_head_and_reports_its_progress(world: World) -> None:
    transfer = await begin_copy(world)
    item = world.storage.blobs[transfer.target_blob]
    assert item.copy is not None
    world.storage.blobs[transfer.target_blob] = replace(item, copy=replace(item.copy, copied=4))
    outcome = await check(world, transfer)
    assert outcome == Outcome(
        Verdict.WAITING,
        engine=Engine.ASYNC,
        size=len(CONTENT),
        copied=4,
        copy_id=item.copy.id,
        patience=Times().patience,
    )
    assert world.request_names == ["target.head"]


async def test_blocks_may_replace_a_pending_copy_if_the_route_allows_them(world: World) -> None:
    transfer = await begin_copy(world)
    run = Run(transfer, NOW, first=False)
    refused = await run_check(world.ports, replace(run, refused=(Engine.BLOCKS,)))
    assert (refused.patience, refused.refused) == (None, (Engine.BLOCKS,))
    renamed = replace(ROUTE, name="renamed")
    forced = with_engine(EnginePreference.ASYNC, name="forced")
    world.ports = replace(world.ports, routes=(ROUTE, renamed, forced))
    for route, patience in ((renamed, Times().patience), (forced, None)):
        other = await check(world, identity.transfer(route, transfer.name, transfer.etag))
        assert (other.verdict, other.patience) == (Verdict.WAITING, patience)


@pytest.mark.parametrize("status", [CopyStatus.FAILED, CopyStatus.ABORTED])
async def test_after_a_broken_copy_blocks_replace_async(world: World, status: CopyStatus) -> None:
    transfer = await begin_copy(world)
    world.storage.fail(transfer.target_blob, "500 InternalServerError", status)
    assert (await check(world, transfer)).refused == (Engine.ASYNC,)
    run = Run(transfer, NOW, first=False, refused=(Engine.BLOCKS,))
    assert (await run_check(world.ports, run)).refused == (Engine.BLOCKS,)


async def test_the_services_message_about_a_pending_copy_is_shown(world: World) -> None:
    transfer = await begin_copy(world)
    item = world.storage.blobs[transfer.target_blob]
    assert item.copy is not None
    message = "502 BadGateway Encountered a retryable error when reading the source."
    world.storage.blobs[transfer.target_blob] = replace(item, copy=replace(item.copy, detail=message))
    outcome = await check(world, transfer)
    assert outcome.verdict is Verdict.WAITING
    run = lifecycle.advance(Run(transfer, NOW, first=False, step=Step.CHECK, state=State.COPYING), outcome, NOW)
    shown = status.progress(run)
    assert (shown["state"], shown["reason"]) == ("copying", None)
    assert "502 BadGateway Encountered a retryable error" in shown["detail"]
    world.storage.blobs[transfer.target_blob] = item
    assert status.progress(lifecycle.advance(run, await check(world, transfer), NOW))["detail"] == ""


async def test_a_finished_copy_returns_to_start(world: World) -> None:
    transfer = await begin_copy(world)
    world.storage.finish(transfer.target_blob)
    assert await check(world, transfer) == Outcome(Verdict.AGAIN)


async def test_a_deleted_target_returns_to_start(world: World) -> None:
    transfer = await begin_copy(world)
    world.storage.remove(transfer.target_blob)
    assert await check(world, transfer) == Outcome(Verdict.AGAIN)


async def test_a_failed_copy_is_retryable_with_the_services_message(world: World) -> None:
    transfer = await begin_copy(world)
    world.storage.fail(transfer.target_blob, "403 AuthenticationFailed")
    outcome = await check(world, transfer)
    assert (outcome.verdict, outcome.reason) == (Verdict.RETRYABLE, Reason.COPY_FAILED)
    assert outcome.detail.startswith("403 AuthenticationFailed")


async def test_a_source_that_changed_fails_the_copy_and_start_returns_superseded(world: World) -> None:
    transfer = await begin_copy(world)
    world.put(content=b"newer")
    world.storage.finish(transfer.target_blob)
    assert (await check(world, transfer)).reason is Reason.COPY_FAILED
    assert (await run_start(world.ports, Run(transfer, NOW, first=False))).verdict is Verdict.SUPERSEDED


async def test_a_failed_head_is_returned_as_a_value(world: World) -> None:
    transfer = await begin_copy(world)
    world.refuse(TARGET_HEAD, error_for_answer(TARGET_HEAD, 503, "ServerBusy"))
    outcome = await check(world, transfer)
    assert (outcome.verdict, outcome.reason) == (Verdict.RETRYABLE, Reason.THROTTLED)


async def test_without_a_current_route_it_is_not_allowed_and_sends_no_request(world: World) -> None:
    transfer = await begin_copy(world)
    outcome = await check(world, replace(transfer, route="another"))
    assert (outcome.verdict, outcome.reason) == (Verdict.PERMANENT, Reason.NOT_ALLOWED)
    assert world.requests == []
