"""The course of a transfer: which step follows from what the last one found. The orchestrator obeys it, literally.

A run goes `start` -> (`check` …) -> `record` -> `clean` -> `close`; a small blob's ends after `start`. See docs/protocol.md.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from rules.errors import Reason
from rules.routes.model import Engine
from rules.transfers import policies
from rules.transfers.model import Ending, Outcome, Run, Step, Verdict
from rules.transfers.states import FINAL, State, check_transition

MAX_DETAIL = 300
VERIFIED = Ending(State.VERIFIED)
UNCLEAN = "an incomplete blob may be left at the target"


def advance(run: Run, outcome: Outcome, now: datetime) -> Run:
    """The run after its step found `outcome`. `step` None means that it has ended; `pause` is seconds to wait before `step`.

    | step | verdict | what follows |
    | --- | --- | --- |
    | start, check | verified | close, or the end where nothing is to be closed |
    | | superseded, ended | record that end |
    | | any other, once a cancel was seen | record `cancelled` |
    | start | gone | pause, start: also at the deadline, since what was deleted is no failure |
    | | permanent; any other at the deadline, or after 8 tries | record `dead_lettered` |
    | | waiting | pause, check |
    | | occupied | pause for `settle`, start |
    | | again | start |
    | | retryable | backoff, start |
    | record | done | pause for `settle`, clean; or close where nothing can be half-made |
    | clean | done, verified | close |
    | close | done | the end |
    | clean | retryable, for the 8th time | close; a note says that something half-made may be left |
    | record, clean, close | retryable | backoff, the same step; what writes records without limit |
    """
    activity_failures = run.activity_failures
    run = replace(
        run,
        activity_failures=0,
        pause=0,
        updated_at=now,
        first_look_at=run.first_look_at or now,
        note=outcome.note or run.note,
    )
    match run.step:
        case Step.START | Step.CHECK:
            return _after_copy_step(_apply_findings(run, outcome, now), outcome, now)
        case Step.RECORD | Step.CLEAN | Step.CLOSE if outcome.verdict is Verdict.RETRYABLE:
            return _retry_step(replace(run, activity_failures=activity_failures + 1), outcome.detail)
        case Step.RECORD:
            following = Step.CLEAN if outcome.pause else Step.CLOSE
            recorded = run.ending is not None and run.ending.state is not State.SUPERSEDED
            return _skip_empty_close(replace(run, recorded=recorded, step=following, pause=outcome.pause))
        case Step.CLEAN:
            run = replace(run, step=Step.CLOSE, size=run.size if outcome.size is None else outcome.size)
            return _skip_empty_close(replace(run, ending=VERIFIED) if outcome.verdict is Verdict.VERIFIED else run)
        case _:
            return _end(run)


def handle_failure(run: Run, detail: str, now: datetime) -> Run:
    """The run after its activity raised: infrastructure, not a verdict on the blob (rule 8). Backoff, then the same step.

    After 10 in a row, or at the deadline, a transfer that is still being carried ends `dead_lettered` as `internal`; the
    steps that end a transfer go on as `advance` says.
    """
    run = replace(
        run,
        first=False,
        activity_failures=run.activity_failures + 1,
        updated_at=now,
        first_look_at=run.first_look_at or now,
    )
    spent = run.activity_failures >= policies.MAX_FAILURES or is_past_deadline(run, now)
    if in_copy_phase(run) and (spent or run.cancelling):
        return give_up(run, Reason.INTERNAL, detail)
    return _retry_step(run, detail)


def resume(run: Run, detail: str) -> Run:
    """The run to start again after the host failed its orchestration: the same attempt, at the step of its input.

    Safe for every step, because each may be repeated: `start` looks before it acts. It never acts blindly again, since the
    failed execution may have copied; and it never starts to copy once a cancel was noticed.
    """
    run = replace(run, first=False, activity_failures=0, pause=0, resumes=run.resumes + 1, detail=detail[:MAX_DETAIL])
    run = replace(run, gone=False, settled=False)  # the pause after the last look may have been cut short
    return cancel(run) if run.cancelling and in_copy_phase(run) else run


def abandon(run: Run, detail: str) -> Run:
    """The run to start again at its end, where it will not be carried any further: nothing more is copied.

    It counts as one more resume, so that its record of the end outranks what the broken execution still has in flight.
    """
    run = replace(run, first=False, activity_failures=0, pause=0, resumes=run.resumes + 1)
    return replace(run, step=Step.RECORD) if run.ending else give_up(run, Reason.INTERNAL, detail)


def _retry_step(run: Run, detail: str) -> Run:
    """The same step after a backoff; but a target that cannot be cleaned does not keep a transfer from its end."""
    if run.step is Step.CLEAN and run.activity_failures >= policies.MAX_COPY_ATTEMPTS:
        return _skip_empty_close(
            replace(run, activity_failures=0, pause=0, step=Step.CLOSE, note=f"{UNCLEAN}: {detail[:MAX_DETAIL]}")
        )
    return replace(run, pause=policies.backoff(run.activity_failures, run.transfer.id))


def give_up(run: Run, reason: Reason, detail: str) -> Run:
    """The run on its way to its end without success: `cancelled` if a person asked for it, else `dead_lettered`."""
    state = State.CANCELLED if run.cancelling else State.DEAD_LETTERED
    ending = Ending(state) if run.cancelling else Ending(state, reason, detail[:MAX_DETAIL])
    return replace(run, ending=ending, step=Step.RECORD, pause=0)


def cancel(run: Run) -> Run:
    """The run after a person's cancel was seen during a pause: what would come next does not."""
    return give_up(replace(run, cancelling=True), Reason.INTERNAL, "")


