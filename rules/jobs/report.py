"""The pages of a job's report: findings of the survey, and results."""

# The number of lines in a page.
PAGE = 500


def found_page(job_id: str, number: int) -> str:
    """Return the name of a page of findings."""
    return f"{job_id}/found-{number:06}.jsonl"


def results_page(job_id: str, number: int) -> str:
    """Return the name of a page of results."""
    return f"{job_id}/results-{number:06}.jsonl"
