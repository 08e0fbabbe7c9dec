"""Reconcile: the class of each blob, in any order of the lists; which transfers are started and which are skipped."""

import asyncio
import gc
import json
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar, cast

import pytest

from activities.jobs import compare_lists
from activities.jobs.batch import MAX_FAILED_TRIES
from adapters.translation import (
    SOURCE_HEAD,
    SOURCE_LIST,
    TARGET_HEAD,
    TARGET_LIST,
    error_for_answer,
)
from ports.blobs import Copy, CopySource
from rules.codec import encode
from rules.dead_letters import letters
from rules.errors import Permanent, Reason
from rules.jobs.model import Job, JobState, Phase, Tally
from rules.jobs.report import PAGE, found_page, results_page
from rules.orchestrations.instance import Instance
from rules.routes.model import Blob, Engine, Place, Route
from rules.transfers import identity
from rules.transfers.decisions import ECHO, RECEIPT_SOURCE_ETAG, RECEIPT_TRANSFER_ID, SourceBlob, TargetBlob
from rules.transfers.model import Ended, Ending, Kind, Run, Transfer
from rules.transfers.states import State
from tests.fakes import Item
from tests.unit.job_runs import (
    RECONCILE,
    YieldingWorld,
    count_starts,
    finish_transfers,
    put_at_target,
    results_by_id,
    run_batch,
    run_next_batch,
    run_to_end,
    run_until,
)
from tests.unit.samples import NAME, NOW, ROUTE, SOURCE_HOST, TARGET_HOST
from tests.unit.world import CONTENT, World

BlobT = TypeVar("BlobT", SourceBlob, TargetBlob)
Listed = tuple[list[tuple[str, BlobT]], str | None]
DRY = replace(RECONCILE, dry_run=True)
HEADS = ("source.head", "target.head")


def findings(world: World, job: Job) -> dict[str, str]:
    """The class of each blob name in the job's report; an extra blob's name is the target's."""
    pages = [world.reports.pages[found_page(job.id, number)] for number in range(job.pages)]
    lines = [(line["name"], str(line["class"])) for page in pages for line in page]
    assert len(lines) == len(dict(lines))
    return dict(lines)


def put_matches(world: World, *names: str, route: Route = ROUTE) -> list[Transfer]:
    """Write blobs that the target holds completely."""
    transfers = [world.put(name, route=route) for name in names]
    for transfer in transfers:
        world.put_copy(transfer)
    return transfers


@dataclass
class ReorderedPort(Generic[BlobT]):
    """A port that lists in another order, as accounts of another kind do."""

    port: Any
    order: Callable[[str], Any]
    reverse: bool = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.port, name)

    async def page(self, place: Place, limit: int, marker: str | None) -> Listed[BlobT]:
        items, following = await self.port.page(place, 1_000_000, None)
        assert following is None
        items.sort(key=lambda item: self.order(item[0]), reverse=self.reverse)
        start = int(marker or 0)
        return items[start : start + limit], str(start + limit) if start + limit < len(items) else None


def by_folder(name: str) -> tuple[list[str], str]:
    """Folder by folder, as an account with a hierarchical namespace lists."""
    return name.split("/")[:-1], name


