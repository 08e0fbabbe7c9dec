"""Helpers of the transfer steps: the check that a run is allowed, and outcomes that several steps return."""

from ports.services import Ports
from rules.errors import Failure, Permanent, Reason
from rules.events.decide import transfer_for
from rules.routes.model import Engine, EnginePreference, Route
from rules.transfers.decisions import TargetBlob
from rules.transfers.model import Outcome, Run, Transfer, Verdict

NOT_ALLOWED = Outcome(
    Verdict.PERMANENT, reason=Reason.NOT_ALLOWED, detail="no current route goes from this source to this target"
)


def current_route(ports: Ports, run: Run) -> Route | None:
    """The configured route of this run, if it still yields exactly this transfer: an input is never trusted (rule 4)."""
    route = ports.route(run.transfer.route)
    if route is None:
        return None
    transfer = transfer_for(route, run.transfer.name, run.transfer.etag)
    return route if isinstance(transfer, Transfer) and transfer == run.transfer else None


def failure_outcome(failure: Failure, refused: tuple[Engine, ...] = ()) -> Outcome:
    """A storage failure as a value, because Durable Functions keeps only the text of an exception."""
    verdict = Verdict.PERMANENT if isinstance(failure, Permanent) else Verdict.RETRYABLE
    return Outcome(verdict, reason=failure.reason, detail=str(failure), refused=refused)


def may_use_blocks(route: Route, run: Run) -> bool:
    """Whether blocks may replace a pending copy."""
    return route.engine is EnginePreference.AUTO and Engine.BLOCKS not in run.refused


def waiting_outcome(ports: Ports, route: Route, run: Run, target: TargetBlob) -> Outcome:
    """The progress of a pending copy, with the service's message if it reports a problem."""
    return Outcome(
        Verdict.WAITING,
        engine=Engine.ASYNC,
        size=target.total,
        copied=target.copied,
        detail=target.copy_detail,
        copy_id=target.copy_id or "",
        patience=ports.times.patience if may_use_blocks(route, run) else None,
        refused=run.refused,
    )
