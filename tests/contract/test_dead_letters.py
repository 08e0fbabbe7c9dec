"""Dead letters and records of ends: which write wins, in memory and in storage."""

import asyncio
import re
from dataclasses import replace
from datetime import timedelta

import pytest

from rules.dead_letters import letters
from rules.dead_letters.letters import Attempt, DeadLetter
from rules.errors import Reason, Retryable
from rules.routes.model import Blob, Pause
from rules.transfers import identity
from rules.transfers.model import Ended, Ending
from rules.transfers.states import State
from tests.contract.helpers import NOW, letter, transfer_id
from tests.contract.worlds import InStorage, World

SOON = NOW + timedelta(minutes=30)
FAILED = State.DEAD_LETTERED


async def listed(world: World) -> list[str]:
    """Return the ids of this test's open dead letters."""
    items, _ = await world.dead_letters.page(identity.route_prefix(world.test), 100, None)
    return [item["id"] for item in items]


class TestWrite:
    """A dead letter is opened."""

    async def test_and_read_back(self, world: World) -> None:
        written = letter(world, name="ü 🎈", detail="ÿ 🎈")
        await world.dead_letters.write(written)
        assert await world.dead_letters.read(written.id) == written
        assert await world.dead_letters.read(transfer_id(world, "another")) is None

    async def test_of_a_message(self, world: World) -> None:
        body = DeadLetter(
            f"message-{world.test:0<24}", {0: Attempt(NOW, NOW, Reason.MALFORMED, "")}, "1", message="e30="
        )
        await world.dead_letters.write(body)
        assert await world.dead_letters.read(body.id) == body

    async def test_of_a_transfer_that_cannot_be_read(self, world: World) -> None:
        """It has neither a route nor a message, and is still listed by its route."""
        written = letters.of_unreadable(transfer_id(world), "the orchestration was Failed: wörds", NOW, "1")
        await world.dead_letters.write(written)
        assert await world.dead_letters.read(written.id) == written
        assert await listed(world) == [written.id]

    async def test_a_repeated_write_changes_nothing(self, world: World) -> None:
        await world.dead_letters.write(letter(world, detail="first"))
        await world.dead_letters.write(letter(world, detail="second"))
        found = await world.dead_letters.read(transfer_id(world))
        assert found is not None
        assert found.detail == "first"

    async def test_of_a_later_attempt_is_merged(self, world: World) -> None:
        await world.dead_letters.write(letter(world, 0))
        await world.dead_letters.write(letter(world, 2))
        found = await world.dead_letters.read(transfer_id(world))
        assert found is not None
        assert sorted(found.attempts) == [0, 2]
        assert await listed(world) == [found.id]

    async def test_of_an_earlier_attempt_changes_nothing(self, world: World) -> None:
        await world.dead_letters.write(letter(world, 1))
        await world.dead_letters.write(letter(world, 0))
        assert await world.dead_letters.read(transfer_id(world)) == letter(world, 1)

    async def test_by_concurrent_writers(self, world: World) -> None:
        await asyncio.gather(*(world.dead_letters.write(letter(world, number)) for number in range(4)))
        found = await world.dead_letters.read(transfer_id(world))
        assert found is not None
        assert found.last_attempt == 3
        assert await listed(world) == [found.id]


