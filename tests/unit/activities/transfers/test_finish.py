"""The `record`, `clean` and `close` steps on the in-memory fakes."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from activities.transfers.confirm import UNCLEARED
from activities.transfers.finish import GROWING_DELAY, run_clean, run_close, run_record
from activities.transfers.start import run_start
from adapters.translation import (
    DEAD_LETTERS_WRITE,
    EVENTS_PUT,
    SOURCE_HEAD,
    TARGET_ABORT,
    TARGET_CLEAR,
    TARGET_DELETE,
    TARGET_HEAD,
    error_for_answer,
    error_for_no_answer,
)
from rules.dead_letters import records
from rules.errors import Permanent, Reason
from rules.events.decide import decide_on
from rules.routes.filters import FILTERED
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


def run_ending(transfer: Transfer, state: State, successor: Successor | None = None, **fields: object) -> Run:
    """A run that is about to record this end."""
    failed = state is State.DEAD_LETTERED
    end = Ending(state, Reason.THROTTLED if failed else None, "503" if failed else "", successor)
    run = Run(transfer, NOW, step=Step.RECORD, first=False, size=len(CONTENT), ending=end)
    return replace(run, **fields)  # type: ignore[arg-type]


async def begin_copy(world: World) -> Transfer:
    """A transfer whose copy is pending."""
    transfer = world.put(kind=Kind.PAGE)
    await run_start(world.ports, Run(transfer, NOW))
    return transfer


class TestRecord:
    @pytest.mark.parametrize("state", [State.CANCELLED, State.DEAD_LETTERED])
    async def test_cancelled_and_dead_lettered_write_the_record_of_the_end_and_settle(
        self, world: World, state: State
    ) -> None:
        transfer = world.put()
        assert await run_record(world.ports, run_ending(transfer, state, attempt=2)) == SETTLED
        found = await world.dead_letters.read_ended(transfer.id)
        assert found is not None
        assert (found.attempt, found.ending.state) == (2, state)

    async def test_superseded_puts_the_successors_event(self, world: World) -> None:
        """As Event Grid would have sent it, in case that event was missed."""
        transfer = world.put()
        run = run_ending(transfer, State.SUPERSEDED, successor=Successor(NEWER))
        assert await run_record(world.ports, run) == SETTLED
        body = world.events.take()
        assert body is not None
        (found,) = decide_on(body, world.routes).transfers
        assert (found.name, found.etag) == (transfer.name, NEWER)
        assert world.dead_letters.ends == {}

    async def test_a_deletion_puts_no_event(self, world: World) -> None:
        await run_record(world.ports, run_ending(world.put(), State.SUPERSEDED, successor=Successor(None)))
        assert world.events.queue == {}

    async def test_an_echo_puts_no_event_and_does_not_settle(self, world: World) -> None:
        assert await run_record(world.ports, run_ending(world.put(), State.SUPERSEDED)) == Outcome(Verdict.DONE)
        assert world.request_names == []

    async def test_an_excluded_version_puts_no_event_and_is_cleaned_up(self, world: World) -> None:
        """An earlier `start` had other filters, and its copy has failed."""
        transfer = world.put()
        world.put_copy(transfer, b"", copy=CopyState("copy", CopyStatus.FAILED, 0, len(CONTENT)))
        world.ports = replace(world.ports, routes=(replace(ROUTE, max_size=0),))
        outcome = await run_start(world.ports, replace(Run(transfer, NOW), first=False))
        assert outcome.ending == Ending(State.SUPERSEDED, detail=FILTERED)
        run = run_ending(transfer, State.SUPERSEDED, ending=outcome.ending)
        assert await run_record(world.ports, run) == SETTLED
        assert world.events.queue == {}
        assert await run_clean(world.ports, run) == DONE
        assert world.at(transfer.target_blob) is None

    async def test_the_successor_of_a_growing_append_blob_is_delayed_by_a_minute(self, world: World) -> None:
        run = run_ending(world.put(), State.SUPERSEDED, successor=Successor(NEWER, growing=True))
        await run_record(world.ports, run)
        assert world.events.take() is None
        world.pass_time(GROWING_DELAY)
        assert world.events.take() is not None

    @pytest.mark.parametrize("engine", [EnginePreference.AUTO, EnginePreference.ASYNC])
    async def test_superseded_settles_even_if_nothing_is_at_the_target(
        self, world: World, engine: EnginePreference
    ) -> None:
        """A repeated `start`, or one whose execution failed, may still begin a copy that only this run removes."""
        world.ports = replace(world.ports, routes=(replace(ROUTE, engine=engine),))
        run = run_ending(world.put(), State.SUPERSEDED, successor=Successor(None))
        assert await run_record(world.ports, run) == SETTLED
        assert world.requests == []

    async def test_superseded_on_a_sync_route_settles_only_if_an_incomplete_blob_is_there(self, world: World) -> None:
        """A synchronous copy is never incomplete, but the route may have had another engine when the copy began."""
        transfer = await begin_copy(world)
        world.ports = replace(world.ports, routes=(replace(ROUTE, engine=EnginePreference.SYNC),))
        run = run_ending(transfer, State.SUPERSEDED, successor=Successor(None))
        assert await run_record(world.ports, run) == SETTLED
        assert await run_record(world.ports, replace(run, transfer=world.put("in/other"))) == DONE

    async def test_superseded_without_a_current_route_does_not_settle(self, world: World) -> None:
        run = run_ending(replace(world.put(), route="another"), State.SUPERSEDED, successor=Successor(None))
        outcome = await run_record(world.ports, run)
        assert (outcome.verdict, outcome.pause) == (Verdict.DONE, 0)

    async def test_a_missing_target_container_needs_no_cleaning(self, world: World) -> None:
        transfer = world.put()
        world.storage.containers.remove((ROUTE.target.endpoint, ROUTE.target.container))
        run = run_ending(transfer, State.SUPERSEDED, successor=Successor(None))
        assert await run_record(world.ports, run) == SETTLED
        assert await run_clean(world.ports, run) == DONE
        world.ports = replace(world.ports, routes=(replace(ROUTE, engine=EnginePreference.SYNC),))
        assert await run_record(world.ports, run) == DONE

    async def test_a_late_start_of_a_superseded_version_is_cleaned_up(self, world: World) -> None:
        """It begins an `async` copy after the end was recorded; the cleaning removes it."""
        transfer = world.put(kind=Kind.PAGE)
        run = run_ending(transfer, State.SUPERSEDED, successor=Successor(None))
        outcome = await run_record(world.ports, run)
        await run_start(world.ports, Run(transfer, NOW))
        assert world.at(transfer.target_blob) is not None
        run = lifecycle.advance(run, outcome, NOW)
        assert (run.step, run.pause) == (Step.CLEAN, 90)
        assert await run_clean(world.ports, run) == DONE
        assert world.at(transfer.target_blob) is None

    async def test_without_a_current_route_the_end_is_recorded_with_a_note_and_nothing_is_read(
        self, world: World
    ) -> None:
        transfer = replace(await begin_copy(world), route="another")
        world.requests.clear()
        outcome = await run_record(world.ports, run_ending(transfer, State.DEAD_LETTERED))
        assert (outcome.verdict, outcome.pause) == (Verdict.DONE, 0)
        assert outcome.note == f"{UNCLEAN}: no current route has this target"
        assert world.request_names == ["dead_letters.write"]

    async def test_superseded_with_an_unreadable_target_puts_the_event_once_and_is_cleaned(self, world: World) -> None:
        """A retry of the step would put the event again."""
        world.ports = replace(world.ports, routes=(replace(ROUTE, engine=EnginePreference.SYNC),))
        run = run_ending(world.put(), State.SUPERSEDED, successor=Successor(NEWER))
        world.refuse(TARGET_HEAD, error_for_answer(TARGET_HEAD, 403, "AuthorizationFailure"))
        outcome = await run_record(world.ports, run)
        assert outcome == SETTLED
        assert lifecycle.advance(run, outcome, NOW).step is Step.CLEAN
        assert world.request_names.count("events.put") == 1

    async def test_every_failure_is_retryable(self, world: World) -> None:
        """The end of a transfer is retried without limit."""
        transfer = world.put()
        error = Permanent(Reason.INTERNAL, "dead_letters.write", "the container is gone")
        world.refuse(DEAD_LETTERS_WRITE, error, times=1)
        outcome = await run_record(world.ports, run_ending(transfer, State.CANCELLED))
        assert (outcome.verdict, outcome.reason) == (Verdict.RETRYABLE, Reason.INTERNAL)
        world.refuse(EVENTS_PUT, error_for_answer(EVENTS_PUT, 503, "ServerBusy"))
        outcome = await run_record(world.ports, run_ending(transfer, State.SUPERSEDED, successor=Successor(NEWER)))
        assert outcome.verdict is Verdict.RETRYABLE

    async def test_a_run_without_an_ending_is_recorded_as_internal(self, world: World) -> None:
        """The sweep may start it."""
        transfer = world.put()
        await run_record(world.ports, replace(run_ending(transfer, State.CANCELLED), ending=None))
        found = await world.dead_letters.read_ended(transfer.id)
        assert found is not None
        assert found.ending == Ending(State.DEAD_LETTERED, Reason.INTERNAL)


class TestClean:
    @pytest.mark.parametrize("state", [State.CANCELLED, State.DEAD_LETTERED, State.SUPERSEDED])
    async def test_its_own_pending_copy_is_aborted_and_deleted(self, world: World, state: State) -> None:
        transfer = await begin_copy(world)
        assert await run_clean(world.ports, run_ending(transfer, state)) == DONE
        assert world.target_writes[1:] == ["target.abort", "target.delete"]
        assert world.at(transfer.target_blob) is None

    @pytest.mark.parametrize("status", [CopyStatus.FAILED, CopyStatus.ABORTED])
    async def test_the_remains_of_a_failed_copy_are_deleted(self, world: World, status: CopyStatus) -> None:
        transfer = await begin_copy(world)
        world.storage.fail(transfer.target_blob, "", status)
        assert await run_clean(world.ports, run_ending(transfer, State.DEAD_LETTERED)) == DONE
        assert world.at(transfer.target_blob) is None

    async def test_the_blob_of_another_transfer_is_left_alone(self, world: World) -> None:
        transfer = world.put()
        world.put_copy(replace(transfer, id="00000000-000000000000000000000000"), b"")
        assert await run_clean(world.ports, run_ending(transfer, State.CANCELLED)) == DONE
        assert world.target_writes == []

    async def test_a_second_pending_copy_is_left_alone(self, world: World) -> None:
        """It belongs to a newer attempt; an old attempt's cleaning must not abort a replay repeatedly."""
        transfer = await begin_copy(world)

        def replayed() -> None:
            item = world.storage.blobs[transfer.target_blob]
            assert item.copy is not None
            world.storage.blobs[transfer.target_blob] = replace(item, copy=replace(item.copy, id="a newer one"))

        world.before_next(TARGET_ABORT, replayed)
        assert await run_clean(world.ports, run_ending(transfer, State.CANCELLED)) == DONE
        assert world.target_writes[1:] == ["target.abort"]

    async def test_a_target_that_cannot_be_cleaned_is_given_up_with_a_note(self, world: World) -> None:
        """For example a blob with snapshots, which the app must not delete."""
        transfer = world.put()
        world.put_copy(transfer, b"")
        world.refuse(TARGET_DELETE, Permanent(Reason.TARGET_UNWRITABLE, "target.delete", "it has snapshots"))
        run = replace(run_ending(transfer, State.DEAD_LETTERED), step=Step.CLEAN)
        for _ in range(MAX_COPY_ATTEMPTS):
            if run.step is Step.CLEAN:
                run = lifecycle.advance(run, await run_clean(world.ports, run), NOW)
        assert run.step is Step.CLOSE
        assert run.note == f"{UNCLEAN}: target.delete: it has snapshots"

    @pytest.mark.parametrize("state", [State.CANCELLED, State.DEAD_LETTERED])
    async def test_a_complete_target_is_verified(self, world: World, state: State) -> None:
        """A late request of the transfer had completed it."""
        transfer = world.put()
        world.put_copy(transfer)
        outcome = await run_clean(world.ports, run_ending(transfer, state))
        assert outcome == Outcome(Verdict.VERIFIED, size=len(CONTENT))
        assert world.target_writes == []

    async def test_a_complete_target_of_a_superseded_version_stays_superseded(self, world: World) -> None:
        transfer = world.put()
        world.put_copy(transfer)
        assert await run_clean(world.ports, run_ending(transfer, State.SUPERSEDED)) == DONE

    async def test_its_own_empty_blob_of_a_version_that_is_not_empty_is_deleted(self, world: World) -> None:
        transfer = world.put()
        world.put_copy(transfer, b"")
        assert await run_clean(world.ports, run_ending(transfer, State.CANCELLED)) == DONE
        assert world.at(transfer.target_blob) is None

    async def test_a_blob_that_changed_before_the_delete_is_kept(self, world: World) -> None:
        """If-Match protects what a replay has written in the meantime."""
        transfer = world.put()
        world.put_copy(transfer, b"")
        world.before_next(TARGET_DELETE, lambda: world.put_copy(transfer))
        assert (await run_clean(world.ports, run_ending(transfer, State.CANCELLED))).verdict is Verdict.VERIFIED
        assert world.storage.blobs[transfer.target_blob].content == CONTENT

    async def test_after_an_unanswered_delete_it_looks_again(self, world: World) -> None:
        transfer = world.put()
        world.put_copy(transfer, b"")
        world.lose_answer(TARGET_DELETE)
        assert await run_clean(world.ports, run_ending(transfer, State.CANCELLED)) == DONE
        assert world.target_writes == ["target.delete"]

    async def test_unanswered_deletes_are_retryable_after_eight_looks(self, world: World) -> None:
        transfer = world.put()
        world.put_copy(transfer, b"")
        world.refuse(TARGET_DELETE, error_for_no_answer(TARGET_DELETE))
        outcome = await run_clean(world.ports, run_ending(transfer, State.CANCELLED))
        assert (outcome.verdict, outcome.reason) == (Verdict.RETRYABLE, Reason.TARGET_CONFLICT)
        assert len(world.target_writes) == 8

    async def test_a_failed_head_is_retryable(self, world: World) -> None:
        world.refuse(TARGET_HEAD, error_for_answer(TARGET_HEAD, 503, "ServerBusy"))
        outcome = await run_clean(world.ports, run_ending(world.put(), State.CANCELLED))
        assert (outcome.verdict, outcome.reason) == (Verdict.RETRYABLE, Reason.THROTTLED)

    async def test_a_complete_target_that_cannot_be_cleared_is_verified_with_a_note(self, world: World) -> None:
        """The receipt decides; a lease or a policy keeps the copy's properties."""
        transfer = world.put()
        world.put_copy(transfer, copy=COPIED, leased=True)
        outcome = await run_clean(world.ports, run_ending(transfer, State.DEAD_LETTERED))
        assert (outcome.verdict, outcome.size) == (Verdict.VERIFIED, len(CONTENT))
        assert outcome.note.startswith(UNCLEARED)
        assert world.target_writes == ["target.clear"]

    async def test_after_an_unanswered_clearing_it_looks_again(self, world: World) -> None:
        transfer = world.put()
        world.put_copy(transfer, copy=COPIED)
        world.lose_answer(TARGET_CLEAR)
        outcome = await run_clean(world.ports, run_ending(transfer, State.CANCELLED))
        assert outcome == Outcome(Verdict.VERIFIED, size=len(CONTENT))
        assert world.target_writes == ["target.clear"]

    async def test_a_complete_target_is_verified_with_a_note_after_eight_unanswered_clearings(
        self, world: World
    ) -> None:
        transfer = world.put()
        world.put_copy(transfer, copy=COPIED)
        world.refuse(TARGET_CLEAR, error_for_no_answer(TARGET_CLEAR))
        outcome = await run_clean(world.ports, run_ending(transfer, State.CANCELLED))
        assert outcome == Outcome(Verdict.VERIFIED, size=len(CONTENT), note=UNCLEARED)
        assert len(world.target_writes) == 8

    async def test_a_complete_target_is_verified_with_a_note_if_the_service_is_busy(self, world: World) -> None:
        """The SAS that is still shown expires."""
        transfer = world.put()
        world.put_copy(transfer, copy=COPIED)
        world.refuse(TARGET_CLEAR, error_for_answer(TARGET_CLEAR, 503, "ServerBusy"))
        outcome = await run_clean(world.ports, run_ending(transfer, State.CANCELLED))
        assert (outcome.verdict, outcome.note.partition(":")[0]) == (Verdict.VERIFIED, UNCLEARED)

    async def test_a_missing_container_is_retryable_only_if_a_copy_was_seen_there(self, world: World) -> None:
        """A deleted container may be restored, with the copy in it."""
        transfer = world.put()
        world.storage.containers.remove((ROUTE.target.endpoint, ROUTE.target.container))
        run = run_ending(transfer, State.DEAD_LETTERED)
        assert await run_clean(world.ports, run) == DONE
        outcome = await run_clean(world.ports, replace(run, state=State.COPYING))
        assert (outcome.verdict, outcome.reason) == (Verdict.RETRYABLE, Reason.TARGET_UNWRITABLE)

    async def test_an_unknown_size_is_read_from_the_source(self, world: World) -> None:
        """A run that failed early does not know it; without it a complete target would count as a failure."""
        transfer = world.put()
        world.put_copy(transfer)
        outcome = await run_clean(world.ports, run_ending(transfer, State.DEAD_LETTERED, size=None))
        assert outcome == Outcome(Verdict.VERIFIED, size=len(CONTENT))
        assert world.request_names == ["source.head", "target.head"]

    async def test_a_known_size_is_not_read_again(self, world: World) -> None:
        transfer = world.put()
        world.put_copy(transfer)
        await run_clean(world.ports, run_ending(transfer, State.DEAD_LETTERED))
        assert world.request_names == ["target.head"]

    @pytest.mark.parametrize("cause", ["unreadable", "gone", "another version"])
    async def test_without_a_size_the_target_is_left_as_it_is(self, world: World, cause: str) -> None:
        """It can be neither removed nor verified, and the transfer ends."""
        transfer = world.put()
        world.put_copy(transfer)
        before = world.at(transfer.target_blob)
        if cause == "unreadable":
            world.refuse(SOURCE_HEAD, error_for_answer(SOURCE_HEAD, 403, "AuthorizationFailure"))
        elif cause == "gone":
            world.storage.remove(transfer.source_blob)
        else:
            world.put(content=CONTENT[::-1])
        assert await run_clean(world.ports, run_ending(transfer, State.DEAD_LETTERED, size=None)) == DONE
        assert world.at(transfer.target_blob) == before
        assert world.target_writes == []

    @pytest.mark.parametrize("size", [None, len(CONTENT)])
    async def test_without_a_current_route_it_sends_no_request(self, world: World, size: int | None) -> None:
        transfer = replace(await begin_copy(world), route="another")
        world.requests.clear()
        assert await run_clean(world.ports, run_ending(transfer, State.CANCELLED, size=size)) == DONE
        assert world.requests == []

    async def test_a_second_run_does_nothing(self, world: World) -> None:
        transfer = await begin_copy(world)
        for _ in range(2):
            assert await run_clean(world.ports, run_ending(transfer, State.CANCELLED)) == DONE
        assert world.target_writes[1:] == ["target.abort", "target.delete"]


