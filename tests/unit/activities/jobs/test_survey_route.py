"""Reconcile: how each blob stands, whatever the order of the lists; what is started, and what is left."""

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

SeenT = TypeVar("SeenT", SourceBlob, TargetBlob)
Listed = tuple[list[tuple[str, SeenT]], str | None]
DRY = replace(RECONCILE, dry_run=True)
HEADS = ("source.head", "target.head")


def found(world: World, job: Job) -> dict[str, str]:
    """What the job's report says of each name; an extra blob's name is the target's."""
    pages = [world.reports.pages[found_page(job.id, number)] for number in range(job.pages)]
    lines = [(line["name"], str(line["class"])) for page in pages for line in page]
    assert len(lines) == len(dict(lines))
    return dict(lines)


def shared(world: World, *names: str, route: Route = ROUTE) -> list[Transfer]:
    """Blobs that are whole at the target."""
    made = [world.put(name, route=route) for name in names]
    for transfer in made:
        world.put_copy(transfer)
    return made


@dataclass
class Reordered(Generic[SeenT]):
    """A port that lists in another order, as accounts of another kind do; all else is the twin's."""

    port: Any
    order: Callable[[str], Any]
    reverse: bool = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.port, name)

    async def page(self, place: Place, limit: int, marker: str | None) -> Listed[SeenT]:
        """The same blobs, so many, from the marker on."""
        items, following = await self.port.page(place, 1_000_000, None)
        assert following is None
        items.sort(key=lambda item: self.order(item[0]), reverse=self.reverse)
        start = int(marker or 0)
        return items[start : start + limit], str(start + limit) if start + limit < len(items) else None


def other_order(name: str) -> tuple[list[str], str]:
    """Folder by folder, as an account with real folders lists."""
    return name.split("/")[:-1], name


class TestFindings:
    """How a blob of the source stands at the target."""

    async def test_each_class_of_finding(self, world: World) -> None:
        """With why, where it is stale."""
        shared(world, "in/match")
        for name in ("in/missing", "in/nobodys", "in/older"):
            world.put(name)
        put_at_target(world, "out/shorter", world.put("in/shorter").etag, b"")
        put_at_target(world, "out/nobodys")
        put_at_target(world, "out/older", "0xOLD")
        put_at_target(world, "out/extra")
        world.storage.put(Blob(SOURCE_HOST, "source", "elsewhere/not-carried"), Item(CONTENT))
        put_at_target(world, "elsewhere/not-carried")
        job = await run_to_end(world, DRY)
        assert found(world, job) == {
            "in/match": "match",
            "in/missing": "missing",
            "in/nobodys": "stale",
            "in/older": "stale",
            "in/shorter": "stale",
            "out/extra": "extra",
        }
        details = {line["name"]: line.get("detail", "") for line in world.reports.pages[found_page(job.id, 0)]}
        acted_on = [line for page in world.reports.pages.values() for line in page if "id" in line]
        assert {line["class"] for line in acted_on} == {"missing", "stale"}
        assert len(acted_on) == job.tally.found
        assert details["in/nobodys"] == "the target has no receipt"
        assert "0xOLD" in details["in/older"]
        assert details["in/shorter"] == "the copy is done; the target has 0 of 10 bytes"
        assert job.tally == Tally(found=4, bytes=4 * len(CONTENT), match=1, missing=1, stale=3, extra=1)

    async def test_a_copy_under_way_is_stale_and_is_waited_for(self, world: World) -> None:
        """Its receipt was written when it began; its transfer runs, and is told so."""
        transfer = world.put("in/large", kind=Kind.APPEND)
        await world.instances.start(Run(transfer, NOW))
        source = await world.source.readable(transfer.source_blob, NOW.replace(year=2030))
        receipt = {RECEIPT_SOURCE_ETAG: transfer.etag}
        await world.target.copy(_copy(transfer, source, receipt))
        ended = await run_to_end(world)
        assert found(world, ended) == {"in/large": "stale"}
        assert results_by_id(world, ended) == {transfer.id: "running"}
        assert "pending" in world.reports.pages[found_page(ended.id, 0)][0]["detail"]

    async def test_names_that_begin_like_each_other_are_told_apart(self, world: World) -> None:
        """Byte for byte: with slashes, blanks and case."""
        names = ["a", "a/", "a/b", "a//b", "ab", "a b", "A", ".a", "a%2Fb", "\u00e4", "a\u0308", "in/a", "out/a"]
        shared(world, *[f"in/{name}" for name in names[::2]])
        for name in names[1::2]:
            world.put(f"in/{name}")
        put_at_target(world, "out/a/c")
        put_at_target(world, "out/in/in/a")
        job = await run_to_end(world, DRY)
        assert found(world, job) == {
            **{f"in/{name}": "match" for name in names[::2]},
            **{f"in/{name}": "missing" for name in names[1::2]},
            "out/a/c": "extra",
            "out/in/in/a": "extra",
        }

    @pytest.mark.parametrize(
        ("source", "target", "suffix"),
        [("", "", ""), ("in/", "", ".csv"), ("", "out/", ".csv"), ("a", "a", "a"), ("in", "in/in", "/x.csv")],
    )
    async def test_prefix_and_suffix_of_the_route_say_what_is_compared(
        self, source: str, target: str, suffix: str
    ) -> None:
        """What lies beside them, on either side, is none of its business."""
        route = Route("default", Place(SOURCE_HOST, "source", source), Place(TARGET_HOST, "target", target), suffix)
        world = World(routes=(route,))
        shared(world, *[f"{source}{number}{suffix}" for number in range(3)], route=route)
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

    async def test_what_appears_or_goes_while_it_looks_is_told_as_it_is(self, world: World) -> None:
        """A blob that was shared between the two lists is no extra."""
        shared(world, "in/a")
        job = await run_until(world, DRY, Phase.EXTRAS)
        shared(world, "in/b")
        assert found(world, await run_to_end(world, job)) == {"in/a": "match"}


