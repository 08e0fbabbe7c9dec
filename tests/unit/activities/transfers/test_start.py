"""The `start` step on the in-memory fakes, rule by rule: its requests and its outcomes."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from activities.transfers.confirm import UNCLEARED
from activities.transfers.start import run_start
from adapters.translation import (
    SOURCE_HEAD,
    SOURCE_TAGS,
    TARGET_ABORT,
    TARGET_CLEAR,
    TARGET_COPY,
    TARGET_HEAD,
    TARGET_STAGE,
    error_for_answer,
    error_for_no_answer,
)
from rules.errors import CANNOT_VERIFY_SOURCE, LookAgain, Reason
from rules.routes.filters import FILTERED
from rules.routes.model import Blob, Engine, EnginePreference, Place
from rules.transfers import identity, lifecycle
from rules.transfers.decisions import ECHO, RECEIPT_SOURCE_ETAG, RECEIPT_TRANSFER_ID, CopyStatus, TargetBlob
from rules.transfers.lifecycle import MAX_DETAIL
from rules.transfers.model import Ended, Ending, Kind, Outcome, Run, Step, Successor, Transfer, Verdict
from rules.transfers.policies import MAX_COPY_ATTEMPTS, MAX_LOOKS
from rules.transfers.states import State
from tests.fakes import Item
from tests.unit.samples import NAME, NOW, ROUTE
from tests.unit.world import CONTENT, World, with_engine

UNVERIFIED = LookAgain("target.copy", "no", code=CANNOT_VERIFY_SOURCE, status=403)


async def start(world: World, transfer: Transfer, **run: object) -> Outcome:
    """Run the activity with the transfer's first run, changed by the given fields."""
    return await run_start(world.ports, replace(Run(transfer, NOW), **run))  # type: ignore[arg-type]


async def put_finished_copy(world: World) -> Transfer:
    """A transfer whose async copy is done but not confirmed."""
    transfer = world.put(kind=Kind.PAGE)
    await start(world, transfer)
    world.storage.finish(transfer.target_blob)
    return transfer


def put_echo(world: World, content: bytes = CONTENT) -> Transfer:
    """Write a blob at the source that another route has copied from the target; its content may have been edited since."""
    blob = identity.transfer(ROUTE, NAME, "").target_blob
    etag = world.storage.put(blob, Item(CONTENT))
    source = identity.transfer(ROUTE, NAME, "").source_blob
    return world.put(
        content=content,
        metadata={
            RECEIPT_SOURCE_ETAG: etag,
            RECEIPT_TRANSFER_ID: identity.transfer_id("back", blob.url, etag, source.url),
        },
    )


class TestNewBlob:
    async def test_a_small_blob_costs_one_head_one_read_of_the_end_and_one_copy(self, world: World) -> None:
        transfer = world.put()
        outcome = await start(world, transfer)
        assert outcome == Outcome(Verdict.VERIFIED, engine=Engine.SYNC, size=len(CONTENT))
        assert sorted(world.request_names) == ["dead_letters.read", "source.head", "target.copy"]

    async def test_it_is_copied_with_its_metadata_and_the_receipt(self, world: World) -> None:
        """A receipt on the source is replaced, in any spelling."""
        transfer = world.put(metadata={"Owner": "finance", "Source_ETag": "old", "TRANSFER_ID": "old"})
        await start(world, transfer)
        item = world.at(transfer.target_blob)
        assert item is not None
        assert item.content == CONTENT
        assert item.metadata == {
            "Owner": "finance",
            RECEIPT_SOURCE_ETAG: transfer.etag,
            RECEIPT_TRANSFER_ID: transfer.id,
        }

    async def test_a_page_blob_is_copied_in_the_background(self, world: World) -> None:
        transfer = world.put(kind=Kind.PAGE)
        outcome = await start(world, transfer)
        assert (outcome.verdict, outcome.engine) == (Verdict.WAITING, Engine.ASYNC)
        assert world.target_writes == ["target.copy"]

    async def test_a_repeated_run_finds_the_copy(self, world: World) -> None:
        transfer = world.put()
        await start(world, transfer)
        outcome = await start(world, transfer)
        assert outcome.verdict is Verdict.VERIFIED
        assert world.storage.blobs[transfer.target_blob].content == CONTENT

    async def test_a_blob_accepted_before_this_process_started_is_looked_for_first(self, world: World) -> None:
        """A process that was killed may have copied it."""
        transfer = world.put()
        await start(world, transfer)
        world.requests.clear()
        later_process = replace(world.ports, started_at=NOW + timedelta(seconds=1))
        assert (await run_start(later_process, Run(transfer, NOW))).verdict is Verdict.VERIFIED
        assert "target.copy" not in world.target_writes

    async def test_the_tier_of_the_route_is_set(self) -> None:
        route = replace(ROUTE, tier="Cool")
        world = World((route,))
        transfer = world.put(tier="Hot")
        await start(world, transfer)
        assert world.storage.blobs[transfer.target_blob].tier == "Cool"

    @pytest.mark.parametrize("tier", ["Cool", "Cold", None])
    async def test_the_tier_of_the_source_is_set(self, tier: str | None) -> None:
        world = World((replace(ROUTE, tier="same"),))
        transfer = world.put(tier=tier)
        await start(world, transfer)
        assert world.storage.blobs[transfer.target_blob].tier == tier

    @pytest.mark.parametrize("kind", [Kind.PAGE, Kind.APPEND])
    async def test_the_tier_is_not_set_on_page_and_append_blobs(self, kind: Kind) -> None:
        world = World((replace(ROUTE, tier="Cool"),))
        transfer = world.put(kind=kind)
        assert (await start(world, transfer)).verdict is Verdict.WAITING

    @pytest.mark.parametrize(
        ("engine", "until"),
        [(EnginePreference.SYNC, timedelta(minutes=30)), (EnginePreference.ASYNC, timedelta(hours=24))],
    )
    async def test_the_sas_expires_as_early_as_the_engine_allows(
        self, engine: EnginePreference, until: timedelta
    ) -> None:
        world = World((with_engine(engine),))
        await start(world, world.put())
        assert [end for _, end in world.storage.signed.values()] == [NOW + until]


