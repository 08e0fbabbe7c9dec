"""Doing a transfer again, and sharing now: by a person alone, with the next attempt number."""

from dataclasses import replace
from functools import partial

import pytest

from adapters.translation import INSTANCES_FIND, INSTANCES_START, SOURCE_HEAD, error_for_answer
from operations.dead_letters.replay import replay
from operations.problems import Conflict, Invalid, NotFound
from operations.transfers.accept import refuse
from operations.transfers.restart import StillRunning, restart
from operations.transfers.share import share
from rules.dead_letters import letters
from rules.errors import Reason, Retryable
from rules.events import RejectedEvent
from rules.orchestrations.instance import Instance
from rules.transfers import lifecycle
from rules.transfers.model import Ended, Ending, Run, Step, Transfer
from rules.transfers.states import FINAL, State
from tests.unit.samples import NAME, NOW, ROUTE
from tests.unit.world import World

RUNNING = ["Pending", "Running", "Suspended", "ContinuedAsNew"]


def dead(transfer: Transfer, attempt: int = 0) -> Run:
    """A run that ended as a dead letter."""
    ending = Ending(State.DEAD_LETTERED, reason=Reason.THROTTLED, detail="503")
    return Run(transfer, NOW, attempt=attempt, state=State.DEAD_LETTERED, step=None, ending=ending)


async def lettered(world: World, name: str = NAME, attempt: int = 0) -> Transfer:
    """A transfer that ended with an open dead letter."""
    transfer = world.put(name)
    run = dead(transfer, attempt)
    world.put_instance(transfer, "Completed", run)
    await world.dead_letters.write_ended(Ended(transfer.id, attempt, Ending(State.DEAD_LETTERED, Reason.THROTTLED)))
    await world.dead_letters.write(letters.of_run(run, NOW, "0.1.0"))
    return transfer


def started(world: World, transfer: Transfer) -> Run:
    """The run that the host was given last."""
    run = world.instances.kept[transfer.id].run
    assert run is not None
    return run


class TestNumbering:
    """The next attempt is higher than whatever is known of the former ones."""

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
    async def test_it_follows_the_highest(
        self, world: World, instance: int | None, ended: int | None, letter: int | None, expected: int
    ) -> None:
        """A history, a record of an end or a letter alone may be what is left."""
        transfer = world.put()
        if instance is not None:
            world.put_instance(transfer, "Completed", dead(transfer, instance))
        if ended is not None:
            await world.dead_letters.write_ended(Ended(transfer.id, ended, Ending(State.CANCELLED)))
        if letter is not None:
            await world.dead_letters.write(letters.of_run(dead(transfer, letter), NOW, "0.1.0"))
        run = await restart(world.ports, world.instances, transfer)
        assert (run.attempt, run.has_open_dead_letter, run.first) == (expected, letter is not None, expected == 0)
        assert started(world, transfer) == run

    async def test_a_resolved_letter_counts_but_is_not_open(self, world: World) -> None:
        """The end need not look for one."""
        transfer = await lettered(world)
        await world.dead_letters.resolve(transfer.id, 0, "verified", NOW)
        run = await restart(world.ports, world.instances, transfer)
        assert (run.attempt, run.has_open_dead_letter) == (1, False)

    async def test_an_instance_whose_input_nobody_can_read_is_no_obstacle(self, world: World) -> None:
        """It is replaced."""
        transfer = world.put()
        world.instances.kept[transfer.id] = Instance(transfer.id, "Failed", None, {}, None, NOW)
        assert (await restart(world.ports, world.instances, transfer)).attempt == 0

    @pytest.mark.parametrize("status", [*RUNNING, "Failed", "Terminated"])
    async def test_what_runs_or_is_to_be_started_again_is_left_alone(self, world: World, status: str) -> None:
        """409, with a time to come back."""
        transfer = world.put()
        world.put_instance(transfer, status)
        with pytest.raises(StillRunning) as caught:
            await restart(world.ports, world.instances, transfer)
        assert caught.value.retry_after == 30
        assert "instances.start" not in world.request_names

    async def test_two_at_once_are_one(self, world: World) -> None:
        """The second finds it alive."""
        transfer = await lettered(world)
        world.before_next(
            INSTANCES_START, lambda: world.put_instance(transfer, "Running", Run(transfer, NOW, attempt=1))
        )
        with pytest.raises(StillRunning):
            await restart(world.ports, world.instances, transfer)
        assert started(world, transfer).attempt == 1