def _copy(transfer: Transfer, source: CopySource, receipt: dict[str, str]) -> Copy:
    return Copy(transfer.target_blob, source, transfer.etag, Engine.ASYNC, receipt)


class TestOrder:
    """Nothing rests on the order of the lists."""

    NAMES = tuple(f"in/{number % 7}/{number:04}" for number in range(1_200))

    @pytest.mark.parametrize("reverse", [True, False])
    @pytest.mark.parametrize("side", ["source", "target"])
    async def test_lists_in_different_orders_are_compared_as_well(
        self, world: World, side: str, *, reverse: bool
    ) -> None:
        """By looking blob by blob; each page's requests are bounded."""
        made = shared(world, *self.NAMES)
        for transfer in made[::100]:
            world.storage.remove(transfer.target_blob)
        for number in range(0, 1_200, 50):
            put_at_target(world, f"out/{number % 7}/{number:04}-extra")
        order = (lambda name: name) if reverse else other_order
        port: Any = Reordered(getattr(world, side), order, reverse)
        world.ports = replace(world.ports, **{side: port})
        job = await run_to_end(world, DRY)
        assert job.tally == Tally(found=12, bytes=120, match=1_188, missing=12, extra=24)
        assert {name for name, finding in found(world, job).items() if finding == "missing"} == set(self.NAMES[::100])

    async def test_in_the_same_order_a_match_costs_no_request_of_its_own(self, world: World) -> None:
        """A page is two lists; a page of the other side is read again where it reaches beyond this one."""
        shared(world, *self.NAMES)
        job = await run_to_end(world, DRY)
        assert job.tally == Tally(match=1_200)
        assert not [name for name in world.request_names if name in HEADS]
        assert Counter(world.request_names) == {"source.list": 3 + 5, "target.list": 5 + 3, "reports.write": 3}

    async def test_thousands_of_extras_in_between_cost_lists_not_looks(self, world: World) -> None:
        """The other list runs ahead by four pages a batch."""
        made = shared(world, *[f"in/{number:04}" for number in range(0, 1_000, 2)])
        for number in range(5_000):
            put_at_target(world, f"out/{number // 5:04}-{number % 5}")
        world.storage.remove(made[400].target_blob)
        job = await run_to_end(world, DRY)
        assert job.tally == Tally(found=1, bytes=10, match=499, missing=1, extra=5_000)
        # Of the source's one page the first 2,000 names of the target show a part; the rest is looked at.
        assert world.request_names.count("target.head") <= PAGE
        assert world.request_names.count("target.list") <= compare_lists.MAX_PAGES_AHEAD + 12

    async def test_extras_before_the_first_name_are_caught_up_with(self, world: World) -> None:
        """Four pages a batch, so that a later page of the source finds its own again without a look."""
        for number in range(3_000):
            put_at_target(world, f"out/0-{number:04}")
        shared(world, *[f"in/1-{number:04}" for number in range(1_500)])
        job = await run_to_end(world, DRY)
        assert job.tally == Tally(match=1_500, extra=3_000)
        assert world.request_names.count("target.head") <= PAGE


