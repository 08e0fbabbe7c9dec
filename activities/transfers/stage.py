"""The `stage` step: stage the blocks of one lane of a large blob."""

from dataclasses import replace

from activities.transfers.common import NOT_ALLOWED, current_route, failure_outcome
from activities.transfers.copy_request import CopyRequests
from activities.transfers.staging import Staging
from ports.services import Ports
from rules.errors import Failure, Retryable
from rules.routes.model import Engine, Route
from rules.transfers import blocks
from rules.transfers.model import Outcome, Run, Verdict
from rules.transfers.policies import STAGING_TIME


async def run_stage(ports: Ports, run: Run) -> Outcome:
    """Stage the missing blocks of the run's only lane. Safe to repeat, concurrently or late: no reader sees a staged block.

    Returns `staging` with the lane's progress, `retryable` if the services are too busy, `again` if `start` must decide: the
    version has changed or ended, or a block was refused.
    """
    route = current_route(ports, run)
    if route is None:
        return NOT_ALLOWED
    lane, until = run.lanes[0], ports.monotonic() + STAGING_TIME
    try:
        ended = await ports.dead_letters.read_ended(run.transfer.id)
        if ended is not None and ended.attempt >= run.attempt:
            return Outcome(Verdict.AGAIN)
        return await _stage(ports, route, run, until)
    except Failure as failure:
        return replace(failure_outcome(failure), lanes=(lane,))


async def _stage(ports: Ports, route: Route, run: Run, until: float) -> Outcome:
    source = await CopyRequests(ports, route, run).sign(Engine.BLOCKS)
    plan = blocks.plan(run.transfer, run.size or 0, ports.sizes)
    staging = Staging(ports, run.transfer, source, plan, until)
    lanes = (await staging.stage(run.lanes[0]),)
    match staging.refusal:
        case None:
            return Outcome(Verdict.STAGING, lanes=lanes)
        case Retryable() as busy:
            return replace(failure_outcome(busy), lanes=lanes)
        case refusal:
            return Outcome(Verdict.AGAIN, detail=str(refusal), lanes=lanes)