class TestCurrentRoutes:
    """The input of an orchestration is never trusted."""

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
    async def test_tampered_input_is_not_allowed_and_sends_no_request(
        self, world: World, tampered: dict[str, object]
    ) -> None:
        transfer = replace(world.put(), **tampered)  # type: ignore[arg-type]
        outcome = await start(world, transfer)
        assert (outcome.verdict, outcome.reason) == (Verdict.PERMANENT, Reason.NOT_ALLOWED)
        assert world.requests == []

    async def test_a_run_of_a_changed_route_is_not_allowed(self, world: World) -> None:
        transfer = world.put()
        changed = World((replace(ROUTE, target=replace(ROUTE.target, prefix="new/")),))
        assert (await start(changed, transfer)).reason is Reason.NOT_ALLOWED
        assert changed.requests == []


class TestSource:
    async def test_a_deleted_source_is_superseded_after_a_second_look(self, world: World) -> None:
        transfer = world.put()
        world.storage.remove(transfer.source_blob)
        first = await start(world, transfer)
        assert (first.verdict, first.pause) == (Verdict.GONE, world.ports.times.recheck)
        outcome = await start(world, transfer, gone=True)
        assert (outcome.verdict, outcome.pause) == (Verdict.SUPERSEDED, 0)
        assert outcome.ending == Ending(State.SUPERSEDED, successor=Successor(None))
        assert world.target_writes == []

    async def test_a_source_that_is_there_at_the_second_look_is_copied(self, world: World) -> None:
        transfer = world.put()
        assert (await start(world, transfer, gone=True)).verdict is Verdict.VERIFIED

    async def test_an_overwritten_source_is_superseded_by_the_newer_version(self, world: World) -> None:
        transfer = world.put()
        newer = world.put(content=b"newer")
        outcome = await start(world, transfer)
        assert outcome.ending == Ending(State.SUPERSEDED, successor=Successor(newer.etag))
        assert world.target_writes == []

    async def test_the_successor_of_an_append_blob_is_growing(self, world: World) -> None:
        transfer = world.put(kind=Kind.APPEND)
        longer = world.put(content=b"longer", kind=Kind.APPEND)
        outcome = await start(world, transfer)
        assert outcome.ending == Ending(State.SUPERSEDED, successor=Successor(longer.etag, growing=True))

    async def test_a_source_that_changes_before_the_copy_is_not_copied(self, world: World) -> None:
        transfer = world.put()
        world.before_next(TARGET_COPY, lambda: world.put(content=b"newer"))
        outcome = await start(world, transfer)
        assert outcome.verdict is Verdict.SUPERSEDED
        assert world.at(transfer.target_blob) is None

    async def test_an_archived_source_is_permanent(self, world: World) -> None:
        outcome = await start(world, world.put(tier="Archive"))
        assert (outcome.verdict, outcome.reason) == (Verdict.PERMANENT, Reason.SOURCE_ARCHIVED)
        assert world.target_writes == []

    async def test_a_source_that_is_itself_a_pending_copy_is_retryable(self, world: World) -> None:
        first = world.put("in/first", kind=Kind.PAGE)
        chained = replace(ROUTE, name="chained", source=ROUTE.target, target=replace(ROUTE.target, prefix="end/"))
        world.ports = replace(world.ports, routes=(ROUTE, chained))
        await start(world, first)
        pending = world.storage.blobs[first.target_blob]
        outcome = await start(world, identity.transfer(chained, first.target_blob.name, pending.etag))
        assert (outcome.verdict, outcome.reason) == (Verdict.RETRYABLE, Reason.SOURCE_UNREADABLE)

    async def test_a_missing_container_or_access_is_retryable_and_not_a_deletion(self, world: World) -> None:
        """Role assignments take minutes to take effect."""
        transfer = world.put()
        for status, code in [(404, "ContainerNotFound"), (403, "AuthorizationPermissionMismatch")]:
            world.refuse(SOURCE_HEAD, error_for_answer(SOURCE_HEAD, status, code), times=1)
            outcome = await start(world, transfer)
            assert (outcome.verdict, outcome.reason) == (Verdict.RETRYABLE, Reason.SOURCE_UNREADABLE)

    async def test_metadata_that_leaves_no_space_for_the_receipt_is_unsupported(self, world: World) -> None:
        outcome = await start(world, world.put(metadata={"notes": "x" * 8_150}))
        assert (outcome.verdict, outcome.reason) == (Verdict.PERMANENT, Reason.UNSUPPORTED_BLOB)
        assert "8 KB" in outcome.detail
        assert world.target_writes == []

    @pytest.mark.parametrize("engine", [EnginePreference.AUTO, EnginePreference.BLOCKS])
    @pytest.mark.parametrize("value", ["caf\udce9", "\u3000indented"])
    async def test_metadata_that_cannot_be_sent_is_unsupported(self, engine: EnginePreference, value: str) -> None:
        """Bytes that are not UTF-8 arrive as lone surrogates. No block is staged for such a blob."""
        world = World((with_engine(engine),))
        outcome = await start(world, world.put(metadata={"title": value}))
        assert (outcome.verdict, outcome.reason) == (Verdict.PERMANENT, Reason.UNSUPPORTED_BLOB)
        assert "metadata 'title'" in outcome.detail
        assert world.target_writes == []

    async def test_metadata_that_just_fits_with_the_receipt_is_copied(self, world: World) -> None:
        assert (await start(world, world.put(metadata={"notes": "x" * 8_100}))).verdict is Verdict.VERIFIED


