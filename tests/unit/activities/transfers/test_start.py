"""The activity that copies, rule by rule, on the twins: what it asks of storage, and what it says."""

from dataclasses import replace
from datetime import timedelta

import pytest

from activities.transfers.confirm import UNCLEARED
from activities.transfers.start import TIMEOUTS, run_start
from adapters.translation import (
    SOURCE_HEAD,
    SOURCE_TAGS,
    TARGET_ABORT,
    TARGET_CLEAR,
    TARGET_COPY,
    TARGET_HEAD,
    error_for_answer,
    error_for_no_answer,
)
from rules.errors import CANNOT_VERIFY_SOURCE, LookAgain, Reason
from rules.routes.model import Blob, Engine, EnginePreference, Place
from rules.transfers import identity, lifecycle
from rules.transfers.decisions import ECHO, RECEIPT_SOURCE_ETAG, RECEIPT_TRANSFER_ID, CopyStatus, TargetBlob
from rules.transfers.lifecycle import MAX_DETAIL
from rules.transfers.model import Ended, Ending, Kind, Outcome, Run, Step, Successor, Transfer, Verdict
from rules.transfers.policies import MAX_COPY_ATTEMPTS, MAX_LOOKS, SYNC_LIMIT
from rules.transfers.states import State
from tests.fakes import Item
from tests.unit.samples import NAME, NOW, ROUTE
from tests.unit.world import CONTENT, World, with_engine

UNVERIFIED = LookAgain("target.copy", "no", code=CANNOT_VERIFY_SOURCE, status=403)


async def start(world: World, transfer: Transfer, **run: object) -> Outcome:
    """Run the activity for the first run of a transfer, or as the given fields say."""
    return await run_start(world.ports, replace(Run(transfer, NOW), **run))  # type: ignore[arg-type]


async def copied(world: World) -> Transfer:
    """A transfer whose async copy is done, and not confirmed yet."""
    transfer = world.put(kind=Kind.PAGE)
    await start(world, transfer)
    world.storage.finish(transfer.target_blob)
    return transfer


def echo(world: World, content: bytes = CONTENT) -> Transfer:
    """A blob that another route has copied from the target to the source; its content may have been edited since."""
    blob = identity.transfer(ROUTE, NAME, "").target_blob
    etag = world.storage.put(blob, Item(CONTENT))
    here = identity.transfer(ROUTE, NAME, "").source_blob
    return world.put(
        content=content,
        metadata={
            RECEIPT_SOURCE_ETAG: etag,
            RECEIPT_TRANSFER_ID: identity.transfer_id("back", blob.url, etag, here.url),
        },
    )


class TestANewBlob:
    """The path that almost every blob takes."""

    async def test_a_small_one_costs_one_head_one_read_of_the_end_and_one_copy(self, world: World) -> None:
        """Nothing else is asked, the target is not looked at."""
        transfer = world.put()
        outcome = await start(world, transfer)
        assert outcome == Outcome(Verdict.VERIFIED, engine=Engine.SYNC, size=len(CONTENT))
        assert sorted(world.request_names) == ["letters.read", "source.head", "target.copy"]

    async def test_it_arrives_whole_with_its_metadata_and_the_receipt(self, world: World) -> None:
        """A receipt that the source carries itself is replaced, however it is spelled."""
        transfer = world.put(metadata={"Owner": "finance", "Source_ETag": "old", "TRANSFER_ID": "old"})
        await start(world, transfer)
        there = world.at(transfer.target_blob)
        assert there is not None
        assert there.content == CONTENT
        assert there.metadata == {
            "Owner": "finance",
            RECEIPT_SOURCE_ETAG: transfer.etag,
            RECEIPT_TRANSFER_ID: transfer.id,
        }

    async def test_a_large_one_is_begun_and_waited_for(self, world: World) -> None:
        """What `sync` cannot carry, `auto` gives to the service."""
        transfer = world.put(kind=Kind.PAGE)
        outcome = await start(world, transfer)
        assert (outcome.verdict, outcome.engine) == (Verdict.WAITING, Engine.ASYNC)
        assert world.target_writes == ["target.copy"]

    async def test_a_second_run_of_the_same_activity_finds_it_done(self, world: World) -> None:
        """A host that died runs it again: one more attempt at the copy, refused, and one look."""
        transfer = world.put()
        await start(world, transfer)
        outcome = await start(world, transfer)
        assert outcome.verdict is Verdict.VERIFIED
        assert world.storage.blobs[transfer.target_blob].content == CONTENT

    async def test_one_that_was_accepted_before_this_process_began_is_looked_for_first(self, world: World) -> None:
        """A process that was killed may have copied it: no second request to copy is made."""
        transfer = world.put()
        await start(world, transfer)
        world.requests.clear()
        heir = replace(world.ports, started_at=NOW + timedelta(seconds=1))
        assert (await run_start(heir, Run(transfer, NOW))).verdict is Verdict.VERIFIED
        assert "target.copy" not in world.target_writes

    async def test_the_tier_of_the_route_is_set(self) -> None:
        """Not the source's."""
        route = replace(ROUTE, tier="Cool")
        world = World((route,))
        transfer = world.put(tier="Hot")
        await start(world, transfer)
        assert world.storage.blobs[transfer.target_blob].tier == "Cool"

    @pytest.mark.parametrize("kind", [Kind.PAGE, Kind.APPEND])
    async def test_the_tier_of_the_route_is_not_asked_for_where_there_are_none(self, kind: Kind) -> None:
        """Block blobs alone have such tiers; for another kind the service would refuse the copy."""
        world = World((replace(ROUTE, tier="Cool"),))
        transfer = world.put(kind=kind)
        assert (await start(world, transfer)).verdict is Verdict.WAITING

    @pytest.mark.parametrize(
        ("engine", "until"),
        [(EnginePreference.SYNC, timedelta(minutes=30)), (EnginePreference.ASYNC, timedelta(hours=24))],
    )
    async def test_the_sas_lives_as_long_as_the_engine_needs(self, engine: EnginePreference, until: timedelta) -> None:
        """Half an hour for a copy that answers, the deadline for one that is waited for."""
        world = World((with_engine(engine),))
        await start(world, world.put())
        assert [end for _, end in world.storage.signed.values()] == [NOW + until]


