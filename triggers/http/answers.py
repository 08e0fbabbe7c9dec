"""The answers of the API: JSON, and errors as `application/problem+json` with a fix. No answer holds a key."""

import json
import logging
from typing import Any

import azure.functions as func

from operations.log import log
from operations.problems import Problem, Unavailable
from rules.errors import StorageError
from rules.redaction import text_without_secrets

# An answer is data: browsers must not render or cache it.
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


def json_answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> func.HttpResponse:
    """Return a JSON answer."""
    return _response(body, status, "application/json", headers or {})


def accepted(ids: list[str], location: str) -> func.HttpResponse:
    """Return 202 with a URL for each id. `location` is the URL of the first, relative to the request."""
    transfers = [{"id": identity, "url": f"/api/transfers/{identity}"} for identity in ids]
    return json_answer({"transfers": transfers}, 202, {"Location": location} if ids else {})


def relative_url(route: str, url: str, path: str) -> str:
    """Return `path` relative to the request at `url`, because an ingress may have changed the prefix of the path.

    `route` is the endpoint's. The host accepts a slash at the end of a path; relative references then start one level deeper.
    """
    return "../" * (route.count("/") + url.partition("?")[0].endswith("/")) + path


def problem_answer(error: Problem) -> func.HttpResponse:
    """Return the answer to an error, with its fix."""
    body = {
        "type": "about:blank",
        "title": error.title,
        "status": error.status,
        "detail": _printable_without_secrets(error.detail),
        "fix": error.fix,
    }
    headers = {"Retry-After": str(error.retry_after)} if error.retry_after is not None else {}
    return _response({**body, **error.facts}, error.status, "application/problem+json", headers)


def _printable_without_secrets(detail: str) -> str:
    """Clean a detail, which may quote the request. Secrets are removed first, because an escape could hide one."""
    text = text_without_secrets(detail)
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def error_answer(error: Exception) -> func.HttpResponse:
    """Return the answer to an exception that an operation raised."""
    if isinstance(error, Problem):
        return problem_answer(error)
    if isinstance(error, StorageError):
        log("http.storage_failed", str(error), level=logging.WARNING)
        return problem_answer(
            Unavailable(str(error), "Check GET /api/health, then send the request again.", retry_after=30)
        )
    # The text of an unexpected error goes to the log only.
    log("http.failed", f"{type(error).__name__}: {error}", level=logging.ERROR)
    return problem_answer(Problem("an unexpected error occurred", "Search the app's log for the action http.failed."))


def _response(body: Any, status: int, mimetype: str, headers: dict[str, str]) -> func.HttpResponse:
    text = json.dumps(body, default=str)
    return func.HttpResponse(
        text, status_code=status, mimetype=mimetype, charset="utf-8", headers={**HEADERS, **headers}
    )