class TestStarting:
    """What is started of what was found."""

    async def test_missing_ones_are_tried_blindly_and_stale_ones_looked_at_first(self, world: World) -> None:
        """What is known to be absent needs no look; both end verified, and a second job finds matches alone."""
        missing, stale = world.put("in/missing"), world.put("in/stale")
        put_at_target(world, "out/stale")
        job = await run_to_end(world)
        runs = {instance.id: instance.run for instance in world.instances.kept.values()}
        assert {key: run.first for key, run in runs.items() if run} == {missing.id: True, stale.id: False}
        await finish_transfers(world)
        again = await run_to_end(world, replace(RECONCILE, id="reconcile-" + "b" * 24))
        assert (job.tally.started, again.tally) == (2, Tally(match=2))

    async def test_a_target_that_was_deleted_after_its_transfer_is_shared_again(self, world: World) -> None:
        """Its history says verified; the target says what is true."""
        transfer = world.put("in/a")
        await run_to_end(world)
        await finish_transfers(world)
        world.storage.remove(transfer.target_blob)
        again = await run_to_end(world, replace(RECONCILE, id="reconcile-" + "b" * 24))
        assert again.tally.started == 1
        await finish_transfers(world)
        assert world.at(transfer.target_blob) is not None

    @pytest.mark.parametrize("status", ["Pending", "Running", "Suspended", "ContinuedAsNew"])
    async def test_one_that_runs_is_told_as_running(self, world: World, status: str) -> None:
        """Whatever was recorded of its attempts before."""
        transfer = world.put("in/a")
        world.put_instance(transfer, status, Run(transfer, NOW, attempt=1))
        await world.dead_letters.write_ended(Ended(transfer.id, 0, Ending(State.CANCELLED)))
        job = await run_to_end(world)
        assert results_by_id(world, job) == {transfer.id: "running"}
        assert not count_starts(world)

    @pytest.mark.parametrize("state", [State.CANCELLED, State.DEAD_LETTERED])
    @pytest.mark.parametrize("known", ["history and record", "history", "record"])
    async def test_what_a_person_cancelled_or_what_waits_for_its_replay_is_left(
        self, world: World, state: State, known: str
    ) -> None:
        """Also where the history is gone and the record of the end alone says so; with what would do it."""
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

    async def test_one_that_broke_runs(self, world: World) -> None:
        """It is started again by itself, or taken to its end; one whose input cannot be read is shared anew."""
        failed, cancelled, unreadable = world.put("in/a"), world.put("in/b"), world.put("in/c")
        world.put_instance(failed, "Failed")
        world.put_instance(cancelled, "Terminated", Run(cancelled, NOW, cancelling=True))
        world.instances.kept[unreadable.id] = Instance(unreadable.id, "Failed", None, {}, None, NOW)
        expected = {failed.id: "running", cancelled.id: "running", unreadable.id: "started"}
        assert results_by_id(world, await run_to_end(world)) == expected
        assert count_starts(world) == {unreadable.id: 1}

    async def test_a_record_of_an_attempt_before_the_last_one_counts_no_more(self, world: World) -> None:
        """It was cancelled, shared by a person since, verified, and then its target deleted."""
        transfer = world.put("in/a")
        await world.dead_letters.write_ended(Ended(transfer.id, 0, Ending(State.CANCELLED)))
        world.put_instance(transfer, "Completed", Run(transfer, NOW, attempt=1), {"state": "verified"})
        assert results_by_id(world, await run_to_end(world)) == {transfer.id: "started"}
        run = world.instances.kept[transfer.id].run
        assert run is not None
        assert run.attempt == 2

    async def test_a_letter_alone_sets_the_number_of_the_next_attempt(self, world: World) -> None:
        """Its history and record are gone; what is missing is shared, and the end resolves the letter."""
        transfer = world.put("in/a")
        ending = Ending(State.DEAD_LETTERED, reason=Reason.THROTTLED)
        run = Run(transfer, NOW, attempt=3, state=State.DEAD_LETTERED, step=None, ending=ending)
        await world.dead_letters.write(letters.of_run(run, NOW, "0.1.0"))
        assert results_by_id(world, await run_to_end(world)) == {transfer.id: "started"}
        await finish_transfers(world)
        assert not world.dead_letters.open
        assert world.dead_letters.resolved[transfer.id].resolved_as == "verified"

    async def test_a_version_that_was_overwritten_since_ends_superseded(self, world: World) -> None:
        """The newer one has an event of its own; the line is of the version that was listed."""
        listed = world.put("in/a")
        job = await run_until(world, RECONCILE, Phase.ACT)
        newer = world.put("in/a", b"newer")
        assert results_by_id(world, await run_to_end(world, job)) == {listed.id: "started"}
        await finish_transfers(world)
        assert world.instances.kept[listed.id].output["state"] == "superseded"
        assert world.at(newer.target_blob) is None