class TestFindings:
    async def test_each_class_of_finding(self, world: World) -> None:
        put_matches(world, "in/match")
        for name in ("in/missing", "in/foreign", "in/older"):
            world.put(name)
        put_at_target(world, "out/shorter", world.put("in/shorter").etag, b"")
        put_at_target(world, "out/foreign")
        put_at_target(world, "out/older", "0xOLD")
        put_at_target(world, "out/extra")
        world.storage.put(Blob(SOURCE_HOST, "source", "elsewhere/not-carried"), Item(CONTENT))
        put_at_target(world, "elsewhere/not-carried")
        job = await run_to_end(world, DRY)
        assert findings(world, job) == {
            "in/match": "match",
            "in/missing": "missing",
            "in/foreign": "stale",
            "in/older": "stale",
            "in/shorter": "stale",
            "out/extra": "extra",
        }
        details = {line["name"]: line.get("detail", "") for line in world.reports.pages[found_page(job.id, 0)]}
        acted_on = [line for page in world.reports.pages.values() for line in page if "id" in line]
        assert {line["class"] for line in acted_on} == {"missing", "stale"}
        assert len(acted_on) == job.tally.found
        assert details["in/foreign"] == "the target has no receipt"
        assert "0xOLD" in details["in/older"]
        assert details["in/shorter"] == "the copy is done; the target has 0 of 10 bytes"
        assert job.tally == Tally(found=4, bytes=4 * len(CONTENT), match=1, missing=1, stale=3, extra=1)

    async def test_excluded_names_and_sizes_have_no_lines(self) -> None:
        world = World((replace(ROUTE, exclude=("_temporary/*", "*.tmp"), min_size=5, max_size=len(CONTENT)),))
        put_matches(world, "in/match", "in/match.tmp")
        world.put("in/missing")
        for name in ("in/_temporary/a", "in/x/_temporary/\\", "in/a.tmp"):
            world.put(name)
        for name, content in (("in/small", b"1234"), ("in/large", CONTENT + b"1"), ("in/copied", b""), ("in/\\", b"")):
            world.put(name, content)
        for name in ("out/copied", "out/extra", "out/extra.tmp", "out/_temporary/extra"):
            put_at_target(world, name)
        job = await run_to_end(world)
        assert findings(world, job) == {"in/match": "match", "in/missing": "missing", "out/extra": "extra"}
        assert job.tally == Tally(found=1, bytes=len(CONTENT), match=1, missing=1, extra=1, started=1)
        assert world.dead_letters.open == {}

    async def test_the_filters_leave_the_pages_of_a_survey_as_they_are(self) -> None:
        """Of each page only some blobs have lines; whole pages have none."""
        world = World((replace(ROUTE, exclude=("*.tmp",), min_size=1),))
        for number in range(2 * PAGE + 7):
            world.put(f"in/0/{number:05}.tmp")
        carried = [world.put(f"in/{place}/{number:05}") for place in (0, 1) for number in range(0, 2 * PAGE, 99)]
        empty = [world.put(f"in/1/{number:05}.empty", b"") for number in range(9)]
        job = await run_to_end(world, replace(RECONCILE, rate=100))
        assert set(findings(world, job)) == {transfer.name for transfer in carried}
        assert results_by_id(world, job) == {transfer.id: "started" for transfer in carried}
        assert count_starts(world) == Counter({transfer.id: 1 for transfer in carried})
        assert not {transfer.id for transfer in empty} & set(world.instances.kept)

    async def test_a_pending_copy_is_stale_and_its_transfer_is_reported_as_running(self, world: World) -> None:
        """The receipt is written when a copy starts, so it does not count yet."""
        transfer = world.put("in/large", kind=Kind.APPEND)
        await world.instances.start(Run(transfer, NOW))
        source = await world.source.sign_read(transfer.source_blob, NOW.replace(year=2030))
        receipt = {RECEIPT_SOURCE_ETAG: transfer.etag}
        await world.target.copy(_copy(transfer, source, receipt))
        ended = await run_to_end(world)
        assert findings(world, ended) == {"in/large": "stale"}
        assert results_by_id(world, ended) == {transfer.id: "running"}
        assert "pending" in world.reports.pages[found_page(ended.id, 0)][0]["detail"]

    async def test_similar_names_are_distinguished_byte_for_byte(self, world: World) -> None:
        names = ["a", "a/", "a/b", "a//b", "ab", "a b", "A", ".a", "a%2Fb", "\u00e4", "a\u0308", "in/a", "out/a"]
        put_matches(world, *[f"in/{name}" for name in names[::2]])
        for name in names[1::2]:
            world.put(f"in/{name}")
        put_at_target(world, "out/a/c")
        put_at_target(world, "out/in/in/a")
        job = await run_to_end(world, DRY)
        assert findings(world, job) == {
            **{f"in/{name}": "match" for name in names[::2]},
            **{f"in/{name}": "missing" for name in names[1::2]},
            "out/a/c": "extra",
            "out/in/in/a": "extra",
        }

    @pytest.mark.parametrize(
        ("source", "target", "suffix"),
        [("", "", ""), ("in/", "", ".csv"), ("", "out/", ".csv"), ("a", "a", "a"), ("in", "in/in", "/x.csv")],
    )
    async def test_only_names_with_the_routes_prefix_and_suffix_are_compared(
        self, source: str, target: str, suffix: str
    ) -> None:
        route = Route("default", Place(SOURCE_HOST, "source", source), Place(TARGET_HOST, "target", target), suffix)
        world = World(routes=(route,))
        put_matches(world, *[f"{source}{number}{suffix}" for number in range(3)], route=route)
        missing = world.put(f"{source}missing{suffix}", route=route)
        for host, container, prefix in ((SOURCE_HOST, "source", source), (TARGET_HOST, "target", target)):
            if suffix:
                world.storage.put(Blob(host, container, f"{prefix}beside.other"), Item(CONTENT))
            if prefix:
                world.storage.put(Blob(host, container, f"_{prefix}beside{suffix}"), Item(CONTENT))
        world.storage.put(Blob(TARGET_HOST, "target", f"{target}extra{suffix}"), Item(CONTENT))
        job = await run_to_end(world)
        assert job.tally == Tally(found=1, bytes=len(CONTENT), match=3, missing=1, extra=1, started=1)
        assert results_by_id(world, job) == {missing.id: "started"}
        await finish_transfers(world)
        assert world.at(missing.target_blob) is not None

    async def test_only_names_with_the_jobs_prefix_are_compared(self, world: World) -> None:
        put_matches(world, "in/day=1/match", "in/day=2/match")
        missing, *_ = [world.put(name) for name in ("in/day=1/new", "in/day=2/new", "in/new")]
        for name in ("out/day=1/extra", "out/day=2/extra", "out/extra"):
            put_at_target(world, name)
        job = await run_to_end(world, replace(RECONCILE, prefix="in/day=1/"))
        assert job.tally == Tally(found=1, bytes=len(CONTENT), match=1, missing=1, extra=1, started=1)
        assert results_by_id(world, job) == {missing.id: "started"}

    async def test_a_blob_shared_between_the_two_surveys_is_not_extra(self, world: World) -> None:
        put_matches(world, "in/a")
        job = await run_until(world, DRY, Phase.EXTRAS)
        put_matches(world, "in/b")
        assert findings(world, await run_to_end(world, job)) == {"in/a": "match"}