class TestTodaysRoutes:
    """An orchestration's input is never trusted on its own."""

    @pytest.mark.parametrize(
        "tampered",
        [
            {"route": "another"},
            {"target": Place("https://attacker.blob.core.windows.net", "target", "out/")},
            {"target": Place(ROUTE.target.endpoint, "target", "elsewhere/")},
            {"source": Place(ROUTE.source.endpoint, "secrets", "in/")},
            {"name": "../secrets/key"},
            {"name": "in/../../other"},
            {"etag": "*"},
            {"id": "37a8eec1-000000000000000000000000"},
        ],
        ids="-".join,
    )
    async def test_tampered_input_is_not_allowed_and_nothing_is_asked(
        self, world: World, tampered: dict[str, object]
    ) -> None:
        """Not one request leaves the app."""
        transfer = replace(world.put(), **tampered)  # type: ignore[arg-type]
        outcome = await start(world, transfer)
        assert (outcome.verdict, outcome.reason) == (Verdict.PERMANENT, Reason.NOT_ALLOWED)
        assert world.requests == []

    async def test_a_route_that_leads_elsewhere_today_stops_what_it_began(self, world: World) -> None:
        """An operator changed the route; the old target gets nothing more."""
        transfer = world.put()
        moved = World((replace(ROUTE, target=replace(ROUTE.target, prefix="new/")),))
        assert (await start(moved, transfer)).reason is Reason.NOT_ALLOWED
        assert moved.requests == []


class TestTheSource:
    """Rule 12, and what a HEAD of the source says."""

    async def test_a_deleted_one_is_superseded_by_its_deletion(self, world: World) -> None:
        """At the second look, after a pause; nothing is copied."""
        transfer = world.put()
        world.storage.remove(transfer.source_blob)
        first = await start(world, transfer)
        assert (first.verdict, first.pause) == (Verdict.GONE, world.ports.times.recheck)
        outcome = await start(world, transfer, gone=True)
        assert (outcome.verdict, outcome.pause) == (Verdict.SUPERSEDED, 0)
        assert outcome.ending == Ending(State.SUPERSEDED, successor=Successor(None))
        assert world.target_writes == []

    async def test_one_that_is_there_at_the_second_look_is_copied(self, world: World) -> None:
        """The first answer was wrong, or came from a replica that was behind."""
        transfer = world.put()
        assert (await start(world, transfer, gone=True)).verdict is Verdict.VERIFIED

    async def test_an_overwritten_one_is_superseded_by_the_newer_version(self, world: World) -> None:
        """It is named."""
        transfer = world.put()
        newer = world.put(content=b"newer")
        outcome = await start(world, transfer)
        assert outcome.ending == Ending(State.SUPERSEDED, successor=Successor(newer.etag))
        assert world.target_writes == []

    async def test_an_append_blob_that_goes_on_growing_says_so(self, world: World) -> None:
        """Its successor may wait a minute."""
        transfer = world.put(kind=Kind.APPEND)
        longer = world.put(content=b"longer", kind=Kind.APPEND)
        outcome = await start(world, transfer)
        assert outcome.ending == Ending(State.SUPERSEDED, successor=Successor(longer.etag, growing=True))

    async def test_one_that_changes_between_look_and_copy_is_never_copied(self, world: World) -> None:
        """The copy is pinned; the look after the refusal tells."""
        transfer = world.put()
        world.before_next(TARGET_COPY, lambda: world.put(content=b"newer"))
        outcome = await start(world, transfer)
        assert outcome.verdict is Verdict.SUPERSEDED
        assert world.at(transfer.target_blob) is None

    async def test_an_archived_one_is_permanent(self, world: World) -> None:
        """Somebody must rehydrate it."""
        outcome = await start(world, world.put(tier="Archive"))
        assert (outcome.verdict, outcome.reason) == (Verdict.PERMANENT, Reason.SOURCE_ARCHIVED)
        assert world.target_writes == []

    async def test_one_that_is_itself_a_pending_copy_is_for_later(self, world: World) -> None:
        """Its bytes are not there yet."""
        first = world.put("in/first", kind=Kind.PAGE)
        chained = replace(ROUTE, name="chained", source=ROUTE.target, target=replace(ROUTE.target, prefix="end/"))
        world.ports = replace(world.ports, routes=(ROUTE, chained))
        await start(world, first)
        pending = world.storage.blobs[first.target_blob]
        outcome = await start(world, identity.transfer(chained, first.target_blob.name, pending.etag))
        assert (outcome.verdict, outcome.reason) == (Verdict.RETRYABLE, Reason.SOURCE_UNREADABLE)

    async def test_a_missing_container_or_a_refusal_is_for_later_never_a_deletion(self, world: World) -> None:
        """Roles take minutes to spread."""
        transfer = world.put()
        for status, code in [(404, "ContainerNotFound"), (403, "AuthorizationPermissionMismatch")]:
            world.refuse(SOURCE_HEAD, error_for_answer(SOURCE_HEAD, status, code), times=1)
            outcome = await start(world, transfer)
            assert (outcome.verdict, outcome.reason) == (Verdict.RETRYABLE, Reason.SOURCE_UNREADABLE)

    async def test_metadata_that_leaves_no_room_for_the_receipt_is_unsupported(self, world: World) -> None:
        """Nothing is copied without its receipt."""
        outcome = await start(world, world.put(metadata={"notes": "x" * 8_150}))
        assert (outcome.verdict, outcome.reason) == (Verdict.PERMANENT, Reason.UNSUPPORTED_BLOB)
        assert "8 KB" in outcome.detail
        assert world.target_writes == []

    async def test_metadata_in_bytes_that_are_not_utf_8_raises_nothing(self, world: World) -> None:
        """They reach us as lone surrogates; the target says whether it can be sent them."""
        outcome = await start(world, world.put(metadata={"title": "caf\udce9"}))
        assert outcome.verdict is Verdict.VERIFIED

    async def test_metadata_with_just_enough_room_is_carried(self, world: World) -> None:
        """The bound is the service's."""
        assert (await start(world, world.put(metadata={"notes": "x" * 8_100}))).verdict is Verdict.VERIFIED


