"""Jobs: lifecycle, status, recovery, schedule and size."""

import json
from dataclasses import fields, replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.codec import decode, encode, stamp
from rules.errors import Reason
from rules.jobs import lifecycle, model, status
from rules.jobs.model import MAX_DETAIL, MAX_RATE, Batch, Finding, Job, JobKind, JobState, Phase, Result, Tally
from rules.jobs.report import found_page, results_page
from rules.routes.model import Pause
from rules.transfers import policies
from rules.transfers.identity import JOB_ID_PATTERN, listable_ids
from tests.unit.samples import NOW, ROUTE, after, moments, quick

RECONCILE = Job("reconcile-" + "a" * 24, JobKind.RECONCILE, NOW, route="default")
REPLAY = Job("replay-" + "a" * 24, JobKind.REPLAY, NOW)
ACTING = replace(RECONCILE, phase=Phase.ACT, pages=3, tally=Tally(found=900))
LATER = after(seconds=9)
MORE = Batch(Tally(found=1), wrote=True, cursor="c", hint="h")
FOUND, NOTHING = Batch(Tally(found=1), wrote=True), Batch()
FAILURE = Batch(failure="source.list: 503 ServerBusy")
PERMANENT = replace(FAILURE, permanent=True)
PROGRESS = replace(FAILURE, moved=True)
# The longest marker that the service returns, and the longest detail in JSON.
LONGEST, LONGEST_DETAIL = "m" * 2_048, "\U0001f4a5" * 5_000

counts = st.integers(0, 10**12)
tallies = st.builds(Tally, **{field.name: counts for field in fields(Tally)})
texts = st.none() | st.text(max_size=9)


def all_jobs() -> st.SearchStrategy[Job]:
    return st.builds(
        Job,
        id=st.sampled_from([RECONCILE.id, REPLAY.id]),
        kind=st.sampled_from(JobKind),
        created_at=moments(),
        route=texts,
        reason=st.none() | st.sampled_from(Reason),
        since=st.none() | moments(),
        until=st.none() | moments(),
        dry_run=st.booleans(),
        rate=st.integers(1, MAX_RATE),
        state=st.sampled_from(JobState),
        phase=st.none() | st.sampled_from(Phase),
        cursor=texts,
        hint=texts,
        pages=counts,
        batches=counts,
        page=counts,
        line=counts,
        tally=tallies,
        failures=st.integers(0, 10),
        resumes=st.integers(0, 99),
        pause=st.integers(0, 800),
        cancelling=st.booleans(),
        detail=st.text(max_size=9),
        updated_at=st.none() | moments(),
    )


def batches() -> st.SearchStrategy[Batch]:
    return st.builds(
        Batch,
        tally=tallies,
        wrote=st.booleans(),
        cursor=texts,
        hint=texts,
        page=counts,
        line=counts,
        before=counts,
        failure=st.sampled_from(["", "503"]),
        moved=st.booleans(),
        permanent=st.booleans(),
    )


