"""The progress of a transfer: its orchestration's custom status, and its output."""

from datetime import datetime
from typing import Any

from rules.codec import stamp
from rules.transfers import identity
from rules.transfers.model import Ending, Run, Successor
from rules.transfers.states import FINAL, State

DELETION = {"id": None, "etag": None}


def progress(run: Run, next_check_at: datetime | None = None) -> dict[str, Any]:
    """Return the custom status of a running transfer or the output of an ended one. Under 4 KB, without the name."""
    ending = run.ending if run.state in FINAL else None
    return {
        "state": run.state,
        "engine": run.engine,
        "copied": run.size if run.state is State.VERIFIED else run.copied,
        "total": run.size,
        "target_etag": (run.target_etag or None) if run.state is State.VERIFIED else None,
        "attempt": run.attempt,
        "tries": run.copy_attempts,
        "resumes": run.resumes,
        "cancelling": run.cancelling,
        "ending": run.ending.state if run.ending and not ending else None,
        "reason": ending.reason if ending else run.reason,
        "detail": _detail(run, ending),
        "successor": ending.successor and _successor(run, ending.successor) if ending else None,
        "updated_at": stamp(run.updated_at or run.accepted_at),
        "verified_at": run.verified_at and stamp(run.verified_at),
        "first_look_at": run.first_look_at and stamp(run.first_look_at),
        "next_check_at": next_check_at and stamp(next_check_at),
    }


def _detail(run: Run, ending: Ending | None) -> str:
    parts = (ending.detail, run.note) if ending else (run.detail or run.note,)
    return "; ".join(part for part in parts if part)


def _successor(run: Run, successor: Successor) -> dict[str, Any]:
    """The newer version and the id of its transfer along the same route; both None after a deletion."""
    if successor.etag is None:
        return DELETION
    transfer = run.transfer
    return {"id": identity.sibling(transfer, successor.etag).id, "etag": successor.etag}
