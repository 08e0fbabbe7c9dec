"""A transfer as the API answers it, from its orchestration."""

from typing import Any

from rules.codec import stamp
from rules.errors import Reason
from rules.orchestrations import recovery
from rules.orchestrations.instance import Instance
from rules.transfers.identity import trace_id
from rules.transfers.model import Run
from rules.transfers.states import State
from rules.transfers.status import DELETION, progress

# The fields that come from the last progress, with their values before the first step.
_INITIAL: dict[str, Any] = {
    "state": State.ACCEPTED,
    "engine": None,
    "copied": 0,
    "total": None,
    "target_etag": None,
    "attempt": 0,
    "tries": 0,
    "resumes": 0,
    "cancelling": False,
    "ending": None,
    "reason": None,
    "detail": "",
    "successor": None,
    "verified_at": None,
    "updated_at": None,
    "next_check_at": None,
    "letter": None,
    "trace_url": None,
}


def ended_as_deleted(instance: Instance) -> bool:
    """Whether a transfer ended `superseded` by a deletion of its source."""
    shown = instance.live
    return shown.get("state") == State.SUPERSEDED and shown.get("successor") == DELETION


def view(instance: Instance) -> dict[str, Any]:
    """Return a transfer as the API answers it: the last progress, or before the first step the input.

    A broken one keeps its last state, because no final state is recorded yet. `detail` says why it broke, `ending`
    how it will end if that is decided, and `next_check_at` when it is started again.
    """
    run = instance.run
    live = instance.live or (progress(run) if run else {})
    shown = {
        "id": instance.id,
        "trace_id": trace_id(instance.id),
        **_identity(run),
        **_INITIAL,
        **{key: live[key] for key in _INITIAL if key in live},
    }
    if instance.broken:
        shown |= _broken(instance)
    if shown["source"] is not None and shown["total"] is not None:
        shown["source"]["size"] = shown["total"]
    reason = shown["reason"]
    return {**shown, "hint": Reason(reason).hint if reason in list(Reason) else None}


def _broken(instance: Instance) -> dict[str, Any]:
    plan = recovery.plan(instance)
    if plan is None or not isinstance(plan.input, Run):
        detail = "this version of the app cannot read its input; a dead letter is written within a minute"
        return {"ending": State.DEAD_LETTERED, "reason": Reason.INTERNAL, "detail": detail, "next_check_at": None}
    ending = plan.input.ending
    return {
        "cancelling": plan.input.cancelling,
        "ending": ending and ending.state,
        "reason": ending and ending.reason,
        "detail": recovery.failure_text(instance),
        "next_check_at": stamp(plan.due),
    }


def _identity(run: Run | None) -> dict[str, Any]:
    if run is None:
        return {"route": None, "source": None, "target": None, "accepted_at": None}
    transfer = run.transfer
    return {
        "route": transfer.route,
        "source": {"url": transfer.source_blob.url, "name": transfer.name, "etag": transfer.etag, "size": run.size},
        "target": {"url": transfer.target_blob.url},
        "accepted_at": stamp(run.accepted_at),
    }