@pytest.mark.parametrize(
    ("job", "batch", "phase", "state"),
    [
        # any, after a cancel request: the end, cancelled
        *[(replace(RECONCILE, phase=phase, cancelling=True), MORE, None, "cancelled") for phase in Phase],
        *[(replace(RECONCILE, phase=phase, cancelling=True), FAILURE, None, "cancelled") for phase in Phase],
        (replace(RECONCILE, cancelling=True), PERMANENT, None, "cancelled"),
        # failed without progress: the same batch; after 10 in a row the end, failed
        *[(replace(ACTING, phase=phase), FAILURE, phase, "running") for phase in Phase],
        *[(replace(ACTING, phase=phase, failures=9), FAILURE, None, "failed") for phase in Phase],
        # failed after progress: the same batch
        *[(replace(ACTING, phase=phase, failures=9), PROGRESS, phase, "running") for phase in Phase],
        (replace(ACTING, cancelling=True), PROGRESS, None, "cancelled"),
        # failed for good: the end, failed
        *[(replace(ACTING, phase=phase), PERMANENT, None, "failed") for phase in Phase],
        # survey, extras; more to list: the next page
        (RECONCILE, MORE, Phase.SURVEY, "running"),
        (REPLAY, MORE, Phase.SURVEY, "running"),
        (replace(RECONCILE, phase=Phase.EXTRAS), MORE, Phase.EXTRAS, "running"),
        # survey of a reconcile; the list is complete: extras
        (RECONCILE, FOUND, Phase.EXTRAS, "running"),
        (RECONCILE, NOTHING, Phase.EXTRAS, "running"),
        (replace(RECONCILE, dry_run=True), FOUND, Phase.EXTRAS, "running"),
        # survey, extras; the list is complete: act; or the end of a dry run or if nothing was found
        (REPLAY, FOUND, Phase.ACT, "running"),
        (replace(RECONCILE, phase=Phase.EXTRAS), FOUND, Phase.ACT, "running"),
        (replace(RECONCILE, phase=Phase.EXTRAS, tally=Tally(found=1)), NOTHING, Phase.ACT, "running"),
        (replace(REPLAY, dry_run=True), FOUND, None, "done"),
        (replace(RECONCILE, phase=Phase.EXTRAS, dry_run=True), FOUND, None, "done"),
        (REPLAY, NOTHING, None, "done"),
        (replace(RECONCILE, phase=Phase.EXTRAS), Batch(Tally(extra=5), wrote=True), None, "done"),
        # act; more lines: a pause, act
        (ACTING, Batch(page=2, line=499), Phase.ACT, "running"),
        (ACTING, Batch(page=2), Phase.ACT, "running"),
        # act; no more lines: the end, done
        (ACTING, Batch(Tally(started=9), wrote=True, page=3), None, "done"),
        (ACTING, Batch(page=4), None, "done"),
    ],
)
def test_which_batch_follows(job: Job, batch: Batch, phase: Phase | None, state: str) -> None:
    """The table of `lifecycle.advance`."""
    following = lifecycle.advance(job, batch, LATER)
    assert (following.phase, following.state, following.updated_at) == (phase, state, LATER)
    # An ended job has no position and no pause.
    assert following.phase is not None or (following.cursor, following.hint, following.pause) == (None, None, 0)


def test_a_survey_continues_at_its_cursor_and_each_phase_starts_without_one() -> None:
    following = lifecycle.advance(RECONCILE, MORE, LATER)
    assert (following.cursor, following.hint, following.pages) == ("c", "h", 1)
    following = lifecycle.advance(following, replace(FOUND, hint="h"), LATER)
    assert (following.phase, following.cursor, following.hint, following.pages) == (Phase.EXTRAS, None, None, 2)
    following = lifecycle.advance(following, replace(NOTHING, hint="h"), LATER)
    assert (following.phase, following.cursor, following.hint, following.pages) == (Phase.ACT, None, None, 2)
    assert (following.page, following.line, following.batches) == (0, 0, 0)


def test_a_batch_without_lines_does_not_use_up_a_page_number() -> None:
    assert lifecycle.advance(RECONCILE, replace(MORE, wrote=False), LATER).pages == 0
    assert lifecycle.advance(ACTING, Batch(page=1), LATER).batches == 0
    assert lifecycle.advance(ACTING, Batch(page=1, wrote=True), LATER).batches == 1


def test_the_tallies_of_batches_add_up_except_failed_ones() -> None:
    job = replace(ACTING, pages=99)
    for batch in (Batch(Tally(started=3, skipped=1)), FAILURE, Batch(Tally(started=2, refused=4))):
        job = lifecycle.advance(job, batch, LATER)
    assert job.tally == Tally(found=900, started=5, skipped=1, refused=4)


@pytest.mark.parametrize(
    ("rate", "started", "pause"),
    [(20, 100, 5), (20, 99, 5), (20, 61, 4), (20, 41, 3), (1, 5, 5), (1, 1, 2), (20, 1, 2), (100, 500, 5), (20, 0, 0)],
)
def test_the_pause_after_a_batch_keeps_the_rate(rate: int, started: int, pause: int) -> None:
    """At least 2 seconds, since a shorter timer fires immediately; none if nothing was started."""
    batch = Batch(Tally(started=started, running=7, failed=1), wrote=True, page=1)
    assert lifecycle.advance(replace(ACTING, rate=rate), batch, LATER).pause == pause


@pytest.mark.parametrize(("started", "before", "pause"), [(100, 0, 5), (100, 60, 2), (100, 40, 3), (100, 100, 0)])
def test_the_pause_counts_only_what_this_try_of_the_batch_started(started: int, before: int, pause: int) -> None:
    batch = Batch(Tally(started=started), wrote=True, page=1, before=before)
    following = lifecycle.advance(ACTING, batch, LATER)
    assert (following.pause, following.tally.started) == (pause, started)