FILTERED_OUT = Outcome(
    Verdict.SUPERSEDED, ending=Ending(State.SUPERSEDED, detail=FILTERED), size=len(CONTENT), refused=()
)


class TestFilters:
    """Rule 21: the event told no size, or the route has other filters since."""

    @pytest.mark.parametrize(
        "filters",
        [{"min_size": len(CONTENT) + 1}, {"max_size": len(CONTENT) - 1}, {"exclude": ("*.csv",)}],
        ids=["too small", "too large", "name"],
    )
    @pytest.mark.parametrize("first", [True, False])
    async def test_an_excluded_blob_is_superseded_without_a_copy(self, filters: dict[str, Any], *, first: bool) -> None:
        world = World((replace(ROUTE, **filters),))
        assert await start(world, world.put(), first=first) == FILTERED_OUT
        assert world.target_writes == []

    async def test_a_blob_of_the_limits_is_copied(self) -> None:
        world = World((replace(ROUTE, min_size=len(CONTENT), max_size=len(CONTENT)),))
        assert (await start(world, world.put())).verdict is Verdict.VERIFIED

    async def test_a_complete_copy_stays_verified(self, world: World) -> None:
        transfer = world.put()
        world.put_copy(transfer)
        world.ports = replace(world.ports, routes=(replace(ROUTE, exclude=("*",)),))
        assert (await start(world, transfer, first=False)).verdict is Verdict.VERIFIED
        assert world.target_writes == []

    async def test_a_pending_copy_is_waited_for(self, world: World) -> None:
        """It ends as it would have ended without the change of the route."""
        transfer = world.put(kind=Kind.PAGE)
        await start(world, transfer)
        world.ports = replace(world.ports, routes=(replace(ROUTE, max_size=0),))
        assert (await start(world, transfer, first=False)).verdict is Verdict.WAITING
        world.storage.finish(transfer.target_blob)
        assert (await start(world, transfer, first=False)).verdict is Verdict.VERIFIED

    async def test_a_newer_version_is_the_successor_of_an_excluded_one(self) -> None:
        world = World((replace(ROUTE, max_size=0),))
        transfer, newer = world.put(), world.put(content=b"")
        outcome = await start(world, transfer)
        assert outcome.ending == Ending(State.SUPERSEDED, successor=Successor(newer.etag))
        assert (await start(world, newer)).verdict is Verdict.VERIFIED


class TestEcho:
    """Rule 19: two routes that each write where the other reads."""

    async def test_it_costs_one_head_of_the_target_and_no_copy(self, world: World) -> None:
        transfer = put_echo(world)
        outcome = await start(world, transfer)
        assert outcome == Outcome(Verdict.SUPERSEDED, ending=Ending(State.SUPERSEDED, detail=ECHO), size=len(CONTENT))
        assert sorted(world.request_names) == ["dead_letters.read", "source.head", "target.head"]

    async def test_an_edited_one_is_copied_after_a_look_in_the_right_order(self, world: World) -> None:
        """The target was read after the source, and an act needs the other order."""
        transfer = put_echo(world, b"edited")
        assert (await start(world, transfer)).verdict is Verdict.VERIFIED
        looks = [name for name in world.request_names if name.endswith((".head", ".copy"))]
        assert looks == ["source.head", "target.head", "target.head", "source.head", "target.copy"]
        assert world.storage.blobs[transfer.target_blob].content == b"edited"

    async def test_a_deleted_target_is_not_restored(self, world: World) -> None:
        transfer = put_echo(world)
        world.storage.remove(transfer.target_blob)
        assert (await start(world, transfer)).ending == Ending(State.SUPERSEDED, detail=ECHO)
        assert world.target_writes == []

    async def test_a_source_with_the_receipt_of_another_place_is_copied(self, world: World) -> None:
        transfer = world.put(
            metadata={RECEIPT_SOURCE_ETAG: "0x1", RECEIPT_TRANSFER_ID: "37a8eec1-69dbf36083ff9fc45dab5d50"}
        )
        assert (await start(world, transfer)).verdict is Verdict.VERIFIED
        assert "target.head" not in world.request_names


