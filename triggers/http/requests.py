"""Reading the URL of a request: every parameter and id is checked here. Errors are answered 400 with a fix."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import parse_qsl

import azure.functions as func

from operations.problems import Invalid
from rules.codec import parse_time
from rules.errors import Reason
from rules.jobs.model import Finding, JobKind, Result
from rules.routes.config import NAME
from rules.transfers.identity import JOB_ID_PATTERN, MESSAGE_ID_PATTERN, NOTICE_ID_PATTERN, TRANSFER_ID_PATTERN
from rules.transfers.states import State

DEFAULT_LIMIT, MAX_LIMIT = 100, 500
# The host adds the function key to the parameters. It is never read and never echoed.
KEY = "code"
# May be empty in the request for a first page.
CONTINUATION = "continuation"
DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def read_query(req: func.HttpRequest, *known: str) -> dict[str, str]:
    """Return the query's parameters.

    Raises:
        Invalid: a parameter is not one of `known`, has no value, or is given twice.
    """
    query = {key: value for key, value in req.params.items() if key != KEY}
    _check_url(req.url, query)
    if unknown := sorted(set(query) - set(known)):
        fix = f"Use only: {', '.join(known)}." if known else "This call accepts no query parameters."
        raise Invalid(f"unknown query parameter '{unknown[0][:40]}'", fix)
    return query


def _check_url(url: str, query: dict[str, str]) -> None:
    """Reject empty and repeated parameters. The host drops the former and joins the latter, so this reads the URL.

    Without this check, an empty `state=` would list everything, and `name=a&name=b` would look for the blob `a,b`.
    """
    sent = [name for name, _ in parse_qsl(url.partition("?")[2], keep_blank_values=True) if name != KEY]
    if empty := sorted(set(sent) - set(query) - {CONTINUATION}):
        raise Invalid(f"the query parameter '{empty[0][:40]}' has no value", "Give it a value, or omit it.")
    if repeated := sorted({name for name in sent if sent.count(name) > 1}):
        raise Invalid(f"the query parameter '{repeated[0][:40]}' is given twice", "Give it once.")


def limit(query: dict[str, str]) -> int:
    """Return `limit`: 1 to 500, default 100."""
    text = query.get("limit", str(DEFAULT_LIMIT))
    if not re.fullmatch(r"[0-9]{1,3}", text) or not 1 <= int(text) <= MAX_LIMIT:
        raise Invalid("`limit` is not valid", f"Use a number from 1 to {MAX_LIMIT}.")
    return int(text)


def state(query: dict[str, str]) -> str | None:
    """Return `state`: a state of a transfer."""
    return _one_of(query, "state", list(State))


def reason(query: dict[str, str]) -> str | None:
    """Return `reason`: a reason of a dead letter."""
    return _one_of(query, "reason", list(Reason))


def route(query: dict[str, str]) -> str | None:
    """Return `route`. The route need not exist: transfers outlive their routes."""
    name = query.get("route")
    if name is not None and not NAME.fullmatch(name):
        raise Invalid("`route` is not valid", "Use the name of a route: letters, digits and dashes.")
    return name


def required_route(query: dict[str, str]) -> str:
    """Return `route`, which must be there."""
    name = route(query)
    if name is None:
        raise Invalid("`route` is missing", "Add ?route=<route>.")
    return name


def moment(given: dict[str, str], name: str) -> datetime | None:
    """Return a time in UTC."""
    text = given.get(name)
    try:
        return parse_time(text).astimezone(UTC) if text is not None else None
    except (ValueError, OverflowError):  # times of the first and the last day may be out of range in UTC
        fix = "Send an RFC 3339 time with a time zone, such as 2026-11-24T19:02:44Z."
        raise Invalid(f"`{name}` is not valid", fix) from None


def day(query: dict[str, str]) -> date:
    """Return `day`, which must be there: `2026-11-30`."""
    text = query.get("day", "")
    try:
        if DAY.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:  # no calendar has it
        pass
    raise Invalid("`day` is missing or not a day", "Add &day=<a day in UTC>, such as 2026-11-30.")


@contextmanager
def continuation(query: dict[str, str]) -> Iterator[str | None]:
    """Yield `continuation`. Only the reader of the page can validate it: a ValueError inside becomes a 400."""
    token = query.get("continuation")
    try:
        yield token
    except ValueError:
        if token is None:
            raise
        raise Invalid("`continuation` is not valid", "Use the value from the previous page, or omit it.") from None


def transfer_id(req: func.HttpRequest) -> str:
    """Return the path's id of a transfer."""
    return _identity(req, TRANSFER_ID_PATTERN)


def letter_id(req: func.HttpRequest) -> str:
    """Return the path's id of a dead letter: of a transfer, of its notice or of a message."""
    return _identity(req, TRANSFER_ID_PATTERN, NOTICE_ID_PATTERN, MESSAGE_ID_PATTERN)


def job_id(req: func.HttpRequest, kind: JobKind) -> str:
    """Return the path's id of a job of this kind."""
    identity = _identity(req, JOB_ID_PATTERN)
    if not identity.startswith(f"{kind}-"):
        raise Invalid("the ID belongs to another kind of job", f"Use an ID that starts with {kind}-.")
    return identity


def report_page(query: dict[str, str]) -> int:
    """Return `continuation` of a report: a page number."""
    text = query.get("continuation") or "0"
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise Invalid("`continuation` is not valid", "Use the value from the previous page, or omit it.")
    return int(text)


def line_filter(query: dict[str, str]) -> dict[str, str]:
    """Return the filters `class` and `result` for lines of a report."""
    filters = {"class": _one_of(query, "class", list(Finding)), "result": _one_of(query, "result", list(Result))}
    return {name: value for name, value in filters.items() if value is not None}


def _identity(req: func.HttpRequest, *patterns: re.Pattern[str]) -> str:
    identity: str = req.route_params.get("id", "")
    if not any(pattern.fullmatch(identity) for pattern in patterns):
        raise Invalid(
            "the ID is not valid", "Use an ID as the lists show it, such as 37a8eec1-45a195a412908b31b025fa37."
        )
    return identity


def _one_of(query: dict[str, str], name: str, values: list[Any]) -> str | None:
    value = query.get(name)
    if value is not None and value not in values:
        raise Invalid(f"`{name}` is not valid", f"Use one of: {', '.join(values)}.")
    return value