class TestResolve:
    """A dead letter is resolved, and kept for audit."""

    async def test_moves_it_out_of_the_list(self, world: World) -> None:
        await world.dead_letters.write(letter(world))
        assert await world.dead_letters.resolve(transfer_id(world), 1, State.VERIFIED, NOW)
        found = await world.dead_letters.read(transfer_id(world))
        assert found == replace(letter(world), resolved_at=NOW, resolved_as=State.VERIFIED)
        assert await listed(world) == []

    async def test_without_an_open_one_returns_false(self, world: World) -> None:
        assert not await world.dead_letters.resolve(transfer_id(world), 0, State.VERIFIED, NOW)
        await world.dead_letters.write(letter(world))
        assert await world.dead_letters.resolve(transfer_id(world), 0, State.VERIFIED, NOW)
        assert not await world.dead_letters.resolve(transfer_id(world), 0, State.CANCELLED, NOW)

    async def test_leaves_a_later_attempt_open(self, world: World) -> None:
        await world.dead_letters.write(letter(world, 2))
        assert not await world.dead_letters.resolve(transfer_id(world), 1, State.VERIFIED, NOW)
        assert await listed(world) == [transfer_id(world)]

    async def test_a_late_write_does_not_reopen_it(self, world: World) -> None:
        await world.dead_letters.write(letter(world, 0))
        await world.dead_letters.resolve(transfer_id(world), 1, State.VERIFIED, SOON)
        await world.dead_letters.write(letter(world, 0))
        assert await listed(world) == []
        await world.dead_letters.write(letter(world, 2))
        found = await world.dead_letters.read(transfer_id(world))
        assert found is not None
        assert (sorted(found.attempts), found.resolved_at) == ([0, 2], None)
        assert await listed(world) == [found.id]

    async def test_of_a_new_history_at_attempt_0(self, world: World) -> None:
        """A transfer whose history was purged starts at attempt 0 again; its dead letter is a new one."""
        await world.dead_letters.write(letter(world, 0))
        await world.dead_letters.resolve(transfer_id(world), 0, State.VERIFIED, SOON)
        anew = replace(letter(world), attempts={0: letter(world, 9).attempts[9]})
        for _ in range(2):
            await world.dead_letters.write(anew)
        found = await world.dead_letters.read(transfer_id(world))
        assert found is not None
        assert sorted(found.attempts) == [0, 1]
        assert await listed(world) == [found.id]

    async def test_beside_a_write_leaves_a_later_attempt_open(self, world: World) -> None:
        await world.dead_letters.write(letter(world, 0))
        await asyncio.gather(
            world.dead_letters.resolve(transfer_id(world), 0, State.VERIFIED, NOW),
            world.dead_letters.write(letter(world, 1)),
        )
        assert await listed(world) == [transfer_id(world)]


class TestPage:
    """The list of open dead letters."""

    async def test_has_the_fields_of_the_list(self, world: World) -> None:
        await world.dead_letters.write(letter(world, 1, name="ü/🎈"))
        items, continuation = await world.dead_letters.page(identity.route_prefix(world.test), 10, None)
        assert continuation is None
        assert items == [
            {
                "id": transfer_id(world, "ü/🎈"),
                "reason": "throttled",
                "hint": Reason.THROTTLED.hint,
                "route": world.test,
                "name": "ü/🎈",
                "etag": "0x1",
                "size": 7,
                "first_failed_at": "2026-11-24T20:02:44.120Z",
                "last_failed_at": "2026-11-24T20:02:44.120Z",
            }
        ]

    async def test_in_order_each_once(self, world: World) -> None:
        for number in range(5):
            await world.dead_letters.write(letter(world, name=str(number)))
        prefix, seen, continuation = identity.route_prefix(world.test), list[str](), None
        while True:
            items, continuation = await world.dead_letters.page(prefix, 2, continuation)
            assert len(items) <= 2
            seen += [item["id"] for item in items]
            if continuation is None:
                break
        assert seen == sorted(transfer_id(world, str(number)) for number in range(5))

    @pytest.mark.parametrize("garbage", ["x", "%%%", "bnVsbA==", "WyJ4IiwgMV0=", "WyIiLCAiYVxuYiJd", "ü", "WyIi"])
    async def test_refuses_an_invalid_continuation(self, world: World, garbage: str) -> None:
        with pytest.raises(ValueError, match="continuation"):
            await world.dead_letters.page("", 2, garbage)

    async def test_refuses_a_continuation_of_another_list(self, world: World) -> None:
        for number in range(2):
            await world.dead_letters.write(letter(world, name=str(number)))
        _, continuation = await world.dead_letters.page(identity.route_prefix(world.test), 1, None)
        assert continuation
        with pytest.raises(ValueError, match="another list"):
            await world.dead_letters.page("0", 1, continuation)


