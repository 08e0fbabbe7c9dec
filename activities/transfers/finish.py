"""The steps that end a transfer without leaving anything behind: record, clean, close (rules 6, 7 and 9)."""

from contextlib import suppress
from dataclasses import replace

from activities.transfers.common import failed, todays_route
from activities.transfers.start import UNCLEARED, confirm
from ports.services import Ports
from rules.dead_letters import letters
from rules.errors import Failure, LookAgain, Permanent, Reason
from rules.events import created_event
from rules.routes.model import EnginePreference
from rules.transfers.decisions import Cleaning, TargetBlob, choose_cleaning, is_incomplete
from rules.transfers.lifecycle import UNCLEAN
from rules.transfers.model import Ended, Ending, Outcome, Run, Verdict
from rules.transfers.policies import MAX_LOOKS
from rules.transfers.states import State

DONE = Outcome(Verdict.DONE)
# An append blob that keeps growing is a new version with every block: one successor a minute will do (rule 12).
GROWING_DELAY = 60


async def run_record(ports: Ports, run: Run) -> Outcome:
    """Say durably how the transfer ends, before anything is cleaned: a successor's event, or the record of the end.

    The outcome's `pause` is `settle` where something half-made may be there or appear, 0 where there is nothing to clean.
    """
    try:
        if run.ending is not None and run.ending.state is State.SUPERSEDED:
            return await _superseded(ports, run)
        await _write_ended(ports, run)
    except Failure as failure:
        return failed_for_now(failure)
    if todays_route(ports, run) is None:
        return Outcome(Verdict.DONE, note=f"{UNCLEAN}: no current route has this target")
    return Outcome(Verdict.DONE, pause=ports.times.settle)


async def _superseded(ports: Ports, run: Run) -> Outcome:
    successor = run.ending.successor if run.ending else None
    if successor is None:  # an echo: no `start` has copied it, or the target would have shown that
        return DONE
    if successor.etag:
        event = created_event(run.transfer, successor.etag, ports.now())
        await ports.events.put(event, GROWING_DELAY if successor.growing else 0)
    return Outcome(Verdict.DONE, pause=ports.times.settle if await _may_be_half_made(ports, run) else 0)


async def _may_be_half_made(ports: Ports, run: Run) -> bool:
    """Whether something half-made of this transfer is at the target, or may still appear there.

    Only an `async` copy is ever half-made. One may be in flight although this run knows of none: `start` may have run twice, or
    the host failed an execution whose `start` goes on. Then nobody but this run cleans up after it.
    """
    route = todays_route(ports, run)
    if route is None:
        return False
    if route.engine is not EnginePreference.SYNC:
        return True
    try:
        target = await _target(ports, run)
    except Failure:
        return True  # `clean` looks again; the successor's event is not to be put again for that
    return target is not None and is_incomplete(target, run.transfer, run.size)


async def _write_ended(ports: Ports, run: Run) -> None:
    ending = run.ending or Ending(State.DEAD_LETTERED, Reason.INTERNAL)
    await ports.dead_letters.write_ended(Ended(run.transfer.id, run.attempt, ending, run.resumes))


async def _target(ports: Ports, run: Run) -> TargetBlob | None:
    """The target, if there is one; None too where no current route has this target, or where it never could begin."""
    if todays_route(ports, run) is None:
        return None
    try:
        return await ports.target.head(run.transfer.target_blob)
    except Permanent:
        if run.state is State.COPYING:
            raise  # a copy of ours was seen there: it is somewhere still
        return None


async def run_clean(ports: Ports, run: Run) -> Outcome:
    """Remove what is half-made and ours; `verified` if the version proves to be complete after all."""
    aborted = None  # the copy that was to be aborted: again while that one is pending, but never another
    cleaning = Cleaning.NOTHING
    try:
        run = await _sized(ports, run)
        for _ in range(MAX_LOOKS):
            target = await _target(ports, run)
            cleaning = choose_cleaning(run, target, aborted=bool(aborted and target and target.copy_id != aborted))
            if target is None or cleaning is Cleaning.NOTHING:
                return DONE
            if cleaning is Cleaning.COMPLETE:
                if (verified := await _confirmed(ports, run, target)) is not None:
                    return verified
                continue
            aborted = target.copy_id if cleaning is Cleaning.ABORT else aborted
            if await _remove(ports, run, target, cleaning):
                return DONE
    except Failure as failure:
        return failed_for_now(failure)
    return _unclear(run, cleaning)


async def _confirmed(ports: Ports, run: Run, target: TargetBlob) -> Outcome | None:
    """Verified, whatever clearing the copy's properties comes to; None where nobody knows, so that it is looked at again."""
    try:
        return await confirm(ports, run, target, target.size)
    except LookAgain:
        return None
    except Failure as failure:
        return Outcome(Verdict.VERIFIED, size=target.size, note=f"{UNCLEARED}: {failure}")


def _unclear(run: Run, last: Cleaning) -> Outcome:
    """After the last look: a whole version is verified, even if nobody knows whether its copy's properties were cleared."""
    if last is Cleaning.COMPLETE:
        return Outcome(Verdict.VERIFIED, size=run.size, note=UNCLEARED)
    return Outcome(Verdict.RETRYABLE, reason=Reason.TARGET_CONFLICT, detail=f"not clean after {MAX_LOOKS} attempts")


async def _sized(ports: Ports, run: Run) -> Run:
    """The run with its version's size, which one that broke early has not learned; the source may tell it still."""
    if run.size is None and todays_route(ports, run) is not None:
        with suppress(Failure):
            source = await ports.source.head(run.transfer.source_blob)
            if source is not None and source.etag == run.transfer.etag:
                return replace(run, size=source.size)
    return run


async def _remove(ports: Ports, run: Run, target: TargetBlob, cleaning: Cleaning) -> bool:
    """Abort or delete; True where nothing is left to look at. One copy per cleaning: another is a newer attempt's."""
    with suppress(LookAgain):
        if cleaning is Cleaning.ABORT:
            await ports.target.abort(run.transfer.target_blob, target.copy_id or "")
            return False
        await ports.target.delete(run.transfer.target_blob, target.etag)
        return True
    return False


async def run_close(ports: Ports, run: Run) -> Outcome:
    """Write the dead letter, or resolve an open one; forget the record of an end that is no more true."""
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
        return failed_for_now(failure)
    return DONE


def failed_for_now(failure: Failure) -> Outcome:
    """The end of a transfer is tried again without limit: what is permanent today may be mended tomorrow."""
    outcome = failed(failure)
    return Outcome(Verdict.RETRYABLE, reason=outcome.reason, detail=outcome.detail)