@quick
@given(failures=st.integers(0, 9), moved=st.booleans())
def test_only_failures_without_progress_count_towards_the_limit(failures: int, *, moved: bool) -> None:
    """Both keep the position and wait at least as long as a full batch takes."""
    job = replace(ACTING, failures=failures, page=1, line=7, batches=4)
    following = lifecycle.advance(job, replace(FAILURE, moved=moved), LATER)
    assert following.failures == (0 if moved else failures + 1)
    assert (following.page, following.line, following.batches, following.tally) == (1, 7, 4, job.tally)
    assert following.phase is None or following.pause >= lifecycle.BATCH_SECONDS
    assert (following.phase is None) is (following.failures == policies.MAX_FAILURES)


def test_a_batch_of_an_older_release_is_read_with_defaults() -> None:
    old = decode(Batch, {"failure": "503"})
    assert lifecycle.advance(ACTING, old, LATER).failures == 1
    assert (
        lifecycle.advance(ACTING, decode(Batch, {"tally": {"started": 100}, "wrote": True, "page": 1}), LATER).pause
        == 5
    )


@quick
@given(st.integers(1, MAX_RATE))
def test_a_batch_acts_on_at_most_five_seconds_worth_of_lines(rate: int) -> None:
    job = replace(ACTING, rate=rate)
    assert lifecycle.quota(job) == rate * 5
    assert lifecycle.advance(job, Batch(Tally(started=lifecycle.quota(job)), page=1), LATER).pause == 5


def test_failures_back_off_and_are_reset_by_a_success() -> None:
    job, pauses = replace(RECONCILE, cursor="c", hint="h"), []
    for _ in range(policies.MAX_FAILURES - 1):
        job = lifecycle.advance(job, FAILURE, LATER)
        pauses.append(job.pause)
    assert (job.phase, job.cursor, job.hint, job.detail) == (Phase.SURVEY, "c", "h", FAILURE.failure)
    assert pauses == sorted(pauses)
    assert min(pauses) >= policies.MIN_POLL
    recovered = lifecycle.advance(job, MORE, LATER)
    assert (recovered.failures, recovered.pause, recovered.detail) == (0, 0, "")
    assert lifecycle.handle_failure(job, "exited with code 137", LATER).state is JobState.FAILED


def test_a_failed_job_keeps_the_shortened_failure_as_its_detail() -> None:
    job = lifecycle.advance(RECONCILE, replace(PERMANENT, failure="x" * 999), LATER)
    assert (job.state, job.detail) == (JobState.FAILED, "x" * MAX_DETAIL)


def test_a_cancel_between_two_batches_ends_the_job_with_its_counts() -> None:
    job = lifecycle.cancel(replace(ACTING, pause=5), LATER)
    assert (job.state, job.phase, job.pause, job.cancelling) == (JobState.CANCELLED, None, 0, True)
    assert (job.tally, job.updated_at) == (ACTING.tally, LATER)


@quick
@given(all_jobs())
def test_a_job_is_unchanged_after_encoding_and_decoding(job: Job) -> None:
    encoded = encode(job)
    assert decode(Job, encoded) == job
    assert decode(Job, json.dumps(encoded)) == job
    assert decode(Job, json.dumps({**encoded, "newer": [1]})) == job


@quick
@given(batches())
def test_a_batch_is_unchanged_after_encoding_and_decoding(batch: Batch) -> None:
    assert decode(Batch, json.dumps(encode(batch))) == batch


@pytest.mark.parametrize("broken", [{}, {"id": 5}, {"id": "x", "work": "dance", "created_at": stamp(NOW)}, [], None])
def test_an_invalid_job_raises(broken: Any) -> None:
    with pytest.raises((TypeError, ValueError, KeyError)):
        decode(Job, broken)


@quick
@given(tallies, tallies)
def test_tallies_add_up_field_by_field(one: Tally, other: Tally) -> None:
    total = one + other
    for field in fields(Tally):
        assert getattr(total, field.name) == getattr(one, field.name) + getattr(other, field.name)


def test_every_finding_and_every_result_has_a_count() -> None:
    assert {*Finding, *Result, "found", "bytes"} == {field.name for field in fields(Tally)}
    assert {name for counts in status.COUNTS.values() for name in counts} == {field.name for field in fields(Tally)}
    assert set(status.COUNTS[JobKind.REPLAY]) == {"found", "bytes", *Result} - {"discarded"}
    assert set(status.COUNTS[JobKind.DISCARD]) == {"found", "bytes", "discarded", "running", "refused", "failed"}


