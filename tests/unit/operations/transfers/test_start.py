"""Restarting, sharing and replaying transfers with the next attempt number."""

import json
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from adapters.translation import INSTANCES_FIND, INSTANCES_START, SOURCE_HEAD, error_for_answer
from operations.dead_letters.replay import replay
from operations.problems import Conflict, Invalid, NotFound
from operations.transfers.accept import refuse
from operations.transfers.share import share
from operations.transfers.start import StillRunning, restart
from rules.dead_letters import letters
from rules.errors import Reason, Retryable
from rules.events.parse import RejectedEvent
from rules.orchestrations.instance import Instance
from rules.routes.filters import FILTERED
from rules.transfers import lifecycle
from rules.transfers.model import Ended, Ending, Run, Step, Transfer
from rules.transfers.states import FINAL, State
from tests.unit.samples import NAME, NOW, ROUTE
from tests.unit.world import CONTENT, World

RUNNING = ["Pending", "Running", "Suspended", "ContinuedAsNew"]


def dead_run(transfer: Transfer, attempt: int = 0) -> Run:
    """A run that ended as a dead letter."""
    ending = Ending(State.DEAD_LETTERED, reason=Reason.THROTTLED, detail="503")
    return Run(transfer, NOW, attempt=attempt, state=State.DEAD_LETTERED, step=None, ending=ending)


async def put_dead_lettered(world: World, name: str = NAME, attempt: int = 0) -> Transfer:
    """A transfer that ended with an open dead letter."""
    transfer = world.put(name)
    run = dead_run(transfer, attempt)
    world.put_instance(transfer, "Completed", run)
    await world.dead_letters.write_ended(Ended(transfer.id, attempt, Ending(State.DEAD_LETTERED, Reason.THROTTLED)))
    await world.dead_letters.write(letters.of_run(run, NOW, "0.1.0"))
    return transfer


def last_started_run(world: World, transfer: Transfer) -> Run:
    run = world.instances.kept[transfer.id].run
    assert run is not None
    return run


class TestAttemptNumber:
    @pytest.mark.parametrize(
        ("instance", "ended", "letter", "expected"),
        [
            (None, None, None, 0),
            (0, None, None, 1),
            (None, 3, None, 4),
            (None, None, 5, 6),
            (2, 1, 0, 3),
            (0, 4, 2, 5),
        ],
    )
    async def test_the_next_attempt_follows_the_highest_known_one(
        self, world: World, instance: int | None, ended: int | None, letter: int | None, expected: int
    ) -> None:
        """A history, a record of the end or a dead letter alone may be left."""
        transfer = world.put()
        if instance is not None:
            world.put_instance(transfer, "Completed", dead_run(transfer, instance))
        if ended is not None:
            await world.dead_letters.write_ended(Ended(transfer.id, ended, Ending(State.CANCELLED)))
        if letter is not None:
            await world.dead_letters.write(letters.of_run(dead_run(transfer, letter), NOW, "0.1.0"))
        run = await restart(world.ports, world.instances, transfer)
        assert (run.attempt, run.has_open_dead_letter, run.first) == (expected, letter is not None, expected == 0)
        assert last_started_run(world, transfer) == run

    async def test_a_resolved_dead_letter_counts_but_is_not_open(self, world: World) -> None:
        transfer = await put_dead_lettered(world)
        await world.dead_letters.resolve(transfer.id, 0, "verified", NOW)
        run = await restart(world.ports, world.instances, transfer)
        assert (run.attempt, run.has_open_dead_letter) == (1, False)

    async def test_an_instance_with_an_unreadable_input_is_replaced(self, world: World) -> None:
        transfer = world.put()
        world.instances.kept[transfer.id] = Instance(transfer.id, "Failed", None, {}, None, NOW)
        assert (await restart(world.ports, world.instances, transfer)).attempt == 0

    @pytest.mark.parametrize("status", [*RUNNING, "Failed", "Terminated"])
    async def test_a_running_or_broken_transfer_is_a_conflict_with_retry_after(self, world: World, status: str) -> None:
        transfer = world.put()
        world.put_instance(transfer, status)
        with pytest.raises(StillRunning) as caught:
            await restart(world.ports, world.instances, transfer)
        assert caught.value.retry_after == 30
        assert "instances.start" not in world.request_names

    async def test_two_concurrent_restarts_start_one_attempt(self, world: World) -> None:
        transfer = await put_dead_lettered(world)
        world.before_next(
            INSTANCES_START, lambda: world.put_instance(transfer, "Running", Run(transfer, NOW, attempt=1))
        )
        with pytest.raises(StillRunning):
            await restart(world.ports, world.instances, transfer)
        assert last_started_run(world, transfer).attempt == 1


