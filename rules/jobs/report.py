"""The pages of a job's report: what the survey found, and what became of it."""

# Lines of one page of a report.
PAGE = 500


def found_page(job_id: str, number: int) -> str:
    """The name of a page of what the survey found."""
    return f"{job_id}/found-{number:06}.jsonl"


def results_page(job_id: str, number: int) -> str:
    """The name of a page of what came of acting."""
    return f"{job_id}/results-{number:06}.jsonl"
