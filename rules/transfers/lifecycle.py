"""Which step of a transfer follows from the outcome of the last one. The orchestrator only carries this out.

A run goes through `start`, `stage` or `check` (repeated), `record`, `clean`, `close` and `notify`. A small blob needs only
`start`. See docs/protocol.md.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from math import ceil

from rules.errors import Reason
from rules.routes.model import Engine
from rules.transfers import policies
from rules.transfers.model import Ending, Lane, Outcome, Run, Step, Verdict
from rules.transfers.states import FINAL, State, check_transition

MAX_DETAIL = 300
VERIFIED = Ending(State.VERIFIED)
UNCLEAN = "an incomplete blob may be left at the target"


def advance(run: Run, outcome: Outcome, now: datetime) -> Run:
    """Return the run after `outcome` of its current step.

    `step` is None once the run has ended; `pause` is the number of seconds to wait before `step`.

    | step | verdict | next |
    | --- | --- | --- |
    | start, check | verified | close, or the end if there is nothing to close |
    | | superseded, ended | record that end |
    | start, stage, check | any other, after a cancel request | record `cancelled` |
    | | gone | pause, start; also at the deadline, because a deletion is not a failure |
    | | permanent; any other at the deadline or after 8 tries | record `dead_lettered` |
    | | waiting | pause, check; or start, with another engine, if the copy is too slow |
    | start | staging | stage |
    | stage | staging | the lane's next activity; start once every lane is done |
    | | again | backoff, start |
    | | retryable, for the 8th time without a block | record `dead_lettered` |
    | | retryable | backoff of this lane, its next activity |
    | start, check | occupied | pause for `settle`, start |
    | | again | start |
    | | retryable | backoff, start |
    | record | done | pause for `settle`, clean; or close if nothing incomplete can exist |
    | clean | done, verified | close |
    | close | done | the end; of a verified run whose route has a recipient, notify |
    | notify | done | the end |
    | clean | retryable, for the 8th time | close; a note says that an incomplete blob may be left |
    | record, clean, close, notify | retryable | backoff, the same step; all but clean retry without limit |
    """
    activity_failures = run.activity_failures
    run = replace(
        run,
        activity_failures=0,
        pause=0,
        updated_at=now,
        first_look_at=run.first_look_at or now,
        note=outcome.note or run.note,
        target_etag=outcome.target_etag or run.target_etag,
        all_polls=run.all_polls + (run.step is Step.CHECK),
        retries=run.retries + (outcome.verdict is Verdict.RETRYABLE),
    )
    match run.step:
        case Step.START | Step.CHECK:
            return _after_copy_step(_apply_findings(run, outcome, now), outcome, now)
        case Step.STAGE:
            return _after_stage(run, outcome, now)
        case Step.RECORD | Step.CLEAN | Step.CLOSE | Step.NOTIFY if outcome.verdict is Verdict.RETRYABLE:
            return _retry_step(replace(run, activity_failures=activity_failures + 1), outcome.detail)
        case Step.RECORD:
            step = Step.CLEAN if outcome.pause else Step.CLOSE
            recorded = run.ending is not None and run.ending.state is not State.SUPERSEDED
            return _skip_empty_close(replace(run, recorded=recorded, step=step, pause=outcome.pause))
        case Step.CLEAN:
            run = replace(run, step=Step.CLOSE, size=run.size if outcome.size is None else outcome.size)
            verified = replace(run, ending=VERIFIED, verified_at=now, note=outcome.note)
            return _skip_empty_close(verified if outcome.verdict is Verdict.VERIFIED else run)
        case _:
            return _end(run)


def handle_failure(run: Run, detail: str, now: datetime) -> Run:
    """Return the run after its activity raised (rule 8): a backoff, then the same step.

    An exception is not a verdict on the blob. `start` and `check` give up after 10 failures in a row and at the
    deadline (`dead_lettered`, reason `internal`), or after a cancel request (`cancelled`). The later steps retry as
    in `advance`.
    """
    run = replace(
        run,
        first=False,
        activity_failures=run.activity_failures + 1,
        retries=run.retries + 1,
        updated_at=now,
        first_look_at=run.first_look_at or now,
    )
    spent = run.activity_failures >= policies.MAX_FAILURES or is_past_deadline(run, now)
    if in_copy_phase(run) and (spent or run.cancelling):
        return give_up(run, Reason.INTERNAL, detail)
    return _retry_step(run, detail)


def handle_lane_failure(run: Run, lane: Lane, detail: str, now: datetime) -> Run:
    """Return the run after an activity of `lane` raised (rule 8): only this lane waits before its next activity."""
    failure = Outcome(Verdict.RETRYABLE, reason=Reason.INTERNAL, detail=detail, lanes=(lane,))
    return _after_stage(replace(run, updated_at=now, retries=run.retries + 1), failure, now)


def ready_lanes(run: Run, now: datetime) -> list[Lane]:
    """Return the lanes that have blocks to stage and do not wait."""
    return [lane for lane in run.lanes if not lane.done and (lane.due is None or policies.is_reached(now, lane.due))]


def seconds_to_next_lane(run: Run, now: datetime) -> int:
    """Return the seconds until the first lane may go on, if all of them wait."""
    return ceil(min((lane.due - now).total_seconds() for lane in run.lanes if lane.due and not lane.done))


def resume(run: Run, detail: str) -> Run:
    """Return the run to start after the host failed its orchestration: the same attempt at the same step.

    This is safe because every step may be repeated. `start` looks before it acts, since the failed execution may have
    copied, and a run with a cancel request goes to its end instead of copying.
    """
    run = replace(run, first=False, activity_failures=0, pause=0, resumes=run.resumes + 1, detail=detail[:MAX_DETAIL])
    run = replace(run, gone=False, settled=False)  # their pause may have been cut short
    return cancel(run) if run.cancelling and in_copy_phase(run) else run


def abandon(run: Run, detail: str) -> Run:
    """Return the run to start at its end, without further copying, when its orchestration cannot be resumed.

    It counts as one more resume, so its record of the end outranks any request of the broken execution still in
    flight.
    """
    run = replace(run, first=False, activity_failures=0, pause=0, resumes=run.resumes + 1)
    if run.step is Step.NOTIFY:
        note = f"the recipient may not have been notified: {detail}"[:MAX_DETAIL]
        return replace(run, step=Step.CLOSE, notify=False, note=note)
    return replace(run, step=Step.RECORD) if run.ending else give_up(run, Reason.INTERNAL, detail)


def _retry_step(run: Run, detail: str) -> Run:
    """Repeat the step after a backoff. `clean` gives up after 8 tries: an inaccessible target must not block the end."""
    if run.step is Step.CLEAN and run.activity_failures >= policies.MAX_COPY_ATTEMPTS:
        return _skip_empty_close(
            replace(run, activity_failures=0, pause=0, step=Step.CLOSE, note=f"{UNCLEAN}: {detail[:MAX_DETAIL]}")
        )
    return replace(run, pause=policies.backoff(run.activity_failures, run.transfer.id))


def give_up(run: Run, reason: Reason, detail: str) -> Run:
    """Return the run with an unsuccessful end to record: `cancelled` after a cancel request, else `dead_lettered`."""
    run = _note_staged_blocks(run)
    if run.cancelling:
        return replace(run, ending=Ending(State.CANCELLED), step=Step.RECORD, pause=0)
    ending = Ending(State.DEAD_LETTERED, reason, detail[:MAX_DETAIL])
    return replace(run, ending=ending, step=Step.RECORD, pause=0)


def _note_staged_blocks(run: Run) -> Run:
    """Say what stays at the target after staging without a commit: nothing may delete staged blocks on a condition."""
    if run.engine is not Engine.BLOCKS or not run.copied:
        return run
    dropped = (run.updated_at or run.accepted_at) + policies.STAGED_LIFE
    return replace(run, note=f"{run.copied} bytes in staged blocks stay at the target until {dropped:%Y-%m-%d}")


def cancel(run: Run) -> Run:
    """Return the run after a cancel request: its next step is to record the end `cancelled`."""
    return give_up(replace(run, cancelling=True), Reason.INTERNAL, "")


def in_copy_phase(run: Run) -> bool:
    """Whether the run may still copy, so that a cancel can stop it."""
    return run.step in {Step.START, Step.STAGE, Step.CHECK}


def is_past_deadline(run: Run, now: datetime) -> bool:
    """Whether the deadline has passed. It counts from the first look, so time spent in a backlog does not count."""
    return run.first_look_at is not None and policies.is_reached(now, _deadline(run, run.first_look_at))


def _deadline(run: Run, first_look_at: datetime) -> datetime:
    return first_look_at + policies.deadline(run.deadline, run.engine, run.size)


def sas_expiry(run: Run, engine: Engine, now: datetime) -> datetime:
    """Return when the SAS of one activity's copy expires: as early as the engine allows (rule 14)."""
    if engine is not Engine.ASYNC:
        return now + timedelta(minutes=30)
    return max(now + timedelta(minutes=30), (run.first_look_at or now) + policies.deadline(run.deadline, engine))


