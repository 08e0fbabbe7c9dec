"""Dead letters and the records of ends (rules 5 and 9): their JSON, their listing metadata, and which write wins.

The schema of a record is final from the first one written: fields are added, never changed; `schema` counts breaking ones.
"""

import base64
import re
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import quote, unquote

from rules import events, identity
from rules.codec import moment, stamp
from rules.errors import Reason
from rules.models import Run
from rules.transitions import State

SCHEMA = 1
# What a record keeps of a transfer's history; the first attempt always stays.
MAX_ATTEMPTS = 50
MAX_DETAIL = 500
# Of 8 KB of metadata, a name may take this much once it is encoded; the record has it whole.
MAX_LISTED_NAME = 4_000
REMOVED = b"REMOVED"
SIZE = re.compile(r"[0-9]{1,18}")
# Also where the query, or its value, is percent-encoded (`%26sig%3D`) or escaped as in JSON (`\u0026sig\u003d`).
SECRET = re.compile(
    rb"(?i)(?:\b|(?<=%[0-9a-f]{2})|(?<=%25[0-9a-f]{2})|(?<=\\u00[0-9a-f]{2}))"
    rb"(sig|code)(=|%(?:25)*3D|\\+u003d)(?:[^&\"'\\\s<>]|\\+u[0-9a-f]{4}|\\+/)*"
)


@dataclass(frozen=True, slots=True)
class Ended:
    """That an attempt of a transfer ended for good: whoever acts for this attempt, or an earlier one, stops."""

    id: str
    attempt: int
    state: State
    reason: Reason | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt that failed."""

    started_at: datetime
    failed_at: datetime
    reason: Reason
    detail: str
    tries: int = 0


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter: of a transfer (`route`, `source_url` … are set), or of a message (`message` is its body, base64).

    `attempts` is keyed by the attempt's number, so that a step that runs twice counts once; every number above 0 is a replay.
    """

    id: str
    attempts: dict[int, Attempt]
    app_version: str
    route: str | None = None
    source_url: str | None = None
    name: str | None = None
    etag: str | None = None
    size: int | None = None
    target_url: str | None = None
    message: str | None = None
    resolved_at: datetime | None = None
    resolved_as: str | None = None
    schema: int = SCHEMA

    @property
    def last(self) -> int:
        """The number of the newest attempt."""
        return max(self.attempts)

    @property
    def reason(self) -> Reason:
        """Why the newest attempt failed."""
        return self.attempts[self.last].reason

    @property
    def detail(self) -> str:
        """What the newest attempt was told."""
        return self.attempts[self.last].detail

    @property
    def failed_at(self) -> tuple[datetime, datetime]:
        """When the first and the newest attempt failed."""
        return self.attempts[min(self.attempts)].failed_at, self.attempts[self.last].failed_at


def of_run(run: Run, now: datetime, app_version: str) -> Letter:
    """The letter of a run that ends `dead_lettered`, with this attempt alone."""
    ending = run.ending
    reason = (ending and ending.reason) or Reason.INTERNAL
    said = (ending and ending.detail) or reason.hint
    detail = (f"{said}; {run.note}" if run.note else said)[:MAX_DETAIL]
    transfer = run.transfer
    return Letter(
        id=transfer.id,
        attempts={run.attempt: Attempt(run.accepted_at, now, reason, detail, run.tries)},
        app_version=app_version,
        route=transfer.route,
        source_url=transfer.version.blob.url,
        name=transfer.name,
        etag=transfer.etag,
        size=run.size,
        target_url=transfer.target_blob.url,
    )


def of_message(body: bytes, refused: events.Refused, now: datetime, app_version: str) -> Letter:
    """The letter of a message that leads to no transfer. What looks like a secret in it is removed."""
    return Letter(
        id=identity.message_id(body),
        attempts={0: Attempt(now, now, refused.reason, refused.detail[:MAX_DETAIL])},
        app_version=app_version,
        message=base64.b64encode(without_secrets(body)).decode(),
    )


def without_secrets(body: bytes) -> bytes:
    """A message with every `sig=` and `code=` value removed, also inside base64."""
    decoded = events.plain(body)
    return SECRET.sub(rb"\1\2" + REMOVED, decoded if SECRET.search(decoded) else body)


def is_redacted(body: bytes) -> bool:
    """Whether something was removed from a message: it cannot be accepted again as what it was."""
    return any(match[0].endswith(REMOVED) for match in SECRET.finditer(events.plain(body)))


def text_without_secrets(text: str) -> str:
    """A text, such as an exception's, with every `sig=` and `code=` value removed."""
    return SECRET.sub(rb"\1\2" + REMOVED, text.encode("utf-8", "replace")).decode()


