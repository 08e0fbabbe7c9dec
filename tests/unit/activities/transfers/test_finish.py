"""The steps that end a transfer: what they record, what they clean, what letters they leave."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from activities.transfers.confirm import UNCLEARED
from activities.transfers.finish import GROWING_DELAY, run_clean, run_close, run_record
from activities.transfers.start import run_start
from adapters.translation import (
    EVENTS_PUT,
    LETTERS_WRITE,
    SOURCE_HEAD,
    TARGET_ABORT,
    TARGET_CLEAR,
    TARGET_DELETE,
    TARGET_HEAD,
    error_for_answer,
    error_for_no_answer,
)
from rules import events
from rules.dead_letters import records
from rules.errors import Permanent, Reason
from rules.routes.model import EnginePreference
from rules.transfers import lifecycle
from rules.transfers.decisions import CopyStatus
from rules.transfers.lifecycle import UNCLEAN
from rules.transfers.model import Ended, Ending, Kind, Outcome, Run, Step, Successor, Transfer, Verdict
from rules.transfers.policies import MAX_COPY_ATTEMPTS
from rules.transfers.states import State
from tests.fakes.world import CopyState
from tests.unit.samples import NEWER, NOW, ROUTE
from tests.unit.world import CONTENT, World

DONE = Outcome(Verdict.DONE)
SETTLED = Outcome(Verdict.DONE, pause=90)
COPIED = CopyState("copy", CopyStatus.SUCCESS, len(CONTENT), len(CONTENT))


def ending(transfer: Transfer, state: State, successor: Successor | None = None, **fields: object) -> Run:
    """A run on its way to this end."""
    failed = state is State.DEAD_LETTERED
    end = Ending(state, Reason.THROTTLED if failed else None, "503" if failed else "", successor)
    run = Run(transfer, NOW, step=Step.RECORD, first=False, size=len(CONTENT), ending=end)
    return replace(run, **fields)  # type: ignore[arg-type]


async def pending(world: World) -> Transfer:
    """A transfer whose copy the service has begun."""
    transfer = world.put(kind=Kind.PAGE)
    await run_start(world.ports, Run(transfer, NOW))
    return transfer


class TestRecord:
    """Say durably how it ends, before anything is cleaned."""

    @pytest.mark.parametrize("state", [State.CANCELLED, State.DEAD_LETTERED])
    async def test_a_person_or_a_failure_ends_it_and_settle_is_waited_for(self, world: World, state: State) -> None:
        """The record stops whoever still acts; the pause outlives their requests."""
        transfer = world.put()
        assert await run_record(world.ports, ending(transfer, state, attempt=2)) == SETTLED
        found = await world.dead_letters.ended(transfer.id)
        assert found is not None
        assert (found.attempt, found.ending.state) == (2, state)

    async def test_a_version_with_a_successor_puts_its_event_on_the_queue(self, world: World) -> None:
        """As if Event Grid had sent it: a missed event heals here."""
        transfer = world.put()
        run = ending(transfer, State.SUPERSEDED, successor=Successor(NEWER))
        assert await run_record(world.ports, run) == SETTLED
        body = world.events.take()
        assert body is not None
        (found,) = events.decide_on(body, world.routes).transfers
        assert (found.name, found.etag) == (transfer.name, NEWER)
        assert world.dead_letters.ends == {}

    async def test_a_deletion_puts_nothing_on_the_queue(self, world: World) -> None:
        """There is no version to share."""
        await run_record(world.ports, ending(world.put(), State.SUPERSEDED, successor=Successor(None)))
        assert world.events.queue == {}

    async def test_an_echo_has_no_successor_and_nothing_to_wait_for(self, world: World) -> None:
        """No step of it has written anything."""
        assert await run_record(world.ports, ending(world.put(), State.SUPERSEDED)) == Outcome(Verdict.DONE)
        assert world.request_names == []

    async def test_an_append_blob_that_grows_waits_a_minute_for_its_successor(self, world: World) -> None:
        """One a minute will do."""
        run = ending(world.put(), State.SUPERSEDED, successor=Successor(NEWER, growing=True))
        await run_record(world.ports, run)
        assert world.events.take() is None
        world.pass_time(GROWING_DELAY)
        assert world.events.take() is not None

    @pytest.mark.parametrize("engine", [EnginePreference.AUTO, EnginePreference.ASYNC])
    async def test_superseded_settles_also_where_nothing_is_seen_at_the_target(
        self, world: World, engine: EnginePreference
    ) -> None:
        """A `start` that ran twice, or that the host lost sight of, may still begin a copy that only this run removes."""
        world.ports = replace(world.ports, routes=(replace(ROUTE, engine=engine),))
        run = ending(world.put(), State.SUPERSEDED, successor=Successor(None))
        assert await run_record(world.ports, run) == SETTLED
        assert world.requests == []

    async def test_superseded_along_a_route_that_forces_sync_settles_only_where_something_half_made_is_seen(
        self, world: World
    ) -> None:
        """A synchronous copy is never half-made; but the route may have been another one when the copy began."""
        transfer = await pending(world)
        world.ports = replace(world.ports, routes=(replace(ROUTE, engine=EnginePreference.SYNC),))
        run = ending(transfer, State.SUPERSEDED, successor=Successor(None))
        assert await run_record(world.ports, run) == SETTLED
        assert await run_record(world.ports, replace(run, transfer=world.put("in/other"))) == DONE

    async def test_superseded_without_a_route_of_today_is_not_waited_for(self, world: World) -> None:
        """The app may not clean there."""
        run = ending(replace(world.put(), route="another"), State.SUPERSEDED, successor=Successor(None))
        outcome = await run_record(world.ports, run)
        assert (outcome.verdict, outcome.pause) == (Verdict.DONE, 0)

    async def test_a_target_whose_container_is_gone_holds_nothing_of_ours(self, world: World) -> None:
        """That is no reason never to end: it settles, and the cleaning finds nothing."""
        transfer = world.put()
        world.storage.containers.remove((ROUTE.target.endpoint, ROUTE.target.container))
        run = ending(transfer, State.SUPERSEDED, successor=Successor(None))
        assert await run_record(world.ports, run) == SETTLED
        assert await run_clean(world.ports, run) == DONE
        world.ports = replace(world.ports, routes=(replace(ROUTE, engine=EnginePreference.SYNC),))
        assert await run_record(world.ports, run) == DONE

    async def test_a_late_start_of_a_superseded_one_leaves_nothing_half_made(self, world: World) -> None:
        """It begins an `async` copy after the end was recorded, and the version is deleted: the cleaning removes it."""
        transfer = world.put(kind=Kind.PAGE)
        run = ending(transfer, State.SUPERSEDED, successor=Successor(None))
        outcome = await run_record(world.ports, run)
        await run_start(world.ports, Run(transfer, NOW))
        assert world.at(transfer.target_blob) is not None
        run = lifecycle.advance(run, outcome, NOW)
        assert (run.step, run.pause) == (Step.CLEAN, 90)
        assert await run_clean(world.ports, run) == DONE
        assert world.at(transfer.target_blob) is None

    async def test_without_a_route_of_today_it_is_recorded_with_a_note_and_nothing_is_looked_at(
        self, world: World
    ) -> None:
        """The app may not look there any more: what it has left, if anything, a person must see to."""
        transfer = replace(await pending(world), route="another")
        world.requests.clear()
        outcome = await run_record(world.ports, ending(transfer, State.DEAD_LETTERED))
        assert (outcome.verdict, outcome.pause) == (Verdict.DONE, 0)
        assert outcome.note == f"{UNCLEAN}: no current route has this target"
        assert world.request_names == ["letters.write"]

    async def test_a_superseded_one_whose_target_cannot_be_seen_puts_its_event_once_and_is_cleaned(
        self, world: World
    ) -> None:
        """A step that was done again for the look's sake would put the successor's event again and again."""
        world.ports = replace(world.ports, routes=(replace(ROUTE, engine=EnginePreference.SYNC),))
        run = ending(world.put(), State.SUPERSEDED, successor=Successor(NEWER))
        world.refuse(TARGET_HEAD, error_for_answer(TARGET_HEAD, 403, "AuthorizationFailure"))
        outcome = await run_record(world.ports, run)
        assert outcome == SETTLED
        assert lifecycle.advance(run, outcome, NOW).step is Step.CLEAN
        assert world.request_names.count("events.put") == 1

    async def test_a_store_that_fails_is_for_later_whatever_it_says(self, world: World) -> None:
        """The end of a transfer is tried again without limit."""
        transfer = world.put()
        error = Permanent(Reason.INTERNAL, "letters.write", "the container is gone")
        world.refuse(LETTERS_WRITE, error, times=1)
        outcome = await run_record(world.ports, ending(transfer, State.CANCELLED))
        assert (outcome.verdict, outcome.reason) == (Verdict.RETRYABLE, Reason.INTERNAL)
        world.refuse(EVENTS_PUT, error_for_answer(EVENTS_PUT, 503, "ServerBusy"))
        outcome = await run_record(world.ports, ending(transfer, State.SUPERSEDED, successor=Successor(NEWER)))
        assert outcome.verdict is Verdict.RETRYABLE

    async def test_a_run_that_broke_without_an_ending_is_recorded_as_internal(self, world: World) -> None:
        """The sweep may take up what has no word of its own."""
        transfer = world.put()
        await run_record(world.ports, replace(ending(transfer, State.CANCELLED), ending=None))
        found = await world.dead_letters.ended(transfer.id)
        assert found is not None
        assert found.ending == Ending(State.DEAD_LETTERED, Reason.INTERNAL)


class TestClean:
    """Nothing half-made stays, and nothing whole is called a failure."""

    @pytest.mark.parametrize("state", [State.CANCELLED, State.DEAD_LETTERED, State.SUPERSEDED])
    async def test_a_pending_copy_of_its_own_is_aborted_and_deleted(self, world: World, state: State) -> None:
        """Aborted once, then the empty blob goes."""
        transfer = await pending(world)
        assert await run_clean(world.ports, ending(transfer, state)) == DONE
        assert world.target_writes[1:] == ["target.abort", "target.delete"]
        assert world.at(transfer.target_blob) is None

    @pytest.mark.parametrize("status", [CopyStatus.FAILED, CopyStatus.ABORTED])
    async def test_what_a_failed_copy_left_is_deleted(self, world: World, status: CopyStatus) -> None:
        """Under its ETag."""
        transfer = await pending(world)
        world.storage.fail(transfer.target_blob, "", status)
        assert await run_clean(world.ports, ending(transfer, State.DEAD_LETTERED)) == DONE
        assert world.at(transfer.target_blob) is None

    async def test_somebody_elses_is_left_alone(self, world: World) -> None:
        """Ours is what names this very transfer."""
        transfer = world.put()
        world.put_copy(replace(transfer, id="00000000-000000000000000000000000"), b"")
        assert await run_clean(world.ports, ending(transfer, State.CANCELLED)) == DONE
        assert world.target_writes == []

    async def test_a_second_pending_copy_is_a_newer_attempts_and_is_left_alone(self, world: World) -> None:
        """One abort per cleaning: an old attempt's cleanup must not abort a replay again and again."""
        transfer = await pending(world)

        def replayed() -> None:
            item = world.storage.blobs[transfer.target_blob]
            assert item.copy is not None
            world.storage.blobs[transfer.target_blob] = replace(item, copy=replace(item.copy, id="a newer one"))

        world.before_next(TARGET_ABORT, replayed)
        assert await run_clean(world.ports, ending(transfer, State.CANCELLED)) == DONE
        assert world.target_writes[1:] == ["target.abort"]

    async def test_a_target_that_refuses_to_be_cleaned_does_not_keep_the_transfer_from_its_end(
        self, world: World
    ) -> None:
        """Such as one with snapshots, which are not ours to delete."""
        transfer = world.put()
        world.put_copy(transfer, b"")
        world.refuse(TARGET_DELETE, Permanent(Reason.TARGET_UNWRITABLE, "target.delete", "it has snapshots"))
        run = replace(ending(transfer, State.DEAD_LETTERED), step=Step.CLEAN)
        for _ in range(MAX_COPY_ATTEMPTS):
            if run.step is Step.CLEAN:
                run = lifecycle.advance(run, await run_clean(world.ports, run), NOW)
        assert run.step is Step.CLOSE
        assert run.note == f"{UNCLEAN}: target.delete: it has snapshots"

    @pytest.mark.parametrize("state", [State.CANCELLED, State.DEAD_LETTERED])
    async def test_a_version_that_is_complete_after_all_is_verified(self, world: World, state: State) -> None:
        """Its late request had landed."""
        transfer = world.put()
        world.put_copy(transfer)
        outcome = await run_clean(world.ports, ending(transfer, state))
        assert outcome == Outcome(Verdict.VERIFIED, size=len(CONTENT))
        assert world.target_writes == []

    async def test_a_superseded_one_that_is_complete_stays_superseded(self, world: World) -> None:
        """Its successor will overwrite it."""
        transfer = world.put()
        world.put_copy(transfer)
        assert await run_clean(world.ports, ending(transfer, State.SUPERSEDED)) == DONE

    async def test_an_empty_blob_of_its_own_is_half_made_where_the_version_is_not_empty(self, world: World) -> None:
        """Its copy status was cleared by somebody."""
        transfer = world.put()
        world.put_copy(transfer, b"")
        assert await run_clean(world.ports, ending(transfer, State.CANCELLED)) == DONE
        assert world.at(transfer.target_blob) is None

    async def test_a_blob_that_changed_before_the_delete_is_looked_at_again(self, world: World) -> None:
        """If-Match keeps what a replay has written meanwhile."""
        transfer = world.put()
        world.put_copy(transfer, b"")
        world.before_next(TARGET_DELETE, lambda: world.put_copy(transfer))
        assert (await run_clean(world.ports, ending(transfer, State.CANCELLED))).verdict is Verdict.VERIFIED
        assert world.storage.blobs[transfer.target_blob].content == CONTENT

    async def test_a_delete_whose_answer_was_lost_is_looked_at_again(self, world: World) -> None:
        """And then there is nothing."""
        transfer = world.put()
        world.put_copy(transfer, b"")
        world.lose_answer(TARGET_DELETE)
        assert await run_clean(world.ports, ending(transfer, State.CANCELLED)) == DONE
        assert world.target_writes == ["target.delete"]

    async def test_a_target_that_never_answers_is_for_later_after_eight_looks(self, world: World) -> None:
        """Bounded work; the orchestrator comes again."""
        transfer = world.put()
        world.put_copy(transfer, b"")
        world.refuse(TARGET_DELETE, error_for_no_answer(TARGET_DELETE))
        outcome = await run_clean(world.ports, ending(transfer, State.CANCELLED))
        assert (outcome.verdict, outcome.reason) == (Verdict.RETRYABLE, Reason.TARGET_CONFLICT)
        assert len(world.target_writes) == 8

    async def test_a_look_that_fails_is_for_later(self, world: World) -> None:
        """Throttled is not clean."""
        world.refuse(TARGET_HEAD, error_for_answer(TARGET_HEAD, 503, "ServerBusy"))
        outcome = await run_clean(world.ports, ending(world.put(), State.CANCELLED))
        assert (outcome.verdict, outcome.reason) == (Verdict.RETRYABLE, Reason.THROTTLED)

    async def test_a_whole_target_that_cannot_be_cleared_is_verified_with_a_note(self, world: World) -> None:
        """The receipt is the verdict; a lease or a policy keeps the copy's properties where they are."""
        transfer = world.put()
        world.put_copy(transfer, copy=COPIED, leased=True)
        outcome = await run_clean(world.ports, ending(transfer, State.DEAD_LETTERED))
        assert (outcome.verdict, outcome.size) == (Verdict.VERIFIED, len(CONTENT))
        assert outcome.note.startswith(UNCLEARED)
        assert world.target_writes == ["target.clear"]

    async def test_a_clearing_that_was_not_answered_is_looked_at_again(self, world: World) -> None:
        """It had happened: nothing is left to say."""
        transfer = world.put()
        world.put_copy(transfer, copy=COPIED)
        world.lose_answer(TARGET_CLEAR)
        outcome = await run_clean(world.ports, ending(transfer, State.CANCELLED))
        assert outcome == Outcome(Verdict.VERIFIED, size=len(CONTENT))
        assert world.target_writes == ["target.clear"]

    async def test_a_whole_target_whose_clearing_is_never_answered_is_verified_with_a_note(self, world: World) -> None:
        """Eight looks; nothing whole is called a failure."""
        transfer = world.put()
        world.put_copy(transfer, copy=COPIED)
        world.refuse(TARGET_CLEAR, error_for_no_answer(TARGET_CLEAR))
        outcome = await run_clean(world.ports, ending(transfer, State.CANCELLED))
        assert outcome == Outcome(Verdict.VERIFIED, size=len(CONTENT), note=UNCLEARED)
        assert len(world.target_writes) == 8

    async def test_a_busy_service_while_it_clears_keeps_nothing_whole_from_verified(self, world: World) -> None:
        """The end is near: what is still shown expires by itself."""
        transfer = world.put()
        world.put_copy(transfer, copy=COPIED)
        world.refuse(TARGET_CLEAR, error_for_answer(TARGET_CLEAR, 503, "ServerBusy"))
        outcome = await run_clean(world.ports, ending(transfer, State.CANCELLED))
        assert (outcome.verdict, outcome.note.partition(":")[0]) == (Verdict.VERIFIED, UNCLEARED)

    async def test_a_container_that_is_gone_is_for_later_only_where_a_copy_was_seen(self, world: World) -> None:
        """What was begun there is somewhere still, and a container comes back; where nothing ever began, nothing is left."""
        transfer = world.put()
        world.storage.containers.remove((ROUTE.target.endpoint, ROUTE.target.container))
        run = ending(transfer, State.DEAD_LETTERED)
        assert await run_clean(world.ports, run) == DONE
        outcome = await run_clean(world.ports, replace(run, state=State.COPYING))
        assert (outcome.verdict, outcome.reason) == (Verdict.RETRYABLE, Reason.TARGET_UNWRITABLE)

    async def test_a_size_that_was_not_learned_is_asked_of_the_source(self, world: World) -> None:
        """One that broke early does not know it; without it a whole target would be called a failure."""
        transfer = world.put()
        world.put_copy(transfer)
        outcome = await run_clean(world.ports, ending(transfer, State.DEAD_LETTERED, size=None))
        assert outcome == Outcome(Verdict.VERIFIED, size=len(CONTENT))
        assert world.request_names == ["source.head", "target.head"]

    async def test_a_size_that_is_known_is_not_asked_for(self, world: World) -> None:
        """No request more than is needed."""
        transfer = world.put()
        world.put_copy(transfer)
        await run_clean(world.ports, ending(transfer, State.DEAD_LETTERED))
        assert world.request_names == ["target.head"]

    @pytest.mark.parametrize("cause", ["unreadable", "gone", "another version"])
    async def test_a_source_that_cannot_tell_the_size_leaves_all_as_it_is(self, world: World, cause: str) -> None:
        """What nobody can judge is neither removed nor verified, and the transfer ends all the same."""
        transfer = world.put()
        world.put_copy(transfer)
        before = world.at(transfer.target_blob)
        if cause == "unreadable":
            world.refuse(SOURCE_HEAD, error_for_answer(SOURCE_HEAD, 403, "AuthorizationFailure"))
        elif cause == "gone":
            world.storage.remove(transfer.source_blob)
        else:
            world.put(content=CONTENT[::-1])
        assert await run_clean(world.ports, ending(transfer, State.DEAD_LETTERED, size=None)) == DONE
        assert world.at(transfer.target_blob) == before
        assert world.target_writes == []

    @pytest.mark.parametrize("size", [None, len(CONTENT)])
    async def test_without_a_route_of_today_nothing_is_asked_of_source_or_target(
        self, world: World, size: int | None
    ) -> None:
        """A removed route is a removed permission."""
        transfer = replace(await pending(world), route="another")
        world.requests.clear()
        assert await run_clean(world.ports, ending(transfer, State.CANCELLED, size=size)) == DONE
        assert world.requests == []

    async def test_run_twice_it_does_nothing_the_second_time(self, world: World) -> None:
        """An activity may always run twice."""
        transfer = await pending(world)
        for _ in range(2):
            assert await run_clean(world.ports, ending(transfer, State.CANCELLED)) == DONE
        assert world.target_writes[1:] == ["target.abort", "target.delete"]


