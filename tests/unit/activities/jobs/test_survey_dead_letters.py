"""Bulk replay: which dead letters match, the result of each, and that concurrent jobs are safe."""

import asyncio
import random
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from adapters.translation import DEAD_LETTERS_LIST, TARGET_COPY, Request, error_for_answer
from operations.transfers.accept import refuse
from rules.codec import decode, encode
from rules.dead_letters import letters, records
from rules.errors import Reason
from rules.events.parse import RejectedEvent
from rules.jobs import lifecycle
from rules.jobs.model import Job, JobKind, JobState, Phase, Tally
from rules.jobs.report import PAGE, found_page, results_page
from rules.transfers.model import Run
from tests.unit.job_runs import (
    MILLISECOND,
    OTHER_ROUTE,
    YieldingWorld,
    finish_transfers,
    put_dead_letter,
    results_by_id,
    run_next_batch,
    run_to_end,
    run_until,
)
from tests.unit.samples import NOW, ROUTE, after
from tests.unit.world import World

REPLAY = Job("replay-" + "a" * 24, JobKind.REPLAY, NOW)


async def find_matches(world: World, **by: Any) -> set[str]:
    """The ids that a dry run finds."""
    job = await run_to_end(world, decode(Job, encode(replace(REPLAY, dry_run=True, **by))))
    pages = [world.reports.pages[found_page(job.id, number)] for number in range(job.pages)]
    lines = [line["id"] for page in pages for line in page]
    assert len(lines) == len(set(lines)) == job.tally.found
    assert job.state is JobState.DONE
    return set(lines)


class TestFilter:
    async def test_by_reason_and_by_route_and_by_both(self) -> None:
        """Without a filter all match. A message has no route, so a filter by route excludes it."""
        world = World(routes=(ROUTE, OTHER_ROUTE))
        one = await put_dead_letter(world, "in/1", Reason.THROTTLED)
        two = await put_dead_letter(world, "in/2", Reason.TARGET_UNWRITABLE)
        three = await put_dead_letter(world, "in/3", Reason.THROTTLED, route=OTHER_ROUTE)
        message = await refuse(world.ports, b"hello", RejectedEvent(Reason.MALFORMED, "no JSON"))
        assert await find_matches(world) == {one.id, two.id, three.id, message}
        assert await find_matches(world, route="default") == {one.id, two.id}
        assert await find_matches(world, reason=Reason.THROTTLED) == {one.id, three.id}
        assert await find_matches(world, reason=Reason.THROTTLED, route="other") == {three.id}
        assert await find_matches(world, reason=Reason.MALFORMED) == {message}
        assert await find_matches(world, reason=Reason.MALFORMED, route="default") == set()
        assert await find_matches(world, route="unknown") == set()

    @pytest.mark.parametrize(
        ("since", "until", "matches"),
        [
            (NOW, None, True),
            (NOW + MILLISECOND, None, False),
            (None, NOW, False),
            (None, NOW + MILLISECOND, True),
            (NOW, NOW + MILLISECOND, True),
            (NOW, NOW, False),
            (NOW + MILLISECOND, NOW, False),
            (NOW - MILLISECOND, NOW, False),
        ],
    )
    async def test_since_is_inclusive_and_until_is_exclusive(
        self, world: World, since: datetime | None, until: datetime | None, *, matches: bool
    ) -> None:
        """Two jobs, one until and one since the same time, match each dead letter once."""
        transfer = await put_dead_letter(world, "in/1")
        assert await find_matches(world, since=since, until=until) == ({transfer.id} if matches else set())

    async def test_the_newest_failure_counts(self, world: World) -> None:
        transfer = await put_dead_letter(world, "in/1")
        again = Run(transfer, after(hours=1), attempt=1)
        await world.dead_letters.write(letters.of_run(again, after(hours=2), "0.1.0"))
        assert await find_matches(world, until=after(hours=1)) == set()
        assert await find_matches(world, since=after(hours=2)) == {transfer.id}

    @pytest.mark.parametrize("lost", [None, "", "yesterday", "2026-11-24T19:02:44"])
    async def test_an_item_without_a_time_matches_only_without_a_time_filter(
        self, world: World, monkeypatch: pytest.MonkeyPatch, lost: str | None
    ) -> None:
        transfer = await put_dead_letter(world, "in/1")
        listed = records.list_item

        def without(identity: str, metadata: dict[str, str]) -> dict[str, Any]:
            return {**listed(identity, metadata), "last_failed_at": lost}

        monkeypatch.setattr(records, "list_item", without)
        assert await find_matches(world) == {transfer.id}
        assert await find_matches(world, since=NOW - timedelta(days=9)) == set()
        assert await find_matches(world, until=NOW + timedelta(days=9)) == set()

    async def test_pages_without_a_match_write_no_page_of_the_report(self, world: World) -> None:
        for number in range(2 * PAGE):
            await put_dead_letter(world, f"in/{number}", Reason.INTERNAL, size=None)
        wanted = [await put_dead_letter(world, f"in/x{number}") for number in range(3)]
        world.requests.clear()
        job = await run_to_end(world, replace(REPLAY, dry_run=True, reason=Reason.THROTTLED))
        assert (job.tally, job.pages <= 3) == (Tally(found=3, bytes=30), True)
        assert world.request_names.count("dead_letters.list") == 3
        # The list has all that is needed, so no dead letter is read.
        assert "dead_letters.read" not in world.request_names
        assert await find_matches(world, reason=Reason.THROTTLED) == {transfer.id for transfer in wanted}

    async def test_bytes_add_up_the_known_sizes(self, world: World) -> None:
        await put_dead_letter(world, "in/1", size=7)
        await put_dead_letter(world, "in/2", size=None)
        job = await run_to_end(world, replace(REPLAY, dry_run=True))
        assert job.tally == Tally(found=2, bytes=7)
        assert not {run.attempt for instance in world.instances.kept.values() if (run := instance.run)} - {0}

    async def test_a_failed_list_request_is_repeated(self, world: World) -> None:
        await put_dead_letter(world, "in/1")
        world.refuse(DEAD_LETTERS_LIST, error_for_answer(DEAD_LETTERS_LIST, 503, "ServerBusy"), times=2)
        assert (await run_to_end(world, replace(REPLAY, dry_run=True))).tally.found == 1