class TestTarget:
    """Rules 1 and 2: read the target first, the source second, act third."""

    async def test_a_blob_without_receipt_is_overwritten_under_its_etag(self, world: World) -> None:
        transfer = world.put()
        world.put_copy(replace(transfer, etag="0xOLD"), b"older")
        outcome = await start(world, transfer)
        assert outcome.verdict is Verdict.VERIFIED
        assert world.request_names == [
            *["source.head", "dead_letters.read", "target.copy"],
            *["target.head", "source.head", "dead_letters.read", "target.copy"],
        ]
        assert world.storage.blobs[transfer.target_blob].content == CONTENT

    async def test_a_target_that_holds_the_version_is_confirmed_and_not_copied(self, world: World) -> None:
        transfer = world.put()
        world.put_copy(transfer)
        outcome = await start(world, transfer, first=False)
        assert outcome == Outcome(Verdict.VERIFIED, size=len(CONTENT))
        assert world.request_names == ["target.head", "source.head", "dead_letters.read"]

    async def test_a_receipt_of_another_transfer_counts(self, world: World) -> None:
        transfer = world.put()
        world.put_copy(replace(transfer, id="00000000-000000000000000000000000"))
        assert (await start(world, transfer, first=False)).verdict is Verdict.VERIFIED
        assert world.target_writes == []

    async def test_a_receipt_on_a_blob_of_another_size_does_not_count(self, world: World) -> None:
        transfer = world.put()
        world.put_copy(transfer, b"")
        assert (await start(world, transfer, first=False)).verdict is Verdict.VERIFIED
        assert world.target_writes == ["target.copy"]
        assert world.storage.blobs[transfer.target_blob].content == CONTENT

    async def test_a_pending_copy_of_this_version_is_waited_for_even_if_another_transfer_began_it(
        self, world: World
    ) -> None:
        """Two transfers of one version would otherwise abort each other forever."""
        transfer = world.put(kind=Kind.PAGE)
        await start(world, transfer)
        renamed = replace(ROUTE, name="renamed")
        world.ports = replace(world.ports, routes=(renamed,))
        outcome = await start(world, identity.transfer(renamed, NAME, transfer.etag))
        assert outcome.verdict is Verdict.WAITING
        assert world.target_writes == ["target.copy", "target.copy"]

    async def test_a_pending_copy_of_another_version_is_aborted_and_replaced(self, world: World) -> None:
        old = world.put(kind=Kind.PAGE)
        await start(world, old)
        new = world.put(content=b"newer", kind=Kind.PAGE)
        outcome = await start(world, new)
        assert (outcome.verdict, outcome.began) == (Verdict.WAITING, True)
        assert world.target_writes == ["target.copy", "target.copy", "target.abort", "target.copy"]
        world.storage.finish(new.target_blob)
        assert world.storage.blobs[new.target_blob].content == b"newer"

    async def test_an_older_version_never_aborts_a_newer_one(self, world: World) -> None:
        old = world.put(kind=Kind.PAGE)
        new = world.put(content=b"newer", kind=Kind.PAGE)
        await start(world, new)
        outcome = await start(world, old, first=False)
        assert outcome.verdict is Verdict.SUPERSEDED
        assert world.target_writes == ["target.copy"]

    async def test_a_failed_abort_is_followed_by_another_look(self, world: World) -> None:
        old = world.put(kind=Kind.PAGE)
        await start(world, old)
        new = world.put(content=b"newer", kind=Kind.PAGE)
        world.before_next(TARGET_ABORT, lambda: world.storage.fail(old.target_blob, "too late"))
        assert (await start(world, new, first=False)).began

    async def test_a_finished_async_copy_is_confirmed_and_its_properties_cleared(self, world: World) -> None:
        """The copy's properties show the SAS."""
        transfer = world.put(kind=Kind.PAGE, headers={"content_type": "image/png"})
        await start(world, transfer)
        world.storage.finish(transfer.target_blob)
        outcome = await start(world, transfer, first=False)
        assert outcome.verdict is Verdict.VERIFIED
        item = world.storage.blobs[transfer.target_blob]
        assert (item.copy, item.headers) == (None, {"content_type": "image/png"})
        assert item.metadata[RECEIPT_SOURCE_ETAG] == transfer.etag

    async def test_a_copy_whose_properties_show_no_sas_is_not_cleared(self, world: World) -> None:
        transfer = await put_finished_copy(world)
        head = world.target.head

        async def unsigned(blob: Blob) -> TargetBlob | None:
            seen = await head(blob)
            return replace(seen, shows_sas=False) if seen else None

        world.target.head = unsigned  # type: ignore[method-assign]
        assert await start(world, transfer, first=False) == Outcome(Verdict.VERIFIED, size=len(CONTENT))
        assert world.target_writes == ["target.copy"]

    async def test_a_target_changed_before_the_clearing_is_verified(self, world: World) -> None:
        """A 412 is expected: the other write has cleared the properties."""
        transfer = world.put(kind=Kind.PAGE)
        await start(world, transfer)
        world.storage.finish(transfer.target_blob)
        world.refuse(TARGET_CLEAR, error_for_answer(TARGET_CLEAR, 412, "ConditionNotMet"))
        assert await start(world, transfer, first=False) == Outcome(Verdict.VERIFIED, size=len(CONTENT))
        assert world.target_writes.count("target.clear") == 1

    @pytest.mark.parametrize("code", ["LeaseIdMissing", "BlobImmutableDueToPolicy", "AuthorizationPermissionMismatch"])
    async def test_a_target_that_cannot_be_cleared_is_verified_with_a_note(self, world: World, code: str) -> None:
        """The receipt decides; a lease, a policy or a role keeps the copy's properties."""
        transfer = await put_finished_copy(world)
        world.refuse(TARGET_CLEAR, error_for_answer(TARGET_CLEAR, 409, code))
        outcome = await start(world, transfer, first=False)
        assert (outcome.verdict, outcome.size) == (Verdict.VERIFIED, len(CONTENT))
        assert outcome.note.startswith(UNCLEARED)
        assert code in outcome.note
        assert world.target_writes.count("target.clear") == 1

    async def test_a_busy_service_during_the_clearing_is_retryable(self, world: World) -> None:
        transfer = await put_finished_copy(world)
        world.refuse(TARGET_CLEAR, error_for_answer(TARGET_CLEAR, 503, "ServerBusy"))
        outcome = await start(world, transfer, first=False)
        assert (outcome.verdict, outcome.reason) == (Verdict.RETRYABLE, Reason.THROTTLED)

    async def test_after_an_unanswered_clearing_it_looks_again(self, world: World) -> None:
        transfer = await put_finished_copy(world)
        world.lose_answer(TARGET_CLEAR)
        assert await start(world, transfer, first=False) == Outcome(Verdict.VERIFIED, size=len(CONTENT))
        assert world.target_writes.count("target.clear") == 1

    async def test_a_target_is_verified_with_a_note_after_eight_unanswered_clearings(self, world: World) -> None:
        transfer = await put_finished_copy(world)
        world.refuse(TARGET_CLEAR, error_for_no_answer(TARGET_CLEAR))
        outcome = await start(world, transfer, first=False)
        assert (outcome.verdict, outcome.size) == (Verdict.VERIFIED, len(CONTENT))
        assert outcome.note.startswith(UNCLEARED)
        assert world.target_writes.count("target.clear") == MAX_LOOKS

    async def test_a_target_that_was_complete_at_an_earlier_look_is_not_verified(self, world: World) -> None:
        transfer = await put_finished_copy(world)
        world.before_next(
            TARGET_CLEAR, lambda: world.storage.put(transfer.target_blob, Item(b"theirs", kind=Kind.PAGE))
        )
        world.refuse(TARGET_CLEAR, error_for_no_answer(TARGET_CLEAR))
        world.refuse(TARGET_COPY, error_for_no_answer(TARGET_COPY))
        assert (await start(world, transfer, first=False)).verdict is Verdict.RETRYABLE

    async def test_after_eight_copies_it_does_not_begin_another(self, world: World) -> None:
        """Another client overwrites the target each time, and must be stopped by an operator."""
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

    async def test_the_result_of_the_eighth_copy_is_verified(self, world: World) -> None:
        transfer = world.put()
        world.put_copy(transfer)
        assert (await start(world, transfer, first=False, copy_attempts=MAX_COPY_ATTEMPTS)).verdict is Verdict.VERIFIED

    async def test_a_missing_container_is_permanent(self, world: World) -> None:
        transfer = world.put()
        world.storage.containers.remove((ROUTE.target.endpoint, ROUTE.target.container))
        outcome = await start(world, transfer)
        assert (outcome.verdict, outcome.reason) == (Verdict.PERMANENT, Reason.TARGET_UNWRITABLE)

    async def test_a_lease_is_retryable_and_the_detail_says_so(self, world: World) -> None:
        transfer = world.put()
        world.put_copy(replace(transfer, etag="0xOLD"), b"older")
        world.storage.lease(transfer.target_blob)
        outcome = await start(world, transfer, first=False)
        assert (outcome.verdict, outcome.reason) == (Verdict.RETRYABLE, Reason.TARGET_CONFLICT)
        assert "another client holds a lease" in outcome.detail
        assert world.target_writes == ["target.copy"]

    async def test_a_failure_reports_the_size_of_the_version(self, world: World) -> None:
        """Without it, `clean` could not tell a complete blob from an incomplete one."""
        transfer = world.put()
        world.lose_answer(TARGET_COPY)
        world.refuse(TARGET_HEAD, error_for_answer(TARGET_HEAD, 503, "ServerBusy"))
        outcome = await start(world, transfer)
        assert (outcome.verdict, outcome.size) == (Verdict.RETRYABLE, len(CONTENT))


