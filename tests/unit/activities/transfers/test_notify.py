"""The step `notify`: one event for each verified version, or a dead letter in the end."""

import base64
from dataclasses import replace
from typing import Any

import pytest

from activities.transfers.notify import run_notify
from adapters.translation import DEAD_LETTERS_WRITE, RECIPIENT_SEND, TARGET_HEAD, error_for_answer
from operations.dead_letters.replay import replay
from operations.problems import Conflict, NotFound
from operations.transfers.notify import GONE, notify_again
from rules.errors import Reason
from rules.events.decide import NO_RECIPIENT
from rules.transfers import identity, lifecycle, notices
from rules.transfers.model import Ending, Run, Step, Transfer, Verdict
from rules.transfers.states import State
from rules.transfers.status import progress
from tests.unit.samples import NAME, NEWER, NOTIFYING, NOW, RECIPIENT, ROUTE
from tests.unit.world import CONTENT, World

BUSY = error_for_answer(RECIPIENT_SEND, 503, "ServerBusy")
ABSENT = error_for_answer(RECIPIENT_SEND, 404, "QueueNotFound")


@pytest.fixture
def world() -> World:
    return World(routes=(NOTIFYING,))


def verified(world: World, **changes: Any) -> Run:
    """A transfer that is verified and whose recipient is to be notified."""
    transfer = world.put(route=NOTIFYING)
    world.put_copy(transfer)
    run = Run(transfer, NOW, step=Step.NOTIFY, state=State.VERIFIED, ending=lifecycle.VERIFIED, size=len(CONTENT))
    return replace(run, notify=True, verified_at=NOW, **changes)


def sent(world: World) -> list[str]:
    return [event["id"] for event in world.recipients.sent.get(RECIPIENT, ())]


async def test_the_recipient_gets_one_event(world: World) -> None:
    run = verified(world)
    assert (await run_notify(world.ports, run)).verdict is Verdict.DONE
    (event,) = world.recipients.sent[RECIPIENT]
    item = world.at(run.transfer.target_blob)
    assert item is not None
    assert (event["id"], event["data"]["eTag"], event["data"]["contentLength"]) == (
        run.transfer.id,
        item.etag,
        len(CONTENT),
    )
    assert world.request_names == ["target.head", "recipient.send"]


async def test_a_version_that_the_target_no_longer_holds_is_not_announced(world: World) -> None:
    run = verified(world)
    world.put_copy(identity.sibling(run.transfer, NEWER))
    assert (await run_notify(world.ports, run)).verdict is Verdict.DONE
    world.storage.remove(run.transfer.target_blob)
    assert (await run_notify(world.ports, run)).verdict is Verdict.DONE
    assert not sent(world)


@pytest.mark.parametrize(
    "routes", [(), (ROUTE,), (replace(NOTIFYING, target=replace(ROUTE.target, container="other")),)]
)
async def test_a_route_that_has_changed_notifies_nobody(world: World, routes: tuple[Any, ...]) -> None:
    run = verified(world)
    world.ports = replace(world.ports, routes=routes)
    assert (await run_notify(world.ports, run)).verdict is Verdict.DONE
    assert not sent(world)


@pytest.mark.parametrize("refused", [RECIPIENT_SEND, TARGET_HEAD])
@pytest.mark.parametrize(
    ("status", "code", "tries"), [(503, "ServerBusy", 20), (403, "AuthorizationPermissionMismatch", 20)]
)
async def test_a_failure_is_repeated_and_becomes_a_dead_letter_that_leaves_the_transfer_verified(
    world: World, refused: Any, status: int, code: str, tries: int
) -> None:
    run = verified(world)
    world.refuse(refused, error_for_answer(refused, status, code))
    for count in range(1, tries + 1):
        assert not world.dead_letters.open
        outcome = await run_notify(world.ports, run)
        assert outcome.verdict is (Verdict.RETRYABLE if count < tries else Verdict.DONE)
        run = lifecycle.advance(run, outcome, NOW)
        assert run.state is State.VERIFIED
    assert (run.step, run.ending) == (None, Ending(State.VERIFIED))
    assert run.note.startswith("the recipient was not notified: ")
    (letter,) = world.dead_letters.open.values()
    assert (letter.id, letter.reason) == (identity.notice_id(run.transfer.id), Reason.NOT_NOTIFIED)
    assert code in letter.detail