def _apply_findings(run: Run, outcome: Outcome, now: datetime) -> Run:
    progressed = outcome.copied > run.copied
    return replace(
        run,
        first=False,
        engine=outcome.engine or run.engine,
        size=outcome.size if outcome.size is not None else run.size,
        copied=outcome.copied if outcome.verdict is Verdict.WAITING else run.copied,
        refused=outcome.refused,
        progressed_at=now if progressed else run.progressed_at,
        reason=outcome.reason,
        detail=outcome.detail[:MAX_DETAIL],
        gone=outcome.verdict is Verdict.GONE and not run.gone,
        settled=outcome.verdict is Verdict.OCCUPIED,
    )


def _after_copy_step(run: Run, outcome: Outcome, now: datetime) -> Run:
    match outcome.verdict:
        case Verdict.VERIFIED:
            return _skip_empty_close(replace(run, ending=VERIFIED, verified_at=now, step=Step.CLOSE))
        case Verdict.SUPERSEDED | Verdict.ENDED:
            return replace(_note_staged_blocks(run), ending=outcome.ending, step=Step.RECORD)
        case _ if run.cancelling:
            return cancel(run)
        case Verdict.PERMANENT:
            return give_up(run, outcome.reason or Reason.INTERNAL, outcome.detail)
        case _:
            return _continue(run, outcome, now)