class TestEnded:
    """The record of a transfer's end: the higher rank wins."""

    async def test_is_written_read_and_dropped(self, world: World) -> None:
        ended = Ended(transfer_id(world), 1, Ending(FAILED, Reason.THROTTLED, "wörds"))
        assert await world.dead_letters.read_ended(ended.id) is None
        await world.dead_letters.write_ended(ended)
        assert await world.dead_letters.read_ended(ended.id) == ended
        await world.dead_letters.drop_ended(ended.id, 1)
        assert await world.dead_letters.read_ended(ended.id) is None
        await world.dead_letters.drop_ended(ended.id, 1)

    @pytest.mark.parametrize("attempt", [0, 1])
    async def test_the_same_or_an_earlier_attempt_changes_nothing(self, world: World, attempt: int) -> None:
        ended = Ended(transfer_id(world), 1, Ending(State.CANCELLED))
        await world.dead_letters.write_ended(ended)
        await world.dead_letters.write_ended(Ended(ended.id, attempt, Ending(FAILED, Reason.INTERNAL)))
        assert await world.dead_letters.read_ended(ended.id) == ended

    async def test_of_a_later_attempt_wins_and_is_not_dropped_for_an_earlier_one(self, world: World) -> None:
        later = Ended(transfer_id(world), 2, Ending(State.CANCELLED))
        await world.dead_letters.write_ended(replace(later, attempt=1))
        await world.dead_letters.write_ended(later)
        await world.dead_letters.drop_ended(later.id, 1)
        assert await world.dead_letters.read_ended(later.id) == later

    async def test_of_one_attempt_the_later_execution_wins(self, world: World) -> None:
        """The host failed the first execution, and the app resumed it."""
        first = Ended(transfer_id(world), 1, Ending(FAILED, Reason.THROTTLED, "why"))
        resumed = Ended(first.id, 1, Ending(State.CANCELLED), resumes=2)
        await world.dead_letters.write_ended(first)
        await world.dead_letters.write_ended(resumed)
        assert await world.dead_letters.read_ended(first.id) == resumed

    @pytest.mark.parametrize("late", [(0, 9), (1, 0), (1, 1), (1, 2)])
    async def test_a_late_write_of_no_higher_rank_changes_nothing(self, world: World, late: tuple[int, int]) -> None:
        """Of an earlier attempt, however often resumed; of an earlier execution; or a repeated write."""
        attempt, resumes = late
        ended = Ended(transfer_id(world), 1, Ending(State.CANCELLED), resumes=2)
        await world.dead_letters.write_ended(ended)
        await world.dead_letters.write_ended(Ended(ended.id, attempt, Ending(FAILED, Reason.INTERNAL), resumes=resumes))
        assert await world.dead_letters.read_ended(ended.id) == ended

    @pytest.mark.parametrize(
        ("attempt", "resumes", "stays"),
        [(0, 9, True), (1, 0, True), (1, 1, True), (1, 2, False), (1, 3, False), (2, 0, False)],
    )
    async def test_a_late_drop_of_a_lower_rank_changes_nothing(
        self, world: World, attempt: int, resumes: int, *, stays: bool
    ) -> None:
        """An activity of a failed execution does not drop the record of the resumed one."""
        ended = Ended(transfer_id(world), 1, Ending(State.CANCELLED), resumes=2)
        await world.dead_letters.write_ended(ended)
        await world.dead_letters.drop_ended(ended.id, attempt, resumes)
        assert await world.dead_letters.read_ended(ended.id) == (ended if stays else None)

    async def test_concurrent_executions_of_attempts(self, world: World) -> None:
        ends = [
            Ended(transfer_id(world), attempt, Ending(FAILED), resumes=resumes)
            for attempt in (0, 1)
            for resumes in (0, 3)
        ]
        await asyncio.gather(*map(world.dead_letters.write_ended, reversed(ends)))
        assert await world.dead_letters.read_ended(transfer_id(world)) == ends[-1]

    async def test_by_concurrent_writers(self, world: World) -> None:
        ends = [Ended(transfer_id(world), number, Ending(FAILED)) for number in range(5)]
        await asyncio.gather(*map(world.dead_letters.write_ended, ends))
        assert await world.dead_letters.read_ended(transfer_id(world)) == ends[-1]

    async def test_listed_without_their_detail(self, world: World) -> None:
        ends = [
            Ended(transfer_id(world, str(n)), n, Ending(FAILED, Reason.THROTTLED, "why"), resumes=n) for n in range(3)
        ]
        for ended in ends:
            await world.dead_letters.write_ended(ended)
        found = [ended async for ended in world.dead_letters.list_ended() if ended.id.startswith(ends[0].id[:9])]
        shown = (replace(ended, ending=Ending(FAILED, Reason.THROTTLED), resumes=0) for ended in ends)
        assert found == sorted(shown, key=lambda ended: ended.id)


