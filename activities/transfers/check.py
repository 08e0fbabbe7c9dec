"""The `check` step: one poll of a pending copy."""

from activities.transfers.common import NOT_ALLOWED, current_route, failure_outcome, waiting_outcome
from ports.services import Ports
from rules.errors import Failure, Reason
from rules.transfers.decisions import CopyStatus, is_in_progress
from rules.transfers.model import Outcome, Run, Verdict


async def run_check(ports: Ports, run: Run) -> Outcome:
    """One HEAD of the target: `waiting` if the copy is pending, `retryable` if it failed, else `again`, so that `start` decides."""
    route = current_route(ports, run)
    if route is None:
        return NOT_ALLOWED
    try:
        target = await ports.target.head(run.transfer.target_blob)
    except Failure as failure:
        return failure_outcome(failure)
    if target is not None and is_in_progress(target, run.transfer.etag):
        return waiting_outcome(ports, route, run, target)
    if target is not None and (target.source_etag, target.copy_status) == (run.transfer.etag, CopyStatus.FAILED):
        detail = target.copy_detail or "the service reported no reason"
        return Outcome(Verdict.RETRYABLE, reason=Reason.COPY_FAILED, detail=detail)
    return Outcome(Verdict.AGAIN)
