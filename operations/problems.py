"""What an operation answers when it cannot do what was asked: each with the fix, as `application/problem+json` (RFC 9457)."""


class Problem(Exception):
    """An answer that is no success. `retry_after` is seconds; `facts` go into the answer as they are."""

    status = 500
    title = "Internal error"

    def __init__(self, detail: str, fix: str, *, retry_after: int | None = None, **facts: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.fix = fix
        self.retry_after = retry_after
        self.facts = facts


class Invalid(Problem):
    """The request cannot be understood."""

    status = 400
    title = "Invalid request"


class NotFound(Problem):
    """There is no such thing."""

    status = 404
    title = "Not found"


class Conflict(Problem):
    """It cannot be done in the state that it is in."""

    status = 409
    title = "Conflict with the current state"


class Unavailable(Problem):
    """It cannot be done at the moment."""

    status = 503
    title = "Temporarily unavailable"