def _copy(transfer: Transfer, source: CopySource, receipt: dict[str, str]) -> Copy:
    return Copy(transfer.target_blob, source, transfer.etag, Engine.ASYNC, receipt)


class TestOrder:
    """The result does not depend on the order of the lists."""

    NAMES = tuple(f"in/{number % 7}/{number:04}" for number in range(1_200))

    @pytest.mark.parametrize("reverse", [True, False])
    @pytest.mark.parametrize("side", ["source", "target"])
    async def test_lists_in_different_orders_give_the_same_result(
        self, world: World, side: str, *, reverse: bool
    ) -> None:
        transfers = put_matches(world, *self.NAMES)
        for transfer in transfers[::100]:
            world.storage.remove(transfer.target_blob)
        for number in range(0, 1_200, 50):
            put_at_target(world, f"out/{number % 7}/{number:04}-extra")
        order = (lambda name: name) if reverse else by_folder
        port: Any = ReorderedPort(getattr(world, side), order, reverse)
        world.ports = replace(world.ports, **{side: port})
        job = await run_to_end(world, DRY)
        assert job.tally == Tally(found=12, bytes=120, match=1_188, missing=12, extra=24)
        assert {name for name, finding in findings(world, job).items() if finding == "missing"} == set(
            self.NAMES[::100]
        )

    async def test_in_the_same_order_a_match_costs_no_request_of_its_own(self, world: World) -> None:
        """A batch lists a page of each side; a page of the other side that extends beyond this one is read again."""
        put_matches(world, *self.NAMES)
        job = await run_to_end(world, DRY)
        assert job.tally == Tally(match=1_200)
        assert not [name for name in world.request_names if name in HEADS]
        assert Counter(world.request_names) == {"source.list": 3 + 5, "target.list": 5 + 3, "reports.write": 3}

    async def test_thousands_of_extras_cost_list_pages_not_heads(self, world: World) -> None:
        """The other list is read up to four pages ahead."""
        transfers = put_matches(world, *[f"in/{number:04}" for number in range(0, 1_000, 2)])
        for number in range(5_000):
            put_at_target(world, f"out/{number // 5:04}-{number % 5}")
        world.storage.remove(transfers[400].target_blob)
        job = await run_to_end(world, DRY)
        assert job.tally == Tally(found=1, bytes=10, match=499, missing=1, extra=5_000)
        # The first 2,000 names of the target match a part of the source's one page; the rest is read with a HEAD.
        assert world.request_names.count("target.head") <= PAGE
        assert world.request_names.count("target.list") <= compare_lists.MAX_PAGES_AHEAD + 12

    async def test_after_many_leading_extras_later_pages_cost_no_heads(self, world: World) -> None:
        """The hint advances four pages per batch."""
        for number in range(3_000):
            put_at_target(world, f"out/0-{number:04}")
        put_matches(world, *[f"in/1-{number:04}" for number in range(1_500)])
        job = await run_to_end(world, DRY)
        assert job.tally == Tally(match=1_500, extra=3_000)
        assert world.request_names.count("target.head") <= PAGE


