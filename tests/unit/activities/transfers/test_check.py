"""One look at a pending copy."""

from dataclasses import replace

from activities.transfers.check import run_check
from activities.transfers.start import run_start
from adapters.translation import TARGET_HEAD, error_for_answer
from rules.errors import Reason
from rules.routes.model import Engine
from rules.transfers import lifecycle, status
from rules.transfers.model import Kind, Outcome, Run, Step, Transfer, Verdict
from rules.transfers.states import State
from tests.unit.samples import NOW
from tests.unit.world import CONTENT, World


async def pending(world: World) -> Transfer:
    """A transfer whose copy the service has begun; its requests are forgotten."""
    transfer = world.put(kind=Kind.PAGE)
    await run_start(world.ports, Run(transfer, NOW))
    world.requests.clear()
    return transfer


async def check(world: World, transfer: Transfer) -> Outcome:
    """Run the activity."""
    return await run_check(world.ports, Run(transfer, NOW, first=False))


async def test_a_pending_copy_is_one_head_and_tells_its_progress(world: World) -> None:
    """The source is not asked."""
    transfer = await pending(world)
    there = world.storage.blobs[transfer.target_blob]
    assert there.copy is not None
    world.storage.blobs[transfer.target_blob] = replace(there, copy=replace(there.copy, copied=4))
    outcome = await check(world, transfer)
    assert outcome == Outcome(Verdict.WAITING, engine=Engine.ASYNC, size=len(CONTENT), copied=4)
    assert world.request_names == ["target.head"]


async def test_a_pending_copy_that_stumbles_shows_what_the_service_says(world: World) -> None:
    """Without a signature that its words may hold; once it runs again, nothing is said."""
    transfer = await pending(world)
    there = world.storage.blobs[transfer.target_blob]
    assert there.copy is not None
    words = "502 BadGateway Encountered a retryable error when reading the source. https://x/y?sig=c2VjcmV0"
    world.storage.blobs[transfer.target_blob] = replace(there, copy=replace(there.copy, detail=words))
    outcome = await check(world, transfer)
    assert outcome.verdict is Verdict.WAITING
    run = lifecycle.advance(Run(transfer, NOW, first=False, step=Step.CHECK, state=State.COPYING), outcome, NOW)
    shown = status.progress(run)
    assert (shown["state"], shown["reason"]) == ("copying", None)
    assert "502 BadGateway Encountered a retryable error" in shown["detail"]
    assert "c2VjcmV0" not in shown["detail"]
    world.storage.blobs[transfer.target_blob] = there
    assert status.progress(lifecycle.advance(run, await check(world, transfer), NOW))["detail"] == ""


async def test_a_copy_that_is_done_goes_back_to_start(world: World) -> None:
    """`start` alone says `verified`."""
    transfer = await pending(world)
    world.storage.finish(transfer.target_blob)
    assert await check(world, transfer) == Outcome(Verdict.AGAIN)


async def test_one_that_is_gone_goes_back_to_start(world: World) -> None:
    """Somebody deleted the target."""
    transfer = await pending(world)
    world.storage.remove(transfer.target_blob)
    assert await check(world, transfer) == Outcome(Verdict.AGAIN)


async def test_a_copy_that_the_service_gave_up_is_retryable_with_its_words(world: World) -> None:
    """Without a signature that the words may hold."""
    transfer = await pending(world)
    world.storage.fail(transfer.target_blob, "403 AuthenticationFailed https://x/y?sig=c2VjcmV0&se=1")
    outcome = await check(world, transfer)
    assert (outcome.verdict, outcome.reason) == (Verdict.RETRYABLE, Reason.COPY_FAILED)
    assert outcome.detail.startswith("403 AuthenticationFailed")
    assert "c2VjcmV0" not in outcome.detail


async def test_a_source_that_changed_under_the_copy_fails_it_and_start_finds_out(world: World) -> None:
    """The service's own pin."""
    transfer = await pending(world)
    world.put(content=b"newer")
    world.storage.finish(transfer.target_blob)
    assert (await check(world, transfer)).reason is Reason.COPY_FAILED
    assert (await run_start(world.ports, Run(transfer, NOW, first=False))).verdict is Verdict.SUPERSEDED


async def test_a_look_that_fails_is_a_value(world: World) -> None:
    """No exception of storage leaves an activity."""
    transfer = await pending(world)
    world.refuse(TARGET_HEAD, error_for_answer(TARGET_HEAD, 503, "ServerBusy"))
    outcome = await check(world, transfer)
    assert (outcome.verdict, outcome.reason) == (Verdict.RETRYABLE, Reason.THROTTLED)


async def test_a_route_of_another_day_is_not_allowed_and_nothing_is_asked(world: World) -> None:
    """As in `start`."""
    transfer = await pending(world)
    outcome = await check(world, replace(transfer, route="another"))
    assert (outcome.verdict, outcome.reason) == (Verdict.PERMANENT, Reason.NOT_ALLOWED)
    assert world.requests == []