class TestShare:
    async def test_starts_the_current_version_with_one_head(self, world: World) -> None:
        transfer = world.put()
        assert await share(world.ports, world.instances, "default", NAME) == transfer.id
        assert last_started_run(world, transfer).attempt == 0

    async def test_works_on_a_paused_route(self) -> None:
        world = World((replace(ROUTE, paused=True),))
        transfer = world.put()
        assert await share(world.ports, world.instances, "default", NAME) == transfer.id
        assert last_started_run(world, transfer).attempt == 0

    async def test_an_ended_transfer_is_restarted(self, world: World) -> None:
        transfer = world.put()
        world.put_instance(transfer, "Completed")
        assert await share(world.ports, world.instances, "default", NAME) == transfer.id
        assert last_started_run(world, transfer).attempt == 1

    @pytest.mark.parametrize("status", [*RUNNING, "Failed"])
    async def test_a_running_transfer_returns_its_id(self, world: World, status: str) -> None:
        transfer = world.put()
        world.put_instance(transfer, status)
        assert await share(world.ports, world.instances, "default", NAME) == transfer.id
        assert "instances.start" not in world.request_names

    @pytest.mark.parametrize("state", [State.CANCELLED, State.DEAD_LETTERED])
    async def test_a_transfer_that_is_ending_without_success_is_a_conflict(self, world: World, state: State) -> None:
        """A 202 would promise a copy that only the next attempt can make."""
        transfer = world.put()
        run = replace(Run(transfer, world.clock), cancelling=state is State.CANCELLED)
        world.put_instance(transfer, "Running", lifecycle.give_up(run, Reason.TARGET_UNWRITABLE, "no container"))
        with pytest.raises(StillRunning) as caught:
            await share(world.ports, world.instances, "default", NAME)
        assert caught.value.retry_after == 30

    @pytest.mark.parametrize("state", [State.VERIFIED, State.SUPERSEDED])
    @pytest.mark.parametrize("cancelling", [False, True])
    async def test_a_transfer_that_is_ending_as_verified_or_superseded_returns_its_id(
        self, world: World, state: State, *, cancelling: bool
    ) -> None:
        transfer = world.put()
        ending = Ending(state)
        world.put_instance(
            transfer, "Running", Run(transfer, NOW, cancelling=cancelling, ending=ending, step=Step.CLOSE)
        )
        assert await share(world.ports, world.instances, "default", NAME) == transfer.id
        assert "instances.start" not in world.request_names

    async def test_a_transfer_that_is_being_cancelled_is_a_conflict(self, world: World) -> None:
        transfer = world.put()
        world.put_instance(transfer, "Running", Run(transfer, NOW, cancelling=True))
        with pytest.raises(StillRunning):
            await share(world.ports, world.instances, "default", NAME)

    @pytest.mark.parametrize("state", sorted(FINAL))
    async def test_a_transfer_that_ends_during_the_request_is_judged_by_its_end(
        self, world: World, state: State
    ) -> None:
        transfer = world.put()
        world.put_instance(transfer, "Running")

        def end() -> None:
            world.before_next(
                INSTANCES_FIND, partial(world.put_instance, transfer, "Completed", output={"state": state})
            )

        world.before_next(INSTANCES_FIND, end)
        if state in {State.VERIFIED, State.SUPERSEDED}:
            assert await share(world.ports, world.instances, "default", NAME) == transfer.id
        else:
            with pytest.raises(StillRunning):
                await share(world.ports, world.instances, "default", NAME)
        assert "instances.start" not in world.request_names

    @pytest.mark.parametrize(
        ("route", "name", "problem"),
        [
            ("unknown", NAME, NotFound),
            ("default", "in/absent", NotFound),
            ("default", "elsewhere/report.csv", Invalid),
            ("default", "in/../secret", Invalid),
            ("default", "in/a\\b", Invalid),
            ("default", "in/" + "x" * 1_024, Invalid),
            ("default", "in/\ud800", Invalid),
            ("default", "in/" + "\u00e9" * 400, Invalid),
        ],
    )
    async def test_a_blob_that_cannot_be_shared_is_an_error_with_a_fix(
        self, world: World, route: str, name: str, problem: type[NotFound | Invalid]
    ) -> None:
        with pytest.raises(problem) as caught:
            await share(world.ports, world.instances, route, name)
        assert caught.value.fix
        assert world.instances.kept == {}
        assert problem is NotFound or world.requests == []

    @pytest.mark.parametrize(
        ("filters", "why"),
        [
            ({"exclude": ("*.csv",)}, "a glob of `exclude` matches the name"),
            ({"min_size": 11}, "it has 10 bytes, the route shares blobs of at least 11"),
            ({"max_size": 9}, "it has 10 bytes, the route shares blobs of at least 0 and at most 9"),
        ],
    )
    async def test_a_blob_that_the_filters_exclude_is_invalid_as_one_that_no_route_carries(
        self, filters: dict[str, Any], why: str
    ) -> None:
        world = World((replace(ROUTE, **filters),))
        world.put()
        with pytest.raises(Invalid) as caught:
            await share(world.ports, world.instances, "default", NAME)
        assert caught.value.detail.startswith(f"{FILTERED}: {why}")
        assert caught.value.fix
        assert world.instances.kept == {}

    async def test_a_source_that_cannot_be_read_raises_instead_of_not_found(self, world: World) -> None:
        world.put()
        world.refuse(SOURCE_HEAD, error_for_answer(SOURCE_HEAD, 403, "AuthorizationFailure"))
        with pytest.raises(Retryable):
            await share(world.ports, world.instances, "default", NAME)