class TestRoutes:
    """A route that is another by the time that it is acted on."""

    async def test_one_that_is_gone_before_the_survey_has_ended_fails_the_job(self, world: World) -> None:
        """Nothing could be compared."""
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
                "the route now has another source or target",
            ),
            (
                (replace(ROUTE, target=replace(ROUTE.target, container="other")),),
                "the route now has another source or target",
            ),
            ((replace(ROUTE, source=replace(ROUTE.source, prefix="i")),), "the route now has another source or target"),
            (
                (replace(ROUTE, source=replace(ROUTE.source, container="other")),),
                "the route now has another source or target",
            ),
            ((replace(ROUTE, suffix=".csv"),), "the route now has another source or target"),
            ((replace(ROUTE, target=replace(ROUTE.target, prefix="\\")),), "a backslash"),
        ],
        ids=["gone", "other target prefix", "other target", "other source prefix", "other source", "suffix", "name"],
    )
    async def test_one_that_leads_elsewhere_refuses_every_line(
        self, world: World, today: tuple[Route, ...], why: str
    ) -> None:
        """What was surveyed is no more what would be done; each line says so, and nothing is started."""
        transfer = world.put("in/a")
        job = await run_until(world, RECONCILE, Phase.ACT)
        world.ports = replace(world.ports, routes=today)
        ended = await run_to_end(world, job)
        assert results_by_id(world, ended) == {transfer.id: "refused"}
        assert (ended.state, ended.tally.refused) == (JobState.DONE, 1)
        assert why in world.reports.pages[results_page(ended.id, 0)][0]["detail"]
        assert not count_starts(world)

    async def test_one_whose_engine_changed_is_the_same_route(self, world: World) -> None:
        """Where it leads is what counts."""
        transfer = world.put("in/a")
        job = await run_until(world, RECONCILE, Phase.ACT)
        world.ports = replace(world.ports, routes=(replace(ROUTE, tier="Cool"),))
        assert results_by_id(world, await run_to_end(world, job)) == {transfer.id: "started"}


BAD = ("in/a\\b", "in/./b", "in/" + "\u00e9" * 400)


class TestNames:
    """Names that cannot be carried."""

    async def test_each_is_one_dead_letter_however_often_it_is_found(self, world: World) -> None:
        """As its event would be; the same one each time."""
        for name in BAD:
            world.put(name)
        world.put("in/good")
        ids: set[str] = set()
        for letter in "abc":
            job = await run_to_end(world, replace(RECONCILE, id="reconcile-" + letter * 24))
            assert (job.tally.error, job.tally.missing + job.tally.match) == (3, 1)
            ids |= set(world.dead_letters.open)
            await finish_transfers(world)
        assert len(ids) == 3
        assert {letter.reason for letter in world.dead_letters.open.values()} == {Reason.INVALID_NAME}
        assert {found(world, job)[name] for name in BAD} == {"error"}
        assert count_starts(world).total() == 1

    async def test_a_dry_run_writes_none(self, world: World) -> None:
        """It tells them, and changes nothing."""
        world.put(BAD[0])
        job = await run_to_end(world, DRY)
        assert found(world, job) == {BAD[0]: "error"}
        assert "invalid_name" in world.reports.pages[found_page(job.id, 0)][0]["detail"]
        assert not world.dead_letters.open
        assert not world.instances.kept

    async def test_an_overwritten_one_is_another_letter(self, world: World) -> None:
        """Another version is another."""
        for letter in "ab":
            world.put(BAD[0])
            await run_to_end(world, replace(RECONCILE, id="reconcile-" + letter * 24))
        assert len(world.dead_letters.open) == 2

    async def test_a_batch_that_runs_twice_writes_them_once(self, world: World) -> None:
        """And its page of the report once."""
        world.put(BAD[0])
        assert await run_batch(world, RECONCILE) == await run_batch(world, RECONCILE)
        assert (len(world.dead_letters.open), len(world.reports.pages)) == (1, 1)


