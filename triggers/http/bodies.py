"""Reading the body of a request: a small JSON object. Errors are answered 400 with a fix."""

import json
from datetime import datetime
from typing import Any

import azure.functions as func

from operations.problems import Invalid
from rules.errors import Reason
from rules.jobs.model import DEFAULT_RATE, MAX_RATE, Job, JobKind
from rules.routes import names
from triggers.http import requests

# Large enough for the longest name with every character escaped. Parsing needs forty times the body's size in memory.
MAX_BODY = 16 * 1024
JOB_FIELDS = ("dry_run", "max_per_second")


def read_strings(req: func.HttpRequest, *fields: str) -> dict[str, str]:
    """Read a JSON object that has exactly these fields, each a non-empty string."""
    example = json.dumps(dict.fromkeys(fields, "..."))
    body = _read_object(req, example)
    if set(body) != set(fields) or not all(isinstance(value, str) and value for value in body.values()):
        raise Invalid("the body must have exactly the required fields", f"Send {example}, each field a string.")
    return body


def read_job(req: func.HttpRequest, kind: JobKind, identity: str, now: datetime) -> Job:
    """Read the description of a new job of this kind."""
    if kind is JobKind.RECONCILE:
        return _read_reconcile(req, identity, now)
    return _read_bulk_job(req, kind, identity, now)


def _read_bulk_job(req: func.HttpRequest, kind: JobKind, identity: str, now: datetime) -> Job:
    """Read a bulk replay or discard. Every field is optional; an empty object selects all open dead letters."""
    body = _read_known(
        req, '{"reason": "throttled", "dry_run": true}', "reason", "route", "since", "until", *JOB_FIELDS
    )
    reason = requests.reason(_optional_string(body, "reason"))
    since, until = _parse_moment(body, "since"), _parse_moment(body, "until")
    if since and until and since > until:
        raise Invalid("`since` is later than `until`", "Send the earlier time as `since`, or omit one of them.")
    return Job(
        id=identity,
        kind=kind,
        created_at=now,
        route=requests.route(_optional_string(body, "route")),
        reason=Reason(reason) if reason else None,
        since=since,
        until=until,
        dry_run=_dry_run(body),
        rate=_rate(body),
    )


def _read_reconcile(req: func.HttpRequest, identity: str, now: datetime) -> Job:
    """Read a reconcile. `route` is required, `prefix` limits it."""
    example = '{"route": "default", "dry_run": true}'
    body = _read_known(req, example, "route", "prefix", *JOB_FIELDS)
    name = requests.route(_optional_string(body, "route"))
    if name is None:
        raise Invalid("`route` is missing", f"Send {example}.")
    return Job(
        id=identity,
        kind=JobKind.RECONCILE,
        created_at=now,
        route=name,
        prefix=_prefix(body),
        dry_run=_dry_run(body),
        rate=_rate(body),
    )


def _read_object(req: func.HttpRequest, example: str) -> dict[str, Any]:
    sent = req.get_body()
    if len(sent) > MAX_BODY:
        raise Invalid("the body is too large", f"Send {example}; the limit is {MAX_BODY} bytes.")
    try:
        body: Any = json.loads(_decode(sent, example) or "null")
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        # The host drops a chunked body, so the function receives an empty one.
        fix = f"Send {example} as application/json, with a Content-Length header (the host drops chunked bodies)."
        raise Invalid("the body is not a JSON object", fix)
    return body


def _decode(sent: bytes, example: str) -> str:
    """Decode UTF-8. JSON text has no NUL: a body that has one is UTF-16 or UTF-32."""
    try:
        text = sent.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise Invalid("the body is not UTF-8", f"Send {example} encoded as UTF-8.")
    return text


def _read_known(req: func.HttpRequest, example: str, *fields: str) -> dict[str, Any]:
    """Read a JSON object that has only these fields. Fields whose value is null are left out."""
    body = _read_object(req, example)
    if unknown := sorted(set(body) - set(fields)):
        raise Invalid(f"unknown field '{unknown[0][:40]}'", f"Use only: {', '.join(fields)}.")
    return {key: value for key, value in body.items() if value is not None}


def _optional_string(body: dict[str, Any], name: str) -> dict[str, str]:
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise Invalid(f"`{name}` is not valid", "Send a string.")
    return {} if value is None else {name: value}


def _prefix(body: dict[str, Any]) -> str:
    prefix = _optional_string(body, "prefix").get("prefix", "")
    if prefix and (why := names.refusal(prefix)):
        raise Invalid(
            f"`prefix` is not valid: it has {why}", "Send the beginning of blob names as the source lists them."
        )
    return prefix


def _dry_run(body: dict[str, Any]) -> bool:
    value = body.get("dry_run", False)
    if not isinstance(value, bool):
        raise Invalid("`dry_run` is not valid", "Send true or false.")
    return value


def _rate(body: dict[str, Any]) -> int:
    value = body.get("max_per_second", DEFAULT_RATE)
    if type(value) is not int or not 1 <= value <= MAX_RATE:
        raise Invalid("`max_per_second` is not valid", f"Send an integer from 1 to {MAX_RATE}.")
    return value


def _parse_moment(body: dict[str, Any], name: str) -> datetime | None:
    return requests.moment(_optional_string(body, name), name)
