"""How the API answers: JSON, and errors as `application/problem+json` with a fix. Nothing of a request's key is echoed."""

import json
import logging
from typing import Any

import azure.functions as func

from operations.log import log
from operations.problems import Problem, Unavailable
from rules.errors import StorageError
from rules.redaction import text_without_secrets

# An answer is data: no browser may take it for a page, or keep it.
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


def answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> func.HttpResponse:
    """A JSON answer."""
    return _response(body, status, "application/json", headers or {})


def accepted(ids: list[str], location: str) -> func.HttpResponse:
    """202, and where to look for each id; `location` is where the first one is, as the client finds it."""
    where = [{"id": identity, "url": f"/api/transfers/{identity}"} for identity in ids]
    return answer({"transfers": where}, 202, {"Location": location} if ids else {})


def reference(route: str, url: str, place: str) -> str:
    """A place of the API, relative to the request at `url`: behind an ingress the client may have asked for another path.

    The host accepts a slash at the end of a path. A relative reference then starts one level deeper.
    """
    return "../" * (route.count("/") + url.partition("?")[0].endswith("/")) + place


def problem(error: Problem) -> func.HttpResponse:
    """An error, with the fix."""
    body = {
        "type": "about:blank",
        "title": error.title,
        "status": error.status,
        "detail": _shown(error.detail),
        "fix": error.fix,
    }
    headers = {"Retry-After": str(error.retry_after)} if error.retry_after is not None else {}
    return _response({**body, **error.facts}, error.status, "application/problem+json", headers)


def _shown(detail: str) -> str:
    """A detail may quote the request: without secrets and control characters. Escapes come last: they could hide a secret."""
    text = text_without_secrets(detail)
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def failure(error: Exception) -> func.HttpResponse:
    """The answer to whatever an operation raised."""
    if isinstance(error, Problem):
        return problem(error)
    if isinstance(error, StorageError):
        log("http.storage_failed", str(error), level=logging.WARNING)
        return problem(Unavailable(str(error), "Check GET /api/health, then send the request again.", retry_after=30))
    # The text of an unexpected error goes to the log only.
    log("http.failed", f"{type(error).__name__}: {error}", level=logging.ERROR)
    return problem(Problem("an unexpected error occurred", "Search the app's log for the action http.failed."))


def _response(body: Any, status: int, mimetype: str, headers: dict[str, str]) -> func.HttpResponse:
    text = json.dumps(body, default=str)
    return func.HttpResponse(
        text, status_code=status, mimetype=mimetype, charset="utf-8", headers={**HEADERS, **headers}
    )