class TestTrouble:
    """Storage that fails while it surveys."""

    @pytest.mark.parametrize("status", [503, 403])
    async def test_a_blob_that_cannot_be_looked_at_is_an_error_and_the_others_have_their_batch(
        self, world: World, status: int
    ) -> None:
        """Some cannot be read without a key of their own: that is no reason to share none."""
        made = [world.put(f"in/{number}") for number in range(5)]
        put_at_target(world, "out/extra")
        put_at_target(world, "out/odd")
        odd = {made[2].target_blob.url, ROUTE.source.blob("odd").url}
        code = "ServerBusy" if status == 503 else "AuthorizationFailure"
        world.faults.append(
            lambda asked, about: (
                error_for_answer(asked, status, code) if asked in {TARGET_HEAD, SOURCE_HEAD} and about in odd else None
            )
        )
        job = await run_to_end(world)
        assert job.state is JobState.DONE
        assert job.tally == Tally(found=4, bytes=40, missing=4, extra=1, error=2, started=4)
        assert {name for name, finding in found(world, job).items() if finding == "error"} == {"in/2", "out/odd"}
        assert not world.dead_letters.open

    async def test_a_survey_that_fails_is_done_again_from_the_same_place(self, world: World) -> None:
        """Nothing is counted twice, and no page of the report is written twice over."""
        shared(world, *[f"in/{number:04}" for number in range(700)])
        world.put("in/x")
        world.refuse(SOURCE_LIST, error_for_answer(SOURCE_LIST, 503, "ServerBusy"), times=2)
        world.refuse(TARGET_LIST, error_for_answer(TARGET_LIST, 503, "ServerBusy"), times=2)
        world.refuse(TARGET_HEAD, error_for_answer(TARGET_HEAD, 503, "ServerBusy"), times=2)
        job = await run_to_end(world, DRY)
        assert job.tally == Tally(found=1, bytes=10, match=700, missing=1)
        assert job.failures == 0

    @pytest.mark.parametrize("seconds", [1, 5, 300])
    async def test_a_survey_that_is_slow_ends_its_batch_in_time_and_goes_on(self, world: World, seconds: int) -> None:
        """No fault, and nothing is an error that was not looked at; each blob has one line, on either side."""
        names = [f"in/{number:03}" for number in range(300)]
        for name in names:
            world.put(name)
            world.put(f"elsewhere/{name}")
        for number in range(100):
            put_at_target(world, f"out/extra/{number:03}")
        world.faults.append(
            lambda asked, _about: world.pass_time(seconds) if asked in {TARGET_HEAD, SOURCE_HEAD} else None
        )
        job, batches = DRY, 0
        while job.phase:
            began = world.clock
            job, batches = await run_next_batch(world, job), batches + 1
            assert (world.clock - began).total_seconds() <= 180 + compare_lists.CONCURRENCY * seconds
            assert (job.failures, job.detail) == (0, "")
        assert batches > 2
        assert job.tally == Tally(found=300, bytes=3_000, missing=300, extra=100)
        assert len(found(world, job)) == 400

    async def test_blobs_that_come_and_go_while_a_survey_is_slow_are_looked_at_once(self, world: World) -> None:
        """The shorter page is listed anew: what is new in it has its line, what is gone has none."""
        for number in range(40):
            world.put(f"in/{number:03}")
        world.faults.append(lambda asked, _about: world.pass_time(20) if asked == TARGET_HEAD else None)
        changed = False

        def change(asked: Any, about: str) -> None:
            nonlocal changed
            if asked == TARGET_HEAD and about.endswith("/005") and not changed:
                changed = True
                world.put("in/001+")
                world.storage.blobs.pop(Blob(SOURCE_HOST, "source", "in/003"))

        world.faults.append(change)
        job = await run_to_end(world, DRY)
        assert job.pages > 1
        assert set(found(world, job)) == {f"in/{number:03}" for number in range(40) if number != 3} | {"in/001+"}
        assert set(found(world, job).values()) == {"missing"}

    async def test_a_blob_that_storage_fails_now_and_then_is_no_error(self) -> None:
        """A batch that got somewhere is no fault, however many looks fail."""
        world = YieldingWorld()
        made = [world.put(f"in/{number:03}") for number in range(60)]
        left = {transfer.target_blob.url: 2 for transfer in made[::3]}

        def trouble(asked: Any, about: str) -> Exception | None:
            if asked != TARGET_HEAD or not left.get(about):
                return None
            left[about] -= 1
            return error_for_answer(TARGET_HEAD, 503, "ServerBusy")

        world.faults.append(trouble)
        job = await run_to_end(world, DRY)
        assert job.tally == Tally(found=60, bytes=600, missing=60)
        assert len(found(world, job)) == 60
        assert not any(left.values())

    async def test_storage_that_is_busy_is_not_asked_for_the_rest_of_the_page(self) -> None:
        """The batch is done again after a backoff."""
        world = YieldingWorld()
        for number in range(PAGE):
            world.put(f"in/{number:04}")
        world.refuse(TARGET_HEAD, error_for_answer(TARGET_HEAD, 503, "ServerBusy"))
        failed = await run_batch(world, DRY)
        assert "503 ServerBusy" in failed.failure
        for _ in range(10 * PAGE):  # whatever was left behind would go on now
            await asyncio.sleep(0)
        assert world.request_names.count("target.head") <= 3 * compare_lists.CONCURRENCY
        assert not world.reports.pages

    async def test_a_container_that_is_missing_ends_the_job(self, world: World) -> None:
        """The target's at once, for a person is needed; the source's after ten batches, for it may be a fault of the moment."""
        world.put("in/a")
        world.storage.containers.discard((TARGET_HOST, "target"))
        job = await run_next_batch(world, DRY)
        assert (job.state, job.failures) == (JobState.FAILED, 1)
        world.storage.containers.discard((SOURCE_HOST, "source"))
        job = await run_to_end(world, DRY)
        assert (job.state, job.failures) == (JobState.FAILED, 10)

    async def test_patience_is_the_same_as_for_acting(self, world: World) -> None:
        """Three batches are done again, the fourth tells."""
        world.put("in/a")
        world.refuse(TARGET_HEAD, error_for_answer(TARGET_HEAD, 503, "ServerBusy"))
        failed = [await run_batch(world, replace(DRY, failures=faults)) for faults in range(MAX_FAILED_TRIES + 1)]
        assert [bool(one.failure) for one in failed] == [True] * MAX_FAILED_TRIES + [False]
        assert failed[-1].tally == Tally(error=1)


