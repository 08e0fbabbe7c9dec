"""The `check` step: one poll of a pending copy."""

from activities.transfers.common import NOT_ALLOWED, current_route, failure_outcome, may_use_blocks, waiting_outcome
from ports.services import Ports
from rules.errors import Failure, Reason
from rules.routes.model import Engine
from rules.transfers.decisions import CopyStatus, is_in_progress
from rules.transfers.model import Outcome, Run, Verdict


async def run_check(ports: Ports, run: Run) -> Outcome:
    """One HEAD of the target: `waiting` if the copy is pending, `retryable` if it failed, else `again`, so that `start` decides.

    After a copy that failed or that another client aborted, blocks replace `async` if the route allows it.
    """
    route = current_route(ports, run)
    if route is None:
        return NOT_ALLOWED
    try:
        target = await ports.target.head(run.transfer.target_blob)
    except Failure as failure:
        return failure_outcome(failure, refused=run.refused)
    if target is not None and is_in_progress(target, run.transfer.etag):
        return waiting_outcome(ports, route, run, target)
    status = target.copy_status if target is not None and target.source_etag == run.transfer.etag else None
    broken = status in {CopyStatus.FAILED, CopyStatus.ABORTED}
    refused = (Engine.ASYNC,) if broken and may_use_blocks(route, run) else run.refused
    if target is not None and status is CopyStatus.FAILED:
        detail = target.copy_detail or "the service reported no reason"
        return Outcome(Verdict.RETRYABLE, reason=Reason.COPY_FAILED, detail=detail, refused=refused)
    return Outcome(Verdict.AGAIN, refused=refused)