async def test_a_missing_queue_is_reported_after_ten_minutes(world: World) -> None:
    run = verified(world, activity_failures=notices.MAX_PERMANENT_TRIES - 1)
    world.recipients.missing.add(RECIPIENT.queue)
    assert (await run_notify(world.ports, run)).verdict is Verdict.DONE
    assert [letter.reason for letter in world.dead_letters.open.values()] == [Reason.NOT_NOTIFIED]


async def test_the_last_try_is_repeated_until_its_dead_letter_is_written(world: World) -> None:
    run = verified(world, activity_failures=19)
    world.refuse(RECIPIENT_SEND, BUSY)
    world.refuse(DEAD_LETTERS_WRITE, error_for_answer(DEAD_LETTERS_WRITE, 503, "ServerBusy"), times=1)
    assert (await run_notify(world.ports, run)).verdict is Verdict.RETRYABLE
    assert (await run_notify(world.ports, run)).verdict is Verdict.DONE
    assert len(world.dead_letters.open) == 1


async def dead(world: World) -> Transfer:
    """A transfer whose recipient was not notified."""
    run = verified(world, activity_failures=19)
    world.refuse(RECIPIENT_SEND, BUSY, times=1)
    await run_notify(world.ports, run)
    world.put_instance(run.transfer, "Completed", run, progress(run))
    return run.transfer


async def test_a_replay_sends_the_event_and_resolves_the_dead_letter(world: World) -> None:
    transfer = await dead(world)
    letter = identity.notice_id(transfer.id)
    assert await replay(world.ports, world.instances, letter) == [transfer.id]
    assert sent(world) == [transfer.id]
    assert not world.dead_letters.open
    assert world.dead_letters.resolved[letter].resolved_as == "accepted"
    assert "instances.start" not in world.request_names, "the transfer stays verified and is not started again"


async def test_a_replay_that_fails_again_leaves_the_dead_letter_open(world: World) -> None:
    transfer = await dead(world)
    world.refuse(RECIPIENT_SEND, ABSENT)
    with pytest.raises(type(ABSENT)):
        await replay(world.ports, world.instances, identity.notice_id(transfer.id))
    assert len(world.dead_letters.open) == 1


async def test_a_replay_needs_a_route_with_a_recipient(world: World) -> None:
    transfer = await dead(world)
    world.ports = replace(world.ports, routes=(ROUTE,))
    with pytest.raises(Conflict, match=NO_RECIPIENT):
        await replay(world.ports, world.instances, identity.notice_id(transfer.id))


async def test_the_message_of_the_dead_letter_names_the_version_and_no_secret(world: World) -> None:
    await dead(world)
    (letter,) = world.dead_letters.open.values()
    message = base64.b64decode(letter.message or "").decode()
    assert NAME in message
    assert "sig=" not in message


async def test_a_verified_transfer_is_announced_again_on_request(world: World) -> None:
    transfer = await dead(world)
    for count in (1, 2):
        await notify_again(world.ports, world.instances, transfer.id)
        assert sent(world) == [transfer.id] * count
    assert not world.dead_letters.open


async def test_only_a_verified_transfer_of_a_current_route_is_announced_on_request(world: World) -> None:
    with pytest.raises(NotFound):
        await notify_again(world.ports, world.instances, "0" * 8 + "-" + "0" * 24)
    run = verified(world)
    world.put_instance(run.transfer, "Running", Run(run.transfer, NOW))
    with pytest.raises(Conflict, match="is accepted"):
        await notify_again(world.ports, world.instances, run.transfer.id)
    world.put_instance(run.transfer, "Completed", run, progress(run))
    ports = replace(world.ports, routes=(ROUTE,))
    with pytest.raises(Conflict, match=NO_RECIPIENT):
        await notify_again(ports, world.instances, run.transfer.id)
    world.storage.remove(run.transfer.target_blob)
    with pytest.raises(Conflict, match=GONE):
        await notify_again(world.ports, world.instances, run.transfer.id)
    assert not sent(world)
