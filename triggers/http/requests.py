"""Reading a request's URL: every parameter and id is checked here, at the edge; what is wrong is a 400 that says what is right."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl

import azure.functions as func

from operations.problems import Invalid
from rules.errors import Reason
from rules.jobs.model import Finding, JobKind, Result
from rules.routes.config import NAME
from rules.transfers.identity import JOB_ID_PATTERN, MESSAGE_ID_PATTERN, TRANSFER_ID_PATTERN
from rules.transfers.states import State

DEFAULT_LIMIT, MAX_LIMIT = 100, 500
# The host puts the function key among the parameters; it is never read and never echoed.
KEY = "code"
# A first page may be asked for with an empty one.
CONTINUATION = "continuation"


def parameters(req: func.HttpRequest, *known: str) -> dict[str, str]:
    """The query's parameters, once each.

    Raises:
        Invalid: there is one that this call does not have: it is told, not ignored.
    """
    given = {key: value for key, value in req.params.items() if key != KEY}
    _as_asked(req.url, given)
    if unknown := sorted(set(given) - set(known)):
        fix = f"Use only: {', '.join(known)}." if known else "This call accepts no query parameters."
        raise Invalid(f"unknown query parameter '{unknown[0][:40]}'", fix)
    return given


def _as_asked(url: str, given: dict[str, str]) -> None:
    """The host drops a parameter without a value, and joins repeated ones with a comma: the URL still has them as they were.

    Without this an empty `state=` would list everything, and `name=a&name=b` look for the blob `a,b`.
    """
    asked = [name for name, _ in parse_qsl(url.partition("?")[2], keep_blank_values=True) if name != KEY]
    if empty := sorted(set(asked) - set(given) - {CONTINUATION}):
        raise Invalid(f"the query parameter '{empty[0][:40]}' has no value", "Give it a value, or omit it.")
    if repeated := sorted({name for name in asked if asked.count(name) > 1}):
        raise Invalid(f"the query parameter '{repeated[0][:40]}' is given twice", "Give it once.")


def limit(given: dict[str, str]) -> int:
    """`limit`, 1 to 500; 100 where it is not given."""
    text = given.get("limit", str(DEFAULT_LIMIT))
    if not re.fullmatch(r"[0-9]{1,3}", text) or not 1 <= int(text) <= MAX_LIMIT:
        raise Invalid("`limit` is not valid", f"Use a number from 1 to {MAX_LIMIT}.")
    return int(text)


def state(given: dict[str, str]) -> str | None:
    """`state`, one of the states."""
    return _one_of(given, "state", list(State))


def reason(given: dict[str, str]) -> str | None:
    """`reason`, one of the reasons of dead letters."""
    return _one_of(given, "reason", list(Reason))


def route(given: dict[str, str]) -> str | None:
    """`route`, a route's name; whether there is such a route is not asked: routes come and go, transfers stay."""
    name = given.get("route")
    if name is not None and not NAME.fullmatch(name):
        raise Invalid("`route` is not valid", "Use the name of a route: letters, digits and dashes.")
    return name


@contextmanager
def continuation(given: dict[str, str]) -> Iterator[str | None]:
    """`continuation`; only who makes the page can tell whether it is one, by a ValueError."""
    token = given.get("continuation")
    try:
        yield token
    except ValueError:
        if token is None:
            raise
        raise Invalid("`continuation` is not valid", "Use the value from the previous page, or omit it.") from None


def transfer_id(req: func.HttpRequest) -> str:
    """The id in the path, of a transfer."""
    return _identity(req, TRANSFER_ID_PATTERN)


def letter_id(req: func.HttpRequest) -> str:
    """The id in the path, of a dead letter: a transfer's or a message's."""
    return _identity(req, TRANSFER_ID_PATTERN, MESSAGE_ID_PATTERN)


def job_id(req: func.HttpRequest, kind: JobKind) -> str:
    """The id in the path, of a job of this kind."""
    identity = _identity(req, JOB_ID_PATTERN)
    if not identity.startswith(f"{kind}-"):
        raise Invalid("the ID belongs to another kind of job", f"Use an ID that starts with {kind}-.")
    return identity


def report_page(given: dict[str, str]) -> int:
    """`continuation` of a report: the number of its page."""
    text = given.get("continuation") or "0"
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise Invalid("`continuation` is not valid", "Use the value from the previous page, or omit it.")
    return int(text)


def line_filter(given: dict[str, str]) -> dict[str, str]:
    """`class` and `result`: which lines of a report are wanted."""
    wanted = {"class": _one_of(given, "class", list(Finding)), "result": _one_of(given, "result", list(Result))}
    return {name: value for name, value in wanted.items() if value is not None}


def _identity(req: func.HttpRequest, *patterns: re.Pattern[str]) -> str:
    identity: str = req.route_params.get("id", "")
    if not any(pattern.fullmatch(identity) for pattern in patterns):
        raise Invalid(
            "the ID is not valid", "Use an ID as the lists show it, such as 37a8eec1-45a195a412908b31b025fa37."
        )
    return identity


def _one_of(given: dict[str, str], name: str, values: list[Any]) -> str | None:
    value = given.get(name)
    if value is not None and value not in values:
        raise Invalid(f"`{name}` is not valid", f"Use one of: {', '.join(values)}.")
    return value