class TestWindow:
    """An act is sent only if the look that it is based on is recent."""

    @pytest.mark.parametrize("request_", [SOURCE_HEAD, TARGET_HEAD])
    async def test_an_old_look_is_repeated(self, world: World, request_: object) -> None:
        transfer = world.put()
        world.before_next(request_, lambda: world.pass_time(16))  # type: ignore[arg-type]
        outcome = await start(world, transfer, first=False)
        assert outcome.verdict is Verdict.VERIFIED
        assert world.request_names.count("source.head") == 2
        assert world.target_writes == ["target.copy"]

    async def test_an_abort_needs_a_recent_look(self, world: World) -> None:
        """A slow worker might otherwise abort a copy that another one has begun in the meantime."""
        old = world.put(kind=Kind.PAGE)
        await start(world, old)
        new = world.put(content=b"newer", kind=Kind.PAGE)
        world.requests.clear()
        world.before_next(SOURCE_HEAD, lambda: world.pass_time(16))
        assert (await start(world, new, first=False)).began
        assert world.request_names[: world.request_names.index("target.abort")].count("source.head") == 2
        assert world.target_writes == ["target.abort", "target.copy"]

    async def test_slow_looks_end_after_three_timeouts(self, world: World) -> None:
        """The host stops a slow function and all others in its worker."""
        transfer = world.put()
        slow = world.ports.times.timeout + 1
        world.faults.append(lambda request, _: world.pass_time(slow) if request == SOURCE_HEAD else None)
        outcome = await start(world, transfer)
        assert (outcome.verdict, outcome.reason) == (Verdict.RETRYABLE, Reason.TARGET_CONFLICT)
        assert world.request_names.count("source.head") == 3
        assert world.target_writes == []

    async def test_a_look_of_exactly_15_seconds_is_acted_on(self, world: World) -> None:
        transfer = world.put()
        world.before_next(SOURCE_HEAD, lambda: world.pass_time(15))
        await start(world, transfer)
        assert world.request_names.count("source.head") == 1

    async def test_a_service_that_is_always_too_slow_is_retryable(self, world: World) -> None:
        transfer = world.put()
        world.faults.append(lambda request, _: world.pass_time(16) if request == SOURCE_HEAD else None)
        outcome = await start(world, transfer)
        assert outcome.verdict is Verdict.RETRYABLE
        assert world.target_writes == []


class TestNoAnswer:
    """The result of the request is unknown, so it looks again."""

    async def test_a_copy_with_a_lost_answer_is_found(self, world: World) -> None:
        transfer = world.put()
        world.lose_answer(TARGET_COPY)
        outcome = await start(world, transfer)
        assert outcome.verdict is Verdict.VERIFIED
        assert world.target_writes == ["target.copy", "target.clear"]

    async def test_a_copy_that_had_no_effect_is_repeated(self, world: World) -> None:
        transfer = world.put()
        world.refuse(TARGET_COPY, error_for_no_answer(TARGET_COPY), times=1)
        assert (await start(world, transfer)).verdict is Verdict.VERIFIED
        assert world.target_writes == ["target.copy", "target.copy"]

    async def test_an_async_copy_with_a_lost_answer_is_waited_for(self, world: World) -> None:
        transfer = world.put(kind=Kind.PAGE)
        world.lose_answer(TARGET_COPY)
        assert (await start(world, transfer)).verdict is Verdict.WAITING
        assert world.target_writes == ["target.copy"]

    async def test_without_any_answer_it_is_retryable_after_eight_looks(self, world: World) -> None:
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