class TestAnEcho:
    """Rule 19: two routes that lead to each other."""

    async def test_costs_one_look_at_the_target_and_no_copy(self, world: World) -> None:
        """Only a source that shows a receipt of the target costs that look."""
        transfer = echo(world)
        outcome = await start(world, transfer)
        assert outcome == Outcome(Verdict.SUPERSEDED, ending=Ending(State.SUPERSEDED, detail=ECHO), size=len(CONTENT))
        assert sorted(world.request_names) == ["letters.read", "source.head", "target.head"]

    async def test_that_was_edited_is_copied_after_a_look_in_the_right_order(self, world: World) -> None:
        """Target first, source second: what was read the other way round is not acted upon."""
        transfer = echo(world, b"edited")
        assert (await start(world, transfer)).verdict is Verdict.VERIFIED
        looks = [name for name in world.request_names if name.endswith((".head", ".copy"))]
        assert looks == ["source.head", "target.head", "target.head", "source.head", "target.copy"]
        assert world.storage.blobs[transfer.target_blob].content == b"edited"

    async def test_whose_target_is_gone_is_not_copied_back(self, world: World) -> None:
        """A deletion on one side is not undone by the other."""
        transfer = echo(world)
        world.storage.remove(transfer.target_blob)
        assert (await start(world, transfer)).ending == Ending(State.SUPERSEDED, detail=ECHO)
        assert world.target_writes == []

    async def test_of_metadata_that_only_looks_like_a_receipt_is_copied(self, world: World) -> None:
        """A blob that was shared from elsewhere is handed on."""
        transfer = world.put(
            metadata={RECEIPT_SOURCE_ETAG: "0x1", RECEIPT_TRANSFER_ID: "37a8eec1-69dbf36083ff9fc45dab5d50"}
        )
        assert (await start(world, transfer)).verdict is Verdict.VERIFIED
        assert "target.head" not in world.request_names


