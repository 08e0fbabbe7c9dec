"""Reading a request's body: a small JSON object; what is wrong is a 400 that says what is right."""

import json
from datetime import UTC, datetime
from typing import Any

import azure.functions as func

from operations.problems import Invalid
from rules.codec import parse_time
from rules.errors import Reason
from rules.jobs.model import DEFAULT_RATE, MAX_RATE, Job, JobKind
from rules.redaction import text_without_secrets
from triggers.http import requests

# The longest name, every character of it escaped, and room for the rest: parsing takes forty times a body's size of memory.
MAX_BODY = 16 * 1024
OF_ALL_JOBS = ("dry_run", "max_per_second")


def texts(req: func.HttpRequest, *fields: str) -> dict[str, str]:
    """The JSON object of texts in the body, with exactly these fields."""
    given = _object(req, example := json.dumps(dict.fromkeys(fields, "...")))
    if set(given) != set(fields) or not all(isinstance(value, str) and value for value in given.values()):
        raise Invalid("the body must have exactly the required fields", f"Send {example}, each field a string.")
    return given


def job(req: func.HttpRequest, kind: JobKind, identity: str, now: datetime) -> Job:
    """The job of this kind that the body asks for."""
    if kind is JobKind.RECONCILE:
        return _reconcile(req, identity, now)
    return _of_letters(req, kind, identity, now)


def _of_letters(req: func.HttpRequest, kind: JobKind, identity: str, now: datetime) -> Job:
    """The bulk replay or discard that the body asks for: any field may be left out, and an empty object means every open letter."""
    given = _known(req, '{"reason": "throttled", "dry_run": true}', "reason", "route", "since", "until", *OF_ALL_JOBS)
    reason = requests.reason(_texts(given, "reason"))
    since, until = _moment(given, "since"), _moment(given, "until")
    if since and until and since > until:
        raise Invalid("`since` is later than `until`", "Send the earlier time as `since`, or omit one of them.")
    return Job(
        id=identity,
        kind=kind,
        created_at=now,
        route=requests.route(_texts(given, "route")),
        reason=Reason(reason) if reason else None,
        since=since,
        until=until,
        dry_run=_dry_run(given),
        rate=_rate(given),
    )


def _reconcile(req: func.HttpRequest, identity: str, now: datetime) -> Job:
    """The reconcile that the body asks for; `route` is needed."""
    given = _known(req, example := '{"route": "default", "dry_run": true}', "route", *OF_ALL_JOBS)
    name = requests.route(_texts(given, "route"))
    if name is None:
        raise Invalid("`route` is missing", f"Send {example}.")
    return Job(
        id=identity, kind=JobKind.RECONCILE, created_at=now, route=name, dry_run=_dry_run(given), rate=_rate(given)
    )


def _object(req: func.HttpRequest, example: str) -> dict[str, Any]:
    sent = req.get_body()
    if len(sent) > MAX_BODY:
        raise Invalid("the body is too large", f"Send {example}; the limit is {MAX_BODY} bytes.")
    try:
        given: Any = json.loads(_text(sent, example) or "null")
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        # A chunked body arrives empty at a function: the host drops it.
        fix = f"Send {example} as application/json, with a Content-Length header (the host drops chunked bodies)."
        raise Invalid("the body is not a JSON object", fix)
    return given


def _text(sent: bytes, example: str) -> str:
    """The body as text. JSON holds no NUL: where there is one, somebody sent UTF-16 or UTF-32."""
    try:
        text = sent.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise Invalid("the body is not UTF-8", f"Send {example} encoded as UTF-8.")
    return text


def _known(req: func.HttpRequest, example: str, *fields: str) -> dict[str, Any]:
    """The JSON object in the body, with these fields at the most; null is as good as left out."""
    given = _object(req, example)
    if unknown := sorted(set(given) - set(fields)):
        shown = text_without_secrets(unknown[0])[:40]
        raise Invalid(f"unknown field {shown!r}", f"Use only: {', '.join(fields)}.")
    return {key: value for key, value in given.items() if value is not None}


def _texts(given: dict[str, Any], name: str) -> dict[str, str]:
    value = given.get(name)
    if value is not None and not isinstance(value, str):
        raise Invalid(f"`{name}` is not valid", "Send a string.")
    return {} if value is None else {name: value}


def _dry_run(given: dict[str, Any]) -> bool:
    value = given.get("dry_run", False)
    if not isinstance(value, bool):
        raise Invalid("`dry_run` is not valid", "Send true or false.")
    return value


def _rate(given: dict[str, Any]) -> int:
    value = given.get("max_per_second", DEFAULT_RATE)
    if type(value) is not int or not 1 <= value <= MAX_RATE:
        raise Invalid("`max_per_second` is not valid", f"Send an integer from 1 to {MAX_RATE}.")
    return value


def _moment(given: dict[str, Any], name: str) -> datetime | None:
    text = _texts(given, name).get(name)
    try:
        return parse_time(text).astimezone(UTC) if text is not None else None
    except (ValueError, OverflowError):  # the first and the last day may have no UTC
        fix = "Send an RFC 3339 time with a time zone, such as 2026-11-24T19:02:44Z."
        raise Invalid(f"`{name}` is not valid", fix) from None