class TestReplayOfAPausedRoute:
    """A person asks for it, so it starts transfers."""

    async def test_of_a_transfer(self) -> None:
        world = World((replace(ROUTE, paused=True),))
        transfer = await put_dead_lettered(world)
        assert await replay(world.ports, world.instances, transfer.id) == [transfer.id]
        assert last_started_run(world, transfer).attempt == 1

    async def test_of_a_message(self) -> None:
        world = World((replace(ROUTE, paused=True),))
        transfer = world.put()
        rejection = RejectedEvent(Reason.NOT_ALLOWED, "an earlier setting")
        letter = await refuse(world.ports, world.event(transfer), rejection)
        assert await replay(world.ports, world.instances, letter) == [transfer.id]
        assert last_started_run(world, transfer).attempt == 0


class TestReplay:
    async def test_starts_the_next_attempt_and_keeps_the_dead_letter_open(self, world: World) -> None:
        transfer = await put_dead_lettered(world)
        assert await replay(world.ports, world.instances, transfer.id) == [transfer.id]
        run = last_started_run(world, transfer)
        assert (run.attempt, run.has_open_dead_letter, run.first) == (1, True, False)
        assert transfer.id in world.dead_letters.open

    async def test_a_running_transfer_is_a_conflict_with_retry_after(self, world: World) -> None:
        transfer = await put_dead_lettered(world)
        await replay(world.ports, world.instances, transfer.id)
        for _ in range(9):
            with pytest.raises(Conflict) as caught:
                await replay(world.ports, world.instances, transfer.id)
            assert caught.value.retry_after == 30
        assert world.request_names.count("instances.start") == 1

    async def test_a_resolved_dead_letter_is_a_conflict(self, world: World) -> None:
        transfer = await put_dead_lettered(world)
        await world.dead_letters.resolve(transfer.id, 0, "verified", NOW)
        with pytest.raises(Conflict) as caught:
            await replay(world.ports, world.instances, transfer.id)
        assert caught.value.facts == {"resolved_as": "verified"}
        assert last_started_run(world, transfer).attempt == 0

    async def test_an_unknown_dead_letter_is_not_found(self, world: World) -> None:
        with pytest.raises(NotFound):
            await replay(world.ports, world.instances, "37a8eec1-000000000000000000000000")

    @pytest.mark.parametrize(
        "today",
        [
            (),
            (replace(ROUTE, name="renamed"),),
            (replace(ROUTE, target=replace(ROUTE.target, prefix="new/")),),
            (replace(ROUTE, source=replace(ROUTE.source, container="other")),),
            (replace(ROUTE, suffix=".json"),),
            (replace(ROUTE, exclude=("*.csv",)),),
        ],
        ids=["gone", "renamed", "another target", "another source", "another suffix", "another filter"],
    )
    async def test_a_changed_route_is_a_conflict(self, world: World, today: tuple[object, ...]) -> None:
        transfer = await put_dead_lettered(world)
        world.ports = replace(world.ports, routes=today)  # type: ignore[arg-type]
        with pytest.raises(Conflict) as caught:
            await replay(world.ports, world.instances, transfer.id)
        assert caught.value.fix
        assert "instances.start" not in world.request_names

    async def test_the_dead_letter_of_an_unreadable_transfer_is_a_conflict_with_a_fix(self, world: World) -> None:
        transfer = world.put()
        await world.dead_letters.write(
            letters.of_unreadable(transfer.id, "the orchestration was Failed: x", NOW, "0.1.0")
        )
        with pytest.raises(Conflict) as caught:
            await replay(world.ports, world.instances, transfer.id)
        assert "cannot be read" in str(caught.value)
        assert "POST /api/transfers" in caught.value.fix
        assert "instances.start" not in world.request_names
        assert transfer.id in world.dead_letters.open

    async def test_sharing_the_blob_of_an_unreadable_transfer_starts_its_next_attempt(self, world: World) -> None:
        transfer = world.put()
        world.instances.kept[transfer.id] = Instance(transfer.id, "Failed", None, {}, None, NOW)
        await world.dead_letters.write(
            letters.of_unreadable(transfer.id, "the orchestration was Failed: x", NOW, "0.1.0")
        )
        assert await share(world.ports, world.instances, "default", NAME) == transfer.id
        run = last_started_run(world, transfer)
        assert (run.attempt, run.has_open_dead_letter, run.first) == (1, True, False)

    async def test_a_message_that_is_now_allowed_is_accepted_and_resolved(self, world: World) -> None:
        transfer = world.put()
        message = world.event(transfer)
        letter = await refuse(world.ports, message, RejectedEvent(Reason.NOT_ALLOWED, "as it was"))
        assert await replay(world.ports, world.instances, letter) == [transfer.id]
        assert world.dead_letters.resolved[letter].resolved_as == "accepted"
        assert world.dead_letters.open == {}

    async def test_a_message_whose_transfer_exists_is_resolved(self, world: World) -> None:
        transfer = world.put()
        world.put_instance(transfer, "Completed")
        letter = await refuse(world.ports, world.event(transfer), RejectedEvent(Reason.NOT_ALLOWED, "as it was"))
        assert await replay(world.ports, world.instances, letter) == [transfer.id]
        assert world.dead_letters.open == {}
        assert last_started_run(world, transfer).attempt == 0

    async def test_a_message_that_is_refused_again_stays_open(self, world: World) -> None:
        letter = await refuse(world.ports, b"hello", RejectedEvent(Reason.MALFORMED, "no JSON"))
        with pytest.raises(Conflict) as caught:
            await replay(world.ports, world.instances, letter)
        assert caught.value.facts == {"reason": Reason.MALFORMED}
        assert letter in world.dead_letters.open

    async def test_a_message_that_no_route_carries_stays_open(self, world: World) -> None:
        letter = await refuse(world.ports, world.event(world.put()), RejectedEvent(Reason.NOT_ALLOWED, "as it was"))
        world.ports = replace(world.ports, routes=())
        with pytest.raises(Conflict):
            await replay(world.ports, world.instances, letter)
        assert letter in world.dead_letters.open

    @pytest.mark.parametrize("filters", [{"exclude": ("*.csv",)}, {"max_size": 9}], ids=["name", "size"])
    async def test_a_message_that_the_filters_exclude_stays_open(self, world: World, filters: dict[str, Any]) -> None:
        message = json.loads(world.event(world.put()))
        message["data"]["contentLength"] = len(CONTENT)
        body = json.dumps(message).encode()
        letter = await refuse(world.ports, body, RejectedEvent(Reason.NOT_ALLOWED, "as it was"))
        world.ports = replace(world.ports, routes=(replace(ROUTE, **filters),))
        with pytest.raises(Conflict) as caught:
            await replay(world.ports, world.instances, letter)
        assert FILTERED in caught.value.detail
        assert letter in world.dead_letters.open
        world.ports = replace(world.ports, routes=(ROUTE,))
        assert len(await replay(world.ports, world.instances, letter)) == 1

    async def test_a_redacted_message_cannot_be_accepted_again(self, world: World) -> None:
        message = world.event(world.put()).replace(b'"url"', b'"sas": "?sig=c2VjcmV0", "url"')
        letter = await refuse(world.ports, message, RejectedEvent(Reason.NOT_ALLOWED, "as it was"))
        with pytest.raises(Conflict) as caught:
            await replay(world.ports, world.instances, letter)
        assert "POST /api/transfers" in caught.value.fix
        assert letter in world.dead_letters.open