class TestTheTarget:
    """Rules 1 and 2: target first, source second, act third."""

    async def test_a_blob_without_receipt_is_overwritten_under_its_etag(self, world: World) -> None:
        """The prefix belongs to the route."""
        transfer = world.put()
        world.put_copy(replace(transfer, etag="0xOLD"), b"older")
        outcome = await start(world, transfer)
        assert outcome.verdict is Verdict.VERIFIED
        assert world.request_names == [
            *["source.head", "letters.read", "target.copy"],
            *["target.head", "source.head", "letters.read", "target.copy"],
        ]
        assert world.storage.blobs[transfer.target_blob].content == CONTENT

    async def test_what_holds_the_version_already_is_confirmed_and_not_copied(self, world: World) -> None:
        """A late duplicate, even with an empty task hub: one look, no copy."""
        transfer = world.put()
        world.put_copy(transfer)
        outcome = await start(world, transfer, first=False)
        assert outcome == Outcome(Verdict.VERIFIED, size=len(CONTENT))
        assert world.request_names == ["target.head", "source.head", "letters.read"]

    async def test_whoevers_transfer_wrote_it(self, world: World) -> None:
        """A receipt counts by version and size."""
        transfer = world.put()
        world.put_copy(replace(transfer, id="00000000-000000000000000000000000"))
        assert (await start(world, transfer, first=False)).verdict is Verdict.VERIFIED
        assert world.target_writes == []

    async def test_a_receipt_on_a_blob_of_another_size_does_not_count(self, world: World) -> None:
        """Somebody set its properties after a failed copy."""
        transfer = world.put()
        world.put_copy(transfer, b"")
        assert (await start(world, transfer, first=False)).verdict is Verdict.VERIFIED
        assert world.target_writes == ["target.copy"]
        assert world.storage.blobs[transfer.target_blob].content == CONTENT

    async def test_a_pending_copy_of_this_version_is_waited_for_whoevers_it_is(self, world: World) -> None:
        """Two transfers of one version would abort each other for ever."""
        transfer = world.put(kind=Kind.PAGE)
        await start(world, transfer)
        renamed = replace(ROUTE, name="renamed")
        world.ports = replace(world.ports, routes=(renamed,))
        outcome = await start(world, identity.transfer(renamed, NAME, transfer.etag))
        assert outcome.verdict is Verdict.WAITING
        assert world.target_writes == ["target.copy", "target.copy"]

    async def test_a_pending_copy_of_another_version_is_aborted_and_replaced(self, world: World) -> None:
        """Only once the source was seen to be ours."""
        old = world.put(kind=Kind.PAGE)
        await start(world, old)
        new = world.put(content=b"newer", kind=Kind.PAGE)
        outcome = await start(world, new)
        assert (outcome.verdict, outcome.began) == (Verdict.WAITING, True)
        assert world.target_writes == ["target.copy", "target.copy", "target.abort", "target.copy"]
        world.storage.finish(new.target_blob)
        assert world.storage.blobs[new.target_blob].content == b"newer"

    async def test_an_older_version_never_aborts_a_newer_one(self, world: World) -> None:
        """It sees that the source is no longer its own."""
        old = world.put(kind=Kind.PAGE)
        new = world.put(content=b"newer", kind=Kind.PAGE)
        await start(world, new)
        outcome = await start(world, old, first=False)
        assert outcome.verdict is Verdict.SUPERSEDED
        assert world.target_writes == ["target.copy"]

    async def test_an_abort_that_came_too_late_is_followed_by_another_look(self, world: World) -> None:
        """Whatever it answers, the next look tells."""
        old = world.put(kind=Kind.PAGE)
        await start(world, old)
        new = world.put(content=b"newer", kind=Kind.PAGE)
        world.before_next(TARGET_ABORT, lambda: world.storage.fail(old.target_blob, "too late"))
        assert (await start(world, new, first=False)).began

    async def test_an_async_copy_that_is_done_is_confirmed_and_its_source_url_cleared(self, world: World) -> None:
        """Its properties show the SAS."""
        transfer = world.put(kind=Kind.PAGE, headers={"content_type": "image/png"})
        await start(world, transfer)
        world.storage.finish(transfer.target_blob)
        outcome = await start(world, transfer, first=False)
        assert outcome.verdict is Verdict.VERIFIED
        there = world.storage.blobs[transfer.target_blob]
        assert (there.copy, there.headers) == (None, {"content_type": "image/png"})
        assert there.metadata[RECEIPT_SOURCE_ETAG] == transfer.etag

    async def test_one_whose_source_url_shows_no_signature_is_left_as_it_is(self, world: World) -> None:
        """There is nothing to hide: no request, and no new ETag."""
        transfer = await copied(world)
        head = world.target.head

        async def unsigned(blob: Blob) -> TargetBlob | None:
            seen = await head(blob)
            return replace(seen, shows_sas=False) if seen else None

        world.target.head = unsigned  # type: ignore[method-assign]
        assert await start(world, transfer, first=False) == Outcome(Verdict.VERIFIED, size=len(CONTENT))
        assert world.target_writes == ["target.copy"]

    async def test_one_that_somebody_changed_before_it_was_cleared_is_verified_all_the_same(self, world: World) -> None:
        """A 412 is fine: the change has cleared it."""
        transfer = world.put(kind=Kind.PAGE)
        await start(world, transfer)
        world.storage.finish(transfer.target_blob)
        world.refuse(TARGET_CLEAR, error_for_answer(TARGET_CLEAR, 412, "ConditionNotMet"))
        assert await start(world, transfer, first=False) == Outcome(Verdict.VERIFIED, size=len(CONTENT))
        assert world.target_writes.count("target.clear") == 1

    @pytest.mark.parametrize("code", ["LeaseIdMissing", "BlobImmutableDueToPolicy", "AuthorizationPermissionMismatch"])
    async def test_one_that_cannot_be_cleared_is_verified_with_a_note(self, world: World, code: str) -> None:
        """The receipt is the verdict; a lease, a policy or a role keeps the copy's properties where they are."""
        transfer = await copied(world)
        world.refuse(TARGET_CLEAR, error_for_answer(TARGET_CLEAR, 409, code))
        outcome = await start(world, transfer, first=False)
        assert (outcome.verdict, outcome.size) == (Verdict.VERIFIED, len(CONTENT))
        assert outcome.note.startswith(UNCLEARED)
        assert code in outcome.note
        assert world.target_writes.count("target.clear") == 1

    async def test_a_busy_service_while_it_clears_is_for_later(self, world: World) -> None:
        """It will be less busy."""
        transfer = await copied(world)
        world.refuse(TARGET_CLEAR, error_for_answer(TARGET_CLEAR, 503, "ServerBusy"))
        outcome = await start(world, transfer, first=False)
        assert (outcome.verdict, outcome.reason) == (Verdict.RETRYABLE, Reason.THROTTLED)

    async def test_a_clearing_that_was_not_answered_is_looked_at_again(self, world: World) -> None:
        """It had happened: nothing is left to say."""
        transfer = await copied(world)
        world.lose_answer(TARGET_CLEAR)
        assert await start(world, transfer, first=False) == Outcome(Verdict.VERIFIED, size=len(CONTENT))
        assert world.target_writes.count("target.clear") == 1

    async def test_one_whose_clearing_is_never_answered_is_verified_with_a_note(self, world: World) -> None:
        """Eight looks showed it whole."""
        transfer = await copied(world)
        world.refuse(TARGET_CLEAR, error_for_no_answer(TARGET_CLEAR))
        outcome = await start(world, transfer, first=False)
        assert (outcome.verdict, outcome.size) == (Verdict.VERIFIED, len(CONTENT))
        assert outcome.note.startswith(UNCLEARED)
        assert world.target_writes.count("target.clear") == MAX_LOOKS

    async def test_one_that_was_whole_and_is_no_more_is_not_verified_for_it(self, world: World) -> None:
        """Only what the last look showed counts."""
        transfer = await copied(world)
        world.before_next(
            TARGET_CLEAR, lambda: world.storage.put(transfer.target_blob, Item(b"theirs", kind=Kind.PAGE))
        )
        world.refuse(TARGET_CLEAR, error_for_no_answer(TARGET_CLEAR))
        world.refuse(TARGET_COPY, error_for_no_answer(TARGET_COPY))
        assert (await start(world, transfer, first=False)).verdict is Verdict.RETRYABLE

    async def test_after_eight_copies_it_begins_no_ninth(self, world: World) -> None:
        """Somebody else writes the target for ever: a person must stop them."""
        transfer = world.put()
        run = Run(transfer, NOW, first=False, copy_attempts=MAX_COPY_ATTEMPTS)
        outcome = await run_start(world.ports, run)
        assert (outcome.verdict, outcome.reason) == (Verdict.RETRYABLE, Reason.TARGET_CONFLICT)
        assert outcome.detail == "copied 8 times, but another writer always replaced it"
        assert world.target_writes == []
        given_up = lifecycle.advance(run, outcome, NOW)
        assert given_up.step is Step.RECORD
        assert given_up.ending is not None
        assert (given_up.ending.state, given_up.ending.detail) == (State.DEAD_LETTERED, outcome.detail)

    async def test_what_the_eighth_copy_made_is_verified(self, world: World) -> None:
        """Only another copy is refused."""
        transfer = world.put()
        world.put_copy(transfer)
        assert (await start(world, transfer, first=False, copy_attempts=MAX_COPY_ATTEMPTS)).verdict is Verdict.VERIFIED

    async def test_a_missing_container_is_permanent(self, world: World) -> None:
        """Nobody creates it by waiting."""
        transfer = world.put()
        world.storage.containers.remove((ROUTE.target.endpoint, ROUTE.target.container))
        outcome = await start(world, transfer)
        assert (outcome.verdict, outcome.reason) == (Verdict.PERMANENT, Reason.TARGET_UNWRITABLE)

    async def test_a_lease_is_for_later_and_the_detail_says_so(self, world: World) -> None:
        """Somebody else's hold is not ours to break."""
        transfer = world.put()
        world.put_copy(replace(transfer, etag="0xOLD"), b"older")
        world.storage.lease(transfer.target_blob)
        outcome = await start(world, transfer, first=False)
        assert (outcome.verdict, outcome.reason) == (Verdict.RETRYABLE, Reason.TARGET_CONFLICT)
        assert "another client holds a lease" in outcome.detail
        assert world.target_writes == ["target.copy"]

    async def test_whatever_goes_wrong_the_versions_size_is_told(self, world: World) -> None:
        """Without it, who cleans up later could not tell a whole blob from a half-made one."""
        transfer = world.put()
        world.lose_answer(TARGET_COPY)
        world.refuse(TARGET_HEAD, error_for_answer(TARGET_HEAD, 503, "ServerBusy"))
        outcome = await start(world, transfer)
        assert (outcome.verdict, outcome.size) == (Verdict.RETRYABLE, len(CONTENT))