class TestStarting:
    async def test_missing_blobs_start_blind_and_stale_ones_with_a_look(self, world: World) -> None:
        missing, stale = world.put("in/missing"), world.put("in/stale")
        put_at_target(world, "out/stale")
        job = await run_to_end(world)
        runs = {instance.id: instance.run for instance in world.instances.kept.values()}
        assert {key: run.first for key, run in runs.items() if run} == {missing.id: True, stale.id: False}
        await finish_transfers(world)
        again = await run_to_end(world, replace(RECONCILE, id="reconcile-" + "b" * 24))
        assert (job.tally.started, again.tally) == (2, Tally(match=2))

    async def test_a_target_deleted_after_its_transfer_is_copied_again(self, world: World) -> None:
        transfer = world.put("in/a")
        await run_to_end(world)
        await finish_transfers(world)
        world.storage.remove(transfer.target_blob)
        again = await run_to_end(world, replace(RECONCILE, id="reconcile-" + "b" * 24))
        assert again.tally.started == 1
        await finish_transfers(world)
        assert world.at(transfer.target_blob) is not None

    @pytest.mark.parametrize("status", ["Pending", "Running", "Suspended", "ContinuedAsNew"])
    async def test_a_running_transfer_is_reported_as_running(self, world: World, status: str) -> None:
        transfer = world.put("in/a")
        world.put_instance(transfer, status, Run(transfer, NOW, attempt=1))
        await world.dead_letters.write_ended(Ended(transfer.id, 0, Ending(State.CANCELLED)))
        job = await run_to_end(world)
        assert results_by_id(world, job) == {transfer.id: "running"}
        assert not count_starts(world)

    @pytest.mark.parametrize("state", [State.CANCELLED, State.DEAD_LETTERED])
    @pytest.mark.parametrize("known", ["history and record", "history", "record"])
    async def test_a_cancelled_or_dead_lettered_transfer_is_skipped(
        self, world: World, state: State, known: str
    ) -> None:
        """Even if its history is gone and only the record of the end is left."""
        transfer = world.put("in/a")
        if "history" in known:
            world.put_instance(transfer, "Completed", output={"state": state})
        if "record" in known:
            await world.dead_letters.write_ended(Ended(transfer.id, 0, Ending(state)))
        job = await run_to_end(world)
        assert results_by_id(world, job) == {transfer.id: "skipped"}
        assert not count_starts(world)
        assert job.state is JobState.DONE
        fix = "replay" if state is State.DEAD_LETTERED else "POST /api/transfers"
        assert fix in world.reports.pages[results_page(job.id, 0)][0]["detail"]

    async def test_a_broken_transfer_is_reported_as_running(self, world: World) -> None:
        """The app resumes it, or takes it to its end. One with an unreadable input is started again."""
        failed, cancelled, unreadable = world.put("in/a"), world.put("in/b"), world.put("in/c")
        world.put_instance(failed, "Failed")
        world.put_instance(cancelled, "Terminated", Run(cancelled, NOW, cancelling=True))
        world.instances.kept[unreadable.id] = Instance(unreadable.id, "Failed", None, {}, None, NOW)
        expected = {failed.id: "running", cancelled.id: "running", unreadable.id: "started"}
        assert results_by_id(world, await run_to_end(world)) == expected
        assert count_starts(world) == {unreadable.id: 1}

    async def test_the_record_of_an_earlier_attempt_does_not_count(self, world: World) -> None:
        """It was cancelled, shared again and verified; then its target was deleted."""
        transfer = world.put("in/a")
        await world.dead_letters.write_ended(Ended(transfer.id, 0, Ending(State.CANCELLED)))
        world.put_instance(transfer, "Completed", Run(transfer, NOW, attempt=1), {"state": "verified"})
        assert results_by_id(world, await run_to_end(world)) == {transfer.id: "started"}
        run = world.instances.kept[transfer.id].run
        assert run is not None
        assert run.attempt == 2

    async def test_a_dead_letter_alone_sets_the_number_of_the_next_attempt(self, world: World) -> None:
        transfer = world.put("in/a")
        ending = Ending(State.DEAD_LETTERED, reason=Reason.THROTTLED)
        run = Run(transfer, NOW, attempt=3, state=State.DEAD_LETTERED, step=None, ending=ending)
        await world.dead_letters.write(letters.of_run(run, NOW, "0.1.0"))
        assert results_by_id(world, await run_to_end(world)) == {transfer.id: "started"}
        await finish_transfers(world)
        assert not world.dead_letters.open
        assert world.dead_letters.resolved[transfer.id].resolved_as == "verified"

    async def test_a_version_overwritten_after_the_survey_ends_superseded(self, world: World) -> None:
        listed = world.put("in/a")
        job = await run_until(world, RECONCILE, Phase.ACT)
        newer = world.put("in/a", b"newer")
        assert results_by_id(world, await run_to_end(world, job)) == {listed.id: "started"}
        await finish_transfers(world)
        assert world.instances.kept[listed.id].output["state"] == "superseded"
        assert world.at(newer.target_blob) is None


class TestRoutes:
    """Routes that change while a job runs."""

    async def test_a_route_removed_during_the_survey_fails_the_job(self, world: World) -> None:
        world.put("in/a")
        for phase in (Phase.SURVEY, Phase.EXTRAS):
            job = await run_until(world, DRY, phase)
            gone = replace(world.ports, routes=())
            kept, world.ports = world.ports, gone
            ended = await run_next_batch(world, job)
            world.ports = kept
            assert (ended.state, ended.detail) == (JobState.FAILED, "no current route has this name")

    @pytest.mark.parametrize(
        ("today", "why"),
        [
            ((), "no current route has this name"),
            (
                (replace(ROUTE, target=replace(ROUTE.target, prefix="new/")),),
                "the route now has another source, target or filter",
            ),
            (
                (replace(ROUTE, target=replace(ROUTE.target, container="other")),),
                "the route now has another source, target or filter",
            ),
            (
                (replace(ROUTE, source=replace(ROUTE.source, prefix="i")),),
                "the route now has another source, target or filter",
            ),
            (
                (replace(ROUTE, source=replace(ROUTE.source, container="other")),),
                "the route now has another source, target or filter",
            ),
            ((replace(ROUTE, suffix=".csv"),), "the route now has another source, target or filter"),
            ((replace(ROUTE, exclude=("a",)),), "the route now has another source, target or filter"),
            ((replace(ROUTE, target=replace(ROUTE.target, prefix="\\")),), "a backslash"),
        ],
        ids=[
            "gone",
            "other target prefix",
            "other target",
            "other source prefix",
            "other source",
            "suffix",
            "filters",
            "name",
        ],
    )
    async def test_a_route_with_another_source_or_target_refuses_every_line(
        self, world: World, today: tuple[Route, ...], why: str
    ) -> None:
        transfer = world.put("in/a")
        job = await run_until(world, RECONCILE, Phase.ACT)
        world.ports = replace(world.ports, routes=today)
        ended = await run_to_end(world, job)
        assert results_by_id(world, ended) == {transfer.id: "refused"}
        assert (ended.state, ended.tally.refused) == (JobState.DONE, 1)
        assert why in world.reports.pages[results_page(ended.id, 0)][0]["detail"]
        assert not count_starts(world)

    async def test_a_route_with_another_tier_is_the_same_route(self, world: World) -> None:
        transfer = world.put("in/a")
        job = await run_until(world, RECONCILE, Phase.ACT)
        world.ports = replace(world.ports, routes=(replace(ROUTE, tier="Cool"),))
        assert results_by_id(world, await run_to_end(world, job)) == {transfer.id: "started"}