def merged(old: Letter | None, new: Letter) -> Letter | None:
    """What to write over `old` (open or resolved) for `new`; None if the old record already knows as much.

    | old | new | written |
    | --- | --- | --- |
    | none | any | new |
    | has this attempt, or a later one | any | nothing: this write is late, or a second one |
    | the same, but resolved before the new attempt began | any | both, open; the new attempt takes the next number |
    | has earlier attempts only | any | both, open |
    """
    if old is None:
        return new
    number, attempt = new.last, new.attempts[new.last]
    if old.last >= number:
        # A transfer whose history and record of an end are gone starts at 0 again: that is no late write.
        if old.resolved_at is None or attempt.started_at < old.resolved_at:
            return None
        number = old.last + 1
    attempts = {**old.attempts, number: attempt}
    kept = [min(attempts), *sorted(attempts)[1:][-(MAX_ATTEMPTS - 1) :]]
    return replace(
        new, attempts={number: attempts[number] for number in kept}, size=new.size if new.size is not None else old.size
    )


def resolved(letter: Letter, now: datetime, how: str) -> Letter:
    """The letter, kept for audit: `how` is the state that its transfer reached, or `accepted` for a message."""
    return replace(letter, resolved_at=now, resolved_as=how)


def record(letter: Letter) -> dict[str, Any]:
    """The letter as JSON: what is stored, and what the API answers."""
    first, last = letter.failed_at
    return {
        "schema": letter.schema,
        "id": letter.id,
        "state": "resolved" if letter.resolved_at else "open",
        "reason": letter.reason,
        "detail": letter.detail,
        "hint": letter.reason.hint,
        "transfer": letter.route and _transfer(letter),
        "message": letter.message,
        "attempts": {str(number): _attempt(attempt) for number, attempt in sorted(letter.attempts.items())},
        "replays": sum(number > 0 for number in letter.attempts),
        "first_failed_at": stamp(first),
        "last_failed_at": stamp(last),
        "resolved_at": letter.resolved_at and stamp(letter.resolved_at),
        "resolved_as": letter.resolved_as,
        "app_version": letter.app_version,
    }


def _transfer(letter: Letter) -> dict[str, Any]:
    return {
        "route": letter.route,
        "source": {"url": letter.source_url, "name": letter.name, "etag": letter.etag, "size": letter.size},
        "target": {"url": letter.target_url},
    }


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "started_at": stamp(attempt.started_at),
        "failed_at": stamp(attempt.failed_at),
        "reason": attempt.reason,
        "detail": attempt.detail,
        "tries": attempt.tries,
    }


def read(record: dict[str, Any]) -> Letter:
    """Read a stored record of this schema or an older one. KeyError, TypeError or ValueError if it is none."""
    return Letter(
        id=record["id"],
        attempts={int(number): _read_attempt(attempt) for number, attempt in dict(record["attempts"]).items()},
        app_version=record["app_version"],
        message=record["message"],
        resolved_at=moment(record["resolved_at"]) if record["resolved_at"] else None,
        resolved_as=record["resolved_as"],
        schema=record["schema"],
        **(_read_transfer(record["transfer"]) if record["transfer"] else {}),
    )


def _read_transfer(record: dict[str, Any]) -> dict[str, Any]:
    source = record["source"]
    return {
        "route": record["route"],
        "source_url": source["url"],
        "name": source["name"],
        "etag": source["etag"],
        "size": source["size"],
        "target_url": record["target"]["url"],
    }


def _read_attempt(record: dict[str, Any]) -> Attempt:
    return Attempt(
        started_at=moment(record["started_at"]),
        failed_at=moment(record["failed_at"]),
        reason=Reason(record["reason"]),
        detail=record["detail"],
        tries=record["tries"],
    )


def metadata(letter: Letter) -> dict[str, str]:
    """The listing fields as blob metadata (ASCII alone), so that a list needs no read per letter."""
    first, last = letter.failed_at
    fields = {
        "schema": str(letter.schema),
        "reason": letter.reason.value,
        "attempts": str(len(letter.attempts)),
        "attempt": str(letter.last),
        "first_failed_at": stamp(first),
        "last_failed_at": stamp(last),
    }
    if letter.route is not None:
        fields |= {"route": letter.route, "name": _listed_name(letter.name or ""), "etag": letter.etag or ""}
    if letter.size is not None:
        fields["size"] = str(letter.size)
    return fields


def _listed_name(name: str) -> str:
    """The name, encoded; one that is too long is cut between two characters, and shows it."""
    shown, kept = quote(name), name
    while len(shown) > MAX_LISTED_NAME:
        kept = kept[:-1]
        shown = quote(f"{kept}…")
    return shown


def listed(identity: str, metadata: dict[str, str]) -> dict[str, Any]:
    """One item of the list, from a letter's metadata. Total: a record whose metadata was lost is still listed."""
    reason = metadata.get("reason", "")
    size = metadata.get("size", "")
    return {
        "id": identity,
        "reason": reason or None,
        "hint": Reason(reason).hint if reason in list(Reason) else None,
        "route": metadata.get("route"),
        "name": unquote(metadata["name"]) if "name" in metadata else None,
        "etag": metadata.get("etag"),
        "size": int(size) if SIZE.fullmatch(size) else None,
        "first_failed_at": metadata.get("first_failed_at"),
        "last_failed_at": metadata.get("last_failed_at"),
    }
