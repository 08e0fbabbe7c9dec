"""The steps that end a transfer and leave nothing incomplete behind: `record`, `clean`, `close` (rules 6, 7 and 9)."""

from contextlib import suppress
from dataclasses import replace

from activities.transfers.common import current_route, failure_outcome
from activities.transfers.confirm import UNCLEARED, confirm
from ports.services import Ports
from rules.dead_letters import letters
from rules.errors import Failure, LookAgain, Permanent, Reason
from rules.events.write import created_event
from rules.routes.filters import FILTERED
from rules.routes.model import EnginePreference
from rules.transfers.decisions import Cleaning, TargetBlob, choose_cleaning, is_incomplete
from rules.transfers.lifecycle import UNCLEAN
from rules.transfers.model import Ended, Ending, Outcome, Run, Verdict
from rules.transfers.policies import MAX_LOOKS
from rules.transfers.states import State

DONE = Outcome(Verdict.DONE)
# In seconds. Every appended block makes a new version, but one successor a minute is enough for a growing blob (rule 12).
GROWING_DELAY = 60


async def run_record(ports: Ports, run: Run) -> Outcome:
    """Make the end durable before `clean`: put the successor's event on the queue, or write the record of the end.

    The outcome's `pause` is `settle` if an incomplete blob may be at the target or may still appear there, else 0.
    """
    try:
        if run.ending is not None and run.ending.state is State.SUPERSEDED:
            return await _announce_successor(ports, run)
        await _write_ended(ports, run)
    except Failure as failure:
        return _retry(failure)
    if current_route(ports, run) is None:
        return Outcome(Verdict.DONE, note=f"{UNCLEAN}: no current route has this target")
    return Outcome(Verdict.DONE, pause=ports.times.settle)


async def _announce_successor(ports: Ports, run: Run) -> Outcome:
    successor = run.ending.successor if run.ending else None
    filtered = run.ending is not None and run.ending.detail == FILTERED  # an earlier `start` may have had other filters
    if successor is None and not filtered:
        return DONE  # an echo: no `start` has copied it, because a copy at the target would not be an echo
    if successor is not None and successor.etag:
        event = created_event(run.transfer, successor.etag, ports.now())
        await ports.events.put(event, GROWING_DELAY if successor.growing else 0)
    return Outcome(Verdict.DONE, pause=ports.times.settle if await _may_be_incomplete(ports, run) else 0)


async def _may_be_incomplete(ports: Ports, run: Run) -> bool:
    """Whether an incomplete blob of this transfer is at the target, or may still appear there.

    Only an `async` copy can be incomplete. This run may not know of it: `start` may have run twice, or may continue after the
    host failed its orchestration. No other run would clean up that copy.
    """
    route = current_route(ports, run)
    if route is None:
        return False
    if route.engine in {EnginePreference.AUTO, EnginePreference.ASYNC}:
        return True
    try:
        target = await _read_target(ports, run)
    except Failure:
        return True  # `clean` reads it again; a retry of this step would put the successor's event twice
    return target is not None and is_incomplete(target, run.transfer, run.size)


async def _write_ended(ports: Ports, run: Run) -> None:
    ending = run.ending or Ending(State.DEAD_LETTERED, Reason.INTERNAL)
    await ports.dead_letters.write_ended(Ended(run.transfer.id, run.attempt, ending, run.resumes))


async def run_clean(ports: Ports, run: Run) -> Outcome:
    """Remove this transfer's incomplete blob; return `verified` if the target turns out to hold the complete version."""
    # The id of the aborted copy. Its abort may be repeated, but another pending copy belongs to a newer attempt.
    aborted = None
    cleaning = Cleaning.NOTHING
    try:
        run = await _with_size(ports, run)
        for _ in range(MAX_LOOKS):
            target = await _read_target(ports, run)
            cleaning = choose_cleaning(run, target, aborted=bool(aborted and target and target.copy_id != aborted))
            if target is None or cleaning is Cleaning.NOTHING:
                return DONE
            if cleaning is Cleaning.COMPLETE:
                if (verified := await _confirm(ports, run, target)) is not None:
                    return verified
                continue
            aborted = target.copy_id if cleaning is Cleaning.ABORT else aborted
            if await _abort_or_delete(ports, run, target, cleaning):
                return DONE
    except Failure as failure:
        return _retry(failure)
    return _unclear(run, cleaning)


async def _with_size(ports: Ports, run: Run) -> Run:
    """Return the run with its version's size, read from the source if the run failed before `start` had read it."""
    if run.size is None and current_route(ports, run) is not None:
        with suppress(Failure):
            source = await ports.source.head(run.transfer.source_blob)
            if source is not None and source.etag == run.transfer.etag:
                return replace(run, size=source.size)
    return run


async def _read_target(ports: Ports, run: Run) -> TargetBlob | None:
    """Return the target; None if it is absent, if no current route has it, or if it is unreadable and no copy was pending."""
    if current_route(ports, run) is None:
        return None
    try:
        return await ports.target.head(run.transfer.target_blob)
    except Permanent:
        if run.state is State.COPYING:
            raise
        return None


async def _confirm(ports: Ports, run: Run, target: TargetBlob) -> Outcome | None:
    """Verified, even if the copy's properties cannot be cleared; None if that is unknown, to look again."""
    try:
        return await confirm(ports, run, target, target.size)
    except LookAgain:
        return None
    except Failure as failure:
        return Outcome(Verdict.VERIFIED, size=target.size, note=f"{UNCLEARED}: {failure}", target_etag=target.etag)


async def _abort_or_delete(ports: Ports, run: Run, target: TargetBlob, cleaning: Cleaning) -> bool:
    """True if the target was deleted, so that no further look is needed."""
    with suppress(LookAgain):
        if cleaning is Cleaning.ABORT:
            await ports.target.abort(run.transfer.target_blob, target.copy_id or "")
            return False
        await ports.target.delete(run.transfer.target_blob, target.etag)
        return True
    return False


def _unclear(run: Run, last: Cleaning) -> Outcome:
    """After the last look: a complete version is verified, even if its copy's properties may not be cleared."""
    if last is Cleaning.COMPLETE:
        return Outcome(Verdict.VERIFIED, size=run.size, note=UNCLEARED)
    return Outcome(Verdict.RETRYABLE, reason=Reason.TARGET_CONFLICT, detail=f"not clean after {MAX_LOOKS} attempts")


async def run_close(ports: Ports, run: Run) -> Outcome:
    """Write the dead letter, or resolve an open one; drop a record of an end that no longer holds."""
    now = ports.now()
    state = run.ending.state if run.ending else State.DEAD_LETTERED
    try:
        if state is State.DEAD_LETTERED:
            await ports.dead_letters.write(letters.of_run(run, now, ports.app_version))
        elif run.has_open_dead_letter:
            await ports.dead_letters.resolve(run.transfer.id, run.attempt, state, now)
        if state in {State.VERIFIED, State.SUPERSEDED}:
            await ports.dead_letters.drop_ended(run.transfer.id, run.attempt, run.resumes)
    except Failure as failure:
        return _retry(failure)
    return DONE


def _retry(failure: Failure) -> Outcome:
    """Return any failure as retryable, even a permanent one: an operator may fix its cause while the step repeats."""
    return replace(failure_outcome(failure), verdict=Verdict.RETRYABLE)
