"""A dead letter as JSON, for storage and the API, and as blob metadata, so that a list need not read records.

Stored records are never migrated: fields are only added, and `schema` counts breaking changes.
"""

import re
from typing import Any
from urllib.parse import quote, unquote

from rules.codec import parse_time, stamp
from rules.dead_letters.letters import Attempt, DeadLetter
from rules.errors import Reason

# The longest encoded name in the metadata, of which the service allows 8 KB. The record has the whole name.
MAX_LISTED_NAME = 4_000
SIZE = re.compile(r"[0-9]{1,18}")


def record(letter: DeadLetter) -> dict[str, Any]:
    """Return the JSON of a dead letter, as it is stored and as the API answers it."""
    return {
        "schema": letter.schema,
        "id": letter.id,
        "state": resolution(letter)["state"],
        "reason": letter.reason,
        "detail": letter.detail,
        "hint": letter.reason.hint,
        "transfer": letter.route and _transfer(letter),
        "message": letter.message,
        "attempts": {str(number): _attempt(attempt) for number, attempt in sorted(letter.attempts.items())},
        "replays": sum(number > 0 for number in letter.attempts),
        "first_failed_at": stamp(letter.first_failed_at),
        "last_failed_at": stamp(letter.last_failed_at),
        "resolved_at": resolution(letter)["resolved_at"],
        "resolved_as": letter.resolved_as,
        "app_version": letter.app_version,
    }


def resolution(letter: DeadLetter) -> dict[str, Any]:
    """Return whether, when and how it was resolved: the part that a transfer shows."""
    return {
        "state": "resolved" if letter.resolved_at else "open",
        "resolved_at": letter.resolved_at and stamp(letter.resolved_at),
        "resolved_as": letter.resolved_as,
    }


def _transfer(letter: DeadLetter) -> dict[str, Any]:
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


def read(record: dict[str, Any]) -> DeadLetter:
    """Parse a record of this schema or an older one. Raises KeyError, TypeError or ValueError for anything else."""
    return DeadLetter(
        id=record["id"],
        attempts={int(number): _read_attempt(attempt) for number, attempt in dict(record["attempts"]).items()},
        app_version=record["app_version"],
        message=record["message"],
        resolved_at=parse_time(record["resolved_at"]) if record["resolved_at"] else None,
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
        started_at=parse_time(record["started_at"]),
        failed_at=parse_time(record["failed_at"]),
        reason=Reason(record["reason"]),
        detail=record["detail"],
        tries=record["tries"],
    )


def metadata(letter: DeadLetter) -> dict[str, str]:
    """Return the fields of a list item as blob metadata, in ASCII."""
    fields = {
        "schema": str(letter.schema),
        "reason": letter.reason.value,
        "attempts": str(len(letter.attempts)),
        "attempt": str(letter.last_attempt),
        "first_failed_at": stamp(letter.first_failed_at),
        "last_failed_at": stamp(letter.last_failed_at),
    }
    if letter.route is not None:
        fields |= {"route": letter.route, "name": _listed_name(letter.name or ""), "etag": letter.etag or ""}
    if letter.size is not None:
        fields["size"] = str(letter.size)
    return fields


def is_listed_as(item: dict[str, Any], name: str) -> bool:
    """Whether a list item may have this name. If the name is truncated there, only the record can tell."""
    return bool(item["name"] == unquote(_listed_name(name)))


def is_truncated(name: str) -> bool:
    """Whether a list item holds only a part of this name."""
    return len(quote(name)) > MAX_LISTED_NAME


def _listed_name(name: str) -> str:
    """Return the encoded name; one that is too long is cut between two characters and ends with `…`."""
    shown, kept = quote(name), name
    while len(shown) > MAX_LISTED_NAME:
        kept = kept[:-1]
        shown = quote(f"{kept}…")
    return shown


def list_item(identity: str, metadata: dict[str, str]) -> dict[str, Any]:
    """Return a list item from the metadata of a record. Never raises, so a record without metadata is still listed."""
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