def _continue(run: Run, outcome: Outcome, now: datetime) -> Run:
    late = is_past_deadline(run, now)
    if run.gone or (run.settled and not late):
        return replace(run, step=Step.START, pause=outcome.pause)
    if late:
        return give_up(
            run, outcome.reason or Reason.DEADLINE_EXCEEDED, outcome.detail or "not copied before the deadline"
        )
    match outcome.verdict:
        case Verdict.WAITING:
            return _wait_for_copy(_count_copy(run, outcome, now), outcome, now)
        case Verdict.STAGING:
            return _begin_lanes(run, outcome, now)
        case Verdict.RETRYABLE:
            return _try_again(run, outcome, now)
        case _:
            return replace(run, step=Step.START)


def _try_again(run: Run, outcome: Outcome, now: datetime) -> Run:
    # A copy that started and then failed was counted when it started.
    run = replace(run, copy_attempts=run.copy_attempts + (run.step is Step.START), step=Step.START)
    if run.copy_attempts >= policies.MAX_COPY_ATTEMPTS:
        return give_up(run, outcome.reason or Reason.INTERNAL, outcome.detail)
    return replace(
        run, pause=min(policies.backoff(max(run.copy_attempts, 1), run.transfer.id), _seconds_left(run, now))
    )


def _count_copy(run: Run, outcome: Outcome, now: datetime) -> Run:
    """Count a copy that this step started as one of the 8 tries; one that was already in progress does not count."""
    if outcome.began:
        return replace(run, copy_attempts=run.copy_attempts + 1, polls=0, copying_at=now, progressed_at=None)
    return replace(run, polls=0 if run.step is Step.START else run.polls + 1, copying_at=run.copying_at or now)


def _wait_for_copy(run: Run, outcome: Outcome, now: datetime) -> Run:
    elapsed = now - (run.copying_at or now)
    left = timedelta(seconds=_seconds_left(run, now))
    patience = outcome.patience
    # Without another engine, a copy that has not begun may still be queued.
    since = run.progressed_at or (None if patience is None else run.copying_at)
    limit = policies.STALL if patience is None else patience
    if since and now - since >= limit:
        report = f"; the service reports: {run.detail}" if run.detail else ""
        trouble = f"no progress for {limit}{report}"
        return give_up(run, Reason.COPY_FAILED, trouble) if patience is None else _hand_over(run, outcome, trouble)
    if patience is not None and elapsed > patience / 3 and policies.is_too_slow(run.copied, run.size, elapsed, left):
        return _hand_over(run, outcome, f"{run.copied} of {run.size} bytes in {elapsed} are too slow for the deadline")
    pause = policies.next_poll(run.polls, run.copied, run.size, elapsed.total_seconds())
    return replace(
        run,
        state=check_transition(run.state, State.COPYING),
        step=Step.CHECK,
        pause=min(pause, _seconds_left(run, now)),
    )