class TestResults:
    async def test_each_dead_letter_is_started_running_or_refused(self) -> None:
        """A refused dead letter stays open, and the job ends as done."""
        world = World(routes=(ROUTE, OTHER_ROUTE))
        open_letter, running = await put_dead_letter(world, "in/1"), await put_dead_letter(world, "in/2")
        resolved, deleted = await put_dead_letter(world, "in/3"), await put_dead_letter(world, "in/4")
        resolved_later = await put_dead_letter(world, "in/7")
        removed_route = await put_dead_letter(world, "in/5", route=OTHER_ROUTE)
        bad = await refuse(world.ports, b"hello", RejectedEvent(Reason.MALFORMED, "no JSON"))
        message = await refuse(
            world.ports, world.event(world.put("in/6")), RejectedEvent(Reason.NOT_ALLOWED, "as it was")
        )
        job = await run_until(world, replace(REPLAY), Phase.ACT)
        world.put_instance(running, "Running")
        await world.dead_letters.resolve(resolved.id, 0, "verified", NOW - MILLISECOND)
        await world.dead_letters.resolve(resolved_later.id, 0, "verified", NOW)
        del world.dead_letters.open[deleted.id]
        world.ports = replace(world.ports, routes=(ROUTE,))
        job = await run_to_end(world, job)
        assert results_by_id(world, job) == {
            open_letter.id: "started",
            running.id: "running",
            resolved.id: "refused",
            resolved_later.id: "running",
            deleted.id: "refused",
            removed_route.id: "refused",
            bad: "refused",
            message: "started",
        }
        details = {line["id"]: line["detail"] for line in world.reports.pages[results_page(job.id, 0)]}
        assert "already resolved" in details[resolved.id]
        assert details[resolved_later.id] == "replayed in the meantime"
        assert "no current route is named 'other'" in details[removed_route.id]
        assert {open_letter.id, running.id, removed_route.id, bad} == set(world.dead_letters.open)
        assert job.tally == Tally(found=8, bytes=60, started=2, running=2, refused=4)

    async def test_replays_that_succeed_resolve_their_dead_letters(self, world: World) -> None:
        transfers = [await put_dead_letter(world, f"in/{number}") for number in range(30)]
        await run_to_end(world, replace(REPLAY, rate=1))
        await finish_transfers(world)
        assert all(world.at(transfer.target_blob) for transfer in transfers)
        assert await find_matches(world) == set()
        assert {letter.resolved_as for letter in world.dead_letters.resolved.values()} == {"verified"}

    async def test_a_replay_that_fails_again_is_not_repeated_by_the_same_job(self, world: World) -> None:
        transfers = [await put_dead_letter(world, f"in/{number}") for number in range(12)]
        world.refuse(TARGET_COPY, error_for_answer(TARGET_COPY, 404, "ContainerNotFound"))
        job = await run_until(world, replace(REPLAY, rate=1), Phase.ACT)
        while job.phase:
            job = await run_next_batch(world, job)
            await finish_transfers(world)
        assert job.tally == Tally(found=12, bytes=120, started=12)
        assert {letter.last_attempt for letter in world.dead_letters.open.values()} == {1}
        assert set(world.dead_letters.open) == {transfer.id for transfer in transfers}

    async def test_a_repeated_batch_reports_dead_letters_that_it_resolved_itself_as_running(self, world: World) -> None:
        transfers = [await put_dead_letter(world, f"in/{number}") for number in range(5)]
        job = await run_until(world, REPLAY, Phase.ACT)
        await run_next_batch(world, job)
        world.reports.pages.pop(results_page(job.id, 0))  # as if the host had died before the write
        await finish_transfers(world)
        ended = await run_to_end(world, job)
        assert results_by_id(world, ended) == {transfer.id: "running" for transfer in transfers}
        assert world.request_names.count("target.copy") == 5
        assert not world.dead_letters.open