class TestClose:
    async def test_a_dead_letter_is_written_with_its_attempt(self, world: World) -> None:
        """A repeated step counts once; the record of the end stays."""
        transfer = world.put()
        run = run_ending(transfer, State.DEAD_LETTERED)
        await run_record(world.ports, run)
        for _ in range(2):
            assert await run_close(world.ports, run) == DONE
        letter = await world.dead_letters.read(transfer.id)
        assert letter is not None
        assert (letter.reason, letter.detail, letter.size) == (Reason.THROTTLED, "503", len(CONTENT))
        assert list(letter.attempts) == [0]
        assert (await world.dead_letters.read_ended(transfer.id)) is not None

    async def test_a_dead_letter_has_the_note_of_an_incomplete_cleaning(self, world: World) -> None:
        transfer = world.put()
        await run_close(world.ports, run_ending(transfer, State.DEAD_LETTERED, note=f"{UNCLEAN}: 403"))
        letter = await world.dead_letters.read(transfer.id)
        assert letter is not None
        assert letter.detail == f"503; {UNCLEAN}: 403"

    async def test_a_failed_replay_is_a_second_attempt_of_the_same_dead_letter(self, world: World) -> None:
        transfer = world.put()
        await run_close(world.ports, run_ending(transfer, State.DEAD_LETTERED))
        await run_close(world.ports, run_ending(transfer, State.DEAD_LETTERED, attempt=1, has_open_dead_letter=True))
        letter = await world.dead_letters.read(transfer.id)
        assert letter is not None
        assert list(letter.attempts) == [0, 1]

    @pytest.mark.parametrize("state", [State.VERIFIED, State.SUPERSEDED, State.CANCELLED])
    async def test_every_other_end_resolves_an_open_dead_letter(self, world: World, state: State) -> None:
        transfer = world.put()
        await run_close(world.ports, run_ending(transfer, State.DEAD_LETTERED))
        world.pass_time(60)
        await run_close(world.ports, run_ending(transfer, state, attempt=1, has_open_dead_letter=True))
        letter = await world.dead_letters.read(transfer.id)
        assert letter is not None
        assert (letter.resolved_as, letter.resolved_at) == (state, NOW + timedelta(seconds=60))
        assert world.dead_letters.open == {}

    async def test_a_late_close_of_an_old_attempt_does_not_reopen_the_dead_letter(self, world: World) -> None:
        transfer = world.put()
        old = run_ending(transfer, State.DEAD_LETTERED)
        await run_close(world.ports, old)
        world.pass_time(60)
        await run_close(world.ports, run_ending(transfer, State.VERIFIED, attempt=1, has_open_dead_letter=True))
        await run_close(world.ports, old)
        assert world.dead_letters.open == {}

    @pytest.mark.parametrize(
        ("state", "kept"), [(State.VERIFIED, False), (State.SUPERSEDED, False), (State.CANCELLED, True)]
    )
    async def test_the_record_of_the_end_is_dropped_unless_cancelled(
        self, world: World, state: State, *, kept: bool
    ) -> None:
        transfer = world.put()
        await world.dead_letters.write_ended(Ended(transfer.id, 0, Ending(State.CANCELLED)))
        await run_close(world.ports, run_ending(transfer, state, attempt=1))
        assert bool(world.dead_letters.ends) is kept

    async def test_the_record_of_a_later_attempt_is_kept(self, world: World) -> None:
        transfer = world.put()
        await world.dead_letters.write_ended(Ended(transfer.id, 2, Ending(State.CANCELLED)))
        await run_close(world.ports, run_ending(transfer, State.VERIFIED, attempt=1))
        assert transfer.id in world.dead_letters.ends

    async def test_a_run_without_an_open_dead_letter_sends_no_request(self, world: World) -> None:
        await run_close(world.ports, run_ending(world.put(), State.CANCELLED))
        assert world.requests == []

    async def test_a_dead_letter_contains_no_sas(self, world: World) -> None:
        transfer = world.put()
        await run_start(world.ports, Run(transfer, NOW))
        await run_close(world.ports, run_ending(transfer, State.DEAD_LETTERED))
        letter = await world.dead_letters.read(transfer.id)
        assert letter is not None
        assert "sig" not in json.dumps(records.record(letter))

    async def test_a_failed_write_is_retryable(self, world: World) -> None:
        world.refuse(DEAD_LETTERS_WRITE, error_for_answer(DEAD_LETTERS_WRITE, 503, "ServerBusy"))
        outcome = await run_close(world.ports, run_ending(world.put(), State.DEAD_LETTERED))
        assert outcome.verdict is Verdict.RETRYABLE
