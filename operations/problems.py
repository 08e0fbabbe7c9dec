"""The errors of requests, each with a fix. The API answers them as `application/problem+json` (RFC 9457)."""


class Problem(Exception):
    """An unsuccessful answer. `retry_after` is in seconds; `facts` are added to the answer's JSON as they are."""

    status = 500
    title = "Internal error"

    def __init__(self, detail: str, fix: str, *, retry_after: int | None = None, **facts: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.fix = fix
        self.retry_after = retry_after
        self.facts = facts


class Invalid(Problem):
    """The request is malformed, or a value in it is not allowed."""

    status = 400
    title = "Invalid request"


class Forbidden(Problem):
    """The app's settings do not allow the request."""

    status = 403
    title = "Not allowed"


class NotFound(Problem):
    """The requested transfer, job, dead letter, route or blob does not exist."""

    status = 404
    title = "Not found"


class Conflict(Problem):
    """The current state does not allow the request."""

    status = 409
    title = "Conflict with the current state"


class Unavailable(Problem):
    """The request may succeed later."""

    status = 503
    title = "Temporarily unavailable"