class TestShare:
    """Share one existing blob now."""

    async def test_the_current_version_is_started(self, world: World) -> None:
        """One HEAD tells which."""
        transfer = world.put()
        assert await share(world.ports, world.instances, "default", NAME) == transfer.id
        assert started(world, transfer).attempt == 0

    async def test_an_ended_one_is_done_again(self, world: World) -> None:
        """That is what a person asked for."""
        transfer = world.put()
        world.put_instance(transfer, "Completed")
        assert await share(world.ports, world.instances, "default", NAME) == transfer.id
        assert started(world, transfer).attempt == 1

    @pytest.mark.parametrize("status", [*RUNNING, "Failed"])
    async def test_a_running_one_is_the_same_id(self, world: World, status: str) -> None:
        """Asked for twice is once."""
        transfer = world.put()
        world.put_instance(transfer, status)
        assert await share(world.ports, world.instances, "default", NAME) == transfer.id
        assert "instances.start" not in world.request_names

    @pytest.mark.parametrize("state", [State.CANCELLED, State.DEAD_LETTERED])
    async def test_one_that_is_ending_cannot_be_shared_yet(self, world: World, state: State) -> None:
        """Its end is settled: a 202 would promise what only the next attempt can do."""
        transfer = world.put()
        run = replace(Run(transfer, world.clock), cancelling=state is State.CANCELLED)
        world.put_instance(transfer, "Running", lifecycle.give_up(run, Reason.TARGET_UNWRITABLE, "no container"))
        with pytest.raises(StillRunning) as caught:
            await share(world.ports, world.instances, "default", NAME)
        assert caught.value.retry_after == 30

    @pytest.mark.parametrize("state", [State.VERIFIED, State.SUPERSEDED])
    @pytest.mark.parametrize("cancelling", [False, True])
    async def test_one_that_is_ending_well_needs_no_other(
        self, world: World, state: State, *, cancelling: bool
    ) -> None:
        """The version is there, or a newer one follows: also where a person cancelled it too late."""
        transfer = world.put()
        ending = Ending(state)
        world.put_instance(
            transfer, "Running", Run(transfer, NOW, cancelling=cancelling, ending=ending, step=Step.CLOSE)
        )
        assert await share(world.ports, world.instances, "default", NAME) == transfer.id
        assert "instances.start" not in world.request_names

    async def test_one_that_is_being_cancelled_cannot_be_shared_yet(self, world: World) -> None:
        """It has noticed, and nothing else is settled."""
        transfer = world.put()
        world.put_instance(transfer, "Running", Run(transfer, NOW, cancelling=True))
        with pytest.raises(StillRunning):
            await share(world.ports, world.instances, "default", NAME)

    @pytest.mark.parametrize("state", sorted(FINAL))
    async def test_one_that_ends_while_it_is_asked_for(self, world: World, state: State) -> None:
        """What was running a moment ago: shared if it ended well, else only the next attempt can."""
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
            ("nobody", NAME, NotFound),
            ("default", "in/absent", NotFound),
            ("default", "elsewhere/report.csv", Invalid),
            ("default", "in/../secret", Invalid),
            ("default", "in/a\\b", Invalid),
            ("default", "in/" + "x" * 1_024, Invalid),
            ("default", "in/\ud800", Invalid),
            ("default", "in/" + "\u00e9" * 400, Invalid),
        ],
    )
    async def test_what_cannot_be_shared_is_said_with_a_fix(
        self, world: World, route: str, name: str, problem: type[NotFound | Invalid]
    ) -> None:
        """And nothing is started."""
        with pytest.raises(problem) as caught:
            await share(world.ports, world.instances, route, name)
        assert caught.value.fix
        assert world.instances.kept == {}
        assert problem is NotFound or world.requests == []

    async def test_a_source_that_cannot_be_read_is_no_absence(self, world: World) -> None:
        """503, not 404."""
        world.put()
        world.refuse(SOURCE_HEAD, error_for_answer(SOURCE_HEAD, 403, "AuthorizationFailure"))
        with pytest.raises(Retryable):
            await share(world.ports, world.instances, "default", NAME)


