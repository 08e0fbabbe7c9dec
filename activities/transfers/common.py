"""What the steps of a transfer share: may they act at all, and how a failure becomes an outcome."""

from ports.services import Ports
from rules import events, redaction
from rules.errors import Failure, Permanent, Reason
from rules.routes.model import Route
from rules.transfers.model import Outcome, Run, Transfer, Verdict


def todays_route(ports: Ports, run: Run) -> Route | None:
    """The route of this run, if it leads today where the run's id says: an input is never trusted on its own (rule 4)."""
    route = ports.route(run.transfer.route)
    if route is None:
        return None
    today = events.transfer_for(route, run.transfer.name, run.transfer.etag)
    return route if isinstance(today, Transfer) and today == run.transfer else None


NOT_ALLOWED = Outcome(
    Verdict.PERMANENT, reason=Reason.NOT_ALLOWED, detail="no current route goes from this source to this target"
)


def failed(failure: Failure) -> Outcome:
    """A failure of storage as a value: durable functions keep only an exception's text."""
    verdict = Verdict.PERMANENT if isinstance(failure, Permanent) else Verdict.RETRYABLE
    return Outcome(verdict, reason=failure.reason, detail=redaction.text_without_secrets(str(failure)))