class TestDiscarded:
    """A discard is marked in the record of the end, so that the sweep needs only the list."""

    async def ended(self, world: World, attempt: int = 0) -> Ended:
        """Write the record of this attempt's end."""
        ended = Ended(transfer_id(world), attempt, Ending(FAILED, Reason.THROTTLED, "why"), resumes=1)
        await world.dead_letters.write_ended(ended)
        return ended

    async def listed(self, world: World) -> list[bool]:
        """Return the marks in the list of ends."""
        return [ended.discarded async for ended in world.dead_letters.list_ended() if ended.id == transfer_id(world)]

    async def discard(self, world: World, attempt: int = 0) -> bool:
        return await world.dead_letters.resolve(transfer_id(world), attempt, letters.DISCARDED, SOON)

    async def test_the_record_is_marked_and_otherwise_unchanged(self, world: World) -> None:
        ended = await self.ended(world)
        await world.dead_letters.write(letter(world))
        assert await self.listed(world) == [False]
        assert await self.discard(world)
        assert await world.dead_letters.read_ended(ended.id) == replace(ended, discarded=True)
        assert await self.listed(world) == [True]
        found = await world.dead_letters.read(ended.id)
        assert found is not None
        assert (found.resolved_as, found.resolved_at) == ("discarded", SOON)
        assert await listed(world) == []

    async def test_another_resolution_marks_nothing(self, world: World) -> None:
        ended = await self.ended(world)
        await world.dead_letters.write(letter(world))
        await world.dead_letters.resolve(ended.id, 0, State.CANCELLED, SOON)
        assert await world.dead_letters.read_ended(ended.id) == ended

    async def test_without_an_open_dead_letter_nothing_is_marked(self, world: World) -> None:
        """The dead letter is missing, and the sweep must write it."""
        ended = await self.ended(world)
        assert not await self.discard(world)
        assert await world.dead_letters.read_ended(ended.id) == ended

    async def test_the_record_of_a_later_attempt_is_not_marked(self, world: World) -> None:
        later = await self.ended(world, attempt=1)
        await world.dead_letters.write(letter(world))
        assert await self.discard(world)
        assert await world.dead_letters.read_ended(later.id) == later

    async def test_a_dead_letter_without_a_record_is_resolved(self, world: World) -> None:
        """Of a message, or of an unreadable transfer."""
        await world.dead_letters.write(letter(world))
        assert await self.discard(world)
        assert await world.dead_letters.read_ended(transfer_id(world)) is None

    async def test_a_repeated_write_of_the_same_end_keeps_the_mark(self, world: World) -> None:
        """Of an activity that ran twice. The next attempt's record undoes it."""
        ended = await self.ended(world)
        await world.dead_letters.write(letter(world))
        await self.discard(world)
        await world.dead_letters.write_ended(ended)
        await world.dead_letters.write(letter(world, detail="late"))
        assert await self.listed(world) == [True]
        assert await listed(world) == []
        await world.dead_letters.write_ended(replace(ended, attempt=1))
        await world.dead_letters.write(letter(world, 1))
        assert await self.listed(world) == [False]
        assert await listed(world) == [ended.id]

    async def test_concurrent_discards_and_a_late_write(self, world: World) -> None:
        await self.ended(world)
        await world.dead_letters.write(letter(world))
        late = world.dead_letters.write(letter(world, detail="late"))
        await asyncio.gather(*(self.discard(world) for _ in range(4)), late)
        assert await self.listed(world) == [True]
        assert await listed(world) == []