class TestTheWindow:
    """An act is sent only while what it is based on is young."""

    @pytest.mark.parametrize("request_", [SOURCE_HEAD, TARGET_HEAD])
    async def test_what_was_read_too_long_ago_is_read_again(self, world: World, request_: object) -> None:
        """A worker that slept between look and act does not act."""
        transfer = world.put()
        world.before_next(request_, lambda: world.pass_time(16))  # type: ignore[arg-type]
        outcome = await start(world, transfer, first=False)
        assert outcome.verdict is Verdict.VERIFIED
        assert world.request_names.count("source.head") == 2
        assert world.target_writes == ["target.copy"]

    async def test_an_abort_is_based_on_a_young_look_too(self, world: World) -> None:
        """A worker that slept might abort a copy that somebody has begun meanwhile."""
        old = world.put(kind=Kind.PAGE)
        await start(world, old)
        new = world.put(content=b"newer", kind=Kind.PAGE)
        world.requests.clear()
        world.before_next(SOURCE_HEAD, lambda: world.pass_time(16))
        assert (await start(world, new, first=False)).began
        assert world.request_names[: world.request_names.index("target.abort")].count("source.head") == 2
        assert world.target_writes == ["target.abort", "target.copy"]

    async def test_looks_that_take_too_long_are_left_for_later_before_the_eighth(self, world: World) -> None:
        """The host ends a function that lasts too long, and its worker's others with it: three timeouts are enough."""
        transfer = world.put()
        slow = world.ports.times.timeout + 1
        world.faults.append(lambda request, _: world.pass_time(slow) if request == SOURCE_HEAD else None)
        outcome = await start(world, transfer)
        assert (outcome.verdict, outcome.reason) == (Verdict.RETRYABLE, Reason.TARGET_CONFLICT)
        assert world.request_names.count("source.head") == TIMEOUTS
        assert world.target_writes == []

    async def test_just_inside_it_acts(self, world: World) -> None:
        """15 seconds."""
        transfer = world.put()
        world.before_next(SOURCE_HEAD, lambda: world.pass_time(15))
        await start(world, transfer)
        assert world.request_names.count("source.head") == 1

    async def test_a_world_that_is_always_too_slow_is_left_for_later(self, world: World) -> None:
        """Eight looks, no act."""
        transfer = world.put()
        world.faults.append(lambda request, _: world.pass_time(16) if request == SOURCE_HEAD else None)
        outcome = await start(world, transfer)
        assert outcome.verdict is Verdict.RETRYABLE
        assert world.target_writes == []


class TestNoAnswer:
    """Nobody knows what happened: look, never guess."""

    async def test_a_copy_that_happened_though_its_answer_was_lost_is_found(self, world: World) -> None:
        """One copy, one look."""
        transfer = world.put()
        world.lose_answer(TARGET_COPY)
        outcome = await start(world, transfer)
        assert outcome.verdict is Verdict.VERIFIED
        assert world.target_writes == ["target.copy", "target.clear"]

    async def test_a_copy_that_did_not_happen_is_made(self, world: World) -> None:
        """A look shows nothing there; the second request makes it."""
        transfer = world.put()
        world.refuse(TARGET_COPY, error_for_no_answer(TARGET_COPY), times=1)
        assert (await start(world, transfer)).verdict is Verdict.VERIFIED
        assert world.target_writes == ["target.copy", "target.copy"]

    async def test_an_async_copy_whose_answer_was_lost_is_waited_for(self, world: World) -> None:
        """It is pending and it is of this version."""
        transfer = world.put(kind=Kind.PAGE)
        world.lose_answer(TARGET_COPY)
        assert (await start(world, transfer)).verdict is Verdict.WAITING
        assert world.target_writes == ["target.copy"]

    async def test_without_any_answer_it_is_for_later_after_eight_looks(self, world: World) -> None:
        """Bounded work."""
        transfer = world.put()
        world.refuse(TARGET_COPY, error_for_no_answer(TARGET_COPY))
        outcome = await start(world, transfer)
        assert outcome.verdict is Verdict.RETRYABLE
        assert world.target_writes == ["target.copy"] * MAX_LOOKS