class TestResumption:
    @pytest.mark.parametrize("seed", range(20))
    async def test_killed_and_resumed_at_random_each_dead_letter_is_replayed_and_reported_once(self, seed: int) -> None:
        """The list of open dead letters has changed by then, because replays resolve them."""
        rng, world = random.Random(seed), World()  # noqa: S311  # seeded, so that a failure can be reproduced
        transfers = [await put_dead_letter(world, f"in/{number:03}") for number in range(100)]
        job, requests_left = replace(REPLAY, rate=2), 0
        inputs = [job]

        def kill(_request: Request, _subject: str) -> Exception | None:
            nonlocal requests_left
            requests_left -= 1
            return RuntimeError("killed") if requests_left == 0 else None

        world.faults.append(kill)
        while job.phase:
            requests_left = rng.choice([0, 0, rng.randrange(1, 90)])
            try:
                job = await run_next_batch(world, job)
            except RuntimeError:
                job = lifecycle.handle_failure(job, "killed", world.clock)
            requests_left = 0
            inputs.append(job)
            if rng.random() < 0.3:
                await finish_transfers(world)
            if job.phase and rng.random() < 0.2:
                inputs = inputs[: -rng.randrange(1, 6)] or inputs[:1]
                job = inputs[-1]
        await finish_transfers(world)
        assert job.state is JobState.DONE
        # The repeated survey does not find a dead letter that a lost try has replayed.
        assert len(results_by_id(world, job)) == job.tally.found
        assert set(results_by_id(world, job)) <= {transfer.id for transfer in transfers}
        assert set(results_by_id(world, job).values()) <= {"started", "running"}
        assert Counter(subject for name, subject in world.requests if name == "target.copy") == Counter(
            transfer.target_blob.url for transfer in transfers
        )
        assert not world.dead_letters.open


class TestConcurrentJobs:
    @pytest.mark.parametrize("seed", range(10))
    async def test_two_replays_of_everything_lose_no_dead_letter_and_copy_each_blob_once(self, seed: int) -> None:
        """A fifth of the transfers keeps failing, and their dead letters stay open."""
        rng, world = random.Random(seed), YieldingWorld()  # noqa: S311  # seeded, so that a failure can be reproduced
        succeeding = [await put_dead_letter(world, f"in/succeeding/{number}") for number in range(40)]
        failing = [await put_dead_letter(world, f"in/failing/{number}") for number in range(10)]
        refused = {transfer.target_blob.url for transfer in failing}
        world.faults.append(
            lambda asked, about: (
                error_for_answer(TARGET_COPY, 404, "ContainerNotFound")
                if asked == TARGET_COPY and about in refused
                else None
            )
        )
        running = 2

        async def run_job(suffix: str) -> Job:
            nonlocal running
            job = replace(REPLAY, id="replay-" + suffix * 24, rate=2)
            while job.phase:
                for _ in range(rng.randrange(200)):
                    await asyncio.sleep(0)
                job = await run_next_batch(world, job)
            running -= 1
            return job

        async def run_host() -> None:
            while running:
                await finish_transfers(world)
                await asyncio.sleep(0)
            await finish_transfers(world)

        one, other, _ = await asyncio.gather(run_job("a"), run_job("b"), run_host())
        everything = {transfer.id for transfer in succeeding + failing}
        for job in (one, other):
            assert (job.state, job.tally.failed, job.tally.skipped) == (JobState.DONE, 0, 0)
            assert set(results_by_id(world, job).values()) <= {"started", "running", "refused"}
            assert set(results_by_id(world, job)) <= everything
        assert set(results_by_id(world, one)) | set(results_by_id(world, other)) == everything
        started = Counter(
            identity
            for job in (one, other)
            for identity, result in results_by_id(world, job).items()
            if result == "started"
        )
        assert set(started) == everything
        assert set(world.dead_letters.open) == {transfer.id for transfer in failing}
        assert set(world.dead_letters.resolved) == {transfer.id for transfer in succeeding}
        copied = Counter(subject for name, subject in world.requests if name == "target.copy")
        assert {copied[transfer.target_blob.url] for transfer in succeeding} == {1}
        assert all(world.dead_letters.open[transfer.id].last_attempt >= 1 for transfer in failing)
        ends = [instance.output["state"] for instance in world.instances.kept.values()]
        assert Counter(ends) == {"verified": 40, "dead_lettered": 10}


async def test_a_line_of_the_report_is_the_listed_item(world: World) -> None:
    transfer = await put_dead_letter(world, "in/caf\u00e9 100%")
    await run_to_end(world, replace(REPLAY, dry_run=True))
    [line] = world.reports.pages[found_page(REPLAY.id, 0)]
    letter = world.dead_letters.open[transfer.id]
    assert line == records.list_item(transfer.id, records.metadata(letter))
    assert (line["name"], line["reason"], line["size"]) == ("in/caf\u00e9 100%", "throttled", 10)