class TestStored:
    """Faults of real storage."""

    async def test_a_writer_that_paused_during_a_resolution_withdraws(self, storage: InStorage) -> None:
        """Two writers read; one paused; the other's dead letter was resolved; the first one then withdraws its own."""
        control, match = storage.stack.control, {"operation": "PutBlob", "path": re.escape(transfer_id(storage))}
        rule = control.add_fault(match, {"hold": True})
        paused = asyncio.create_task(storage.dead_letters.write(letter(storage)))
        while not control.faults()[-1]["waiting"]:  # noqa: ASYNC110  # polls the emulator
            await asyncio.sleep(0.01)
        await storage.dead_letters.write(letter(storage, detail="awake"))
        await storage.dead_letters.resolve(transfer_id(storage), 1, State.VERIFIED, NOW)
        control.remove_faults(rule)
        await paused
        assert await listed(storage) == []

    async def test_a_write_without_an_answer_is_retried(self, storage: InStorage) -> None:
        match = {"operation": "PutBlob", "path": re.escape(transfer_id(storage))}
        storage.stack.control.add_fault(match, {"when": "after", "drop": True})
        await storage.dead_letters.write(letter(storage))
        assert await storage.dead_letters.read(transfer_id(storage)) == letter(storage)

    async def test_an_interrupted_resolution_is_completed(self, storage: InStorage) -> None:
        """`resolved/` was written, but `open/` not deleted: the next call deletes it and keeps the first resolution."""
        await storage.dead_letters.write(letter(storage))
        match = {"operation": "DeleteBlob", "path": re.escape(transfer_id(storage))}
        storage.stack.control.add_fault(match, {"status": 403, "code": "AuthorizationFailure"})
        with pytest.raises(Retryable):
            await storage.dead_letters.resolve(transfer_id(storage), 0, State.SUPERSEDED, NOW)
        assert await storage.dead_letters.resolve(transfer_id(storage), 0, State.VERIFIED, NOW)
        found = await storage.dead_letters.read(transfer_id(storage))
        assert found is not None
        assert found.resolved_as == State.SUPERSEDED
        assert await listed(storage) == []

    async def test_an_interrupted_discard_is_repeated(self, storage: InStorage) -> None:
        """The record of the end could not be written, so the dead letter is open until the next discard."""
        ended = Ended(transfer_id(storage), 0, Ending(FAILED, Reason.THROTTLED, "why"))
        await storage.dead_letters.write_ended(ended)
        await storage.dead_letters.write(letter(storage))
        match = {"operation": "PutBlob", "path": f"ended/{re.escape(ended.id)}"}
        storage.stack.control.add_fault(match, {"status": 403, "code": "AuthorizationFailure"})
        with pytest.raises(Retryable):
            await storage.dead_letters.resolve(ended.id, 0, letters.DISCARDED, NOW)
        assert await listed(storage) == [ended.id]
        assert await storage.dead_letters.resolve(ended.id, 0, letters.DISCARDED, SOON)
        assert await storage.dead_letters.read_ended(ended.id) == replace(ended, discarded=True)
        assert await listed(storage) == []

    @pytest.mark.parametrize("content", [b"", b"no JSON", b"[]", b"{}", b'{"id": 1}'])
    async def test_an_unreadable_record_is_retryable(self, storage: InStorage, content: bytes) -> None:
        endpoint = storage.stack.blob_url("sharingstate")
        for folder in ("open", "ended"):
            await storage.put(Blob(endpoint, "dead-letters", f"{folder}/{transfer_id(storage)}.json"), content)
        for read in (
            storage.dead_letters.read(transfer_id(storage)),
            storage.dead_letters.read_ended(transfer_id(storage)),
        ):
            with pytest.raises(Retryable) as failure:
                await read
            assert failure.value.reason is Reason.INTERNAL
        assert await listed(storage) == [transfer_id(storage)]

    async def test_an_unreadable_record_of_an_end_does_not_hide_the_others(self, storage: InStorage) -> None:
        endpoint = storage.stack.blob_url("sharingstate")
        first, last = sorted(transfer_id(storage, str(number)) for number in range(2))
        odd = Blob(endpoint, "dead-letters", f"ended/{first}.json")
        await storage.put(odd, b"{}", metadata={"attempt": "1", "state": "unheard_of"})
        await storage.dead_letters.write_ended(Ended(last, 0, Ending(FAILED)))
        found = [ended.id async for ended in storage.dead_letters.list_ended() if ended.id in {first, last}]
        assert found == [last]

    async def test_a_missing_container_is_an_error(self, storage: InStorage) -> None:
        elsewhere = InStorage(storage.clients, storage.stack)
        elsewhere.dead_letters._records._endpoint = storage.stack.blob_url("sharingsource")  # type: ignore[attr-defined]
        for read in (elsewhere.dead_letters.read(transfer_id(storage)), elsewhere.dead_letters.page("", 1, None)):
            with pytest.raises(Retryable) as failure:
                await read
            assert failure.value.code == "ContainerNotFound"