class TestRefusal:
    """A refusal with an unknown code is final once a look finds the target unchanged."""

    @pytest.mark.parametrize(("status", "code", "reason"), REFUSALS)
    async def test_of_a_copy_is_permanent_after_one_request_and_two_looks(
        self, world: World, status: int, code: str, reason: Reason
    ) -> None:
        transfer = world.put()
        world.refuse(TARGET_COPY, error_for_answer(TARGET_COPY, status, code))
        outcome = await start(world, transfer)
        assert (outcome.verdict, outcome.reason) == (Verdict.PERMANENT, reason)
        assert f"{status} {code}".strip() in outcome.detail
        assert world.target_writes == ["target.copy"]
        assert world.request_names.count("source.head") <= 2

    async def test_of_an_overwrite_is_permanent(self, world: World) -> None:
        transfer = world.put()
        world.put_copy(replace(transfer, etag="0xOLD"), b"older")
        world.refuse(TARGET_COPY, error_for_answer(TARGET_COPY, 409, "SomethingNew"))
        outcome = await start(world, transfer, first=False)
        assert (outcome.verdict, world.target_writes) == (Verdict.PERMANENT, ["target.copy"])

    async def test_is_not_final_if_the_target_changed(self, world: World) -> None:
        """The blind first copy met a blob; the next one is conditional on it."""
        transfer = world.put()
        world.put_copy(replace(transfer, etag="0xOLD"), b"older")
        world.refuse(TARGET_COPY, error_for_answer(TARGET_COPY, 409, "SomethingNew"), times=1)
        assert (await start(world, transfer)).verdict is Verdict.VERIFIED
        assert world.target_writes == ["target.copy", "target.copy"]

    async def test_is_not_final_if_the_source_changed(self, world: World) -> None:
        transfer = world.put()
        world.refuse(TARGET_COPY, error_for_answer(TARGET_COPY, 409, "SomethingNew"), times=1)
        world.before_next(TARGET_COPY, lambda: world.put(content=b"newer"))
        assert (await start(world, transfer)).verdict is Verdict.SUPERSEDED

    async def test_of_an_abort_is_permanent_while_the_same_copy_is_pending(self, world: World) -> None:
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
        transfer = await put_finished_copy(world)
        world.refuse(TARGET_CLEAR, error_for_answer(TARGET_CLEAR, 409, "SomethingNew"))
        outcome = await start(world, transfer, first=False)
        assert (outcome.verdict, world.target_writes.count("target.clear")) == (Verdict.VERIFIED, 1)
        assert "409 SomethingNew" in outcome.note

    async def test_of_a_head_of_a_blob_with_a_customer_provided_key_is_permanent(self, world: World) -> None:
        world.refuse(SOURCE_HEAD, error_for_answer(SOURCE_HEAD, 409, "BlobUsesCustomerSpecifiedEncryption"))
        outcome = await start(world, world.put())
        assert (outcome.verdict, outcome.reason) == (Verdict.PERMANENT, Reason.UNSUPPORTED_BLOB)
        assert world.request_names.count("source.head") == 1