BAD = ("in/a\\b", "in/./b", "in/" + "\u00e9" * 400)


class TestNamesThatCannotBeCarried:
    async def test_each_has_one_dead_letter_after_several_jobs(self, world: World) -> None:
        for name in BAD:
            world.put(name)
        world.put("in/good")
        ids: set[str] = set()
        for suffix in "abc":
            job = await run_to_end(world, replace(RECONCILE, id="reconcile-" + suffix * 24))
            assert (job.tally.error, job.tally.missing + job.tally.match) == (3, 1)
            ids |= set(world.dead_letters.open)
            await finish_transfers(world)
        assert len(ids) == 3
        assert {letter.reason for letter in world.dead_letters.open.values()} == {Reason.INVALID_NAME}
        assert {findings(world, job)[name] for name in BAD} == {"error"}
        assert count_starts(world).total() == 1

    async def test_a_dry_run_writes_no_dead_letter(self, world: World) -> None:
        world.put(BAD[0])
        job = await run_to_end(world, DRY)
        assert findings(world, job) == {BAD[0]: "error"}
        assert "invalid_name" in world.reports.pages[found_page(job.id, 0)][0]["detail"]
        assert not world.dead_letters.open
        assert not world.instances.kept

    async def test_each_version_has_its_own_dead_letter(self, world: World) -> None:
        for suffix in "ab":
            world.put(BAD[0])
            await run_to_end(world, replace(RECONCILE, id="reconcile-" + suffix * 24))
        assert len(world.dead_letters.open) == 2

    async def test_a_repeated_batch_writes_the_same_dead_letter_and_page(self, world: World) -> None:
        world.put(BAD[0])
        assert await run_batch(world, RECONCILE) == await run_batch(world, RECONCILE)
        assert (len(world.dead_letters.open), len(world.reports.pages)) == (1, 1)