def in_copy_phase(run: Run) -> bool:
    """Whether the transfer is still being carried, so that a cancel has something to stop."""
    return run.step in {Step.START, Step.CHECK}


def is_past_deadline(run: Run, now: datetime) -> bool:
    """Whether the run's deadline has come. It counts from the first look: what waited in a backlog has had no chance yet."""
    return run.first_look_at is not None and policies.is_reached(now, _deadline(run, run.first_look_at))


def _deadline(run: Run, first_look_at: datetime) -> datetime:
    return first_look_at + policies.deadline(run.deadline, run.engine)


def sas_expiry(run: Run, engine: Engine, now: datetime) -> datetime:
    """Until when the source may be read by the SAS of one copy (rule 14): as short as the engine allows."""
    if engine is Engine.SYNC:
        return now + timedelta(minutes=30)
    return max(now + timedelta(minutes=30), (run.first_look_at or now) + policies.deadline(run.deadline, engine))


def _apply_findings(run: Run, outcome: Outcome, now: datetime) -> Run:
    """What the outcome tells beside its verdict: engine, size, progress."""
    progressed = outcome.copied > run.copied
    return replace(
        run,
        first=False,
        engine=outcome.engine or run.engine,
        size=outcome.size if outcome.size is not None else run.size,
        copied=outcome.copied if outcome.verdict is Verdict.WAITING else run.copied,
        progressed_at=now if progressed else run.progressed_at,
        reason=outcome.reason,
        detail=outcome.detail[:MAX_DETAIL],
        gone=outcome.verdict is Verdict.GONE and not run.gone,
        settled=outcome.verdict is Verdict.OCCUPIED,
    )


def _after_copy_step(run: Run, outcome: Outcome, now: datetime) -> Run:
    match outcome.verdict:
        case Verdict.VERIFIED:
            return _skip_empty_close(replace(run, ending=VERIFIED, step=Step.CLOSE))
        case Verdict.SUPERSEDED | Verdict.ENDED:
            return replace(run, ending=outcome.ending, step=Step.RECORD)
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
    if outcome.verdict is Verdict.WAITING:
        return _wait_for_copy(_count_copy(run, outcome, now), now)
    if outcome.verdict is not Verdict.RETRYABLE:
        return replace(run, step=Step.START)
    # A copy that began and failed counted when it began.
    run = replace(run, copy_attempts=run.copy_attempts + (run.step is Step.START), step=Step.START)
    if run.copy_attempts >= policies.MAX_COPY_ATTEMPTS:
        return give_up(run, outcome.reason or Reason.INTERNAL, outcome.detail)
    return replace(
        run, pause=min(policies.backoff(max(run.copy_attempts, 1), run.transfer.id), _seconds_left(run, now))
    )


def _count_copy(run: Run, outcome: Outcome, now: datetime) -> Run:
    """A copy that this step began is one of the 8; one that it found on its way is not."""
    if outcome.began:
        return replace(run, copy_attempts=run.copy_attempts + 1, polls=0, copying_at=now, progressed_at=None)
    return replace(run, polls=0 if run.step is Step.START else run.polls + 1, copying_at=run.copying_at or now)


def _wait_for_copy(run: Run, now: datetime) -> Run:
    if run.progressed_at and now - run.progressed_at >= policies.STALL:
        said = f"; the service reports: {run.detail}" if run.detail else ""
        return give_up(run, Reason.COPY_FAILED, f"no progress for {policies.STALL}{said}")
    elapsed = (now - (run.copying_at or now)).total_seconds()
    pause = policies.next_poll(run.polls, run.copied, run.size, elapsed)
    return replace(
        run,
        state=check_transition(run.state, State.COPYING),
        step=Step.CHECK,
        pause=min(pause, _seconds_left(run, now)),
    )


def _seconds_left(run: Run, now: datetime) -> int:
    """Seconds until the deadline, at least 2 (`policies.GRACE`): nothing is waited for beyond it."""
    return int((_deadline(run, run.first_look_at or now) - now).total_seconds())


def _skip_empty_close(run: Run) -> Run:
    """`close` is skipped where it has nothing to do: no letter to write or resolve, no record of an end to drop."""
    state = run.ending.state if run.ending else None
    leaves_record = state in {State.VERIFIED, State.SUPERSEDED} and (run.attempt > 0 or run.recorded)
    if run.step is Step.CLOSE and not (state is State.DEAD_LETTERED or run.has_open_dead_letter or leaves_record):
        return _end(run)
    return run


def _end(run: Run) -> Run:
    state = run.ending.state if run.ending and run.ending.state in FINAL else State.DEAD_LETTERED
    return replace(run, step=None, state=check_transition(run.state, state))
