"""Reading requests: every parameter is checked here, at the edge, and what is wrong is a 400 that says what would be right."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import azure.functions as func

from operations.problems import Invalid
from rules.errors import Reason
from rules.identity import MESSAGE_ID, TRANSFER_ID
from rules.letters import text_without_secrets
from rules.routes import NAME
from rules.transitions import State

DEFAULT_LIMIT, MAX_LIMIT = 100, 500
# The host puts the function key among the parameters; it is never read and never echoed.
KEY = "code"


def parameters(req: func.HttpRequest, *known: str) -> dict[str, str]:
    """The query's parameters, once each.

    Raises:
        Invalid: there is one that this call does not have: it is told, not ignored.
    """
    given = {key: value for key, value in req.params.items() if key != KEY}
    if unknown := sorted(set(given) - set(known)):
        fix = f"Known are: {', '.join(known)}." if known else "This call takes none."
        raise Invalid(f"unknown query parameter {text_without_secrets(unknown[0])[:40]!r}", fix)
    return given


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
        raise Invalid("`continuation` is not valid", "Use it as the page before gave it, or leave it out.") from None


def transfer_id(req: func.HttpRequest) -> str:
    """The id in the path, of a transfer."""
    return _identity(req, TRANSFER_ID)


def letter_id(req: func.HttpRequest) -> str:
    """The id in the path, of a dead letter: a transfer's or a message's."""
    return _identity(req, TRANSFER_ID, MESSAGE_ID)


def body(req: func.HttpRequest, *fields: str) -> dict[str, str]:
    """The JSON object of texts in the body, with exactly these fields."""
    try:
        given: Any = json.loads(req.get_body() or b"null")
    except (ValueError, RecursionError):
        given = None
    example = json.dumps(dict.fromkeys(fields, "..."))
    if not isinstance(given, dict):
        # A chunked body arrives empty at a function: the host drops it.
        fix = f"Send {example} as application/json, with a Content-Length (a chunked body is lost)."
        raise Invalid("the body is no JSON object", fix)
    if set(given) != set(fields) or not all(isinstance(value, str) and value for value in given.values()):
        raise Invalid("the body has not exactly the fields that are needed", f"Send {example}, each a text.")
    return given


def _identity(req: func.HttpRequest, *patterns: re.Pattern[str]) -> str:
    identity: str = req.route_params.get("id", "")
    if not any(pattern.fullmatch(identity) for pattern in patterns):
        raise Invalid(
            "the id is not valid", "Use an id as the lists show it, such as 37a8eec1-45a195a412908b31b025fa37."
        )
    return identity


def _one_of(given: dict[str, str], name: str, values: list[Any]) -> str | None:
    value = given.get(name)
    if value is not None and value not in values:
        raise Invalid(f"`{name}` is not valid", f"Use one of: {', '.join(values)}.")
    return value