class TestFailures:
    @pytest.mark.parametrize("status", [503, 403])
    async def test_a_blob_that_cannot_be_read_is_an_error_and_the_others_are_shared(
        self, world: World, status: int
    ) -> None:
        transfers = [world.put(f"in/{number}") for number in range(5)]
        put_at_target(world, "out/extra")
        put_at_target(world, "out/odd")
        unreadable = {transfers[2].target_blob.url, ROUTE.source.blob("odd").url}
        code = "ServerBusy" if status == 503 else "AuthorizationFailure"
        world.faults.append(
            lambda request, subject: (
                error_for_answer(request, status, code)
                if request in {TARGET_HEAD, SOURCE_HEAD} and subject in unreadable
                else None
            )
        )
        job = await run_to_end(world)
        assert job.state is JobState.DONE
        assert job.tally == Tally(found=4, bytes=40, missing=4, extra=1, error=2, started=4)
        assert {name for name, finding in findings(world, job).items() if finding == "error"} == {"in/2", "out/odd"}
        assert not world.dead_letters.open

    async def test_a_failed_survey_is_repeated_from_the_same_place(self, world: World) -> None:
        put_matches(world, *[f"in/{number:04}" for number in range(700)])
        world.put("in/x")
        world.refuse(SOURCE_LIST, error_for_answer(SOURCE_LIST, 503, "ServerBusy"), times=2)
        world.refuse(TARGET_LIST, error_for_answer(TARGET_LIST, 503, "ServerBusy"), times=2)
        world.refuse(TARGET_HEAD, error_for_answer(TARGET_HEAD, 503, "ServerBusy"), times=2)
        job = await run_to_end(world, DRY)
        assert job.tally == Tally(found=1, bytes=10, match=700, missing=1)
        assert job.failures == 0

    @pytest.mark.parametrize("seconds", [1, 5, 300])
    async def test_a_slow_survey_ends_its_batch_in_time_and_continues(self, world: World, seconds: int) -> None:
        """It is not a failure, and each blob has one line."""
        names = [f"in/{number:03}" for number in range(300)]
        for name in names:
            world.put(name)
            world.put(f"elsewhere/{name}")
        for number in range(100):
            put_at_target(world, f"out/extra/{number:03}")
        world.faults.append(
            lambda request, _subject: world.pass_time(seconds) if request in {TARGET_HEAD, SOURCE_HEAD} else None
        )
        job, batches = DRY, 0
        while job.phase:
            began = world.clock
            job, batches = await run_next_batch(world, job), batches + 1
            assert (world.clock - began).total_seconds() <= 180 + compare_lists.CONCURRENCY * seconds
            assert (job.failures, job.detail) == (0, "")
        assert batches > 2
        assert job.tally == Tally(found=300, bytes=3_000, missing=300, extra=100)
        assert len(findings(world, job)) == 400

    async def test_blobs_added_or_deleted_during_a_slow_survey_have_one_line_or_none(self, world: World) -> None:
        for number in range(40):
            world.put(f"in/{number:03}")
        world.faults.append(lambda request, _subject: world.pass_time(20) if request == TARGET_HEAD else None)
        changed = False

        def change(request: Any, subject: str) -> None:
            nonlocal changed
            if request == TARGET_HEAD and subject.endswith("/005") and not changed:
                changed = True
                world.put("in/001+")
                world.storage.blobs.pop(Blob(SOURCE_HOST, "source", "in/003"))

        world.faults.append(change)
        job = await run_to_end(world, DRY)
        assert job.pages > 1
        assert set(findings(world, job)) == {f"in/{number:03}" for number in range(40) if number != 3} | {"in/001+"}
        assert set(findings(world, job).values()) == {"missing"}

    async def test_occasional_failures_are_not_reported_as_errors(self) -> None:
        """A batch that made progress does not count as a failure."""
        world = YieldingWorld()
        transfers = [world.put(f"in/{number:03}") for number in range(60)]
        left = {transfer.target_blob.url: 2 for transfer in transfers[::3]}

        def fault(request: Any, subject: str) -> Exception | None:
            if request != TARGET_HEAD or not left.get(subject):
                return None
            left[subject] -= 1
            return error_for_answer(TARGET_HEAD, 503, "ServerBusy")

        world.faults.append(fault)
        job = await run_to_end(world, DRY)
        assert job.tally == Tally(found=60, bytes=600, missing=60)
        assert len(findings(world, job)) == 60
        assert not any(left.values())

    async def test_after_a_failure_the_rest_of_the_page_is_not_requested(self) -> None:
        world = YieldingWorld()
        for number in range(PAGE):
            world.put(f"in/{number:04}")
        world.refuse(TARGET_HEAD, error_for_answer(TARGET_HEAD, 503, "ServerBusy"))
        failed = await run_batch(world, DRY)
        assert "503 ServerBusy" in failed.failure
        for _ in range(10 * PAGE):  # a task that was left behind would continue now
            await asyncio.sleep(0)
        assert world.request_names.count("target.head") <= 3 * compare_lists.CONCURRENCY
        assert not world.reports.pages

    async def test_a_missing_container_ends_the_job(self, world: World) -> None:
        """A missing target container is permanent; a missing source container may be temporary and ends the job after ten batches."""
        world.put("in/a")
        world.storage.containers.discard((TARGET_HOST, "target"))
        job = await run_next_batch(world, DRY)
        assert (job.state, job.failures) == (JobState.FAILED, 1)
        world.storage.containers.discard((SOURCE_HOST, "source"))
        job = await run_to_end(world, DRY)
        assert (job.state, job.failures) == (JobState.FAILED, 10)

    async def test_after_three_failed_batches_the_fourth_reports_the_blob(self, world: World) -> None:
        world.put("in/a")
        world.refuse(TARGET_HEAD, error_for_answer(TARGET_HEAD, 503, "ServerBusy"))
        failed = [await run_batch(world, replace(DRY, failures=failures)) for failures in range(MAX_FAILED_TRIES + 1)]
        assert [bool(one.failure) for one in failed] == [True] * MAX_FAILED_TRIES + [False]
        assert failed[-1].tally == Tally(error=1)


class CountingReports:
    """Reports that count the lines and discard them."""

    def __init__(self) -> None:
        self.lines = 0

    async def write(self, _name: str, lines: list[dict[str, Any]], **_options: Any) -> None:
        self.lines += len(lines)

    async def read(self, _name: str) -> list[dict[str, Any]]:
        return []


@dataclass
class GeneratedPort(Generic[BlobT]):
    """A container of `count` blobs, generated as they are listed; every `gap`th is missing."""

    prefix: str
    count: int
    blob: Callable[[int], BlobT]
    gap: int = 0
    calls: Counter[str] = field(default_factory=Counter)

    async def page(self, place: Place, limit: int, marker: str | None) -> Listed[BlobT]:
        assert place.prefix == self.prefix
        self.calls["page"] += 1
        start = int(marker or 0)
        end = min(start + limit, self.count)
        present = [number for number in range(start, end) if self._is_there(number)]
        return [(f"{self.prefix}{number:06}", self.blob(number)) for number in present], (
            str(end) if end < self.count else None
        )

    async def head(self, blob: Blob) -> BlobT | None:
        self.calls["head"] += 1
        number = int(blob.name.removeprefix(self.prefix))
        return self.blob(number) if number < self.count and self._is_there(number) else None

    def _is_there(self, number: int) -> bool:
        return not self.gap or number % self.gap != 0


NAMES = 50_000