class TestClose:
    """The letter, and the record of an end that is no more true."""

    async def test_a_dead_letter_is_written_with_its_attempt(self, world: World) -> None:
        """A re-run counts once; the record of the end stays."""
        transfer = world.put()
        run = ending(transfer, State.DEAD_LETTERED)
        await run_record(world.ports, run)
        for _ in range(2):
            assert await run_close(world.ports, run) == DONE
        letter = await world.dead_letters.read(transfer.id)
        assert letter is not None
        assert (letter.reason, letter.detail, letter.size) == (Reason.THROTTLED, "503", len(CONTENT))
        assert list(letter.attempts) == [0]
        assert (await world.dead_letters.ended(transfer.id)) is not None

    async def test_a_dead_letter_says_what_may_be_left_at_the_target(self, world: World) -> None:
        """The note of a cleaning that was given up."""
        transfer = world.put()
        await run_close(world.ports, ending(transfer, State.DEAD_LETTERED, note=f"{UNCLEAN}: 403"))
        letter = await world.dead_letters.read(transfer.id)
        assert letter is not None
        assert letter.detail == f"503; {UNCLEAN}: 403"

    async def test_a_replay_that_fails_again_is_a_second_attempt_of_the_same_letter(self, world: World) -> None:
        """Keyed by number."""
        transfer = world.put()
        await run_close(world.ports, ending(transfer, State.DEAD_LETTERED))
        await run_close(world.ports, ending(transfer, State.DEAD_LETTERED, attempt=1, has_open_dead_letter=True))
        letter = await world.dead_letters.read(transfer.id)
        assert letter is not None
        assert list(letter.attempts) == [0, 1]

    @pytest.mark.parametrize("state", [State.VERIFIED, State.SUPERSEDED, State.CANCELLED])
    async def test_every_other_end_resolves_an_open_letter(self, world: World, state: State) -> None:
        """The letter says how it ended."""
        transfer = world.put()
        await run_close(world.ports, ending(transfer, State.DEAD_LETTERED))
        world.pass_time(60)
        await run_close(world.ports, ending(transfer, state, attempt=1, has_open_dead_letter=True))
        letter = await world.dead_letters.read(transfer.id)
        assert letter is not None
        assert (letter.resolved_as, letter.resolved_at) == (state, NOW + timedelta(seconds=60))
        assert world.dead_letters.open == {}

    async def test_a_late_close_of_an_old_attempt_reopens_nothing(self, world: World) -> None:
        """Written twice, one run sleeps; replayed and verified; the sleeper comes."""
        transfer = world.put()
        old = ending(transfer, State.DEAD_LETTERED)
        await run_close(world.ports, old)
        world.pass_time(60)
        await run_close(world.ports, ending(transfer, State.VERIFIED, attempt=1, has_open_dead_letter=True))
        await run_close(world.ports, old)
        assert world.dead_letters.open == {}

    @pytest.mark.parametrize(
        ("state", "kept"), [(State.VERIFIED, False), (State.SUPERSEDED, False), (State.CANCELLED, True)]
    )
    async def test_the_record_of_an_end_is_dropped_where_it_is_no_more_true(
        self, world: World, state: State, *, kept: bool
    ) -> None:
        """`cancelled` stays cancelled."""
        transfer = world.put()
        await world.dead_letters.write_ended(Ended(transfer.id, 0, Ending(State.CANCELLED)))
        await run_close(world.ports, ending(transfer, state, attempt=1))
        assert bool(world.dead_letters.ends) is kept

    async def test_a_later_attempts_record_is_never_dropped(self, world: World) -> None:
        """The higher attempt wins."""
        transfer = world.put()
        await world.dead_letters.write_ended(Ended(transfer.id, 2, Ending(State.CANCELLED)))
        await run_close(world.ports, ending(transfer, State.VERIFIED, attempt=1))
        assert transfer.id in world.dead_letters.ends

    async def test_a_first_run_never_looks_for_a_letter(self, world: World) -> None:
        """The input says whether there may be one."""
        await run_close(world.ports, ending(world.put(), State.CANCELLED))
        assert world.requests == []

    async def test_no_letter_holds_a_secret_or_a_sas(self, world: World) -> None:
        """It is read by people and shown by the API."""
        transfer = world.put()
        await run_start(world.ports, Run(transfer, NOW))
        await run_close(world.ports, ending(transfer, State.DEAD_LETTERED))
        letter = await world.dead_letters.read(transfer.id)
        assert letter is not None
        assert "sig" not in json.dumps(records.record(letter))

    async def test_a_store_that_fails_is_for_later(self, world: World) -> None:
        """Writing a letter is retried without limit."""
        world.refuse(LETTERS_WRITE, error_for_answer(LETTERS_WRITE, 503, "ServerBusy"))
        outcome = await run_close(world.ports, ending(world.put(), State.DEAD_LETTERED))
        assert outcome.verdict is Verdict.RETRYABLE
