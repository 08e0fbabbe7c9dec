"""What can be read of a transfer: the orchestration's custom status and output, and the API's answer."""

from datetime import datetime
from typing import Any

from rules import identity
from rules.codec import stamp
from rules.errors import Reason
from rules.models import Run, Successor
from rules.transitions import FINAL, State


def progress(run: Run, next_check_at: datetime | None = None) -> dict[str, Any]:
    """The live detail: custom status while it runs, output when it has ended. Under 4 KB, without the name."""
    ending = run.ending if run.state in FINAL else None
    return {
        "state": run.state,
        "engine": run.engine,
        "copied": run.size if run.state is State.VERIFIED else run.copied,
        "total": run.size,
        "attempt": run.attempt,
        "tries": run.tries,
        "cancelling": run.cancelling,
        "ending": run.ending.state if run.ending and not ending else None,
        "reason": ending.reason if ending else run.reason,
        "detail": (ending.detail if ending else run.detail) or run.note,
        "successor": ending.successor and _successor(run, ending.successor) if ending else None,
        "updated_at": stamp(run.updated_at or run.accepted_at),
        "next_check_at": next_check_at and stamp(next_check_at),
    }


def _successor(run: Run, successor: Successor) -> dict[str, Any]:
    """The version that replaced it, with the id of its own transfer along the same route; a deletion has neither."""
    if successor.etag is None:
        return {"id": None, "etag": None}
    transfer = run.transfer
    return {"id": identity.sibling(transfer, successor.etag).id, "etag": successor.etag}


def view(identity: str, run: Run | None, live: dict[str, Any], *, broken: bool) -> dict[str, Any]:
    """A transfer as the API answers it. `live` is `progress` as the extension kept it, `{}` before the first step.

    An orchestration that broke (Failed, Terminated) is shown as what the sweep will make of it.
    """
    shown = {"id": identity, **_identity(run), **_BLANK, **{key: live[key] for key in _BLANK if key in live}}
    if run is not None and not live:
        shown |= {"attempt": run.attempt, "updated_at": stamp(run.accepted_at)}
    if broken:
        shown |= _broken(run, cancelling=shown["cancelling"] or (run is not None and run.cancelling))
    if shown["source"] is not None and shown["total"] is not None:
        shown["source"]["size"] = shown["total"]
    reason = shown["reason"]
    return {**shown, "hint": Reason(reason).hint if reason in list(Reason) else None}


def _broken(run: Run | None, *, cancelling: bool) -> dict[str, Any]:
    """What the sweep makes of it: the end that was decided before it broke; else as it was asked for, or `internal`."""
    if run is not None and run.ending and run.ending.state:
        return {
            "state": run.ending.state,
            "reason": run.ending.reason,
            "detail": run.ending.detail,
            "next_check_at": None,
        }
    if cancelling:
        detail = "the orchestration broke while it was cancelled; its end is recorded within five minutes"
        return {"state": State.CANCELLED, "reason": None, "detail": detail, "next_check_at": None}
    detail = "the orchestration broke; its dead letter is written within five minutes"
    return {"state": State.DEAD_LETTERED, "reason": Reason.INTERNAL, "detail": detail, "next_check_at": None}


_BLANK: dict[str, Any] = {
    "state": State.ACCEPTED,
    "engine": None,
    "copied": 0,
    "total": None,
    "attempt": 0,
    "tries": 0,
    "cancelling": False,
    "ending": None,
    "reason": None,
    "detail": "",
    "successor": None,
    "updated_at": None,
    "next_check_at": None,
}


def _identity(run: Run | None) -> dict[str, Any]:
    if run is None:
        return {"route": None, "source": None, "target": None, "accepted_at": None}
    transfer = run.transfer
    return {
        "route": transfer.route,
        "source": {"url": transfer.version.blob.url, "name": transfer.name, "etag": transfer.etag, "size": run.size},
        "target": {"url": transfer.target_blob.url},
        "accepted_at": stamp(run.accepted_at),
    }