def use_generated_ports(world: World) -> tuple[GeneratedPort[SourceBlob], GeneratedPort[TargetBlob], CountingReports]:
    """Both sides of a route with 50,000 blobs; the target lacks every 1,000th and has 2,500 extra."""
    source = GeneratedPort("in/", NAMES, lambda number: SourceBlob(f"0x{number:X}", number, Kind.BLOCK, {}))
    target = GeneratedPort(
        "out/", NAMES + 2_500, lambda number: TargetBlob("0x1", number, source_etag=f"0x{number:X}"), gap=1_000
    )
    report = CountingReports()
    ports: dict[str, Any] = {"source": source, "target": target, "reports": report}
    world.ports = replace(world.ports, **ports)
    return source, target, report


@dataclass
class Measurement:
    """Peak memory of some batches at the beginning and the end of a long job, blocks kept, and sizes of the encoded job."""

    first: list[int] = field(default_factory=list)
    last: list[int] = field(default_factory=list)
    kept: int = 0
    sizes: list[int] = field(default_factory=list)

    def is_flat(self) -> bool:
        """Whether memory does not grow with the number of names; keeping each name would cost several blocks."""
        peaks = max(self.last) <= 1.2 * max(self.first)
        return peaks and self.kept < NAMES / 10 and max(self.sizes) <= min(self.sizes) + 150


async def run_measured(world: World, job: Job, batches: int) -> tuple[Job, Measurement]:
    """Run the job to its end. Tracing is slow, so only every fifth batch of the first and last tenth is traced."""
    measurement, blocks = Measurement(), 0
    for number in range(batches):
        is_first, is_last = number < batches // 10, number >= batches - batches // 10
        traced = (is_first or is_last) and number % 5 == 0
        if traced:
            tracemalloc.start()
        try:
            job = await run_next_batch(world, job)
            if traced:
                peaks = measurement.first if is_first else measurement.last
                peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        if number == batches // 10:
            gc.collect()
            blocks = sys.getallocatedblocks()
        measurement.sizes.append(len(json.dumps(encode(job))))
    gc.collect()
    measurement.kept = sys.getallocatedblocks() - blocks
    assert job.phase is None
    return job, measurement


async def test_a_survey_of_50_000_names_has_constant_memory(world: World) -> None:
    source, target, report = use_generated_ports(world)
    job, measurement = await run_measured(world, DRY, 100 + 105)
    assert measurement.is_flat(), measurement
    assert job.tally == Tally(
        found=50, bytes=sum(range(0, NAMES, 1_000)), match=NAMES - 50, missing=50, extra=2_500 - 3
    )
    assert report.lines == NAMES + 2_500 - 3
    # One HEAD for each blob that the other list does not show; a match costs none.
    assert (target.calls["head"], source.calls["head"]) == (50, 2_500 - 3)
    assert source.calls["page"] + target.calls["page"] <= 3 * (100 + 105)


