"""Helpers for tests of reconcile jobs."""

from typing import Any

from tests.e2e.desk import PATIENCE, Desk

CONTAINER = "before"
ENDED = {"done", "cancelled", "failed"}


def asked(desk: Desk, **body: Any) -> str:
    """Start a reconcile job for the container's route and return its id."""
    answer = desk.api("POST", "/reconciles", {"route": CONTAINER, **body})
    assert answer.status == 202
    assert answer.headers["Location"] == f"reconciles/{answer.body['id']}"
    return str(answer.body["id"])


def ended(desk: Desk, job_id: str, patience: float = PATIENCE) -> dict[str, Any]:
    """Wait until a job has ended and return it."""

    def look() -> dict[str, Any] | None:
        body: dict[str, Any] = desk.api("GET", f"/reconciles/{job_id}").body
        return body if body["state"] in ENDED else None

    found: dict[str, Any] = desk.until(look, f"{job_id} ends", patience)
    return found


def report(desk: Desk, job_id: str, wanted: str = "") -> list[dict[str, Any]]:
    """Return all lines of a job's report."""
    return desk.everything(f"/reconciles/{job_id}/report{wanted}", limit="")