class Nothing:
    """A report that nobody reads: what is written is counted, and forgotten."""

    def __init__(self) -> None:
        self.lines = 0

    async def write(self, _name: str, lines: list[dict[str, Any]], **_how: Any) -> None:
        """Count."""
        self.lines += len(lines)

    async def read(self, _name: str) -> list[dict[str, Any]]:
        """Nothing."""
        return []


@dataclass
class Endless(Generic[SeenT]):
    """A container of so many blobs, made as they are listed; every `gap`th is not there."""

    prefix: str
    count: int
    blob: Callable[[int], SeenT]
    gap: int = 0
    asked: Counter[str] = field(default_factory=Counter)

    async def page(self, place: Place, limit: int, marker: str | None) -> Listed[SeenT]:
        """A page from the marker on."""
        assert place.prefix == self.prefix
        self.asked["page"] += 1
        start = int(marker or 0)
        end = min(start + limit, self.count)
        there = [number for number in range(start, end) if self._is_there(number)]
        return [(f"{self.prefix}{number:06}", self.blob(number)) for number in there], (
            str(end) if end < self.count else None
        )

    async def head(self, blob: Blob) -> SeenT | None:
        """A look at one."""
        self.asked["head"] += 1
        number = int(blob.name.removeprefix(self.prefix))
        return self.blob(number) if number < self.count and self._is_there(number) else None

    def _is_there(self, number: int) -> bool:
        return not self.gap or number % self.gap != 0


NAMES = 100_000


def endless(world: World) -> tuple[Endless[SourceBlob], Endless[TargetBlob], Nothing]:
    """Both sides of a route with 100,000 blobs; of the target's every 1,000th is missing, and 5,000 are extra."""
    source = Endless("in/", NAMES, lambda number: SourceBlob(f"0x{number:X}", number, Kind.BLOCK, {}))
    target = Endless(
        "out/", NAMES + 5_000, lambda number: TargetBlob("0x1", number, source_etag=f"0x{number:X}"), gap=1_000
    )
    report = Nothing()
    ports: dict[str, Any] = {"source": source, "target": target, "reports": report}
    world.ports = replace(world.ports, **ports)
    return source, target, report


@dataclass
class Measured:
    """What a long job took: the peaks of some batches at its beginning and its end, what it kept, and its own size."""

    first: list[int] = field(default_factory=list)
    last: list[int] = field(default_factory=list)
    kept: int = 0
    sizes: list[int] = field(default_factory=list)

    def is_flat(self) -> bool:
        """Whether the end is as the beginning: a name that is kept is several blocks of memory."""
        peaks = max(self.last) <= 1.2 * max(self.first)
        return peaks and self.kept < NAMES / 10 and max(self.sizes) <= min(self.sizes) + 150