class TestPauses:
    """Records of paused routes."""

    async def test_a_pause_is_recorded_until_it_is_dropped(self, world: World) -> None:
        assert await world.dead_letters.end_pause(world.test) is None
        await world.dead_letters.note_pause(world.test, NOW)
        await world.dead_letters.note_pause(world.test, SOON)
        assert [name async for name in world.dead_letters.list_pauses() if name == world.test] == [world.test]
        pause = await world.dead_letters.end_pause(world.test)
        assert pause == Pause(world.test, NOW, ending=True)
        assert await world.dead_letters.end_pause(world.test) == pause
        await world.dead_letters.drop_pause(pause)
        await world.dead_letters.drop_pause(pause)
        assert await world.dead_letters.end_pause(world.test) is None

    async def test_a_record_that_is_ending_is_replaced_and_then_not_dropped(self, world: World) -> None:
        await world.dead_letters.note_pause(world.test, NOW)
        ending = await world.dead_letters.end_pause(world.test)
        assert ending is not None
        await world.dead_letters.note_pause(world.test, SOON)
        await world.dead_letters.drop_pause(ending)
        assert await world.dead_letters.end_pause(world.test) == Pause(world.test, SOON, ending=True)

    async def test_concurrent_notes_are_one_record(self, world: World) -> None:
        moments = [NOW + timedelta(seconds=number) for number in range(5)]
        await asyncio.gather(*(world.dead_letters.note_pause(world.test, moment) for moment in moments))
        found = await world.dead_letters.end_pause(world.test)
        assert found is not None
        assert found.since in moments

    async def test_a_pause_is_no_dead_letter_and_no_end(self, world: World) -> None:
        await world.dead_letters.note_pause(world.test, NOW)
        assert await listed(world) == []
        assert await world.dead_letters.read_ended(world.test) is None