async def test_acting_on_50_000_lines_has_constant_memory(world: World) -> None:
    line = {"class": "missing", "id": "x", "name": "in/x", "etag": "0x1", "size": 1}

    class Lines(CountingReports):
        async def read(self, name: str) -> list[dict[str, Any]]:
            return [dict(line) for _ in range(PAGE)] if "found" in name else []

    ports: dict[str, Any] = {"reports": Lines()}
    world.ports = replace(world.ports, routes=(), **ports)
    acting = replace(RECONCILE, phase=Phase.ACT, pages=NAMES // PAGE, rate=100)
    job, measurement = await run_measured(world, acting, 100)
    assert (job.state, job.tally.refused) == (JobState.DONE, NAMES)
    assert measurement.is_flat(), measurement


class UnreadablePort(Generic[BlobT]):
    """A port whose list shows one blob in another form, and whose HEAD of it may fail."""

    def __init__(self, port: Any, name: str, listed: Any, head_error: Exception | None = None) -> None:
        self.port, self.name, self.listed, self.head_error = port, name, listed, head_error

    def __getattr__(self, name: str) -> Any:
        return getattr(self.port, name)

    async def page(self, place: Place, limit: int, marker: str | None) -> Listed[BlobT]:
        items, following = await self.port.page(place, limit, marker)
        return [(name, self.listed if name == self.name else blob) for name, blob in items], following

    async def head(self, blob: Blob) -> Any:
        if blob.name == self.name and self.head_error is not None:
            raise self.head_error
        return await self.port.head(blob)


UNREADABLE = Permanent(
    Reason.UNSUPPORTED_BLOB, "source.list", "the app cannot read the service's answer about the blob"
)
LISTED: dict[str, Any] = {
    "an error in its place": UNREADABLE,
    "no blob at all": None,
    "no ETag": SourceBlob(cast("Any", None), 1, Kind.BLOCK, {}),
    "no size": SourceBlob("0x1", cast("Any", None), Kind.BLOCK, {}),
    "an ETag that is a number": SourceBlob(cast("Any", 7), 1, Kind.BLOCK, {}),
}


class TestUnreadableBlobs:
    """An unreadable blob in a list gets an error line and does not end the job."""

    @pytest.mark.parametrize("listed", LISTED)
    async def test_at_the_source_the_others_are_still_shared(self, world: World, listed: str) -> None:
        put_matches(world, "in/a")
        unreadable, missing = world.put("in/b"), world.put("in/c")
        port: Any = UnreadablePort(world.source, unreadable.name, LISTED[listed], UNREADABLE)
        world.ports = replace(world.ports, source=port)
        job = await run_to_end(world)
        assert job.state is JobState.DONE
        expected = {"in/a": "match", "in/b": "error", "in/c": "missing"}
        assert {**findings(world, job), "in/b": "error"} == expected
        assert results_by_id(world, job)[missing.id] == "started"

    async def test_at_the_source_a_head_may_show_a_match(self, world: World) -> None:
        put_matches(world, "in/a", "in/b")
        port: Any = UnreadablePort(world.source, "in/b", UNREADABLE)
        world.ports = replace(world.ports, source=port)
        job = await run_to_end(world, DRY)
        assert job.tally == Tally(match=2)

    async def test_at_the_source_a_blob_that_is_gone_at_its_head_is_an_error(self, world: World) -> None:
        world.put("in/b")
        port: Any = UnreadablePort(world.source, "in/b", UNREADABLE)
        port.head = _absent
        world.ports = replace(world.ports, source=port)
        job = await run_to_end(world, DRY)
        [line] = world.reports.pages[found_page(job.id, 0)]
        assert line == {"class": "error", "name": "in/b", "etag": None, "size": None, "detail": str(UNREADABLE)}

    async def test_at_the_target_it_is_read_with_a_head(self, world: World) -> None:
        """A match stays one; an extra blob that cannot be read is an error."""
        put_matches(world, "in/a", "in/b")
        put_at_target(world, "out/extra")
        for name in ("out/b", "out/extra"):
            target: Any = UnreadablePort(world.ports.target, name, UNREADABLE)
            world.ports = replace(world.ports, target=target)
        job = await run_to_end(world, DRY)
        assert findings(world, job) == {"in/a": "match", "in/b": "match", "out/extra": "error"}

    async def test_a_name_that_the_target_would_normalize_is_an_error(self, world: World) -> None:
        """In an account with a hierarchical namespace, `a//b` would be the copy of `a/b`."""
        world.storage.hierarchical = {TARGET_HOST}
        good = world.put("in/a/b")
        world.put("in/a//b")
        job = await run_to_end(world)
        assert findings(world, job) == {"in/a/b": "missing", "in/a//b": "error"}
        assert results_by_id(world, job) == {good.id: "started"}
        [detail] = [line["detail"] for line in world.reports.pages[found_page(job.id, 0)] if "detail" in line]
        assert "accounts with a hierarchical namespace drop it" in detail

    @pytest.mark.parametrize("name", ["in/\ud800", "in/..", "in/a\x00b"])
    async def test_a_name_that_a_url_cannot_contain_is_an_error(self, world: World, name: str) -> None:
        """It gets the dead letter of its event, if an event can contain the name."""
        good = world.put("in/good")
        world.storage.put(Blob(SOURCE_HOST, "source", name), Item(CONTENT))
        job = await run_to_end(world)
        assert job.tally.error == job.tally.started == 1
        assert results_by_id(world, job) == {good.id: "started"}
        assert len(world.dead_letters.open) == (name != "in/\ud800")

    async def test_an_unreadable_blob_added_during_a_slow_survey_is_an_error(self, world: World) -> None:
        for number in range(3):
            world.put(f"in/{number}")
        port: Any = UnreadablePort(world.source, "in/0-unreadable", None)
        world.ports = replace(world.ports, source=port)

        def slow(request: Any, subject: str) -> Exception | None:
            if request == TARGET_HEAD and subject.endswith("out/0"):
                world.pass_time(1_000)
                world.put("in/0-unreadable")
            return None

        world.faults.append(slow)
        job = await run_to_end(world, DRY)
        assert job.state is JobState.DONE
        assert findings(world, job)["in/0-unreadable"] == "error"


async def _absent(_blob: Blob) -> None:
    return None


@pytest.mark.parametrize(
    ("now", "line"),
    [
        (CONTENT, {"class": "match"}),
        (b"changed", {"class": "stale", "detail": ECHO}),
        (None, {"class": "missing", "detail": ECHO}),
    ],
)
async def test_an_echo_is_never_acted_on(world: World, now: bytes | None, line: dict[str, Any]) -> None:
    """Otherwise two mirrored routes would copy back and forth."""
    blob = identity.transfer(ROUTE, NAME, "").target_blob
    etag = world.storage.put(blob, Item(CONTENT))
    source = identity.transfer(ROUTE, NAME, "").source_blob
    back = identity.transfer_id("back", blob.url, etag, source.url)
    transfers = world.put(metadata={RECEIPT_SOURCE_ETAG: etag, RECEIPT_TRANSFER_ID: back})
    if now is None:
        world.storage.remove(blob)
    elif now != CONTENT:
        world.storage.put(blob, Item(now))
    job = await run_to_end(world, RECONCILE)
    first = world.reports.pages[found_page(job.id, 0)][0]
    assert first == {"name": NAME, "etag": transfers.etag, "size": len(CONTENT), **line}
    assert count_starts(world).total() == 0