async def measured(world: World, job: Job, batches: int) -> tuple[Job, Measured]:
    """The job at its end. Tracing costs much, so of its first and its last tenth every fifth batch is traced."""
    seen, blocks = Measured(), 0
    for number in range(batches):
        peaks = seen.first if number < batches // 10 else seen.last if number >= batches - batches // 10 else None
        traced = peaks is not None and number % 5 == 0
        if traced:
            tracemalloc.start()
        try:
            job = await run_next_batch(world, job)
            if traced and peaks is not None:
                peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        if number == batches // 10:
            gc.collect()
            blocks = sys.getallocatedblocks()
        seen.sizes.append(len(json.dumps(encode(job))))
    gc.collect()
    seen.kept = sys.getallocatedblocks() - blocks
    assert job.phase is None
    return job, seen


async def test_a_hundred_thousand_names_are_compared_flat_in_memory(world: World) -> None:
    """Memory and the job itself are the same at the end as at the beginning; requests follow the pages."""
    source, target, report = endless(world)
    job, seen = await measured(world, DRY, 200 + 210)
    assert seen.is_flat(), seen
    assert job.tally == Tally(
        found=100, bytes=sum(range(0, NAMES, 1_000)), match=NAMES - 100, missing=100, extra=5_000 - 5
    )
    assert report.lines == NAMES + 5_000 - 5
    # One look for each that the lists do not show, on either side; a match costs none.
    assert (target.asked["head"], source.asked["head"]) == (100, 5_000 - 5)
    assert source.asked["page"] + target.asked["page"] <= 3 * (200 + 210)