def test_page_names_sort_in_page_order() -> None:
    names = [found_page("replay-1", 0), found_page("replay-1", 999_999), results_page("replay-1", 0)]
    assert names == ["replay-1/found-000000.jsonl", "replay-1/found-999999.jsonl", "replay-1/results-000000.jsonl"]
    assert names == sorted(names)


def largest(cursor: str) -> Job:
    """A job with every field at its longest."""
    many = Tally(*[10**15 for _ in fields(Tally)])
    job = replace(
        REPLAY,
        route="r" * 40,
        reason=max(Reason, key=len),
        since=NOW,
        until=NOW,
        cursor=cursor,
        hint=cursor,
        tally=many,
        pages=10**9,
        batches=10**9,
        page=10**9,
        line=10**9,
    )
    return lifecycle.handle_failure(job, LONGEST_DETAIL, LATER)


@pytest.mark.parametrize("cursor", [LONGEST, "\U0001f4a5" * 512], ids=["2 KB of token", "the longest name"])
def test_the_largest_job_stays_under_16_kb_and_its_status_under_4_kb(cursor: str) -> None:
    """The host fails an orchestration whose status exceeds its limit."""
    job = largest(cursor)
    assert len(json.dumps(encode(job))) < 16_000
    shown = json.dumps(status.progress(job))
    assert len(shown) < 4_000
    assert cursor[:20] not in shown


class TestView:
    """A job as the API answers it."""

    def test_before_the_first_batch_it_shows_the_input(self) -> None:
        shown = status.view(replace(RECONCILE, rate=7, dry_run=True), {})
        assert shown == {
            "id": RECONCILE.id,
            "state": "running",
            "phase": "survey",
            "cancelling": False,
            "resumes": 0,
            "route": "default",
            "prefix": "",
            "dry_run": True,
            "max_per_second": 7,
            "counts": dict.fromkeys(status.COUNTS[JobKind.RECONCILE], 0),
            "egress": None,
            "pages": 0,
            "detail": "",
            "created_at": stamp(NOW),
            "updated_at": stamp(NOW),
        }

    def test_a_replay_shows_its_filters_and_its_counts(self) -> None:
        shown = status.view(replace(REPLAY, reason=Reason.THROTTLED, since=NOW), {})
        assert (shown["reason"], shown["since"], shown["until"]) == ("throttled", stamp(NOW), None)
        assert list(shown["counts"]) == ["found", "bytes", "started", "running", "skipped", "refused", "failed"]

    def test_the_status_takes_precedence_over_the_older_input(self) -> None:
        live = status.progress(replace(ACTING, batches=4, cancelling=True, updated_at=LATER))
        shown = status.view(RECONCILE, json.loads(json.dumps(live)))
        assert (shown["phase"], shown["cancelling"], shown["updated_at"]) == ("act", True, stamp(LATER))
        assert (shown["pages"], shown["counts"]["found"]) == (7, 900)

    def test_a_broken_job_is_shown_as_running_with_the_failure_as_its_detail(self) -> None:
        live = status.progress(replace(ACTING, detail="503", resumes=2))
        shown = status.view(RECONCILE, live, "the orchestration was Failed: x")
        assert (shown["state"], shown["phase"], shown["counts"]["found"]) == ("running", "act", 900)
        assert (shown["detail"], shown["resumes"]) == ("the orchestration was Failed: x", 2)
        assert status.view(RECONCILE, live, "")["detail"] == ""
        assert status.view(RECONCILE, live)["detail"] == "503"

    def test_the_detail_of_a_broken_job_is_shortened(self) -> None:
        assert len(status.view(RECONCILE, {}, "x" * 9_999)["detail"]) == MAX_DETAIL

    def test_a_status_of_another_release_with_other_counts_is_shown(self) -> None:
        live = status.progress(ACTING) | {"newer": 1, "counts": {"found": 5, "newer": 1}}
        shown = status.view(RECONCILE, live)
        assert (shown["counts"]["found"], shown["counts"]["failed"]) == (5, 0)
        assert "newer" not in shown["counts"]