def _hand_over(run: Run, outcome: Outcome, trouble: str) -> Run:
    """Go back to `start`, which aborts this one copy and copies by blocks.

    Any other pending copy is newer, perhaps that of a resumed orchestration.
    """
    note = f"the asynchronous copy was too slow, so the app copies by blocks: {trouble}"
    refused = (*(engine for engine in run.refused if engine is not Engine.ASYNC), Engine.ASYNC)
    return replace(run, step=Step.START, refused=refused, slow_copy=outcome.copy_id, note=note[:MAX_DETAIL])


def _begin_lanes(run: Run, outcome: Outcome, now: datetime) -> Run:
    """Stage the lanes. It counts as a try, since another writer may drop the staged blocks each time."""
    if run.copy_attempts >= policies.MAX_COPY_ATTEMPTS:
        trouble = f"tried {policies.MAX_COPY_ATTEMPTS} times, but another writer always removed the staged blocks"
        return give_up(run, Reason.TARGET_CONFLICT, trouble)
    return replace(
        _with_lanes(run, outcome.lanes),
        state=check_transition(run.state, State.COPYING),
        step=Step.STAGE,
        copy_attempts=run.copy_attempts + 1,
        copying_at=run.copying_at or now,
    )


def _after_stage(run: Run, outcome: Outcome, now: datetime) -> Run:
    run = replace(run, reason=outcome.reason, detail=outcome.detail[:MAX_DETAIL])
    known = {lane.end for lane in run.lanes}
    for lane in filter(lambda lane: lane.end in known, outcome.lanes):
        run = _delay_lane(run, lane, outcome.reason, outcome.detail, now) if outcome.reason else _set_lane(run, lane)
    if run.ending is not None:
        return run
    if run.cancelling:
        return cancel(run)
    if outcome.verdict is Verdict.PERMANENT:
        return give_up(run, outcome.reason or Reason.INTERNAL, outcome.detail)
    return _continue_lanes(run, outcome, now)


def _continue_lanes(run: Run, outcome: Outcome, now: datetime) -> Run:
    """Go back to `start` if there is nothing to stage or something to decide. A commit costs little, even if it is late."""
    if all(lane.done for lane in run.lanes):
        return replace(run, step=Step.START, lanes=())
    if outcome.verdict is Verdict.AGAIN:
        pause = min(policies.backoff(run.copy_attempts, run.transfer.id), max(0, _seconds_left(run, now)))
        return replace(run, step=Step.START, lanes=(), pause=pause)
    if is_past_deadline(run, now):
        return give_up(
            run, outcome.reason or Reason.DEADLINE_EXCEEDED, outcome.detail or "not copied before the deadline"
        )
    return run


def _delay_lane(run: Run, lane: Lane, reason: Reason | None, detail: str, now: datetime) -> Run:
    """Let one lane wait before its next activity. After 8 in a row that staged nothing the run gives up."""
    old = run.lane(lane.end)
    failures = 1 if lane.next > old.next else old.failures + 1
    if failures >= policies.MAX_COPY_ATTEMPTS or run.cancelling:
        return give_up(run, reason or Reason.INTERNAL, detail)
    due = now + timedelta(seconds=policies.backoff(failures, f"{run.transfer.id} {lane.end}"))
    return _set_lane(replace(run, reason=reason, detail=detail[:MAX_DETAIL]), replace(lane, failures=failures, due=due))


def _set_lane(run: Run, lane: Lane) -> Run:
    return _with_lanes(run, tuple(lane if other.end == lane.end else other for other in run.lanes))


def _with_lanes(run: Run, lanes: tuple[Lane, ...]) -> Run:
    return replace(run, lanes=lanes, copied=sum(lane.staged for lane in lanes))


def _seconds_left(run: Run, now: datetime) -> int:
    """Seconds until the deadline, as the upper limit of a pause: more than `policies.GRACE`, because a late run gives up."""
    return int((_deadline(run, run.first_look_at or now) - now).total_seconds())


def _skip_empty_close(run: Run) -> Run:
    """Skip `close` if it would neither write nor resolve a dead letter, nor drop a record of an end."""
    state = run.ending.state if run.ending else None
    has_record = state in {State.VERIFIED, State.SUPERSEDED} and (run.attempt > 0 or run.recorded)
    if run.step is Step.CLOSE and not (state is State.DEAD_LETTERED or run.has_open_dead_letter or has_record):
        return _end(run)
    return run


def _end(run: Run) -> Run:
    """End the run. A verified one is final before its recipient is notified, whatever comes of that."""
    state = run.ending.state if run.ending and run.ending.state in FINAL else State.DEAD_LETTERED
    is_due = run.notify and state is State.VERIFIED and run.step is not Step.NOTIFY
    return replace(run, step=Step.NOTIFY if is_due else None, state=check_transition(run.state, state))