REFUSALS = [
    (409, "BlobUsesCustomerSpecifiedEncryption", Reason.UNSUPPORTED_BLOB),
    (409, "FeatureNotYetSupportedForHierarchicalNamespaceAccounts", Reason.UNSUPPORTED_BLOB),
    (409, "OperationNotAllowedInCurrentState", Reason.UNSUPPORTED_BLOB),
    (400, "OperationNotSupportedOnDirectory", Reason.TARGET_CONFLICT),
    (409, "BlobOperationNotSupported", Reason.UNSUPPORTED_BLOB),
    (400, "BlobTypeNotSupported", Reason.UNSUPPORTED_BLOB),
    (400, "BlobAccessTierNotSupportedForAccountType", Reason.TARGET_UNWRITABLE),
    (409, "InvalidBlobType", Reason.TARGET_CONFLICT),
    (409, "SomethingNew", Reason.UNSUPPORTED_BLOB),
    (412, "SomethingNew", Reason.UNSUPPORTED_BLOB),
    (400, "SomethingNew", Reason.UNSUPPORTED_BLOB),
    (405, "", Reason.UNSUPPORTED_BLOB),
]


class TestARefusal:
    """A code that does not mean "changed" is a refusal of this blob as soon as a look finds nothing changed."""

    @pytest.mark.parametrize(("status", "code", "reason"), REFUSALS)
    async def test_of_a_copy_is_permanent_after_one_act_and_two_looks(
        self, world: World, status: int, code: str, reason: Reason
    ) -> None:
        """The detail has the service's code."""
        transfer = world.put()
        world.refuse(TARGET_COPY, error_for_answer(TARGET_COPY, status, code))
        outcome = await start(world, transfer)
        assert (outcome.verdict, outcome.reason) == (Verdict.PERMANENT, reason)
        assert f"{status} {code}".strip() in outcome.detail
        assert world.target_writes == ["target.copy"]
        assert world.request_names.count("source.head") <= 2

    async def test_of_a_copy_over_another_blob_too(self, world: World) -> None:
        """What is there is what was there."""
        transfer = world.put()
        world.put_copy(replace(transfer, etag="0xOLD"), b"older")
        world.refuse(TARGET_COPY, error_for_answer(TARGET_COPY, 409, "SomethingNew"))
        outcome = await start(world, transfer, first=False)
        assert (outcome.verdict, world.target_writes) == (Verdict.PERMANENT, ["target.copy"])

    async def test_is_not_final_where_the_target_changed(self, world: World) -> None:
        """The blind first copy met a blob; the next one is conditional on it."""
        transfer = world.put()
        world.put_copy(replace(transfer, etag="0xOLD"), b"older")
        world.refuse(TARGET_COPY, error_for_answer(TARGET_COPY, 409, "SomethingNew"), times=1)
        assert (await start(world, transfer)).verdict is Verdict.VERIFIED
        assert world.target_writes == ["target.copy", "target.copy"]

    async def test_is_not_final_where_the_source_changed(self, world: World) -> None:
        """It is superseded."""
        transfer = world.put()
        world.refuse(TARGET_COPY, error_for_answer(TARGET_COPY, 409, "SomethingNew"), times=1)
        world.before_next(TARGET_COPY, lambda: world.put(content=b"newer"))
        assert (await start(world, transfer)).verdict is Verdict.SUPERSEDED

    async def test_of_an_abort_is_permanent_while_the_same_copy_is_pending(self, world: World) -> None:
        """One abort, two looks."""
        old = world.put(kind=Kind.PAGE)
        await start(world, old)
        new = world.put(content=b"newer")
        world.requests.clear()
        world.refuse(TARGET_ABORT, error_for_answer(TARGET_ABORT, 409, "SomethingNew"))
        outcome = await start(world, new, first=False)
        assert (outcome.verdict, outcome.reason) == (Verdict.PERMANENT, Reason.UNSUPPORTED_BLOB)
        assert "target.abort: 409 SomethingNew" in outcome.detail
        assert world.target_writes == ["target.abort"]

    async def test_of_a_clearing_is_a_note(self, world: World) -> None:
        """At once: the version is there."""
        transfer = await copied(world)
        world.refuse(TARGET_CLEAR, error_for_answer(TARGET_CLEAR, 409, "SomethingNew"))
        outcome = await start(world, transfer, first=False)
        assert (outcome.verdict, world.target_writes.count("target.clear")) == (Verdict.VERIFIED, 1)
        assert "409 SomethingNew" in outcome.note

    async def test_of_a_look_at_a_blob_with_a_key_of_its_owners_is_permanent(self, world: World) -> None:
        """The app cannot even see it."""
        world.refuse(SOURCE_HEAD, error_for_answer(SOURCE_HEAD, 409, "BlobUsesCustomerSpecifiedEncryption"))
        outcome = await start(world, world.put())
        assert (outcome.verdict, outcome.reason) == (Verdict.PERMANENT, Reason.UNSUPPORTED_BLOB)
        assert world.request_names.count("source.head") == 1