class TestBroken:
    """A job whose orchestration failed or was terminated."""

    @quick
    @given(all_jobs())
    def test_a_resumed_job_repeats_the_batch_of_its_input(self, job: Job) -> None:
        found = lifecycle.resume(job, "x" * 9_999)
        assert found == replace(job, failures=0, pause=0, resumes=job.resumes + 1, detail="x" * MAX_DETAIL)

    @quick
    @given(all_jobs())
    def test_an_abandoned_job_ends_failed_or_cancelled_with_its_counts(self, job: Job) -> None:
        found = lifecycle.abandon(job, LONGEST_DETAIL)
        assert (found.phase, found.pause, found.cursor, found.hint) == (None, 0, None, None)
        assert found.state is (JobState.CANCELLED if job.cancelling else JobState.FAILED)
        assert (found.tally, found.pages, found.batches, found.resumes) == (
            job.tally,
            job.pages,
            job.batches,
            job.resumes,
        )
        assert len(found.detail) == MAX_DETAIL

    @quick
    @given(all_jobs(), all_jobs())
    def test_counts_and_pages_of_the_status_are_merged_into_the_job(self, job: Job, later: Job) -> None:
        live = json.loads(json.dumps(status.progress(later)))
        found = lifecycle.merge_status(job, live)
        assert found == replace(job, tally=later.tally, pages=later.pages, batches=later.batches)

    @pytest.mark.parametrize(
        "change",
        [
            {"counts": None},
            {"counts": []},
            {"counts": "many"},
            {"counts": {"found": "many"}},
            {"counts": {"found": None}},
            {"pages": None},
            {"pages": "many"},
            {"batches": []},
        ],
    )
    def test_an_unreadable_status_is_not_merged(self, change: dict[str, Any]) -> None:
        live = json.loads(json.dumps(status.progress(replace(ACTING, batches=7))))
        assert lifecycle.merge_status(ACTING, {**live, **change}) == ACTING
        assert lifecycle.merge_status(ACTING, {}) == ACTING
        assert lifecycle.merge_status(ACTING, {key: live[key] for key in live if key not in change}) == ACTING

    def test_a_status_of_another_release_is_merged(self) -> None:
        found = lifecycle.merge_status(ACTING, {"counts": {"found": 5, "newer": 1}, "pages": 4, "batches": 2})
        assert (found.tally, found.pages, found.batches) == (Tally(found=5), 4, 2)


class TestSchedule:
    """The ids of scheduled reconciles."""

    HOURLY = replace(ROUTE, reconcile=timedelta(hours=1))

    def test_a_route_without_a_schedule_has_no_id(self) -> None:
        assert model.scheduled_id(ROUTE, NOW) is None

    def test_the_id_changes_once_per_interval(self) -> None:
        first = model.scheduled_id(self.HOURLY, NOW)
        assert first is not None
        assert JOB_ID_PATTERN.fullmatch(first)
        assert first == model.scheduled_id(self.HOURLY, after(minutes=57, seconds=15))
        assert first != model.scheduled_id(self.HOURLY, after(minutes=57, seconds=16))

    def test_the_id_depends_on_the_route_and_on_the_interval(self) -> None:
        ids = {
            model.scheduled_id(replace(ROUTE, name=name, reconcile=timedelta(hours=hours)), NOW)
            for name in ("one", "two")
            for hours in (1, 2)
        }
        assert len(ids) == 4


def test_the_reconcile_after_a_pause_follows_from_its_record() -> None:
    pauses = [Pause(route, since) for route in ("one", "two") for since in (NOW, NOW + timedelta(milliseconds=1))]
    jobs = [model.after_pause(pause, NOW) for pause in pauses]
    assert [model.after_pause(replace(pause, ending=True), NOW) for pause in pauses] == jobs
    assert len({job.id for job in jobs}) == 4
    assert all(JOB_ID_PATTERN.fullmatch(job.id) for job in jobs)
    assert [(job.route, job.prefix, job.dry_run) for job in jobs[1:3]] == [("one", "", False), ("two", "", False)]


@pytest.mark.parametrize(
    ("prefix", "listed"),
    [
        ("", "37a8eec1-45a195a412908b31b025fa37"),
        ("37a8eec1-", "37a8eec1-45a195a412908b31b025fa37"),
        ("replay-", REPLAY.id),
        ("reconcile-", RECONCILE.id),
    ],
)
def test_a_prefix_lists_either_transfers_or_jobs(prefix: str, listed: str) -> None:
    ids = {"37a8eec1-45a195a412908b31b025fa37", REPLAY.id, RECONCILE.id, "message-" + "a" * 24, "timer"}
    assert {found for found in ids if found.startswith(prefix) and listable_ids(prefix).fullmatch(found)} == {listed}