class TestEngines:
    """Rule 16: which engine, and when the next one is tried."""

    async def test_auto_tries_each_engine_once_if_the_target_cannot_read_the_source(self, world: World) -> None:
        """A firewall may allow one of them only."""
        transfer = world.put()
        world.refuse(TARGET_COPY, UNVERIFIED, times=1)
        world.refuse(TARGET_STAGE, UNVERIFIED, times=1)
        outcome = await start(world, transfer)
        assert (outcome.verdict, outcome.engine) == (Verdict.WAITING, Engine.ASYNC)
        assert outcome.refused == (Engine.SYNC, Engine.BLOCKS)
        assert world.target_writes == ["target.copy", "target.stage", "target.copy"]

    @pytest.mark.parametrize("status", [401, 403, 404, 409])
    async def test_a_source_refused_to_sync_is_copied_by_blocks(self, world: World, status: int) -> None:
        transfer = world.put()
        world.refuse(TARGET_COPY, error_for_answer(TARGET_COPY, status, CANNOT_VERIFY_SOURCE), times=1)
        outcome = await start(world, transfer)
        assert (outcome.verdict, outcome.engine) == (Verdict.VERIFIED, Engine.BLOCKS)
        assert outcome.refused == (Engine.SYNC,)
        assert world.target_writes == ["target.copy", "target.stage", "target.commit"]
        assert world.storage.blobs[transfer.target_blob].content == CONTENT

    @pytest.mark.parametrize("status", [408, 429, 500, 503])
    async def test_a_busy_source_is_retryable_with_the_same_engine(self, world: World, status: int) -> None:
        """The other engine would empty the target and add load to the source."""
        transfer = world.put()
        world.refuse(TARGET_COPY, error_for_answer(TARGET_COPY, status, CANNOT_VERIFY_SOURCE), times=1)
        outcome = await start(world, transfer)
        assert (outcome.verdict, outcome.reason) == (Verdict.RETRYABLE, Reason.THROTTLED)
        assert world.target_writes == ["target.copy"]

    async def test_a_source_refused_to_all_engines_is_retryable(self, world: World) -> None:
        transfer = world.put()
        world.refuse(TARGET_COPY, UNVERIFIED)
        world.refuse(TARGET_STAGE, UNVERIFIED)
        outcome = await start(world, transfer)
        assert (outcome.verdict, outcome.reason) == (Verdict.RETRYABLE, Reason.SOURCE_UNREADABLE)
        assert "async, blocks, sync" in outcome.detail
        assert world.target_writes == ["target.copy", "target.stage", "target.copy"]

    @pytest.mark.parametrize(
        ("engine", "write"),
        [
            (EnginePreference.SYNC, "target.copy"),
            (EnginePreference.ASYNC, "target.copy"),
            (EnginePreference.BLOCKS, "target.stage"),
        ],
    )
    async def test_a_forced_engine_never_falls_back(self, engine: EnginePreference, write: str) -> None:
        world = World((with_engine(engine),))
        transfer = world.put()
        world.refuse(TARGET_COPY, UNVERIFIED)
        world.refuse(TARGET_STAGE, UNVERIFIED)
        outcome = await start(world, transfer)
        assert (outcome.verdict, outcome.reason) == (Verdict.RETRYABLE, Reason.SOURCE_UNREADABLE)
        assert world.target_writes == [write]

    @pytest.mark.parametrize("kind", [Kind.PAGE, Kind.APPEND])
    async def test_a_blob_of_another_type_refused_to_async_becomes_a_block_blob_with_a_note(
        self, world: World, kind: Kind
    ) -> None:
        transfer = world.put(kind=kind)
        world.refuse(TARGET_COPY, UNVERIFIED)
        outcome = await start(world, transfer)
        assert (outcome.verdict, outcome.engine) == (Verdict.VERIFIED, Engine.BLOCKS)
        assert outcome.note == f"the target is a block blob, the source a {kind}"
        assert world.target_writes == ["target.copy", "target.stage", "target.commit"]
        item = world.storage.blobs[transfer.target_blob]
        assert (item.kind, item.content) == (Kind.BLOCK, CONTENT)

    @pytest.mark.parametrize("kind", [Kind.PAGE, Kind.APPEND])
    async def test_a_forced_sync_that_cannot_carry_the_blob_is_unsupported(self, kind: Kind) -> None:
        world = World((with_engine(EnginePreference.SYNC),))
        outcome = await start(world, world.put(kind=kind))
        assert (outcome.verdict, outcome.reason) == (Verdict.PERMANENT, Reason.UNSUPPORTED_BLOB)
        assert world.target_writes == []