class TestEngines:
    """Rule 16: which engine, and when the other one is asked."""

    async def test_auto_asks_the_other_engine_once_where_the_target_cannot_read_the_source(self, world: World) -> None:
        """A firewall may let one in and not the other."""
        transfer = world.put()
        world.refuse(TARGET_COPY, UNVERIFIED, times=1)
        outcome = await start(world, transfer)
        assert (outcome.verdict, outcome.engine) == (Verdict.WAITING, Engine.ASYNC)
        assert world.target_writes == ["target.copy", "target.copy"]

    @pytest.mark.parametrize("status", [401, 403, 404, 409])
    async def test_a_source_that_is_refused_to_one_engine_is_tried_by_the_other(
        self, world: World, status: int
    ) -> None:
        """Whatever status the refusal has."""
        transfer = world.put()
        world.refuse(TARGET_COPY, error_for_answer(TARGET_COPY, status, CANNOT_VERIFY_SOURCE), times=1)
        assert (await start(world, transfer)).engine is Engine.ASYNC
        assert world.target_writes == ["target.copy", "target.copy"]

    @pytest.mark.parametrize("status", [408, 429, 500, 503])
    async def test_a_source_that_is_busy_is_for_later_by_the_same_engine(self, world: World, status: int) -> None:
        """The other one would not help: it would empty the target and make the source busier still."""
        transfer = world.put()
        world.refuse(TARGET_COPY, error_for_answer(TARGET_COPY, status, CANNOT_VERIFY_SOURCE), times=1)
        outcome = await start(world, transfer)
        assert (outcome.verdict, outcome.reason) == (Verdict.RETRYABLE, Reason.THROTTLED)
        assert world.target_writes == ["target.copy"]

    async def test_refused_by_both_it_is_for_later_and_each_was_asked_once(self, world: World) -> None:
        """The detail names both."""
        transfer = world.put()
        world.refuse(TARGET_COPY, UNVERIFIED)
        outcome = await start(world, transfer)
        assert (outcome.verdict, outcome.reason) == (Verdict.RETRYABLE, Reason.SOURCE_UNREADABLE)
        assert "async, sync" in outcome.detail
        assert world.target_writes == ["target.copy", "target.copy"]

    @pytest.mark.parametrize("engine", [EnginePreference.SYNC, EnginePreference.ASYNC])
    async def test_a_forced_engine_never_falls_back(self, engine: EnginePreference) -> None:
        """Who forces `sync` does not want a target emptied."""
        world = World((with_engine(engine),))
        transfer = world.put()
        world.refuse(TARGET_COPY, UNVERIFIED)
        outcome = await start(world, transfer)
        assert (outcome.verdict, outcome.reason) == (Verdict.RETRYABLE, Reason.SOURCE_UNREADABLE)
        assert world.target_writes == ["target.copy"]

    async def test_a_blob_that_sync_cannot_carry_is_not_tried_by_async_after_all(self, world: World) -> None:
        """What only `async` can carry has no other engine."""
        transfer = world.put(kind=Kind.APPEND)
        world.refuse(TARGET_COPY, UNVERIFIED)
        assert (await start(world, transfer)).reason is Reason.SOURCE_UNREADABLE
        assert world.target_writes == ["target.copy"]

    @pytest.mark.parametrize("kind", [Kind.PAGE, Kind.APPEND])
    async def test_a_forced_sync_that_cannot_carry_the_blob_is_unsupported(self, kind: Kind) -> None:
        """Said at once, nothing is copied."""
        world = World((with_engine(EnginePreference.SYNC),))
        outcome = await start(world, world.put(kind=kind))
        assert (outcome.verdict, outcome.reason) == (Verdict.PERMANENT, Reason.UNSUPPORTED_BLOB)
        assert world.target_writes == []

    def test_the_bound_of_sync_is_256_mib(self) -> None:
        """The service's own."""
        assert SYNC_LIMIT == 256 * 1024 * 1024


class TestTags:
    """Rule 18: index tags, where both sides allow."""

    async def test_they_are_carried(self, world: World) -> None:
        """One more request, and only for a blob that has some."""
        transfer = world.put(tags={"team": "a"})
        outcome = await start(world, transfer)
        assert outcome.note == ""
        assert world.storage.blobs[transfer.target_blob].tags == {"team": "a"}
        assert world.request_names.count("source.tags") == 1

    async def test_refused_by_the_target_it_is_copied_without_and_the_note_says_so(self, world: World) -> None:
        """A refusal for tags alone is no failure."""
        world.target.may_write_tags = False
        transfer = world.put(tags={"team": "a"})
        outcome = await start(world, transfer)
        assert (outcome.verdict, outcome.engine) == (Verdict.VERIFIED, Engine.SYNC)
        assert outcome.note == (
            "index tags were not copied: the target's account refused them "
            "(403 AuthorizationPermissionMismatch: the app's access is refused)"
        )
        assert world.storage.blobs[transfer.target_blob].tags == {}
        assert world.target_writes == ["target.copy", "target.copy"]

    @pytest.mark.parametrize(
        ("status", "code"),
        [
            (400, "InvalidTag"),
            (403, "AuthorizationFailure"),
            (403, "InsufficientAccountPermissions"),
            (409, "BlobImmutableDueToPolicy"),
            (400, "FeatureNotSupportedForAccount"),
            (409, "FeatureNotYetSupportedForHierarchicalNamespaceAccounts"),
        ],
    )
    async def test_whatever_refuses_a_copy_with_them_it_is_tried_once_without(
        self, world: World, status: int, code: str
    ) -> None:
        """A role of its own, a hierarchical namespace, an old account: the refusals of tags are many."""
        transfer = world.put(tags={"team": "a"})
        world.refuse(TARGET_COPY, error_for_answer(TARGET_COPY, status, code), times=1)
        outcome = await start(world, transfer)
        assert outcome.verdict is Verdict.VERIFIED
        assert outcome.note.startswith("index tags were not copied: the target's account refused them")
        assert code in outcome.note
        assert world.storage.blobs[transfer.target_blob].tags == {}
        assert world.target_writes == ["target.copy", "target.copy"]

    async def test_a_busy_service_is_no_reason_to_leave_them_out(self, world: World) -> None:
        """Later, with them."""
        transfer = world.put(tags={"team": "a"})
        world.refuse(TARGET_COPY, error_for_answer(TARGET_COPY, 503, "ServerBusy"), times=1)
        assert (await start(world, transfer)).reason is Reason.THROTTLED
        assert world.target_writes == ["target.copy"]

    async def test_no_answer_is_no_reason_to_leave_them_out(self, world: World) -> None:
        """Looked at again, and copied with them."""
        transfer = world.put(tags={"team": "a"})
        world.refuse(TARGET_COPY, error_for_no_answer(TARGET_COPY), times=1)
        assert (await start(world, transfer)).note == ""
        assert world.storage.blobs[transfer.target_blob].tags == {"team": "a"}

    async def test_not_readable_at_the_source_it_is_copied_without_and_the_note_says_so(self, world: World) -> None:
        """Asked once."""
        world.source.may_read_tags = False
        transfer = world.put(tags={"team": "a"})
        outcome = await start(world, transfer)
        assert outcome.verdict is Verdict.VERIFIED
        assert outcome.note == "index tags were not copied: the app may not read them at the source"
        assert world.target_writes == ["target.copy"]

    async def test_a_refusal_of_a_copy_without_tags_is_a_failure(self, world: World) -> None:
        """There is nothing to leave out."""
        transfer = world.put()
        world.refuse(TARGET_COPY, error_for_answer(TARGET_COPY, 403, "AuthorizationPermissionMismatch"))
        outcome = await start(world, transfer)
        assert outcome.verdict in {Verdict.RETRYABLE, Verdict.PERMANENT}
        assert outcome.reason is Reason.TARGET_UNWRITABLE
        assert world.target_writes == ["target.copy"]

    async def test_a_role_that_lacks_everything_costs_one_more_copy_and_is_then_a_failure(self, world: World) -> None:
        """The same code refuses tags and copies: without tags it is plain."""
        transfer = world.put(tags={"team": "a"})
        world.refuse(TARGET_COPY, error_for_answer(TARGET_COPY, 403, "AuthorizationPermissionMismatch"))
        outcome = await start(world, transfer)
        assert outcome.reason is Reason.TARGET_UNWRITABLE
        assert world.target_writes == ["target.copy", "target.copy"]

    async def test_throttled_while_reading_them_is_for_later(self, world: World) -> None:
        """Not without tags, then: later, with them."""
        transfer = world.put(tags={"team": "a"})
        world.refuse(SOURCE_TAGS, error_for_answer(SOURCE_TAGS, 503, "ServerBusy"))
        assert (await start(world, transfer)).reason is Reason.THROTTLED
        assert world.target_writes == []