async def test_a_hundred_thousand_lines_are_acted_on_flat_in_memory(world: World) -> None:
    """A batch holds a few seconds' worth of lines, wherever it is."""
    line = {"class": "missing", "id": "x", "name": "in/x", "etag": "0x1", "size": 1}

    class Lines(Nothing):
        async def read(self, name: str) -> list[dict[str, Any]]:
            return [dict(line) for _ in range(PAGE)] if "found" in name else []

    ports: dict[str, Any] = {"reports": Lines()}
    world.ports = replace(world.ports, routes=(), **ports)
    acting = replace(RECONCILE, phase=Phase.ACT, pages=NAMES // PAGE, rate=100)
    job, seen = await measured(world, acting, 200)
    assert (job.state, job.tally.refused) == (JobState.DONE, NAMES)
    assert seen.is_flat(), seen


class Odd(Generic[SeenT]):
    """A port whose list shows one blob oddly, and whose looks may fail over it as well."""

    def __init__(self, port: Any, name: str, shown: Any, look: Exception | None = None) -> None:
        self.port, self.name, self.shown, self.look = port, name, shown, look

    def __getattr__(self, name: str) -> Any:
        return getattr(self.port, name)

    async def page(self, place: Place, limit: int, marker: str | None) -> Listed[SeenT]:
        """The twin's page, but for one."""
        items, following = await self.port.page(place, limit, marker)
        return [(name, self.shown if name == self.name else blob) for name, blob in items], following

    async def head(self, blob: Blob) -> Any:
        """The twin's look, but for one."""
        if blob.name == self.name and self.look is not None:
            raise self.look
        return await self.port.head(blob)


UNREAD = Permanent(Reason.UNSUPPORTED_BLOB, "source.list", "the app cannot read the service's answer about the blob")
SHOWN: dict[str, Any] = {
    "an error in its place": UNREAD,
    "no blob at all": None,
    "no ETag": SourceBlob(cast("Any", None), 1, Kind.BLOCK, {}),
    "no size": SourceBlob("0x1", cast("Any", None), Kind.BLOCK, {}),
    "an ETag that is a number": SourceBlob(cast("Any", 7), 1, Kind.BLOCK, {}),
}


class TestOddBlobs:
    """A fault in one listed blob is its own line, and never the end of the job."""

    @pytest.mark.parametrize("shown", SHOWN)
    async def test_at_the_source_does_not_keep_the_others_from_being_shared(self, world: World, shown: str) -> None:
        """Whatever the list hands over."""
        shared(world, "in/a")
        odd, missing = world.put("in/b"), world.put("in/c")
        port: Any = Odd(world.source, odd.name, SHOWN[shown], UNREAD)
        world.ports = replace(world.ports, source=port)
        job = await run_to_end(world)
        assert job.state is JobState.DONE
        expected = {"in/a": "match", "in/b": "error", "in/c": "missing"}
        assert {**found(world, job), "in/b": "error"} == expected
        assert results_by_id(world, job)[missing.id] == "started"

    async def test_a_look_may_tell_what_the_list_does_not(self, world: World) -> None:
        """So a list that is odd as a whole costs looks, not a job."""
        shared(world, "in/a", "in/b")
        port: Any = Odd(world.source, "in/b", UNREAD)
        world.ports = replace(world.ports, source=port)
        job = await run_to_end(world, DRY)
        assert job.tally == Tally(match=2)

    async def test_that_is_gone_when_it_is_looked_at_is_an_error(self, world: World) -> None:
        """The list has it, and nobody can tell what it was."""
        world.put("in/b")
        port: Any = Odd(world.source, "in/b", UNREAD)
        port.head = _nothing
        world.ports = replace(world.ports, source=port)
        job = await run_to_end(world, DRY)
        [line] = world.reports.pages[found_page(job.id, 0)]
        assert line == {"class": "error", "name": "in/b", "etag": None, "size": None, "detail": str(UNREAD)}

    async def test_at_the_target_is_looked_at(self, world: World) -> None:
        """A match stays one; an extra blob that nobody can read is an error."""
        shared(world, "in/a", "in/b")
        put_at_target(world, "out/extra")
        for name in ("out/b", "out/extra"):
            target: Any = Odd(world.ports.target, name, UNREAD)
            world.ports = replace(world.ports, target=target)
        job = await run_to_end(world, DRY)
        assert found(world, job) == {"in/a": "match", "in/b": "match", "out/extra": "error"}

    async def test_a_name_that_the_target_would_fold_is_an_error(self, world: World) -> None:
        """Its account has a hierarchical namespace: `a//b` there would be the copy of `a/b`."""
        world.storage.hierarchical = {TARGET_HOST}
        good = world.put("in/a/b")
        world.put("in/a//b")
        job = await run_to_end(world)
        assert found(world, job) == {"in/a/b": "missing", "in/a//b": "error"}
        assert results_by_id(world, job) == {good.id: "started"}
        [detail] = [line["detail"] for line in world.reports.pages[found_page(job.id, 0)] if "detail" in line]
        assert "accounts with a hierarchical namespace drop it" in detail

    @pytest.mark.parametrize("name", ["in/\ud800", "in/..", "in/a\x00b"])
    async def test_a_name_that_no_url_can_say_is_an_error(self, world: World, name: str) -> None:
        """With the dead letter of its event, where an event can say the name."""
        good = world.put("in/good")
        world.storage.put(Blob(SOURCE_HOST, "source", name), Item(CONTENT))
        job = await run_to_end(world)
        assert job.tally.error == job.tally.started == 1
        assert results_by_id(world, job) == {good.id: "started"}
        assert len(world.dead_letters.open) == (name != "in/\ud800")

    async def test_one_that_came_while_a_slow_page_was_listed_again_is_told_as_well(self, world: World) -> None:
        """The blobs of the second list are looked at with the same care."""
        for number in range(3):
            world.put(f"in/{number}")
        port: Any = Odd(world.source, "in/0-odd", None)
        world.ports = replace(world.ports, source=port)

        def slow(request: Any, subject: str) -> Exception | None:
            if request == TARGET_HEAD and subject.endswith("out/0"):
                world.pass_time(1_000)
                world.put("in/0-odd")
            return None

        world.faults.append(slow)
        job = await run_to_end(world, DRY)
        assert job.state is JobState.DONE
        assert found(world, job)["in/0-odd"] == "error"


async def _nothing(_blob: Blob) -> None:
    return None


@pytest.mark.parametrize(
    ("now", "line"),
    [
        (CONTENT, {"class": "match"}),
        (b"changed", {"class": "stale", "detail": ECHO}),
        (None, {"class": "missing", "detail": ECHO}),
    ],
)
async def test_an_echo_is_nothing_to_act_on(world: World, now: bytes | None, line: dict[str, Any]) -> None:
    """The target holds what the source was copied from, or did once: a job of two ways comes to rest."""
    blob = identity.transfer(ROUTE, NAME, "").target_blob
    etag = world.storage.put(blob, Item(CONTENT))
    here = identity.transfer(ROUTE, NAME, "").source_blob
    back = identity.transfer_id("back", blob.url, etag, here.url)
    made = world.put(metadata={RECEIPT_SOURCE_ETAG: etag, RECEIPT_TRANSFER_ID: back})
    if now is None:
        world.storage.remove(blob)
    elif now != CONTENT:
        world.storage.put(blob, Item(now))
    job = await run_to_end(world, RECONCILE)
    first = world.reports.pages[found_page(job.id, 0)][0]
    assert first == {"name": NAME, "etag": made.etag, "size": len(CONTENT), **line}
    assert count_starts(world).total() == 0