class TestTags:
    """Rule 18: index tags are copied if both sides allow it."""

    async def test_they_are_copied(self, world: World) -> None:
        transfer = world.put(tags={"team": "a"})
        outcome = await start(world, transfer)
        assert outcome.note == ""
        assert world.storage.blobs[transfer.target_blob].tags == {"team": "a"}
        assert world.request_names.count("source.tags") == 1

    async def test_if_the_target_refuses_them_the_blob_is_copied_without_and_the_note_says_so(
        self, world: World
    ) -> None:
        world.target.may_write_tags = False
        transfer = world.put(tags={"team": "a"})
        outcome = await start(world, transfer)
        assert (outcome.verdict, outcome.engine) == (Verdict.VERIFIED, Engine.SYNC)
        assert outcome.note == (
            "index tags were not copied: the target's account refused them "
            "(403 AuthorizationPermissionMismatch: the app has no role that allows this on the container)"
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
    async def test_a_copy_refused_with_them_is_tried_once_without(self, world: World, status: int, code: str) -> None:
        """Tags are refused for many reasons: a role, a hierarchical namespace, an old account."""
        transfer = world.put(tags={"team": "a"})
        world.refuse(TARGET_COPY, error_for_answer(TARGET_COPY, status, code), times=1)
        outcome = await start(world, transfer)
        assert outcome.verdict is Verdict.VERIFIED
        assert outcome.note.startswith("index tags were not copied: the target's account refused them")
        assert code in outcome.note
        assert world.storage.blobs[transfer.target_blob].tags == {}
        assert world.target_writes == ["target.copy", "target.copy"]

    async def test_a_busy_service_does_not_drop_them(self, world: World) -> None:
        transfer = world.put(tags={"team": "a"})
        world.refuse(TARGET_COPY, error_for_answer(TARGET_COPY, 503, "ServerBusy"), times=1)
        assert (await start(world, transfer)).reason is Reason.THROTTLED
        assert world.target_writes == ["target.copy"]

    async def test_a_missing_answer_does_not_drop_them(self, world: World) -> None:
        transfer = world.put(tags={"team": "a"})
        world.refuse(TARGET_COPY, error_for_no_answer(TARGET_COPY), times=1)
        assert (await start(world, transfer)).note == ""
        assert world.storage.blobs[transfer.target_blob].tags == {"team": "a"}

    async def test_if_they_cannot_be_read_the_blob_is_copied_without_and_the_note_says_so(self, world: World) -> None:
        world.source.may_read_tags = False
        transfer = world.put(tags={"team": "a"})
        outcome = await start(world, transfer)
        assert outcome.verdict is Verdict.VERIFIED
        assert outcome.note == "index tags were not copied: the app may not read them at the source"
        assert world.target_writes == ["target.copy"]

    async def test_a_refusal_of_a_copy_without_tags_is_a_failure(self, world: World) -> None:
        transfer = world.put()
        world.refuse(TARGET_COPY, error_for_answer(TARGET_COPY, 403, "AuthorizationPermissionMismatch"))
        outcome = await start(world, transfer)
        assert outcome.verdict in {Verdict.RETRYABLE, Verdict.PERMANENT}
        assert outcome.reason is Reason.TARGET_UNWRITABLE
        assert world.target_writes == ["target.copy"]

    async def test_without_any_write_access_the_copy_without_them_fails_too(self, world: World) -> None:
        """The same code refuses tags and copies."""
        transfer = world.put(tags={"team": "a"})
        world.refuse(TARGET_COPY, error_for_answer(TARGET_COPY, 403, "AuthorizationPermissionMismatch"))
        outcome = await start(world, transfer)
        assert outcome.reason is Reason.TARGET_UNWRITABLE
        assert world.target_writes == ["target.copy", "target.copy"]

    async def test_throttling_while_reading_them_is_retryable(self, world: World) -> None:
        transfer = world.put(tags={"team": "a"})
        world.refuse(SOURCE_TAGS, error_for_answer(SOURCE_TAGS, 503, "ServerBusy"))
        assert (await start(world, transfer)).reason is Reason.THROTTLED
        assert world.target_writes == []


class TestRecordedEnd:
    """Rule 5: a run of an ended attempt stops."""

    @pytest.mark.parametrize("state", [State.CANCELLED, State.DEAD_LETTERED])
    async def test_an_ended_attempt_does_not_act(self, world: World, state: State) -> None:
        transfer = world.put()
        await world.dead_letters.write_ended(Ended(transfer.id, 0, Ending(state, Reason.THROTTLED, "503")))
        outcome = await start(world, transfer)
        assert (outcome.verdict, outcome.ending) == (Verdict.ENDED, Ending(state, Reason.THROTTLED, "503"))
        assert world.target_writes == []

    async def test_a_newer_attempt_acts(self, world: World) -> None:
        transfer = world.put()
        await world.dead_letters.write_ended(Ended(transfer.id, 0, Ending(State.CANCELLED)))
        assert (await start(world, transfer, attempt=1)).verdict is Verdict.VERIFIED

    async def test_an_end_recorded_during_a_look_is_seen_by_the_next_look(self, world: World) -> None:
        transfer = world.put()
        ended = Ended(transfer.id, 0, Ending(State.CANCELLED))
        world.refuse(TARGET_COPY, error_for_no_answer(TARGET_COPY), times=1)
        world.before_next(TARGET_COPY, lambda: world.dead_letters.ends.update({transfer.id: ended}))
        outcome = await start(world, transfer)
        assert outcome.ending == Ending(State.CANCELLED)
        assert world.target_writes == ["target.copy"]


async def test_a_failed_copy_is_begun_again(world: World) -> None:
    transfer = world.put(kind=Kind.PAGE)
    await start(world, transfer)
    world.storage.fail(transfer.target_blob, "500 InternalError")
    assert world.storage.blobs[transfer.target_blob].copy.status is CopyStatus.FAILED  # type: ignore[union-attr]
    assert (await start(world, transfer, first=False)).verdict is Verdict.WAITING
    assert world.target_writes == ["target.copy", "target.copy"]


class TestUnfinishedUpload:
    """A target that a HEAD does not show and that exists."""

    ALREADY_EXISTS = error_for_answer(TARGET_COPY, 409, "BlobAlreadyExists")

    @pytest.mark.parametrize(("first", "acts"), [(True, 3), (False, 2)])
    async def test_auto_commits_blocks_after_two_looks_that_show_nothing(
        self, world: World, acts: int, *, first: bool
    ) -> None:
        """Only a commit of blocks replaces an unfinished upload. A blind first copy does not count."""
        transfer = world.put()
        world.refuse(TARGET_COPY, self.ALREADY_EXISTS)
        outcome = await start(world, transfer, first=first)
        assert (outcome.verdict, outcome.engine) == (Verdict.VERIFIED, Engine.BLOCKS)
        assert world.target_writes == [*["target.copy"] * acts, "target.stage", "target.commit"]
        assert world.storage.blobs[transfer.target_blob].content == CONTENT

    @pytest.mark.parametrize(("first", "acts"), [(True, 3), (False, 2)])
    async def test_a_forced_engine_is_permanent_after_two_looks_that_show_nothing(
        self, acts: int, *, first: bool
    ) -> None:
        """The detail says what it may be and what to do."""
        world = World((with_engine(EnginePreference.SYNC),))
        transfer = world.put()
        world.refuse(TARGET_COPY, self.ALREADY_EXISTS)
        outcome = await start(world, transfer, first=first)
        assert (outcome.verdict, outcome.reason) == (Verdict.PERMANENT, Reason.TARGET_CONFLICT)
        assert "409 BlobAlreadyExists" in outcome.detail
        assert "started an upload" in outcome.detail
        assert len(f"target.copy: {outcome.detail}") < MAX_DETAIL
        assert world.target_writes == ["target.copy"] * acts
        assert world.request_names.count("target.head") == 2

    async def test_once_is_a_race(self, world: World) -> None:
        transfer = world.put()
        world.refuse(TARGET_COPY, self.ALREADY_EXISTS, times=1)
        assert (await start(world, transfer, first=False)).verdict is Verdict.VERIFIED

    async def test_a_blob_seen_in_between_resets_the_count(self, world: World) -> None:
        """The looks find in turn: absent although it exists, present but changed, absent although it exists, absent."""
        transfer = world.put()
        for refusal in (
            self.ALREADY_EXISTS,
            error_for_answer(TARGET_COPY, 412, "ConditionNotMet"),
            self.ALREADY_EXISTS,
        ):
            world.refuse(TARGET_COPY, refusal, times=1)

        def appear() -> None:
            world.put_copy(replace(transfer, etag="0xOLD"), b"older")
            world.before_next(TARGET_HEAD, lambda: world.storage.remove(transfer.target_blob))

        world.before_next(TARGET_HEAD, lambda: world.before_next(TARGET_HEAD, appear))
        assert (await start(world, transfer, first=False)).verdict is Verdict.VERIFIED
        assert world.target_writes == ["target.copy"] * 4