class TestTheEnd:
    """Rule 5: who acts for an attempt that ended stops."""

    @pytest.mark.parametrize("state", [State.CANCELLED, State.DEAD_LETTERED])
    async def test_an_ended_attempt_acts_no_more(self, world: World, state: State) -> None:
        """A late activity, a lost race, a duplicate after the history is gone."""
        transfer = world.put()
        await world.dead_letters.write_ended(Ended(transfer.id, 0, Ending(state, Reason.THROTTLED, "503")))
        outcome = await start(world, transfer)
        assert (outcome.verdict, outcome.ending) == (Verdict.ENDED, Ending(state, Reason.THROTTLED, "503"))
        assert world.target_writes == []

    async def test_a_newer_attempt_acts(self, world: World) -> None:
        """A replay."""
        transfer = world.put()
        await world.dead_letters.write_ended(Ended(transfer.id, 0, Ending(State.CANCELLED)))
        assert (await start(world, transfer, attempt=1)).verdict is Verdict.VERIFIED

    async def test_an_end_that_is_recorded_while_it_looks_is_seen_by_the_next_look(self, world: World) -> None:
        """It is read beside each HEAD of the source."""
        transfer = world.put()
        ended = Ended(transfer.id, 0, Ending(State.CANCELLED))
        world.refuse(TARGET_COPY, error_for_no_answer(TARGET_COPY), times=1)
        world.before_next(TARGET_COPY, lambda: world.dead_letters.ends.update({transfer.id: ended}))
        outcome = await start(world, transfer)
        assert outcome.ending == Ending(State.CANCELLED)
        assert world.target_writes == ["target.copy"]


async def test_a_failed_copy_is_begun_again_over_what_it_left(world: World) -> None:
    """An empty blob with our metadata is no receipt."""
    transfer = world.put(kind=Kind.PAGE)
    await start(world, transfer)
    world.storage.fail(transfer.target_blob, "500 InternalError")
    assert world.storage.blobs[transfer.target_blob].copy.status is CopyStatus.FAILED  # type: ignore[union-attr]
    assert (await start(world, transfer, first=False)).verdict is Verdict.WAITING
    assert world.target_writes == ["target.copy", "target.copy"]


class TestAnUnfinishedUpload:
    """A target that no look shows, and that exists all the same."""

    TAKEN = error_for_answer(TARGET_COPY, 409, "BlobAlreadyExists")

    @pytest.mark.parametrize(("first", "acts"), [(True, 3), (False, 2)])
    async def test_is_told_after_two_looks_that_show_nothing(self, world: World, acts: int, *, first: bool) -> None:
        """Not after ten minutes of tries; with what it may be and what to do. A blind first copy proves nothing."""
        transfer = world.put()
        world.refuse(TARGET_COPY, self.TAKEN)
        outcome = await start(world, transfer, first=first)
        assert (outcome.verdict, outcome.reason) == (Verdict.PERMANENT, Reason.TARGET_CONFLICT)
        assert "409 BlobAlreadyExists" in outcome.detail
        assert "started an upload" in outcome.detail
        assert len(f"target.copy: {outcome.detail}") < MAX_DETAIL
        assert world.target_writes == ["target.copy"] * acts
        assert world.request_names.count("target.head") == 2

    async def test_is_none_where_it_happens_once(self, world: World) -> None:
        """Somebody wrote and deleted between the look and the copy."""
        transfer = world.put()
        world.refuse(TARGET_COPY, self.TAKEN, times=1)
        assert (await start(world, transfer, first=False)).verdict is Verdict.VERIFIED

    async def test_is_none_where_a_blob_was_seen_in_between(self, world: World) -> None:
        """Only twice in a row is no race: absent and taken, there and changed, absent and taken, absent."""
        transfer = world.put()
        for refusal in (self.TAKEN, error_for_answer(TARGET_COPY, 412, "ConditionNotMet"), self.TAKEN):
            world.refuse(TARGET_COPY, refusal, times=1)

        def appear() -> None:
            world.put_copy(replace(transfer, etag="0xOLD"), b"older")
            world.before_next(TARGET_HEAD, lambda: world.storage.remove(transfer.target_blob))

        world.before_next(TARGET_HEAD, lambda: world.before_next(TARGET_HEAD, appear))
        assert (await start(world, transfer, first=False)).verdict is Verdict.VERIFIED
        assert world.target_writes == ["target.copy"] * 4
