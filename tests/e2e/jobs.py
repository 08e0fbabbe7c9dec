"""Jobs over the API: start one, wait for its end, read its report."""

from typing import Any

from tests.e2e.client import TIMEOUT, Client

JOB_ENDED = {"done", "cancelled", "failed"}


def start_job(client: Client, jobs: str, **body: Any) -> str:
    """Start a job: `jobs` is `reconciles`, `replays` or `discards`. Return its id."""
    answer = client.api("POST", f"/{jobs}", body)
    assert answer.status == 202
    assert answer.headers["Location"] == f"{jobs}/{answer.body['id']}"
    return str(answer.body["id"])


def until_job_ends(client: Client, job_id: str, timeout: float = TIMEOUT) -> dict[str, Any]:
    """Wait until the job has ended, and return it."""
    path = _path(job_id)

    def look() -> dict[str, Any] | None:
        body: dict[str, Any] = client.api("GET", path).body
        return body if body["state"] in JOB_ENDED else None

    found: dict[str, Any] = client.until(look, f"{job_id} ends", timeout)
    return found


def run_job(client: Client, jobs: str, timeout: float = TIMEOUT, **body: Any) -> dict[str, Any]:
    """Start a job and wait until it has ended. Return the job."""
    return until_job_ends(client, start_job(client, jobs, **body), timeout)


def report_lines(client: Client, job_id: str) -> list[dict[str, Any]]:
    """Return all lines of the job's report."""
    return client.list_all(f"{_path(job_id)}/report", limit="")


def counts(job: dict[str, Any]) -> dict[str, int]:
    """Return the counts of a job that are not zero."""
    return {name: count for name, count in job["counts"].items() if count}


def _path(job_id: str) -> str:
    return f"/{job_id.partition('-')[0]}s/{job_id}"