class TestReplay:
    """By its id alone, checked against today's routes; any number of times is once."""

    async def test_a_dead_lettered_transfer_gets_its_next_attempt(self, world: World) -> None:
        """The letter stays open until the end."""
        transfer = await lettered(world)
        assert await replay(world.ports, world.instances, transfer.id) == [transfer.id]
        run = started(world, transfer)
        assert (run.attempt, run.has_open_dead_letter, run.first) == (1, True, False)
        assert transfer.id in world.dead_letters.open

    async def test_one_that_runs_is_a_conflict_with_a_time_to_come_back(self, world: World) -> None:
        """So ten at once are one."""
        transfer = await lettered(world)
        await replay(world.ports, world.instances, transfer.id)
        for _ in range(9):
            with pytest.raises(Conflict) as caught:
                await replay(world.ports, world.instances, transfer.id)
            assert caught.value.retry_after == 30
        assert world.request_names.count("instances.start") == 1

    async def test_a_resolved_one_is_a_conflict(self, world: World) -> None:
        """With what it was resolved as."""
        transfer = await lettered(world)
        await world.dead_letters.resolve(transfer.id, 0, "verified", NOW)
        with pytest.raises(Conflict) as caught:
            await replay(world.ports, world.instances, transfer.id)
        assert caught.value.facts == {"resolved_as": "verified"}
        assert started(world, transfer).attempt == 0

    async def test_an_unknown_one_is_not_found(self, world: World) -> None:
        """With where to find some."""
        with pytest.raises(NotFound):
            await replay(world.ports, world.instances, "37a8eec1-000000000000000000000000")

    @pytest.mark.parametrize(
        "today",
        [
            (),
            (replace(ROUTE, name="renamed"),),
            (replace(ROUTE, target=replace(ROUTE.target, prefix="new/")),),
            (replace(ROUTE, source=replace(ROUTE.source, container="other")),),
        ],
        ids=["gone", "renamed", "another target", "another source"],
    )
    async def test_a_route_that_is_another_today_is_a_conflict(self, world: World, today: tuple[object, ...]) -> None:
        """A letter of old times opens no door."""
        transfer = await lettered(world)
        world.ports = replace(world.ports, routes=today)  # type: ignore[arg-type]
        with pytest.raises(Conflict) as caught:
            await replay(world.ports, world.instances, transfer.id)
        assert caught.value.fix
        assert "instances.start" not in world.request_names

    async def test_one_that_cannot_be_read_is_a_conflict_that_says_what_to_do(self, world: World) -> None:
        """It says neither what was carried nor along which route; its letter stays open."""
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

    async def test_sharing_the_blob_of_one_that_cannot_be_read_is_its_next_attempt(self, world: World) -> None:
        """As the fix says: the letter is open until that ends."""
        transfer = world.put()
        world.instances.kept[transfer.id] = Instance(transfer.id, "Failed", None, {}, None, NOW)
        await world.dead_letters.write(
            letters.of_unreadable(transfer.id, "the orchestration was Failed: x", NOW, "0.1.0")
        )
        assert await share(world.ports, world.instances, "default", NAME) == transfer.id
        run = started(world, transfer)
        assert (run.attempt, run.has_open_dead_letter, run.first) == (1, True, False)

    async def test_a_message_that_is_allowed_today_is_accepted_and_its_letter_resolved(self, world: World) -> None:
        """Replaying it is accepting it again."""
        transfer = world.put()
        message = world.event(transfer)
        letter = await refuse(world.ports, message, RejectedEvent(Reason.NOT_ALLOWED, "as it was"))
        assert await replay(world.ports, world.instances, letter) == [transfer.id]
        assert world.dead_letters.resolved[letter].resolved_as == "accepted"
        assert world.dead_letters.open == {}

    async def test_a_message_whose_transfer_is_known_resolves_as_well(self, world: World) -> None:
        """The duplicate is what it was about."""
        transfer = world.put()
        world.put_instance(transfer, "Completed")
        letter = await refuse(world.ports, world.event(transfer), RejectedEvent(Reason.NOT_ALLOWED, "as it was"))
        assert await replay(world.ports, world.instances, letter) == [transfer.id]
        assert world.dead_letters.open == {}
        assert started(world, transfer).attempt == 0

    async def test_a_message_that_is_refused_as_before_stays_open(self, world: World) -> None:
        """Mend first."""
        letter = await refuse(world.ports, b"hello", RejectedEvent(Reason.MALFORMED, "no JSON"))
        with pytest.raises(Conflict) as caught:
            await replay(world.ports, world.instances, letter)
        assert caught.value.facts == {"reason": Reason.MALFORMED}
        assert letter in world.dead_letters.open

    async def test_a_message_that_no_route_carries_today_stays_open(self, world: World) -> None:
        """It would be ignored, and its letter lost."""
        letter = await refuse(world.ports, world.event(world.put()), RejectedEvent(Reason.NOT_ALLOWED, "as it was"))
        world.ports = replace(world.ports, routes=())
        with pytest.raises(Conflict):
            await replay(world.ports, world.instances, letter)
        assert letter in world.dead_letters.open

    async def test_a_message_that_lost_a_secret_to_its_letter_cannot_be_accepted_again(self, world: World) -> None:
        """What is kept is not what was sent; sharing the blob does it."""
        message = world.event(world.put()).replace(b'"url"', b'"sas": "?sig=c2VjcmV0", "url"')
        letter = await refuse(world.ports, message, RejectedEvent(Reason.NOT_ALLOWED, "as it was"))
        with pytest.raises(Conflict) as caught:
            await replay(world.ports, world.instances, letter)
        assert "POST /api/transfers" in caught.value.fix
        assert letter in world.dead_letters.open
